"""The job `audit`: what is wrong with the data of a run or a cache."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from .. import auditing, runs
from .. import manifest as manifests
from ..auditing import Audit, AuditOptions, Images
from ..cache import FeatureCache, no_rows
from ..core.arguments import require_types, typed
from ..core.errors import (
    CacheError,
    MissingFileError,
    RunError,
    counted,
    enumerate_some,
    escaped,
)
from ..core.outputs import require_kind, require_writable
from ..core.places import container_of
from ..core.stores import is_url
from ..manifest import Manifest, passed_over_text
from .held_out import held_out_rows
from .samples import as_extracted, digested, kept_tables, keys_in_all

DEFAULTS = AuditOptions()


@dataclasses.dataclass(frozen=True)
class AuditOutputs:
    """Files that an audit leaves.

    Attributes
    ----------
    report : path-like, optional
        The HTML page.
    decisions : path-like, optional
        The table to act on, a CSV.
    """

    report: str | os.PathLike | None = None
    decisions: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        require_types(self)


NO_OUTPUTS = AuditOutputs()


@typed
def audit(
    source: str | os.PathLike,
    data: str | os.PathLike | None = None,
    new: str | os.PathLike | None = None,
    options: AuditOptions = DEFAULTS,
    outputs: AuditOutputs = NO_OUTPUTS,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Look for copies, doubtful labels, outliers, shortcuts and drift.

    Parameters
    ----------
    source : path-like
        The folder of a run, whose out-of-fold probabilities are used, or a cache.
    data : path-like, optional
        The images and labels; those that the run was trained on, or the one table that the
        cache keeps, if None.
    new : path-like, optional
        Other images with features in the cache, to be compared with these.
    options : AuditOptions
    outputs : AuditOutputs
    progress : callable, optional
        Called with the number of picture files that were opened, and in all.

    Raises
    ------
    MissingFileError, CacheError, RunError, ManifestError
        Something is not there, or no image has features; or the table of decisions has some.
    """
    source = Path(source)
    run = runs.open_run(source) if (source / "run.json").is_file() else None
    store = _cache_of(run, source)
    names = options.features or _feature_sets(run, store)
    manifest = _samples(run, store, source, data)
    parts: list[tuple[Manifest, str | None]] = [(manifest, None)]
    if new is not None:
        parts.append((digested(store, as_extracted(store, new, labels_required=False)), "new"))
    pictures = (one.path for given, _ in parts for one in given)
    outs = (outputs.report, outputs.decisions)
    require_writable(outs, (source, data, new, *pictures))
    require_kind(outputs.report, ".html", ".htm")
    require_kind(outputs.decisions, ".csv")
    _require_undecided(outputs.decisions)
    images, rows = _images(store, names, parts, options.seed)
    tasks = [
        held_out_rows(run, manifest.select(task), task, rows, len(images))
        for task in manifest.tasks
    ]
    found = auditing.audit_images(images, tasks, options, str(source), progress)
    found.notes.extend(_notes(parts, images, store))
    if outputs.report is not None:
        auditing.write_audit(found, outputs.report)
    if outputs.decisions is not None:
        auditing.write_decisions(found, outputs.decisions)
    return found


def _require_undecided(decisions: str | os.PathLike | None) -> None:
    """Refuse to replace a table whose actions a person has filled in."""
    if decisions is not None and runs.holds_decisions(Path(decisions)):
        raise RunError(
            f"{decisions} is there already, and somebody has filled in its actions, or it is no "
            "table of an audit: it is not replaced",
            "name another file (--decisions FILE), or move this one elsewhere",
        )


def _notes(
    parts: Sequence[tuple[Manifest, str | None]], images: Images, store: FeatureCache
) -> Iterator[str]:
    """Say what of the data was passed over or has no features."""
    for given, _ in parts:
        if passed := passed_over_text(given.passed_over):
            yield f"{given.source}: {passed}"
        yield from given.warnings
    left_out = sum(len(one.images) for one, _ in parts) - len(images.ids)
    if left_out:
        what = counted(left_out, "image is left out: it has", "images are left out: they have")
        yield f"{what} no features in {store.path}"


@typed
def apply_audit(
    data: str | os.PathLike, decisions: str | os.PathLike, out: str | os.PathLike
) -> dict:
    """Write a new table of `data` with what the actions in `decisions` say.

    Parameters
    ----------
    data : path-like
        As for `audit`; nothing of it is changed.
    decisions : path-like
        The table that an audit wrote, its column ``action`` filled in.
    out : path-like
        The new table; there must be no such file yet.

    Returns
    -------
    dict
        ``rows`` of the new table, and how many were ``dropped`` (of these ``doubted``,
        for doubtful labels), ``relabelled`` and ``moved``.

    Raises
    ------
    ManifestError, MissingFileError, RunError
        Something is not there or cannot be read, actions are none, or `out` exists.
    """
    if os.path.lexists(out):
        raise RunError(f"{out} is there already", "name a new file: nothing is overwritten")
    manifest = manifests.read(data, labels_required=False)
    table, counts = auditing.apply_decisions(manifest, decisions)
    table.write(out)
    zeros = dict.fromkeys(("dropped", "doubted", "relabelled", "moved"), 0)
    return {"rows": len(table)} | zeros | counts


def _cache_of(run, source: Path) -> FeatureCache:
    if run is None:
        hint = "give the folder that `icecore train -o` or `icecore extract -o` wrote"
        if not os.path.lexists(source):
            raise MissingFileError(f"there is no run and no cache at {source}", hint)
        try:
            return FeatureCache(source)
        except CacheError as error:
            if "is not a feature cache" not in error.message:
                raise
            raise CacheError(f"{error.message}, and no run: it has no run.json", hint) from error
    place = run.about.get("cache")
    if not isinstance(place, str) or not Path(place).is_dir():
        where = escaped(str(place)) if place else "any known place"
        raise MissingFileError(
            f"the cache of {source} is not at {where}",
            "audit the cache itself: icecore audit CACHE --data DATA",
        )
    return FeatureCache(place)


def _feature_sets(run, store: FeatureCache) -> tuple[str, ...]:
    if run is not None:
        return tuple(f"{one['spec']}#{one['fingerprint'][:12]}" for one in run.backbones)
    sets = store.sets()
    if not sets:
        raise no_rows(
            f"{store.path} holds no features", store.failures(), "run `icecore extract` into it"
        )
    return tuple(f"{one.name}#{one.fingerprint[:12]}" for one in sets)


def _samples(run, store: FeatureCache, source: Path, data) -> Manifest:
    if data is not None:
        return digested(store, as_extracted(store, data, labels_required=False))
    if run is not None:
        return _without_addresses(run.samples(), source)
    tables = kept_tables(store)
    if len(tables) != 1:
        there = enumerate_some(path.stem for path in tables) or "none"
        raise RunError(
            f"{source} keeps the tables of {len(tables)} data sets ({there})",
            "name the images and labels with --data",
        )
    own = manifests.read(tables[0], labels_required=False)
    return digested(store, _without_addresses(own, source))


def _without_addresses(manifest: Manifest, source: Path) -> Manifest:
    """Forget the URLs that a run or a cache names itself: a stranger may have made it."""
    rows = [
        dataclasses.replace(one, path="") if is_url(container_of(one.path)) else one
        for one in manifest
    ]
    count = len({row.id for row, one in zip(rows, manifest) if row.path != one.path})
    if not count:
        return manifest
    warning = (
        f"{counted(count, 'image lies', 'images lie')} at addresses that {source} names, and "
        "nothing is fetched from there: name the data yourself (--data) to have them looked at"
    )
    warnings = (*manifest.warnings, warning)
    return dataclasses.replace(manifest, samples=tuple(rows), warnings=warnings)


def _images(
    store: FeatureCache, names: Sequence[str], parts: list[tuple[Manifest, str | None]], seed: int
) -> tuple[Images, dict[str, int]]:
    """Return the images that have features in every set, and the row of each id of the data."""
    sets = store.find_all(names)
    have = keys_in_all(sets)
    samples, splits = [], []
    for manifest, split in parts:
        known = [one for one in manifest.images.values() if one.digest in have]
        samples += known
        splits += [one.split if split is None else split for one in known]
    count = len(parts[0][0].images)
    if sum(split != auditing.NEW for split in splits) < 2:
        asked = {one.digest for one in parts[0][0]} - have
        raise no_rows(
            f"of {count} images of {parts[0][0].source}, {len(samples)} have features in all of "
            f"{enumerate_some(names)} in {store.path}",
            [one for one in store.failures() if one["digest"] in asked],
            "run `icecore extract` on them into this cache, or name the --features that they have",
        )
    digests = [one.digest for one in samples]
    scales = [_scale(one, digests) for one in sets]

    def read(rows: np.ndarray) -> np.ndarray:
        keys = [digests[row] for row in rows]
        return np.hstack([one.matrix(keys) * scale for one, scale in zip(sets, scales)])

    fields = zip(*((s.id, s.path, s.digest, s.box) for s in samples))
    ids, paths, digests_, boxes = map(tuple, fields)
    projected = auditing.whitened(read, len(samples), seed)
    images = Images(ids, paths, digests_, tuple(splits), boxes, *projected)
    return images, {s.id: row for row, s in enumerate(samples) if splits[row] != auditing.NEW}


def _scale(one, digests: Sequence[str]) -> float:
    """Return what makes the features of every set vary as much in all as those of the others."""
    step = max(1, len(digests) // 1000)
    spread = float(one.matrix(digests[::step]).std(axis=0).mean())
    return 1 / spread if spread > 0 else 1.0
