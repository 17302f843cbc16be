"""Unite caches that were filled on several machines."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from ...core.errors import DamagedCacheError, enumerate_some
from ..check import check_set, stored_blocks
from ..featurecache import FeatureCache
from ..featureset import FeatureSet
from ..format.disk import publish_pieces
from ..format.shard import Shard, publish_shard, read_attributes

__all__ = ["merge"]


def merge(target: FeatureCache, sources: Sequence[FeatureCache]) -> dict:
    """Copy into `target` the rows of `sources` that it lacks.

    Every fingerprint is compared and every source row checked before anything is
    written. Sources stay as they are.

    Returns
    -------
    dict
        ``{"path", "sets": [{"source", "spec", "fingerprint", "rows_added",
        "rows_already_there"}]}``

    Raises
    ------
    FingerprintError
        The same backbone was used in two ways that contradict each other.
    DamagedCacheError
        A source has damaged shards.
    """
    plan: list[tuple[FeatureCache, FeatureSet, dict[str, Shard]]] = []
    records = [one.record for one in target.sets()]
    for source in sources:
        for one in source.sets():
            if one.record not in records:
                target.refuse_contradictions(one.record, records)
                records.append(one.record)
            plan.append((source, one, _sound(one)))
    done, touched = [], {}
    for source, one, good in plan:
        into = touched.get(one.fingerprint) or target.open_set(one.record, one.dim)
        touched[one.fingerprint] = into
        before = len(into)
        for shard in good.values():
            _copy(one, shard, into)
        rows = len({key for shard in good.values() for key in shard.keys.tolist()})
        added = len(into) - before
        done.append(
            {
                "source": str(source.path), "spec": one.spec, "fingerprint": one.fingerprint,
                "rows_added": added, "rows_already_there": rows - added,
            }
        )  # fmt: skip
    for into in touched.values():
        into.write_index()
    _merge_failures(target, sources, list(touched.values()))
    return {"path": str(target.path), "sets": done}


def _sound(one: FeatureSet) -> dict[str, Shard]:
    good, problems = check_set(one)
    bad = [str(problem.file) for problem in problems if not problem.harmless]
    if bad:
        raise DamagedCacheError(
            f"{len(bad)} files of {one.folder} are damaged: {enumerate_some(bad, 3)}",
            "run `icecore cache repair` on that cache first; nothing was merged",
        )
    return good


def _copy(one: FeatureSet, shard: Shard, into: FeatureSet) -> None:
    path = one.folder / "shards" / shard.name
    texts = [key.decode() for key in shard.keys.tolist()]
    missing = set(into.missing(texts))
    if not missing:
        return
    if len(missing) == len(texts):
        # Shards are immutable and named by their content: the file is copied as it is.
        publish_pieces(into.folder / "shards" / shard.name, [path.read_bytes()])
        into.rows.add(shard)
        return
    rows = np.concatenate([part for _, part in stored_blocks(path, shard, one)])
    take = np.array([text in missing for text in texts], bool)
    given = read_attributes(path)["provenance"]
    folder = into.folder / "shards"
    into.rows.add(
        publish_shard(folder, into.record, shard.keys[take], [rows[take]], into.dim, given)
    )


def _merge_failures(
    target: FeatureCache, sources: Sequence[FeatureCache], sets: Sequence[FeatureSet]
) -> None:
    failures = [failure for source in sources for failure in source.failures()]
    with contextlib.suppress(KeyError):
        failures = [f for f in failures if not _succeeded(f["digest"], sets)]
    target.record_failures(failures)


def _succeeded(digest: str, sets: Sequence[FeatureSet]) -> bool:
    return bool(digest and sets) and all(not one.missing([digest]) for one in sets)
