"""Whether a graph computes what its reference computes.

A wrong graph is silent: it gives features that look like features. So each is
compared with the framework that it came from, on fresh random images.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...core.errors import ProofError
from ..graphs.network import GraphNetwork
from ..records.record import BackboneRecord
from .base import Setup
from .onnxruntime import OnnxRuntimeEngine

__all__ = ["TOLERANCE", "prove_graph"]

TOLERANCE = 1e-4
# Below this the features hardly depend on the image, and agreement would prove nothing.
LEAST_SPREAD = 1e-3


def prove_graph(
    record: BackboneRecord,
    graph: Path | bytes,
    reference: Callable[[np.ndarray], np.ndarray],
    name: str,
    hint: str,
    seed: int | None = None,
) -> float:
    """Compare a graph, as ONNX Runtime runs it, with its reference.

    Parameters
    ----------
    record : BackboneRecord
    graph : Path or bytes
    reference : callable
        Turns uint8 images (N, R, R, 3) into features (N, D).
    name : str
        What the reference is, for messages.
    hint : str
        What to do if they differ.
    seed : int, optional
        Of the images; drawn anew if None.

    Returns
    -------
    float
        Relative L2 error over all features.

    Raises
    ------
    ProofError
        The error is 1e-4 or more, or the features do not depend on the image.
    """
    images = _images(record.resolution, seed)
    expected = reference(images)
    found = OnnxRuntimeEngine(GraphNetwork(record, graph), Setup(batch_size=1)).run(images)
    spread = np.linalg.norm(expected - expected.mean(axis=0)) / np.linalg.norm(expected)
    if not np.isfinite(expected).all() or not spread >= LEAST_SPREAD:
        raise ProofError(
            f"{record.spec}: {name}'s own features are not finite or hardly depend on the "
            f"image (relative spread {spread:.1e}), so the export cannot be proved",
            "check the weights file",
        )
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if not error < TOLERANCE:
        raise ProofError(
            f"{record.spec}: the exported graph differs from {name} by {error:.2e} "
            f"(relative L2), {TOLERANCE:.0e} is allowed",
            hint,
        )
    return error


def _images(side: int, seed: int | None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # Smooth and rough, dark and bright: noise alone averages out in deep networks.
    coarse = rng.integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    zoom = -(-side // 5)
    images = coarse.repeat(zoom, axis=1).repeat(zoom, axis=2)[:, :side, :side]
    images[::2] ^= rng.integers(0, 64, images[::2].shape, dtype=np.uint8)
    return images
