"""Decoding, computing and writing at once: nothing waits, nothing is lost."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from PIL import Image

from icecore import manifest as manifests
from icecore.cache import FeatureCache, FeatureSet
from icecore.core import places
from icecore.core.errors import BackboneError, DiskFullError
from icecore.core.hardware import available_cpus
from icecore.core.places import AtHand, absolute
from icecore.features import ExtractOptions, ProgressListener, extract
from icecore.features.backbones import load_backbones
from icecore.features.engines.onnxruntime import OnnxRuntimeEngine
from icecore.features.engines.openvino import OpenVinoEngine
from icecore.features.extraction import pipeline, runner
from icecore.features.extraction.progress import Stopwatch
from icecore.features.extraction.starting import load_parts
from icecore.features.weights.request import WeightsRequest

TINY = "onnx:tiny.onnx"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(3)
    for number in range(150):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return manifests.read(root, labels_required=False)


def run(photos, cache, tiny, **options):
    options = {"engine": "onnxruntime", "batch_size": 4, "precision": "float32"} | options
    return extract(photos, cache, [f"onnx:{tiny}"], ExtractOptions(**options))


def rows_of(cache, keys):
    return FeatureCache(cache).matrix([TINY], keys)


@pytest.mark.parametrize(
    ("engine", "kind", "last"),
    [("onnxruntime", OnnxRuntimeEngine, 4), ("openvino", OpenVinoEngine, 2)],
)
def test_only_the_very_last_batch_is_not_full(
    photos, tmp_path, tiny_onnx, monkeypatch, engine, kind, last
):
    # One after the other, so that they are noted in their order.
    monkeypatch.setattr(pipeline, "_batches_at_once", lambda device, engines: 1)
    sizes, plain = [], kind.run
    monkeypatch.setattr(kind, "run", lambda self, x: sizes.append(len(x)) or plain(self, x))
    run(photos, tmp_path / "c", tiny_onnx, engine=engine)
    # The first ones are of the start. Images are dealt out in several lists of any length.
    assert sizes[-38:] == [4] * 37 + [last]


def test_computing_goes_on_while_rows_are_written(photos, tmp_path, tiny_onnx, monkeypatch):
    monkeypatch.setattr(runner, "MOST_UNSAVED_ROWS", 40)
    going_on = threading.Event()
    computed, appended = [], []
    plain_run, plain_append = OnnxRuntimeEngine.run, FeatureSet.append

    def compute(self, images):
        computed.append(len(images))
        if appended:
            going_on.set()
        return plain_run(self, images)

    def append(self, *given):
        appended.append(threading.current_thread())
        # Would wait in vain if the thread that hands batches to the engine wrote as well.
        assert len(appended) > 1 or going_on.wait(20)
        plain_append(self, *given)

    monkeypatch.setattr(OnnxRuntimeEngine, "run", compute)
    monkeypatch.setattr(FeatureSet, "append", append)
    assert run(photos, tmp_path / "c", tiny_onnx).rows == 150
    assert threading.main_thread() not in appended


def test_a_disk_that_fills_up_ends_the_job_and_keeps_what_is_there(
    photos, tmp_path, tiny_onnx, monkeypatch
):
    monkeypatch.setattr(runner, "MOST_UNSAVED_ROWS", 8)
    plain, done = FeatureSet.append, []

    def append(self, keys, rows, note):
        if len(done) == 3:
            raise DiskFullError("no room left on the disk", "free some space")
        done.append(len(keys))
        plain(self, keys, rows, note)

    with monkeypatch.context() as patched:
        patched.setattr(FeatureSet, "append", append)
        with pytest.raises(DiskFullError):
            run(photos, tmp_path / "c", tiny_onnx)
    assert len(FeatureCache(tmp_path / "c").find(TINY)) == sum(done)
    rest = run(photos, tmp_path / "c", tiny_onnx)
    assert rest.computed == 150 - sum(done)


@pytest.mark.parametrize("views", ["center", "flip+random:1"])
def test_an_engine_that_fails_midway_loses_only_its_own_batch(
    photos, tmp_path, tiny_onnx, monkeypatch, views
):
    plain, calls = OnnxRuntimeEngine.run, []
    # Once before: the proof at the first start of a network is remembered then.
    run(photos, tmp_path / "whole", tiny_onnx, views=views)

    def compute(self, images):
        calls.append(1)
        if len(calls) == 20:
            raise BackboneError("the engine failed", "")
        return plain(self, images)

    with monkeypatch.context() as patched:
        patched.setattr(OnnxRuntimeEngine, "run", compute)
        with pytest.raises(BackboneError, match="the engine failed"):
            run(photos, tmp_path / "cut", tiny_onnx, views=views)
    saved = len(FeatureCache(tmp_path / "cut").find(TINY))
    # Every batch of 4 squares that was computed, but for the one at the start. An image of several
    # views may lie in two, so one behind the failed batch is not counted then.
    batches = len(calls) - 2
    assert batches >= 18
    if views == "center":
        assert saved == 4 * batches
    else:
        assert 4 * 17 // 3 <= saved <= 4 * batches // 3
    run(photos, tmp_path / "cut", tiny_onnx, views=views)
    keys = FeatureCache(tmp_path / "whole").ids(TINY)
    assert rows_of(tmp_path / "cut", keys).tobytes() == rows_of(tmp_path / "whole", keys).tobytes()


@pytest.mark.parametrize("views", ["center", "flip+random:1"])
def test_an_interruption_while_waiting_for_the_engine_loses_no_row(
    photos, tmp_path, tiny_onnx, monkeypatch, views
):
    plain, waits = runner.wait, []

    def interrupted(futures):
        waits.append(1)
        if len(waits) == 15:
            raise KeyboardInterrupt
        return plain(futures)

    with monkeypatch.context() as patched:
        patched.setattr(runner, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path / "cut", tiny_onnx, views=views)
    saved = len(FeatureCache(tmp_path / "cut").find(TINY))
    assert 0 < saved < 150
    rest = run(photos, tmp_path / "cut", tiny_onnx, views=views)
    assert rest.computed == 150 - saved
    run(photos, tmp_path / "whole", tiny_onnx, views=views)
    keys = FeatureCache(tmp_path / "whole").ids(TINY)
    assert rows_of(tmp_path / "cut", keys).tobytes() == rows_of(tmp_path / "whole", keys).tobytes()


def test_only_so_many_images_are_decoded_ahead(photos, tmp_path, tiny_onnx, monkeypatch):
    decoded, most, plain_run = [], [], OnnxRuntimeEngine.run
    plain = pipeline.ImageFile
    monkeypatch.setattr(pipeline, "ImageFile", lambda *g: decoded.append(1) or plain(*g))
    batches = []

    def compute(self, images):
        batches.append(1)
        most.append(len(decoded) - 4 * (len(batches) - 1))
        return plain_run(self, images)

    monkeypatch.setattr(OnnxRuntimeEngine, "run", compute)
    run(photos, tmp_path / "c", tiny_onnx, workers=2)
    # One batch waits, one is being filled, and what the decoders may be ahead.
    assert max(most) <= 4 + 4 + 4 + (4 + 2 * 2) + 4


@pytest.mark.parametrize(("batch_size", "at_once"), [(4 * available_cpus(), 2), (1, 1)])
def test_an_engine_computes_as_many_batches_at_once_as_it_likes(
    photos, tmp_path, tiny_onnx, monkeypatch, batch_size, at_once
):
    lock, met, plain_run = threading.Lock(), threading.Event(), OnnxRuntimeEngine.run
    inside, most = [], []

    def compute(self, images):
        with lock:
            inside.append(1)
            most.append(len(inside))
            if len(inside) == 2:
                met.set()
        # Each waits for another until two have met; where none may come, only one waits.
        if len(most) > 1 and not met.wait(1) and at_once == 1:
            met.set()
        features = plain_run(self, images)
        inside.pop()
        return features

    monkeypatch.setattr(OnnxRuntimeEngine, "run", compute)
    report = run(photos, tmp_path / "c", tiny_onnx, batch_size=batch_size)
    assert max(most) == at_once
    assert 0 < report.computing_share <= 1
    # Seconds are not counted twice. (What the first batch waited shrinks from shard to shard.)
    (feature_set,) = FeatureCache(tmp_path / "c").sets()
    latency = min(one["provenance"]["latency_ms"] for one in feature_set.provenances())
    assert 0 < latency * report.rows / 1000 <= report.seconds


def test_batches_of_several_networks_are_not_computed_at_once(tiny_onnx):
    (backbone,) = load_backbones([f"onnx:{tiny_onnx}"], "openvino", WeightsRequest())
    engine = backbone.start("cpu", 4)
    assert pipeline._batches_at_once("cpu", [engine]) == 2
    assert pipeline._batches_at_once("cpu", [engine, engine]) == 1
    # A GPU would wait while a batch is copied.
    assert pipeline._batches_at_once("cuda:0", [engine, engine]) == 2


def test_bytes_of_images_that_others_have_computed_make_room(
    photos, tmp_path, tiny_onnx, monkeypatch
):
    """They would never be asked for, and reading ahead would wait for it ever after."""
    digested = manifests.digest_manifest(photos).manifest
    unique = {sample.digest: [sample] for sample in digested}
    done, others = list(unique)[:100], list(unique)[100:]
    options = ExtractOptions(engine="onnxruntime", precision="float32")
    (part,) = load_parts([f"onnx:{tiny_onnx}"], options)
    half = dataclasses.replace(digested, samples=digested.samples[:100])
    run(half, tmp_path / "half", tiny_onnx)
    part.open(FeatureCache(tmp_path / "half"))
    at_hand = AtHand()
    job = pipeline.Pipeline([part], options, Stopwatch(ProgressListener()), at_hand=at_hand)
    job._samples, job._next_look = unique, 0.0
    monkeypatch.setattr(places, "_MOST_AT_HAND", 150 * 9)
    for sample in digested:
        at_hand.keep(absolute(sample.path), b"some text")
    assert at_hand.full
    job._look_around([*done, *others])
    assert not at_hand.full
    assert [at_hand.take(absolute(unique[key][0].path)) for key in done] == [None] * 100
    assert [at_hand.take(absolute(unique[key][0].path)) for key in others] == [b"some text"] * 50
