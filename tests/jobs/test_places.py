"""Images from tars, tables, records and stores give the very rows of the same files."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from places import (
    draw_photos,
    files_of,
    s3_server,
    upload,
    write_parquet,
    write_records,
    write_tars,
)
from repository import ROOT

from icecore import jobs
from icecore.cache import FeatureCache, pulled
from icecore.cli.main import main
from icecore.core import parquet_files, places, stores
from icecore.core.errors import (
    CacheError,
    ManifestError,
    MissingDependencyError,
    MissingFileError,
    RefusedError,
    StoreError,
)
from icecore.core.files import sha256_file
from icecore.core.once_cache import OnceCache
from icecore.core.stores import _store, store_of
from icecore.features import ExtractOptions
from icecore.manifest import Manifest, Sample, digest_manifest, read
from icecore.pages import thumbnail

SET = "onnx:tiny.onnx"


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path / "photos")


@pytest.fixture(scope="module")
def s3():
    with s3_server() as (url, client):
        yield url, client


@pytest.fixture
def prefix():
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    return f"memory://{uuid.uuid4().hex}"


def extract(data, cache, tiny, **options):
    return jobs.extract(data, cache, [f"onnx:{tiny}"], ExtractOptions(batch_size=4, **options))


def matrix(cache, photos):
    digests = [sha256_file(path) for path in files_of(photos)]
    return FeatureCache(cache).matrix([SET], digests)


def make(kind, photos, where):
    if kind == "folder":
        return photos
    if kind in ("cls", "json", "txt"):
        return write_tars(photos, where, labels=kind)
    if kind == "records":
        return write_records(photos, where)
    return write_parquet(photos, where, struct=kind == "structs")


@pytest.mark.parametrize("store", ["disk", "memory", "s3"])
@pytest.mark.parametrize("kind", ["folder", "cls", "json", "txt", "structs", "bytes", "records"])
def test_rows_are_those_of_the_files(kind, store, photos, tmp_path, tiny_onnx, request):
    extract(photos, tmp_path / "local", tiny_onnx)
    data = make(kind, photos, tmp_path / "made")
    if store != "disk":
        root = request.getfixturevalue("prefix" if store == "memory" else "s3")
        root = root if store == "memory" else root[0]
        data = upload(data, f"{root}/{uuid.uuid4().hex}/made")
    report = extract(data, tmp_path / "cache", tiny_onnx, workers=3)
    assert (report.images, report.unique, report.rows, report.failures) == (12, 12, 12, [])
    np.testing.assert_array_equal(
        matrix(tmp_path / "cache", photos), matrix(tmp_path / "local", photos)
    )
    classes = ("0", "1") if kind == "records" else ("coat", "hat")
    if store != "memory" or kind != "records":
        assert read(data).classes() == classes
    assert {sample.split for sample in read(data)} == {"train"}
    # Nothing is read again, and the kept table alone does as well as the data.
    again = extract(data, tmp_path / "cache", tiny_onnx)
    assert (again.computed, again.rows) == (0, 0)
    (table,) = (tmp_path / "cache/manifests").glob("*.csv")
    assert extract(table, tmp_path / "other", tiny_onnx).rows == 12


@pytest.mark.parametrize("kind", ["tars", "objects", "table"])
def test_objects_blocks_and_row_groups_are_read_once(
    kind, tmp_path, tiny_onnx, prefix, monkeypatch
):
    photos = draw_photos(tmp_path / "photos", 60)
    monkeypatch.setattr("icecore.cache.sharing.share._LOT_DIGITS", 1)
    monkeypatch.setattr(places, "BLOCK", 2048)
    monkeypatch.setattr(places, "STRETCH", 4096)
    monkeypatch.setattr(places, "ROWS_OF_STRETCH", 5)
    monkeypatch.setattr(places, "_BLOCKS", OnceCache(5))
    monkeypatch.setattr(parquet_files, "_GROUPS", OnceCache(5))
    calls = []

    def counted(whole, first):
        return lambda *given: calls.append(given[first:]) or whole(*given)

    if kind != "table":
        made = photos if kind == "objects" else write_tars(photos, tmp_path / "made")
        data = upload(made, f"{prefix}/{kind}")
        manifest = read(data)
        store, _ = store_of(data)
        monkeypatch.setattr(store, "_read", counted(store._read, 0))
    else:
        manifest = read(write_parquet(photos, tmp_path / "made"))
        group = counted(parquet_files._read_group, 4)
        monkeypatch.setattr(parquet_files, "_read_group", group)
    assert extract(manifest, tmp_path / "cache", tiny_onnx, workers=1).rows == 60
    # A tar's bytes came past before, for their digests; those of others are at hand for a while.
    assert len(calls) == len(set(calls)) >= 12


def test_few_bytes_are_kept_at_hand(tmp_path, tiny_onnx, prefix, monkeypatch):
    data = upload(draw_photos(tmp_path / "photos", 60), f"{prefix}/objects")
    manifest, (store, _) = read(data), store_of(data)
    whole, calls = store._read, []
    monkeypatch.setattr(places, "_MOST_AT_HAND", 20_000)
    monkeypatch.setattr(store, "_read", lambda *given: calls.append(given) or whole(*given))
    report = extract(manifest, tmp_path / "cache", tiny_onnx)
    assert (report.rows, report.failures) == (60, [])
    assert 60 < len(calls) < 120


@pytest.mark.parametrize("store", ["disk", "memory", "s3"])
def test_keys_with_odd_characters(store, tmp_path, tiny_onnx, request):
    photos = draw_photos(tmp_path / "photos", 5)
    odd = ["a b.jpg", "50%.jpg", "a%20b.jpg", "ü+é&=.jpg", "it's (1) #2?.jpg"]
    for path, name in zip(files_of(photos), odd):
        path.rename(path.with_name(name))
    data = photos
    if store != "disk":
        root = request.getfixturevalue("prefix" if store == "memory" else "s3")
        data = upload(photos, f"{root if store == 'memory' else root[0]}/{uuid.uuid4().hex}/odd")
    report = extract(data, tmp_path / "cache", tiny_onnx)
    assert (report.rows, report.failures) == (5, [])
    assert {os.path.basename(one.id) for one in report.manifest} == set(odd)
    assert len(matrix(tmp_path / "cache", photos)) == 5


def test_a_pattern_names_tars(photos, tmp_path, tiny_onnx):
    folder = write_tars(photos, tmp_path / "tars")
    few = extract(f"{folder}/train-{{00001..00002}}.tar", tmp_path / "cache", tiny_onnx)
    assert (few.images, few.rows) == (8, 8)
    with pytest.raises(
        MissingFileError, match=r"2 of 4 files of .* are not there, or are no files: .*00003.tar"
    ):
        read(f"{folder}/train-{{00001..00004}}.tar")


def test_a_csv_may_name_objects(photos, tmp_path, tiny_onnx, prefix, monkeypatch):
    upload(photos, f"{prefix}/p")
    lines = [
        f"{prefix}/p/{path.relative_to(photos)},{path.parent.name}" for path in files_of(photos)
    ]
    (tmp_path / "table.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    store, _ = store_of(prefix)
    store._seen.clear()
    whole, asking, most = store._look, [], []

    def look(key):
        asking.append(key)
        most.append(len(asking))
        time.sleep(0.02)
        asking.remove(key)
        return whole(key)

    monkeypatch.setattr(store, "_look", look)
    assert extract(tmp_path / "table.csv", tmp_path / "cache", tiny_onnx).rows == 12
    # Each is asked for once, many at a time.
    assert len(most) == 12
    assert max(most) > 4
    assert extract(photos, tmp_path / "cache", tiny_onnx).rows == 0


def test_a_cut_tar_gives_what_came_before_and_is_named(photos, tmp_path, tiny_onnx):
    folder = write_tars(photos, tmp_path / "tars", count=1)
    path = folder / "train-00000.tar"
    path.write_bytes(path.read_bytes()[:9000])
    report = extract(folder, tmp_path / "cache", tiny_onnx)
    assert 0 < report.rows < 12
    (warning,) = report.manifest.warnings
    assert "train-00000.tar is cut short in" in warning
    assert "what lies before that is used" in warning


def test_an_object_that_changes_is_a_listed_failure(photos, tmp_path, tiny_onnx, prefix):
    upload(photos, f"{prefix}/p")
    manifest = read(f"{prefix}/p")
    first = next(iter(manifest.images.values()))
    extract(manifest, tmp_path / "one", tiny_onnx)
    kept = read(tmp_path / "one/manifests/p.csv")
    store, key = store_of(first.path)
    store.look(key)
    store._files.pipe_file(store._path(key), b"another image")
    report = extract(kept, tmp_path / "two", tiny_onnx)
    # What the store said of it is out of date.
    (failure,) = report.failures
    assert failure.id == first.id
    assert "bytes were asked for" in failure.reason or "changed" in failure.reason
    assert report.rows == 11


def test_other_commands_take_urls(photos, tmp_path, tiny_onnx, prefix):
    data = upload(write_tars(photos, tmp_path / "made"), f"{prefix}/tars")
    cache, run = str(tmp_path / "cache"), str(tmp_path / "run")
    main(["manifest", data])
    main(["extract", data, "-o", cache, "-b", f"onnx:{tiny_onnx}"])
    assert (tmp_path / "cache/manifests/tars.csv").exists()
    main(["train", cache, "--data", data, "-o", run, "--head", "logistic", "--folds", "3"])
    main(["audit", cache, "--data", data])
    # Pages connect to nothing; a tar on the disk is another matter.
    assert thumbnail(next(iter(read(data))).path) == ("", "image lies in a store")
    (local, *_) = read(tmp_path / "made")
    assert thumbnail(local.path)[0].startswith("data:image/jpeg")


def test_profiles_are_those_of_boto3(s3, photos, tmp_path, tiny_onnx, monkeypatch):
    upload(photos, f"{s3[0]}/profile")
    secrets = tmp_path / "credentials"
    secrets.write_text("[work]\naws_access_key_id = a\naws_secret_access_key = sesame\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secrets))
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _store.cache_clear()
    try:
        assert extract(f"{s3[0]}/profile", tmp_path / "cache", tiny_onnx).rows == 12
    finally:
        _store.cache_clear()
    written = b"".join(path.read_bytes() for path in files_of(tmp_path / "cache"))
    assert b"sesame" not in written


def test_the_commands_of_the_page_run(s3, photos, tmp_path, tiny_onnx, monkeypatch):
    bucket = f"{s3[0]}/page"
    upload(photos, f"{bucket}/photos")
    upload(write_tars(photos, tmp_path / "shards"), f"{bucket}/tars")
    upload(write_parquet(photos, tmp_path / "tables"), f"{bucket}/tables")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/howto/places.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("icecore extract")]
    assert len(commands) == 7
    monkeypatch.setenv("ICECORE_CACHES", str(tmp_path / "caches"))
    for command in commands:
        words = shlex.split(command.replace("s3://bucket", bucket))[1:]
        words[words.index("-b") + 1] = f"onnx:{tiny_onnx}"
        main(words)
    assert len(matrix("cache", photos)) == 12
    copies = [line for line in page.splitlines() if line.startswith("icecore cache p")]
    for command in copies:
        main(shlex.split(command.replace("s3://bucket", bucket))[1:])
    np.testing.assert_array_equal(matrix("copy", photos), matrix("cache", photos))
    assert (tmp_path / "copy/manifests/photos.csv").exists()


def test_what_the_readme_says_of_buckets(s3, photos, tmp_path, tiny_onnx, monkeypatch):
    bucket = f"{s3[0]}/readme"
    upload(photos, f"{bucket}/photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICECORE_CACHES", str(tmp_path / "caches"))
    lines = [
        shlex.split(line.replace("s3://bucket", bucket))[1:]
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith("icecore ") and "s3://bucket" in line
    ]
    assert [words[0] for words in lines] == ["extract", "train"]
    lines[0][lines[0].index("-b") + 1] = f"onnx:{tiny_onnx}"
    main(lines[0])
    main([*lines[1], "--head", "logistic", "--folds", "3"])
    extract(photos, "local", tiny_onnx)
    rows = [matrix(name, photos) for name in (pulled(f"{bucket}/cache"), "local")]
    assert rows[0].tobytes() == rows[1].tobytes()


def test_a_cache_that_is_worked_on_is_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["cache", "compact", "s3://bucket/cache"])
    assert ended.value.code == 2
    assert "is a URL, and a path is needed here" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(CacheError, match="is a URL, and a cache is a folder"):
        FeatureCache.create("s3://bucket/cache")
    assert list(tmp_path.iterdir()) == []


class _Plain(SimpleHTTPRequestHandler):
    """A web server that knows no ranges and has no lists."""

    def log_message(self, *args):
        pass


def test_what_a_plain_web_server_can_and_cannot(photos, tmp_path, tiny_onnx, monkeypatch):
    pytest.importorskip("obstore", reason="obstore is not installed")
    write_tars(photos, tmp_path / "tars")
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Plain, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    lines = [f"{url}/{path.relative_to(tmp_path)}" for path in files_of(photos)]
    (tmp_path / "table.csv").write_text("path\n" + "\n".join(lines) + "\n")
    try:
        assert extract(tmp_path / "table.csv", tmp_path / "cache", tiny_onnx).rows == 12
        with pytest.raises(StoreError, match="cannot be listed: web servers have no lists"):
            read(f"{url}/photos")
        assert len(read(f"{url}/tars/train-00000.tar")) == 4  # one block has all of it
        monkeypatch.setattr(stores, "BLOCK", 4096)
        with pytest.raises(StoreError, match="tar cannot be read: .*Range") as error:
            read(f"{url}/tars/train-00000.tar")
        assert "ranges of bytes" in error.value.hint
        with pytest.raises(MissingFileError, match=r"1 of 1 files .*none.tar"):
            read(f"{url}/none.tar")
    finally:
        server.shutdown()
        server.server_close()


class _Forbidding(BaseHTTPRequestHandler):
    """A store that refuses everything, or everything but to list five objects."""

    code, lists = "AccessDenied", False

    def _answer(self):
        entry = "<Contents><Key>photos/{}.jpg</Key><Size>9</Size><ETag>1</ETag><LastModified>{}"
        when = "2026-01-01T00:00:00.000Z</LastModified></Contents>"
        body = f"<Error><Code>{self.code}</Code></Error>"
        may = self.lists and "list-type" in self.path
        if may:
            entries = "".join(entry.format(number, when) for number in range(5))
            body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        self.send_response(200 if may else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    do_GET = do_HEAD = do_PUT = do_POST = _answer  # noqa: N815

    def log_message(self, *args):
        pass


@pytest.fixture
def forbidding(monkeypatch):
    """Return a function that starts such a store, and returns its URL."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    servers = []

    def start(**how):
        handler = type("Handler", (_Forbidding,), how)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        port = servers[-1].server_port
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        return f"s3://forbidden-{port}"

    for name, value in (
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "sesame"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_rights_that_lack_are_told_apart(tmp_path, forbidding):
    url = forbidding()
    store, _ = store_of(f"{url}/")
    with pytest.raises(StoreError, match="may not be listed") as listed:
        read(f"{url}/photos")
    assert "the right to list" in listed.value.hint
    with pytest.raises(StoreError, match="a.jpg may not be read"):
        store.look("a.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="k may not be created") as created:
        store.create("k", tmp_path / "file")
    assert "the right to write" in created.value.hint
    assert "sesame" not in str(listed.value) + str(created.value)


def test_the_right_to_read_lacks_once_and_not_for_each_object(tmp_path, forbidding, tiny_onnx):
    url = forbidding(lists=True)
    with pytest.raises(RefusedError, match=r"photos/\d.jpg may not be read") as error:
        extract(f"{url}/photos", tmp_path / "cache", tiny_onnx)
    assert "the right to read" in error.value.hint
    assert not (tmp_path / "cache").exists()


def test_clocks_that_differ_by_hours_are_named(forbidding):
    url = forbidding(code="RequestTimeTooSkewed")
    with pytest.raises(StoreError, match="the clocks of the store and of this machine differ"):
        read(f"{url}/photos")


@pytest.mark.parametrize("code", ["QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"])
def test_a_full_store_is_called_full(tmp_path, forbidding, code):
    store, _ = store_of(f"{forbidding(code=code)}/")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="k cannot be created: the store is full") as error:
        store.create("k", tmp_path / "file")
    assert error.value.hint.startswith("free some space there")


def test_a_scheme_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    _store.cache_clear()
    with pytest.raises(MissingDependencyError, match="obstore") as error:
        read("gs://bucket/photos")
    assert error.value.hint == "pip install 'icecore[remote]'"


# fsspec has systems that run programs, unpack archives or follow lists of other places.
@pytest.mark.parametrize("scheme", ["nowhere", "git", "reference", "zip", "simplecache", "local"])
def test_a_store_that_is_not_known(scheme):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    with pytest.raises(StoreError, match=f"{scheme}://.* is of no store that is known here"):
        read(f"{scheme}://bucket/photos")


@pytest.mark.parametrize("scheme", ["sftp", "https", "s3"])
def test_a_password_in_a_url_is_refused_and_not_repeated(scheme, tmp_path, tiny_onnx, capsys):
    words = ["-o", str(tmp_path / "cache"), "-b", f"onnx:{tiny_onnx}"]
    with pytest.raises(SystemExit):
        main(["extract", f"{scheme}://me:sesame@host/photos", *words])
    told = capsys.readouterr().err
    assert f"{scheme}://host/photos is given with a password" in told
    assert "sesame" not in told
    assert not (tmp_path / "cache").exists()
    # Azure's way of naming an account is none.
    with pytest.raises((StoreError, MissingDependencyError)) as error:
        store_of("sftq://container@account/photos")
    assert "password" not in str(error.value)


def test_files_are_named_by_paths_alone(tmp_path):
    # Past the checks of files, a pipe would be waited for.
    os.mkfifo(tmp_path / "pipe.jpg")
    url = f"file://{tmp_path}/pipe.jpg"
    (tmp_path / "table.csv").write_text(f"path\n{url}\n")
    with pytest.raises(ManifestError, match="is a file of this machine"):
        read(tmp_path / "table.csv", labels_required=False)
    manifest = Manifest((Sample(url, url),))
    with pytest.raises(StoreError, match="is a file of this machine"):
        manifest.require_files()
    assert "is a file of this machine" in digest_manifest(manifest).unreadable[url]
    with pytest.raises(StoreError, match="is a file of this machine"):
        read(f"file://{tmp_path}")


def test_an_absent_prefix_has_no_images(prefix):
    with pytest.raises(Exception, match="nothing lies below memory://"):
        read(f"{prefix}/nothing")


@pytest.mark.parametrize("kind", ["table", "tar", "objects"])
def test_what_was_replaced_is_read_anew_in_the_same_process(kind, tmp_path, tiny_onnx, prefix):
    """Row groups, blocks and what stores said are kept, and none of it for what came later."""
    fsspec, data = pytest.importorskip("fsspec"), f"{prefix}/made"
    rng, photos = np.random.default_rng(1), draw_photos(tmp_path / "photos")

    def publish(number):
        if kind == "table":
            (made,) = files_of(write_parquet(photos, tmp_path / "table"))
            os.utime(made, (1000 * number,) * 2)  # What is of just now is not remembered.
            return made
        made = photos if kind == "objects" else write_tars(photos, tmp_path / "tars", count=1)
        with contextlib.suppress(FileNotFoundError):
            fsspec.filesystem("memory").rm(data.removeprefix("memory:/"), recursive=True)
        upload(made, data)
        table = tmp_path / f"{number}.csv"
        if kind == "objects":
            lines = [f"{data}/{path.relative_to(photos)}" for path in files_of(photos)]
            table.write_text("path\n" + "\n".join(lines) + "\n")
        else:
            read(data).write(table)
        return table

    assert extract(publish(1), tmp_path / "cache", tiny_onnx).computed == 12
    for path in files_of(photos):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    report = extract(publish(2), tmp_path / "cache", tiny_onnx)
    assert (report.computed, report.failures) == (12, [])
    digests = {sha256_file(path) for path in files_of(photos)}
    assert {sample.digest for sample in report.manifest} == digests
