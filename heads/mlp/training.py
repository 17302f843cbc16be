"""Train a network: AdamW, a cosine schedule, and no look at any row but its own."""

import dataclasses
import math

import numpy as np

from ...core.errors import HeadError
from ...core.float16 import widen
from ..numerics.scaling import Scaling
from .network import Batch, Network, initial, loss_and_gradients

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained; see `MLPClassifier`."""

    width: int
    dropout: float
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_size: int | None

    def batch(self, rows: int) -> int:
        """Return the batch size for so many rows."""
        return min(rows, self.batch_size or int(np.clip(rows // 20, 16, 1024)))

    def steps(self, rows: int) -> int:
        """Return the steps of an epoch for so many rows."""
        return max(1, round(rows / self.batch(rows)))

    def schedule(self, rows: int) -> int:
        """Return the epochs for so many rows: few rows have as many steps as 20 an epoch."""
        return max(self.epochs, math.ceil(20 * self.epochs / self.steps(rows)))


def train_network(
    recipe: Recipe,
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    scaling: Scaling,
    seed: int,
) -> tuple[Network, list[float]]:
    """Return a trained network for scaled rows, and the training loss of each epoch.

    Parameters
    ----------
    features : ndarray of shape (N, D), float16 or float32
    targets : ndarray of shape (N, C), float32
    weights : ndarray of shape (N,)

    Raises
    ------
    HeadError
        The training diverged.
    """
    rng = np.random.default_rng([seed, 3])
    count, columns = features.shape
    network = initial(columns, recipe.width, targets.shape[1], np.random.default_rng([seed, 4]))
    gradients = Network(*(np.zeros_like(one) for one in network.arrays))
    adam = Adam(network)
    epochs, each = recipe.schedule(count), recipe.steps(count)
    shares = (weights * (each / weights.sum())).astype(np.float32)
    space = np.empty((2 * recipe.batch(count), columns), np.float32)
    losses = []
    for epoch in range(epochs):
        order = rng.permutation(count)
        total = 0.0
        for number, picked in enumerate(np.array_split(order, each)):
            inputs = space[: len(picked)]
            widen(features[picked], inputs)
            scaling.apply(inputs)
            batch = Batch(inputs, targets[picked], shares[picked])
            total += loss_and_gradients(network, batch, recipe.dropout, rng, gradients)
            done = (epoch * each + number) / (epochs * each)
            rate = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
            adam.step(network, gradients, rate, recipe.weight_decay)
        losses.append(total / each)
        if not math.isfinite(total):
            raise HeadError(
                f"the training of the MLP diverged in epoch {epoch + 1}",
                "lower the learning rate (mlp.learning_rate)",
            )
    return network, losses


class Adam:
    """Adam with decoupled weight decay, and one second moment for all inputs of a hidden unit.

    Loshchilov and Hutter 2019, "Decoupled weight decay regularization"; Zhang et al. 2024,
    "Adam-mini: use fewer learning rates to gain more". So it does not matter along which axes
    the inputs are given: directions in which rows differ little are not learnt as fast as others.
    The first moment is kept without its factor (1 - beta), which the step takes over.
    """

    def __init__(self, network: Network) -> None:
        self._first = [np.zeros_like(one) for one in network.arrays]
        self._second = [np.zeros_like(one) for one in network.arrays]
        self._second[0] = np.zeros_like(network.b1)
        self._number = 0

    def step(self, network: Network, gradients: Network, rate: float, decay: float) -> None:
        """Change the network in place."""
        self._number += 1
        scale = np.float32(rate * (1 - BETA1) / (1 - BETA1**self._number))
        correction = np.float32(1 / (1 - BETA2**self._number))
        for values, gradient, first, second in zip(
            network.arrays, gradients.arrays, self._first, self._second, strict=True
        ):
            first *= np.float32(BETA1)
            first += gradient
            if gradient.shape == second.shape:
                square = gradient * gradient
            else:
                square = np.einsum("ij,ij->j", gradient, gradient) / np.float32(len(gradient))
            second *= np.float32(BETA2)
            second += np.float32(1 - BETA2) * square
            if decay and values.ndim == 2:
                values *= np.float32(1 - rate * decay)
            values -= first * (scale / (np.sqrt(second * correction) + np.float32(EPSILON)))
