"""The commands of ``icecore cache``."""

import dataclasses
import sys

import click

from ..core.errors import counted, enumerate_some, escaped
from ..core.interrupts import keeps_finished
from . import console
from .idle import beside, refuse_idle
from .options import A_PATH, DATA, as_json

cache_argument = click.argument("path", metavar="CACHE", type=A_PATH)
# What only reads takes a cache in a store, too.
read_argument = click.argument("path", metavar="CACHE", type=DATA)


@click.group()
def cache() -> None:
    """Inspect and maintain feature caches.

    CACHE is the folder or URL that `icecore extract -o` wrote; ls, show, verify and export take
    the URL, and pull what is new first. SPEC names one of its feature sets:
    a backbone's spec such as gluon:inceptionv3, or part of it where that is clear.

    The exit status is 0 if all is well, 1 after an error, if `verify` finds damage or `repair`
    leaves some, 2 if the command is used wrongly, and 3 if `export` lacks images.
    """


@cache.command("ls")
@read_argument
@as_json
def list_command(path, as_json) -> None:
    """List the feature sets of CACHE with their rows and sizes.

    \b
    Example:
      icecore cache ls cache
    """
    from ..cache import FeatureCache, has_random_weights, list_sets, pulled

    found = list_sets(FeatureCache(pulled(path)))
    if as_json:
        console.print_json(found)
        return
    columns = ("name", "rows", "dim", "views", "dtype", "fit", "shards", "bytes", "fingerprint")
    rows = [[_listed(one)[name] for name in columns] for one in found["sets"]]
    console.print_table(columns, rows)
    if found["failures"]:
        console.echo(
            f"{counted(found['failures'], 'image')} could not be read: icecore cache show {path}"
        )
    if any(has_random_weights(one["record"]) for one in found["sets"]):
        console.random_weights_warning("some of these features")


def _listed(one: dict) -> dict:
    """Shorten what would be too long for a line of the table."""
    views = one["views"]
    return {
        **one,
        "name": escaped(one["name"]),
        "views": escaped(views[0] if len(views) == 1 else f"{len(views)} ({views[0]}, ...)"),
        "fit": escaped(str(one["record"].get("fit", ""))),
        "fingerprint": one["fingerprint"][:12],
    }


@cache.command("show")
@read_argument
@click.argument("spec", required=False)
@click.option(
    "--diff", nargs=2, metavar="A B", help="Name the fields in which the sets A and B differ."
)
@click.option("--other", type=A_PATH, help="Look for B in this cache instead of CACHE.")
@as_json
def show_command(path, spec, diff, other, as_json) -> None:
    """Show the records, the provenance and the failures of CACHE, or of its feature set SPEC.

    \b
    Examples:
      icecore cache show cache
      icecore cache show cache gluon:inceptionv3 --json
      icecore cache show cache --diff gluon:inceptionv3 gluon:inceptionv3 --other cache2
    """
    from ..cache import FeatureCache, diff_sets, pulled, show_set

    refuse_idle(beside("--diff", ["SPEC"]) if diff else {"--other": "needs --diff"})
    opened = FeatureCache(pulled(path))
    if diff:
        first, second = diff
        found = diff_sets(opened, first, second, None if other is None else FeatureCache(other))
    else:
        found = show_set(opened, spec)
    if as_json:
        console.print_json(found)
    elif diff and found:
        columns = list(found[0])
        rows = [[escaped(str(one[name])) for name in columns] for one in found]
        console.print_table(columns, rows)
    elif diff:
        console.echo("The two records are equal.")
    else:
        _print_nested(found)


def _print_nested(content: object, indent: str = "") -> None:
    if isinstance(content, dict):
        for name, value in content.items():
            if isinstance(value, dict | list) and value and not _is_short(value):
                console.echo(f"{indent}{escaped(name)}:")
                _print_nested(value, indent + "  ")
            else:
                console.echo(f"{indent}{escaped(name)}: {_plain(value)}")
    elif isinstance(content, list):
        for value in content:
            console.echo(f"{indent}-")
            _print_nested(value, indent + "  ")
    else:
        console.echo(f"{indent}{escaped(str(content))}")


def _is_short(value: dict | list) -> bool:
    return isinstance(value, list) and not any(isinstance(v, dict | list) for v in value)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return escaped(", ".join(map(str, value))) or "none"
    return "none" if value in ({}, None, "") else escaped(str(value))


@cache.command("verify")
@read_argument
@as_json
def verify_command(path, as_json) -> None:
    """Read all of CACHE, and name every file and row that is damaged.

    The exit status is 1 if a row is affected, or a table that the cache keeps. Rows are named by
    the first digits of their keys; --json gives all keys whole.

    \b
    Example:
      icecore cache verify cache
    """
    from .. import jobs
    from ..cache import pulled

    found = jobs.verify_cache(pulled(path))
    if as_json:
        console.print_json(found)
    else:
        for problem in found["problems"]:
            rows = [key[:12] for key in problem["rows"]]
            named = f" ({counted(len(rows), 'row')}: {enumerate_some(rows, 3)})" if rows else ""
            named = " (how many rows it has is not known)" if problem["unnamed"] else named
            console.echo(f"{escaped(problem['file'])}: {escaped(problem['reason'])}{named}")
        console.echo(
            f"{counted(found['sets'], 'feature set')}, {counted(found['shards'], 'shard')}, "
            f"{counted(found['rows'], 'row')}: "
            + ("no row is damaged" if found["ok"] else _remedy(found, path))
        )
    if not found["ok"]:
        sys.exit(1)


def _remedy(found: dict, path: object) -> str:
    if all(problem["by_hand"] for problem in found["problems"] if not problem["harmless"]):
        return "put it right as is said above"
    return f"mend it with: icecore cache repair {path}"


@cache.command("repair")
@cache_argument
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@as_json
def repair_command(path, dry_run, as_json) -> None:
    """Move damaged files of CACHE aside and keep every row in them that is sound.

    Rows that are lost are computed again by the next `icecore extract`, and tables of samples
    written anew. The exit status is 1 if something is left that must be put right by hand.

    \b
    Example:
      icecore cache repair cache --dry-run
    """
    from .. import jobs

    found = jobs.repair_cache(path, dry_run)
    if as_json:
        console.print_json(found)
    else:
        _print_repaired(found, dry_run)
    if found["left"]:
        sys.exit(1)


def _print_repaired(found: dict, dry_run: bool) -> None:
    lost = sum(len(keys) for keys in found["to_recompute"].values())
    if not lost and not any(found[name] for name in ("done", "unnamed", "tables", "left")):
        console.echo("there is nothing to mend")
        return
    if dry_run:
        console.echo("nothing was changed; without --dry-run this would be done:")
    for line in found["done"]:
        console.echo(escaped(line))
    those = counted(lost, "row is", "rows are")
    if found["unnamed"]:
        files = counted(len(found["unnamed"]), "file")
        those = f"{counted(lost, 'row')}, and those of {files} whose number is not known, are"
    if lost or found["unnamed"]:
        console.echo(f"{those} to be computed again: run the same icecore extract as before")
    if found["tables"]:
        tables = enumerate_some(map(escaped, found["tables"]))
        console.echo(f"{tables} will be written anew by the same icecore extract as before")
    if found["left"]:
        count = counted(len(found["left"]), "feature set is", "feature sets are")
        console.echo(f"{count} left as before: put that right as is said above")


@cache.command("merge")
@click.argument("target", metavar="CACHE", type=A_PATH)
@click.argument("sources", metavar="OTHER...", nargs=-1, required=True, type=A_PATH)
@as_json
def merge_command(target, sources, as_json) -> None:
    """Copy into CACHE the rows of OTHER caches that it lacks.

    Nothing is written unless all of them are sound and none contradicts another.

    \b
    Example:
      icecore cache merge cache from-machine-a from-machine-b
    """
    from ..cache import FeatureCache, merge

    opened = [FeatureCache(source) for source in sources]
    with keeps_finished():
        found = merge(FeatureCache.create(target), opened)
    _print_sets(found, as_json, "source", "name", "rows_added", "rows_already_there")


def _print_sets(found: dict, as_json: bool, *columns: str) -> None:
    """Print what was done to each feature set."""
    if as_json:
        console.print_json(found)
    else:
        console.print_table(columns, [[one[name] for name in columns] for one in found["sets"]])


@cache.command("push")
@cache_argument
@click.argument("url", metavar="URL", type=DATA)
@as_json
def push_command(path, url, as_json) -> None:
    """Copy to URL what it lacks of CACHE.

    URL is a prefix in a store (s3://bucket/cache, gs://, az://) or a folder. Shards are immutable:
    only new ones are copied, each is created once and never replaced, and checked when it is there.
    It needs pip install 'icecore[remote]', for a folder, too.

    \b
    Example:
      icecore cache push cache s3://bucket/cache
    """
    from ..cache import FeatureCache, push

    with keeps_finished():
        found = push(FeatureCache(path), str(url))
    _print_mirrored(found, as_json)


@cache.command("pull")
@click.argument("url", metavar="URL", type=DATA)
@cache_argument
@as_json
def pull_command(url, path, as_json) -> None:
    """Copy from URL what CACHE lacks; every shard is checked before it counts.

    CACHE is made if it is not there. The tables of samples come too. It needs icecore[remote].

    \b
    Examples:
      icecore cache pull s3://bucket/cache cache
      icecore train cache --data cache/manifests/photos.csv -o run
    """
    from ..cache import pull

    with keeps_finished():
        found = pull(str(url), path)
    _print_mirrored(found, as_json)


def _print_mirrored(found, as_json: bool) -> None:
    if as_json:
        console.print_json(dataclasses.asdict(found))
        return
    console.echo(
        f"{counted(found.shards, 'shard')} of {counted(found.sets, 'feature set')} copied "
        f"({found.bytes / 1e6:.1f} MB), {found.there} already there; "
        f"{counted(found.tables, 'table of samples', 'tables of samples')} copied"
    )
    for note in found.notes:
        console.echo(f"note: {note}", err=True)


@cache.command("export")
@read_argument
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    required=True,
    type=A_PATH,
    help="Write to this file: FILE.npz, FILE.h5 or FILE.parquet.",
)
@click.option(
    "--data", type=DATA, help="Write the rows of these images, in their order, instead of all."
)
@click.option(
    "--compress", is_flag=True, help="Make a smaller file, which takes longer to write and read."
)
@as_json
def export_command(path, specs, out, data, compress, as_json) -> None:
    """Write feature sets side by side into one plain file.

    The file also holds the key of each row and, where they are known, the image's id, path,
    split and labels. The exit status is 3 if images of --data have no features: they have no row.

    \b
    Examples:
      icecore cache export cache gluon:inceptionv3 -o features.h5 --compress
      icecore cache export cache gluon:inceptionv3 gluon:densenet201 -o features.npz --data photos
    """
    from .. import jobs
    from ..cache import pulled

    found = jobs.export(pulled(path), list(specs), out, data, compress)
    bare = found["without_rows"]
    if as_json:
        console.print_json(found)
    else:
        beside = ", ".join(map(escaped, found["columns"]))
        rows = counted(found["rows"], "row")
        console.echo(f"{rows} of {found['dim']} numbers with {beside}: {out}")
        if bare:
            what = counted(len(bare), "image")
            named = enumerate_some(map(escaped, bare))
            console.echo(f"{what} of {data} without features in {path}: {named}")
    if bare:
        sys.exit(3)


@cache.command("prune")
@cache_argument
@click.option(
    "--keep", type=DATA, help="Keep the rows of the images in this data, and remove all others."
)
@click.option(
    "--drop", multiple=True, metavar="SPEC", help="Remove this feature set; may be repeated."
)
@click.option("--yes", is_flag=True, help="Remove them; without this they are only counted.")
@as_json
def prune_command(path, keep, drop, yes, as_json) -> None:
    """Remove rows of images that are no longer wanted, or whole feature sets.

    \b
    Examples:
      icecore cache prune cache --keep photos
      icecore cache prune cache --drop gluon:inceptionv3 --yes
    """
    from .. import jobs

    if keep is None and not drop:
        raise click.UsageError("give --keep DATA or --drop SPEC")
    found = jobs.prune(path, keep, drop, dry_run=not yes)
    _print_sets(found, as_json, "name", "rows_removed", "rows_kept", "bytes_freed")
    if not (yes or as_json):
        console.echo("nothing was removed; add --yes to do it")


@cache.command("compact")
@cache_argument
@click.argument("specs", metavar="[SPEC...]", nargs=-1)
@as_json
def compact_command(path, specs, as_json) -> None:
    """Merge small shards of CACHE into large ones, and drop repeated rows.

    Extractions and readers may go on meanwhile.

    \b
    Example:
      icecore cache compact cache
    """
    from ..cache import FeatureCache, compact

    found = compact(FeatureCache(path), list(specs))
    _print_sets(found, as_json, "name", "rows", "shards_before", "shards_after")
