"""The format on disk: files of released versions keep opening, newer ones are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from repository import ROOT

from icecore.cache import FORMAT, FeatureCache, canonical_json, fingerprint, verify
from icecore.core.errors import CacheError

FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture(scope="module")
def expected():
    return json.loads((FIXTURES / "cache-v1.json").read_text())


def test_cache_of_format_1_opens(expected):
    cache = FeatureCache(FIXTURES / "cache-v1")
    rows = np.array(expected["rows"], np.float32)
    assert len(cache.sets()) == 3
    for entry in expected["sets"]:
        assert cache.find(entry["name"]).fingerprint == entry["fingerprint"]
        assert np.array_equal(cache.matrix(entry["name"], expected["keys"]), rows)
    assert [one["id"] for one in cache.failures()] == ["broken.jpg"]
    report = verify(cache)
    assert report["ok"], report["problems"]
    assert not report["problems"]


def test_cache_of_format_1_can_be_added_to(expected, tmp_path, make):
    cache = FeatureCache(shutil.copytree(FIXTURES / "cache-v1", tmp_path / "cache"))
    for one in cache.sets():
        again = cache.open_set(one.record, one.name, one.width, one.views, one.dtype)
        assert again.warnings == []
        again.append([make.key(1)], np.ones((1, 6)))
        assert len(again) == 8


@pytest.mark.parametrize("number", range(3))
def test_fixture_is_readable_from_the_specification_alone(expected, number):
    """A reader that uses h5py, hashlib and json only, as docs/cache-format.md tells."""
    entry = expected["sets"][number]
    folder = next((FIXTURES / "cache-v1").glob(f"*-{entry['fingerprint'][:12]}"))
    record = json.loads((folder / "record.json").read_text())
    canonical = json.dumps(
        record["record"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert hashlib.sha256(canonical.encode()).hexdigest() == entry["fingerprint"]
    told = {n: record[n] for n in ("fingerprint", "name", "width", "views", "dtype", "record")}
    whole = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(whole.encode()).hexdigest() == record["checksum"]
    rows = {}
    for path in (folder / "shards").glob("*.h5"):
        with h5py.File(path, "r") as file:
            assert file.attrs["what"] == b"icecore feature shard"
            assert file.attrs["format"] == 1
            assert file.attrs["fingerprint"].decode() == entry["fingerprint"]
            stored = file["features"][()]
            start, length = file["features"].id.get_offset(), stored.nbytes
            assert json.loads(file.attrs["set"]) == told
            assert told["width"] * len(told["views"]) == stored.shape[1]
            if told["dtype"] == "bfloat16":
                stored = (stored.astype(np.uint32) << 16).view(np.float32)
            rows.update(zip(file["keys"].asstr()[()], stored, strict=True))
        content = path.read_bytes()
        rest = hashlib.sha256(content[:start] + content[start + length :]).hexdigest()
        assert path.name == f"{rest[:24]}.h5"
    found = np.array([rows[key] for key in expected["keys"]])
    assert np.array_equal(found, np.array(expected["rows"]))


def test_index_of_the_fixture_shows_all_rows(expected):
    for index in (FIXTURES / "cache-v1").glob("*/index.h5"):
        with h5py.File(index, "r") as file:
            assert file["features"].is_virtual
            assert all(
                s.file_name.startswith("shards/") for s in file["features"].virtual_sources()
            )
            assert sorted(file["keys"].asstr()[()]) == sorted(expected["keys"])


def test_format_has_not_moved_on_without_a_fixture():
    assert (FIXTURES / f"cache-v{FORMAT}").is_dir()


def test_fingerprint_is_the_digest_of_canonical_json():
    record = {"b": [1, 0.5, None, True], "a": {"ü": "x"}}
    assert canonical_json(record) == '{"a":{"ü":"x"},"b":[1,0.5,null,true]}'
    assert fingerprint(record) == hashlib.sha256(canonical_json(record).encode()).hexdigest()
    with pytest.raises(CacheError, match="is not plain JSON"):
        fingerprint({"a": float("nan")})


def test_newer_shard_set_and_cache_are_refused_with_a_sentence(tmp_path):
    def fresh():
        shutil.rmtree(tmp_path / "c", ignore_errors=True)
        return Path(shutil.copytree(FIXTURES / "cache-v1", tmp_path / "c"))

    for victim in ("icecore-cache.json", "*/record.json"):
        path = next(fresh().glob(victim))
        path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
        with pytest.raises(CacheError, match="has cache format 2; this icecore reads up to 1"):
            FeatureCache(tmp_path / "c").sets()
    root = fresh()
    shard = next(root.glob("*/shards/*.h5"))
    (shard.parent.parent / "index.h5").unlink()
    with h5py.File(shard, "r+") as file:
        file.attrs["format"] = 2
    name = json.loads((shard.parent.parent / "record.json").read_text())["name"]
    with pytest.raises(CacheError, match="has cache format 2; this icecore reads up to 1"):
        FeatureCache(root).ids(name)


@pytest.mark.parametrize("dim", [1, 3, 700])
@pytest.mark.parametrize("count", [1, 40, 900])
def test_plain_h5py_reads_shards_of_every_shape(tmp_path, make, count, dim):
    """HDF5 lays small and large data sets out in different orders."""
    keys = make.keys(2 * count)
    rows = np.random.default_rng(0).normal(size=(2 * count, dim)).astype(np.float16)
    one = FeatureCache.create(tmp_path / "cache").open_set(**make.asked(dim))
    for part in (slice(0, count), slice(count, 2 * count)):
        one.append(keys[part], rows[part])
    found = {}
    for path in (one.folder / "shards").iterdir():
        with h5py.File(path) as file:
            assert len(file["checksums"]) == count
            found.update(zip(file["keys"].asstr()[()], file["features"][()], strict=True))
    assert np.array_equal(np.array([found[key] for key in keys]), rows)
    assert verify(tmp_path / "cache")["ok"]


def test_files_keep_to_what_hdf5_1_10_reads():
    for path in (FIXTURES / "cache-v1").rglob("*.h5"):
        content = path.read_bytes()
        assert content[:8] == b"\x89HDF\r\n\x1a\n"
        # Superblock versions: 2 came with HDF5 1.8, 3 with 1.10.
        assert content[8] <= 3
