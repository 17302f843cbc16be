"""What a graph's features are, by what computes in the plainest way."""

from collections.abc import Callable

import numpy as np

from ...core.errors import ProofError, first_line
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import FEATURES, IMAGES, load_evaluator, load_onnx
from ..graphs.session import load_onnxruntime, open_session


def judged(network: GraphNetwork, batches: list[np.ndarray]) -> tuple[str, list[np.ndarray]]:
    """Return what computes in the plainest way, and the features that it finds in each batch."""
    failures, content = [], network.content()
    for judge in (_onnxruntime_judge, _reference_judge):
        try:
            return judge(content, batches, network.batch)
        except Exception as error:  # neither has a base for its exceptions
            failures.append(first_line(error))
    raise ProofError(
        f"{network.record.spec} cannot be proved: neither ONNX Runtime nor onnx's own evaluator "
        f"runs the graph ({'; '.join(failures)})",
        "export the network again",
    )


def _onnxruntime_judge(
    content: bytes, batches: list[np.ndarray], only: int | None
) -> tuple[str, list[np.ndarray]]:
    run, judge = plain_session(content).run, f"ONNX Runtime {load_onnxruntime().__version__}"
    rows = [_in_batches(run, batch, only or len(batch)) for batch in batches]
    return f"{judge}, unoptimized", rows


def _reference_judge(
    content: bytes, batches: list[np.ndarray], only: int | None
) -> tuple[str, list[np.ndarray]]:
    onnx = load_onnx()
    run = load_evaluator()(onnx.load_from_string(content)).run
    judge = f"the reference evaluator of onnx {onnx.__version__}"
    return judge, [_in_batches(run, batch, only or 1) for batch in batches]


def _in_batches(run: Callable, images: np.ndarray, size: int) -> np.ndarray:
    """Return the features of images, `size` at a time."""
    rows = [
        run([FEATURES], {IMAGES: np.resize(part, (size, *part.shape[1:]))})[0]
        for part in (images[start : start + size] for start in range(0, len(images), size))
    ]
    return np.concatenate(rows)[: len(images)]


def plain_session(content: bytes):
    """Open a graph in ONNX Runtime, which is to leave every operator as it is."""
    level = load_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(content, graph_optimization_level=level)
