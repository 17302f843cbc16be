"""Values for the parameters of a network: their digest, and random ones from a seed."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from .graph_writer import Parameter


def parameters_digest(values: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of parameters, whatever order they come in."""
    digest = hashlib.sha256()
    for name in sorted(values):
        array = values[name]
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def random_parameters(
    parameters: Sequence[Parameter], scales: Sequence[int], seed: int
) -> dict[str, np.ndarray]:
    """Draw parameters with a seed, the same on every machine.

    Parameters
    ----------
    scales : sequence of int
        Of each batch normalisation, in the order of `parameters`: twice the binary logarithm
        of the mean square of what reaches it in a network of this kind.

    Returns
    -------
    dict of str to ndarray of float32

    Notes
    -----
    He initialisation (arXiv:1502.01852) keeps the scale through ReLUs, but residual sums
    grow by powers of two in a network as deep as ResNet-152, so each batch normalisation is
    given the scale of what reaches it. Of its mean, little is subtracted: the mean is what
    differs between images.

    All are drawn from uniform distributions: normal ones take logarithms from the system's
    library of mathematics, whose last bits differ from system to system.
    """
    rng = np.random.default_rng(seed)
    of_norms = iter(scales)
    values: dict[str, np.ndarray] = {}
    for one in parameters:
        kind, shape = one.name.rsplit(".", 1)[-1], one.shape
        if kind.endswith("weight"):
            reach = np.float32(2 * math.sqrt(3 * 2 / math.prod(shape[1:])))
            values[one.name] = (rng.random(shape, dtype=np.float32) - np.float32(0.5)) * reach
        elif kind == "running_var":
            halves = next(of_norms)
            scale = 2.0 ** (halves // 2) * (math.sqrt(2) if halves % 2 else 1)
            values[one.name] = _f32(scale * rng.uniform(0.8, 1.2, shape))
            mean = one.name.removesuffix("var") + "mean"
            values[mean] = _f32(math.sqrt(scale) * rng.uniform(-0.1, 0.1, shape))
        elif kind != "running_mean":  # that comes with the variance
            values[one.name] = np.full(shape, float(kind == "gamma"), np.float32)
    return {one.name: values[one.name] for one in parameters}


def _f32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)
