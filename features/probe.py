"""One question to an engine, asked in a process of its own: a library may take it down."""

import sys
import warnings
from typing import Any

import numpy as np

from ..core.child import ChildError, Limits, answer_parent, ask_child
from ..core.errors import IcecoreError
from ..core.imports import NewerVersionWarning, load
from .engines.base import Setup
from .engines.choose import ENGINES
from .gluon.loader import load_mxnet
from .gluon.network import GluonBackbone
from .graphs.network import GraphNetwork
from .graphs.onnx_graph import add_normalisation, load_onnx
from .images.libraries import load_decoders
from .images.preprocessing import Preprocessing
from .records.record import BackboneRecord
from .records.spec import BackboneSpec

SIDE, WIDTH = 16, 8
TOLERANCE = 1e-4
# No more than patience: what is asked is harmless, and a GPU's driver takes what it likes.
LIMITS = Limits(processor_seconds=3600, seconds=300.0, memory_bytes=2**50)


def ask(question: str, device: str = "cpu") -> dict:
    """Ask in another process; a process that dies is an answer too.

    Parameters
    ----------
    question : str
        ``engine:NAME`` or ``import:PACKAGE``.
    device : str

    Returns
    -------
    dict
        With ``error`` (and ``hint``) if the answer is a failure. An engine answers with its
        ``version``, the ``precisions`` in which it computes there (none if it never runs on
        such a device) and the ``relative_error`` of a small network.
    """
    try:
        return ask_child(__spec__.name, [question, device], LIMITS)
    except ChildError as error:
        hint = "reinstall the package: it may be broken, or built for another processor"
        return {"error": str(error), "hint": hint}


def _answer(question: str, device: str) -> dict:
    what, _, name = question.partition(":")
    try:
        if what == "engine":
            return _run_engine(name, device)
        return _import(name)
    except IcecoreError as error:
        return {"error": error.message, "hint": error.hint}


def _import(package: str) -> dict:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        load(package)
        if package == "cv2":
            load_decoders()
    newer = [str(one.message) for one in said if issubclass(one.category, NewerVersionWarning)]
    return {"newer": newer}


def _run_engine(name: str, device: str) -> dict:
    """Run a small network on two images, and compare with NumPy."""
    kind = ENGINES[name]
    precisions = kind.precisions(device)
    if not precisions:
        return {"precisions": []}
    record = _record()
    engine = kind(
        _graph(record) if kind.runs_graphs else _gluon(record),
        Setup(device, "fp16" if name == "tensorrt" else "f32", 2),
    )
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    found, expected = engine.run(images), _expected(images, record)
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    answer = {"version": engine.version, "precisions": precisions, "relative_error": error}
    if not error < (TOLERANCE if name != "tensorrt" else 1e-2):
        answer |= {
            "error": f"computes wrongly: the relative error is {error:.1e}",
            "hint": f"reinstall {kind.package}, or use another engine",
        }
    return answer


def _weights() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return (
        rng.normal(0, 0.3, (WIDTH, 3, 3, 3)).astype(np.float32),
        rng.normal(0, 0.1, WIDTH).astype(np.float32),
    )


def _record() -> BackboneRecord:
    return BackboneRecord(
        spec=BackboneSpec("onnx", "probe").canonical,
        architecture="probe",
        weights_digest="",
        random_seed=1,
        num_features=WIDTH,
        preprocessing=Preprocessing(SIDE, (0.5, 0.45, 0.4), (0.23, 0.22, 0.21), 1.0, "bilinear"),
    )


def _expected(images: np.ndarray, record: BackboneRecord) -> np.ndarray:
    kernel, bias = _weights()
    how = record.preprocessing
    scaled = (images / 255 - np.array(how.mean)) / np.array(how.std)
    windows: Any = np.lib.stride_tricks.sliding_window_view
    patches = windows(scaled, (3, 3), axis=(1, 2))
    summed = np.einsum("nhwcij,ocij->nhwo", patches, kernel) + bias
    return np.maximum(summed, 0).mean(axis=(1, 2))


def _graph(record: BackboneRecord):
    onnx = load_onnx()
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = [onnx.numpy_helper.from_array(v, n) for v, n in zip(_weights(), ("w", "b"))]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["data", "w", "b"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["features"], axis=1),
        ],
        "probe",
        [helper.make_tensor_value_info("data", kind, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", kind, ["N", WIDTH])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    add_normalisation(model, record.preprocessing)
    return GraphNetwork(record, model.SerializeToString(), "", "")


def _gluon(record: BackboneRecord):
    mx = load_mxnet()
    network = mx.gluon.nn.HybridSequential()
    network.add(
        mx.gluon.nn.Conv2D(WIDTH, 3, in_channels=3, activation="relu"),
        mx.gluon.nn.GlobalAvgPool2D(),
        mx.gluon.nn.Flatten(),
    )
    network.initialize()
    for parameter, values in zip(network.collect_params().values(), _weights()):
        parameter.set_data(mx.nd.array(values))
    symbol = network(mx.sym.var("data"))
    values = {p.name: p.data() for p in network.collect_params().values()}
    return GluonBackbone(record, symbol, values, "", network)


if __name__ == "__main__":
    answer_parent(sys.argv[1:], _answer)
