"""Train a stack of small networks on the same rows at once.

All members see the same batches. The first layers of a group of members lie side
by side in one wide matrix, so a batch is gathered and widened once and meets all of
them in one product, or in two for each member that drops half of its units (`halves`);
everything above is each member's own. A group is as wide as the processor's caches
like it; the groups take turns, an epoch each. A member has its own width, depth, rates,
schedule, row weights, held-out rows and early stopping, and ends exactly (to rounding)
where it would end if it were trained alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ...core.errors import HeadError
from ..numerics.lanes import Lanes
from ..numerics.scaling import Scaling
from ..numerics.views import one_view_in_a_row
from .first_layers import FirstLayers, Workspace
from .member import Member, Outcome, Progress, Upper
from .network import Layers
from .validation import Validation

__all__ = ["fit_stack"]

# Columns of a group. Wider ones wait for memory in the optimiser's passes.
_WIDEST = 1024


def fit_stack(
    features: np.ndarray,
    targets: np.ndarray,
    members: Sequence[Member],
    *,
    rows: np.ndarray | None = None,
    weights: Sequence[np.ndarray] | None = None,
    validation: Sequence[Validation | None] | None = None,
    scaling: Scaling | None = None,
    batch_size: int = 128,
    seed: int = 0,
    lanes: int | None = None,
    progress: Progress | None = None,
    views: int = 1,
) -> list[Outcome]:
    """Train every member and return what each one came to.

    Parameters
    ----------
    features : ndarray of shape (N, views * D), float16 or float32
        Widened batch by batch; never copied as a whole.
    targets : ndarray of shape (N, C), float32
        Rows that sum to 1.
    members : sequence of Member
    rows : ndarray of int, optional
        The rows that batches are drawn from; all by default. (A member alone
        equals the member in the stack if this is the same.)
    weights : sequence of (N,) arrays, one for each member, optional
        Row weights; 0 keeps a row out of that member's training.
    validation : sequence of Validation or None, one for each member, optional
        Held-out rows for early stopping.
    scaling : Scaling, optional
        Shift and factor of the inputs.
    batch_size : int
        Rows of a batch (of all members together; batches are made even).
    seed : int
        Of the order of the rows and of input dropout.
    lanes : int, optional
        Threads; see `Lanes`.
    progress : callable, optional
        ``progress(epoch, outcomes)`` after each epoch; it may return the
        indices of members to stop.
    views : int, default 1
        Views in each row, one after the other. In each epoch every row is seen in one
        of them, drawn anew.

    Returns
    -------
    list of Outcome, one for each member

    Raises
    ------
    HeadError
        A member's loss became infinite before it had any usable epoch.
    KeyboardInterrupt
        Before every member had a best epoch. (Later, Ctrl-C ends the training, and what
        was best until then is returned.)
    """
    rows = np.arange(len(features)) if rows is None else np.asarray(rows)
    trainer = _Trainer(
        features, targets, members, rows, weights, validation, scaling, seed, batch_size, views
    )
    with (
        Lanes(features.shape[1] // views, lanes) as threads,
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),
    ):
        return trainer.run(threads, progress)


@dataclasses.dataclass
class _Group:
    """Members (their indices) whose first layers are trained together."""

    live: list[int]
    first: FirstLayers


@dataclasses.dataclass
class _Batch:
    rows: np.ndarray
    # Where the rows' views of this epoch are.
    picks: np.ndarray


class _Trainer:
    def __init__(
        self,
        features,
        targets,
        members,
        rows,
        weights,
        validation,
        scaling,
        seed,
        batch_size,
        views,
    ) -> None:
        count, classes = len(features), targets.shape[1]
        self.rows, self.views = rows.astype(np.int64), views
        self.targets, self.members, self.scaling = targets, list(members), scaling
        weights = weights or [np.ones(count, np.float32)] * len(members)
        self.validation = list(validation or [None] * len(members))
        self.batches = max(1, round(len(rows) / batch_size))
        self.order = np.random.default_rng([seed, 1])
        self.view_order = np.random.default_rng([seed, 9])
        single = one_view_in_a_row(features, views)
        self.uppers = [
            Upper(member, single.shape[1], classes, row_weights, rows, self.batches)
            for member, row_weights in zip(members, weights, strict=True)
        ]
        self.outcomes = [Outcome(name=member.name) for member in members]
        space = Workspace()
        self.groups = [
            _Group(
                live,
                FirstLayers(
                    single,
                    scaling,
                    [self.uppers[i] for i in live],
                    # The same for every group, so that a member gets what it would get alone.
                    np.random.default_rng([seed, 2]),
                    space,
                ),
            )
            for live in self._grouped()
        ]

    def _grouped(self) -> list[list[int]]:
        """Deal the members into groups; like ones lie side by side."""
        members, place = self.members, {}
        for index, held_out in enumerate(self.validation):
            place.setdefault(id(held_out), index)
        order = sorted(
            range(len(members)),
            key=lambda i: (members[i].input_dropout, place[id(self.validation[i])], i),
        )
        groups: list[list[int]] = []
        width = _WIDEST
        for index in order:
            width += members[index].width
            if width > _WIDEST or not groups:
                groups.append([])
                width = members[index].width
            groups[-1].append(index)
        return groups

    def run(self, lanes: Lanes, progress: Progress | None) -> list[Outcome]:
        try:
            self._run(lanes, progress)
        except KeyboardInterrupt:
            live = [index for group in self.groups for index in group.live]
            if not all(self.outcomes[index].layers for index in live):
                raise
            for index in live:
                self.outcomes[index].stopped = "interrupted"
                self._fold(self.outcomes[index], self.members[index])
        return self.outcomes

    def _run(self, lanes: Lanes, progress: Progress | None) -> None:
        epoch = 0
        while self.groups:
            batches = self._deal()
            for group in self.groups:
                self._epoch(lanes, group, batches, epoch)
                self._validate(lanes, group, epoch + 1)
            epoch += 1
            dropped = set(progress(epoch, self.outcomes) or ()) if progress else set()
            for group in self.groups:
                self._retire(group, epoch, dropped)
            self.groups = [group for group in self.groups if group.live]

    def _deal(self) -> list[_Batch]:
        """Draw the order of the rows for an epoch, and the view in which each is seen."""
        rows = self.order.permutation(self.rows)
        picks = rows
        if self.views > 1:
            picks = rows * self.views + self.view_order.integers(self.views, size=len(rows))
        return [
            _Batch(*parts)
            for parts in zip(
                np.array_split(rows, self.batches), np.array_split(picks, self.batches), strict=True
            )
        ]

    def _epoch(self, lanes: Lanes, group: _Group, batches: list[_Batch], epoch: int) -> None:
        """Take one step for each batch; finish one batch and prepare the next together."""
        uppers = [self.uppers[i] for i in group.live]
        first, total = group.first, np.zeros(len(uppers))
        products = first.begin(lanes, batches[0].picks)
        for number, batch in enumerate(batches):
            step = epoch * self.batches + number + 1
            for upper in uppers:
                upper.set_rate((step - 0.5) / (self.batches * upper.member.epochs))
            rows, targets = batch.rows, self.targets[batch.rows]

            def climb(item, rows=rows, targets=targets, step=step, products=products):
                upper = uppers[item]
                columns = first.columns[item]
                errors = first.errors[:, columns]
                return upper.step(products[:, columns], rows, targets, step, errors)

            total += lanes.run(climb, len(uppers))
            following = batches[number + 1].picks if number + 1 < len(batches) else None
            products = first.finish(lanes, step, following)
        for index, loss in zip(group.live, total, strict=True):
            self.outcomes[index].train_losses.append(loss / self.batches)

    def _validate(self, lanes: Lanes, group: _Group, epoch: int) -> None:
        live, columns = group.live, group.first.columns
        start = 0
        while start < len(live):
            held_out = self.validation[live[start]]
            end = start + 1
            while end < len(live) and self.validation[live[end]] is held_out:
                end += 1
            if held_out is not None:
                left = columns[start].start
                matrix = group.first.matrix(slice(left, columns[end - 1].stop))
                uppers = [self.uppers[i] for i in live[start:end]]
                losses = held_out.losses(lanes, matrix, group.first.scaling, uppers)
                for index, units, loss in zip(
                    live[start:end], columns[start:end], losses, strict=True
                ):
                    own = matrix[:, units.start - left : units.stop - left]
                    # A copy, or the matrices of all would be kept with this one.
                    self._note(index, epoch, loss, own if end - start == 1 else own.copy("K"))
            start = end

    def _note(self, index: int, epoch: int, loss: float, matrix: np.ndarray) -> None:
        outcome = self.outcomes[index]
        outcome.losses.append(loss)
        if np.isfinite(loss) and not loss >= outcome.best_loss:
            # The weights first: an interruption may come between the two.
            outcome.layers = self._layers(index, matrix)
            outcome.best_loss, outcome.best_epoch = loss, epoch

    def _layers(self, index: int, matrix: np.ndarray) -> Layers:
        upper = self.uppers[index]
        return [(matrix, upper.layers[0][1].copy())] + [
            (w.copy(), b.copy()) for w, b in upper.layers[1:]
        ]

    def _retire(self, group: _Group, epoch: int, dropped: set[int]) -> None:
        """Take members out whose training is over, and close the gaps."""
        kept = []
        for position, index in enumerate(group.live):
            member, outcome = self.members[index], self.outcomes[index]
            waited = epoch - outcome.best_epoch
            if not np.isfinite(outcome.train_losses[-1]):
                outcome.stopped = "diverged"
            elif epoch >= min(member.epochs, member.stop_after or member.epochs):
                outcome.stopped = "finished"
            elif index in dropped:
                outcome.stopped = "dropped"
            elif member.patience and outcome.losses and waited >= member.patience:
                outcome.stopped = "patience"
            if not outcome.stopped:
                kept.append(position)
                continue
            if self.validation[index] is None and outcome.stopped != "diverged":
                matrix = group.first.matrix(group.first.columns[position])
                outcome.layers, outcome.best_epoch = self._layers(index, matrix), epoch
            self._fold(outcome, member)
        if kept and len(kept) < len(group.live):
            group.first.keep(kept)
        group.live = [group.live[position] for position in kept]

    def _fold(self, outcome: Outcome, member: Member) -> None:
        if not outcome.layers:
            raise HeadError(
                f"training diverged: the loss was not finite after {len(outcome.train_losses)} "
                f"epochs at learning rate {member.learning_rate:g}",
                "lower the learning rate, or choose the scaling 'standard' if the features "
                "are very large",
            )
        if self.scaling is not None:
            matrix, bias = outcome.layers[0]
            outcome.layers[0] = self.scaling.fold(matrix, bias)
