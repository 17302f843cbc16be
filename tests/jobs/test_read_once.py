"""Tars are read once also with Ray, by several processes, and to predict."""

from __future__ import annotations

import importlib
import importlib.util
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

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
from web import web_server

from icecore import jobs
from icecore.cache import FeatureCache, pulled, readers
from icecore.cache.sharing.claims import Claims
from icecore.cli.main import main
from icecore.core import places, stores
from icecore.core.errors import BackboneError, StoreError
from icecore.core.files import sha256_file
from icecore.core.stores import store_of
from icecore.features import ClusterOptions, ExtractOptions
from icecore.features.extraction import cluster as clusters
from icecore.manifest import StreamDigesting, digest_manifest, open_data, read, streams

SET = "onnx:tiny.onnx"
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path / "photos", 60)


@pytest.fixture
def blocks(monkeypatch):
    """Read small blocks; tell of eight images at a time."""
    monkeypatch.setattr(places, "BLOCK", 4096)
    monkeypatch.setattr(stores, "BLOCK", 4096)
    monkeypatch.setattr(streams, "AT_A_TIME", 8)


@pytest.fixture
def made(photos, tmp_path):
    return write_tars(photos, tmp_path / "made", count=6)


class Reads(list):
    """What is read of a store."""

    def __init__(self, url, monkeypatch):
        store, _ = store_of(url)
        whole = store._read
        monkeypatch.setattr(store, "_read", lambda *given: self.append(given) or whole(*given))

    @property
    def bytes(self):
        return sum(stop - start for _, start, stop in self)


@pytest.fixture
def data(made, blocks):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    return upload(made, f"memory://{uuid.uuid4().hex}/tars")


@pytest.fixture
def reads(data, monkeypatch):
    return Reads(data, monkeypatch)


@pytest.fixture
def ray_here(monkeypatch):
    """What Ray does, in this process; returns the receipts, and what each lot had."""
    receipts, lots = [], []

    def run_here(cluster, plan, images):
        sizes = [clusters._images_in(plan, samples[0]) for samples in images]
        for lot in clusters._lots(images, sizes, 20):
            lots.append([sample.id for sample in lot])
            worker = clusters._Computing(plan, 4)
            for told in worker({"samples": [clusters._as_text(lot)]}):
                receipts.extend(clusters._receipt(text) for text in told["receipt"])
                yield receipts[-1]

    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.extract"), "run_on_cluster", run_here
    )
    return receipts, lots


def extract(data, cache, tiny, **options):
    options = ExtractOptions(batch_size=4, **options)
    return jobs.extract(data, cache, [f"onnx:{tiny}"], options)


def matrix(cache, photos):
    return FeatureCache(cache).matrix([SET], [sha256_file(path) for path in files_of(photos)])


def size_of(folder):
    return sum(path.stat().st_size for path in files_of(folder))


@pytest.mark.parametrize("kind", ["tars", "records"])
def test_a_cluster_is_given_whole_containers(
    kind, photos, made, tmp_path, tiny_onnx, blocks, monkeypatch, ray_here
):
    if kind == "records":
        made = write_records(photos, tmp_path / "record")
        (made / "train.lst").unlink()  # It is not read in stores.
    data = upload(made, f"memory://{uuid.uuid4().hex}/{kind}")
    reads, (receipts, lots) = Reads(data, monkeypatch), ray_here
    report = extract(data, tmp_path / "many", tiny_onnx, cluster=ClusterOptions())
    assert (report.images, report.unique, report.computed, report.rows) == (60, 60, 60, 60)
    assert report.failures == []
    assert reads.bytes == size_of(made)
    assert sorted(name for lot in lots for name in lot) == [path.name for path in files_of(made)]
    # A receipt for each few images, so that the display moves.
    assert sum(receipt.computed <= 4 for receipt in receipts) == len(receipts) >= 15
    assert report.manifest == digest_manifest(read(data, labels_required=False)).manifest
    extract(photos, tmp_path / "one", tiny_onnx)
    np.testing.assert_array_equal(
        matrix(tmp_path / "many", photos), matrix(tmp_path / "one", photos)
    )
    reads.clear()
    lots.clear()
    again = extract(data, tmp_path / "many", tiny_onnx, cluster=ClusterOptions())
    assert (again.computed, again.manifest, reads, lots) == (0, report.manifest, [], [])


def test_containers_of_which_all_is_remembered_are_images(
    made, data, reads, tmp_path, tiny_onnx, write_tiny_onnx, ray_here
):
    extract(data, tmp_path / "cache", tiny_onnx, cluster=ClusterOptions())
    _, lots = ray_here
    lots.clear()
    other = write_tiny_onnx(tmp_path / "other.onnx", seed=1)
    report = extract(data, tmp_path / "cache", other, cluster=ClusterOptions())
    assert (report.computed, report.failures) == (60, [])
    assert {len(lot) for lot in lots} == {20}


def test_fewer_containers_than_processes_are_listed_first(
    made, data, reads, tmp_path, tiny_onnx, ray_here
):
    _, lots = ray_here
    options = {"cluster": ClusterOptions("local", 1, 7)}
    report = extract(data, tmp_path / "cache", tiny_onnx, **options)
    assert (report.computed, report.failures) == (60, [])
    assert sum(map(len, lots)) == 60
    assert reads.bytes > 1.5 * size_of(made)


def test_a_container_that_a_process_cannot_read_is_a_listed_failure(
    made, data, tmp_path, tiny_onnx, monkeypatch, ray_here
):
    store, _ = store_of(data)
    whole = store._read

    def fail(key, start, stop):
        if key.endswith("2.tar"):
            raise OSError("no network")
        return whole(key, start, stop)

    with monkeypatch.context() as broken:
        broken.setattr(store, "_read", fail)
        report = extract(data, tmp_path / "cache", tiny_onnx, cluster=ClusterOptions())
    (failure,) = report.failures
    assert failure.id == failure.path == f"{data}/train-00002.tar"
    assert "no network" in failure.reason
    assert (report.images, report.computed) == (50, 50)
    with monkeypatch.context() as broken:
        broken.setattr(store, "_read", lambda *_: fail("2.tar", 0, 0))
        with pytest.raises(StoreError, match="none of .* could be read to its end: .*no network"):
            extract(data, tmp_path / "other", tiny_onnx, cluster=ClusterOptions())
    report = extract(data, tmp_path / "cache", tiny_onnx, cluster=ClusterOptions())
    assert (report.images, report.computed, report.failures) == (60, 10, [])


def test_a_container_that_is_gone_before_its_turn_is_a_listed_failure(
    made, data, tmp_path, tiny_onnx, monkeypatch, ray_here
):
    job = importlib.import_module("icecore.features.extraction.extract")
    here = job.run_on_cluster

    def remove_one(*given):
        store, key = store_of(f"{data}/train-00004.tar")
        store._files.rm_file(store._path(key))
        store.forget()
        return here(*given)

    monkeypatch.setattr(job, "run_on_cluster", remove_one)
    monkeypatch.setattr(clusters, "_images_in", lambda *_: 10)
    monkeypatch.setattr(job, "DIGESTED_FIRST_S", 0.0)
    report = extract(data, tmp_path / "cache", tiny_onnx, cluster=ClusterOptions())
    (failure,) = report.failures
    assert failure.id == f"{data}/train-00004.tar"
    assert "is not there" in failure.reason
    assert (report.images, report.computed) == (50, 50)


def test_copies_in_other_tars_fail_alike(photos, tmp_path, tiny_onnx, blocks, ray_here):
    cut = files_of(photos)[0].read_bytes()[:300]
    for number in range(3):
        (photos / f"cut{number}.png").write_bytes(cut)
    data = write_tars(photos, tmp_path / "cut", count=3)
    whole = extract(data, tmp_path / "one", tiny_onnx)
    report = extract(data, tmp_path / "many", tiny_onnx, cluster=ClusterOptions())
    assert len(whole.failures) == 3
    assert sorted((one.id, one.reason) for one in report.failures) == sorted(
        (one.id, one.reason) for one in whole.failures
    )


def test_what_no_process_read_is_listed(data, tmp_path, tiny_onnx, monkeypatch):
    job = importlib.import_module("icecore.features.extraction.extract")
    monkeypatch.setattr(job, "run_on_cluster", lambda *_: iter(()))
    with pytest.raises(Exception, match="no images in"):
        extract(data, tmp_path / "cache", tiny_onnx, cluster=ClusterOptions())


@pytest.mark.parametrize("damage", ["listing", "digests"])
def test_a_report_that_says_nothing_sound_is_not_believed(damage, data):
    read_here, told = (StreamDigesting(open_data(data)) for _ in range(2))
    for _ in read_here:
        pass
    digests = dict(read_here.digests)
    name = min(digests)
    *facts, text, joined = digests[name].split(" ")
    damaged = [text[:-9], joined] if damage == "listing" else [text, joined[:-64]]
    assert len(told.learn(digests | {name: " ".join([*facts, *damaged])}, {})) == 50
    assert [sample.id for sample in told.unread] == [name]
    assert told.learn(digests, {}).keys() == {sample.id for sample in read_here.report().manifest if
                                              sample.id.startswith(name)}  # fmt: skip
    assert told.report().manifest == read_here.report().manifest


@needs_ray
@pytest.mark.timeout(300)
def test_ray_reads_each_tar_once(photos, made, tmp_path, tiny_onnx):
    pytest.importorskip("obstore", reason="obstore is not installed")
    extract(photos, tmp_path / "one", tiny_onnx)
    with web_server(made) as web:
        data = f"{web.url}/train-{{00000..00005}}.tar"
        report = extract(data, tmp_path / "many", tiny_onnx, cluster=ClusterOptions("local", 2, 2))
        assert (report.images, report.computed, report.failures) == (60, 60, [])
        assert sum(stop - start for _, start, stop in web.reads) == size_of(made)
        web.reads.clear()
        again = extract(data, tmp_path / "many", tiny_onnx, cluster=ClusterOptions("local", 2, 2))
        assert (again.computed, again.manifest, web.reads) == (0, report.manifest, [])
    np.testing.assert_array_equal(
        matrix(tmp_path / "many", photos), matrix(tmp_path / "one", photos)
    )


@needs_ray
@pytest.mark.timeout(300)
def test_ray_reads_each_object_once(photos, tmp_path, tiny_onnx):
    """The machine that shares them out reads none of them beforehand."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    with web_server(photos) as web:
        lines = [f"{web.url}/{path.relative_to(photos)}" for path in files_of(photos)]
        (tmp_path / "table.csv").write_text("path\n" + "\n".join(lines) + "\n")
        options = {"cluster": ClusterOptions("local", 1, 1)}
        report = extract(tmp_path / "table.csv", tmp_path / "cache", tiny_onnx, **options)
        assert (report.computed, report.failures) == (60, [])
        assert sorted(path for path, _, _ in web.reads) == sorted(
            f"/{path.relative_to(photos)}" for path in files_of(photos)
        )


def digesting(data, memory, shared=None):
    one = StreamDigesting(open_data(data), memory)
    one.shared = shared
    return one


def test_what_another_process_reads_is_waited_for(made, data, reads, tmp_path, monkeypatch):
    monkeypatch.setattr(Claims, "poll_s", 0.0)
    memory = FeatureCache.create(tmp_path / "cache").path / "digests"
    with readers(memory.parent, None) as ours, readers(memory.parent, None) as theirs:
        slow, fast = digesting(data, memory, ours), digesting(data, memory, theirs)
        pieces, others = iter(slow), iter(fast)
        told = next(pieces)
        known: dict = {}
        while not fast.waiting:
            known |= next(others)
        assert len(known) == 50  # All but the tar that the first one is at.
        assert not told.keys() & known.keys()
        assert next(others) == {}
        told |= {identity: key for some in pieces for identity, key in some.items()}
        known |= {identity: key for some in others for identity, key in some.items()}
        assert len(told) == len(known) == 60
        assert slow.report().manifest == fast.report().manifest
    assert reads.bytes == size_of(made)
    assert len(reads) == len(set(reads))


def test_a_large_one_is_read_along(made, data, reads, tmp_path, monkeypatch):
    monkeypatch.setattr(Claims, "poll_s", 0.0)
    monkeypatch.setattr(streams, "_LARGE", 0)
    memory = FeatureCache.create(tmp_path / "cache").path / "digests"
    with readers(memory.parent, None) as ours, readers(memory.parent, None) as theirs:
        slow, fast = digesting(data, memory, ours), digesting(data, memory, theirs)
        told = next(iter(slow))
        known = {identity: key for some in fast for identity, key in some.items()}
        assert len(known) == 60
        assert told.items() <= known.items()
    assert size_of(made) < reads.bytes < 1.5 * size_of(made)


def test_what_a_process_that_is_gone_had_claimed_is_read(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Claims, "poll_s", 0.0)
    memory = FeatureCache.create(tmp_path / "cache").path / "digests"
    with readers(memory.parent, None) as theirs:
        left = digesting(data, memory, theirs)
        with readers(memory.parent, None) as ours:
            assert len(next(iter(digesting(data, memory, ours)))) == 8
            others = iter(left)
            while not left.waiting:
                next(others)
        known = {identity for some in others for identity in some}
        assert len(known) == 10


@pytest.mark.parametrize("where", ["folder", "store"])
def test_three_processes_read_few_tars_once(
    where, made, data, reads, photos, tmp_path, tiny_onnx, monkeypatch
):
    """But for what one computes of what another has read ahead."""
    monkeypatch.setattr(Claims, "poll_s", 0.01)
    monkeypatch.setattr("icecore.cache.sharing.store_claims.StoreClaims.poll_s", 0.1)
    caches = [tmp_path / "cache"] * 3
    with s3_server() if where == "store" else ExitStack() as s3:
        if where == "store":
            caches = [f"{s3[0]}/cache"] * 3
        with ThreadPoolExecutor(3) as pool:
            work = [pool.submit(extract, data, cache, tiny_onnx, workers=1) for cache in caches]
            reports = [one.result() for one in work]
        assert sum(report.computed for report in reports) == 60
        assert {(one.images, len(one.failures)) for one in reports} == {(60, 0)}
        assert len({one.manifest for one in reports}) == 1
        assert reads.bytes <= 2 * size_of(made)
        folder = pulled(caches[0])
    assert len(matrix(folder, photos)) == 60
    assert not list((tmp_path / "cache/claims").glob("*"))


def test_an_engine_that_does_not_start_leaves_nothing(data, tmp_path, tiny_onnx, monkeypatch):
    def refuse(*_):
        raise BackboneError("no", "none")

    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.extract"), "started", refuse
    )
    with pytest.raises(BackboneError):
        extract(data, tmp_path / "cache", tiny_onnx)
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def run(photos, tmp_path, tiny_onnx):
    extract(photos, tmp_path / "learnt", tiny_onnx)
    options = ["--head", "logistic", "--folds", "3", "-q"]
    told = [str(tmp_path / "learnt"), "--data", str(photos), "-o", str(tmp_path / "run")]
    main(["train", *told, *options])
    return tmp_path / "run"


def test_a_prediction_reads_each_tar_once(run, made, data, reads, tmp_path):
    listed = jobs.predict(run, read(data, labels_required=False), tmp_path / "listed.csv")
    reads.clear()
    options = jobs.PredictOptions(cache=tmp_path / "kept")
    report = jobs.predict(run, data, tmp_path / "a.csv", options)
    assert reads.bytes == size_of(made)
    assert (report.images, report.failures) == (60, [])
    assert report.manifest == listed.manifest
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "listed.csv").read_bytes()
    reads.clear()
    jobs.predict(run, data, tmp_path / "b.csv", options)
    assert reads == []


def test_a_sheet_is_looked_at_before_anything_is_computed(run, data, tmp_path, monkeypatch):
    (tmp_path / "sample.csv").write_text("id,none\n1,0.5\n")
    monkeypatch.setattr(importlib.import_module("icecore.jobs.predict").features, "extract", None)
    with pytest.raises(Exception, match="none"):
        jobs.predict(
            run, data, tmp_path / "a.csv", jobs.PredictOptions(sample=tmp_path / "sample.csv")
        )


def test_a_tar_that_cannot_be_read_is_no_answer(run, made, data, tmp_path, monkeypatch):
    store, _ = store_of(data)
    whole = store._read

    def fail(key, start, stop):
        if key.endswith("2.tar") and start:
            raise OSError("no network")
        return whole(key, start, stop)

    monkeypatch.setattr(store, "_read", fail)
    monkeypatch.setattr(stores, "_AHEAD", 1)
    report = jobs.predict(run, data, tmp_path / "a.csv")
    assert report.images == 50
    (failure,) = report.failures
    assert failure.id == f"{data}/train-00002.tar"


def test_of_a_table_labels_are_read_and_then_each_image_once(tmp_path, tiny_onnx, monkeypatch):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    rng = np.random.default_rng(0)
    for number in range(60):
        path = tmp_path / "photos" / "train" / ("hat", "coat")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)).save(path)
    made = write_parquet(tmp_path / "photos", tmp_path / "made")
    data = upload(made, f"memory://{uuid.uuid4().hex}/table")
    reads = Reads(data, monkeypatch)
    assert extract(data, tmp_path / "cache", tiny_onnx).rows == 60
    # The footer is asked for by listing and reading: 64 KiB each.
    assert reads.bytes < size_of(made) + 3 * 2**16
    reads.clear()
    assert extract(data, tmp_path / "cache", tiny_onnx).computed == 0
    assert reads.bytes < 2 * 2**16


def test_a_listing_for_boxes_is_remembered(made, data, reads, tmp_path, tiny_onnx, monkeypatch):
    """Where they are known, the images of the tars that are computed are read, and no more."""
    table = tmp_path / "boxes.csv"
    table.write_text("path,x0,y0,x1,y1\ntrain-00000.tar/00.png,1,1,9,9\n")
    report = extract(data, tmp_path / "cache", tiny_onnx, boxes=table)
    assert (report.boxed, report.computed, report.failures) == (1, 60, [])
    # Once, but for the block that has the boxed image, whose size is looked at.
    assert size_of(made) < reads.bytes < 1.2 * size_of(made)
    reads.clear()
    monkeypatch.setattr(places._BLOCKS, "get", lambda key, make: make())
    again = extract(data, tmp_path / "cache", tiny_onnx, boxes=table)
    assert (again.computed, again.manifest) == (0, report.manifest)
    assert reads.bytes < 0.2 * size_of(made)
