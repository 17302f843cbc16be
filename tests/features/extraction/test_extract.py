from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from listening import hearing
from PIL import Image

import icecore
from icecore import manifest as manifests
from icecore.cache import FeatureCache
from icecore.core.errors import (
    BackboneError,
    CacheError,
    FingerprintError,
    IcecoreError,
    ImageError,
    MissingFileError,
)
from icecore.core.files import sha256_file
from icecore.features import ExtractOptions, extract
from icecore.features.backbones import load_backbone
from icecore.features.engines.choose import ENGINES
from icecore.features.engines.onnxruntime import OnnxRuntimeEngine
from icecore.features.extraction import pipeline, progress
from icecore.features.extraction.arrivals import Arrivals
from icecore.features.images.decode import ImageFile, decode
from icecore.features.images.fit import fit_image
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

TINY = "onnx:tiny.onnx"


def run(root, cache, tiny, progress=None, **options):
    how = ExtractOptions(**options)
    return extract(manifests.read(root), cache, [f"onnx:{tiny}"], how, progress)


def test_rows_are_what_a_plain_script_computes(image_folder, tmp_path, tiny_onnx):
    report = run(image_folder, tmp_path / "cache", tiny_onnx, precision="float32", batch_size=4)
    backbone = load_backbone(BackboneSpec.parse(f"onnx:{tiny_onnx}"), "auto", WeightsRequest())
    engine = backbone.start("cpu")
    cache = FeatureCache(tmp_path / "cache")
    for path in sorted(image_folder.glob("*/*.png")):
        square = fit_image(decode(path.read_bytes()), backbone.record.preprocessing, "crop")
        expected = engine.run(square[None])[0]
        found = cache.matrix([TINY], [sha256_file(path)])[0]
        np.testing.assert_array_equal(found, expected)
    assert (report.images, report.unique, report.computed, report.rows) == (6, 6, 6, 6)
    assert report.failures == []


def test_an_empty_folder_may_become_a_cache_and_one_that_an_extraction_began(
    image_folder, tmp_path, tiny_onnx
):
    (tmp_path / "empty").mkdir()
    assert run(image_folder, tmp_path / "empty", tiny_onnx).rows == 6
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/digests").mkdir()
    assert run(image_folder, tmp_path / "begun", tiny_onnx).rows == 6
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").touch()
    with pytest.raises(CacheError, match=r"not empty and not a feature cache: it holds thesis.txt"):
        run(image_folder, tmp_path / "foreign", tiny_onnx)
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("precision", "bound"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_rows_of_two_bytes_are_those_of_four_rounded(
    image_folder, tmp_path, tiny_onnx, precision, bound
):
    run(image_folder, tmp_path / "whole", tiny_onnx, precision="float32")
    run(image_folder, tmp_path / "half", tiny_onnx, precision=precision)
    whole, half = (FeatureCache(tmp_path / name) for name in ("whole", "half"))
    expected = whole.matrix(TINY, whole.ids(TINY))
    found = half.matrix(TINY, whole.ids(TINY))
    assert half.find(TINY).dtype == precision
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=bound, atol=1e-7)


def test_shards_say_by_what_and_when_they_were_made(image_folder, tmp_path, tiny_onnx):
    run(image_folder, tmp_path / "cache", tiny_onnx, engine="onnxruntime")
    told = FeatureCache(tmp_path / "cache").find(TINY).provenances()[0]["provenance"]
    assert told["engine"] == "onnxruntime"
    assert told["engine_version"] == importlib.metadata.version("onnxruntime")
    assert told["icecore"] == icecore.__version__
    assert told["host"] == platform.node()
    assert told["command"] == shlex.join(sys.argv)[:2000]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["started"])
    assert told["started"] <= told["finished"]
    assert told["weights_origin"]


def test_a_second_run_computes_nothing_and_new_images_cost_only_themselves(
    image_folder, tmp_path, tiny_onnx
):
    run(image_folder, tmp_path / "cache", tiny_onnx)
    again = run(image_folder, tmp_path / "cache", tiny_onnx)
    assert (again.computed, again.rows) == (0, 0)
    noise = np.random.default_rng(9).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(image_folder / "red" / "new.png")
    (image_folder / "red" / "0.png").rename(image_folder / "red" / "renamed.png")
    added = run(image_folder, tmp_path / "cache", tiny_onnx)
    assert (added.computed, added.rows, added.images) == (1, 1, 7)


def test_exact_duplicates_are_computed_once(image_folder, tmp_path, tiny_onnx):
    shutil.copy(image_folder / "red" / "0.png", image_folder / "blue" / "copy.png")
    report = run(image_folder, tmp_path / "cache", tiny_onnx)
    assert (report.images, report.unique, report.computed) == (7, 6, 6)


def test_each_image_is_decoded_once_for_all_backbones(
    image_folder, tmp_path, tiny_onnx, monkeypatch
):
    other = tiny_onnx.with_name("other.onnx")
    shutil.copy(tiny_onnx, other)
    shutil.copy(tiny_onnx.with_suffix(".json"), other.with_suffix(".json"))
    calls = []
    plain = ImageFile.decode
    monkeypatch.setattr(ImageFile, "decode", lambda *given: calls.append(1) or plain(*given))
    specs = [f"onnx:{tiny_onnx}", f"onnx:{other}"]
    report = extract(manifests.read(image_folder), tmp_path / "cache", specs)
    assert len(calls) == 6
    assert report.rows == 12


def test_rows_do_not_depend_on_batches_order_or_neighbours(image_folder, tmp_path, tiny_onnx):
    keys = sorted(sha256_file(path) for path in image_folder.glob("*/*.png"))
    matrices = []
    for number, options in enumerate([{"batch_size": 1}, {"batch_size": 4}, {"workers": 5}]):
        run(image_folder, tmp_path / str(number), tiny_onnx, **options)
        matrices.append(FeatureCache(tmp_path / str(number)).matrix([TINY], keys))
    assert matrices[0].tobytes() == matrices[1].tobytes() == matrices[2].tobytes()


def test_unreadable_images_are_listed_kept_apart_and_retried(image_folder, tmp_path, tiny_onnx):
    good = (image_folder / "red" / "1.png").read_bytes()
    (image_folder / "red" / "1.png").write_bytes(good[: len(good) // 2])
    (image_folder / "blue" / "empty.jpg").write_bytes(b"")
    report = run(image_folder, tmp_path / "cache", tiny_onnx)
    assert {f.id: f.reason for f in report.failures} == {
        "red/1.png": "the PNG file is cut short",
        "blue/empty.jpg": "the file is empty",
    }
    assert report.computed == 5
    cache = FeatureCache(tmp_path / "cache")
    assert {f["id"] for f in cache.failures()} == {"red/1.png", "blue/empty.jpg"}
    assert len(cache.ids(TINY)) == 5
    (image_folder / "red" / "1.png").write_bytes(good)
    (image_folder / "blue" / "empty.jpg").unlink()
    again = run(image_folder, tmp_path / "cache", tiny_onnx)
    assert (again.failures, again.computed) == ([], 1)
    assert "red/1.png" not in {f["id"] for f in FeatureCache(tmp_path / "cache").failures()}


def test_a_file_without_permission_is_a_failure_not_an_end(image_folder, tmp_path, tiny_onnx):
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    (image_folder / "red" / "1.png").chmod(0)
    report = run(image_folder, tmp_path / "cache", tiny_onnx)
    assert [f.reason for f in report.failures] == ["the file cannot be read: Permission denied"]


def test_a_file_that_changes_while_the_job_runs_is_not_served(
    image_folder, tmp_path, tiny_onnx, monkeypatch
):
    plain = Arrivals.digest

    def digest_then_change(*args):
        plain(*args)
        shutil.copy(image_folder / "blue" / "0.png", image_folder / "red" / "2.png")

    monkeypatch.setattr(Arrivals, "digest", digest_then_change)
    report = run(image_folder, tmp_path / "cache", tiny_onnx)
    assert [(f.id, f.reason) for f in report.failures] == [
        ("red/2.png", "the file changed while the job was running")
    ]


def test_a_directory_that_vanishes_while_the_job_runs(tmp_path, tiny_onnx, monkeypatch):
    rng = np.random.default_rng(4)
    for label in ("a", "b"):
        (tmp_path / "many" / label).mkdir(parents=True)
        for number in range(60):
            pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "many" / label / f"{number}.png")
    monkeypatch.setattr(
        importlib.import_module("icecore.features.extraction.progress"),
        "SECONDS_BETWEEN_LOOKS",
        0.0,
    )

    def vanish(now):
        if now.computed:
            shutil.rmtree(tmp_path / "many" / "b", ignore_errors=True)

    options = {"batch_size": 4, "workers": 1}
    report = run(tmp_path / "many", tmp_path / "cache", tiny_onnx, hearing(vanish), **options)
    assert {f.reason for f in report.failures} == {
        "the file cannot be read: No such file or directory"
    }
    assert all(f.id.startswith("b/") for f in report.failures)
    assert len(report.failures) > 40
    assert report.rows == len(FeatureCache(tmp_path / "cache").find(TINY))
    assert report.rows + len(report.failures) == 120


def test_missing_files_are_named_before_anything_is_written(image_folder, tmp_path, tiny_onnx):
    table = manifests.read(image_folder)
    (image_folder / "red" / "1.png").unlink()
    with pytest.raises(MissingFileError, match=r"(?s)1 of 6 image files.*red/1.png"):
        extract(table, tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    assert not (tmp_path / "cache").exists()


def test_a_cache_made_with_other_weights_is_refused(
    image_folder, tmp_path, tiny_onnx, write_tiny_onnx
):
    run(image_folder, tmp_path / "cache", tiny_onnx)
    other = write_tiny_onnx(tmp_path / "tiny.onnx", seed=1)
    with pytest.raises(FingerprintError, match=r"(?s)weights_digest is .* there and .* here"):
        run(image_folder, tmp_path / "cache", other)


def test_another_fit_is_a_set_of_its_own(image_folder, tmp_path, tiny_onnx):
    run(image_folder, tmp_path / "cache", tiny_onnx)
    report = run(image_folder, tmp_path / "cache", tiny_onnx, fit="squash")
    assert report.computed == 6
    assert len(FeatureCache(tmp_path / "cache").sets()) == 2


def test_every_unusable_option_is_named_at_once(image_folder, tmp_path, tiny_onnx):
    with pytest.raises(BackboneError) as caught:
        run(
            image_folder, tmp_path / "c", tiny_onnx,
            fit="stretch", precision="int8", batch_size=0, workers=0, accept_error=5,
        )  # fmt: skip
    for part in (
        "fit='stretch'",
        "precision='int8'",
        "batch_size=0",
        "workers=0",
        "accept_error=5",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["gpu", "cuda", "cuda:x", "cpu,cuda:0", "cuda:0,cuda:0", ""])
def test_what_is_no_device_is_refused(image_folder, tmp_path, tiny_onnx, text):
    with pytest.raises(BackboneError, match="names no device"):
        run(image_folder, tmp_path / "c", tiny_onnx, device=text)


def test_all_networks_that_are_not_there_are_named_at_once(image_folder, tmp_path):
    specs = ["gluon:resnet152_v3", "gluon:alexnet@160", "mxnet:alexnt", "foo:bar"]
    with pytest.raises(BackboneError, match="4 backbones cannot be had") as caught:
        extract(manifests.read(image_folder), tmp_path / "cache", specs)
    for part in ("did you mean resnet152_v2", "leave @160 away", "did you mean alexnet", "foo:bar"):
        assert part in str(caught.value)
    assert not (tmp_path / "cache").exists()


def write_huge_onnx(write_tiny_onnx, path, factor):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(write_tiny_onnx(path)))
    for tensor in model.graph.initializer:
        if tensor.name == "w":
            values = (numpy_helper.to_array(tensor) * factor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, "w"))
    onnx.save(model, str(path))
    return path


def test_features_that_float16_cannot_hold_are_refused(image_folder, tmp_path, write_tiny_onnx):
    path = write_huge_onnx(write_tiny_onnx, tmp_path / "huge.onnx", 1e6)
    with pytest.raises(BackboneError, match=r"(?s)float16 cannot hold.*--precision float32"):
        run(image_folder, tmp_path / "cache", path)
    assert run(image_folder, tmp_path / "cache", path, precision="float32").rows == 6


def test_features_that_vanish_in_float16_are_refused(image_folder, tmp_path, write_tiny_onnx):
    path = write_huge_onnx(write_tiny_onnx, tmp_path / "tiny.onnx", 1e-6)
    with pytest.raises(BackboneError, match=r"float16 cannot hold \(up to .*e-0"):
        run(image_folder, tmp_path / "cache", path)
    assert run(image_folder, tmp_path / "cache", path, precision="float32").rows == 6


def test_a_batch_of_dark_pictures_alone_ends_no_job(tmp_path, write_tiny_onnx):
    path = write_huge_onnx(write_tiny_onnx, tmp_path / "net.onnx", 1e-3)
    record = path.with_suffix(".json")
    fields = json.loads(record.read_text())
    record.write_text(json.dumps({**fields, "mean": [0, 0, 0], "std": [1, 1, 1]}))
    folder = tmp_path / "dark" / "night"
    folder.mkdir(parents=True)
    for value in (1, 2):
        Image.new("RGB", (40, 40), (value,) * 3).save(folder / f"{value}.png")
    assert run(tmp_path / "dark", tmp_path / "cache", path).rows == 2
    one = FeatureCache(tmp_path / "cache").sets()[0]
    rows = np.abs(one.matrix(sorted(one.keys())))
    assert 0 < rows.max() < np.finfo(np.float16).smallest_normal


def test_a_network_of_nothing_but_zeros_is_refused(image_folder, tmp_path, write_tiny_onnx):
    path = write_huge_onnx(write_tiny_onnx, tmp_path / "dead.onnx", 0)
    with pytest.raises(BackboneError, match=r"gives nothing but zeros for random images"):
        run(image_folder, tmp_path / "cache", path, precision="float32")


def test_features_that_overflow_in_half_precision_are_refused(
    image_folder, tmp_path, write_tiny_onnx
):
    if "fp16" not in ENGINES["openvino"].able("cpu"):
        pytest.skip("needs OpenVINO and a CPU that computes in fp16")
    path = write_huge_onnx(write_tiny_onnx, tmp_path / "huge.onnx", 1e6)
    options = {"engine": "openvino", "precision": "float32"}
    with pytest.raises(BackboneError, match=r"(?s)cannot hold.*fp16: use --precision-compute f32"):
        run(image_folder, tmp_path / "cache", path, precision_compute="fp16", **options)
    assert run(image_folder, tmp_path / "cache", path, **options).rows == 6


def test_features_that_are_no_numbers_blame_the_weights(image_folder, tmp_path, write_tiny_onnx):
    path = write_huge_onnx(write_tiny_onnx, tmp_path / "huge.onnx", 3e38)
    with pytest.raises(BackboneError, match=r"(?s)cannot hold.*not finite: check the weights"):
        run(image_folder, tmp_path / "cache", path, precision="float32")


def test_an_engine_that_does_not_start_leaves_nothing(image_folder, tmp_path, tiny_onnx):
    with pytest.raises(IcecoreError):
        run(image_folder, tmp_path / "cache", tiny_onnx, device="cuda:7")
    assert not (tmp_path / "cache").exists()


def test_progress_counts_only_what_is_on_the_disk(image_folder, tmp_path, tiny_onnx):
    seen = []

    def look(progress):
        cache = FeatureCache(tmp_path / "cache")
        seen.append((progress.done, len(cache.find(TINY)), progress.total))

    run(image_folder, tmp_path / "cache", tiny_onnx, hearing(look))
    assert seen[-1] == (6, 6, 6)
    assert all(done <= rows for done, rows, _ in seen)


def test_rows_before_a_crash_of_the_engine_stay(image_folder, tmp_path, tiny_onnx, monkeypatch):
    options = {"batch_size": 2, "engine": "onnxruntime"}
    run(image_folder, tmp_path / "whole", tiny_onnx, **options)
    real, calls, counted = OnnxRuntimeEngine.run, itertools.count(), []

    def crash(self, images):
        # The first call only tries whether the engine works.
        if next(calls) == 3:
            raise RuntimeError("the device fell off the bus")
        return real(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(OnnxRuntimeEngine, "run", crash)
        with pytest.raises(RuntimeError, match="fell off the bus"):
            heard = hearing(lambda now: counted.append(now.done))
            run(image_folder, tmp_path / "cache", tiny_onnx, heard, **options)
    done = len(FeatureCache(tmp_path / "cache").find(TINY))
    assert done == 4 >= max(counted)
    assert run(image_folder, tmp_path / "cache", tiny_onnx, **options).computed == 6 - done
    whole, cache = (FeatureCache(tmp_path / name) for name in ("whole", "cache"))
    keys = whole.ids(TINY)
    assert cache.matrix(TINY, keys).tobytes() == whole.matrix(TINY, keys).tobytes()


KILLED = """
import sys
from icecore import manifest
from icecore.features import ExtractOptions, ProgressListener, extract
from icecore.features.extraction import progress, runner
runner.MOST_UNSAVED_ROWS = 8
progress.SECONDS_BETWEEN_LOOKS = 0.0
class Tell(ProgressListener):
    def on_images(self, now):
        print(now.done, flush=True)
extract(manifest.read(sys.argv[1]), sys.argv[2], ["onnx:" + sys.argv[3]],
        ExtractOptions(batch_size=4, workers=1), Tell())
"""


def _kill_after(rows: int, arguments: list[str]) -> int:
    """Run until the progress display counts `rows` more rows, then SIGKILL; return its count."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True
    )
    first = counted = int(process.stdout.readline())
    for line in process.stdout:
        counted = int(line)
        if counted - first >= rows:
            break
    process.send_signal(signal.SIGKILL)
    counted = max([counted, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.wait()
    process.stdout.close()
    return counted


def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path, tiny_onnx):
    rng = np.random.default_rng(5)
    root = tmp_path / "many"
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(200):
            pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    assert run(root, tmp_path / "whole", tiny_onnx).rows == 400
    saved = 0
    for rows in (1, 17, 40, 90, 120):
        counted = _kill_after(rows, [str(root), str(tmp_path / "cut"), str(tiny_onnx)])
        before, saved = saved, len(FeatureCache(tmp_path / "cut").find(TINY))
        assert before < counted <= saved < 400, "a row that was counted is never lost"
    rest = run(root, tmp_path / "cut", tiny_onnx)
    assert rest.computed == 400 - saved
    keys = FeatureCache(tmp_path / "whole").ids(TINY)
    matrices = [FeatureCache(tmp_path / name).matrix([TINY], keys) for name in ("whole", "cut")]
    assert matrices[0].tobytes() == matrices[1].tobytes()


def test_progress_counts_what_other_processes_finish(
    image_folder, tmp_path, tiny_onnx, monkeypatch
):
    monkeypatch.setattr(pipeline, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.0)
    keys = [sha256_file(path) for path in sorted(image_folder.glob("*/*.png"))]
    looks = []

    def look(now):
        looks.append((now.done, now.computed))
        if len(looks) == 1:
            # Another process has computed four meanwhile.
            FeatureCache(tmp_path / "c").sets()[0].append(keys[2:], np.zeros((4, 6), np.float16))

    report = run(image_folder, tmp_path / "c", tiny_onnx, hearing(look), batch_size=1, workers=1)
    assert report.computed == 2
    assert looks[0] == (0, 0)
    assert looks[-1] == (6, 2)
    assert any(done == 4 for done, _ in looks)
    assert all(done <= 6 for done, _ in looks)


def test_two_processes_share_one_job(tmp_path, tiny_onnx):
    rng = np.random.default_rng(6)
    root = tmp_path / "many"
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(150):
            pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    script = (
        "import sys; from icecore import manifest\n"
        "from icecore.features import ExtractOptions, ProgressListener, extract\n"
        "listener, looks = ProgressListener(), []\n"
        "listener.on_images = lambda now: looks.append(now.done)\n"
        "r = extract(manifest.read(sys.argv[1]), sys.argv[2], ['onnx:' + sys.argv[3]], "
        "ExtractOptions(batch_size=4, workers=1), listener)\n"
        "print(r.computed, looks[-1])"
    )
    arguments = [sys.executable, "-c", script, str(root), str(tmp_path / "c"), str(tiny_onnx)]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [list(map(int, process.communicate()[0].split())) for process in both]
    assert sum(computed for computed, _ in said) == 300, "no row is computed twice"
    assert [done for _, done in said] == [300, 300]
    assert len(FeatureCache(tmp_path / "c").find(TINY)) == 300


def test_decode_reports_what_it_found():
    with pytest.raises(ImageError, match="not an image file"):
        decode(b"\0" * 100)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_rows_of_another_compute_precision_are_a_set_of_their_own(
    image_folder, tmp_path, tiny_onnx, precision
):
    from icecore.features.engines.choose import ENGINES

    if precision not in ENGINES["openvino"].able("cpu"):
        pytest.skip(f"needs OpenVINO and a CPU that computes in {precision}")
    plain = run(image_folder, tmp_path / "cache", tiny_onnx, precision="float32")
    half = run(
        image_folder, tmp_path / "cache", tiny_onnx,
        precision="float32", precision_compute=precision,
    )  # fmt: skip
    assert (plain.computed, half.computed) == (6, 6)
    (one,), (other,) = plain.sets, half.sets
    assert (one["compute_precision"], other["compute_precision"]) == ("f32", precision)
    cache = FeatureCache(tmp_path / "cache")
    by_print = {s.fingerprint: s for s in cache.sets()}
    assert set(by_print) == {one["fingerprint"], other["fingerprint"]}
    assert by_print[one["fingerprint"]].record["compute_precision"] == "f32"
    assert by_print[other["fingerprint"]].record["compute_precision"] == precision
    keys = cache.ids(f"{TINY}#{one['fingerprint'][:12]}")
    a, b = (by_print[s["fingerprint"]].matrix(keys) for s in (one, other))
    assert 1e-5 < np.linalg.norm(a - b) / np.linalg.norm(a) < 2e-2
    again = run(
        image_folder, tmp_path / "cache", tiny_onnx,
        precision="float32", precision_compute=precision,
    )  # fmt: skip
    assert again.computed == 0
