"""How far rounding alone moves each feature of a graph: measured, by rounding at random."""

import numpy as np

from ...core.errors import IcecoreError
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import FEATURES, IMAGES, load_onnx
from ..graphs.values import study
from .judge import plain_run

# Half the distance of 1 to the next number.
_UNITS = {"f32": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-9, "fp16": 2.0**-11}
_REPEATS = 2
# What follows Shape, or is compared, must stay whole; these make numbers that are rounded.
_ROUNDED = frozenset(
    "Add AveragePool BatchNormalization Conv ConvTranspose Div Einsum Elu Erf Exp Gelu Gemm "
    "GlobalAveragePool GroupNormalization HardSigmoid HardSwish InstanceNormalization LRN "
    "LayerNormalization Log LogSoftmax LpNormalization MatMul Mean Mish Mul Pow ReduceL2 "
    "ReduceMean ReduceSum ReduceSumSquare Reciprocal Resize Selu Sigmoid Softmax Softplus Sqrt "
    "Sub Sum Tanh".split()
)


def moved_by_rounding(
    network: GraphNetwork, images: np.ndarray, expected: np.ndarray, precision: str
) -> np.ndarray | None:
    """Return how far each feature of some images moves where every operator rounds at random.

    Parameters
    ----------
    expected : numpy.ndarray of shape (N, D)
        Features of the images, rounded as usual.

    Returns
    -------
    numpy.ndarray of shape (D,), or None
        L2 over the images; None where ONNX Runtime does not run such a graph.
    """
    try:
        run = plain_run(_rounding_at_random(network, _UNITS[precision]))
        rows = [run([FEATURES], {IMAGES: images})[0] for _ in range(_REPEATS)]
        away = np.stack(rows).astype(np.float64) - expected
    except IcecoreError:
        raise
    except Exception:  # Its exceptions share no base; sizes that are computed may have changed.
        return None
    moved = np.sqrt((away**2).sum(axis=1).mean(axis=0))
    return moved if np.isfinite(moved).all() else None


def _rounding_at_random(network: GraphNetwork, unit: float) -> bytes:
    """Return the graph with what each operator gives multiplied by random numbers close to 1."""
    onnx = load_onnx()
    model = onnx.load_from_string(network.content())
    values = study(onnx, model, network.record.resolution)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for count, node in enumerate(nodes):
        model.graph.node.append(node)
        value = node.output[0]
        if node.op_type not in _ROUNDED or value in values.constants:
            continue
        if values.types.get(value) != onnx.TensorProto.FLOAT:
            continue
        exact, factor = f"icecore_exact{count}", f"icecore_factor{count}"
        model.graph.node[-1].output[0] = exact
        about = {"low": 1 - 2 * unit, "high": 1 + 2 * unit, "seed": float(count)}
        model.graph.node.extend(
            [
                onnx.helper.make_node("RandomUniformLike", [exact], [factor], **about),
                onnx.helper.make_node("Mul", [exact, factor], [value]),
            ]
        )
    return model.SerializeToString()
