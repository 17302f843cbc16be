"""Files whose checksums are all right, and which contradict each other: found, and mended."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from icecore.cache import FeatureCache, compact, repair, verify
from icecore.cache.check import stored_rows
from icecore.cache.format.checksum import row_checksums
from icecore.cache.format.index import read_index, write_index
from icecore.cache.format.shard import publish_shard, read_shard
from icecore.core.errors import DamagedCacheError

DIM, ROWS, SHARD = 12, 24, 8


@pytest.fixture
def one(tmp_path, make):
    one = FeatureCache.create(tmp_path / "cache").open_set(**make.asked(DIM))
    make.fill(one, make.keys(ROWS), SHARD)
    one.write_index()
    one.rows.table()
    return one


def swapped(one, shard):
    """A shard's tables as if its first two rows were those of each other's images."""
    keys = shard.keys.copy()
    keys[[0, 1]] = keys[[1, 0]]
    rows = stored_rows(one.folder / "shards" / shard.name, shard, one.header)
    return dataclasses.replace(shard, keys=keys, checksums=row_checksums(rows, keys))


def moved(one, shard):
    return dataclasses.replace(shard, offset=shard.offset + 2)


def extract(one, make):
    again = FeatureCache.create(one.folder.parent).open_set(**make.asked(DIM))
    missing = again.missing(make.keys(ROWS))
    again.append(missing, make.rows(missing, DIM), {"engine": "test"})
    return again


@pytest.mark.parametrize("lie", [swapped, moved])
@pytest.mark.parametrize("heal", ["repair", "extract"])
def test_an_index_that_contradicts_its_shards_is_found_and_mended(one, make, lie, heal):
    first, *others = one.rows.shards.values()
    write_index(one.folder, one.header, [lie(one, first), *others])
    found = verify(one.folder.parent)
    assert not found["ok"]
    assert [p["reason"] for p in found["problems"]] == [
        f"it is at odds with 1 shard ({first.name})"
    ]
    assert found["problems"][0]["rows"] == [key.decode() for key in first.keys.tolist()]
    if heal == "repair":
        assert repair(one.folder.parent)["to_recompute"] == {}
    else:
        extract(one, make)
    assert verify(one.folder.parent)["ok"]
    fresh = FeatureCache(one.folder.parent)
    keys = make.keys(ROWS)
    np.testing.assert_array_equal(fresh.matrix(one.name, keys), make.rows(keys, DIM))


@pytest.mark.parametrize("within", [False, True])
def test_unlike_rows_of_one_image_are_found_and_computed_again(one, make, within):
    keys = make.keys(4) if not within else [make.key(100)] * 2 + [make.key(101)]
    rows = make.rows(keys, DIM)
    rows[0] *= -3
    order = np.argsort(np.array(keys, "S64"), kind="stable")
    publish_shard(one.folder / "shards", one.header, np.array(keys, "S64")[order], rows[order], {})
    found = verify(one.folder.parent)
    assert not found["ok"]
    named = {key for p in found["problems"] if p["kind"] == "rows" for key in p["rows"]}
    assert named == {keys[0]}
    with pytest.raises(DamagedCacheError, match="others than under the same key elsewhere"):
        compact(FeatureCache(one.folder.parent))
    assert repair(one.folder.parent)["to_recompute"] == {one.folder.name: [keys[0]]}
    assert verify(one.folder.parent)["ok"]
    wanted = make.keys(ROWS)
    rows = extract(one, make).matrix(wanted)
    np.testing.assert_array_equal(rows, make.rows(wanted, DIM))


def test_last_bits_of_two_machines_are_no_contradiction(one, make):
    keys = sorted(make.keys(8))
    rows = np.float16(1.001) * make.rows(keys, DIM)
    rows[0] = make.rows(keys, DIM)[0]
    publish_shard(one.folder / "shards", one.header, np.array(keys, "S64"), rows, {})
    # Of a black image: zeros, but for rounding.
    for noise in (1e-5, -1e-5):
        dark = np.full((1, DIM), noise, np.float16)
        publish_shard(one.folder / "shards", one.header, np.array([make.key(99)], "S64"), dark, {})
    assert verify(one.folder.parent)["ok"]


@pytest.mark.parametrize("name", ["shard", "index"])
def test_lists_of_parts_that_icecore_does_not_write_are_refused(one, name):
    """The HDF5 library believes what a list of chunks says, and may end the process by it."""
    index = one.folder / "index.h5"
    path = index if name == "index" else next(one.folder.glob("shards/*.h5"))
    with h5py.File(path, "r+", libver="latest") as file:
        # So many attributes lie in a heap, with a B-tree in which they are looked up.
        file.attrs.update({f"more {number}": number for number in range(40)})
    if name == "index":
        assert read_index(one.folder, one.header, 2**30) is None
        return
    with pytest.raises(DamagedCacheError, match="holds lists of its parts, which are not used"):
        read_shard(path, one.header)
