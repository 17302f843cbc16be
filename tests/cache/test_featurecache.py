"""The public door of the cache: sets, specs, matrices, refusals."""

from __future__ import annotations

import hashlib
import json
import pickle

import h5py
import numpy as np
import pytest

from icecore.cache import (
    FeatureCache,
    diff_sets,
    featurecache,
    featureset,
    list_sets,
    prune,
    repair,
    show_set,
    verify,
)
from icecore.core.errors import (
    CacheError,
    DamagedCacheError,
    FingerprintError,
    MissingFileError,
    MissingRowsError,
)


def key(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


def record(spec="gluon:inceptionv3", **fields):
    backbone = {"spec": spec, "weights_digest": "aa", "input_size": 299}
    backbone.update({k: fields.pop(k) for k in list(fields) if k in backbone})
    whole = {"fit": "crop", "views": ["center"], "precision": "float16", "layer": "pool"}
    return {"backbone": backbone, **whole, **fields}


def asked(dim, spec="gluon:inceptionv3", **fields):
    told = record(spec, **fields)
    views = told["views"]
    return {
        "record": told, "name": spec, "width": dim // len(views), "views": views,
        "dtype": told["precision"],
    }  # fmt: skip


def rows(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float16)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache.create(tmp_path / "cache")


def test_matrix_returns_rows_in_the_order_asked_for(cache):
    x, keys = rows(50, 7), [key(i) for i in range(50)]
    one = cache.open_set(**asked(7))
    one.append(keys[:20], x[:20])
    one.append(keys[20:], x[20:])
    order = [*np.random.default_rng(1).permutation(50).tolist(), 3, 3]
    got = FeatureCache(cache.path).matrix(["gluon:inceptionv3"], [keys[i] for i in order])
    assert got.dtype == np.float32
    assert np.array_equal(got, x[order].astype(np.float32))


def test_several_sets_stand_side_by_side_in_the_order_of_the_specs(cache):
    keys = [key(i) for i in range(9)]
    parts = {"gluon:a": rows(9, 5, 1), "gluon:b": rows(9, 3, 2), "gluon:c": rows(9, 8, 3)}
    for spec, x in parts.items():
        cache.open_set(**asked(x.shape[1], spec)).append(keys, x)
    got = cache.matrix(["gluon:c", "gluon:a"], keys)
    expected = np.hstack([parts["gluon:c"], parts["gluon:a"]]).astype(np.float32)
    assert np.array_equal(got, expected)


def test_ids_do_not_depend_on_the_order_of_writing(tmp_path):
    x, keys = rows(30, 4), [key(i) for i in range(30)]
    forward, backward = (FeatureCache.create(tmp_path / n) for n in "ab")
    for i in range(30):
        forward.open_set(**asked(4)).append([keys[i]], x[[i]])
    backward.open_set(**asked(4)).append(keys[::-1], x[::-1])
    ids = forward.ids("inceptionv3")
    assert ids == backward.ids("inceptionv3") == sorted(keys)
    a, b = (c.matrix("inceptionv3", ids).tobytes() for c in (forward, backward))
    assert a == b


def test_many_rows_become_several_shards(cache, monkeypatch):
    monkeypatch.setattr(featureset, "shard_rows", lambda header: 7)
    x, keys = rows(40, 3), [key(i) for i in range(40)]
    one = cache.open_set(**asked(3))
    one.append(keys[:20], x[:20])
    one.append(keys[10:], x[10:])
    shards = [len(shard.keys) for shard in one.rows.shards.values()]
    assert sorted(shards) == [6, 6, 7, 7, 7, 7]
    fresh = FeatureCache(cache.path)
    assert np.array_equal(fresh.matrix("inceptionv3", keys), x.astype(np.float32))


def test_rows_already_there_and_repeats_are_skipped(cache):
    one = cache.open_set(**asked(4))
    one.append([key(0), key(1)], rows(2, 4))
    one.append([key(1), key(2), key(2)], rows(3, 4, 5))
    assert len(one) == 3
    assert one.missing([key(3), key(0), key(3)]) == [key(3)]
    assert np.array_equal(one.matrix([key(1)])[0], rows(2, 4)[1].astype(np.float32))
    shards = len(list((one.folder / "shards").iterdir()))
    one.append([key(0)], rows(1, 4, 9))
    assert len(list((one.folder / "shards").iterdir())) == shards


@pytest.mark.parametrize(
    "spec",
    [
        "onnx:/models/lite0.onnx",
        "onnx:lite0.onnx",
        "onnx:elsewhere/lite0.onnx",
        "lite0.onnx",
        "lite0",
        "onnx:lite0.onnx#{}",
        "#{}",
    ],
)
def test_spec_of_a_file_matches_by_path_base_name_stem_and_fingerprint(cache, spec):
    one = cache.open_set(**asked(4, "onnx:/models/lite0.onnx"))
    cache.open_set(**asked(4, "onnx:/models/lite1.onnx"))
    assert cache.find(spec.format(one.fingerprint[:8])).fingerprint == one.fingerprint


@pytest.mark.parametrize("spec", ["gluon:inceptionv3@299", "gluon:inceptionv3", "inceptionv3"])
def test_resolution_may_be_left_out(cache, spec):
    cache.open_set(**asked(4, "gluon:densenet201"))
    cache.open_set(**asked(4, "gluon:inceptionv3@299"))
    assert cache.find(spec).name == "gluon:inceptionv3@299"


def test_other_resolution_is_another_set(cache):
    cache.open_set(**asked(4, "gluon:inceptionv3@320", input_size=320))
    cache.open_set(**asked(4))
    assert cache.find("gluon:inceptionv3").name == "gluon:inceptionv3"
    assert cache.find("gluon:inceptionv3@320").name == "gluon:inceptionv3@320"


def test_unknown_spec_lists_what_there_is(cache):
    cache.open_set(**asked(4))
    with pytest.raises(CacheError, match=r"no feature set 'gluon:x' in .*; it holds gluon:incep"):
        cache.find("gluon:x")


def test_a_short_name_that_is_unknown_is_not_advised_as_a_backbone(cache):
    with pytest.raises(CacheError, match="none at all") as caught:
        cache.find("lite0")
    assert not any(words in caught.value.hint for words in ("lite0", "name one"))
    cache.open_set(**asked(4))
    for name in ("lite0", "lite0.onnx", "gluon:x", "#abc"):
        with pytest.raises(CacheError, match="name one it has") as caught:
            cache.find(name)
        assert (f"-b {name}" in caught.value.hint) == (":" in name)


def test_ambiguous_spec_names_the_fingerprints(cache):
    a = cache.open_set(**asked(4))
    b = cache.open_set(**asked(4, fit="pad"))
    with pytest.raises(CacheError, match="names 2 feature sets") as caught:
        cache.find("gluon:inceptionv3")
    for one in (a, b):
        assert one.fingerprint[:12] in str(caught.value)
    assert cache.find(f"gluon:inceptionv3#{b.fingerprint[:12]}").record["fit"] == "pad"


def test_other_weights_are_refused_by_field(cache):
    cache.open_set(**asked(4))
    with pytest.raises(FingerprintError) as caught:
        cache.open_set(**asked(4, weights_digest="bb"))
    message = str(caught.value)
    assert "backbone.weights_digest is aa there and bb here" in message
    assert "another cache folder" in message


@pytest.mark.parametrize(
    "change",
    [{"fit": "pad"}, {"views": ["ten"]}, {"precision": "float32"}, {"layer": "stage3"}],
)
def test_sets_of_other_preprocessing_live_side_by_side(cache, change):
    cache.open_set(**asked(4))
    cache.open_set(**asked(4, **change))
    assert len(cache.sets()) == 2


@pytest.mark.parametrize("names", [("center", "flip", "random:0"), ("center",)])
def test_views_lie_one_after_the_other_in_a_row(cache, names):
    x, keys = rows(8, 4 * len(names)), sorted(key(i) for i in range(8))
    cache.open_set(record(), "gluon:inceptionv3", 4, names).append(keys, x)
    one = FeatureCache(cache.path).find("inceptionv3")
    assert (one.views, one.width, one.dim) == (names, 4, 4 * len(names))
    assert np.array_equal(one.matrix(keys)[:, :4], x[:, :4].astype(np.float32))
    entry = list_sets(cache)["sets"][0]
    assert (entry["views"], entry["width"]) == (list(names), 4)


def test_what_cannot_be_a_set_is_refused_with_all_its_faults(cache):
    with pytest.raises(CacheError, match="cannot be made like this") as caught:
        cache.open_set({}, "", 5, [], "float8")
    for fault in ("its name is ''", "'float8'", "its views are '[]'"):
        assert fault in str(caught.value)
    with pytest.raises(CacheError, match="rows have 2 views of 100000000 numbers"):
        cache.open_set({}, "x:y", 10**8, ["a", "b"])
    assert cache.sets() == []


def test_one_record_with_rows_of_another_shape_is_refused(cache):
    cache.open_set(record(), "gluon:inceptionv3", 4)
    with pytest.raises(FingerprintError, match="width is 4 there and 5 here"):
        cache.open_set(record(), "gluon:inceptionv3", 5)


def test_missing_rows_are_counted_and_named(cache):
    cache.open_set(**asked(4)).append([key(0)], rows(1, 4))
    with pytest.raises(MissingRowsError, match="2 of 3 rows are not in") as caught:
        cache.matrix("inceptionv3", [key(1), key(0), key(2)])
    assert key(1) in str(caught.value)


@pytest.mark.parametrize("precision", ["float16", "float32", "bfloat16"])
def test_precisions(cache, precision):
    x = np.random.default_rng(0).normal(size=(20, 11)).astype(np.float32)
    one = cache.open_set(**asked(11, precision=precision))
    one.append([key(i) for i in range(20)], x)
    got = one.matrix([key(i) for i in range(20)])
    if precision == "float32":
        assert np.array_equal(got, x)
    else:
        bound = 2**-11 if precision == "float16" else 2**-8
        assert np.max(np.abs(got - x) / np.maximum(np.abs(x), 1e-3)) <= bound


def test_bfloat16_rounds_to_nearest_even(cache):
    one = cache.open_set(**asked(4, precision="bfloat16"))
    # 1 + 2**-8 lies between 1 and 1 + 2**-7: to the even one, 1; one bit more rounds up.
    x = np.array([[1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.0]], np.float32)
    one.append([key(0)], x)
    expected = np.array([[1, 1 + 2**-6, 1 + 2**-7, -3.0]], np.float32)
    assert np.array_equal(one.matrix([key(0)]), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 70000.0])
def test_numbers_that_do_not_fit_are_refused(cache, value):
    x = np.zeros((3, 4), np.float32)
    x[1, 2] = value
    one = cache.open_set(**asked(4))
    with pytest.raises(CacheError, match=r"1 of 3 feature rows .* float16 cannot \(row 1: "):
        one.append([key(i) for i in range(3)], x)
    assert len(one) == 0


def test_wrong_shapes_and_keys_are_refused(cache):
    one = cache.open_set(**asked(4))
    with pytest.raises(CacheError, match="2 keys and rows of shape"):
        one.append([key(0), key(1)], rows(2, 5))
    with pytest.raises(CacheError, match="'short' is not a row key"):
        one.append(["short"], rows(1, 4))
    with pytest.raises(CacheError, match="is not a row key"):
        one.append(["Z" * 64], rows(1, 4))


def test_index_is_read_by_plain_h5py_after_the_folder_moved(cache, tmp_path):
    x, keys = rows(40, 6), [key(i) for i in range(40)]
    one = cache.open_set(**asked(6))
    for i in range(0, 40, 9):
        one.append(keys[i : i + 9], x[i : i + 9])
    one.write_index()
    moved = tmp_path / "moved"
    cache.path.rename(moved)
    with h5py.File(moved / one.folder.name / "index.h5", "r") as file:
        assert file["features"].is_virtual
        assert file["features"].shape == (40, 6)
        by_key = dict(zip(file["keys"].asstr()[()], file["features"][()], strict=True))
        assert json.loads(file.attrs["set"])["record"] == record()
    assert np.array_equal(np.array([by_key[k] for k in keys]), x)
    assert np.array_equal(FeatureCache(moved).matrix("inceptionv3", keys), x.astype(np.float32))


def test_stale_or_broken_index_is_not_believed(cache):
    x, keys = rows(30, 6), [key(i) for i in range(30)]
    one = cache.open_set(**asked(6))
    one.append(keys[:10], x[:10])
    one.append(keys[10:20], x[10:20])
    one.write_index()
    one.append(keys[20:], x[20:])
    assert FeatureCache(cache.path).ids("inceptionv3") == sorted(keys)
    for content in (b"", b"not hdf5", (one.folder / "index.h5").read_bytes()[:1000]):
        (one.folder / "index.h5").write_bytes(content)
        assert FeatureCache(cache.path).ids("inceptionv3") == sorted(keys)
    (one.folder / "index.h5").unlink()
    assert np.array_equal(FeatureCache(cache.path).matrix("inceptionv3", keys), x.astype("f4"))


def test_truncated_shard_is_named_when_read_and_set_aside_when_written(cache):
    x, keys = rows(20, 6), [key(i) for i in range(20)]
    one = cache.open_set(**asked(6))
    one.append(keys[:10], x[:10])
    victim = next((one.folder / "shards").iterdir())
    one.append(keys[10:], x[10:])
    victim.write_bytes(victim.read_bytes()[:-20])
    for read in (lambda c: c.ids("inceptionv3"), lambda c: c.matrix("inceptionv3", keys)):
        with pytest.raises(DamagedCacheError, match=f"{victim.name} is damaged"):
            read(FeatureCache(cache.path))
    again = FeatureCache(cache.path).open_set(**asked(6))
    assert victim.name in again.warnings[0]
    assert again.missing(keys) == keys[:10]
    again.append(keys[:10], x[:10])
    assert np.array_equal(again.matrix(keys), x.astype(np.float32))


def test_altered_row_is_never_served(cache):
    keys = [key(i) for i in range(10)]
    one = cache.open_set(**asked(600))
    one.append(keys, rows(10, 600))
    path = next((one.folder / "shards").iterdir())
    content = bytearray(path.read_bytes())
    shard = one.rows.shards[path.name]
    content[shard.offset + 3 * 1200 + 77] ^= 4
    path.write_bytes(content)
    with pytest.raises(DamagedCacheError, match="1 row not as checksums say"):
        FeatureCache(cache.path).matrix("inceptionv3", keys)


def test_failures_are_kept_and_cleared(cache):
    a = {"id": "a.jpg", "path": "/x/a.jpg", "digest": key(1), "reason": "cut short"}
    b = {"id": "b.jpg", "path": "/x/b.jpg", "digest": "", "reason": "no such file"}
    cache.record_failures([b, a])
    cache.record_failures([{**b, "reason": "empty"}])
    assert FeatureCache(cache.path).failures() == [a, {**b, "reason": "empty"}]
    cache.clear_failures(["a.jpg", "never.jpg"])
    assert [one["id"] for one in cache.failures()] == ["b.jpg"]


def test_folder_that_is_no_cache_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="there is no cache at"):
        FeatureCache(tmp_path / "none")
    (tmp_path / "table.csv").write_text("id,label\n")
    with pytest.raises(CacheError, match=r"table\.csv is no feature cache: a cache is a folder"):
        FeatureCache(tmp_path / "table.csv")
    (tmp_path / "table.csv").unlink()
    with pytest.raises(CacheError, match="is not a feature cache"):
        FeatureCache(tmp_path)
    (tmp_path / "photo.jpg").write_text("x")
    with pytest.raises(CacheError, match=r"not empty and not a feature cache: it holds photo\.jpg"):
        FeatureCache.create(tmp_path)
    with pytest.raises(CacheError, match="is not a feature cache"):
        repair(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_cache_that_another_process_makes_meanwhile_is_no_other_folder(tmp_path, monkeypatch):
    plain = featurecache.check_free

    def make_first(path):
        monkeypatch.setattr(featurecache, "check_free", plain)
        FeatureCache.create(path)
        plain(path)

    monkeypatch.setattr(featurecache, "check_free", make_first)
    assert FeatureCache.create(tmp_path / "c").sets() == []


def test_newer_format_is_refused_with_a_sentence(cache):
    (cache.path / "icecore-cache.json").write_text('{"format": 2}')
    for use in (FeatureCache, FeatureCache.create, verify, repair):
        with pytest.raises(CacheError, match="has cache format 2; this icecore reads up to 1"):
            use(cache.path)
    assert (cache.path / "icecore-cache.json").read_text() == '{"format": 2}'


def test_handles_survive_pickling(cache):
    cache.open_set(**asked(4)).append([key(0)], rows(1, 4))
    for handle in (cache, cache.find("inceptionv3")):
        copy = pickle.loads(pickle.dumps(handle))
        one = copy.find("inceptionv3") if isinstance(copy, FeatureCache) else copy
        assert np.array_equal(one.matrix([key(0)]), rows(1, 4).astype(np.float32))


def test_summaries(cache):
    one = cache.open_set(**asked(4))
    one.append([key(0)], rows(1, 4), {"engine": "mxnet", "time": "2026-01-01"})
    one.append([key(1)], rows(1, 4), {"engine": "mxnet", "time": "2026-01-02"})
    cache.open_set(**asked(4, fit="pad"))
    listed = list_sets(cache)
    assert [entry["rows"] for entry in listed["sets"]].count(2) == 1
    shown = show_set(cache, f"#{one.fingerprint[:12]}")["sets"][0]
    assert shown["record"] == record()
    assert shown["provenance"] == [
        {"provenance": {"engine": "mxnet"}, "shards": 2, "rows": 2,
         "times": ["2026-01-01", "2026-01-02"]}
    ]  # fmt: skip
    assert json.dumps(listed)
    a, b = (s.fingerprint[:12] for s in cache.sets())
    assert [d["field"] for d in diff_sets(cache, f"#{a}", f"#{b}")] == ["fit"]


def test_a_set_stands_once_beside_others(cache, make):
    make.fill(cache.open_set(**make.asked(5)), make.keys(4), 2)
    (one,) = cache.sets()
    for twice in ([one.name, one.name], [one.name, f"{one.name}#{one.fingerprint[:8]}"]):
        with pytest.raises(CacheError, match=r"a feature set is named twice: "):
            cache.matrix(twice, make.keys(4))
    assert cache.find_all([one.name]) == [one]


def test_a_cache_may_be_named_by_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    cache = FeatureCache.create(tmp_path / "link")
    cache.record_failures([{"id": "x", "path": "x.jpg", "digest": "", "reason": "empty"}])
    one = cache.open_set({"fit": "crop"}, "gluon:net", 3, ("center",))
    one.append(["0" * 64, "1" * 64], np.ones((2, 3)), {})
    prune(cache, ["0" * 64], dry_run=False)
    assert len(FeatureCache(tmp_path / "link").find("gluon:net")) == 1
    assert (tmp_path / "link").is_symlink()
