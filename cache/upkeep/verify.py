"""Verify a whole cache, reading every byte of it once."""

import dataclasses
import os
from pathlib import Path

from ...core.errors import counted
from ..cache_folder import (
    FAILURES,
    FAILURES_NAME,
    MARKER,
    MARKER_NAME,
    RECORD_NAME,
    json_fault,
    require_cache,
    set_folders,
)
from ..check import Problem, check_set
from ..featurecache import FeatureCache
from ..featureset import FeatureSet
from ..mend import told_of_set
from ..rows import list_shards


def verify(cache: FeatureCache | str | os.PathLike) -> dict:
    """Check every file of a cache, reading all of it once.

    Returns
    -------
    dict
        ``{"path", "ok", "sets", "shards", "rows", "bytes", "problems": [{"file", "kind",
        "reason", "rows", "unnamed", "by_hand", "harmless"}]}``. ``ok`` is False if a row is
        affected; what reads as plain JSON may be printed as it is.
    """
    path = cache.path if isinstance(cache, FeatureCache) else Path(cache)
    require_cache(path)
    problems = []
    for name, kind, parts in (
        (MARKER_NAME, "marker", MARKER),
        (FAILURES_NAME, "failures", FAILURES),
    ):
        fault = json_fault(path / name, parts)
        if fault and (kind == "marker" or (path / name).exists()):
            problems.append(Problem(path / name, kind, fault))
    counts = {"sets": 0, "shards": 0, "rows": 0, "bytes": 0}
    for folder in set_folders(path):
        counts["sets"] += 1
        told = told_of_set(folder)
        if told.header is None:
            count = len(list_shards(folder / "shards"))
            reason = f"{told.fault}; {counted(count, 'shard')} not checked; {told.remedy}"
            problems.append(Problem(folder / RECORD_NAME, "record", reason, by_hand=True))
            continue
        if told.fault:
            problems.append(Problem(folder / RECORD_NAME, "record", told.fault))
        good, found = check_set(FeatureSet(folder, told.header))
        problems += found
        counts["shards"] += len(good)
        counts["rows"] += len({key for shard in good.values() for key in shard.keys.tolist()})
        counts["bytes"] += sum(shard.size for shard in good.values())
    listed = [
        {**dataclasses.asdict(p), "file": str(p.file.relative_to(path)), "harmless": p.harmless}
        for p in problems
    ]
    ok = all(problem.harmless for problem in problems)
    return {"path": str(path), "ok": ok, **counts, "problems": listed}
