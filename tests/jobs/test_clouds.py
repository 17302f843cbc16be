"""Google's and Azure's stores hold images and caches as Amazon's does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import numpy as np
import pytest
from data_hub import REPOSITORY, data_hub
from google_store import google_store
from places import draw_photos, files_of, upload, write_tars

from icecore import jobs
from icecore.cache import FeatureCache, pull, pulled, push
from icecore.core.errors import MissingFileError
from icecore.core.files import sha256_file
from icecore.core.stores import store_of
from icecore.features import ExtractOptions

SET = "onnx:tiny.onnx"
# The account and key that Azurite is documented to have.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# `make test-stores` puts it beside the environment's own programs.
BESIDE = f"{sys.prefix}/node_modules/.bin"
AZURITE = shutil.which("azurite-blob", path=os.pathsep.join([BESIDE, os.environ["PATH"]]))


@pytest.fixture(scope="module", params=["google", "azure"])
def bucket(request, tmp_path_factory):
    pytest.importorskip("obstore", reason="obstore is not installed")
    scratch = tmp_path_factory.mktemp("cloud")
    if request.param == "google":
        with google_store(scratch) as url:
            yield url
        return
    if AZURITE is None:
        pytest.skip("Azurite is not installed (npm install -g azurite)")
    yield from azurite(scratch)


def azurite(scratch):
    """Start Azurite with an empty container."""
    command = [AZURITE, "--silent", "--location", str(scratch), "--skipApiVersionCheck"]
    # obstore knows its usual port alone.
    settings = {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURE_ALLOW_HTTP": "true"}
    with subprocess.Popen([*command, "--blobPort", "10000", "--disableTelemetry"]) as server:
        os.environ.update(settings)
        try:
            for _ in range(300):
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", 10000)):
                        break
                time.sleep(0.1)
            make_container(f"container-{os.getpid()}")
            yield f"az://container-{os.getpid()}"
        finally:
            for name in settings:
                del os.environ[name]
            server.terminate()


def make_container(name):
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    told = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    text = f"PUT{12 * chr(10)}{told}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    sign = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(sign).decode()}"
    headers["Content-Length"] = "0"
    url = f"http://127.0.0.1:10000/{ACCOUNT}/{name}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path / "photos", 24)


@pytest.fixture
def at(bucket, request, tmp_path, monkeypatch):
    """A prefix of its own; the folder of a cache is one for each test."""
    monkeypatch.setenv("ICECORE_CACHES", str(tmp_path / "caches"))
    return f"{bucket}/{request.node.name.partition('[')[0]}"


def extract(data, cache, tiny, **options):
    options = ExtractOptions(batch_size=4, **options)
    return jobs.extract(data, cache, [f"onnx:{tiny}"], options)


def matrix(cache, photos):
    return FeatureCache(cache).matrix([SET], [sha256_file(path) for path in files_of(photos)])


def test_objects_are_created_replaced_and_removed_on_conditions(at):
    store, key = store_of(f"{at}/a b+ü.txt")
    assert store.current(key) == (b"", "")
    assert [store.create(key, b"one"), store.create(key, b"two")] == [True, False]
    content, tag = store.current(key)
    assert content == b"one"
    assert [store.replace(key, b"three", tag), store.replace(key, b"four", tag)] == [True, False]
    # What has the same bytes again is another object.
    _, tag = store.current(key)
    assert store.replace(key, b"five")
    assert store.current(key)[0] == b"five"
    assert not store.replace(key, b"six", tag)
    assert store.look(key, again=True).size == 4
    assert store.read(key, 1, 3) == b"iv"
    assert [(one.key, one.size) for one in store.list(key.rpartition("/")[0])] == [(key, 4)]
    others = [f"{key}{number}" for number in range(12)]
    assert all(store.create(other, b"x") for other in others)
    assert len(list(store.list(key.rpartition("/")[0]))) == 13
    assert not store.replace(f"{key}-none", b"x", store.current(key)[1])
    # Those that are not there are no matter, and none is left for their sake.
    store.remove([f"{key}-none", *others, key, f"{key}-none too"])
    assert list(store.list(key.rpartition("/")[0])) == []
    with pytest.raises(MissingFileError):
        store.look(key, again=True)


@pytest.mark.parametrize("kind", ["folder", "tars"])
def test_rows_are_those_of_a_folder(kind, at, photos, tmp_path, tiny_onnx):
    extract(photos, tmp_path / "one", tiny_onnx)
    data = photos if kind == "folder" else write_tars(photos, tmp_path / "tars")
    url = upload(data, f"{at}/{kind}")
    report = extract(url, f"{at}/cache-{kind}", tiny_onnx)
    assert (report.images, report.rows, report.failures) == (24, 24, [])
    rows = matrix(pulled(f"{at}/cache-{kind}"), photos)
    np.testing.assert_array_equal(rows, matrix(tmp_path / "one", photos))
    assert extract(url, f"{at}/cache-{kind}", tiny_onnx).computed == 0
    # Nothing is left of claims and heartbeats.
    store, key = store_of(f"{at}/cache-{kind}/claims")
    assert list(store.list(key)) == []


def test_several_writers_compute_nothing_twice(at, photos, tmp_path, tiny_onnx, monkeypatch):
    monkeypatch.setattr("icecore.cache.sharing.store_claims.StoreClaims.poll_s", 0.2)
    url = upload(photos, f"{at}/photos")
    with ThreadPoolExecutor(3) as pool:
        work = [pool.submit(extract, url, f"{at}/cache", tiny_onnx, workers=1) for _ in range(3)]
        reports = [one.result() for one in work]
    assert sum(report.computed for report in reports) == 24
    assert len(matrix(pulled(f"{at}/cache"), photos)) == 24


def test_a_copy_is_pushed_and_pulled(at, photos, tmp_path, tiny_onnx):
    extract(photos, tmp_path / "one", tiny_onnx)
    push(FeatureCache(tmp_path / "one"), f"{at}/copy")
    pull(f"{at}/copy", tmp_path / "two")
    np.testing.assert_array_equal(
        matrix(tmp_path / "two", photos), matrix(tmp_path / "one", photos)
    )


@pytest.fixture
def hub(photos, tmp_path):
    """What runs a command in a process that asks a local server in the place of the hub."""
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    write_tars(photos, tmp_path / "tars")
    with data_hub(tmp_path) as server:
        settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}

        def run(*words):
            return subprocess.run(
                [sys.executable, "-m", "icecore", *map(str, words)],
                env={**os.environ, **settings},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=120,
            )

        run.reads = server.reads
        yield run


@pytest.mark.parametrize("kind", ["photos", "tars"])
def test_data_sets_of_the_hub_are_read_once(kind, hub, photos, tmp_path, tiny_onnx):
    extract(photos, tmp_path / "one", tiny_onnx)
    words = ("extract", f"hf://datasets/{REPOSITORY}/{kind}", "-o", "cache")
    told = hub(*words, "-b", f"onnx:{tiny_onnx}")
    assert told.returncode == 0, told.stderr
    np.testing.assert_array_equal(
        matrix(tmp_path / "cache", photos), matrix(tmp_path / "one", photos)
    )
    names = [path.name for path in files_of(tmp_path / kind)]
    assert sorted(name for name, _, _ in hub.reads) == sorted(names)
    hub.reads.clear()
    assert hub(*words, "-b", f"onnx:{tiny_onnx}").returncode == 0
    assert hub.reads == []


@pytest.mark.parametrize("data", ["me/none/photos", f"{REPOSITORY}/none"])
def test_what_is_not_on_the_hub_is_named(data, hub):
    told = hub("manifest", f"hf://datasets/{data}")
    assert told.returncode == 1
    assert f"error: hf://datasets/{data} is not there" in told.stderr
