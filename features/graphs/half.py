"""A feature graph that computes in float16, for GPUs.

The folding and the conversion are ONNX Runtime's own; what is ours is what
must not be converted. Normalisation stays in float32: the pixels' mean has no
exact float16.
"""

import warnings
from pathlib import Path

import numpy as np

from ...core.errors import BackboneError
from ...core.folders import scratch_folder
from ...core.imports import load, quiet_log
from .onnx_graph import IMAGES, load_onnx
from .session import load_onnxruntime, open_session

_PREPARING = frozenset("Gather Transpose Cast Sub Mul".split())
LARGEST = float(np.finfo(np.float16).max)


def half_precision_graph(graph: Path | bytes, name: str) -> bytes:
    """Convert a feature graph to float16 weights and activations.

    Parameters
    ----------
    graph : Path or bytes
        ``images`` uint8 (N, R, R, 3) to ``features`` float32 (N, D).

    Returns
    -------
    bytes
        With the same input and output.

    Raises
    ------
    BackboneError
        A weight is too large for float16.
    """
    names = ("onnxruntime.transformers.float16", "onnxruntime.transformers.onnx_model")
    tools = load("onnxruntime", *names).transformers
    onnx = load_onnx()
    # Batch normalisation is folded into the weights while they still have all their digits.
    model = onnx.load_from_string(_folded(graph))
    _require_small_weights(onnx, model, name)
    kept = _name_normalisation(model)
    with warnings.catch_warnings(), quiet_log("onnxruntime.transformers"):
        # About weights too small for float16, which become zero or its smallest number.
        warnings.simplefilter("ignore")
        half = tools.float16.convert_float_to_float16(
            model, keep_io_types=True, node_block_list=kept
        )
    # It leaves the casts around what it was told to keep at the end.
    tools.onnx_model.OnnxModel.graph_topological_sort(half.graph)
    onnx.checker.check_model(half)
    return half.SerializeToString()


def _folded(graph: Path | bytes) -> bytes:
    level = load_onnxruntime().GraphOptimizationLevel.ORT_ENABLE_BASIC
    with scratch_folder() as folder:
        out = folder / "folded.onnx"
        open_session(graph, graph_optimization_level=level, optimized_model_filepath=str(out))
        return out.read_bytes()


def _require_small_weights(onnx, model, name: str) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor)
            largest = float(np.abs(values).max(initial=0))
            if not largest <= LARGEST and np.isfinite(values).all():
                raise BackboneError(
                    f"{name} has weights up to {largest:.3g} ({tensor.name}); float16 ends at "
                    f"{LARGEST:.0f}",
                    "use --precision-compute f32",
                )


def _name_normalisation(model) -> list[str]:
    """Name the nodes from the images to the network's normalised input; return the names."""
    names: list[str] = []
    reached = {IMAGES}
    for node in model.graph.node:
        if reached.intersection(node.input) and node.op_type in _PREPARING:
            node.name = f"icecore_normalise_{len(names)}"
            names.append(node.name)
            reached.update(node.output)
    return names
