"""One of many networks that are trained together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .adam import Moments, adam_step, cosine
from .halves import step_by_tiles
from .network import Layers, initial_layers

__all__ = ["Member", "Outcome", "Progress", "Upper"]


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
    name : str
        For those who watch; does not matter otherwise.
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
    name: str = dataclasses.field(default="", compare=False)


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
        Why training ended: "finished", "patience", "dropped", "diverged" or "interrupted";
        empty while it goes on.
    name : str
        The member's.
    """

    layers: Layers = dataclasses.field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("nan")
    losses: list[float] = dataclasses.field(default_factory=list)
    train_losses: list[float] = dataclasses.field(default_factory=list)
    stopped: str = ""
    name: str = ""


# Called after each epoch with (epoch, outcomes so far); returns members to drop.
Progress = Callable[[int, Sequence[Outcome]], Iterable[int] | None]


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
        self,
        product: np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray,
        step: int,
        errors: np.ndarray,
    ) -> float:
        """Update the upper layers; return the loss, and in `errors` the gradient by `product`."""
        member = self.member
        smoothing = member.label_smoothing
        if smoothing:
            targets = targets * np.float32(1 - smoothing) + np.float32(smoothing / targets.shape[1])
        loss, gradients = step_by_tiles(
            product, self.layers, targets, self.weights[rows], member.dropout, self.rng, errors
        )
        adam_step(self.layers[0][1], gradients[0][1], self.moments[0][1], step, self.rate, 0.0)
        for layer, gradient, moments in zip(
            self.layers[1:], gradients[1:], self.moments[1:], strict=True
        ):
            adam_step(layer[0], gradient[0], moments[0], step, self.rate, member.weight_decay)
            adam_step(layer[1], gradient[1], moments[1], step, self.rate, 0.0)
        return loss
