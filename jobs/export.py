"""The job `export`: features for other programs, with what is known of each image beside them."""

import dataclasses
import os
from collections.abc import Iterable, Sequence

from ..cache import TABLES_NAME, FeatureCache, require_all_rows
from ..cache import export as export_rows
from ..core.arguments import typed
from ..core.errors import CacheError, counted, enumerate_some
from ..core.outputs import require_writable
from ..manifest import DEFAULT_TASK, Sample
from .samples import as_extracted, digested, kept_tables, keys_in_all, no_features, read_kept_table


@typed
def export(
    cache: str | os.PathLike,
    names: Sequence[str],
    out: str | os.PathLike,
    data: str | os.PathLike | None = None,
    compress: bool = False,
) -> dict:
    """Write feature sets side by side into one file, with ids, paths, splits and labels.

    Parameters
    ----------
    cache : path-like
    names : sequence of str
        Feature sets, in the order of their columns.
    out : path-like
        Ends in ``.npz``, ``.h5`` or ``.parquet``.
    data : path-like, optional
        The images whose rows are written, in this order. By default all rows that every
        set has, with what the tables in ``CACHE/manifests`` know of their images.
    compress : bool
        Make a smaller file, which takes longer to write and read.

    Returns
    -------
    dict
        Of `icecore.cache.export`, and ``without_rows``: the ids of the images of `data` that
        have no features.

    Raises
    ------
    CacheError
        No image of `data` has features, or tables of the cache contradict each other.
    """
    require_writable([out], (cache, data))
    store = FeatureCache(cache)
    sets = store.find_all(names)
    if data is None:
        require_all_rows(sets)
        tables = kept_tables(store)
        kept = [read_kept_table(path) for path in tables]
        _require_agreement([[one for one in table if one.label] for table in kept], cache)
        samples = [one for table in kept for one in table]
        keys = None
    else:
        samples = list(digested(store, as_extracted(store, data, labels_required=False)))
        keys = {sample.digest for sample in samples if sample.digest}
    have = keys_in_all(sets)
    images = _images((sample for sample in samples if sample.digest in have), cache)
    bare = [] if keys is None else [one.id for one in samples if one.digest not in have]
    if not (have if keys is None else images):
        raise no_features(samples, cache if data is None else data, store)
    known = {rows[0].digest for rows in images}
    rest = [] if keys is not None else sorted(have - known)
    found = export_rows(store, list(names), out, _table(images, rest), compress)
    return found | {"without_rows": list(dict.fromkeys(bare))}


def _images(samples: Iterable[Sample], cache: str | os.PathLike) -> list[list[Sample]]:
    """Return the rows of each image, one for each task; a table kept twice counts once."""
    images: dict[tuple[str, str], dict[str, Sample]] = {}
    faults = []
    for sample in samples:
        tasks = images.setdefault((sample.id, sample.digest), {})
        known = tasks.setdefault(sample.task, sample)
        pairs = [(known.label, sample.label), (known.split, sample.split)]
        if unlike := [" or ".join(pair) for pair in pairs if all(pair) and pair[0] != pair[1]]:
            faults.append(f"{sample.id} ({', '.join(unlike)})")
        # One table may know what the other does not.
        label, split = (one or other for one, other in pairs)
        if (label, split) != (known.label, known.split):
            tasks[sample.task] = dataclasses.replace(known, label=label, split=split)
    if faults:
        raise _contradiction(faults, cache)
    return [list(tasks.values()) for tasks in images.values()]


def _require_agreement(tables: Iterable[Iterable[Sample]], cache: str | os.PathLike) -> None:
    """Refuse tables that give the same bytes unlike labels under other names."""
    first: dict[tuple[str, str], tuple[int, Sample]] = {}
    faults = []
    for number, table in enumerate(tables):
        for sample in table:
            place, known = first.setdefault((sample.digest, sample.task), (number, sample))
            if place != number and known.id != sample.id and known.label != sample.label:
                faults.append(f"{known.id}, {sample.id} ({known.label} or {sample.label})")
    if faults:
        raise _contradiction(faults, cache)


def _contradiction(faults: Sequence[str], cache: str | os.PathLike) -> CacheError:
    return CacheError(
        f"tables that {cache} keeps say unlike things of {counted(len(faults), 'image')}: "
        f"{enumerate_some(faults)}",
        f"name the one that counts: --data {cache}/{TABLES_NAME}/NAME.csv",
    )


def _table(images: Sequence[Sequence[Sample]], rest: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns: what is known of each image, and nothing of the keys in `rest`."""
    blank = [""] * len(rest)
    first = [rows[0] for rows in images]
    table = {"key": [one.digest for one in first] + list(rest)}
    for name in ("id", "path", "split"):
        table[name] = [getattr(one, name) for one in first] + blank
    for task in dict.fromkeys(one.task for rows in images for one in rows):
        labels = [next((one.label for one in rows if one.task == task), "") for rows in images]
        table["label" if task == DEFAULT_TASK else f"label_{task}"] = labels + blank
    return {name: column for name, column in table.items() if name == "key" or any(column)}
