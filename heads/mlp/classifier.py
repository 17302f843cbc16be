"""The multilayer perceptron: NumPy alone, and fast enough to be tried fifty times a day."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state

from ...core.errors import HeadError
from ...core.statistics import softmax
from ..base import Head
from ..numerics.lanes import Lanes
from ..numerics.scaling import wide_product
from ..numerics.views import one_view_in_a_row
from ..saved import HeadFiles
from ..splits import FEWEST_HELD_OUT, stratified_part
from .inputs import Inputs, prepare_inputs
from .member import Member
from .network import predict_logits
from .stack import fit_stack
from .validation import Validation

__all__ = ["MLPClassifier"]

# Epochs where there are many rows; where there are few, so many steps count.
_EPOCHS, _STEPS = 7, 140
# What "auto" means: how many components, and of more than how many rows.
_COMPONENTS, _MANY_ROWS = 512, 4096


class MLPClassifier(Head):
    """A multilayer perceptron on feature rows, trained with AdamW on the log-loss.

    Parameters
    ----------
    width : int, default 256
        Units of each hidden layer (ReLU).
    depth : int, default 1
        Hidden layers, 1 or 2.
    dropout, input_dropout : float, default 0.5 and 0
        Share of hidden units and of inputs left out at each training step. From a half on,
        one half of a batch's rows trains one half of the units, which takes half of the
        time (see `icecore.heads.mlp.halves`).
    components : int, "auto" or None, default "auto"
        Wider features are replaced by so many principal components of the training rows
        while the network is trained (see `icecore.heads.mlp.components`); the projection is folded
        into its first layer. None trains on the features themselves. "auto" takes 512
        components of more than 4,096 rows, where a fit takes about half the time with them.
    learning_rate : float, default 4e-3
        Peak of the cosine schedule.
    weight_decay : float, default 0
        Decoupled weight decay (Loshchilov and Hutter 2019).
    label_smoothing : float, default 0
        Share of each target spread over all classes.
    epochs : int or None, default None
        Length of the schedule. None takes 7, or as many as make 140 steps of few rows.
    batch_size : int or None, default None
        None takes a 20th of the rows, at least 16 and at most 1024.
    scaling : {"rms", "standard", "none"}, default "rms"
        Input scaling, folded into the first layer after training. "rms" multiplies all
        features by one number, so that strong features stay strong; on the data
        measured it beats giving every feature the same variance.
    early_stopping : bool, default True
        Keep the weights of the epoch with the best log-loss on held-out rows:
        those given to `fit`, else a seeded stratified part of the training rows.
    validation_fraction : float, default 0.1
        Size of that part.
    patience : int or None, default None
        Stop after so many epochs without a better loss. None runs the schedule to
        its end, as a cosine schedule wants.
    stop_after : int or None, default None
        Stop after so many epochs of the schedule (a number found earlier).
    random_state : int, RandomState or None, default None
        Seed of weights, dropout, order and split.
    n_jobs : int or None, default None
        Threads; None takes as many as the BLAS would.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    layers_ : list of (W, b)
        First W of shape (n_features_in_, width).
    best_epoch_ : int
        Epoch, from 1, that the weights come from.
    best_loss_ : float
        Its held-out log-loss; NaN without held-out rows.
    losses_, train_losses_ : list of float
        Held-out and training log-loss of each epoch.
    n_iter_ : int
        Epochs run.
    interrupted_ : bool
        Ctrl-C ended the training; the weights are the best until then.

    Notes
    -----
    Products are float32, float16 features are widened batch by batch. Results
    repeat for one seed, machine and number of threads.
    """

    kind: ClassVar[str] = "mlp"

    def __init__(
        self,
        width=256,
        depth=1,
        dropout=0.5,
        input_dropout=0.0,
        components="auto",
        learning_rate=4e-3,
        weight_decay=0.0,
        label_smoothing=0.0,
        epochs=None,
        batch_size=None,
        scaling="rms",
        early_stopping=True,
        validation_fraction=0.1,
        patience=None,
        stop_after=None,
        random_state=None,
        n_jobs=None,
    ):
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.components = components
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.epochs = epochs
        self.batch_size = batch_size
        self.scaling = scaling
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.stop_after = stop_after
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        validation=None,
        targets=None,
        progress=None,
        views=1,
        view_mean="features",
    ):
        """Train on feature rows.

        Parameters
        ----------
        X : array of shape (N, views * D)
            float16 stays float16 in memory; anything else becomes float32.
        y : array of shape (N,)
        sample_weight : array of shape (N,), optional
            A row of weight 0 counts as absent.
        validation : (X, y) or (X, y, sample_weight), optional
            Held-out rows for early stopping.
        targets : array of shape (N, C), optional
            Soft labels in the order of ``np.unique(y)``; rows sum to 1.
        progress : callable, optional
            ``progress(epoch, outcomes)``, see `icecore.heads.mlp.stack.fit_stack`.
        views : int, default 1
            Views in a row, one after the other. Each epoch sees every row in one of
            them, drawn anew; predictions take rows of one view, (N, D).
        view_mean : {"features", "probabilities", "first"}
            How held-out rows are predicted: see `ViewUse`.

        Returns
        -------
        self

        Raises
        ------
        HeadError
            Fewer than two classes, NaN or infinite features, settings out of range,
            or training diverged.
        """
        self._check_settings()
        X, codes, weights = self._check_training(X, y, sample_weight)
        if views < 1 or self.n_features_in_ % views:
            raise HeadError(
                f"rows of {self.n_features_in_} numbers are not made of {views} equal views",
                "give the number of views that the features were extracted with",
            )
        self.n_features_in_ //= views
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        soft = self._targets(codes, targets)
        rows = np.flatnonzero(weights)
        components = self.used_components(len(rows), self.n_features_in_)
        picked = None
        if validation is None:
            picked = self._held_out_rows(codes, rows, seed)
            rows = rows if picked is None else np.setdiff1d(rows, picked)
        inputs = prepare_inputs(self, X, rows, weights, components, seed, views)
        held_out = None
        if validation is not None:
            held_out = self._validation(inputs, validation, view_mean)
        elif picked is not None:
            held_out = Validation(inputs.features, soft, picked, weights[picked], views, view_mean)
        outcome = fit_stack(
            inputs.features,
            soft,
            [self.member(seed, len(rows))],
            rows=rows,
            weights=[weights],
            validation=[held_out],
            scaling=inputs.scaling,
            batch_size=self.batch(len(rows)),
            seed=seed,
            lanes=self.n_jobs,
            progress=progress,
            views=views,
        )[0]
        outcome.layers = inputs.fold(outcome.layers)
        return self.adopt(outcome)

    def adopt(self, outcome) -> MLPClassifier:
        """Take over what `fit_stack` gave for this head's settings."""
        self.layers_ = outcome.layers
        self.best_epoch_, self.best_loss_ = outcome.best_epoch, outcome.best_loss
        self.losses_, self.train_losses_ = outcome.losses, outcome.train_losses
        self.n_iter_ = len(outcome.train_losses)
        self.interrupted_ = outcome.stopped == "interrupted"
        return self

    def used_components(self, rows: int, columns: int) -> int | None:
        """Return how many components stand for the features in training, None for none."""
        wanted = self.components
        if wanted == "auto":
            wanted = _COMPONENTS if rows > _MANY_ROWS else None
        return wanted if wanted is not None and wanted < columns else None

    def batch(self, rows: int) -> int:
        """Return the batch size for so many training rows."""
        return self.batch_size or int(np.clip(rows // 20, 16, 1024))

    def schedule(self, rows: int) -> int:
        """Return the epochs of the schedule for so many training rows."""
        batches = max(1, round(rows / self.batch(rows)))
        return self.epochs or max(_EPOCHS, -(-_STEPS // batches))

    def member(self, seed: int, rows: int) -> Member:
        """Return these settings for the stacked trainer and so many training rows."""
        return Member(
            width=self.width,
            depth=self.depth,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            label_smoothing=self.label_smoothing,
            epochs=self.schedule(rows),
            stop_after=self.stop_after,
            patience=self.patience,
            seed=seed,
        )

    def predict_proba(self, X):
        """Return class probabilities, float64 of shape (N, C), columns as in `classes_`."""
        X = self._check_features(X)
        with Lanes(X.shape[1], self.n_jobs) as lanes:
            product = wide_product(lanes, X, None, self.layers_[0][0])
            return softmax(predict_logits(product, self.layers_).astype(np.float64))

    def _targets(self, codes: np.ndarray, targets) -> np.ndarray:
        if targets is None:
            return np.eye(len(self.classes_), dtype=np.float32)[codes]
        targets = np.ascontiguousarray(targets, np.float32)
        shape = (len(codes), len(self.classes_))
        if targets.shape != shape or not np.allclose(targets.sum(axis=1), 1, atol=1e-4):
            raise HeadError(
                f"targets have shape {targets.shape}",
                f"give soft labels of shape {shape} whose rows sum to 1",
            )
        return targets

    def _validation(self, inputs: Inputs, given, view_mean: str) -> Validation:
        X = self._check_features(one_view_in_a_row(np.asarray(given[0]), inputs.views))
        X = inputs.like(X.reshape(len(given[0]), -1), self.n_jobs)
        held = np.eye(len(self.classes_), dtype=np.float32)[self._encode(given[1])]
        return Validation(
            X, held, None, given[2] if len(given) > 2 else None, inputs.views, view_mean
        )

    def _held_out_rows(self, codes, rows, seed) -> np.ndarray | None:
        """Return the rows for early stopping, None where there are too few."""
        if not self.early_stopping:
            return None
        picked = stratified_part(codes, rows, self.validation_fraction, seed)
        left = np.bincount(np.delete(codes, picked), minlength=len(self.classes_))
        return None if len(picked) < FEWEST_HELD_OUT or left.min() == 0 else picked

    def _check_settings(self) -> None:
        wrong = [
            f"{name}={value!r} ({what})"
            for name, value, fits, what in (
                ("width", self.width, _is_count(self.width), "a whole number from 1"),
                ("depth", self.depth, self.depth in (1, 2), "1 or 2"),
                ("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0"),
                ("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more"),
                (
                    "components",
                    self.components,
                    self.components == "auto" or _is_count(self.components, True),
                    "'auto', None or a whole number from 1",
                ),
                *(
                    (name, getattr(self, name), 0 <= getattr(self, name) < 1, "from 0 to below 1")
                    for name in (
                        "dropout",
                        "input_dropout",
                        "label_smoothing",
                        "validation_fraction",
                    )
                ),
                *(
                    (name, getattr(self, name), _is_count(getattr(self, name), True), "from 1")
                    for name in ("epochs", "batch_size", "patience", "stop_after", "n_jobs")
                ),
            )
            if not fits
        ]
        if wrong:
            raise HeadError(
                f"{len(wrong)} settings of the MLP are out of range: {'; '.join(wrong)}",
                "the allowed values are in brackets",
            )

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {}
        for number, (matrix, bias) in enumerate(self.layers_, start=1):
            arrays[f"W{number}"], arrays[f"b{number}"] = matrix, bias
        loss = float(self.best_loss_)
        fields = {
            "best_epoch": int(self.best_epoch_),
            "best_loss": loss if np.isfinite(loss) else None,
            "losses": [float(v) for v in self.losses_],
            "train_losses": [float(v) for v in self.train_losses_],
            "interrupted": self.interrupted_,
        }
        return fields, arrays

    def _restore(self, fields: dict[str, Any], files: HeadFiles) -> None:
        self._check_settings()
        sizes = [files.features, *[self.width] * self.depth, len(files.classes)]
        shapes: dict[str, tuple[int | None, ...]] = {}
        for number, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), 1):
            shapes[f"W{number}"], shapes[f"b{number}"] = (fan_in, fan_out), (fan_out,)
        arrays = files.arrays(shapes)
        self.layers_ = [(arrays[f"W{n}"], arrays[f"b{n}"]) for n in range(1, len(sizes))]
        self.best_epoch_ = files.field(fields, "best_epoch", int)
        loss = fields.get("best_loss")
        self.best_loss_ = float(loss) if isinstance(loss, (int, float)) else float("nan")
        self.losses_ = files.field(fields, "losses", list)
        self.train_losses_ = files.field(fields, "train_losses", list)
        self.n_iter_ = len(self.train_losses_)
        self.interrupted_ = bool(fields.get("interrupted", False))


def _is_count(value, optional: bool = False) -> bool:
    if value is None:
        return optional
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1
