"""Train a stack of small networks on the same rows at once.

All members see the same batches. Their first layers lie side by side in one
wide matrix, so a batch is gathered and widened once and meets all of them in
one product; everything above is each member's own. A member has its own width,
depth, rates, schedule, row weights, held-out rows and early stopping, and ends
exactly (to rounding) where it would end if it were trained alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..errors import HeadError
from .lanes import Lanes
from .network import Layers
from .stack_parts import FirstLayers, Scaling, Upper, Validation

__all__ = ["Member", "Outcome", "Progress", "fit_stack"]


@dataclasses.dataclass(frozen=True)
class Member:
    """Settings of one network of a stack.

    Attributes
    ----------
    width, depth : int
        Units of each hidden layer, number of hidden layers (1 or 2).
    learning_rate, weight_decay : float
        Peak of the cosine schedule; decoupled decay (not of biases).
    dropout, input_dropout : float
        Share of hidden units and of input features left out at each step.
    label_smoothing : float
        Share of each target spread evenly over all classes.
    epochs : int
        Length of the schedule.
    stop_after : int or None
        Stop after this many epochs of the schedule.
    patience : int or None
        Stop after this many epochs without a better validation loss.
    warm_up : float
        Share of the schedule in which the rate rises linearly.
    seed : int
        Of its initial weights and dropout. (The batches are the stack's.)
    """

    width: int = 256
    depth: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    dropout: float = 0.5
    input_dropout: float = 0.0
    label_smoothing: float = 0.0
    epochs: int = 8
    stop_after: int | None = None
    patience: int | None = None
    warm_up: float = 0.0
    seed: int = 0


@dataclasses.dataclass
class Outcome:
    """What training one member gave.

    Attributes
    ----------
    layers : list of (W, b)
        The best epoch's weights (the last one's without held-out rows), with
        the input scaling folded into the first layer.
    best_epoch : int
        Epoch, counted from 1, that `layers` comes from.
    best_loss : float
        Its log-loss on the held-out rows; NaN without any.
    losses, train_losses : list of float
        Held-out log-loss and running training loss of each epoch.
    stopped : str
        Why training ended: "finished", "patience", "dropped" or "diverged".
    """

    layers: Layers = dataclasses.field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("nan")
    losses: list[float] = dataclasses.field(default_factory=list)
    train_losses: list[float] = dataclasses.field(default_factory=list)
    stopped: str = ""


# Called after each epoch with (epoch, outcomes so far); returns members to drop.
Progress = Callable[[int, Sequence[Outcome]], Iterable[int] | None]


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
) -> list[Outcome]:
    """Train every member and return what each one came to.

    Parameters
    ----------
    features : ndarray of shape (N, D), float16 or float32
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

    Returns
    -------
    list of Outcome, one for each member

    Raises
    ------
    HeadError
        A member's loss became infinite before it had any usable epoch.
    """
    rows = np.arange(len(features)) if rows is None else np.asarray(rows)
    trainer = _Trainer(
        features, targets, members, rows, weights, validation, scaling, seed, batch_size
    )
    with (
        Lanes(features.shape[1], lanes) as threads,
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),
    ):
        return trainer.run(threads, progress)


class _Trainer:
    def __init__(
        self, features, targets, members, rows, weights, validation, scaling, seed, batch_size
    ) -> None:
        count, classes = len(features), targets.shape[1]
        self.rows = rows.astype(np.int32)
        self.targets, self.members, self.scaling = targets, list(members), scaling
        weights = weights or [np.ones(count, np.float32)] * len(members)
        self.validation = list(validation or [None] * len(members))
        self.batches = max(1, round(len(rows) / batch_size))
        self.order = np.random.default_rng([seed, 1])
        self.uppers = [
            Upper(member, features.shape[1], classes, row_weights, rows, self.batches)
            for member, row_weights in zip(members, weights, strict=True)
        ]
        self.outcomes = [Outcome() for _ in members]
        # Members with equal input dropout or equal held-out rows lie side by side.
        self.live = sorted(
            range(len(members)),
            key=lambda i: (members[i].input_dropout, id(self.validation[i]), i),
        )
        self.first = FirstLayers(
            features, scaling, [self.uppers[i] for i in self.live], np.random.default_rng([seed, 2])
        )

    def run(self, lanes: Lanes, progress: Progress | None) -> list[Outcome]:
        epoch = 0
        while self.live:
            self._epoch(lanes, epoch)
            epoch += 1
            self._validate(lanes, epoch)
            dropped = set(progress(epoch, self.outcomes) or ()) if progress else set()
            self._retire(epoch, dropped)
        return self.outcomes

    def _epoch(self, lanes: Lanes, epoch: int) -> None:
        """Take one step for each batch; finish one batch and prepare the next together."""
        batches = np.array_split(self.order.permutation(self.rows), self.batches)
        uppers = [self.uppers[i] for i in self.live]
        first, total = self.first, np.zeros(len(uppers))
        products = first.begin(lanes, batches[0])
        for number, rows in enumerate(batches):
            step = epoch * self.batches + number + 1
            for upper in uppers:
                upper.set_rate((step - 0.5) / (self.batches * upper.member.epochs))
            targets = self.targets[rows]

            def climb(item, rows=rows, targets=targets, step=step, products=products):
                upper = uppers[item]
                columns = first.columns[item]
                loss, error = upper.step(products[:, columns], rows, targets, step)
                first.errors[: len(rows), columns] = error
                return loss

            total += lanes.run(climb, len(uppers))
            following = batches[number + 1] if number + 1 < len(batches) else None
            products = first.finish(lanes, step, following)
        for index, loss, _ in zip(self.live, total, uppers, strict=True):
            self.outcomes[index].train_losses.append(loss / self.batches)

    def _validate(self, lanes: Lanes, epoch: int) -> None:
        start = 0
        while start < len(self.live):
            held_out = self.validation[self.live[start]]
            end = start + 1
            while end < len(self.live) and self.validation[self.live[end]] is held_out:
                end += 1
            if held_out is not None:
                columns = slice(self.first.columns[start].start, self.first.columns[end - 1].stop)
                uppers = [self.uppers[i] for i in self.live[start:end]]
                losses = held_out.losses(lanes, self.first, columns, uppers)
                for position, loss in zip(range(start, end), losses, strict=True):
                    self._note(position, epoch, loss)
            start = end

    def _note(self, position: int, epoch: int, loss: float) -> None:
        outcome = self.outcomes[self.live[position]]
        outcome.losses.append(loss)
        if np.isfinite(loss) and not loss >= outcome.best_loss:
            outcome.best_loss, outcome.best_epoch = loss, epoch
            outcome.layers = self._layers(position)

    def _layers(self, position: int) -> Layers:
        upper = self.uppers[self.live[position]]
        matrix = self.first.weights[:, self.first.columns[position]].copy()
        return [(matrix, upper.layers[0][1].copy())] + [
            (w.copy(), b.copy()) for w, b in upper.layers[1:]
        ]

    def _retire(self, epoch: int, dropped: set[int]) -> None:
        """Take members out whose training is over, and close the gaps."""
        kept = []
        for position, index in enumerate(self.live):
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
                outcome.layers, outcome.best_epoch = self._layers(position), epoch
            self._fold(outcome, member)
        if len(kept) < len(self.live):
            self.first.keep(kept)
            self.live = [self.live[position] for position in kept]

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
