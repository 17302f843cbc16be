"""An honest estimate: every choice made on tuning rows is scored on rows it never saw.

Where there are labelled test rows, weights and the choice of the best single model come
from all tuning rows and are scored on the test rows. Where there are none, nested
cross-validation takes their place: for each of five folds everything is chosen anew on
the other four, and the held-out answers of all folds are scored together.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold

from ..core.errors import ProbabilityError
from .joining.join import TEST, TUNING, TaskData
from .metrics import METRICS, Metric, get_metric
from .resampling import Difference, bootstrap_interval, paired_difference
from .weighting.averaging import combine

__all__ = ["Estimate", "estimate", "held_out_tables"]

SHOWN = ("log_loss", "accuracy", "map")
TUNED, AVERAGE, SINGLE = "tuned", "average", "best single"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Scores on rows that no choice has seen.

    Attributes
    ----------
    source : str
        Where the rows come from: the test split or nested cross-validation.
    rows : int
    metric : str
        What was tuned for and is compared.
    scores : dict
        ``{answer: {metric: (value, low, high)}}`` with 95% bootstrap intervals; answers are
        ``tuned``, ``average``, ``best single`` and every further one that was asked for.
    difference : Difference
        Tuned less plain average in `metric`; more than 0 means tuned is better.
    recommended : str
        ``tuned`` if it beats the plain average beyond noise, else ``average``.
    """

    source: str
    rows: int
    metric: str
    scores: dict[str, dict[str, tuple[float, float, float]]]
    difference: Difference
    recommended: str

    @property
    def sentence(self) -> str:
        """What follows from the estimate, in one line."""
        gap = self.difference
        interval = (
            f"gain {gap.value:+.4f}, 95% interval {gap.low:+.4f} to {gap.high:+.4f}, paired test "
            f"p = {gap.p:.2g}"
            if np.isfinite(gap.low)
            else f"gain {gap.value:+.4f}, too many rows for an interval"
        )
        name = METRICS[self.metric].title if self.metric in METRICS else self.metric
        where = f"{self.rows} {'test rows' if self.source == 'test split' else 'held-out rows'}"
        pair = [self.scores[answer][self.metric][0] for answer in (TUNED, AVERAGE)]
        what = f"{name} {pair[0]:.4f} against {pair[1]:.4f} on {where} ({interval})"
        if self.recommended == TUNED:
            return f"the tuned weights beat the plain average: {what}; they are recommended"
        return (
            f"the tuned weights do not beat the plain average beyond noise: {what}; the plain "
            "average is recommended"
        )

    def to_json(self) -> dict:
        """Return the estimate as plain data; values that are not defined are None."""
        scores = {
            answer: {
                metric: dict(zip(("value", "low", "high"), map(_plain, values)))
                for metric, values in metrics.items()
            }
            for answer, metrics in self.scores.items()
        }
        difference = {k: _plain(v) for k, v in dataclasses.asdict(self.difference).items()}
        return {
            "source": self.source,
            "rows": self.rows,
            "metric": self.metric,
            "scores": scores,
            "tuned_minus_average": difference,
            "recommended": self.recommended,
            "sentence": self.sentence,
        }


def estimate(
    data: TaskData,
    blender,
    others: dict[str, object] | None = None,
    source: str = "auto",
    folds: int = 5,
    seed: int = 0,
) -> Estimate:
    """Score the blender, the plain average and the best single model honestly.

    Parameters
    ----------
    data : TaskData
    blender : Blender
        Unfitted, or fitted (it is cloned).
    others : dict of str to estimator, optional
        Further answers to compare, with `fit` and `predict_proba` as `Blender` has them.
    source : {"auto", "test split", "nested cross-validation"}
        Which rows to score on. ``auto`` takes the test split if it has labels.
    folds : int
        Of the nested cross-validation.
    seed : int
        Of folds, draws and swaps.
    """
    if source == "auto":
        source = "test split" if len(data.rows(TEST)) else "nested cross-validation"
    answers = {TUNED: blender, **(others or {})}
    metric = get_metric(blender.metric)
    rows, tables = held_out_tables(data, answers, metric, source, folds, seed)
    y, letters = data.y[rows], data.letters_of(rows)
    shown = [METRICS[name] for name in SHOWN if name != metric.name] + [metric]
    scores = {
        answer: {m.name: _with_interval(m, y, table, letters, seed) for m in shown}
        for answer, table in tables.items()
    }
    difference = paired_difference(metric, y, tables[TUNED], tables[AVERAGE], letters, seed)
    beyond = difference.low > 0 if np.isfinite(difference.low) else difference.value > 0
    return Estimate(
        source, len(rows), metric.name, scores, difference, TUNED if beyond else AVERAGE
    )


def held_out_tables(
    data: TaskData, answers: dict[str, object], metric: Metric, source: str, folds: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return rows, and each answer's probabilities of them when it never saw them.

    Returns
    -------
    rows : ndarray of int, shape (R,)
    tables : dict of str to ndarray of shape (R, C)
    """
    tuning = data.rows(TUNING)
    if source == "test split":
        rows = data.rows(TEST)
        if not len(rows):
            raise ProbabilityError(
                "there are no labelled test rows", "use nested cross-validation instead"
            )
        return rows, _answer(data, answers, metric, tuning, rows)
    if len(tuning) < 2:
        raise ProbabilityError(
            f"nested cross-validation needs 2 tuning rows, there are {len(tuning)}",
            "give more rows",
        )
    parts = []
    for learn, score in _splits(data.y[tuning], folds, seed):
        held = _answer(data, answers, metric, tuning[learn], tuning[score])
        parts.append((tuning[score], held))
    rows = np.concatenate([rows for rows, _ in parts])
    order = np.argsort(rows, kind="stable")
    names = parts[0][1]
    return rows[order], {
        name: np.concatenate([held[name] for _, held in parts])[order] for name in names
    }


def _answer(
    data: TaskData, answers: dict, metric: Metric, learn: np.ndarray, score: np.ndarray
) -> dict[str, np.ndarray]:
    known, unseen = data.probabilities[:, learn], data.probabilities[:, score]
    y, letters = data.y[learn], data.letters_of(learn)
    models = len(known)
    alone = [metric.score(y, table, letters) for table in known]
    tables = {}
    for name, answer in answers.items():
        fitted = clone(answer).fit(known, y, letters)
        tables[name] = fitted.predict_proba(unseen)
    tables[AVERAGE] = combine(
        unseen, np.full(models, 1 / models), getattr(answers[TUNED], "mean", "arithmetic")
    )
    tables[SINGLE] = unseen[int(np.nanargmax(alone))]
    return tables


def _splits(y: np.ndarray, folds: int, seed: int):
    folds = min(folds, len(y))
    rarest = np.bincount(y)[np.unique(y)].min()
    # Classes rarer than the folds cannot be spread over all of them.
    kind = StratifiedKFold if rarest >= folds else KFold
    return kind(folds, shuffle=True, random_state=seed).split(y[:, None], y)


def _with_interval(metric, y, table, letters, seed) -> tuple[float, float, float]:
    value = metric.score(y, table, letters) * (1 if metric.higher_is_better else -1)
    return (value, *bootstrap_interval(metric, y, table, letters, seed))


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
