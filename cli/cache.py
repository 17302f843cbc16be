"""The commands of ``icecore cache``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..core.errors import enumerate_some
from . import console
from .options import as_json

__all__ = ["cache"]

cache_argument = click.argument("path", metavar="CACHE", type=click.Path(path_type=Path))


@click.group()
def cache() -> None:
    """Look into feature caches and look after them."""


@cache.command("ls")
@cache_argument
@as_json
def list_command(path, as_json) -> None:
    """List the feature sets of CACHE.

    \b
    Example:
      icecore cache ls cache
    """
    from ..cache import FeatureCache, list_sets

    found = list_sets(FeatureCache(path))
    if as_json:
        console.print_json(found)
        return
    columns = ("spec", "rows", "dim", "views", "precision", "fit", "shards", "bytes", "fingerprint")
    rows = [
        [one[name] for name in columns] for one in (_as_listed(entry) for entry in found["sets"])
    ]
    console.print_table(columns, rows)
    if found["failures"]:
        click.echo(f"{found['failures']} images could not be read: icecore cache show {path}")
    if any(one["random_weights"] for one in found["sets"]):
        console.random_weights_warning("some of these features")


def _as_listed(entry: dict) -> dict:
    """Shorten what would be too long for a line of the table."""
    views = entry["views"]
    brief = views[0] if len(views) == 1 else f"{len(views)} ({views[0]}, ...)"
    return {**entry, "views": brief, "fingerprint": entry["fingerprint"][:12]}


@cache.command("show")
@cache_argument
@click.argument("spec", required=False)
@click.option("--diff", nargs=2, metavar="A B", help="Name the fields in which two sets differ.")
@click.option("--other", type=click.Path(path_type=Path), help="The cache that has B.")
@as_json
def show_command(path, spec, diff, other, as_json) -> None:
    """Show records, provenance and failures of CACHE, or of one feature set SPEC.

    \b
    Examples:
      icecore cache show cache
      icecore cache show cache gluon:inceptionv3 --json
      icecore cache show cache --diff gluon:inceptionv3 gluon:inceptionv3 --other cache2
    """
    from ..cache import FeatureCache, diff_sets, show_set

    opened = FeatureCache(path)
    if diff:
        found = diff_sets(opened, *diff, None if other is None else FeatureCache(other))
    else:
        found = show_set(opened, spec)
    if as_json:
        console.print_json(found)
    elif diff and found:
        columns = list(found[0])
        console.print_table(columns, [[str(one[name]) for name in columns] for one in found])
    elif diff:
        click.echo("no difference")
    else:
        _print_nested(found)


def _print_nested(content: object, indent: str = "") -> None:
    if isinstance(content, dict):
        for name, value in content.items():
            if isinstance(value, dict | list) and value and not _is_short(value):
                click.echo(f"{indent}{name}:")
                _print_nested(value, indent + "  ")
            else:
                click.echo(f"{indent}{name}: {_plain(value)}")
    elif isinstance(content, list):
        for value in content:
            click.echo(f"{indent}-")
            _print_nested(value, indent + "  ")
    else:
        click.echo(f"{indent}{content}")


def _is_short(value: dict | list) -> bool:
    return isinstance(value, list) and not any(isinstance(v, dict | list) for v in value)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in ({}, None, "") else str(value)


@cache.command("verify")
@cache_argument
@as_json
def verify_command(path, as_json) -> None:
    """Read all of CACHE and check it; exit status 1 if a row is damaged.

    Damaged rows are named by the first digits of their keys; --json gives all of them whole.

    \b
    Example:
      icecore cache verify cache
    """
    from ..cache import verify

    found = verify(path)
    if as_json:
        console.print_json(found)
    else:
        for problem in found["problems"]:
            rows = [key[:12] for key in problem["rows"]]
            named = f" ({len(rows)} rows: {enumerate_some(rows, 3)})" if rows else ""
            click.echo(f"{problem['file']}: {problem['reason']}{named}")
        click.echo(
            f"{found['sets']} feature sets, {found['shards']} shards, {found['rows']} rows: "
            + ("no row is damaged" if found["ok"] else f"mend it with: icecore cache repair {path}")
        )
    if not found["ok"]:
        sys.exit(1)


@cache.command("repair")
@cache_argument
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@as_json
def repair_command(path, dry_run, as_json) -> None:
    """Put CACHE right; what is lost is computed again by the next extract.

    \b
    Example:
      icecore cache repair cache --dry-run
    """
    from ..cache import repair

    found = repair(path, dry_run=dry_run)
    if as_json:
        console.print_json(found)
        return
    if dry_run:
        click.echo("nothing was changed; without --dry-run this would be done:")
    for line in found["done"]:
        click.echo(line)
    lost = sum(len(keys) for keys in found["to_recompute"].values())
    click.echo(f"{lost} rows are to be computed again: run the same icecore extract as before")


@cache.command("merge")
@click.argument("target", metavar="CACHE", type=click.Path(path_type=Path))
@click.argument(
    "sources", metavar="OTHER...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@as_json
def merge_command(target, sources, as_json) -> None:
    """Copy into CACHE the rows of OTHER caches that it lacks.

    \b
    Example:
      icecore cache merge cache from-machine-a from-machine-b
    """
    from ..cache import FeatureCache, merge

    opened = [FeatureCache(source) for source in sources]
    found = merge(FeatureCache.create(target), opened)
    if as_json:
        console.print_json(found)
        return
    columns = ("source", "spec", "rows_added", "rows_already_there")
    console.print_table(columns, [[one[name] for name in columns] for one in found["sets"]])


@cache.command("export")
@cache_argument
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="FILE.npy, .npz, .h5 or .parquet.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["npy", "npz", "hdf5", "parquet"]),
    help="Where the ending does not say.",
)
@click.option("--compress", is_flag=True, help="Make it smaller; takes longer to write and read.")
@as_json
def export_command(path, specs, out, kind, compress, as_json) -> None:
    """Write feature sets side by side into one plain file.

    \b
    Examples:
      icecore cache export cache gluon:inceptionv3 -o features.h5 --compress
      icecore cache export cache gluon:inceptionv3 gluon:densenet201 -o features.npz
    """
    from ..cache import FeatureCache, export

    found = export(FeatureCache(path), list(specs), out, kind=kind, compress=compress)
    if as_json:
        console.print_json(found)
    else:
        click.echo(f"{found['rows']} rows of {found['dim']} numbers: {out}")


@cache.command("prune")
@cache_argument
@click.option("--keep", type=click.Path(path_type=Path), help="Data whose images' rows stay.")
@click.option("--drop", multiple=True, metavar="SPEC", help="Feature set to remove whole.")
@click.option("--yes", is_flag=True, help="Do it; without this it is only counted.")
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
        raise click.UsageError("say what goes: --keep DATA or --drop SPEC")
    found = jobs.prune(path, keep, drop, dry_run=not yes)
    if as_json:
        console.print_json(found)
        return
    columns = ("spec", "rows_removed", "rows_kept", "bytes_freed")
    console.print_table(columns, [[one[name] for name in columns] for one in found["sets"]])
    if not yes:
        click.echo("nothing was removed; add --yes to do it")


@cache.command("compact")
@cache_argument
@click.argument("specs", metavar="[SPEC...]", nargs=-1)
@as_json
def compact_command(path, specs, as_json) -> None:
    """Unite small shards into large ones.

    \b
    Example:
      icecore cache compact cache
    """
    from ..cache import FeatureCache, compact

    found = compact(FeatureCache(path), list(specs))
    if as_json:
        console.print_json(found)
        return
    columns = ("spec", "rows", "shards_before", "shards_after")
    console.print_table(columns, [[one[name] for name in columns] for one in found["sets"]])
