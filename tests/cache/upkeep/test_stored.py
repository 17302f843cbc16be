"""A cache in a store: several writers, none of whom sees the others' folders."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from places import draw_photos, files_of, s3_server, upload

from icecore import jobs
from icecore.cache import FeatureCache, Lists, folder_of_cache, pull, pulled, verify, writable_cache
from icecore.cache.sharing import store_claims
from icecore.cache.sharing.store_claims import StoreClaims
from icecore.cli.main import main
from icecore.core.errors import CacheError, StoreError
from icecore.core.stores import _store, store_of
from icecore.features import ExtractOptions
from icecore.manifest import DigestMemory

RECORD = {"backbone": "a"}
KEYS = sorted(hashlib.sha256(b"%d" % number).hexdigest() for number in range(60))


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as (url, _):
        yield url


@pytest.fixture
def url(bucket):
    return f"{bucket}/{uuid.uuid4().hex}/cache"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Become another machine: one with folders of its own."""
    return lambda name: monkeypatch.setenv("ICECORE_CACHES", str(tmp_path / name))


def open_set(cache):
    return cache.open_set(RECORD, "net", 3, ["center"], "float32")


def rows_of(keys):
    return np.array([[int(key[:5], 16), 1, 2] for key in keys], np.float32)


def test_writers_on_two_machines_share_the_rows(url, machine, monkeypatch):
    machine("first")
    first = open_set(writable_cache(url))
    first.append(KEYS[:20], rows_of(KEYS[:20]), {"note": "x" * 50_000})
    machine("second")
    cache = writable_cache(url)
    second = open_set(cache)
    # The keys of others are known, and none of their rows was fetched.
    assert second.missing(KEYS) == KEYS[20:]
    assert (len(second), len(second.rows.known())) == (20, 0)
    computed = []
    for batch in cache.share([second], KEYS, Lists(most=12)):
        second.append(batch, rows_of(batch))
        computed += batch
    assert sorted(computed) == KEYS[20:]
    assert first.missing(KEYS) == []
    machine("reader")
    folder = pulled(url)
    assert FeatureCache(folder).matrix(["net"], KEYS).tolist() == rows_of(KEYS).tolist()
    assert verify(folder)["ok"]


def test_machines_tell_each_other_what_they_have_read(url, machine):
    """Else each of them would read all images for their digests."""
    machine("first")
    first = open_set(writable_cache(url))
    ours = folder_of_cache(url)
    machine("second")
    second = open_set(writable_cache(url))
    theirs = DigestMemory(folder_of_cache(url) / "digests")
    memory = DigestMemory(ours / "digests")
    for number in range(3):
        memory.add(f"s3://b/{number}.jpg", [1, 0, number], f"{number:064}")
        memory.publish()
        first.append(KEYS[number : number + 1], rows_of(KEYS[number : number + 1]))
    second.append(KEYS[40:41], rows_of(KEYS[40:41]))
    theirs.refresh()
    assert [theirs.get(f"s3://b/{n}.jpg", [1, 0, n]) for n in range(3)] == [
        f"{n:064}" for n in range(3)
    ]
    # What was joined with others here does not come again.
    for path in theirs._folder.iterdir():
        path.unlink()
    second.append(KEYS[41:42], rows_of(KEYS[41:42]))
    assert not list(theirs._folder.iterdir())


def test_machines_tell_each_other_everything_once(url, machine):
    """What one of them has joined to a file for all would come to each of the others again."""
    machine("first")
    first = open_set(writable_cache(url))
    memory = DigestMemory(folder_of_cache(url) / "digests")
    for number in range(40):
        memory.add(f"s3://b/{number}.jpg", [1, 0, number], f"{number:064}")
        memory.publish()
        first.append(KEYS[number : number + 1], rows_of(KEYS[number : number + 1]))
    joined = [path for path in memory._folder.iterdir() if path.name.startswith("all-")]
    assert joined
    machine("second")
    writable_cache(url)
    theirs = DigestMemory(folder_of_cache(url) / "digests")
    names = [path.name for path in theirs._folder.iterdir()]
    assert len(names) == 40
    assert not any(name.startswith("all-") for name in names)
    assert all(theirs.get(f"s3://b/{n}.jpg", [1, 0, n]) == f"{n:064}" for n in range(40))


def test_many_at_once_compute_nothing_twice(url, tmp_path, machine, monkeypatch):
    monkeypatch.setattr(StoreClaims, "poll_s", 0.05)
    monkeypatch.setattr(store_claims, "_LISTED_S", 0.05)
    caches = []
    for number in range(3):
        machine(str(number))
        cache = writable_cache(url)
        caches.append((cache, open_set(cache)))

    def work(pair):
        cache, one = pair
        done = []
        for batch in cache.share([one], KEYS, Lists(most=6)):
            one.append(batch, rows_of(batch))
            done += batch
        return done

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(work, caches))
    assert sorted(key for part in done for key in part) == KEYS
    assert sum(bool(part) for part in done) > 1
    store, key = store_of(f"{url}/claims")
    assert list(store.list(key)) == []
    pull(url, tmp_path / "all")
    assert FeatureCache(tmp_path / "all").ids("net") == KEYS


def test_claims_of_a_writer_that_is_gone_are_taken_over(url, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(store_claims, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    store, key = store_of(f"{url}/claims/")
    gone, alive, *heirs = (StoreClaims(store, key, 1e6) for _ in range(4))
    assert gone.acquire(["a", "b"])
    assert alive.acquire(["c"])
    for beat in range(1, 4):
        assert not any(heir.acquire([name]) for name in "abc" for heir in heirs)
        clock[0] += 40.0
        alive._beat(beat)
    # The second one's look is a little old, and the first was faster.
    heirs[1]._look()
    assert [heir.acquire(["a", "b"]) for heir in heirs] == [True, False]
    assert not heirs[0].acquire(["c"])
    # What was lost is not given back by who lost it.
    gone.release(["a"])
    clock[0] += 5.0
    assert not heirs[1].acquire(["a"])
    for one in (alive, *heirs):
        one.close()
    assert list(store.list(key)) == []


def test_shards_that_could_not_be_sent_are_sent_first(url, machine, monkeypatch):
    machine("first")
    one = open_set(writable_cache(url))
    store, _ = store_of(url)
    with monkeypatch.context() as broken:
        broken.setattr(store, "_create", lambda *given: 1 / 0)
        with pytest.raises(StoreError, match="cannot be created: division"):
            one.append(KEYS[:10], rows_of(KEYS[:10]))
    again = open_set(writable_cache(url))
    assert again.missing(KEYS[:11]) == KEYS[10:11]
    machine("second")
    assert open_set(writable_cache(url)).missing(KEYS[:11]) == KEYS[10:11]


def test_damaged_shards_in_the_store_count_for_nothing(url, machine, tmp_path):
    machine("first")
    one = open_set(writable_cache(url))
    one.append(KEYS[:10], rows_of(KEYS[:10]))
    (name,) = (path.name for path in (one.folder / "shards").iterdir())
    store, key = store_of(f"{url}/{one.folder.name}/shards/{name}")
    store.replace(key, b"no shard at all")
    store.create(key[:-28] + "0" * 24 + ".h5", b"neither")
    machine("second")
    assert open_set(writable_cache(url)).missing(KEYS[:10]) == KEYS[:10]


def test_what_is_no_cache_is_left_alone(url, tmp_path, machine):
    machine("first")
    upload(draw_photos(tmp_path / "photos", 2), url)
    with pytest.raises(CacheError, match="is not empty and not a feature cache: it holds train/"):
        writable_cache(url)


def test_a_store_without_conditions_has_one_writer(tmp_path, machine):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    machine("first")
    url = f"memory://{uuid.uuid4().hex}/cache"
    with pytest.raises(StoreError, match="cannot create an object in one step") as error:
        writable_cache(url)
    assert "--only-writer" in error.value.hint
    cache = writable_cache(url, only_writer=True)
    one = open_set(cache)
    for batch in cache.share([one], KEYS, Lists(most=30)):
        one.append(batch, rows_of(batch))
    machine("second")
    assert len(FeatureCache(pulled(url)).find("net")) == len(KEYS)


@contextlib.contextmanager
def rclone_server(folder):
    """Serve a folder as a store that heeds no conditions."""
    program = Path(sys.executable).with_name("rclone")
    program = str(program) if program.exists() else shutil.which("rclone")
    if program is None:
        pytest.skip("rclone is not installed")
    pytest.importorskip("obstore", reason="obstore is not installed")
    (folder / "bucket").mkdir(parents=True)
    words = ["serve", "s3", "--auth-key", "testing,testing", "--addr", "127.0.0.1:0", str(folder)]
    with subprocess.Popen(
        [program, "--config", "/dev/null", *words], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            line = next(line for line in server.stderr if "http://" in line)
            yield line[line.index("http://") :].split()[0].strip("[]/,")
        finally:
            server.kill()


def test_a_store_that_heeds_no_conditions_is_refused(tmp_path, machine, monkeypatch):
    machine("first")
    with rclone_server(tmp_path / "served") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        _store.cache_clear()
        try:
            with pytest.raises(StoreError) as error:
                writable_cache("s3://bucket/cache")
            assert "it creates an object again that is there" in error.value.message
            assert "replaces an object whatever its ETag is" in error.value.message
            assert files_of(tmp_path / "served") == []
            one = open_set(writable_cache("s3://bucket/cache", only_writer=True))
            one.append(KEYS, rows_of(KEYS))
            machine("second")
            assert len(FeatureCache(pulled("s3://bucket/cache")).find("net")) == len(KEYS)
        finally:
            _store.cache_clear()


def test_the_jobs_run_in_a_store(url, tmp_path, machine, tiny_onnx, capsys):
    photos = draw_photos(tmp_path / "photos", 24)
    (photos / "train/hat/cut.jpg").write_bytes(b"\xff\xd8\xff")
    data = upload(photos, f"{url}/../photos".replace("cache/../", ""))
    spec = f"onnx:{tiny_onnx}"
    jobs.extract(photos, tmp_path / "local", [spec])
    machine("first")
    with pytest.raises(SystemExit):
        main(["extract", data, "-o", url, "-b", spec, "--batch-size", "4"])
    assert f"cache: {url} (what this machine needs of it is in" in capsys.readouterr().out
    machine("second")
    again = jobs.extract(data, url, [spec], ExtractOptions())
    # Nothing is read again: digests are kept there, too.
    assert (again.computed, again.rows, len(again.failures)) == (0, 0, 1)
    assert again.sets[0]["rows"] == 24
    main(["train", url, "--data", data, "-o", str(tmp_path / "run"), "--head", "logistic"])
    main(["cache", "verify", url])
    ours, theirs = FeatureCache(folder_of_cache(url)), FeatureCache(tmp_path / "local")
    keys = theirs.ids("onnx:tiny.onnx")
    assert ours.matrix("onnx:tiny.onnx", keys).tobytes() == (
        theirs.matrix("onnx:tiny.onnx", keys).tobytes()
    )
    assert os.listdir(folder_of_cache(url) / "manifests")
