"""The multilayer perceptron: NumPy alone, and fast enough to be tried fifty times a day."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone

from ...core.softmax import softmax
from ..base import Head
from ..numerics.directions import DIRECTIONS, Directions, directions_of
from ..numerics.gram import power_gram
from ..numerics.products import multiply
from ..numerics.scaling import (
    OPEN_SCALINGS,
    SCALINGS,
    Scaling,
    measure_scaling,
    plainest,
    power_rows,
    power_scaled,
    untried,
    wide_product,
)
from ..numerics.softmax_regression import prior_shift
from ..parallel import each, fits_at_once
from ..rows import Rows
from ..saved import HeadFiles
from ..settings import ABOVE_0, among, count, number
from .network import Network
from .training import Recipe, train_network

# Mean squared length of an input row. What a step of the optimiser changes depends on
# it and not on the number of columns, so one learning rate suits them all.
_SQUARED_LENGTH = 128.0
LENGTHS = (8, 14)
_NARROW, _WIDE = 128, 256


class MLPClassifier(Head):
    """A multilayer perceptron on feature rows: the mean of a few networks of one hidden layer.

    It is trained with AdamW on the log-loss for a fixed number of epochs: nothing is held out,
    and no row has a say in when it stops.

    Parameters
    ----------
    width : int or "auto", default "auto"
        Hidden units (ReLU) of each network. "auto" goes by the number of rows: 128 up to 896
        (1,792 where there are more columns than that), 256 above.
    members : int, default 2
        Networks of different seeds, whose probabilities are averaged.
    dropout : float or "auto", default "auto"
        Share of hidden units left out at each training step. From a half on, one half of a
        batch's rows trains one half of the units, which takes half of the time (see
        `icecore.heads.mlp.network`). "auto" is 0.75 where more rows than that train 256 units
        or more for longer than 8 epochs, else 0.5.
    learning_rate : float, default 8e-3
        At the start of the cosine schedule.
    weight_decay : float, default 2
        Decoupled weight decay (Loshchilov and Hutter 2019).
    epochs : int or "auto", default "auto"
        Length of the schedule; where there are few rows, more epochs of as many steps.
        "auto" chooses between 8 and 14, out of fold.
    batch_size : int or None, default None
        None takes a 20th of the rows, at least 16 and at most 1024.
    scaling : {"power", "standard", "rms", "none"} or "auto", default "auto"
        As of `LogisticHead`; "power" where a length is given.
    sets : tuple of int, optional
        Widths of the feature sets that lie side by side; one set by default.
    random_state : int, RandomState or None, default None
        Seed of weights, dropout and order.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    networks_ : list of Network
        For rows that are power-scaled, or as they are.
    scaling_ : str
        That of the fit.
    losses_ : list of list of float
        Training log-loss of each epoch, for each network.

    Notes
    -----
    Products are float32. Results repeat for one seed and machine.
    """

    kind: ClassVar[str] = "mlp"
    recipe: ClassVar[int] = 8
    judged_whole: ClassVar[bool] = False
    allowed: ClassVar = {
        "width": count(2**20) | "auto",
        "members": count(1000),
        "dropout": number("from 0 to below 1", lambda value: 0 <= value < 1) | "auto",
        "learning_rate": ABOVE_0,
        "weight_decay": number("from 0 to 1e15", lambda value: 0 <= value <= 1e15),
        "epochs": count(100_000) | "auto",
        "batch_size": count(2**20) | None,
        "scaling": among(SCALINGS) | "auto",
    }

    def __init__(
        self,
        width="auto",
        members=2,
        dropout="auto",
        learning_rate=8e-3,
        weight_decay=2.0,
        epochs="auto",
        batch_size=None,
        scaling="auto",
        sets=None,
        random_state=None,
    ):
        self.width = width
        self.members = members
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.scaling = scaling
        self.sets = sets
        self.random_state = random_state

    def choices(self) -> list[dict[str, Any]]:
        """Return the lengths of the schedule for each open scaling, unless one is given."""
        if self.epochs != "auto":
            return [{}]
        return self.grid(scaling=OPEN_SCALINGS, epochs=LENGTHS)

    def further_choices(self, count: int, seed: int) -> list[list[dict[str, Any]]]:
        """Return settings around the default ones, drawn with a seed."""
        rng = np.random.default_rng([seed, 11])
        return [
            [
                {
                    "epochs": int(rng.integers(6, 40)),
                    "width": int(rng.choice((64, 128, 256, 512))),
                    "weight_decay": round(float(2 * 4 ** rng.uniform(-1, 1)), 3),
                    "learning_rate": round(float(8e-3 * 2 ** rng.uniform(-1, 1)), 5),
                    "dropout": float(rng.choice((0.5, 0.6, 0.75))),
                    "scaling": str(rng.choice(("power", "power", "standard"))),
                }
            ]
            for _ in range(count)
        ]

    def predict_path(self, rows, fitted, judged, choices) -> np.ndarray:
        """See `Head.predict_path`: settings are judged by one network each."""
        left_out = untried(rows, fitted, [choice.get("scaling", "") for choice in choices])

        def table(choice):
            if left_out and choice["scaling"] == "standard":
                return np.full((len(judged), len(rows.present(fitted))), np.nan)
            one = clone(self).set_params(**{**choice, "members": 1})
            return one._fit_and_predict(rows, fitted, judged)

        return np.array(each(table, choices))

    def _fit_and_predict(self, rows: Rows, index: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        inputs, _ = self._inputs(rows, index)
        networks, _ = self._train(rows, index, inputs)
        return _average(networks, inputs[unseen])

    def _fit(self, rows: Rows, index: np.ndarray) -> None:
        inputs, directions = self._inputs(rows, index)
        self.networks_, self.losses_ = self._train(rows, index, inputs)
        if directions is not None:
            for network in self.networks_:
                network.W1 = directions.weights(rows, network.W1)
        self.scaling_, self.sets_ = plainest(self.scaling), rows.sets

    def _train(
        self, rows: Rows, index: np.ndarray, inputs: np.ndarray
    ) -> tuple[list[Network], list[list[float]]]:
        """Return networks for `inputs` (those of all rows), and their training losses."""
        features, weights = inputs[index], rows.fit_weights(index)
        name = plainest(self.scaling)
        scaling = measure_scaling(features, name, weights)
        if name != "none":
            wanted = min(rows.features.shape[1], _SQUARED_LENGTH)
            length = np.sqrt(wanted / features.shape[1])
            scaling = Scaling(scaling.shift, scaling.factor * np.float32(length))
        targets, own = rows.shares(index), rows.own_weights(index)
        recipe = self._recipe(int((rows.weights > 0).sum()), rows.features.shape[1])
        seed = self.seed_of_fit

        def member(number: int):
            return train_network(recipe, features, targets, weights, scaling, seed + number)

        trained = each(member, range(self.members))
        for network, _ in trained:
            network.W1, network.b1 = scaling.fold(network.W1, network.b1)
            if own is not None:
                shift = prior_shift(_logits(network, inputs[index]), targets, own)
                network.b2 += shift.astype(np.float32)
        return [network for network, _ in trained], [losses for _, losses in trained]

    def _recipe(self, count: int, columns: int) -> Recipe:
        """Return how networks are trained for so many rows, of all folds, and columns."""
        few, long = _few(count, columns), self.epochs > LENGTHS[0]
        width, dropout = self.width, self.dropout
        if width == "auto":
            width = _NARROW if few else _WIDE
        if dropout == "auto":
            # Where labels are hard to tell many weak units last longer; few rows need all.
            dropout = 0.75 if long and width >= _WIDE and not few else 0.5
        return Recipe(
            width, dropout, self.learning_rate, self.weight_decay, self.epochs, self.batch_size
        )

    def _memory(self, rows: Rows) -> tuple[dict[str, Any], int]:
        width = _WIDE if self.width == "auto" else self.width
        weights = width * (rows.features.shape[1] + rows.targets.shape[1])
        # Of each network that is being trained: its gradients, their means, what is made of them.
        numbers = weights * (self.members + 4 * fits_at_once()) + 2 * width * len(rows)
        return {"width": self.width, "members": self.members}, 4 * numbers

    def _inputs(self, rows: Rows, index: np.ndarray) -> tuple[np.ndarray, Directions | None]:
        """Return what networks of the rows at `index` see of all rows, and along which directions.

        There are none where the features are not changed, or power-scaled and no more.
        """
        if plainest(self.scaling) != "power":
            return rows.features, None
        count, columns = rows.features.shape
        if columns <= DIRECTIONS or _few(count, columns) or not power_gram(rows).exact:
            return power_rows(rows), None
        directions = directions_of(rows, index)
        return directions.coordinates, directions

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        if self.scaling_ == "power":
            X = power_scaled(X, self.sets_)
        return _average(self.networks_, X)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {
            f"{name}_{number}": array
            for number, network in enumerate(self.networks_, 1)
            for name, array in zip(("W1", "b1", "W2", "b2"), network.arrays, strict=True)
        }
        fields = {"losses": self.losses_, "sets": list(self.sets_), "scaling": self.scaling_}
        return fields, arrays

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self.sets_, self.scaling_ = files.sets(fields), files.one_of(fields, "scaling", SCALINGS)
        self.losses_ = files.field(fields, "losses", list)
        classes, width = len(files.classes), None if self.width == "auto" else self.width
        shapes = {
            "W1": (files.features, width),
            "b1": (width,),
            "W2": (width, classes),
            "b2": (classes,),
        }
        numbers = range(1, self.members + 1)
        arrays = files.arrays({f"{n}_{i}": shape for i in numbers for n, shape in shapes.items()})
        self.networks_ = [Network(*(arrays[f"{name}_{i}"] for name in shapes)) for i in numbers]
        for one in self.networks_:
            if not one.W1.shape[1] == len(one.b1) == len(one.W2) > 0:
                raise files.refuse("the layers of a network do not fit together")


def _few(rows: int, columns: int) -> bool:
    """Return whether so many rows gain by fewer units, and by all features as they are.

    Chosen on draws of 60 to 2,600 rows: see benchmarks/notes/heads.md.
    """
    return rows <= (2 if columns > 2 * DIRECTIONS else 1) * DIRECTIONS


def _average(networks: Sequence[Network], X: np.ndarray) -> np.ndarray:
    """Return the mean of the networks' probabilities, shape (N, C)."""
    total = np.zeros((len(X), len(networks[0].b2)))
    for network in networks:
        total += softmax(_logits(network, X)) / len(networks)
    return total


def _logits(network: Network, X: np.ndarray) -> np.ndarray:
    hidden = wide_product(X, network.W1)
    hidden += network.b1
    np.maximum(hidden, 0, out=hidden)
    return multiply(hidden, network.W2).astype(np.float64) + network.b2
