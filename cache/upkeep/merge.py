"""Unite caches that were filled on several machines."""

from collections.abc import Sequence

import numpy as np

from ...core.errors import DamagedCacheError, counted, enumerate_some
from ...core.files import publish_bytes
from ..check import sound_shards, stored_rows, unlike_rows
from ..featurecache import FeatureCache
from ..featureset import FeatureSet
from ..format.disk import open_own, require_own_set
from ..format.shard import Shard, publish_shard, read_provenance


def merge(target: FeatureCache, sources: Sequence[FeatureCache]) -> dict:
    """Copy into `target` the rows of `sources` that it lacks.

    Every fingerprint is compared and every source row checked before anything is
    written. Sources stay as they are.

    Returns
    -------
    dict
        ``{"path", "sets": [{"source", "name", "fingerprint", "rows_added",
        "rows_already_there"}]}``

    Raises
    ------
    FingerprintError
        The same backbone was used in two ways that contradict each other.
    DamagedCacheError
        A source has damaged shards, or caches hold unlike rows of one image.
    """
    plan: list[tuple[FeatureCache, FeatureSet, dict[str, Shard]]] = []
    headers = [one.header for one in target.sets()]
    for source in sources:
        for one in source.sets():
            if one.header not in headers:
                target.refuse_contradictions(one.header, headers)
                headers.append(one.header)
            plan.append((source, one, sound_shards(one)))
    _require_alike(target, plan)
    done: list[dict] = []
    touched: dict = {}
    for source, one, good in plan:
        into = touched.get(one.fingerprint) or target.open_as(one.header)
        touched[one.fingerprint] = into
        before = len(into)
        for shard in good.values():
            _copy(one, shard, into)
        rows = len({key for shard in good.values() for key in shard.keys.tolist()})
        added = len(into) - before
        done.append(
            {
                "source": str(source.path), "name": one.name, "fingerprint": one.fingerprint,
                "rows_added": added, "rows_already_there": rows - added,
            }
        )  # fmt: skip
    for into in touched.values():
        into.write_index()
    failures = [failure for source in sources for failure in source.failures()]
    sets = list(touched.values())
    target.record_failures(
        one
        for one in failures
        if not (one["digest"] and sets) or any(into.missing([one["digest"]]) for into in sets)
    )
    return {"path": str(target.path), "sets": done}


def _require_alike(
    target: FeatureCache, plan: Sequence[tuple[FeatureCache, FeatureSet, dict[str, Shard]]]
) -> None:
    """Refuse rows of one image and fingerprint that differ by more than engines do."""
    parts: dict[str, list[tuple[FeatureSet, Shard]]] = {}
    for one in target.sets():
        one.rows.refresh()
        parts[one.fingerprint] = [(one, shard) for shard in one.rows.shards.values()]
    for _, one, good in plan:
        parts.setdefault(one.fingerprint, []).extend((one, shard) for shard in good.values())
    faults = []
    for some in parts.values():
        if unlike := unlike_rows(some):
            keys = [key.decode()[:12] for key in sorted(unlike)]
            held = [one for one, shard in some if unlike & set(shard.keys.tolist())]
            where = enumerate_some(dict.fromkeys(str(one.folder) for one in held), 3)
            rows = counted(len(keys), "image has unlike rows", "images have unlike rows")
            faults.append(f"{rows} in {where}: {enumerate_some(keys, 3)}")
    if faults:
        raise DamagedCacheError(
            f"{'; '.join(faults)}; nothing was changed",
            "find out which cache is wrong (an engine or a driver that computes otherwise, or "
            "a change of its files), and merge the others",
        )


def _copy(one: FeatureSet, shard: Shard, into: FeatureSet) -> None:
    path = one.folder / "shards" / shard.name
    texts = [key.decode() for key in shard.keys.tolist()]
    missing = set(into.missing(texts))
    if not missing:
        return
    if len(missing) == len(texts):
        # Shards are immutable and named by their content: the file is copied as it is.
        with open_own(path) as file:
            content = file.read()
        require_own_set(into.folder)
        publish_bytes(into.folder / "shards" / shard.name, content)
        into.rows.add(shard)
        return
    rows = stored_rows(path, shard, one.header)
    take = np.array([text in missing for text in texts], bool)
    given = read_provenance(path)
    folder = into.folder / "shards"
    into.rows.add(publish_shard(folder, into.header, shard.keys[take], rows[take], given))
