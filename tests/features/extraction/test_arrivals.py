"""Images are computed while the files of others are still digested."""

from __future__ import annotations

import importlib
import math
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from icecore import jobs
from icecore.cache import FeatureCache
from icecore.cache.sharing.claims import Claims
from icecore.features import ExtractOptions, ProgressListener
from icecore.features.extraction.arrivals import Arrivals
from icecore.manifest import Digesting, digests, read

SET = "onnx:tiny.onnx"


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(60):
        pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{number:02}.png")
    for number in range(20):  # Copies come before and after what they are copies of.
        shutil.copy(tmp_path / f"photos/{number:02}.png", tmp_path / f"photos/copy{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def at_once(monkeypatch):
    """Begin to compute as soon as four digests are known."""
    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.extract"), "DIGESTED_FIRST_S", 0.0
    )
    monkeypatch.setattr(digests, "AT_A_TIME", 4)
    monkeypatch.setattr(digests, "_STRETCH", 8)


def extract(photos, cache, tiny, listener=None, **options):
    options = ExtractOptions(batch_size=4, **options)
    return jobs.extract(photos, cache, [f"onnx:{tiny}"], options, listener)


def told(report):
    failures = sorted((one.id, one.reason) for one in report.failures)
    counts = (report.images, report.unique, report.computed, report.rows)
    return counts, failures, report.several_pages, [s.digest for s in report.manifest]


def test_all_is_as_if_everything_was_digested_first(photos, tmp_path, tiny_onnx, request):
    for name in ("cut.png", "copy of cut.png"):
        (photos / name).write_bytes((photos / "00.png").read_bytes()[:300])
    pages = [Image.fromarray(np.full((9, 9, 3), n, np.uint8)) for n in (1, 2)]
    for name in ("pages.tif", "copy of pages.tif"):
        pages[0].save(photos / name, save_all=True, append_images=pages[1:])
    before = extract(photos, tmp_path / "before", tiny_onnx)
    assert (before.images, before.unique, before.computed, len(before.failures)) == (84, 62, 61, 2)
    assert before.several_pages == ["copy of pages.tif", "pages.tif"]
    request.getfixturevalue("at_once")
    during = extract(photos, tmp_path / "during", tiny_onnx)
    assert told(during) == told(before)
    ours, theirs = FeatureCache(tmp_path / "during"), FeatureCache(tmp_path / "before")
    keys = ours.ids(SET)
    assert keys == theirs.ids(SET)
    assert ours.matrix(SET, keys).tobytes() == theirs.matrix(SET, keys).tobytes()
    assert ours.failures() == theirs.failures()
    again = extract(photos, tmp_path / "during", tiny_onnx)
    assert (again.computed, again.rows, len(again.failures)) == (0, 0, 2)


@pytest.mark.timeout(300)
def test_rows_are_there_before_the_last_file_is_read(
    photos, tmp_path, tiny_onnx, at_once, monkeypatch
):
    computed, plain, read = threading.Event(), digests.digest_of, []

    def wait_at_the_last(path, *given):
        read.append(path)
        if len(read) == 80:
            assert computed.wait(120), "nothing is computed before everything is digested"
        return plain(path, *given)

    class Listener(ProgressListener):
        def on_images(self, now):
            if now.computed:
                computed.set()

    monkeypatch.setattr(digests, "digest_of", wait_at_the_last)
    # Else a fast machine has computed all that it can before it is time to tell again.
    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.progress"),
        "SECONDS_BETWEEN_LOOKS",
        0.0,
    )
    report = extract(photos, tmp_path / "cache", tiny_onnx, Listener())
    assert (report.computed, report.failures) == (60, [])


def test_a_file_that_changed_is_replaced_by_a_copy_that_is_known(
    photos, tmp_path, tiny_onnx, monkeypatch
):
    # Which of the two is read first is a matter of chance: here both are before the first row.
    job = importlib.import_module("icecore.features.extraction.extract")
    monkeypatch.setattr(job, "DIGESTED_FIRST_S", math.inf)
    plain = digests.digest_of

    def digest_and_change(path, *given):
        digest = plain(path, *given)
        if path.endswith("/00.png"):
            shutil.copy(photos / "59.png", path)
        return digest

    monkeypatch.setattr(digests, "digest_of", digest_and_change)
    report = extract(photos, tmp_path / "cache", tiny_onnx, workers=1)
    assert (report.unique, report.rows, report.failures) == (60, 60, [])


def test_several_processes_compute_nothing_twice(photos, tmp_path, tiny_onnx, at_once):
    FeatureCache.create(tmp_path / "cache")
    with ThreadPoolExecutor(3) as pool:
        jobs_ = [
            pool.submit(extract, photos, tmp_path / "cache", tiny_onnx, workers=1) for _ in range(3)
        ]
        reports = [job.result() for job in jobs_]
    assert sum(report.computed for report in reports) == 60
    assert {report.unique for report in reports} == {60}
    assert len(FeatureCache(tmp_path / "cache").ids(SET)) == 60


def test_what_was_read_is_kept_when_a_job_is_interrupted(
    photos, tmp_path, tiny_onnx, at_once, monkeypatch
):
    class Listener(ProgressListener):
        def on_images(self, now):
            if now.computed > 8:
                raise KeyboardInterrupt

    monkeypatch.setattr(digests, "_UNSETTLED_SECONDS", -60.0)
    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.progress"),
        "SECONDS_BETWEEN_LOOKS",
        0.0,
    )
    with pytest.raises(KeyboardInterrupt):
        extract(photos, tmp_path / "cache", tiny_onnx, Listener())
    kept = [path.read_text().splitlines()[1:] for path in (tmp_path / "cache/digests").iterdir()]
    assert sum(map(len, kept)) > 8
    assert 8 <= len(FeatureCache(tmp_path / "cache").ids(SET)) < 60
    assert extract(photos, tmp_path / "cache", tiny_onnx).unique == 60


def test_claims_are_given_back_after_the_rows_are_saved(photos, tmp_path, tiny_onnx, monkeypatch):
    """Else another process computes what an interrupted one is about to save."""
    close, saved = Claims.close, []

    def closed(claims):
        saved.append(len(FeatureCache(tmp_path / "cache").ids(SET)))
        close(claims)

    class Listener(ProgressListener):
        def on_images(self, now):
            if now.computed > 8 and not saved:
                raise KeyboardInterrupt

    monkeypatch.setattr(Claims, "close", closed)
    progress = importlib.import_module("icecore.features.extraction.progress")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        extract(photos, tmp_path / "cache", tiny_onnx, Listener())
    assert saved[0] == len(FeatureCache(tmp_path / "cache").ids(SET)) > 0


def test_samples_have_their_digests(photos, at_once):
    digesting = Digesting(read(photos, labels_required=False))
    arrivals = Arrivals(digesting)
    arrivals.digest(math.inf)
    assert arrivals.ended
    assert arrivals.take(wait=True) is None
    report = digesting.report().manifest
    assert {s.id: s.digest for some in arrivals.unique.values() for s in some} == {
        sample.id: sample.digest for sample in report
    }
