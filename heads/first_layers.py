"""The first layers of a group of members, side by side: where nearly all the time goes.

Each lane (see `lanes`) works through its columns in blocks. What is done to a block is done
at once: the gradient, the optimiser's step, the next batch's features, and their product
with the new weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .adam import LazyAdam
from .lanes import Lanes, widen
from .network import dropout_mask
from .products import multiply

if TYPE_CHECKING:
    from .stack_parts import Scaling, Upper

__all__ = ["FirstLayers", "Workspace", "wide_product"]

# Weights of a block. Smaller ones stay in the second cache but make the products slower, and
# there are more of them.
_BLOCK = 1 << 19
# Rows that are widened at once for a prediction.
_CHUNK = 1024


class Workspace:
    """Arrays that are used again and again: fresh memory costs page faults."""

    def __init__(self) -> None:
        self._store: dict[object, np.ndarray] = {}

    def array(self, name: object, shape: tuple[int, int], dtype=np.float32) -> np.ndarray:
        """Return an uninitialised array of the shape; the same memory for the same name."""
        size = shape[0] * shape[1]
        if name not in self._store or self._store[name].size < size:
            self._store[name] = np.empty(size, dtype)
        return self._store[name][:size].reshape(shape)


class FirstLayers:
    """The first layers of some members side by side, and the batch in work.

    Parameters
    ----------
    features : ndarray of shape (M, D)
        One view in a row.
    scaling : Scaling or None
    uppers : list of Upper
        Their first matrices are taken over, in this order.
    rng : numpy.random.Generator
        For input dropout.
    space : Workspace
        May be shared by several that work one after the other.
    """

    def __init__(
        self,
        features: np.ndarray,
        scaling: Scaling | None,
        uppers: list[Upper],
        rng: np.random.Generator,
        space: Workspace,
    ) -> None:
        self.features, self.scaling, self.uppers, self.rng = features, scaling, uppers, rng
        self.weights = np.concatenate([upper.matrix for upper in uppers], axis=1)
        for upper in uppers:
            upper.matrix = None
        self.optimiser = LazyAdam(self.weights.shape)
        self._space = space
        self._lay_out()

    def keep(self, positions: list[int]) -> None:
        """Keep only the members at `positions`."""
        columns = np.concatenate(
            [np.arange(self.columns[p].start, self.columns[p].stop) for p in positions]
        )
        self.weights = self.weights[:, columns]
        self.optimiser.keep(columns)
        self.uppers = [self.uppers[p] for p in positions]
        self._lay_out()

    def begin(self, lanes: Lanes, picks: np.ndarray) -> np.ndarray:
        """Return the products (B, sum of widths) of the first batch of an epoch."""
        self._inputs: list[dict] = [{} for _ in range(lanes.count)]
        return self._start(lanes, picks, 0)

    def finish(self, lanes: Lanes, step: int, following: np.ndarray | None) -> np.ndarray | None:
        """Update the matrix from `errors`; return the products of the `following` batch."""
        widths = [upper.member.width for upper in self.uppers]
        rates = np.array([upper.rate for upper in self.uppers], np.float32)
        decays = np.array([upper.member.weight_decay for upper in self.uppers], np.float32)
        self._rate, self._decay = np.repeat(rates, widths), np.repeat(decays, widths)
        return self._start(lanes, following, step)

    def _start(self, lanes: Lanes, picks: np.ndarray | None, step: int) -> np.ndarray | None:
        masks = self._draw_masks(picks)
        width = self.weights.shape[1]
        height = max(64, _BLOCK // width)
        products = [
            None if picks is None else self._space.array(("product", lane), (len(picks), width))
            for lane in range(lanes.count)
        ]

        def work(lane: int) -> None:
            whole = lanes.ranges[lane]
            for top in range(whole.start, whole.stop, height):
                block = slice(top, min(top + height, whole.stop))
                if step:
                    self._update(lane, block, step)
                if picks is not None:
                    self._gather(lane, block, picks, masks)
                    self._multiply(lane, block, products[lane], top > whole.start)

        lanes.run(work)
        if picks is None:
            return None
        self.errors = self._space.array("errors", (len(picks), width))
        for part in products[1:]:
            products[0] += part
        return products[0]

    def _lay_out(self) -> None:
        edges = np.cumsum([0, *[upper.member.width for upper in self.uppers]])
        self.columns = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        groups: dict[float, slice] = {}
        for upper, columns in zip(self.uppers, self.columns, strict=True):
            rate = upper.member.input_dropout
            start = groups[rate].start if rate in groups else columns.start
            groups[rate] = slice(start, columns.stop)
        self._groups = groups

    def _draw_masks(self, picks: np.ndarray | None) -> dict[float, np.ndarray | None]:
        if picks is None:
            return {}
        shape = (len(picks), self.features.shape[1])
        # Every rate reads the same bytes: what a member gets does not depend on
        # which other rates there are.
        state = self.rng.integers(2**63)
        return {
            rate: dropout_mask(shape, rate, np.random.default_rng(state)) for rate in self._groups
        }

    def _gather(self, lane: int, block: slice, picks: np.ndarray, masks: dict) -> None:
        shape = (len(picks), block.stop - block.start)
        values = self._space.array(("values", block.start), shape)
        scaled_evenly = self.scaling is not None and self.scaling.is_one_factor
        factor = self.scaling.factor[0] if scaled_evenly else None
        widen(self.features[:, block][picks], values, factor)
        if self.scaling is not None and not scaled_evenly:
            self.scaling.apply(values, block)
        inputs = []
        for rate, columns in self._groups.items():
            own = values
            if masks[rate] is not None:
                own = self._space.array(("values", block.start, rate), shape)
                np.multiply(values, masks[rate][:, block], out=own)
            inputs.append((own, columns))
        self._inputs[lane][block.start] = inputs

    def _multiply(self, lane: int, block: slice, product: np.ndarray, more: bool) -> None:
        for values, columns in self._inputs[lane][block.start]:
            multiply(values, self.weights[block, columns], product[:, columns], float(more))

    def _update(self, lane: int, block: slice, step: int) -> None:
        for values, columns in self._inputs[lane][block.start]:
            shape = (block.stop - block.start, columns.stop - columns.start)
            space = self._space.array(("gradient", lane), shape)
            rate, decay = self._rate[columns], self._decay[columns]
            # One rate for all columns needs no broadcasting, which is faster.
            if (rate == rate[0]).all() and (decay == decay[0]).all():
                rate, decay = rate[0], decay[0]
            self.optimiser.step(
                self.weights[block, columns],
                (block, columns),
                values,
                self.errors[:, columns],
                step,
                rate,
                decay,
                space,
            )


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
            return multiply(values, matrix[columns])

        parts = lanes.run(work)
        for part in parts[1:]:
            parts[0] += part
        product[chunk] = parts[0]
    return product
