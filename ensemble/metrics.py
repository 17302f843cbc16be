"""What a table of probabilities is worth: one function for each metric.

All take the true classes `y` (N,) as column numbers and the probabilities (N, C);
the FashionAI ones take the contest's letters instead of `y`. Three different
numbers are called "AP" in public code: the area under a precision-recall curve
(`macro_map`, `micro_map`), FashionAI's mean precision over confidence thresholds
(`fashionai_ap`), and the mean reciprocal rank of the Gluon sample (`mrr`). The
name of the metric is stored with every number.

Decided here, once: a tie for the largest probability goes to the lowest class
number, except in `mrr`, which keeps the rule of the code it comes from; classes
without a row are left out of averages over classes; a value that is undefined
is NaN, never an error; no rows at all is an error.
"""

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Sequence

import numpy as np

from ..core.errors import ProbabilityError, counted

# A true class with less than this counts as this: one impossible row costs 34.5 nats, not infinity.
EPSILON = 1e-15
# Intervals of the expected calibration error.
_BINS = 15


def accuracy(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Share of rows whose largest probability is the true class: mean(argmax p = y)."""
    y, table = _checked(y, probabilities)
    return float(np.mean(table.argmax(axis=1) == y))


def top_k_accuracy(y: np.ndarray, probabilities: np.ndarray, k: int = 5) -> float:
    """Share of rows whose true class is among the `k` most probable.

    Of equal probabilities the lower class number comes first, so that ``k=1``
    is `accuracy`. With `k` at or above the number of classes the answer is 1.
    """
    y, table = _checked(y, probabilities)
    if k < 1:
        raise ProbabilityError(f"top-k needs k of 1 or more, not {k}", "give k=5, for example")
    own = table[np.arange(len(y)), y][:, None]
    before = np.arange(table.shape[1])[None, :] < y[:, None]
    rank = ((table > own) | ((table == own) & before)).sum(axis=1)
    return float(np.mean(rank < k))


def log_loss(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -log p(true class), in nats.

    Probabilities below `EPSILON` (1e-15) count as `EPSILON`.
    """
    y, table = _checked(y, probabilities)
    # 0 less, not a minus in front: a loss of nothing is no "-0.0000".
    return float(0 - np.mean(np.log(np.clip(table[np.arange(len(y)), y], EPSILON, 1))))


def brier(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over rows of sum_c (p_c - [c = y])^2, from 0 to 2 (Brier 1950)."""
    y, table = _checked(y, probabilities)
    own = table[np.arange(len(y)), y]
    return float(np.mean((table**2).sum(axis=1) - 2 * own + 1))


def ece(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the expected calibration error of the top class (Guo et al. 2017).

    Rows fall into 15 equal intervals ``(a, b]`` of their largest probability; the
    answer is the mean over rows of |accuracy - mean confidence| of their interval.
    """
    y, table = _checked(y, probabilities)
    confidence = table.max(axis=1)
    correct = table.argmax(axis=1) == y
    index = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    difference = np.bincount(index, weights=correct - confidence, minlength=_BINS)
    return float(np.abs(difference).sum() / len(y))


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Area under one precision-recall curve: sum_n (R_n - R_(n-1)) P_n.

    Equal scores form one threshold, as in scikit-learn's `average_precision_score`.
    NaN if there is no positive row.

    Parameters
    ----------
    positive : ndarray of bool, shape (N,)
    scores : ndarray of shape (N,)
    """
    positive = np.asarray(positive, dtype=bool)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    if not len(hits) or hits[-1] == 0:
        return float("nan")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    precision = hits[ends] / (ends + 1)
    return float(np.sum(np.diff(hits[ends], prepend=0) * precision) / hits[-1])


def macro_map(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over classes of `average_precision` of class against rest.

    Classes without a row are left out. Equals scikit-learn's
    ``average_precision_score(one_hot(y), p, average="macro")`` over the others.
    """
    y, table = _checked(y, probabilities)
    present = np.unique(y)
    table = table[:, present]
    order = np.argsort(-table, axis=0, kind="stable")
    ordered = np.take_along_axis(table, order, axis=0)
    positive = y[order] == present
    hits = np.cumsum(positive, axis=0)
    # Ties form one threshold: each row takes the precision at the end of its tie.
    last = np.full(ordered.shape, len(y) - 1)
    np.copyto(last[:-1], np.arange(len(y) - 1)[:, None], where=ordered[1:] != ordered[:-1])
    last = np.minimum.accumulate(last[::-1], axis=0)[::-1]
    precision = np.take_along_axis(hits, last, axis=0) / (last + 1)
    return float(((precision * positive).sum(axis=0) / hits[-1]).mean())


def macro_map_of_counts(y: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`macro_map` of many samples of the same rows, which are sorted only once.

    Parameters
    ----------
    y : ndarray of int, shape (N,)
    probabilities : ndarray of shape (N, C)
    counts : ndarray of int, shape (N, D)
        How often each sample has each row.

    Returns
    -------
    ndarray of shape (D,)
    """
    y, table = _checked(y, probabilities)
    total, classes = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
    for own in np.unique(y):
        order = np.argsort(-table[:, own], kind="stable")
        scores, positive = table[order, own], np.flatnonzero(y[order] == own)
        # Ties form one threshold: each positive row takes the precision at the end of its tie.
        ends = np.searchsorted(-scores, -scores[positive], side="right") - 1
        drawn = counts[order[positive]]
        seen = np.cumsum(counts[order], axis=0)[ends]
        hits = np.cumsum(drawn, axis=0)
        last = np.searchsorted(positive, ends, side="right") - 1
        gained = (drawn * (hits[last] / np.maximum(seen, 1))).sum(axis=0)
        present = hits[-1] > 0
        total[present] += gained[present] / hits[-1, present]
        classes += present
    return total / np.maximum(classes, 1)


def micro_map(y: np.ndarray, probabilities: np.ndarray) -> float:
    """`average_precision` over all (row, class) cells at once (scikit-learn's "micro")."""
    y, table = _checked(y, probabilities)
    return average_precision((np.arange(table.shape[1]) == y[:, None]).ravel(), table.ravel())


def mrr(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of 1 / rank of the true class: the "AP" of the Gluon FashionAI sample.

    That code ranks with ``argsort()[::-1]``, so that among equal probabilities the
    highest class number comes first; the same is done here.
    """
    y, table = _checked(y, probabilities)
    own = table[np.arange(len(y)), y][:, None]
    after = np.arange(table.shape[1])[None, :] > y[:, None]
    rank = 1 + ((table > own) | ((table == own) & after)).sum(axis=1)
    return float(np.mean(1 / rank))


def balanced_accuracy(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over the classes that have rows of the share predicted right."""
    y, table = _checked(y, probabilities)
    correct = np.bincount(y, weights=table.argmax(axis=1) == y, minlength=table.shape[1])
    count = np.bincount(y, minlength=table.shape[1])
    return float(np.mean(correct[count > 0] / count[count > 0]))


def macro_f1(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of 2 TP / (rows + predictions) over classes that have a row or a prediction."""
    y, table = _checked(y, probabilities)
    width = table.shape[1]
    predicted = table.argmax(axis=1)
    both = np.bincount(y[predicted == y], minlength=width)
    total = np.bincount(y, minlength=width) + np.bincount(predicted, minlength=width)
    return float(np.mean(2 * both[total > 0] / total[total > 0]))


def letter_codes(letters: Sequence[str] | np.ndarray, width: int) -> np.ndarray:
    """Turn FashionAI's letters into an array (N, C) of the bytes ``y``, ``m``, ``n``.

    Raises
    ------
    ProbabilityError
        A row has another number of letters than there are classes, or other letters.
    """
    if isinstance(letters, np.ndarray) and letters.ndim == 2:
        return letters
    wrong = [row for row in letters if len(row) != width or set(row) - set("ymn")]
    if wrong:
        raise ProbabilityError(
            f"{counted(len(wrong), 'row has', 'rows have')} the letters '{wrong[0]}' or the like "
            f"for {counted(width, 'class', 'classes')}",
            "give one letter of y, m, n for each class",
        )
    return np.frombuffer("".join(letters).encode(), dtype=np.uint8).reshape(-1, width)


def fashionai_curve(
    letters: Sequence[str] | np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision of the most confident rows, P(t), at the threshold of every row.

    With s the largest probability of a row and k its class,
    P(t) = #{s >= t, letter[k] = y} / #{s >= t, letter[k] in y, n}: a prediction that
    falls on an ``m`` is ignored. Where nothing but ``m`` is left, P(t) is NaN.

    Returns
    -------
    thresholds, precision : ndarray of shape (N,)
        Thresholds in falling order; rows with equal s have equal P.
    """
    table = np.asarray(probabilities, dtype=np.float64)
    codes = letter_codes(letters, table.shape[1])
    if not len(table):
        raise ProbabilityError("no rows to score", "give at least one row")
    top = table.argmax(axis=1)
    scores = table[np.arange(len(table)), top]
    found = codes[np.arange(len(table)), top]
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(found[order] == ord("y"))
    counted = np.cumsum(found[order] != ord("m"))
    # All rows of a tie belong to the threshold: take the counts at the end of the tie.
    ordered = scores[order]
    last = np.searchsorted(-ordered, -ordered, side="right") - 1
    with np.errstate(invalid="ignore"):
        precision = np.where(counted[last] > 0, right[last] / np.maximum(counted[last], 1), np.nan)
    return ordered, precision


def fashionai_ap(
    letters: Sequence[str] | np.ndarray, probabilities: np.ndarray, ties: str = "rows"
) -> float:
    """FashionAI's AP of one attribute: the mean of P(t) over all thresholds.

    The contest's text leaves ties open. ``ties="rows"`` takes one threshold for each
    row (equal ones count again), ``ties="distinct"`` each value once. Thresholds at
    which only predictions on an ``m`` are left have no precision and are left out;
    if there is no other, the answer is NaN.
    """
    if ties not in ("rows", "distinct"):
        raise ProbabilityError(f"unknown tie rule '{ties}'", "give 'rows' or 'distinct'")
    thresholds, precision = fashionai_curve(letters, probabilities)
    if ties == "distinct":
        precision = precision[np.append(True, thresholds[1:] != thresholds[:-1])]
    defined = precision[~np.isnan(precision)]
    return float(defined.mean()) if len(defined) else float("nan")


def fashionai_basic_precision(
    letters: Sequence[str] | np.ndarray, probabilities: np.ndarray
) -> float:
    """FashionAI's basic precision P(0): right predictions among those not on an ``m``."""
    return float(fashionai_curve(letters, probabilities)[1][-1])


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric that weights can be tuned for.

    Attributes
    ----------
    name, title : str
        Name in files and options; name for people.
    function : callable
        ``function(y, probabilities)``, or with letters in place of `y`.
    higher_is_better : bool
    uses_letters : bool
    """

    name: str
    title: str
    function: Callable[..., float]
    higher_is_better: bool = True
    uses_letters: bool = False

    def score(self, y, probabilities, letters=None) -> float:
        """Return the metric's value, turned so that more is better."""
        value = self.value(y, probabilities, letters)
        return value if self.higher_is_better else -value

    def value(self, y, probabilities, letters=None) -> float:
        """Return the metric as it counts."""
        if self.uses_letters and letters is None:
            raise ProbabilityError(
                f"the metric {self.name} needs FashionAI letters, but the labels have none",
                "give a table with letters, or choose accuracy, map or log_loss",
            )
        return self.function(letters if self.uses_letters else y, probabilities)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("log_loss", "log-loss", log_loss, higher_is_better=False),
        Metric("accuracy", "accuracy", accuracy),
        Metric("map", "mAP", macro_map),
        Metric("micro_map", "micro mAP", micro_map),
        Metric("mrr", "MRR", mrr),
        Metric("balanced_accuracy", "balanced accuracy", balanced_accuracy),
        Metric("macro_f1", "macro F1", macro_f1),
        Metric("brier", "Brier", brier, higher_is_better=False),
        Metric("ece", "ECE", ece, higher_is_better=False),
        Metric("top_5", "top-5 accuracy", top_k_accuracy),
        Metric("fashionai_ap", "FashionAI AP", fashionai_ap, uses_letters=True),
        Metric(
            "basic_precision",
            "FashionAI basic precision",
            fashionai_basic_precision,
            uses_letters=True,
        ),
    )
}


def get_metric(metric: str | Metric | Callable[..., float]) -> Metric:
    """Return the metric of that name; a callable ``f(y, probabilities)`` becomes one.

    Of a callable, more is better.
    """
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        name = getattr(metric, "__name__", "custom")
        return Metric(name, name, functools.partial(_own_value, metric, name))
    if metric not in METRICS:
        raise ProbabilityError(f"unknown metric '{metric}'", f"known are {', '.join(METRICS)}")
    return METRICS[metric]


def _own_value(metric: Callable[..., float], name: str, y, probabilities) -> float:
    # Copies: one that sorts or clips in place would change the rows that all is tuned on.
    found = metric(np.array(y), np.array(probabilities))
    if not (isinstance(found, numbers.Real) and math.isfinite(found)):
        raise ProbabilityError(
            f"the metric {name} gives {found!r:.40} for {counted(len(probabilities), 'row')}",
            "a metric takes the classes and the probabilities of rows, and gives one number",
        )
    return float(found)


def title_of(name: str) -> str:
    """Return what people call a metric; a function of the caller's own has its name alone."""
    return METRICS[name].title if name in METRICS else name


def _checked(y: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = np.asarray(probabilities)
    y = np.asarray(y)
    if table.ndim != 2 or y.shape != table.shape[:1]:
        raise ProbabilityError(
            f"{y.shape} labels do not fit probabilities of shape {table.shape}",
            "give y of shape (N,) and probabilities of shape (N, C)",
        )
    if not len(y):
        raise ProbabilityError("no rows to score", "give at least one row")
    if y.min() < 0 or y.max() >= table.shape[1]:
        raise ProbabilityError(
            f"labels from {y.min()} to {y.max()} do not fit "
            f"{counted(table.shape[1], 'class', 'classes')}",
            "labels are column numbers from 0",
        )
    return y, table
