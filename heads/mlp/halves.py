"""Dropout by halves: what half of the units would be multiplied by zero is not computed at all.

Where at least half of the hidden units are left out at each step, the first half of that is
done by structure: one half of a batch's rows sees the first half of the units, the other
rows see the other units. The rows of a batch are in random order, so a unit meets a random
half of them, as with a mask of its own; but the products that make and train the units
are half as large. Units are left out one by one for what is dropped beyond a half.

Graham, Reizenstein and Robinson 2015, "Efficient batchwise dropout training using
submatrices", leave out the same units for all rows of a batch; that learns more slowly.
"""

from __future__ import annotations

import numpy as np

from .network import Layers, dropout_mask, upper_pass

__all__ = ["Tile", "step_by_tiles", "tiles"]

# Rows of a batch, and the columns (units) that they see.
Tile = tuple[slice, slice]


def tiles(rows: int, columns: slice, dropout: float) -> list[Tile]:
    """Return which rows of a batch see which units.

    Parameters
    ----------
    rows : int
        Rows of the batch.
    columns : slice
        The units, at least one.
    dropout : float
        Share of units that each row does not see.
    """
    if dropout < 0.5 or rows < 2 or columns.stop - columns.start < 2:
        return [(slice(0, rows), columns)]
    middle, centre = (rows + 1) // 2, (columns.start + columns.stop + 1) // 2
    return [
        (slice(0, middle), slice(columns.start, centre)),
        (slice(middle, rows), slice(centre, columns.stop)),
    ]


def step_by_tiles(
    product: np.ndarray,
    layers: Layers,
    targets: np.ndarray,
    weights: np.ndarray,
    dropout: float,
    rng: np.random.Generator,
    errors: np.ndarray,
) -> tuple[float, Layers]:
    """Run one training step from the first layer's product upwards, and back.

    Parameters
    ----------
    product : ndarray of shape (B, H1)
        Product of the inputs with the first layer's weights; only its tiles are looked at.
    layers, targets, weights
        See `upper_pass`.
    dropout : float
        Share of the units of each hidden layer that are left out.
    rng : numpy.random.Generator
        Of the units that are left out one by one.
    errors : ndarray of shape (B, H1)
        Receives the gradient by `product`, in its tiles; the rest is left as it is.

    Returns
    -------
    loss : float
    gradients : list of (dW, db)
        Entry 0 is ``(None, db1)``.
    """
    loss, found = 0.0, []
    parts = tiles(len(product), slice(0, product.shape[1]), dropout)
    for part, units in parts:
        below = [(layers[0][0], layers[0][1][units]), (layers[1][0][units], layers[1][1])]
        some, error, gradients = upper_pass(
            np.ascontiguousarray(product[part, units]),
            below + layers[2:],
            targets[part],
            weights[part],
            _masks(part, units, layers, dropout, len(parts) > 1, rng),
        )
        errors[part, units] = error
        loss += some
        found.append(gradients)
    return loss, found[0] if len(found) == 1 else _joined(*found)


def _masks(part: slice, units: slice, layers: Layers, dropout, halved: bool, rng) -> list:
    """Return the masks of all hidden layers for the rows and units of a tile."""
    rows, width = part.stop - part.start, units.stop - units.start
    above = [dropout_mask((rows, len(b)), dropout, rng) for _, b in layers[1:-1]]
    if not halved:
        return [dropout_mask((rows, width), dropout, rng), *above]
    # Of a half that is seen, so many are dropped one by one; each half counts twice.
    mask = dropout_mask((rows, width), 2 * dropout - 1, rng)
    twice = np.full((1, 1), 2, np.float32)
    return [twice if mask is None else mask * twice, *above]


def _joined(one: Layers, other: Layers) -> Layers:
    """Join the gradients of two halves: of different units, and of the same layers above."""
    first = (None, np.concatenate([one[0][1], other[0][1]]))
    second = (np.concatenate([one[1][0], other[1][0]]), one[1][1] + other[1][1])
    rest = [(a + c, b + d) for (a, b), (c, d) in zip(one[2:], other[2:], strict=True)]
    return [first, second, *rest]
