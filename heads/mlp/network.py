"""The arithmetic of a small fully connected classifier, without any state.

A network is a list of layers ``[(W1, b1), (W2, b2), ...]`` with ReLU and
dropout between them and a softmax at the end; the loss is the cross-entropy
with a (possibly soft) target row. Only the first layer meets the wide feature
rows, so its product is kept apart (`upper_pass` starts behind it): the stacked
trainer does that one product for many networks at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..numerics.products import multiply

__all__ = [
    "Layers",
    "dropout_mask",
    "initial_layers",
    "log_loss",
    "loss_and_gradients",
    "predict_logits",
    "upper_pass",
]

# Multiplications of a small product.
_FEW = 1 << 18

Layers = list[tuple[np.ndarray, np.ndarray]]


def initial_layers(sizes: Sequence[int], rng: np.random.Generator) -> Layers:
    """Draw the layers of a new network.

    He's normal initialisation (He et al. 2015, "Delving deep into rectifiers")
    for the hidden layers; the output layer starts at zero, so the first
    prediction is uniform and no class is favoured by chance.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden units of each layer, classes.
    rng : numpy.random.Generator

    Returns
    -------
    list of (W, b), float32, W of shape (inputs, outputs)
    """
    layers: Layers = []
    for level, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        if level == len(sizes) - 2:
            weights = np.zeros((fan_in, fan_out), np.float32)
        else:
            weights = rng.standard_normal((fan_in, fan_out), dtype=np.float32)
            weights *= np.float32(np.sqrt(2.0 / fan_in))
        layers.append((weights, np.zeros(fan_out, np.float32)))
    return layers


def dropout_mask(
    shape: tuple[int, int], rate: float, rng: np.random.Generator
) -> np.ndarray | None:
    """Return a mask of 0 and 1/(1-rate), None for rate 0.

    One random byte decides for each unit: the rate is rounded to 1/256, which
    takes a sixth of the time of drawing floats.
    """
    dropped = round(rate * 256)
    if dropped <= 0:
        return None
    random = np.frombuffer(rng.bytes(shape[0] * shape[1]), np.uint8).reshape(shape)
    kept = np.float32(256 / (256 - min(dropped, 255)))
    # 0 or 1 times the number's bits is 0 or the number, and quicker than converting to float.
    mask = (random >= dropped).view(np.uint8).astype(np.int32)
    mask *= kept.view(np.int32)
    return mask.view(np.float32)


def log_loss(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the weighted mean cross-entropy of ``softmax(logits)`` against `targets`.

    Parameters
    ----------
    logits, targets : ndarray of shape (N, C)
        Rows of `targets` sum to 1.
    weights : ndarray of shape (N,), optional
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    rows = np.log(np.exp(shifted).sum(axis=1)) - (shifted * targets).sum(axis=1)
    return float(np.average(rows, weights=weights))


def upper_pass(
    first: np.ndarray,
    layers: Layers,
    targets: np.ndarray,
    weights: np.ndarray,
    masks: Sequence[np.ndarray | None],
) -> tuple[float, np.ndarray, Layers]:
    """Run forward and backward from the first layer's product upwards.

    Parameters
    ----------
    first : ndarray of shape (B, H1)
        Product of the inputs with the first layer's weights, without its bias;
        overwritten.
    layers : list of (W, b)
        All layers. The first one's weights are not touched.
    targets : ndarray of shape (B, C)
        Rows that sum to 1.
    weights : ndarray of shape (B,)
        Weight of each row in the loss (0: the row is not this network's).
    masks : sequence of (B, H) arrays or None
        Dropout mask of each hidden layer: 0, or one number for all that is kept.

    Returns
    -------
    loss : float
        Sum over rows of weight times cross-entropy.
    d_first : ndarray of shape (B, H1)
        Gradient of the loss by `first`.
    gradients : list of (dW, db)
        For the layers above the first; entry 0 is ``(None, db1)``.
    """
    first += layers[0][1]
    hidden = [np.maximum(first, 0, out=first)]
    if masks[0] is not None:
        first *= masks[0]
    for (matrix, bias), mask in zip(layers[1:-1], masks[1:], strict=True):
        value = _product(hidden[-1], matrix)
        value += bias
        np.maximum(value, 0, out=value)
        if mask is not None:
            value *= mask
        hidden.append(value)
    logits = _product(hidden[-1], layers[-1][0])
    logits += layers[-1][1]
    logits -= logits.max(axis=1, keepdims=True)
    error = np.exp(logits)
    total = error.sum(axis=1, keepdims=True)
    loss = float(weights @ (np.log(total[:, 0]) - np.einsum("ij,ij->i", logits, targets)))
    error /= total
    error -= targets
    error *= weights[:, None]
    gradients: Layers = []
    for level in range(len(layers) - 1, 0, -1):
        below, mask, matrix = hidden[level - 1], masks[level - 1], layers[level][0]
        gradients.append((_product(below.T, error), error.sum(axis=0)))
        # What a mask does not drop it multiplies by one number.
        error = _product(error, (matrix if mask is None else matrix * mask.max()).T)
        # ReLU and dropout both left a zero where no gradient passes.
        error *= below > 0
    gradients.append((None, error.sum(axis=0)))
    return loss, error, gradients[::-1]


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    # The way to SciPy's BLAS takes longer than NumPy takes for a small product.
    few = left.shape[0] * left.shape[1] * right.shape[1] < _FEW
    return left @ right if few else multiply(left, right)


def loss_and_gradients(
    inputs: np.ndarray,
    layers: Layers,
    targets: np.ndarray,
    weights: np.ndarray,
    masks: Sequence[np.ndarray | None],
) -> tuple[float, Layers]:
    """Return the loss of one network and its gradient by every weight and bias.

    Parameters are those of `upper_pass`, with `inputs` of shape (B, D) in place
    of the first layer's product.
    """
    loss, error, gradients = upper_pass(inputs @ layers[0][0], layers, targets, weights, masks)
    gradients[0] = (inputs.T @ error, gradients[0][1])
    return loss, gradients


def predict_logits(first: np.ndarray, layers: Layers) -> np.ndarray:
    """Return the logits (N, C) from the first layer's product (N, H1), which is overwritten."""
    value = first
    value += layers[0][1]
    for matrix, bias in layers[1:]:
        np.maximum(value, 0, out=value)
        value = multiply(value, matrix)
        value += bias
    return value
