"""The first layers of a group of members, side by side: where nearly all the time goes.

Each lane (see `lanes`) works through its columns in blocks. What is done to a block is done
at once: the gradient, the optimiser's step, the next batch's features, and their product
with the new weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..numerics.lanes import Lanes, widen
from ..numerics.products import multiply
from .adam import LazyAdam
from .halves import Tile, tiles
from .network import dropout_mask

if TYPE_CHECKING:
    from ..numerics.scaling import Scaling
    from .member import Upper

__all__ = ["FirstLayers", "Workspace"]

# Weights of a block. Smaller ones stay in the second cache but make the products slower, and
# there are more of them.
_BLOCK = 1 << 19


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


class _Block:
    """Some columns of the features, and the weights on them: a unit in a row, in one piece.

    Half of the units is one piece of memory then, too.
    """

    def __init__(self, columns: slice, weights: np.ndarray) -> None:
        self.columns, self.weights = columns, weights
        self.optimiser = LazyAdam(weights.shape)
        # The batch in work, and the units that see it so.
        self.inputs: list[tuple[np.ndarray, slice]] = []

    def keep(self, units: np.ndarray) -> None:
        self.weights = self.weights[units]
        self.optimiser.keep(units)


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
        self._space = space
        self._blocks: list[list[_Block]] | None = None
        self._lay_out()

    def matrix(self, units: slice) -> np.ndarray:
        """Return a copy of the weights of some units, (D, units)."""
        parts = [block.weights[units] for block in itertools.chain(*self._blocks)]
        return np.concatenate(parts, axis=1).T

    def keep(self, positions: list[int]) -> None:
        """Keep only the members at `positions`."""
        units = np.concatenate([np.r_[self.columns[p]] for p in positions])
        for block in itertools.chain(*self._blocks):
            block.keep(units)
        self.uppers = [self.uppers[p] for p in positions]
        self._lay_out()

    def begin(self, lanes: Lanes, picks: np.ndarray) -> np.ndarray:
        """Return the products (B, sum of widths) of the first batch of an epoch."""
        if self._blocks is None:
            lanes.run(self._take_over_matrices_for(lanes))
            for upper in self.uppers:
                upper.matrix = None
        return self._start(lanes, picks, 0)

    def finish(self, lanes: Lanes, step: int, following: np.ndarray | None) -> np.ndarray | None:
        """Update the matrix from `errors`; return the products of the `following` batch."""
        widths = [upper.member.width for upper in self.uppers]
        rates = np.array([upper.rate for upper in self.uppers], np.float32)
        decays = np.array([upper.member.weight_decay for upper in self.uppers], np.float32)
        self._rate, self._decay = (np.repeat(one, widths)[:, None] for one in (rates, decays))
        return self._start(lanes, following, step)

    def _start(self, lanes: Lanes, picks: np.ndarray | None, step: int) -> np.ndarray | None:
        masks = self._draw_masks(picks)
        shape = (0 if picks is None else len(picks), self.width)
        products = [self._space.array(("product", lane), shape) for lane in range(lanes.count)]

        def work(lane: int) -> None:
            for number, block in enumerate(self._blocks[lane]):
                if step:
                    self._update(lane, block, step)
                if picks is not None:
                    self._gather(block, picks, masks)
                    self._multiply(block, products[lane], number > 0)

        lanes.run(work)
        if picks is None:
            return None
        self.errors = self._space.array("errors", shape)
        for part in products[1:]:
            for tile in self._tiles(len(picks)):
                products[0][tile] += part[tile]
        return products[0]

    def _take_over_matrices_for(self, lanes: Lanes) -> Callable[[int], None]:
        """Return what each lane does to have its blocks of the members' first matrices."""
        self._blocks = [[] for _ in range(lanes.count)]
        breadth = max(64, _BLOCK // self.width)

        def work(lane: int) -> None:
            whole = lanes.ranges[lane]
            for left in range(whole.start, whole.stop, breadth):
                columns = slice(left, min(left + breadth, whole.stop))
                parts = [upper.matrix[columns].T for upper in self.uppers]
                weights = np.ascontiguousarray(np.concatenate(parts))
                self._blocks[lane].append(_Block(columns, weights))

        return work

    def _tiles(self, rows: int, within: slice | None = None) -> list[Tile]:
        """Return which rows of a batch meet which columns; all rows meet neighbours at once."""
        found: list[Tile] = []
        for upper, columns in zip(self.uppers, self.columns, strict=True):
            if within is not None and not within.start <= columns.start < within.stop:
                continue
            for part, units in tiles(rows, columns, upper.member.dropout):
                if found and found[-1][0] == part and found[-1][1].stop == units.start:
                    units = slice(found.pop()[1].start, units.stop)
                found.append((part, units))
        return found

    def _lay_out(self) -> None:
        edges = np.cumsum([0, *[upper.member.width for upper in self.uppers]])
        self.columns = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        groups: dict[float, slice] = {}
        for upper, columns in zip(self.uppers, self.columns, strict=True):
            rate = upper.member.input_dropout
            start = groups[rate].start if rate in groups else columns.start
            groups[rate] = slice(start, columns.stop)
        self._groups, self.width = groups, int(edges[-1])

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

    def _gather(self, block: _Block, picks: np.ndarray, masks: dict) -> None:
        at = block.columns
        shape = (len(picks), at.stop - at.start)
        values = self._space.array(("values", at.start), shape)
        scaled_evenly = self.scaling is not None and self.scaling.is_one_factor
        factor = self.scaling.factor[0] if scaled_evenly else None
        widen(self.features[:, at][picks], values, factor)
        if self.scaling is not None and not scaled_evenly:
            self.scaling.apply(values, at)
        block.inputs = []
        for rate, units in self._groups.items():
            own = values
            if masks[rate] is not None:
                own = self._space.array(("values", at.start, rate), shape)
                np.multiply(values, masks[rate][:, at], out=own)
            block.inputs.append((own, units))

    def _multiply(self, block: _Block, product: np.ndarray, more: bool) -> None:
        for values, group in block.inputs:
            for part, units in self._tiles(len(values), group):
                multiply(values[part], block.weights[units].T, product[part, units], float(more))

    def _update(self, lane: int, block: _Block, step: int) -> None:
        for values, group in block.inputs:
            weights = block.weights[group]
            space = self._space.array(("gradient", lane), weights.shape)
            rate, decay = self._rate[group], self._decay[group]
            # One rate for all units needs no broadcasting, which is faster.
            if (rate == rate[0]).all() and (decay == decay[0]).all():
                rate, decay = rate[0, 0], decay[0, 0]

            def gradient(out, keep: float, factor: float, values=values, group=group) -> None:
                for part, units in self._tiles(len(values), group):
                    own = out[units.start - group.start : units.stop - group.start]
                    multiply(self.errors[part, units].T, values[part], own, keep, factor)

            block.optimiser.step(weights, group, gradient, step, rate, decay, space)
