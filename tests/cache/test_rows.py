"""Loading many rows, which several threads share."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from icecore.cache import FeatureCache
from icecore.cache import rows as rows_module
from icecore.core.errors import DamagedCacheError

DIM = 30


@pytest.fixture(params=[1, 3], ids=["alone", "threads"])
def threads(request, monkeypatch):
    """Parts of two rows, read by so many threads."""
    monkeypatch.setattr(rows_module, "_PART_BYTES", 4 * DIM)
    monkeypatch.setattr(rows_module, "available_cpus", lambda: request.param)
    return request.param


@pytest.fixture
def keys(cache, make):
    keys = make.keys(60)
    make.fill(cache.open_set(**make.asked(DIM)), keys, 7)
    return keys


def test_any_order_and_any_columns(cache, make, keys, threads, monkeypatch):
    readers = set()
    real = rows_module.decode_into

    def watched(*given):
        readers.add(threading.current_thread().name)
        real(*given)

    monkeypatch.setattr(rows_module, "decode_into", watched)
    order = [*np.random.default_rng(3).permutation(60).tolist(), 5, 5]
    wanted = [keys[i] for i in order]
    expected = make.rows(wanted, DIM).astype(np.float32)
    wide = np.full((len(wanted), DIM + 2), 7, np.float32)
    cache.find("inceptionv3").matrix(wanted, wide[:, 1:-1])
    assert np.array_equal(wide[:, 1:-1], expected)
    assert (wide[:, [0, -1]] == 7).all()
    assert np.array_equal(cache.matrix("inceptionv3", sorted(keys)), make.rows(sorted(keys), DIM))
    assert all(name.startswith("read") for name in readers) == (threads > 1)


def test_damage_is_named_wherever_it_is(cache, make, keys, threads):
    one = cache.find("inceptionv3")
    one.rows.refresh()
    for victim in sorted((one.folder / "shards").iterdir()):
        sound = victim.read_bytes()
        shard = one.rows.shards[victim.name]
        flipped = bytearray(sound)
        flipped[shard.offset + 2 * DIM + 5] ^= 1
        victim.write_bytes(flipped)
        with pytest.raises(DamagedCacheError, match=f"{victim.name} is damaged: 1 row") as caught:
            FeatureCache(cache.path).matrix("inceptionv3", keys)
        assert shard.keys[1].decode() in str(caught.value)
        victim.write_bytes(sound)
    assert np.array_equal(one.matrix(keys), make.rows(keys, DIM).astype(np.float32))


def test_shards_replaced_while_they_are_read(cache, make, keys, threads, monkeypatch):
    reader = FeatureCache(cache.path).find("inceptionv3")
    reader.rows.refresh()
    one = cache.find("inceptionv3")
    old = sorted((one.folder / "shards").iterdir())
    real = rows_module.row_checksums
    first = threading.Lock()

    def and_replace(*given):
        # The other threads wait here, so no more than a part each was read before.
        with first:
            if old[0].exists():
                # As a compaction does: the rows first, then the old shards go.
                other = FeatureCache.create(cache.path.parent / "other")
                make.fill(other.open_set(**make.asked(DIM)), keys, 60)
                for new in (other.find("inceptionv3").folder / "shards").iterdir():
                    new.rename(one.folder / "shards" / new.name)
                for path in old:
                    path.unlink()
        return real(*given)

    monkeypatch.setattr(rows_module, "row_checksums", and_replace)
    assert np.array_equal(reader.matrix(keys), make.rows(keys, DIM).astype(np.float32))
    assert len(reader.rows.shards) == 1
