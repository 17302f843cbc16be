"""PyTorch's engine: lanes, devices, arithmetic. benchmarks/features/gpu.sh has what needs a GPU."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_files import body, make, save, weights
from packages import needs

from icecore.core.errors import BackboneError, MissingDependencyError
from icecore.features.backbones import load_backbone
from icecore.features.engines import torch as engine_module
from icecore.features.engines import torch_devices
from icecore.features.engines.base import Setup
from icecore.features.engines.choose import ENGINES, engines_for
from icecore.features.engines.gpus import gpu_files
from icecore.features.engines.proof import prove_in_engine
from icecore.features.engines.torch import TorchEngine, load_torch
from icecore.features.engines.torch_devices import Exactly, require_architecture, require_device
from icecore.features.engines.translation.translate import translate
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

pytestmark = needs("torch", "onnx", "onnxruntime")


@pytest.fixture
def network(tiny_onnx):
    spec = BackboneSpec.parse(f"onnx:{tiny_onnx}")
    return load_backbone(spec, "torch", WeightsRequest()).network


def images(count, side=32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_an_operator_that_fails_is_said_in_one_line(tmp_path):
    nodes = [*body(), helper.make_node("Cast", ["f"], ["n"], to=7)]
    nodes += [helper.make_node("Add", ["n", "far"], ["places"])]
    nodes += [helper.make_node("Gather", ["five", "places"], ["h"], axis=0)]
    nodes += [helper.make_node("Gemm", ["h", "k", "b"], ["out"])]
    outside = {"far": np.array([2**40]), "five": np.ones(5, np.float32)}
    spec = BackboneSpec.parse(save(tmp_path / "net.onnx", make(nodes, weights() | outside)))
    with pytest.raises(BackboneError, match="PyTorch fails on images of shape .* out of"):
        load_backbone(spec, "torch", WeightsRequest()).start("cpu")


def test_a_weight_that_is_none_is_said(tmp_path):
    model = make([*body(), helper.make_node("Gemm", ["f", "k", "b"], ["out"])], weights())
    content = model.SerializeToString()
    sound = content.index(b"\x08\x05\x08\x07")  # the shape of k, 5 x 7
    broken = content[:sound] + b"\x08\x05\x08\x09" + content[sound + 4 :]
    with pytest.raises(BackboneError, match="a weight that cannot be read: cannot reshape"):
        translate(load_torch(), broken, (1, 16, 16, 3), None, "onnx:net.onnx")


class WholeBatches(TorchEngine):
    """As on a GPU: two lanes of whole batches."""

    def _lanes_of(self, module, count):
        return super()._lanes_of(module, 2)

    def _open(self, network, content, count):
        self.images_at_once, self.image_by_image = self._setup.batch_size, False
        return super()._open(network, content, count)


def test_whole_batches_in_two_lanes_give_the_rows_of_single_images(network):
    alone = TorchEngine(network, Setup(batch_size=4))
    assert alone.image_by_image
    assert alone.images_at_once == 1
    batches = WholeBatches(network, Setup(batch_size=4))
    assert batches.images_at_once == 4
    for count in (1, 3, 4, 9):  # filled up with zeros, and in several parts
        batch = images(count)
        np.testing.assert_allclose(batches.run(batch), alone.run(batch), rtol=1e-5, atol=1e-6)
    assert batches.busy_seconds > 0
    assert prove_in_engine(batches, network, Setup(batch_size=4)).relative_error < 1e-5


def test_more_threads_than_lanes_wait_for_their_turn(network):
    running = WholeBatches(network, Setup(batch_size=2))
    batches = [images(7, seed=seed) for seed in range(8)]
    expected = [running.run(batch) for batch in batches]
    found = [None] * len(batches)

    def compute(number):
        found[number] = running.run(batches[number])

    threads = [threading.Thread(target=compute, args=(n,)) for n in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for one, wanted in zip(found, expected):
        np.testing.assert_array_equal(one, wanted)


def test_the_threads_of_others_are_left_as_they_were(network):
    torch = load_torch()
    before = torch.get_num_threads()
    running = TorchEngine(network, Setup(batch_size=4))
    assert torch.get_num_threads() == before
    for lane in running._lanes:
        assert lane._thread.submit(torch.get_num_threads).result() == 1


def test_an_engine_that_nobody_has_any_more_leaves_no_thread_and_no_weights(network):
    before = set(threading.enumerate())
    engine = TorchEngine(network, Setup(batch_size=2))
    assert len(engine.run(images(2))) == 2
    threads = set(threading.enumerate()) - before
    assert len(threads) == len(engine._lanes)
    weights_of = weakref.ref(engine._lanes[0]._module)
    del engine
    gc.collect()
    for one in threads:
        one.join(timeout=30)
    assert not any(one.is_alive() for one in threads)
    assert weights_of() is None


def test_too_little_memory_means_smaller_batches_and_is_said_once(network, monkeypatch):
    torch = load_torch()
    plain, sizes = engine_module.ThreadLane.__init__, []

    def begin(self, place, module, shape, exactly):
        sizes.append(shape[0])
        if shape[0] > 3:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
        plain(self, place, module, shape, exactly)

    monkeypatch.setattr(engine_module.ThreadLane, "__init__", begin)
    running = WholeBatches(network, Setup(batch_size=10))
    assert sizes == [10, 5, 3, 3]
    (note,) = running.notes
    assert "too little memory for 10 images" in note
    assert "it computes 3 at a time" in note
    batch = images(10)
    found = running.run(batch)
    monkeypatch.undo()
    expected = TorchEngine(network, Setup(batch_size=10)).run(batch)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    def never(self, *given):
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB\nmore")

    monkeypatch.setattr(engine_module.ThreadLane, "__init__", never)
    with pytest.raises(BackboneError, match="too little free memory: Tried to allocate 2.00 GiB"):
        WholeBatches(network, Setup(batch_size=10))


def test_memory_that_ends_in_the_middle_is_an_error_that_says_so(network, monkeypatch):
    torch = load_torch()
    running = TorchEngine(network, Setup(batch_size=2))

    def fail(pixels):
        raise torch.OutOfMemoryError("Tried to allocate 1.00 GiB")

    for lane in running._lanes:
        monkeypatch.setattr(lane, "_module", fail)
    with pytest.raises(BackboneError, match=r"(?s)cpu has too little free memory.*--batch-size"):
        running.run(images(3))
    monkeypatch.undo()
    assert len(running.run(images(3))) == 3, "every lane is there again"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_keeps_the_normalisation_of_pixels(models, precision):
    spec = BackboneSpec.parse(f"onnx:{models}/efficientnet_lite0.onnx")
    network = load_backbone(spec, "torch", WeightsRequest()).network
    if precision not in TorchEngine.able("cpu"):
        pytest.skip(f"this CPU does not compute in {precision}")
    exact = TorchEngine(network, Setup(batch_size=2))
    half = TorchEngine(network, Setup(precision=precision, batch_size=2))
    batch = images(2, network.record.resolution)
    found, expected = half.run(batch), exact.run(batch)
    assert found.dtype == np.float32
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 0.1


def test_what_is_changed_for_the_whole_process_is_put_back():
    torch = load_torch()

    def state():
        backends = torch.backends
        return backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, backends.cudnn.benchmark

    before = state()
    with Exactly(torch, "f32"):
        assert state() == (False, False, False)
        with Exactly(torch, "tf32"):
            assert state() == (True, True, False)
        assert state() == (False, False, False)
    assert state() == before


@pytest.mark.parametrize(
    ("capability", "built", "said"),
    [
        ((9, 0), ["sm_80", "sm_90"], ""),
        ((8, 6), ["sm_80", "sm_90"], ""),
        ((12, 0), ["sm_80", "sm_90", "compute_90"], ""),  # which the driver translates
        ((12, 0), ["sm_80", "sm_90"], "newer"),
        ((12, 1), ["sm_90", "sm_100", "sm_120"], ""),
        ((7, 0), ["sm_75", "sm_80", "sm_90a"], "older"),
        ((6, 1), [], ""),
    ],
)
def test_a_gpu_that_the_build_does_not_know_is_named(capability, built, said):
    if not said:
        require_architecture(capability, built, "device cuda:0: the NVIDIA X")
        return
    mine = "sm_{}{}".format(*capability)
    with pytest.raises(MissingDependencyError, match=rf"NVIDIA X \({mine}\) is {said} than") as c:
        require_architecture(capability, built, "device cuda:0: the NVIDIA X")
    assert "torch" in c.value.hint
    assert "--device cpu" in c.value.hint


def test_a_build_without_cuda_is_told_from_a_machine_without_a_gpu(tmp_path):
    torch = load_torch()
    if torch.version.cuda is not None:
        pytest.skip("this torch has CUDA")
    with pytest.raises(MissingDependencyError, match=r"was built without CUDA\n") as caught:
        torch_devices._refuse_build(torch, "cuda:0", tmp_path)
    assert "install a build with CUDA" in caught.value.hint
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    assert gpu_files(tmp_path) == [tmp_path / "nvidia0"]
    with pytest.raises(MissingDependencyError, match="without CUDA; this machine has a GPU"):
        torch_devices._refuse_build(torch, "cuda:0", tmp_path)


class Cuda:
    """What torch.cuda says on machines that are not here."""

    def __init__(self, complaint="", count=1, capability=(9, 0)):
        self._complaint, self._count, self._capability = complaint, count, capability

    def init(self):
        if self._complaint:
            raise RuntimeError(self._complaint)

    def device_count(self):
        return self._count

    def get_device_capability(self, index):
        return self._capability

    def get_device_name(self, index):
        return "NVIDIA X"

    def get_arch_list(self):
        return ["sm_90"]


@pytest.mark.parametrize(
    ("cuda", "said"),
    [
        (Cuda("Found no NVIDIA driver on your system. Please check"), "Found no NVIDIA driver"),
        (Cuda("The NVIDIA driver on your system is too old (found version 11040)"), "too old"),
        (Cuda(count=0), "PyTorch sees no GPU here"),
        (Cuda(capability=(12, 0)), "newer than this torch knows"),
    ],
)
def test_a_gpu_that_cannot_be_used_says_why(monkeypatch, cuda, said):
    torch = load_torch()
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch, "cuda", cuda)
    with pytest.raises(MissingDependencyError, match=rf"device cuda:0: .*{said}") as caught:
        require_device(torch, "cuda:0")
    assert "\n" not in caught.value.message
    assert "--device cpu" in caught.value.hint
    assert TorchEngine.able("cuda:0") == ()


def test_a_gpu_computes_in_what_it_was_made_for(monkeypatch):
    torch = load_torch()
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch, "cuda", Cuda())
    assert TorchEngine.precisions("cuda:0") == ("fp16", "bf16", "tf32", "f32")
    monkeypatch.setattr(torch, "cuda", Cuda(capability=(7, 5)))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75"])
    assert TorchEngine.precisions("cuda:0") == ("fp16", "f32")


def test_apples_gpus_are_asked_for_by_name():
    torch = load_torch()
    if torch.backends.mps.is_available():
        assert "f32" in TorchEngine.precisions("mps")
        return
    with pytest.raises(MissingDependencyError, match="device mps: PyTorch finds no GPU of Apple"):
        require_device(torch, "mps")


def test_pytorch_comes_first_on_gpus_alone():
    assert [kind.name for kind in engines_for("cuda:0")][:2] == ["torch", "onnxruntime"]
    assert [kind.name for kind in engines_for("cpu")][:2] == ["openvino", "onnxruntime"]
    for device in ("cpu", "cuda:0", "mps"):
        assert {kind.name for kind in engines_for(device)} == set(ENGINES)


def test_a_network_that_cannot_be_compiled_runs_without_and_says_so(network, monkeypatch):
    torch = load_torch()

    def fail(module, **options):
        raise RuntimeError("Cannot find a working triton installation.")

    monkeypatch.setattr(torch, "compile", fail)
    running = TorchEngine(network, Setup(batch_size=2, compiled=True))
    (note,) = running.notes
    assert "torch.compile does not work on this machine (Cannot find a working triton" in note
    assert running.hardware == ""
    assert len(running.run(images(2))) == 2


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_features(network, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    running = TorchEngine(network, Setup(batch_size=2, compiled=True))
    assert running.notes == []
    assert running.hardware.endswith("compiled")
    batch = images(2)
    expected = TorchEngine(network, Setup(batch_size=2)).run(batch)
    np.testing.assert_allclose(running.run(batch), expected, rtol=1e-3, atol=1e-4)


def test_importing_the_engine_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, icecore.features.engines.torch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert Path(engine_module.__file__).name == "torch.py"
