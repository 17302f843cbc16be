"""Files whose checksums are all right, and which contradict each other: found, and mended."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json

import h5py
import numpy as np
import pytest

from icecore.cache import FeatureCache, compact, repair, show_set, verify
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


def test_a_forged_record_has_no_shard_set_aside(one, tmp_path, make):
    """A sound record of another set, under that set's name: all rows were moved away for it."""
    record = one.record | {"forged": True}
    other = FeatureCache.create(tmp_path / "other").open_set(**make.asked(DIM) | {"record": record})
    (one.folder / "record.json").write_bytes((other.folder / "record.json").read_bytes())
    one.folder.rename(one.folder.parent / other.folder.name)
    assert "it is not that of its shards" in str(verify(tmp_path / "cache"))
    assert not any(repair(tmp_path / "cache")["to_recompute"].values())
    (found,) = FeatureCache(tmp_path / "cache").sets()
    assert found.fingerprint == one.fingerprint
    assert np.isfinite(found.matrix(make.keys(ROWS))).all()


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


def forge(path, libver="latest", **changes):
    """Write a shard anew as the page on the format says, with other attributes; None is none."""
    with h5py.File(path) as file:
        tables = {name: file[name][()] for name in ("keys", "checksums", "features")}
        attributes = {name: file.attrs[name] for name in file.attrs} | changes
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        file.attrs.update({name: one for name, one in attributes.items() if one is not None})
        for name, table in tables.items():
            file[name] = table
        start, length = file["features"].id.get_offset(), file["features"].id.get_storage_size()
    content = buffer.getvalue()
    digest = hashlib.sha256(content[:start] + content[start + length :]).hexdigest()
    path.unlink()
    path.with_name(f"{digest[:24]}.h5").write_bytes(content)
    return path.with_name(f"{digest[:24]}.h5")


BAD = {
    "absent": None,
    "a number": 7.5,
    "an array": np.zeros(3),
    "no JSON": np.bytes_("{{{"),
    "a list": np.bytes_("[1]"),
    "empty": np.bytes_("{}"),
    "no text": np.bytes_(b"\xff\xfe"),
    "too long": np.bytes_(json.dumps({"name": "x" * 62_000})),
}


@pytest.mark.parametrize("heal", ["repair", "extract"])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["what", "format", "fingerprint", "set", "provenance"])
def test_what_a_reader_asks_of_a_shard_is_what_verify_asks(one, make, name, bad, heal):
    """No attribute leads from a reader to verify, to repair, and back to the reader."""
    victim = next(iter(one.rows.shards.values()))
    lost = [key.decode() for key in victim.keys.tolist()] if name == "fingerprint" else []
    (one.folder / "index.h5").unlink()
    path = forge(one.folder / "shards" / victim.name, **{name: BAD[bad]})
    if (name, bad) == ("provenance", "empty"):
        assert verify(one.folder.parent)["ok"]
        return
    found = verify(one.folder.parent)
    assert not found["ok"]
    assert [p["kind"] for p in found["problems"] if path.name in p["file"]] == ["shard"]
    with pytest.raises(DamagedCacheError, match=path.name):
        FeatureCache(one.folder.parent).ids(one.name)
    if heal == "repair":
        assert repair(one.folder.parent)["to_recompute"] == (
            {one.folder.name: lost} if lost else {}
        )
        assert set(FeatureCache(one.folder.parent).find(one.name).missing(make.keys(ROWS))) == set(
            lost
        )
    extract(one, make)
    cache = FeatureCache(one.folder.parent)
    compact(cache)
    assert show_set(cache)["sets"][0]["rows"] == ROWS
    assert verify(cache)["problems"] == []
    keys = make.keys(ROWS)
    np.testing.assert_array_equal(cache.matrix(one.name, keys), make.rows(keys, DIM))


def test_much_provenance_does_not_stop_compact_nor_repair(one, make):
    for number in range(3):
        row = make.rows([make.key(100 + number)], DIM)
        one.append([make.key(100 + number)], row, {"command": str(number) * 59_900})
    victim = list(one.rows.shards)[-1]
    forge(one.folder / "shards" / victim, set=None)
    assert repair(one.folder.parent)["to_recompute"] == {}
    compact(FeatureCache(one.folder.parent))
    assert verify(one.folder.parent)["ok"]


@pytest.mark.parametrize("libver", ["latest", ("v108", "v110"), ("v110", "v110")])
def test_a_shard_of_another_writer_with_the_setting_of_the_page_is_read(one, make, libver):
    (one.folder / "index.h5").unlink()
    for name in list(one.rows.shards):
        forge(one.folder / "shards" / name, libver)
    assert verify(one.folder.parent)["ok"]
    keys = make.keys(ROWS)
    rows = FeatureCache(one.folder.parent).matrix(one.name, keys)
    np.testing.assert_array_equal(rows, make.rows(keys, DIM))


def test_the_setting_of_the_page_is_needed(one):
    path = forge(one.folder / "shards" / next(iter(one.rows.shards)), "earliest")
    with pytest.raises(DamagedCacheError, match="holds lists of its parts"):
        read_shard(path, one.header)
