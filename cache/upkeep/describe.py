"""What a cache holds, as plain dictionaries that a command can print or dump as JSON."""

from collections.abc import Mapping, Sequence

from ..featurecache import FeatureCache
from ..featureset import FeatureSet
from ..format.shard import FORMAT
from ..record import differences

# These tell one run from another and nothing about the rows; `show` gives them apart.
_TIMES = ("started", "finished", "time", "pid", "latency_ms")


def list_sets(cache: FeatureCache) -> dict:
    """Summarise a cache for `icecore cache ls`.

    Returns
    -------
    dict
        ``{"path", "format", "sets": [{"name", "fingerprint", "dim", "width", "views",
        "dtype", "rows", "shards", "bytes", "damaged", "folder", "record"}],
        "failures": int}``
    """
    return {
        "path": str(cache.path),
        "format": FORMAT,
        "sets": [_summary(one) for one in cache.sets()],
        "failures": len(cache.failures()),
    }


def _summary(one: FeatureSet) -> dict:
    rows = len(one)
    sizes = [shard.size for shard in one.rows.shards.values()]
    return {
        "name": one.name,
        "fingerprint": one.fingerprint,
        "dim": one.dim,
        "width": one.width,
        "views": list(one.views),
        "dtype": one.dtype,
        "rows": rows,
        "shards": len(sizes),
        "bytes": sum(sizes),
        "damaged": len(one.rows.damaged),
        "folder": one.folder.name,
        "record": one.record,
    }


def show_set(cache: FeatureCache, name: str | None = None) -> dict:
    """Describe one feature set (or all of them) in full for `icecore cache show`.

    Returns
    -------
    dict
        ``{"path", "sets": [{..., "provenance": [{"provenance", "shards", "rows",
        "times"}]}], "failures": [{"id", "path", "digest", "reason"}]}``
    """
    chosen = cache.sets() if name is None else [cache.find(name)]
    return {
        "path": str(cache.path),
        "sets": [{**_summary(one), "provenance": _merge(one.provenances())} for one in chosen],
        "failures": cache.failures(),
    }


def _merge(given: Sequence[Mapping]) -> list[dict]:
    """Unite the provenance of shards that differ only in their times."""
    merged: dict[str, dict] = {}
    for one in given:
        lasting = {n: v for n, v in one["provenance"].items() if n not in _TIMES}
        times = [one["provenance"][n] for n in _TIMES[:3] if n in one["provenance"]]
        entry = merged.setdefault(
            repr(sorted(lasting.items())),
            {"provenance": lasting, "shards": 0, "rows": 0, "times": []},
        )
        entry["shards"] += 1
        entry["rows"] += one["rows"]
        entry["times"] = sorted({str(time) for time in [*entry["times"], *times]})
        entry["times"] = [entry["times"][0], entry["times"][-1]] if entry["times"] else []
    return list(merged.values())


def diff_sets(cache: FeatureCache, a: str, b: str, other: FeatureCache | None = None) -> list[dict]:
    """Name the fields in which two feature sets' records differ.

    Parameters
    ----------
    cache : FeatureCache
    a, b : str
        Names as `FeatureCache.find` takes them.
    other : FeatureCache, optional
        Where `b` is, if in another cache.

    Returns
    -------
    list of dict
        ``{"field", "a", "b"}`` for each differing field; empty if they are one.
    """
    one, two = cache.find(a), (other or cache).find(b)
    return [
        {"field": name, "a": ours, "b": theirs}
        for name, ours, theirs in differences(one.record, two.record)
    ]
