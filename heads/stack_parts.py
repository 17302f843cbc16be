"""Parts of the stacked trainer: the shared first layers, and what each member has of its own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from .adam import Moments, adam_step, cosine
from .lanes import Lanes, widen
from .network import dropout_mask, initial_layers, log_loss, predict_logits, upper_pass

if TYPE_CHECKING:
    from .stack import Member

__all__ = ["FirstLayers", "Scaling", "Upper", "Validation", "wide_product"]

# Elements of the gradient that are worked on at once in a lane: all of a single
# member's (smaller blocks were slower there), and few enough of a wide stack's that
# they and what Adam needs with them fit into the processor's last cache.
_BLOCK = 1 << 19
# Rows that are widened at once for a prediction.
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Inputs are used as ``(x - shift) * factor``.

    Attributes
    ----------
    shift, factor : ndarray of shape (D,) or (1,), float32
    """

    shift: np.ndarray
    factor: np.ndarray

    def apply(self, values: np.ndarray, columns: slice) -> None:
        """Scale a (B, d) block of the given columns in place."""
        if self.shift.any():
            values -= self.shift[columns] if len(self.shift) > 1 else self.shift
        values *= self.factor[columns] if len(self.factor) > 1 else self.factor

    def fold(self, matrix: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the layer that does the same to unscaled inputs."""
        folded = matrix * self.factor[:, None]
        shift = np.broadcast_to(self.shift, len(matrix)).astype(np.float64)
        return folded, (bias - shift @ folded.astype(np.float64)).astype(bias.dtype)


class Upper:
    """One member: its settings, row weights, layers and their optimiser state.

    The matrix of the first layer moves into the shared `FirstLayers`.
    """

    def __init__(
        self,
        member: Member,
        inputs: int,
        classes: int,
        weights: np.ndarray,
        rows: np.ndarray,
        batches: int,
    ) -> None:
        self.member = member
        self.rng = np.random.default_rng([member.seed, 3])
        sizes = [inputs, *[member.width] * member.depth, classes]
        self.layers = initial_layers(sizes, np.random.default_rng([member.seed, 4]))
        self.matrix: np.ndarray | None = self.layers[0][0]
        self.layers[0] = (np.empty((0, member.width), np.float32), self.layers[0][1])
        self.moments = [(Moments.zeros_like(w), Moments.zeros_like(b)) for w, b in self.layers]
        # Constant over batches, so that a batch with few of this member's rows
        # has a small gradient and the sum over an epoch stays unbiased.
        total = weights[rows].sum(dtype=np.float64)
        self.weights = (weights * (batches / total)).astype(np.float32)
        self.rate = 0.0

    def set_rate(self, done: float) -> None:
        """Set the learning rate for the share `done` of this member's schedule."""
        self.rate = cosine(min(done, 1.0), self.member.learning_rate, self.member.warm_up)

    def step(
        self, product: np.ndarray, rows: np.ndarray, targets: np.ndarray, step: int
    ) -> tuple[float, np.ndarray]:
        """Update the upper layers; return the loss and the gradient by `product`."""
        member = self.member
        smoothing = member.label_smoothing
        if smoothing:
            targets = targets * np.float32(1 - smoothing) + np.float32(smoothing / targets.shape[1])
        masks = [
            dropout_mask((len(rows), member.width), member.dropout, self.rng)
            for _ in range(member.depth)
        ]
        loss, error, gradients = upper_pass(
            np.ascontiguousarray(product), self.layers, targets, self.weights[rows], masks
        )
        adam_step(self.layers[0][1], gradients[0][1], self.moments[0][1], step, self.rate, 0.0)
        for layer, gradient, moments in zip(
            self.layers[1:], gradients[1:], self.moments[1:], strict=True
        ):
            adam_step(layer[0], gradient[0], moments[0], step, self.rate, self.member.weight_decay)
            adam_step(layer[1], gradient[1], moments[1], step, self.rate, 0.0)
        return loss, error


class FirstLayers:
    """The first layers of all members side by side, and the batch in work.

    Parameters
    ----------
    features : ndarray of shape (N, D)
    scaling : Scaling or None
    uppers : list of Upper
        Their first matrices are taken over, in this order.
    rng : numpy.random.Generator
        For input dropout.
    """

    def __init__(
        self,
        features: np.ndarray,
        scaling: Scaling | None,
        uppers: list[Upper],
        rng: np.random.Generator,
    ) -> None:
        self.features, self.scaling, self.uppers, self.rng = features, scaling, uppers, rng
        self.weights = np.concatenate([upper.matrix for upper in uppers], axis=1)
        for upper in uppers:
            upper.matrix = None
        self.moments = Moments.zeros_like(self.weights)
        self._lay_out()

    def keep(self, positions: list[int]) -> None:
        """Keep only the members at `positions`."""
        if not positions:
            self.uppers = []
            return
        columns = np.concatenate(
            [np.arange(self.columns[p].start, self.columns[p].stop) for p in positions]
        )
        self.weights = self.weights[:, columns]
        self.moments = Moments(self.moments.first[:, columns], self.moments.second[:, columns])
        self.uppers = [self.uppers[p] for p in positions]
        self._lay_out()

    def begin(self, lanes: Lanes, rows: np.ndarray) -> np.ndarray:
        """Return the products (B, sum of widths) of the first batch of an epoch."""
        self._inputs = [None] * lanes.count
        self._buffers = [{} for _ in range(lanes.count)]
        return self._start(lanes, rows, 0)

    def finish(self, lanes: Lanes, step: int, following: np.ndarray | None) -> np.ndarray | None:
        """Update the matrix from `errors`; return the products of the `following` batch."""
        self._rate = np.concatenate(
            [np.full(u.member.width, u.rate, np.float32) for u in self.uppers]
        )
        self._decay = np.concatenate(
            [np.full(u.member.width, u.member.weight_decay, np.float32) for u in self.uppers]
        )
        return self._start(lanes, following, step)

    def _start(self, lanes: Lanes, rows: np.ndarray | None, step: int) -> np.ndarray | None:
        masks = self._draw_masks(rows)

        def work(lane: int) -> np.ndarray | None:
            columns = lanes.ranges[lane]
            if step:
                self._update(lane, columns, step)
            if rows is None:
                return None
            self._inputs[lane] = self._gather(lane, rows, columns, masks)
            return self._product(lane, columns)

        parts = lanes.run(work)
        if rows is None:
            return None
        self.errors = _buffer(self._buffers[0], "errors", (len(rows), self.weights.shape[1]))
        for part in parts[1:]:
            parts[0] += part
        return parts[0]

    def _lay_out(self) -> None:
        edges = np.cumsum([0, *[upper.member.width for upper in self.uppers]])
        self.columns = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        groups: dict[float, slice] = {}
        for upper, columns in zip(self.uppers, self.columns, strict=True):
            rate = upper.member.input_dropout
            start = groups[rate].start if rate in groups else columns.start
            groups[rate] = slice(start, columns.stop)
        self._groups = groups

    def _draw_masks(self, rows: np.ndarray | None) -> dict[float, np.ndarray | None]:
        if rows is None:
            return {}
        shape = (len(rows), self.features.shape[1])
        # Every rate reads the same bytes: what a member gets does not depend on
        # which other rates there are.
        state = self.rng.integers(2**63)
        return {
            rate: dropout_mask(shape, rate, np.random.default_rng(state)) for rate in self._groups
        }

    def _gather(
        self, lane: int, rows: np.ndarray, columns: slice, masks: dict[float, np.ndarray | None]
    ) -> list[tuple[np.ndarray, slice]]:
        shape = (len(rows), columns.stop - columns.start)
        values = _buffer(self._buffers[lane], "values", shape)
        widen(self.features[:, columns][rows], values)
        if self.scaling is not None:
            self.scaling.apply(values, columns)
        return [
            (values if masks[rate] is None else values * masks[rate][:, columns], group)
            for rate, group in self._groups.items()
        ]

    def _product(self, lane: int, columns: slice) -> np.ndarray:
        inputs = self._inputs[lane]
        shape = (len(inputs[0][0]), self.weights.shape[1])
        product = _buffer(self._buffers[lane], "product", shape)
        for values, group in inputs:
            np.matmul(values, self.weights[columns, group], out=product[:, group])
        return product

    def _update(self, lane: int, columns: slice, step: int) -> None:
        for values, group in self._inputs[lane]:
            width = group.stop - group.start
            height = max(64, _BLOCK // width)
            errors = self.errors[:, group]
            rate, decay = self._rate[group], self._decay[group]
            # One rate for all columns needs no broadcasting, which is faster.
            if (rate == rate[0]).all() and (decay == decay[0]).all():
                rate, decay = rate[0], decay[0]
            for top in range(columns.start, columns.stop, height):
                block = slice(top, min(top + height, columns.stop))
                own = slice(block.start - columns.start, block.stop - columns.start)
                gradient = _buffer(
                    self._buffers[lane], "gradient", (block.stop - block.start, width)
                )
                np.matmul(values[:, own].T, errors, out=gradient)
                adam_step(
                    self.weights[block, group],
                    gradient,
                    Moments(self.moments.first[block, group], self.moments.second[block, group]),
                    step,
                    rate,
                    decay,
                )


def _buffer(store: dict[str, np.ndarray], name: str, shape: tuple[int, int]) -> np.ndarray:
    """Return an uninitialised array that is reused: fresh memory costs page faults."""
    size = shape[0] * shape[1]
    if name not in store or store[name].size < size:
        store[name] = np.empty(size, np.float32)
    return store[name][:size].reshape(shape)


class Validation:
    """Held-out rows of one or more members.

    Parameters
    ----------
    features : ndarray of shape (N, D)
    targets : ndarray of shape (N, C)
    rows : ndarray of int, optional
        Which of the rows; all by default.
    weights : ndarray of shape (len(rows),), optional
    """

    def __init__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        rows: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.features = features
        self.rows = np.arange(len(features)) if rows is None else np.asarray(rows)
        self.targets = targets[self.rows]
        self.weights = weights

    def losses(
        self, lanes: Lanes, first: FirstLayers, columns: slice, uppers: list[Upper]
    ) -> list[float]:
        """Return the log-loss of each of `uppers`, whose first layers are in `columns`."""
        products = wide_product(
            lanes, self.features, self.rows, first.weights[:, columns], first.scaling
        )
        losses = []
        start = 0
        for upper in uppers:
            end = start + upper.member.width
            own = np.ascontiguousarray(products[:, start:end])
            losses.append(log_loss(predict_logits(own, upper.layers), self.targets, self.weights))
            start = end
        return losses


def wide_product(
    lanes: Lanes,
    features: np.ndarray,
    rows: np.ndarray | None,
    matrix: np.ndarray,
    scaling: Scaling | None = None,
) -> np.ndarray:
    """Return ``scaled(features[rows]) @ matrix`` in float32, a chunk of rows at a time."""
    count = len(features) if rows is None else len(rows)
    product = np.empty((count, matrix.shape[1]), np.float32)
    for top in range(0, count, _CHUNK):
        chunk = slice(top, min(top + _CHUNK, count))
        picked = chunk if rows is None else rows[chunk]

        def work(lane: int, picked=picked, size=chunk.stop - chunk.start) -> np.ndarray:
            columns = lanes.ranges[lane]
            values = np.empty((size, columns.stop - columns.start), np.float32)
            widen(features[:, columns][picked], values)
            if scaling is not None:
                scaling.apply(values, columns)
            return values @ matrix[columns]

        parts = lanes.run(work)
        for part in parts[1:]:
            parts[0] += part
        product[chunk] = parts[0]
    return product
