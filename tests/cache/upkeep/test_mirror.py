from __future__ import annotations

import json
import shutil
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from command import icecore
from places import files_of, s3_server

from icecore.cache import FeatureCache, pull, push, verify
from icecore.cli.main import main
from icecore.core.errors import CacheError, DamagedCacheError, FingerprintError, StoreError
from icecore.core.files import sha256_bytes
from icecore.core.stores import store_of


def fill(path, name="net", start=0, count=30, backbone="a"):
    cache = FeatureCache.create(path)
    one = cache.open_set({"backbone": backbone, "name": name}, name, 5, ["center"], "float32")
    for at in range(start, start + count, 10):
        rows = np.random.default_rng(at).normal(size=(10, 5)).astype(np.float32)
        one.append([f"{at + i:064x}" for i in range(10)], rows, {})
    one.write_index()
    (path / "manifests").mkdir(exist_ok=True)
    (path / "manifests/photos.csv").write_text(f"path\n{name}\n")
    return cache


@pytest.fixture(params=["folder", "memory", "s3"])
def url(request, tmp_path):
    if request.param == "folder":
        pytest.importorskip("obstore", reason="obstore is not installed")
        yield str(tmp_path / "a b" / "mirror")
    elif request.param == "memory":
        pytest.importorskip("fsspec", reason="fsspec is not installed")
        yield f"memory://{uuid.uuid4().hex}/mirror"
    else:
        with s3_server() as (bucket, _):
            yield f"{bucket}/a b/mirror"


def test_a_cache_comes_back_as_it_went(url, tmp_path):
    cache = fill(tmp_path / "one")
    sent = push(cache, url)
    assert (sent.sets, sent.shards, sent.there, sent.tables) == (1, 3, 0, 1)
    got = pull(url, tmp_path / "two")
    assert (got.sets, got.shards, got.bytes, got.tables) == (1, 3, sent.bytes, 1)
    assert _files(tmp_path / "one") == _files(tmp_path / "two")
    assert verify(tmp_path / "two")["problems"] == []
    # Only what is new travels, in both directions.
    fill(tmp_path / "two", start=100, count=10)
    again = push(FeatureCache(tmp_path / "two"), url)
    assert (again.shards, again.there, again.tables) == (1, 3, 0)
    back = pull(url, tmp_path / "one")
    assert (back.shards, back.there, back.tables) == (1, 3, 0)
    assert len(FeatureCache(tmp_path / "one").find("net")) == 40


def _files(cache):
    return {
        path.relative_to(cache).as_posix(): path.read_bytes()
        for path in files_of(cache)
        if path.name != "index.h5"
    }


def test_several_machines_push_to_one_place(url, tmp_path):
    if url.startswith("memory:"):
        pytest.skip("what fsspec keeps in memory cannot be listed while another writes")
    parts = [fill(tmp_path / f"{n}", start=10 * n, count=20) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert sum(one.sets for one in pool.map(lambda part: push(part, url), parts)) == 4
    pull(url, tmp_path / "all")
    assert len(FeatureCache(tmp_path / "all").find("net")) == 50


def test_a_table_of_another_content_stays_beside(url, tmp_path):
    push(fill(tmp_path / "one"), url)
    cache = fill(tmp_path / "two")
    (tmp_path / "two/manifests/photos.csv").write_text("path\nmine\n")
    pull(url, cache.path)
    tables = {path.read_text() for path in (cache.path / "manifests").glob("*.csv")}
    assert tables == {"path\nmine\n", "path\nnet\n"}
    assert (cache.path / "manifests/photos.csv").read_text() == "path\nmine\n"


def _write_table(cache, text, url=""):
    if url.startswith("s3:"):
        time.sleep(1.1)  # Amazon's stores tell the time of an object in whole seconds.
    (cache / "manifests/photos.csv").write_text(text)


def test_the_table_that_was_pushed_last_has_the_name(url, tmp_path):
    one, laptop = fill(tmp_path / "one"), tmp_path / "laptop"
    push(one, url)
    assert pull(url, laptop).notes == ()
    # One that an older version of icecore put beside another.
    for number in range(4):
        _write_table(one.path, f"path\nlabels put right {number}\n", url)
        assert push(one, url).notes == ()
    last = (one.path / "manifests/photos.csv").read_text()
    (laptop / f"manifests/photos-{sha256_bytes(last.encode())[:8]}.csv").write_text(last)
    for place in (laptop, tmp_path / "fresh"):
        found = pull(url, place)
        assert (
            f"{place}/manifests/photos.csv is the last of 5 tables of this name" in found.notes[0]
        )
        (table,) = (place / "manifests").glob("*.csv")
        assert (table.name, table.read_text()) == ("photos.csv", last)
        assert len(list((place / "manifests/earlier").iterdir())) == 4
        assert pull(url, place).tables == 0
    # Labels that were put wrong again do not count without a word.
    _write_table(one.path, "path\nlabels put right 2\n")
    (note,) = push(one, url).notes
    assert "another table called photos.csv was pushed to " in note


@pytest.mark.parametrize("by", ["extraction", "hand"])
def test_a_table_that_was_made_here_is_not_replaced_by_a_newer_one(url, tmp_path, by):
    one, two = fill(tmp_path / "one"), tmp_path / "two"
    push(one, url)
    pull(url, two)
    mine = (two / "manifests/photos.csv").read_text() + ("mine\n" if by == "hand" else "")
    (two / "manifests/photos.csv").write_text(mine)
    if by == "extraction":
        (two / "manifests/sources.json").write_text('{"photos": "/data/photos"}')
    for text in ("path\nnewer\n", "path\nnewest\n"):
        _write_table(one.path, text, url)
        push(one, url)
        (note,) = pull(url, two).notes
        beside = two / f"manifests/photos-{sha256_bytes(text.encode())[:8]}.csv"
        assert f"own; that which was pushed last is {beside}" in note
        assert (two / "manifests/photos.csv").read_text() == mine
        assert sorted(two.glob("manifests/*.csv")) == sorted([two / "manifests/photos.csv", beside])
        assert beside.read_text() == text


def test_damaged_shards_stay_behind_and_are_named(url, tmp_path):
    cache = fill(tmp_path / "one")
    (first, *_) = sorted((cache.sets()[0].folder / "shards").iterdir())
    sound = first.read_bytes()
    first.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(
        DamagedCacheError, match=f"1 damaged shard of .* stayed behind: .*{first.name}"
    ):
        push(cache, url)
    assert pull(url, tmp_path / "two").shards == 2
    # What a store has damaged does not get in.
    store, key = store_of(url if "://" in url else f"file://{url}", local=True)
    assert store.create(f"{key}/{first.parent.parent.name}/shards/{first.name}", first)
    with pytest.raises(DamagedCacheError, match=f"1 damaged part of .* left out: .*{first.name}"):
        pull(url, tmp_path / "three")
    assert len(FeatureCache(tmp_path / "three").find("net")) == 20


def test_names_of_a_stranger_lead_nowhere(tmp_path):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    url = f"memory://{uuid.uuid4().hex}"
    push(fill(tmp_path / "one"), url)
    store, key = store_of(url)
    (tmp_path / "evil").write_text("evil")
    shard = "0" * 24 + ".h5"
    for name in (f"../shards/{shard}", f"a/../../shards/{shard}", "manifests/..csv/" + "0" * 64):
        store._files.pipe_file(f"{store._path(key)}/{name}", b"evil")
    assert pull(url, tmp_path / "two").shards == 3
    assert b"evil" not in b"".join(_files(tmp_path / "two").values())


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("table", r"1 damaged part of .* left out: manifests/photos.csv/"),
        ("no record", r"1 damaged part of .* left out: net-[0-9a-f]+/ without record.json"),
        ("record", r"/mirror/net-[0-9a-f]+/record.json is damaged: .*not usable JSON"),
        ("newer", "icecore-cache.json .*99"),
    ],
)
def test_what_came_damaged_is_named_where_it_lies(tmp_path, harm, words):
    # A table, and shards without a record, were left out in silence; of a record that was
    # damaged the name was that of a file which was gone.
    pytest.importorskip("obstore", reason="obstore is not installed")
    mirror = tmp_path / "mirror"
    push(fill(tmp_path / "one"), str(mirror))
    (record,), (table,) = mirror.glob("*/record.json"), mirror.glob("manifests/*/*")
    if harm == "table":
        table.write_text("path\nanother\n")
    elif harm == "no record":
        record.unlink()
    elif harm == "record":
        record.write_text("{")
    else:
        (mirror / "icecore-cache.json").write_text('{"format": 99}')
    with pytest.raises(CacheError, match=words) as caught:
        pull(str(mirror), tmp_path / "two")
    assert ".tmp" not in str(caught.value)
    assert harm == "newer" or "push" in caught.value.hint


@pytest.mark.parametrize("inner", ["net-*/shards", "manifests", "net-*"])
def test_nothing_is_pushed_through_a_link(tmp_path, inner):
    # Shards and tables were written into the folder that it leads to.
    pytest.importorskip("obstore", reason="obstore is not installed")
    mirror, outside = tmp_path / "mirror", tmp_path / "outside"
    push(fill(tmp_path / "one"), str(mirror))
    (folder,) = mirror.glob(inner)
    folder.rename(tmp_path / "moved")
    outside.mkdir()
    folder.symlink_to(outside)
    with pytest.raises(CacheError, match="is a link"):
        push(FeatureCache(tmp_path / "one"), str(mirror))
    assert not list(outside.iterdir())


def test_another_network_under_the_same_name_is_refused(url, tmp_path):
    push(fill(tmp_path / "one"), url)
    other = fill(tmp_path / "two", backbone="b")
    with pytest.raises(FingerprintError):
        pull(url, other.path)


def test_what_is_no_cache_is_named(tmp_path):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    with pytest.raises(CacheError, match="there is no cache at memory://none"):
        pull("memory://none-at-all", tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_a_push_that_broke_off_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    url = f"memory://{uuid.uuid4().hex}"
    cache, (store, _) = fill(tmp_path / "one"), store_of(url)
    whole, calls = store._create, []

    def breaking(key, path):
        calls.append(key)
        if len(calls) == 4:
            raise ConnectionError("reset by peer")
        return whole(key, path)

    monkeypatch.setattr(store, "_create", breaking)
    with pytest.raises(StoreError, match="cannot be created: reset by peer"):
        push(cache, url)
    monkeypatch.setattr(store, "_create", whole)
    done = push(cache, url)
    assert done.shards + done.there == 3
    assert pull(url, tmp_path / "two").shards == 3


def test_the_commands(tmp_path, capsys):
    pytest.importorskip("obstore", reason="obstore is not installed")
    fill(tmp_path / "one")
    main(["cache", "push", str(tmp_path / "one"), str(tmp_path / "mirror"), "--json"])
    assert json.loads(capsys.readouterr().out)["shards"] == 3
    main(["cache", "pull", str(tmp_path / "mirror"), str(tmp_path / "two")])
    assert "3 shards of 1 feature set copied" in capsys.readouterr().out


@pytest.mark.parametrize("url", ["S3://bucket/cache", "s3:/bucket/cache", "GS://bucket/c"])
def test_a_url_that_is_misspelt_makes_no_folder_of_its_name(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = fill(tmp_path / "one")
    for call in (lambda: push(cache, url), lambda: FeatureCache.create(url)):
        with pytest.raises(StoreError, match="no URL of a store\n.*in small letters up to ://"):
            call()
    for words in (
        ["cache", "push", "one", url],
        ["cache", "pull", url, "two"],
        ["cache", "ls", url],
        ["extract", "photos", "-o", url, "-b", "onnx:net.onnx"],
        ["manifest", url],
    ):
        status, _, error = icecore(*words)
        assert status == 2
        assert f"{url} is no URL of a store: write URLs in small letters" in error
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_folder_may_be_called_like_a_url_where_that_is_said(tmp_path, monkeypatch):
    pytest.importorskip("obstore", reason="obstore is not installed")
    monkeypatch.chdir(tmp_path)
    assert push(fill(tmp_path / "one"), "./S3://bucket/cache").shards == 3
    assert pull("./S3://bucket/cache", tmp_path / "two").shards == 3


def test_a_web_server_is_no_place_for_a_cache(tmp_path):
    with pytest.raises(StoreError, match="is a web server, which has no list"):
        push(fill(tmp_path / "one"), "https://127.0.0.1:9/cache")


def upload(folder, url):
    """Put a cache into a store as it is, as `aws s3 sync` does."""
    if "://" not in url:
        shutil.copytree(folder, url)
        return
    store, prefix = store_of(url)
    for path in folder.rglob("*"):
        if path.is_file():
            store.create(f"{prefix}/{path.relative_to(folder).as_posix()}", path)


def test_the_tables_of_a_cache_that_was_copied_as_it_is_come_too(url, tmp_path):
    # "0 tables of samples copied", and `train --data copy/manifests/photos.csv` found none.
    one = fill(tmp_path / "one").path
    upload(one, url)
    assert pull(url, tmp_path / "two").tables == 1
    assert _files(one) == _files(tmp_path / "two")
    assert pull(url, tmp_path / "two").tables == 0
    # One that was made here stays.
    mine = fill(tmp_path / "three").path / "manifests/photos.csv"
    mine.write_text("path\nmine\n")
    got = pull(url, tmp_path / "three")
    assert "is this cache's own" in got.notes[0]
    assert mine.read_text() == "path\nmine\n"
    assert len(list(mine.parent.glob("photos-*.csv"))) == 1


def test_no_cache_that_is_worked_in_is_pushed_into(url, tmp_path):
    # Its tables got folders for neighbours, and every command refused it from then on.
    other = fill(tmp_path / "other", "another").path
    upload(other, url)
    with pytest.raises(CacheError, match="is a cache that is worked in") as caught:
        push(fill(tmp_path / "one"), url)
    assert ("icecore cache merge" in caught.value.hint) == ("://" not in url)


@pytest.mark.parametrize("inner", ["", "copy", "manifests"])
def test_no_cache_is_pushed_into_itself(tmp_path, inner):
    pytest.importorskip("obstore", reason="obstore is not installed")
    cache = fill(tmp_path / "one")
    with pytest.raises(CacheError, match="lies in the cache that is to be pushed"):
        push(cache, str(cache.path / inner))
    assert verify(cache)["problems"] == []


def test_a_copy_is_no_cache_to_work_in(tmp_path):
    # "Remove it" was the advice, of its tables.
    copy = fill(tmp_path / "copy").path
    table = copy / "manifests/photos.csv"
    digest = sha256_bytes(table.read_bytes())
    table.rename(copy / digest)
    table.mkdir()
    (copy / digest).rename(table / digest)
    for use in (verify, FeatureCache.create, FeatureCache):
        with pytest.raises(CacheError, match="copy of a cache that `icecore cache push` made") as e:
            use(copy)
        assert f"icecore cache pull {copy} CACHE" in e.value.hint


def test_unlike_rows_of_one_image_stay_out(url, tmp_path):
    fill(tmp_path / "one", count=10)
    other = FeatureCache.create(tmp_path / "two")
    one = other.open_set({"backbone": "a", "name": "net"}, "net", 5, ["center"], "float32")
    one.append([f"{i:064x}" for i in range(5, 15)], np.ones((10, 5), np.float32), {})
    push(other, url)
    with pytest.raises(DamagedCacheError, match=r"5 rows are others than under the same key here"):
        pull(url, tmp_path / "one")
    assert len(FeatureCache(tmp_path / "one").find("net")) == 10
    assert verify(tmp_path / "one")["ok"]


def test_nothing_is_pushed_among_other_things(url, tmp_path):
    cache = fill(tmp_path / "one")
    (tmp_path / "x.txt").write_text("x")
    store, key = store_of(url if "://" in url else f"file://{url}", local=True)
    store.create(f"{key}/photos/1.jpg", tmp_path / "x.txt")
    with pytest.raises(CacheError, match=r"no copy of a cache: it holds photos/1\.jpg"):
        push(cache, url)
    assert [one.key for one in store.list(f"{key}/")] == [f"{key}/photos/1.jpg"]


def test_a_shard_that_was_cut_where_it_was_pushed_to_is_named_and_the_remedy_works(tmp_path):
    pytest.importorskip("obstore", reason="obstore is not installed")
    cache, place = fill(tmp_path / "one"), tmp_path / "mirror"
    push(cache, str(place))
    cut = sorted(place.glob("*/shards/*.h5"))[1]
    whole = cut.read_bytes()
    cut.write_bytes(whole[:100])
    words = rf"1 shard of .*mirror is of another size than here: .*{cut.name} \(100 bytes there, "
    with pytest.raises(DamagedCacheError, match=words):
        push(cache, str(place))
    cut.unlink()
    assert push(cache, str(place)).shards == 1
    assert cut.read_bytes() == whole
