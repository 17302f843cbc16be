"""Small ONNX files of every kind that strangers bring, with their records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

SIDE, WIDTH, CLASSES = 16, 5, 7
RECORD = {
    "input_size": [3, SIDE, SIDE],
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.6, 0.7],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}


def weights(seed: int = 3) -> dict[str, np.ndarray]:
    """Return a convolution ``w`` and a classifier ``k`` (inputs, outputs) with its bias ``b``."""
    rng = np.random.default_rng(seed)
    return {
        "w": rng.normal(0, 0.3, (WIDTH, 3, 3, 3)).astype(np.float32),
        "k": rng.normal(size=(WIDTH, CLASSES)).astype(np.float32),
        "b": rng.normal(size=CLASSES).astype(np.float32),
    }


def body(node=helper.make_node) -> list:
    """Return the nodes from ``data`` to ``f``: convolution, ReLU, mean over the image."""
    return [
        node("Conv", ["data", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"], axis=1),
    ]


def classifier() -> list:
    return [helper.make_node("Gemm", ["f", "k", "b"], ["out"])]


def make(
    nodes: list,
    arrays: dict[str, np.ndarray],
    *,
    outputs: dict[str, list] | None = None,
    shape: list | None = None,
    kind: int = TensorProto.FLOAT,
    opset: int = 13,
    functions: list | None = None,
) -> ModelProto:
    """Make a model that takes ``data``."""
    outputs = {"out": ["N", CLASSES]} if outputs is None else outputs
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("data", kind, shape or ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    if functions:
        opsets.append(helper.make_opsetid("local", 1))
    model = helper.make_model(graph, opset_imports=opsets, functions=functions or [])
    model.ir_version = 9 if functions else 8
    return model


def plain() -> ModelProto:
    return make(body() + classifier(), weights())


def save(path: Path, model: ModelProto, **record) -> str:
    """Write a model and its record; return its spec."""
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".json").write_text(json.dumps(RECORD | record))
    return f"onnx:{path}"


def expected(images: np.ndarray, arrays: dict[str, np.ndarray] | None = None, **record):
    """Convolution, ReLU and mean over the image, written out in NumPy."""
    how, arrays = RECORD | record, arrays or weights()
    scaled = (images / 255 - how["mean"]) / how["std"]
    return features_of(scaled, arrays["w"])


def features_of(scaled: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    padded = np.pad(scaled, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.maximum(np.einsum("nhwcij,ocij->nhwo", patches, kernel), 0).mean(axis=(1, 2))


def some_images(count: int = 3, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
