"""Merging, exporting, pruning and compacting."""

from __future__ import annotations

import json
import shutil
import sys

import h5py
import numpy as np
import pytest

from icecore.cache import (
    FeatureCache,
    check,
    compact,
    export,
    merge,
    prune,
    rows,
    verify,
)
from icecore.core.errors import (
    CacheError,
    DamagedCacheError,
    FingerprintError,
    MissingDependencyError,
)

SPEC = "gluon:inceptionv3"


def filled(path, make, keys, shard=7, dim=5, **fields):
    cache = FeatureCache.create(path)
    make.fill(cache.open_set(**make.asked(dim, **fields)), keys, shard)
    return cache


def as_expected(cache, make, keys, dim=5):
    fresh = FeatureCache(cache.path)
    assert fresh.ids(SPEC) == sorted(keys)
    assert np.array_equal(fresh.matrix(SPEC, keys), make.rows(keys, dim).astype(np.float32))
    assert verify(fresh)["ok"]


def test_merge_unites_caches_of_two_machines(tmp_path, make):
    a = filled(tmp_path / "a", make, make.keys(20))
    b = filled(tmp_path / "b", make, make.keys(20, start=10), shard=6)
    b.open_set(**make.asked(3, "gluon:other")).append([make.key(1)], make.rows([make.key(1)], 3))
    b.record_failures([{"id": "x", "path": "x", "digest": make.key(99), "reason": "cut short"}])
    done = merge(a, [b])
    assert [(d["rows_added"], d["rows_already_there"]) for d in done["sets"]] == [(10, 10), (1, 0)]
    as_expected(a, make, make.keys(30))
    assert a.ids("gluon:other") == [make.key(1)]
    assert [f["id"] for f in a.failures()] == ["x"]
    assert merge(a, [b])["sets"][0]["rows_added"] == 0


def test_merge_refuses_other_weights_before_it_writes(tmp_path, make):
    a = filled(tmp_path / "a", make, make.keys(5))
    b = filled(tmp_path / "b", make, make.keys(9), spec="gluon:zz")
    b.open_set(**make.asked(5, weights_digest="bb")).append([make.key(1)], np.ones((1, 5)))
    with pytest.raises(FingerprintError, match="weights_digest is aa there and bb here"):
        merge(a, [b])
    assert [one.name for one in FeatureCache(a.path).sets()] == [SPEC]


def test_merge_refuses_a_damaged_source(tmp_path, make):
    a = filled(tmp_path / "a", make, make.keys(5))
    b = filled(tmp_path / "b", make, make.keys(9))
    victim = sorted((b.sets()[0].folder / "shards").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(DamagedCacheError, match=r"1 file is damaged in .*"):
        merge(a, [FeatureCache(b.path)])
    as_expected(a, make, make.keys(5))


def test_prune_counts_first_and_then_removes(tmp_path, make):
    cache = filled(tmp_path / "a", make, make.keys(30))
    keep = make.keys(12) + make.keys(3, start=500)
    planned = prune(cache, keep)
    assert planned["dry_run"]
    assert (planned["sets"][0]["rows_removed"], planned["sets"][0]["rows_kept"]) == (18, 12)
    as_expected(cache, make, make.keys(30))
    assert prune(cache, keep, dry_run=False)["sets"] == planned["sets"]
    as_expected(cache, make, make.keys(12))


def test_prune_drops_whole_sets(tmp_path, make):
    cache = filled(tmp_path / "a", make, make.keys(4))
    cache.open_set(**make.asked(3, "gluon:other"))
    assert prune(cache, drop=["gluon:other"], dry_run=False)["sets"][0]["whole"]
    assert [one.name for one in FeatureCache(cache.path).sets()] == [SPEC]
    as_expected(cache, make, make.keys(4))


def test_prune_refuses_to_keep_nothing(tmp_path, make):
    cache = filled(tmp_path / "a", make, make.keys(4))
    with pytest.raises(CacheError, match="nothing would be kept"):
        prune(cache, [], dry_run=False)


def test_compact_unites_small_shards_and_open_readers_go_on(tmp_path, make):
    cache = filled(tmp_path / "a", make, make.keys(40), shard=3)
    reader = FeatureCache(cache.path)
    before = reader.matrix(SPEC, make.keys(40))
    assert compact(cache)["sets"][0] | {"fingerprint": ""} == {
        "name": SPEC, "fingerprint": "", "rows": 40, "shards_before": 14, "shards_after": 1,
    }  # fmt: skip
    assert np.array_equal(reader.matrix(SPEC, make.keys(40)), before)
    as_expected(cache, make, make.keys(40))
    assert cache.find(SPEC).provenances()[0]["provenance"] == {"engine": "test"}
    assert compact(cache)["sets"][0]["shards_after"] == 1


def test_lists_of_files_that_are_old_do_no_harm(tmp_path, make, monkeypatch):
    """As a shared file system's may be for a minute after another machine's compaction."""
    cache = filled(tmp_path / "a", make, make.keys(40), shard=3)
    reader = FeatureCache(cache.path)
    before = reader.matrix(SPEC, make.keys(40))
    shards = cache.find(SPEC).folder / "shards"
    listed = rows.list_shards(shards)
    compact(cache)
    monkeypatch.setattr(rows, "list_shards", lambda folder: dict(listed))
    monkeypatch.setattr(check, "list_shards", lambda folder: dict(listed))
    for handle in (reader, FeatureCache(cache.path)):
        assert handle.find(SPEC).missing(make.keys(40)) == []
        assert np.array_equal(handle.matrix(SPEC, make.keys(40)), before)
    assert verify(cache)["problems"] == []
    assert compact(cache)["sets"][0]["shards_after"] == 1
    assert FeatureCache.create(cache.path).open_set(**make.asked(5, SPEC)).warnings == []
    next(shards.glob("*.h5")).unlink()
    assert [p["kind"] for p in verify(cache)["problems"]] == ["vanished", "index"]


def test_compact_leaves_large_shards_alone(tmp_path, make):
    cache = filled(tmp_path / "a", make, make.keys(40), shard=20, dim=4000)
    before = {p.name for p in (cache.sets()[0].folder / "shards").iterdir()}
    compact(cache, shard_bytes=200_000)
    assert {p.name for p in (cache.sets()[0].folder / "shards").iterdir()} == before


def test_compact_and_prune_refuse_damage(tmp_path, make):
    cache = filled(tmp_path / "a", make, make.keys(20))
    victim = sorted((cache.sets()[0].folder / "shards").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    for job in (lambda: compact(cache), lambda: prune(cache, make.keys(3), dry_run=False)):
        with pytest.raises(CacheError, match="1 file is damaged in .*, and nothing was changed"):
            job()


@pytest.fixture
def two_sets(tmp_path, make):
    cache = filled(tmp_path / "a", make, make.keys(20))
    other = cache.open_set(**make.asked(3, "gluon:other"))
    make.fill(other, make.keys(20, start=5), 4)
    return cache


def table(make, count=9):
    """Columns of text beside the rows, which say their order."""
    keys = make.keys(count)[::-1]
    return {"key": keys, "id": [f"{n}.jpg" for n in range(count)], "label": ["hat", "é", ""] * 3}


def test_export_npz_holds_the_common_rows(two_sets, tmp_path):
    specs = [SPEC, "gluon:other"]
    ids = [key for key in two_sets.ids(specs[0]) if key in two_sets.ids(specs[1])]
    x = two_sets.matrix(specs, ids)
    assert x.shape == (15, 8)
    export(two_sets, specs, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert np.array_equal(found["X"], x)
        assert found["key"].tolist() == ids
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.npz"]


@pytest.mark.parametrize("ending", ["npz", "h5", "parquet"])
def test_export_is_one_file_with_what_is_known_of_its_rows(two_sets, tmp_path, make, ending):
    columns, path = table(make), tmp_path / f"x.{ending}"
    done = export(two_sets, SPEC, path, columns)
    assert (done["rows"], done["dim"], done["columns"]) == (9, 5, ["key", "id", "label"])
    assert np.array_equal(read_back(path), make.rows(columns["key"], 5))
    if ending == "npz":
        with np.load(path, allow_pickle=False) as found:
            texts = {name: found[name].tolist() for name in columns}
    elif ending == "h5":
        with h5py.File(path) as file:
            assert not file["features"].is_virtual
            assert json.loads(file.attrs["record_0"]) == make.record()
            texts = {name: file[name].asstr()[()].tolist() for name in columns}
    else:
        import pyarrow.parquet as parquet

        texts = {n: parquet.read_table(path)[n].to_pylist() for n in columns}
    assert texts == columns
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [path.name]


@pytest.mark.parametrize(
    "change", [{"id": ["a"]}, {"X": ["a"] * 9}, {"features": ["a"] * 9}, {"key": None}]
)
def test_columns_that_cannot_be_written_are_refused(two_sets, tmp_path, make, change):
    columns = {n: c for n, c in {**table(make), **change}.items() if c is not None}
    with pytest.raises(CacheError, match="cannot be written as"):
        export(two_sets, SPEC, tmp_path / "x.npz", columns)


def test_export_parquet(two_sets, tmp_path):
    import pyarrow.parquet as parquet

    export(two_sets, SPEC, tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    ids = two_sets.ids(SPEC)
    assert table["key"].to_pylist() == ids
    assert np.array_equal(np.array(table["features"].to_pylist()), two_sets.matrix(SPEC, ids))
    about = json.loads(table.schema.metadata[b"icecore"])
    assert (about["specs"], about["dims"]) == ([SPEC], [5])
    assert about["records"] == [two_sets.find(SPEC).record]


def test_parquet_without_pyarrow_is_one_clear_error(two_sets, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match="pyarrow"):
        export(two_sets, SPEC, tmp_path / "x.parquet")
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize("ending", ["npz", "h5", "parquet"])
def test_compressed_exports_are_smaller_and_hold_the_same(tmp_path, make, ending):
    keys = make.keys(60)
    cache = FeatureCache.create(tmp_path / "a")
    rows = make.rows(keys, 400).clip(min=0)
    cache.open_set(**make.asked(400)).append(keys, rows)
    plain, small = tmp_path / f"plain.{ending}", tmp_path / f"small.{ending}"
    for path, compress in ((plain, False), (small, True)):
        export(cache, SPEC, path, {"key": keys}, compress=compress)
        assert np.array_equal(read_back(path), rows)
    assert small.stat().st_size < 0.9 * plain.stat().st_size


def read_back(path):
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as found:
            return found["X"]
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            assert (file["features"].compression == "gzip") == ("small" in path.name)
            return file["features"][()]
    import pyarrow.parquet as parquet

    return np.array(parquet.read_table(path)["features"].to_pylist())


def test_export_of_an_unknown_kind_is_refused(two_sets, tmp_path):
    with pytest.raises(CacheError, match=r"an ending that no export has \(\.npy\)"):
        export(two_sets, SPEC, tmp_path / "x.npy")


def test_merge_refuses_unlike_rows_of_one_image_before_it_writes(tmp_path, make):
    a, b = (filled(tmp_path / name, make, make.keys(5)) for name in "ab")
    shutil.rmtree(b.path)
    other = FeatureCache.create(b.path)
    keys = make.keys(9)
    rows = make.rows(keys, a.sets()[0].dim)
    rows[2] = -rows[2]
    rows[3] *= 1.0005  # As of another machine.
    other.open_set(**make.asked(a.sets()[0].dim)).append(keys, rows)
    with pytest.raises(
        DamagedCacheError, match="1 image has unlike rows in .*nothing was"
    ) as error:
        merge(a, [other])
    assert keys[2][:12] in str(error.value)
    as_expected(a, make, make.keys(5))
