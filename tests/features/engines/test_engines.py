"""The conformance suite: every engine passes the same tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from icecore.core.errors import BackboneError, IcecoreError, MissingDependencyError
from icecore.core.hardware import CpuFacts, available_cpus, bfloat16_pays, cpu_facts
from icecore.features.backbones import load_backbone
from icecore.features.costs import network_cost
from icecore.features.engines.base import Engine, Setup
from icecore.features.engines.choose import ENGINE_CHOICES, ENGINES, choose_engine
from icecore.features.engines.onnxruntime import OnnxRuntimeEngine, providers_for
from icecore.features.engines.openvino import order_precisions
from icecore.features.graphs.half import half_precision_graph
from icecore.features.graphs.network import GraphNetwork
from icecore.features.images.decode import decode
from icecore.features.images.fit import fit_image
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

RANDOM = WeightsRequest.parse("random:0")
TOLERANCE = 1e-4
# TensorRT has no CPU to run on; it is ONNX Runtime with another provider.
ON_CPUS = [name for name in ENGINES if name != "tensorrt"]
GRAPH_ENGINES = [name for name in ON_CPUS if ENGINES[name].runs_graphs]


def needs(name: str) -> None:
    if not ENGINES[name].able("cpu"):
        pytest.skip(f"{name} is not installed, or does not run on a CPU")


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def images(count, side, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (side, side)) for image in coarse])


def load(text: str, engine: str, **options):
    request = RANDOM if text.startswith("gluon:") else WeightsRequest()
    return load_backbone(BackboneSpec.parse(text), engine, request, **options)


@pytest.fixture(params=sorted(ON_CPUS))
def engine(request):
    needs(request.param)
    return request.param


@pytest.fixture
def network(engine, tiny_onnx):
    """A network that the engine runs; the suite's properties must hold for any."""
    return f"onnx:{tiny_onnx}" if ENGINES[engine].runs_graphs else "gluon:mobilenet0.25"


@pytest.fixture
def backbone(engine, network):
    return load(network, engine)


@pytest.fixture(scope="module")
def gluon_reference():
    needs("mxnet")
    backbone = load("gluon:resnet18_v2", "mxnet")
    batch = images(4, backbone.record.resolution)
    return batch, backbone.start("cpu").run(batch)


def test_images_may_lie_in_memory_in_any_order(backbone):
    batch = images(3, backbone.record.resolution)
    turned = np.asfortranarray(batch)
    assert not turned.flags.c_contiguous
    engine = backbone.start("cpu")
    np.testing.assert_array_equal(engine.run(turned), engine.run(batch))


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_a_gluon_network_gives_the_features_of_mxnet(name, gluon_reference):
    needs(name)
    batch, expected = gluon_reference
    found = load("gluon:resnet18_v2", name).start("cpu").run(batch)
    assert relative(found, expected) < TOLERANCE
    assert relative(expected[0], expected[1]) > 1e-2, "features must depend on the image"


@pytest.fixture(scope="module")
def onnx_reference(models, photographs):
    """What ONNX Runtime finds inside the whole classifier, as its makers published it."""
    import onnx
    import onnxruntime

    path = models / "efficientnet_lite0.onnx"
    record = load(f"onnx:{path}", "auto").record
    batch = np.stack(
        [fit_image(decode(p.read_bytes()), record.preprocessing, "crop") for p in photographs[:6]]
    )
    whole = onnx.load(str(path))
    last = next(node for node in reversed(whole.graph.node) if node.op_type == "Gemm")
    whole.graph.output.append(onnx.ValueInfoProto(name=last.input[0]))
    data = (batch / 255 - np.array(record.preprocessing.mean)) / np.array(record.preprocessing.std)
    session = onnxruntime.InferenceSession(whole.SerializeToString())
    return batch, session.run(
        [last.input[0]], {"data": data.transpose(0, 3, 1, 2).astype(np.float32)}
    )[0].reshape(len(batch), -1)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_an_onnx_network_gives_its_own_features_on_photographs(name, models, onnx_reference):
    needs(name)
    batch, expected = onnx_reference
    found = load(f"onnx:{models}/efficientnet_lite0.onnx", name).start("cpu").run(batch)
    assert relative(found, expected) < TOLERANCE


def test_uint8_goes_in_and_float32_rows_come_out(backbone):
    batch = images(3, backbone.record.resolution)
    before = batch.copy()
    found = backbone.start("cpu").run(batch)
    assert found.shape == (3, backbone.record.num_features)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(batch, before)
    assert relative(found[0], found[1]) > 1e-3, "features must depend on the image"


def test_a_row_depends_neither_on_its_neighbours_nor_on_its_place(backbone):
    running = backbone.start("cpu", 5)
    batch = images(5, backbone.record.resolution)
    expected = running.run(batch)
    np.testing.assert_array_equal(running.run(batch[::-1])[::-1], expected)
    others = images(5, backbone.record.resolution, seed=1)
    others[3] = batch[1]
    np.testing.assert_array_equal(running.run(others)[3], expected[1])


def test_answers_stay_what_they_were_when_the_next_batch_is_computed(backbone):
    running = backbone.start("cpu")
    first = running.run(images(4, backbone.record.resolution))
    kept = first.copy()
    running.run(images(4, backbone.record.resolution, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_batches_of_any_size_are_taken_in_any_order(backbone):
    running = backbone.start("cpu", 4)
    batch = images(9, backbone.record.resolution)
    expected = running.run(batch)
    for size in (1, 4, 9, 2):
        assert relative(running.run(batch[:size]), expected[:size]) < 1e-5


def test_several_threads_may_run_batches_at_once(backbone):
    running = backbone.start("cpu")
    batches = [images(3, backbone.record.resolution, seed) for seed in range(12)]
    expected = [running.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(running.run, batches), expected):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("fault", ["side", "channels", "type", "no batch", "empty"])
def test_images_of_another_shape_or_type_are_refused(backbone, fault):
    side = backbone.record.resolution
    batch = images(2, side)
    wrong = {
        "side": batch[:, :-1],
        "channels": batch[..., :1],
        "type": batch.astype(np.float32),
        "no batch": batch[0],
        "empty": batch[:0],
    }[fault]
    running = backbone.start("cpu")
    with pytest.raises(BackboneError, match=rf"takes uint8 images of shape \(N, {side}, {side}, 3"):
        running.run(wrong)
    assert running.run(batch).shape[0] == 2, "the engine goes on"


@pytest.mark.parametrize("device", ["tpu:0", "cuda", "cuda:0,cuda:1", ""])
def test_what_is_no_device_is_refused(backbone, device):
    with pytest.raises(BackboneError, match="names no device|not one device|not on 'cuda|not on"):
        backbone.start(device)


def test_a_gpu_that_is_not_there_is_named(backbone):
    with pytest.raises(IcecoreError, match=r"(?s)cuda:63.*--device cpu"):
        backbone.start("cuda:63")


def test_name_and_version_are_those_of_the_package(backbone, engine):
    running = backbone.start("cpu")
    module = importlib.import_module(ENGINES[engine].package)
    assert running.name == engine == backbone.engine
    assert module.__version__.startswith(running.version)
    assert running.version[0].isdigit()


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_a_graph_that_is_none_is_refused(name, tiny_onnx, tmp_path):
    needs(name)
    record = load(f"onnx:{tiny_onnx}", name).record
    for content in (b"", b"no graph at all", b"\x08\x08" * 50):
        network = GraphNetwork(record, content)
        with pytest.raises(BackboneError, match="refuses the graph") as caught:
            ENGINES[name](network, Setup())
        assert "Exception from" not in str(caught.value)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_a_graph_of_another_width_is_refused(name, tiny_onnx):
    import dataclasses

    needs(name)
    right = load(f"onnx:{tiny_onnx}", name)
    record = dataclasses.replace(right.record, num_features=7)
    with pytest.raises(BackboneError, match=r"features of shape \(\d, 6\), not \(\d, 7\)"):
        ENGINES[name](
            GraphNetwork(record, right.graph()), Setup()
        ).run(images(2, record.resolution))  # fmt: skip


def test_openvino_gives_the_same_bytes_whatever_the_batch(tiny_onnx):
    needs("openvino")
    backbone = load(f"onnx:{tiny_onnx}", "openvino")
    batch = images(7, backbone.record.resolution)
    rows = [backbone.start("cpu", size).run(batch) for size in (1, 2, 16)]
    alone = np.concatenate([backbone.start("cpu").run(batch[i : i + 1]) for i in range(7)])
    for found in rows:
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("name", ["mobilenetv3_small", "squeezenet1.1", "shufflenet_v1"])
def test_openvino_takes_weights_beside_a_graph_as_those_in_a_file(name):
    needs("openvino")
    beside = load(f"gluon:{name}", "openvino").network
    within = GraphNetwork(beside.record, beside.content())
    # Those that are read from some files are views of the file's bytes.
    next(iter(beside.graph.values.values())).setflags(write=False)
    batch = images(2, beside.record.resolution)
    rows = [ENGINES["openvino"](network, Setup()).run(batch) for network in (beside, within)]
    np.testing.assert_array_equal(*rows)
    assert network_cost(beside) == network_cost(within)


def test_other_weights_or_another_graph_have_another_digest():
    request = [WeightsRequest.parse(f"random:{seed}") for seed in (0, 0, 1)]
    networks = [
        load_backbone(BackboneSpec.parse("gluon:squeezenet1.1"), "onnxruntime", one).network
        for one in request
    ]
    networks.append(load("gluon:squeezenet1.1@128", "onnxruntime").network)
    assert networks[0].digest == networks[1].digest
    assert len({network.digest for network in networks}) == 3


def export_for_batches_of(size, path, write_tiny_onnx):
    """Write the tiny network with a shape inside that fits batches of one size only."""
    import onnx

    write_tiny_onnx(path)
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    shape = onnx.numpy_helper.from_array(np.array([size, 6]), "shape")
    model.graph.initializer.append(shape)
    flatten = next(node for node in model.graph.node if node.op_type == "Flatten")
    flatten.op_type = "Reshape"
    flatten.input.append("shape")
    del flatten.attribute[:]
    onnx.save(model, str(path))


def test_openvino_runs_graphs_that_were_exported_for_one_image(tmp_path, write_tiny_onnx):
    needs("openvino")
    path = write_tiny_onnx(tmp_path / "one.onnx")
    expected = load(f"onnx:{path}", "openvino").start("cpu").run(images(3, 32))
    export_for_batches_of(1, path, write_tiny_onnx)
    found = load(f"onnx:{path}", "openvino").start("cpu").run(images(3, 32))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("batch_size", "cpus", "together"),
    [(16, 2, 2), (16, 8, 2), (16, 16, 1), (6, 2, 1), (4, 1, 2), (1, 1, 1),
     (7, 2, 0), (16, 6, 0), (16, 32, 0), (1, 2, 0)],
)  # fmt: skip
def test_onnxruntime_deals_a_batch_out_if_no_processor_has_to_wait(
    batch_size, cpus, together, tiny_onnx, monkeypatch
):
    needs("onnxruntime")
    sizes, plain = [], OnnxRuntimeEngine._compute_together
    monkeypatch.setattr(
        OnnxRuntimeEngine,
        "_compute_together",
        lambda self, x: sizes.append(len(x)) or plain(self, x),
    )
    backbone = load(f"onnx:{tiny_onnx}", "onnxruntime")
    backbone.start("cpu", batch_size, threads=cpus).run(images(batch_size, 32))
    assert sizes == [together or batch_size] * (batch_size // together if together else 1)


def test_onnxruntime_gives_the_same_bytes_dealt_out_and_whole(models, photographs):
    needs("onnxruntime")
    backbone = load(f"onnx:{models}/efficientnet_lite0.onnx", "onnxruntime")
    batch = np.stack(
        [
            fit_image(decode(p.read_bytes()), backbone.record.preprocessing, "crop")
            for p in photographs[:8]
        ]
    )
    whole = backbone.start("cpu", 7, threads=2).run(batch)
    for size in (8, 6):
        found = backbone.start("cpu", size, threads=2).run(batch)
        np.testing.assert_array_equal(found, whole)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="nothing tells the processors")
def test_an_engine_with_some_of_the_processors_is_tied_to_none():
    """Several such processes would all be tied to the first ones."""
    needs("openvino")
    engine, batch = load("gluon:mobilenet0.25", "openvino"), images(32, 224)
    everywhere = frozenset(os.sched_getaffinity(0))
    # Engines of other tests, with all processors, are tied to them.
    others, seen = set(os.listdir("/proc/self/task")), {everywhere}
    engine = engine.start("cpu", threads=1)
    with ThreadPoolExecutor(1) as pool:
        # They are tied while they work.
        working = pool.submit(lambda: [engine.run(batch) for _ in range(5)])
        while not working.done():
            for task in set(os.listdir("/proc/self/task")) - others:
                with contextlib.suppress(OSError):  # It may end meanwhile.
                    seen.add(frozenset(os.sched_getaffinity(int(task))))
    assert seen == {everywhere}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_rows_are_the_same_bytes_on_any_number_of_processors(engine):
    needs(engine)
    backbone = load("gluon:mobilenet0.25@64", engine)
    batch = images(16, 64)
    alone = backbone.start("cpu", threads=1)
    rows = alone.run(batch)
    for threads in (2, 3):
        assert backbone.start("cpu", threads=threads).run(batch).tobytes() == rows.tobytes()
    if engine == "openvino":
        assert alone._slots._idle.qsize() == 2
    if engine == "torch":
        assert len(alone._lanes) == 1


@pytest.mark.parametrize("size", [1, 4])
def test_onnxruntime_runs_graphs_that_take_batches_of_one_size(size, tmp_path, write_tiny_onnx):
    needs("onnxruntime")
    path = write_tiny_onnx(tmp_path / "fixed.onnx")
    batch = images(size, 32)
    expected = load(f"onnx:{path}", "onnxruntime").start("cpu", 3).run(batch)
    export_for_batches_of(size, path, write_tiny_onnx)
    running = load(f"onnx:{path}", "onnxruntime").start("cpu", size)
    np.testing.assert_allclose(running.run(batch), expected, rtol=1e-6)
    # The constant that says how many there are was turned into one that does not.
    np.testing.assert_allclose(running.run(images(3, 32))[:1], expected[:1], rtol=1e-6)


def test_auto_takes_the_fastest_that_is_there(monkeypatch):
    there = {"openvino", "onnxruntime", "mxnet"}
    monkeypatch.setattr(Engine, "installed", classmethod(lambda kind: kind.name in there))

    def chosen(**options):
        return choose_engine("auto", **{"graphs_only": False} | options)[0].name

    for name in ("openvino", "onnxruntime", "mxnet"):
        needs(name) if importlib.util.find_spec(name) is None else None
        assert chosen() == name
        there.remove(name)
    # Nothing is there: the one that is easiest to install says so.
    assert chosen() == "onnxruntime"
    there.add("mxnet")
    assert chosen(graphs_only=True) == "onnxruntime"


def test_the_command_line_offers_every_engine():
    from icecore.cli.extract import extract
    from icecore.cli.predict import predict

    for command in (extract, predict):
        option = next(p for p in command.params if p.name == "engine")
        assert tuple(option.type.choices) == ENGINE_CHOICES


def test_unknown_engines_are_refused():
    with pytest.raises(BackboneError, match=r"(?s)no engine 'caffe'.*choose one of auto, mxnet"):
        choose_engine("caffe", graphs_only=False)


HALVES = ["bf16", "fp16"]


def needs_half(precision: str) -> None:
    if not ENGINES["openvino"].installed() or precision not in ENGINES["openvino"].able("cpu"):
        pytest.skip(f"needs OpenVINO and a CPU that computes in {precision}")


@pytest.mark.parametrize("precision", HALVES)
def test_half_precision_is_near_float32_and_is_not_it(precision, models, onnx_reference):
    needs_half(precision)
    batch, expected = onnx_reference
    backbone = load(f"onnx:{models}/efficientnet_lite0.onnx", "openvino", precision=precision)
    assert backbone.compute == precision
    found = backbone.start("cpu").run(batch)
    assert found.dtype == np.float32
    # EfficientNet's separable convolutions are hard on bfloat16; its features differ by 6%.
    assert TOLERANCE < relative(found, expected) < {"bf16": 0.1, "fp16": 0.02}[precision]


@pytest.mark.parametrize("name", ["onnxruntime", "mxnet"])
@pytest.mark.parametrize("precision", HALVES)
def test_engines_that_cannot_compute_in_half_precision_say_who_can(name, precision, tiny_onnx):
    needs(name)
    with pytest.raises(BackboneError, match=f"{name} does not compute in {precision} on this") as c:
        choose_engine(name, graphs_only=False, precision=precision)
    assert "--precision-compute f32" in c.value.hint
    if precision in ENGINES["openvino"].able("cpu"):
        assert "use --engine openvino" in c.value.hint


def test_half_precision_that_no_engine_has_names_what_is_needed(monkeypatch):
    monkeypatch.setattr(Engine, "able", classmethod(lambda kind, device: ("f32",)))
    with pytest.raises(BackboneError) as caught:
        choose_engine("auto", graphs_only=False, precision="bf16")
    assert "no installed engine computes in bf16 on this machine's cpu" in str(caught.value)
    assert "bf16 needs OpenVINO and a CPU with AVX512-BF16 or AMX" in caught.value.hint
    with pytest.raises(BackboneError, match="fp16 needs PyTorch or ONNX Runtime and an"):
        choose_engine("onnxruntime", graphs_only=False, precision="fp16")
    with pytest.raises(
        BackboneError, match=r"(?s)no precision 'int8'.*auto, f32, tf32, bf16, fp16"
    ):
        choose_engine("auto", graphs_only=False, precision="int8")


def test_auto_takes_the_first_engine_with_the_precision_and_its_fastest(monkeypatch):
    tables = {"openvino": ("bf16", "f32"), "onnxruntime": ("fp16", "f32"), "mxnet": ("f32",)}
    monkeypatch.setattr(Engine, "able", classmethod(lambda kind, device: tables.get(kind.name, ())))

    def chosen(engine, precision):
        kind, found = choose_engine(engine, graphs_only=False, precision=precision)
        return kind.name, found

    assert chosen("auto", "f32") == ("openvino", "f32")
    assert chosen("auto", "auto") == ("openvino", "bf16")
    assert chosen("auto", "fp16") == ("onnxruntime", "fp16")
    assert chosen("mxnet", "auto") == ("mxnet", "f32")
    tables["openvino"] = ()  # as for a GPU
    assert chosen("auto", "auto") == ("onnxruntime", "fp16")


CPUINFO = "processor\t: 0\nvendor_id\t: {}\nflags\t\t: fpu {}\n\nprocessor\t: 1\nvendor_id\t: x\n"


@pytest.mark.parametrize(
    ("maker", "flags", "pays"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx512f", False),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
    ],
)
def test_bfloat16_comes_first_only_where_it_is_faster(tmp_path, maker, flags, pays):
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(maker, flags))
    facts = cpu_facts(tmp_path / "cpuinfo")
    assert facts[:2] == (maker, frozenset(["fpu", *flags.split()]))
    assert bfloat16_pays(facts) == pays
    order = order_precisions(["BF16", "WINOGRAD", "FP32", "FP16"], pays)
    assert order == (("bf16", "f32", "fp16") if pays else ("f32", "bf16", "fp16"))
    assert order_precisions(["FP32"], pays) == ("f32",)


@pytest.mark.parametrize(
    ("quota", "most"),
    [("100000 100000\n", 1), ("150000 100000\n", 2), ("1000 100000\n", 1), ("max 100000\n", None),
     ("", None), ("x y\n", None), ("5 0\n", None)],
)  # fmt: skip
def test_a_container_with_a_share_of_the_processors(tmp_path, monkeypatch, quota, most):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cpus(tmp_path / "cpu.max") == (most or 8)
    assert available_cpus(tmp_path / "none") == 8


def test_a_system_that_is_not_linux_has_no_facts(tmp_path):
    assert cpu_facts(tmp_path / "none") == CpuFacts()


GPU_BUILD = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def test_each_gpu_gets_a_session_of_its_own_in_true_float32():
    for index in (0, 3):
        (cuda, options), cpu = providers_for(f"cuda:{index}", GPU_BUILD)
        assert (cuda, cpu) == ("CUDAExecutionProvider", "CPUExecutionProvider")
        assert options == {"device_id": str(index), "use_tf32": "0"}
    assert providers_for("cpu", GPU_BUILD) == ["CPUExecutionProvider"]


def test_tensorrt_keeps_what_it_builds_and_falls_back_to_cuda(tmp_path):
    (first, options), (second, _), _ = providers_for("cuda:1", GPU_BUILD, tmp_path)
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["device_id"] == "1"
    assert options["trt_engine_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(tmp_path)


def test_a_build_without_gpus_says_what_to_install(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"(?s)no CUDA support.*onnxruntime-gpu"):
        providers_for("cuda:0", ["CPUExecutionProvider"])
    with pytest.raises(MissingDependencyError, match="no TensorRT support"):
        providers_for("cuda:0", GPU_BUILD[1:], tmp_path)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_session_that_falls_back_to_the_cpu_is_an_error(tiny_onnx, monkeypatch):
    """ONNX Runtime only warns where a GPU's libraries do not load, and computes on the CPU."""
    needs("onnxruntime")
    import onnxruntime

    backbone = load(f"onnx:{tiny_onnx}", "onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: GPU_BUILD)
    with pytest.raises(MissingDependencyError, match="could not start its CUDA") as error:
        backbone.start("cuda:0")
    assert "icecore doctor" in error.value.hint


def test_tensorrt_does_not_start_on_a_cpu(tiny_onnx):
    with pytest.raises(BackboneError, match=r"(?s)TensorRT runs on NVIDIA's GPUs.*cuda:0"):
        load(f"onnx:{tiny_onnx}", "tensorrt").start("cpu")


def test_what_gpus_compute_in(monkeypatch):
    needs("onnxruntime")
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: GPU_BUILD)

    def chosen(engine, precision):
        kind, found = choose_engine(engine, graphs_only=True, device="cuda:0", precision=precision)
        return kind.name, found

    assert chosen("auto", "f32") == ("onnxruntime", "f32")
    assert chosen("auto", "auto") == ("onnxruntime", "fp16")
    assert chosen("tensorrt", "auto") == ("tensorrt", "fp16")
    with pytest.raises(BackboneError, match="tensorrt does not compute in f32") as caught:
        chosen("tensorrt", "f32")
    assert "use --engine onnxruntime" in caught.value.hint
    with pytest.raises(BackboneError, match="no installed engine computes in bf16"):
        chosen("auto", "bf16")


@pytest.fixture(scope="module")
def half(models):
    import onnx

    needs("onnxruntime")
    backbone = load(f"onnx:{models}/efficientnet_lite0.onnx", "onnxruntime")
    return backbone, onnx.load_from_string(half_precision_graph(backbone.graph(), "it"))


def test_a_half_graph_is_near_the_whole_one_on_photographs(half, onnx_reference):
    backbone, _ = half
    batch, expected = onnx_reference
    # A CPU computes it too, by casting; slowly, so that it is not offered.
    found = OnnxRuntimeEngine(
        GraphNetwork(backbone.record, backbone.graph()), Setup(precision="fp16")
    ).run(batch)
    assert found.dtype == np.float32
    assert TOLERANCE < relative(found, expected) < 2e-2


def test_a_half_graph_keeps_its_ends_and_its_normalisation_in_float32(half):
    from onnx import TensorProto

    _, model = half
    graph = model.graph
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    normalising = [n for n in graph.node if n.name.startswith("icecore_normalise")]
    assert [n.op_type for n in normalising] == ["Transpose", "Cast", "Sub", "Mul"]
    for node in normalising:
        for name in node.input:
            assert types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert {types[node.input[1]] for node in convolutions} == {TensorProto.FLOAT16}
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


def test_weights_that_float16_cannot_hold_are_refused(tmp_path, write_tiny_onnx):
    import onnx

    needs("onnxruntime")
    path = write_tiny_onnx(tmp_path / "huge.onnx")
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.name == "w":
            values = onnx.numpy_helper.to_array(tensor) * np.float32(1e6)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "w"))
    onnx.save(model, str(path))
    graph = load(f"onnx:{path}", "onnxruntime").graph()
    with pytest.raises(BackboneError, match=r"(?s)weights up to .*float16 ends at 65504.*f32"):
        half_precision_graph(graph, "onnx:huge.onnx")


@pytest.mark.parametrize("door", ["graphs.session", "graphs.half"])
def test_onnx_runtime_reports_nothing_home(tmp_path, door):
    code = (
        "import os\n"
        "import numpy as np\n"
        f"from icecore.features.{door} import load\n"
        "runtime = load('onnxruntime')\n"
        "runtime.OrtValue.ortvalue_from_numpy(np.zeros(1))\n"
    )
    homes = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    told = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], env=told | homes, check=True)
    # Its number of the machine, and the events to be sent, lie in a folder "Microsoft".
    assert not list(tmp_path.iterdir())


def test_openvino_reports_nothing_home():
    pytest.importorskip("openvino_telemetry", reason="OpenVINO's usage statistics are absent")
    code = (
        "import sys, threading\n"
        "from icecore.features.engines.openvino import load_openvino\n"
        "load_openvino().Core()\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])\n"
        "print(threading.active_count())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "1"]
