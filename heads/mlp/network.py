"""A network with one hidden layer: its arithmetic, without any state.

ReLU and dropout follow the hidden layer, a softmax the output; the loss is the cross-entropy
with a (possibly soft) target row.

Dropout by halves: where at least half of the hidden units are left out at each step, the first
half of that is done by structure. One half of a batch's rows sees the first half of the units,
the other rows see the other units. The rows of a batch are in random order, so a unit meets
a random half of them, as with a mask of its own; but the products that make and train the
units are half as large. Units are left out one by one for what is dropped beyond a half.
(Graham, Reizenstein and Robinson 2015, "Efficient batchwise dropout training using
submatrices", leave out the same units for all rows of a batch; that learns more slowly.)
"""

import dataclasses

import numpy as np

from ...core.softmax import softmax
from ..numerics.products import multiply

# Rows of a batch, and the units that they see.
Tile = tuple[slice, slice]


@dataclasses.dataclass
class Network:
    """Weights, or gradients by them.

    Attributes
    ----------
    W1 : ndarray of shape (D, H), float32
    b1 : ndarray of shape (H,)
    W2 : ndarray of shape (H, C)
    b2 : ndarray of shape (C,)
    """

    W1: np.ndarray
    b1: np.ndarray
    W2: np.ndarray
    b2: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The four arrays, in order."""
        return self.W1, self.b1, self.W2, self.b2


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of a step.

    Attributes
    ----------
    inputs : ndarray of shape (B, D), float32
    targets : ndarray of shape (B, C), float32
    weights : ndarray of shape (B,), float32
        Weight of each row in the loss.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def initial(inputs: int, width: int, classes: int, rng: np.random.Generator) -> Network:
    """Draw a new network.

    He's normal initialisation (He et al. 2015, "Delving deep into rectifiers") for the hidden
    layer; the output layer starts at zero, so that the first prediction is uniform.
    """
    W1 = rng.standard_normal((inputs, width), dtype=np.float32)
    W1 *= np.float32(np.sqrt(2.0 / inputs))
    zeros = np.zeros
    return Network(
        W1, zeros(width, np.float32), zeros((width, classes), np.float32), zeros(classes, "f")
    )


def dropout_mask(
    shape: tuple[int, int], rate: float, rng: np.random.Generator
) -> np.ndarray | None:
    """Return a mask of 0 and 1/(1-rate), None for rate 0.

    One random byte decides for each unit: the rate is rounded to 1/256.
    """
    dropped = round(rate * 256)
    if dropped <= 0:
        return None
    random = np.frombuffer(rng.bytes(shape[0] * shape[1]), np.uint8).reshape(shape)
    return (random >= dropped) * np.float32(256 / (256 - min(dropped, 255)))


def tiles(rows: int, width: int, dropout: float) -> list[Tile]:
    """Return which rows of a batch see which units."""
    if dropout < 0.5 or rows < 2 or width < 2:
        return [(slice(0, rows), slice(0, width))]
    middle, centre = (rows + 1) // 2, (width + 1) // 2
    return [(slice(0, middle), slice(0, centre)), (slice(middle, rows), slice(centre, width))]


def loss_and_gradients(
    network: Network,
    batch: Batch,
    dropout: float,
    rng: np.random.Generator,
    found: Network,
) -> float:
    """Return the loss of a batch, and in `found` its gradient by every weight and bias.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of the units that are left out one by one.
    found : Network
        Overwritten.
    """
    inputs, targets, weights = batch.inputs, batch.targets, batch.weights
    loss = 0.0
    parts = tiles(len(inputs), len(network.b1), dropout)
    found.b2[:] = 0
    for rows, units in parts:
        x, own = inputs[rows], slice(units.start, units.stop)
        hidden = multiply(x, network.W1[:, own])
        hidden += network.b1[own]
        np.maximum(hidden, 0, out=hidden)
        mask, factor = _mask(hidden.shape, dropout, len(parts) > 1, rng)
        if mask is not None:
            hidden *= mask
        if factor != 1:
            hidden *= np.float32(factor)
        logits = hidden @ network.W2[own]
        logits += network.b2
        chances = softmax(logits)
        picked = np.einsum("ij,ij->i", np.log(np.maximum(chances, 1e-30)), targets[rows])
        loss -= float(weights[rows] @ picked)
        error = chances
        error -= targets[rows]
        error *= weights[rows, None]
        found.W2[own] = hidden.T @ error
        found.b2 += error.sum(axis=0)
        back = error @ network.W2[own].T
        # ReLU and dropout both left a zero where no gradient passes.
        back *= hidden > 0
        scale = factor if mask is None else factor * float(mask.max(initial=0))
        if scale != 1:
            back *= np.float32(scale)
        multiply(x.T, back, found.W1[:, own])
        found.b1[own] = back.sum(axis=0)
    return loss


def _mask(shape, dropout: float, halved: bool, rng) -> tuple[np.ndarray | None, float]:
    """Return a mask for units, and the factor for all that is seen."""
    if not halved:
        return dropout_mask(shape, dropout, rng), 1.0
    # Of a half that is seen, so many are dropped one by one; each half counts twice.
    return dropout_mask(shape, 2 * dropout - 1, rng), 2.0
