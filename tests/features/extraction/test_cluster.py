"""Extraction with Ray: the same rows as one process, also when nodes die."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from PIL import Image
from places import write_tars
from repository import ROOT

from icecore import jobs
from icecore.cache import FeatureCache, FeatureSet
from icecore.cache.sharing.claims import Claims
from icecore.cli.main import main
from icecore.core.errors import (
    BackboneError,
    CacheError,
    ClusterError,
    FingerprintError,
    MissingDependencyError,
)
from icecore.features import BackboneSpec, ClusterOptions
from icecore.features.extraction.arrivals import Arrivals
from icecore.features.extraction.cluster import (
    _as_text,
    _Computing,
    _images_at_a_time,
    _receipt,
    _room,
)
from icecore.features.extraction.options import ExtractOptions
from icecore.features.extraction.starting import load_parts, started
from icecore.features.extraction.worker import ExtractWorker, WorkerPlan
from icecore.features.sources.registry import SOURCES
from icecore.manifest import digest_manifest, read

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed")
SET = "onnx:tiny.onnx"


@pytest.fixture
def photos(tmp_path):
    return draw(tmp_path / "photos", 40)


def draw(root, count):
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def matrix(cache):
    store = FeatureCache(cache)
    keys = sorted(store.ids(SET))
    return keys, store.matrix(SET, keys)


def receipts_of(worker, samples):
    """What the driver makes of what a process says."""
    told = worker({"samples": [_as_text(samples)]})
    return [_receipt(text) for one in told for text in one["receipt"]]


def plan(folder, spec, prints):
    networks = ((BackboneSpec.parse(spec), None),)
    return WorkerPlan(str(folder / "cache"), networks, ExtractOptions(), tuple(prints))


def test_a_worker_computes_what_it_is_given_and_says_what_became_of_it(tmp_path, photos, tiny_onnx):
    spec = f"onnx:{tiny_onnx}"
    (photos / "a" / "cut.png").write_bytes((photos / "a" / "0.png").read_bytes()[:300])
    FeatureCache.create(tmp_path / "cache")
    manifest = digest_manifest(read(photos)).manifest
    reference = jobs.extract(photos, tmp_path / "whole", [spec])
    prints = [one["fingerprint"] for one in reference.sets]
    worker = ExtractWorker(plan(tmp_path, spec, prints))
    samples = list(manifest.images.values())
    first, again = worker.run(samples[:25]), worker.run(samples)
    assert (first.computed + len(first.failures), first.had) == (25, 0)
    assert again.had == first.computed
    assert first.computed + again.computed == 40
    (failure,) = {failure.id for failure in first.failures + again.failures}
    assert failure == "a/cut.png"
    ours, theirs = matrix(tmp_path / "cache"), matrix(tmp_path / "whole")
    assert ours[0] == theirs[0]
    assert ours[1].tobytes() == theirs[1].tobytes()
    with pytest.raises(FingerprintError, match="makes other rows than the others"):
        ExtractWorker(plan(tmp_path, spec, ["0" * 64]))


def test_a_worker_reads_the_files_whose_digests_nobody_knows(
    tmp_path, photos, tiny_onnx, monkeypatch
):
    """On the driver nothing is read then: a receipt has what it needs."""
    spec, asked = f"onnx:{tiny_onnx}", []
    (photos / "a" / "cut.png").write_bytes((photos / "a" / "0.png").read_bytes()[:300])
    shutil.copy(photos / "b" / "1.png", photos / "a" / "copy.png")
    for path in photos.rglob("*.png"):
        os.utime(path, (time.time() - 60,) * 2)  # Those of just now are not remembered.
    whole = jobs.extract(photos, tmp_path / "whole", [spec])

    def run_here(cluster, given, images):
        asked.extend(images)
        worker = _Computing(given)
        (photos / "a" / "2.png").unlink()
        (receipt,) = receipts_of(worker, [one for samples in images for one in samples])
        yield receipt

    extraction = importlib.import_module("icecore.features.extraction.extract")
    monkeypatch.setattr(extraction, "run_on_cluster", run_here)
    monkeypatch.setattr(extraction, "DIGESTED_FIRST_S", 0.0)
    options = ExtractOptions(cluster=ClusterOptions())
    report = jobs.extract(photos, tmp_path / "many", [spec], options)
    assert [len(samples) for samples in asked] == [1] * 42
    assert not any(sample.digest for (sample,) in asked)
    assert (whole.images, whole.unique, whole.computed) == (42, 41, 40)
    assert (report.images, report.unique, report.computed) == (42, 40, 39)
    assert {one.id: one.reason.partition(":")[0] for one in report.failures} == {
        "a/2.png": "the file cannot be read",
        "a/cut.png": whole.failures[0].reason.partition(":")[0],
    }
    digests = {one.id: one.digest for one in whole.manifest if one.id != "a/2.png"}
    assert {one.id: one.digest for one in report.manifest if one.digest} == digests
    keys = matrix(tmp_path / "many")[0]
    rows = [FeatureCache(tmp_path / name).matrix(SET, keys) for name in ("many", "whole")]
    assert rows[0].tobytes() == rows[1].tobytes()
    # The next job knows the digests without reading.
    (photos / "a" / "cut.png").unlink()
    asked.clear()
    assert jobs.extract(photos, tmp_path / "many", [spec], options).computed == 0
    assert asked == []


def test_rows_that_no_node_put_into_the_cache_are_listed(tmp_path, photos, tiny_onnx, monkeypatch):
    """A node may have a folder of its own under the same path, and say that all is done."""
    unknown = {"digests": {"none": "0" * 64}, "unreadable": {"none too": "why"}}
    first = {"computed": 40, "rows": 40, "had": 0, "failures": [], "several_pages": []}
    extraction = importlib.import_module("icecore.features.extraction.extract")
    monkeypatch.setattr(
        extraction, "run_on_cluster", lambda *_: iter([_receipt(json.dumps(first | unknown))])
    )
    options = ExtractOptions(cluster=ClusterOptions())
    report = jobs.extract(photos, tmp_path / "cache", [f"onnx:{tiny_onnx}"], options)
    assert len(report.failures) == report.images == 40
    assert {one.reason for one in report.failures} == {
        "a process computed it, and the cache has no row: all nodes must see the same folder"
    }
    monkeypatch.setattr(extraction, "DIGESTED_FIRST_S", -1.0)
    monkeypatch.setattr(Arrivals, "digest", lambda *_: None)
    report = jobs.extract(photos, tmp_path / "other", [f"onnx:{tiny_onnx}"], options)
    assert {one.reason for one in report.failures} == {"no process said what became of it"}
    assert len(report.failures) == 40


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"failures": [{"id": 1}]}', '{"ended": "on a"}'])
def test_a_receipt_of_another_version_is_refused(text):
    with pytest.raises(ClusterError, match="a receipt that cannot be read") as error:
        _receipt(text)
    assert "same version of icecore" in error.value.hint


def test_what_workers_are_dealt_is_one_claim(tmp_path, photos, tiny_onnx, monkeypatch):
    spec, claimed, plain = f"onnx:{tiny_onnx}", [], Claims.acquire
    whole = jobs.extract(photos, tmp_path / "whole", [spec])
    samples = list(digest_manifest(read(photos)).manifest.images.values())
    worker = ExtractWorker(plan(tmp_path, spec, [one["fingerprint"] for one in whole.sets]))
    monkeypatch.setattr(
        Claims, "acquire", lambda *given: claimed.append(list(given[1])) or plain(*given)
    )
    # One that is dealt out again is the same claim, whatever was saved meanwhile.
    worker.run(samples[:30])
    FeatureCache(tmp_path / "cache").sets()
    for path in (tmp_path / "cache").rglob("shards/*.h5"):
        path.unlink()
    assert worker.run(samples[:30]).computed == 30
    assert worker.run(samples[30:]).computed == 10
    first, again, other = (names for names in claimed if len(names) == 1)
    assert first == again != other


@pytest.mark.parametrize(
    ("multiply_adds", "device", "images", "workers", "lot"),
    [
        (7_500_000, "cpu", 10**6, 2, 4096),
        (400_000_000, "cpu", 10**6, 2, 1000),
        (20_000_000_000, "cpu", 10**6, 2, 256),
        (20_000_000_000, "cuda:0", 10**6, 2, 1000),
        (0, "cpu", 10**6, 2, 256),
        (7_500_000, "cpu", 10_000, 2, 1250),  # four for each process
        (7_500_000, "cpu", 40, 2, 16),  # and a whole batch at least
    ],
)
def test_lots_are_seconds_of_work(multiply_adds, device, images, workers, lot):
    options = ExtractOptions(device=device, batch_size=16)
    given = WorkerPlan("cache", (), options, (), multiply_adds)
    assert _images_at_a_time(ClusterOptions("local", 1, workers), given, images) == lot


def test_a_plan_knows_what_an_image_costs(tiny_onnx):
    options = ExtractOptions(views="flip", cluster=ClusterOptions())
    (part,) = load_parts([f"onnx:{tiny_onnx}"], options)
    assert part.cost["multiply_adds"] > 0
    assert WorkerPlan.of([part], "cache", options).multiply_adds == 2 * part.cost["multiply_adds"]


def test_networks_travel_whole(tmp_path, photos, tiny_onnx, monkeypatch):
    """A worker needs no file of them, and asks no hub."""
    spec = str(shutil.copy(tiny_onnx, tmp_path / "tiny.onnx"))
    shutil.copy(tiny_onnx.with_suffix(".json"), tmp_path)
    whole = jobs.extract(photos, tmp_path / "whole", [f"onnx:{spec}"])
    specs = [f"onnx:{spec}", "gluon:mobilenet0.25@64"]
    options = ExtractOptions(weights="random:0", cluster=ClusterOptions())
    parts = [*load_parts(specs[:1], ExtractOptions()), *load_parts(specs[1:], options)]
    FeatureCache.create(tmp_path / "cache")
    given = WorkerPlan.of(parts, str(tmp_path / "cache"), options)
    sent = pickle.loads(pickle.dumps(given, 5))
    digests = [part.backbone.network.digest for part in parts]
    os.unlink(spec)
    for name in ("load_graph", "load_gluon", "check"):
        for source in SOURCES.values():
            monkeypatch.setattr(type(source), name, None)
    worker = ExtractWorker(sent)
    assert [network.digest for _, network in sent.networks] == digests
    samples = list(digest_manifest(read(photos)).manifest.images.values())
    assert worker.run(samples).computed == whole.computed == 40
    store = FeatureCache(tmp_path / "cache")
    assert store.matrix(SET, matrix(tmp_path / "whole")[0]).tobytes() == (
        matrix(tmp_path / "whole")[1].tobytes()
    )


@pytest.mark.parametrize(("least", "most", "cpus"), [(0, 1, 1), (3, 2, 1), (1, 1, 0)])
def test_numbers_that_do_not_fit_together_are_refused(least, most, cpus):
    with pytest.raises(BackboneError, match="--ray-workers MIN:MAX|Ray workers"):
        ClusterOptions("local", least, most, cpus)


def test_what_a_worker_refuses_is_said_in_its_own_words(tmp_path, tiny_onnx):
    FeatureCache.create(tmp_path / "cache")
    worker = _Computing(plan(tmp_path, f"onnx:{tiny_onnx}", ["0" * 64]))
    with pytest.raises(ClusterError, match="ended early on .*: this machine makes other") as error:
        receipts_of(worker, [])
    assert "leave this one out; what was finished is kept" in error.value.hint


def test_a_machine_without_the_engine_says_what_to_install(tmp_path, tiny_onnx, monkeypatch):
    FeatureCache.create(tmp_path / "cache")
    options = ExtractOptions(engine="onnxruntime")
    networks = ((BackboneSpec.parse(f"onnx:{tiny_onnx}"), None),)
    given = WorkerPlan(str(tmp_path / "cache"), networks, options, ("0" * 64,))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ClusterError, match="ended early on .*: .*onnxruntime") as error:
        receipts_of(_Computing(given), [])
    assert "pip install 'icecore[onnx]'" in error.value.hint


def test_a_disk_that_is_full_on_one_machine_ends_the_job_with_one_line(
    tmp_path, photos, tiny_onnx, monkeypatch
):
    """Its rows are not there, and it would fail again and again."""
    whole = jobs.extract(photos, tmp_path / "whole", [f"onnx:{tiny_onnx}"])
    FeatureCache.create(tmp_path / "cache")
    prints = [one["fingerprint"] for one in whole.sets]
    worker = _Computing(plan(tmp_path, f"onnx:{tiny_onnx}", prints))

    def full(*_):
        raise CacheError("the disk is full", "make room")

    monkeypatch.setattr(FeatureSet, "append", full)
    samples = list(digest_manifest(read(photos)).manifest.images.values())
    with pytest.raises(ClusterError, match="ended early on .*: the disk is full") as error:
        receipts_of(worker, samples)
    assert error.value.hint.startswith("make room; ")


def test_a_folder_that_may_not_be_written_ends_the_job_with_one_line(
    tmp_path, photos, tiny_onnx, monkeypatch
):
    whole = jobs.extract(photos, tmp_path / "whole", [f"onnx:{tiny_onnx}"])
    FeatureCache.create(tmp_path / "cache")
    worker = _Computing(
        plan(tmp_path, f"onnx:{tiny_onnx}", [one["fingerprint"] for one in whole.sets])
    )

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "/shared/cache")

    monkeypatch.setattr(FeatureSet, "append", refuse)
    samples = list(digest_manifest(read(photos)).manifest.images.values())
    with pytest.raises(ClusterError, match="early on .*: .*Permission denied: '/shared/cache'"):
        receipts_of(worker, samples)


@pytest.mark.parametrize(
    ("engine", "environment", "before"),
    [
        # As an old processor computes; as on a machine where a package was not installed.
        ("torch", {"ONEDNN_MAX_CPU_ISA": "SSE41"}, ""),
        ("auto", {}, "sys.modules['openvino'] = None; "),
    ],
)
def test_a_machine_with_other_last_bits_is_refused(engine, environment, before, tmp_path):
    """Its rows would be in the same feature set, and not those of one machine."""
    for name in ("torch",) if engine == "torch" else ("openvino", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    options = ExtractOptions(engine=engine, weights="random:0", cluster=ClusterOptions())
    parts = [started(one, options) for one in load_parts(["gluon:mobilenet0.25@64"], options)]
    FeatureCache.create(tmp_path / "cache")
    given = WorkerPlan.of(parts, str(tmp_path / "cache"), options)
    ExtractWorker(given)
    (tmp_path / "plan").write_bytes(pickle.dumps(given))
    accepting = dataclasses.replace(options, accept_error=1e-4)
    assert WorkerPlan.of(parts, "cache", accepting).samples == ()
    code = (
        f"import pathlib, pickle, sys; {before}\n"
        "from icecore.features.extraction.worker import ExtractWorker\n"
        "ExtractWorker(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "plan")]
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if not ended.returncode:
        pytest.skip("this machine computes like the other one")
    assert "makes rows with other last bits than the one where the command" in ended.stderr
    assert "gluon:mobilenet0.25@64 with " in ended.stderr


def test_an_engine_takes_the_processors_that_ray_deals_out(tiny_onnx):
    options = ExtractOptions(cluster=ClusterOptions("local", 1, 1, 3))
    (part,) = load_parts([f"onnx:{tiny_onnx}"], options)
    given = WorkerPlan.of([part], "cache", options).options
    assert (given.cpus, given.workers) == (3, 3)


def test_what_is_to_be_said_of_networks_is_said_of_a_cluster_too(tmp_path, photos, tiny_onnx):
    whole = jobs.extract(photos, tmp_path / "whole", [f"onnx:{tiny_onnx}"])
    FeatureCache.create(tmp_path / "cache")
    prints = [one["fingerprint"] for one in whole.sets]
    worker = ExtractWorker(plan(tmp_path, f"onnx:{tiny_onnx}", prints))
    worker._parts[0].engines[0].notes = ["half of it is computed"]
    samples = list(digest_manifest(read(photos)).manifest.images.values())
    assert worker.run(samples).notes == ["half of it is computed"]


@pytest.mark.parametrize(
    ("nodes", "cluster", "gpus", "most", "said"),
    [
        ([2], ClusterOptions("local", 1, 1), 0, 1, ""),
        ([8], ClusterOptions("local", 1, 8), 0, 7, ""),  # one is left to Ray
        ([8], ClusterOptions("local", 1, 8, 3), 0, 2, ""),
        ([8], ClusterOptions("local", 1, 1, 4), 0, 1, ""),
        ([8], ClusterOptions("auto", 1, 16), 0, 16, ""),  # there may be more nodes later
        ([2], ClusterOptions("local", 2, 2), 0, 2, "--ray-workers 1 leaves one free"),
        ([4, 4], ClusterOptions("auto", 2, 2, 4), 0, 2, "--ray-cpus 3 leaves one free"),
        ([1], ClusterOptions("local", 1, 1), 0, 1, ""),
        ([4], ClusterOptions("local", 2, 2), 1, 2, ""),
        ([16, 16], ClusterOptions("auto", 2, 2), 0, 2, "on 2 of 32 processors: --ray-cpus 15 lets"),
        ([16, 16], ClusterOptions("auto", 2, 2), 1, 2, ""),  # GPUs compute
        ([2], ClusterOptions("local", 3, 3), 0, None, "with 1 CPU each .* have CPU 2; 2 do"),
        # Together they would do.
        ([2, 2], ClusterOptions("auto", 1, 1, 4), 0, None, "with 4 CPU each .* have CPU 2, 2; 0"),
        ([9], ClusterOptions("auto", 3, 3), 1, None, "1 CPU and 1 GPU each .* and GPU 2; 2 do"),
    ],
)
def test_a_processor_is_left_to_ray_and_what_would_wait_for_ever_is_refused(
    nodes, cluster, gpus, most, said
):
    alive = [{"Alive": True, "Resources": {"CPU": float(n), "GPU": 2.0}} for n in nodes]
    ray = types.SimpleNamespace(nodes=lambda: [*alive, {"Alive": False, "Resources": {"CPU": 99}}])
    if most is None:
        with pytest.raises(ClusterError, match=said):
            _room(ray, cluster, gpus)
        return
    found, notes = _room(ray, cluster, gpus)
    assert found == most
    assert len(notes) == bool(said)
    assert said in "".join(notes)


@needs_ray
@pytest.mark.timeout(300)
def test_a_worker_that_fits_on_no_node_is_refused(tmp_path, photos, tiny_onnx):
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    options = ExtractOptions(cluster=ClusterOptions(cluster.address, 1, 1, cpus=2))
    try:
        with pytest.raises(ClusterError, match="2 CPU each do not fit .* have CPU 1, 1; 0 do"):
            jobs.extract(photos, tmp_path / "cache", [f"onnx:{tiny_onnx}"], options)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_is_said_what_to_install(tmp_path, photos, tiny_onnx):
    options = ExtractOptions(cluster=ClusterOptions())
    with pytest.raises(MissingDependencyError, match="ray") as error:
        jobs.extract(photos, tmp_path / "cache", [f"onnx:{tiny_onnx}"], options)
    assert "icecore[ray]" in error.value.hint


@needs_ray
@pytest.mark.timeout(300)
def test_processes_on_one_machine_give_the_same_bytes(tmp_path, photos, tiny_onnx, monkeypatch):
    # The processes read the files for their digests.
    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.extract"), "DIGESTED_FIRST_S", 0.0
    )
    spec = f"onnx:{tiny_onnx}"
    (photos / "a" / "cut.png").write_bytes((photos / "a" / "0.png").read_bytes()[:300])
    jobs.extract(photos, tmp_path / "one", [spec])
    monkeypatch.chdir(tmp_path)
    options = ExtractOptions(cluster=ClusterOptions("local", 2, 2))
    report = jobs.extract(photos, "many", [spec], options)
    assert (report.computed, report.rows) == (40, 40)
    assert [failure.id for failure in report.failures] == ["a/cut.png"]
    assert matrix("many")[0] == matrix("one")[0]
    assert matrix("many")[1].tobytes() == matrix("one")[1].tobytes()
    assert jobs.extract(photos, "many", [spec], options).computed == 0
    with pytest.raises(ClusterError, match="cluster is too small: 900 workers with 1 CPU each"):
        few = ExtractOptions(cluster=ClusterOptions("local", 900, 900))
        jobs.extract(draw(tmp_path / "more", 41), "other", [spec], few)


@needs_ray
@pytest.mark.timeout(300)
def test_what_the_readme_says_of_ray(tmp_path, photos, tiny_onnx, monkeypatch):
    (line,) = [one for one in (ROOT / "README.md").read_text().splitlines() if " --ray " in one]
    words = shlex.split(line)[1:]
    words[words.index("-b") + 1] = f"onnx:{tiny_onnx}"
    monkeypatch.chdir(tmp_path)
    main(words)
    jobs.extract(photos, "one", [f"onnx:{tiny_onnx}"])
    assert matrix("cache")[0] == matrix("one")[0]
    assert matrix("cache")[1].tobytes() == matrix("one")[1].tobytes()


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("nodes", [2, 4])
def test_a_node_that_dies_costs_no_row(tmp_path, tiny_onnx, nodes, monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.extract"), "DIGESTED_FIRST_S", 0.0
    )
    spec, photos = f"onnx:{tiny_onnx}", draw(tmp_path / "photos", 3000)
    jobs.extract(photos, tmp_path / "one", [spec])
    # The head has no processors: work lies on the nodes.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    added = [cluster.add_node(num_cpus=1) for _ in range(nodes)]
    ray.init(address=cluster.address, log_to_driver=False)
    try:

        def kill():
            while not list((tmp_path / "many").rglob("shards/*.h5")):
                time.sleep(0.02)
            cluster.remove_node(added[0], allow_graceful=False)

        killer = threading.Thread(target=kill)
        killer.start()
        options = ExtractOptions(cluster=ClusterOptions(cluster.address, 1, nodes))
        report = jobs.extract(photos, tmp_path / "many", [spec], options)
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert report.failures == []
    assert matrix(tmp_path / "many")[0] == matrix(tmp_path / "one")[0]
    assert matrix(tmp_path / "many")[1].tobytes() == matrix(tmp_path / "one")[1].tobytes()


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["files", "tars"])
def test_twenty_nodes_that_die_cost_no_row(kind, tmp_path, tiny_onnx):
    import ray
    from ray.cluster_utils import Cluster

    spec, photos = f"onnx:{tiny_onnx}", draw(tmp_path / "photos", 8000)
    (photos / "a" / "cut.png").write_bytes((photos / "a" / "0.png").read_bytes()[:300])
    jobs.extract(photos, tmp_path / "one", [spec])
    data = photos if kind == "files" else write_tars(photos, tmp_path / "tars", count=8)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    options = ExtractOptions(cluster=ClusterOptions(cluster.address, 1, 2))
    kills, rounds = 0, 0
    try:
        # How many nodes can be killed before a job ends depends on the machine.
        while kills < 20:
            cache, shards, before = tmp_path / f"many-{rounds}", 0, kills
            with ThreadPoolExecutor(1) as pool:
                job = pool.submit(jobs.extract, data, cache, [spec], options)
                # Nobody tells when a shard comes.
                while not wait([job], timeout=0.02).done:
                    found = len(list(cache.rglob("shards/*.h5")))
                    if found > shards and kills < 20:
                        # The older node goes whenever something came; Ray wants the main thread.
                        shards = found
                        nodes.append(cluster.add_node(num_cpus=1))
                        cluster.remove_node(nodes.pop(0), allow_graceful=False)
                        kills += 1
            require_as_one(job.result(), cache, tmp_path / "one")
            assert kills > before, "the job ended before a node could be killed"
            rounds += 1
    finally:
        ray.shutdown()
        cluster.shutdown()


def require_as_one(report, cache, one):
    assert [failure.id.rpartition("/")[2] for failure in report.failures] == ["cut.png"]
    assert report.images == 8001
    assert matrix(cache)[0] == matrix(one)[0]
    assert matrix(cache)[1].tobytes() == matrix(one)[1].tobytes()
    # What a node had saved before it died was not computed again by another.
    assert report.computed <= 8000
    (one,) = FeatureCache(cache).sets()
    assert sum(len(shard.keys) for shard in shards_of(one)) == 8000


def shards_of(one):
    one.rows.refresh()
    return one.rows.shards.values()
