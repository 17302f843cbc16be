"""Tars and record files are read once, while their images are computed."""

from __future__ import annotations

import base64
import importlib
import io
import json
import threading
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import draw_photos, files_of, s3_server, upload, write_records, write_tars

from icecore import features, jobs
from icecore.cache import FeatureCache
from icecore.cli.main import main
from icecore.core import places, stores
from icecore.core.errors import ManifestError, StoreError
from icecore.core.files import sha256_file
from icecore.core.stores import store_of, store_open
from icecore.features import ExtractOptions, ProgressListener
from icecore.manifest import digest_manifest, digests, open_data, read, read_remembered, streams
from icecore.manifest.layout import LabelledFiles
from icecore.manifest.listing_text import packed, unpacked
from icecore.manifest.table import Sample

SET = "onnx:tiny.onnx"


@pytest.fixture
def prefix():
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path / "photos", 60)


@pytest.fixture
def blocks(monkeypatch):
    """Read small blocks; tell of eight images at a time."""
    monkeypatch.setattr(places, "BLOCK", 4096)
    monkeypatch.setattr(stores, "BLOCK", 4096)
    monkeypatch.setattr(streams, "AT_A_TIME", 8)


class Reads:
    """What is read of a store: counted, and changed on the way where a test says so."""

    def __init__(self, store, monkeypatch):
        self.ranges, self._whole, self._lock = [], store._read, threading.Lock()
        monkeypatch.setattr(store, "_read", self.read)
        self.before = lambda key, start: None

    def read(self, key, start, stop):
        with self._lock:
            self.ranges.append((key, start, stop))
            self.before(key, start)
        return self._whole(key, start, stop)

    @property
    def bytes(self):
        return sum(stop - start for _, start, stop in self.ranges)


def extract(data, cache, tiny, listener=None, **options):
    options = ExtractOptions(batch_size=4, **options)
    return jobs.extract(data, cache, [f"onnx:{tiny}"], options, listener)


def matrix(cache, photos):
    return FeatureCache(cache).matrix([SET], [sha256_file(path) for path in files_of(photos)])


def size_of(folder):
    return sum(path.stat().st_size for path in files_of(folder) if path.suffix in (".tar", ".rec"))


@pytest.mark.parametrize("kind", ["tars", "records"])
def test_each_byte_is_read_once_and_never_again(
    kind, photos, tmp_path, tiny_onnx, write_tiny_onnx, prefix, blocks, monkeypatch
):
    made = (write_tars if kind == "tars" else write_records)(photos, tmp_path / "made")
    data = upload(made, f"{prefix}/{kind}")
    reads = Reads(store_of(data)[0], monkeypatch)
    report = extract(data, tmp_path / "cache", tiny_onnx)
    assert (report.images, report.unique, report.rows, report.failures) == (60, 60, 60, [])
    assert reads.bytes == size_of(made)
    assert len(reads.ranges) == len(set(reads.ranges))
    # The table is that of a listing beforehand, labels and all.
    assert report.manifest == digest_manifest(read(data, labels_required=False)).manifest
    assert read(data).classes() == (("coat", "hat") if kind == "tars" else ("0", "1"))
    extract(photos, tmp_path / "local", tiny_onnx)
    np.testing.assert_array_equal(
        matrix(tmp_path / "cache", photos), matrix(tmp_path / "local", photos)
    )
    reads.ranges.clear()
    again = extract(data, tmp_path / "cache", tiny_onnx)
    assert (again.computed, again.images, reads.bytes) == (0, 60, 0)
    assert again.manifest == report.manifest
    memory = tmp_path / "cache/digests"
    assert read_remembered(data, memory) == read(data)
    assert read_remembered(data, tmp_path / "none") == read(data)
    reads.ranges.clear()
    options = ["--head", "logistic", "--folds", "3"]
    main(["train", str(tmp_path / "cache"), "--data", data, "-o", str(tmp_path / "run"), *options])
    assert reads.bytes == 0
    # Another network needs the images, and nothing of it is read for its name alone.
    other = write_tiny_onnx(tmp_path / "other.onnx", seed=1)
    assert extract(data, tmp_path / "cache", other).rows == 60
    assert 0 < reads.bytes <= size_of(made)


def test_the_first_rows_are_there_before_the_last_tar_is_read(
    photos, tmp_path, tiny_onnx, prefix, blocks, monkeypatch
):
    made = write_tars(photos, tmp_path / "made")
    data = upload(made, f"{prefix}/tars")
    reads, computed = Reads(store_of(data)[0], monkeypatch), threading.Event()

    class Listener(ProgressListener):
        def on_images(self, now):
            if now.computed:
                computed.set()

    def wait_in_the_last(key, start):
        if len({key for key, _, _ in reads.ranges}) == 3:
            assert computed.wait(120), "nothing is computed before all is listed"

    reads.before = wait_in_the_last
    job, progress = (
        importlib.import_module(f"icecore.features.extraction.{name}")
        for name in ("extract", "progress")
    )
    monkeypatch.setattr(job, "DIGESTED_FIRST_S", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.0)
    report = extract(data, tmp_path / "cache", tiny_onnx, Listener())
    assert (report.computed, report.failures) == (60, [])


def replace(url, content):
    store, key = store_of(url)
    store._files.pipe_file(store._path(key), content)


@pytest.mark.parametrize("change", ["replaced", "gone"])
def test_a_tar_that_changes_while_it_is_read_is_a_listed_failure(
    change, photos, tmp_path, tiny_onnx, prefix, blocks, monkeypatch
):
    made = write_tars(photos, tmp_path / "made")
    data = upload(made, f"{prefix}/tars")
    store, _ = store_of(data)
    reads, content = Reads(store, monkeypatch), (made / "train-00001.tar").read_bytes()

    def change_in_the_middle(key, start):
        if key.endswith("1.tar") and start > 8192 and content:
            reads.before = lambda key, start: None
            if change == "replaced":
                replace(f"{data}/train-00001.tar", content)
            else:
                store._files.rm_file(store._path(key))

    reads.before = change_in_the_middle
    # One that nothing could be read of would end the job.
    monkeypatch.setattr(streams.secrets.SystemRandom, "shuffle", lambda self, left: left.sort())
    report = extract(data, tmp_path / "cache", tiny_onnx)
    (failure,) = report.failures
    assert failure.id == failure.path == f"{data}/train-00001.tar"
    assert ("changed while it was read" if change == "replaced" else "not there") in failure.reason
    assert report.images == 40
    assert [one["id"] for one in FeatureCache(tmp_path / "cache").failures()] == [failure.id]
    assert not [one for one in report.manifest if one.id.startswith("train-00001")]
    replace(f"{data}/train-00001.tar", content)
    store._seen.clear()
    report = extract(data, tmp_path / "cache", tiny_onnx)
    assert (report.images, report.failures) == (60, [])
    assert FeatureCache(tmp_path / "cache").failures() == []
    assert len(matrix(tmp_path / "cache", photos)) == 60


@pytest.mark.parametrize("kind", ["tar", "object"])
def test_what_comes_back_is_not_taken_for_what_was_there_meanwhile(
    kind, photos, tmp_path, tiny_onnx
):
    """Of equal bytes a store says the same ETag again."""
    with s3_server() as (bucket, _):
        if kind == "tar":
            made, name = write_tars(photos, tmp_path / "made", count=1), "train-00000.tar"
        else:
            made, name = tmp_path / "made", "train/hat/0.jpg"
            (made / name).parent.mkdir(parents=True)
            (made / name).write_bytes(files_of(photos)[1].read_bytes())
        data, before = upload(made, f"{bucket}/{kind}"), (made / name).read_bytes()
        store, key = store_of(f"{data}/{name}")
        other = bytearray(before)
        other[600 if kind == "tar" else -30] ^= 255
        images = open_data(data)  # The listing says what there is, and then it is replaced.
        store.replace(key, bytes(other))
        meanwhile = features.extract(images, tmp_path / "cache", [f"onnx:{tiny_onnx}"])
        store.replace(key, before)
        list(store.list(key.rpartition("/")[0]))
        report = extract(data, tmp_path / "cache", tiny_onnx)
        manifest = digest_manifest(read(data, labels_required=False)).manifest
        assert report.manifest == manifest
        assert meanwhile.manifest != manifest


def test_a_store_that_fails_at_once_ends_the_job_and_leaves_nothing(
    photos, tmp_path, tiny_onnx, prefix, blocks, monkeypatch
):
    data = upload(write_tars(photos, tmp_path / "made"), f"{prefix}/tars")
    reads = Reads(store_of(data)[0], monkeypatch)

    def fail(key, start):
        raise OSError("no network")

    reads.before = fail
    with pytest.raises(StoreError, match="cannot be read: no network"):
        extract(data, tmp_path / "cache", tiny_onnx)
    assert not (tmp_path / "cache").exists()


def test_why_no_tar_could_be_read_to_its_end_is_said(
    photos, tmp_path, tiny_onnx, prefix, blocks, monkeypatch
):
    data = upload(write_tars(photos, tmp_path / "made", count=1), f"{prefix}/tars")
    reads = Reads(store_of(data)[0], monkeypatch)

    def fail(key, start):
        if start > 8192:
            raise OSError("no network")

    reads.before = fail
    monkeypatch.setattr(stores, "_AHEAD", 1)
    with pytest.raises(StoreError, match="none of .* could be read to its end: .*no network"):
        extract(data, tmp_path / "cache", tiny_onnx)


@pytest.mark.parametrize("where", ["disk", "store"])
def test_tars_without_images_leave_nothing(where, tmp_path, tiny_onnx, request):
    (tmp_path / "made").mkdir()
    (tmp_path / "made/a.tar").write_bytes(bytes(10240))
    data = tmp_path / "made"
    if where == "store":
        data = upload(data, f"{request.getfixturevalue('prefix')}/made")
    with pytest.raises(ManifestError, match="no images in 1 .tar file of"):
        extract(data, tmp_path / "cache", tiny_onnx)
    assert not (tmp_path / "cache").exists()


def test_several_processes_share_the_tars_out(
    photos, tmp_path, tiny_onnx, prefix, blocks, monkeypatch
):
    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.extract"), "DIGESTED_FIRST_S", 0.0
    )
    monkeypatch.setattr("icecore.manifest.digest_memory._FIRST_KEPT_SECONDS", 0.0)
    monkeypatch.setattr("icecore.manifest.digest_memory._KEPT_SECONDS", 0.0)
    monkeypatch.setattr(places, "STRETCH", 4096)
    made = write_tars(photos, tmp_path / "made", count=20)
    data = upload(made, f"{prefix}/tars")
    reads = Reads(store_of(data)[0], monkeypatch)
    FeatureCache.create(tmp_path / "cache")
    with ThreadPoolExecutor(3) as pool:
        jobs_ = [
            pool.submit(extract, data, tmp_path / "cache", tiny_onnx, workers=1) for _ in range(3)
        ]
        reports = [job.result() for job in jobs_]
    assert sum(report.computed for report in reports) == 60
    assert {(one.images, one.unique, len(one.failures)) for one in reports} == {(60, 60, 0)}
    assert len({one.manifest for one in reports}) == 1
    # Alone they would read three times as much.
    assert reads.bytes < 2.5 * size_of(made)


def test_a_tar_that_another_process_has_read_is_read_no_further(
    photos, tmp_path, prefix, blocks, monkeypatch
):
    made = write_tars(photos, tmp_path / "made", count=1)
    data = upload(made, f"{prefix}/tars")
    reads, memory = Reads(store_of(data)[0], monkeypatch), tmp_path / "cache/digests"
    memory.parent.mkdir()
    slow = streams.StreamDigesting(open_data(data), memory)
    pieces = iter(slow)
    told = next(pieces)
    assert len(told) == 8
    fast = streams.StreamDigesting(open_data(data), memory)
    whole = {identity: key for some in fast for identity, key in some.items()}
    manifest = fast.report().manifest
    reads.ranges.clear()
    rest = [pair for some in pieces for pair in some.items()]
    assert len(reads.ranges) <= 4
    assert whole == told | dict(rest)
    assert len(told) + len(rest) == 60
    assert slow.report().manifest == manifest


def test_what_was_read_is_kept_when_a_job_is_interrupted(
    photos, tmp_path, tiny_onnx, prefix, blocks, monkeypatch
):
    made = write_tars(photos, tmp_path / "made", count=10)
    data = upload(made, f"{prefix}/tars")
    reads = Reads(store_of(data)[0], monkeypatch)
    job, progress = (
        importlib.import_module(f"icecore.features.extraction.{name}")
        for name in ("extract", "progress")
    )
    monkeypatch.setattr(job, "DIGESTED_FIRST_S", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.0)

    class Listener(ProgressListener):
        def on_images(self, now):
            if now.computed > 30:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(data, tmp_path / "cache", tiny_onnx, Listener())
    reads.ranges.clear()
    report = extract(data, tmp_path / "cache", tiny_onnx)
    assert (report.images, report.failures) == (60, [])
    assert reads.bytes < size_of(made)


def test_objects_are_read_once_however_slow_the_network_is(
    tmp_path, tiny_onnx, prefix, monkeypatch
):
    """What is digested ahead waits: else it is forgotten before its turn comes, and read again."""
    photos = draw_photos(tmp_path / "photos", 200)
    data = upload(photos, f"{prefix}/objects")
    reads = Reads(store_of(data)[0], monkeypatch)
    job = importlib.import_module("icecore.features.extraction.extract")
    monkeypatch.setattr(job, "DIGESTED_FIRST_S", 0.0)
    monkeypatch.setattr(places, "_MOST_AT_HAND", size_of_photos(photos) // 8)
    monkeypatch.setattr(digests, "AT_A_TIME", 4)
    monkeypatch.setattr(digests, "_TOGETHER", 2)
    pipeline = importlib.import_module("icecore.features.extraction.pipeline")
    plain = pipeline._read_same

    def slowly(*given):
        time.sleep(0.005)
        return plain(*given)

    monkeypatch.setattr(pipeline, "_read_same", slowly)
    report = extract(data, tmp_path / "cache", tiny_onnx, workers=1)
    assert (report.rows, report.failures) == (200, [])
    assert len(reads.ranges) == 200


def size_of_photos(photos):
    return sum(path.stat().st_size for path in files_of(photos))


SAMPLES = st.builds(
    lambda name, start, size, label: Sample(name, f"s3://b/a.tar#bytes={start}-{start + size - 1}",
                                            label=label),
    st.text(), st.integers(0, 10**12), st.integers(1, 10**8), st.text(),
)  # fmt: skip
TEXTS = st.lists(st.text()).map(tuple)
PAIRS = st.lists(st.tuples(st.text(), st.text())).map(tuple)


@given(st.lists(SAMPLES), TEXTS, PAIRS)
def test_what_lies_in_a_container_is_kept_as_a_text(samples, warnings, passed_over):
    part = LabelledFiles(samples, warnings=warnings, passed_over=passed_over)
    text = packed(part)
    assert not set(text) & set(" \n\r")
    assert unpacked(text, "s3://b/a.tar") == part


@given(st.data())
def test_a_damaged_text_is_of_no_use(data):
    text = packed(LabelledFiles([Sample("a", "x#bytes=0-9")], warnings=("w" * 50,)))
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.sampled_from("ABCxyz0189+/=:\n")) + text[at + 1 :]
    found = unpacked(damaged, "x")
    assert found is None or found.samples == [Sample("a", "x#bytes=0-9")]
    assert unpacked(text[:at], "x") is None


@pytest.mark.parametrize(
    "fields",
    [[], {}, {"samples": 1}, *([["a", *place, ""]] for place in
     ([-1, 5], [0, 0], [5, -2], [2**63, 1], ["0", "5"], [None, 1], [1e400, 1], [[], 1]))],
)  # fmt: skip
def test_a_text_that_names_no_bytes_is_of_no_use(fields):
    if isinstance(fields, list) and fields:
        fields = {"samples": fields, "warnings": [], "passed_over": []}
    content = base64.b64encode(zlib.compress(json.dumps(fields).encode())).decode()
    assert unpacked(f"listing:{content}", "a.tar") is None


@given(st.binary(min_size=1, max_size=900), st.lists(st.tuples(st.booleans(), st.integers(0, 999))))
def test_an_object_that_is_read_ahead_is_a_file(content, steps):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    url = f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").pipe_file(url, content)
    plain, before = io.BytesIO(content), stores.BLOCK
    stores.BLOCK = 64
    try:
        with store_open(url, ahead=True) as file:
            for seeks, number in steps:
                if seeks:
                    assert file.seek(number) == plain.seek(number)
                else:
                    assert file.read(number) == plain.read(number)
    finally:
        stores.BLOCK = before
