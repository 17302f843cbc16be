"""An honest estimate: every choice made on tuning rows is scored on rows it never saw.

Where there are labelled test rows, weights, shrinkage, the choice of what to recommend and of
the best single model come from all tuning rows and are scored on the test rows. Where there are
none, nested cross-validation takes their place (see `held_out`), and the answers of all folds are
scored together. Equal images are drawn together for the intervals.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.blas import with_one_thread
from ..core.errors import counted
from .held_out import AVERAGE, PRIOR, RECOMMENDED, held_out
from .joining.join import TEST, TUNING, TaskData
from .metrics import METRICS, get_metric, title_of
from .resampling import Difference, Scored, bootstrap_interval, paired_difference

SHOWN = ("log_loss", "accuracy", "map")
_APART = " that were held out of every choice"


@dataclasses.dataclass(frozen=True)
class Learning:
    """What the run says that more rows bring to its heads.

    Attributes
    ----------
    gain : float
        By how much heads of all rows are expected to be better in log-loss than those that
        predicted the out-of-fold rows.
    excess : float
        How far their log-loss is above what endless rows would bring.
    """

    gain: float = 0.0
    excess: float = 0.0

    def of_all_rows(
        self, value: float, low: float, high: float, rows: int
    ) -> tuple[float, float, float]:
        """Return a log-loss of out-of-fold rows and its interval for heads of all rows.

        A bootstrap of rows does not draw what heads learn from. Let p parameters be fitted to n
        rows. What that costs is ``e = p / 2n`` on average, half of a chi-squared number over n,
        and it lowers the loss of out-of-fold rows where it raises that of fresh ones (Stone
        1977, "An asymptotic equivalence of choice of model by cross-validation and Akaike's
        criterion"). So their difference has the variance ``2p / n**2 = 4e / n`` more.
        """
        ends = value, *_wider(value, low, high, 4 * self.excess / rows)
        value, low, high = (float(max(end - self.gain, 0)) for end in ends)
        return value, low, high


NOTHING_KNOWN = Learning()


def _wider(value: float, low: float, high: float, variance: float) -> tuple[float, float]:
    """Return the ends of a 95% interval of `value` to which a variance is added."""
    error = (high - low) / (2 * 1.96)
    factor = float(np.sqrt(1 + variance / error**2)) if error > 0 else 1.0
    return value - factor * (value - low), value + factor * (high - value)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Scores on rows that no choice has seen.

    Attributes
    ----------
    source : str
        Where the rows come from: ``test split`` or ``nested cross-validation``.
    rows : int
    metric : str
        What was tuned for and is compared.
    seen : dict of str to str
        For each answer, which rows it was chosen on and which rows score it.
    scores : dict
        ``{answer: {metric: (value, low, high)}}`` with 95% bootstrap intervals; answers are
        ``recommended``, ``tuned``, ``average``, ``best single``, ``class shares`` (the share
        of each class among the tuning rows, for every row alike) and what else was asked for.
    difference : Difference
        Recommended less plain average in `metric`; more than 0 means recommended is better.
    over_shares : dict of str to Difference
        Recommended less class shares, by metric.
    rows_text : str
        The rows in words, as ``341 test rows``.
    learning : Learning
        What the log-losses of fitted answers were lowered by, and why their intervals are wider.
    """

    source: str
    rows: int
    metric: str
    seen: dict[str, str]
    scores: dict[str, dict[str, tuple[float, float, float]]]
    difference: Difference
    over_shares: dict[str, Difference]
    rows_text: str
    learning: Learning = NOTHING_KNOWN

    @property
    def learnt(self) -> bool:
        """Whether the recommended answer beats the class shares beyond noise in any metric."""
        return any(_beyond(gap) > 0 for gap in self.over_shares.values())

    @property
    def gain_text(self) -> str:
        """Why log-losses are told lower than they were measured; empty if they are not."""
        if not self.learning.gain:
            return ""
        return (
            f"these log-losses are {self.learning.gain:.4f} lower than measured: the final heads "
            "learn from all rows, and are expected to gain that"
        )

    @property
    def sentence(self) -> str:
        """What follows from the estimate, in one line."""
        return self.sentence_on(self.rows_text)

    def sentence_on(self, rows: str) -> str:
        """Say what follows from the estimate, where its rows are called `rows`."""
        # Held-out rows judge answers that were made without them, not the very one that is saved.
        subject = (
            "the recommended answer"
            if self.source == "test split"
            else "what would be recommended without these rows"
        )
        if not self.learnt:
            gaps = " and ".join(
                f"{title_of(name)} {_interval(gap)}" for name, gap in self.over_shares.items()
            )
            return (
                f"nothing was learnt that shows on {rows}: {subject} is not "
                f"better beyond noise than giving every image the class shares of the tuning rows "
                f"({gaps})"
            )
        ours, theirs = (self.scores[answer][self.metric][0] for answer in (RECOMMENDED, AVERAGE))
        what = f"{title_of(self.metric)} {ours:.4f} against {theirs:.4f} on {rows}"
        what += f" ({_interval(self.difference)})"
        verdict = {
            1: "beats the plain average beyond noise",
            0: "does not differ from the plain average beyond noise",
            -1: "is worse than the plain average beyond noise",
        }[_beyond(self.difference)]
        if self.difference.value == 0 and self.difference.low == 0 == self.difference.high:
            return (
                f"{subject} gives what the plain average gives: "
                f"{title_of(self.metric)} {ours:.4f} on {rows}"
            )
        return f"{subject} {verdict}: {what}"

    def to_json(self) -> dict:
        """Return the estimate as plain data; values that are not defined are None."""
        scores = {
            answer: {
                metric: dict(zip(("value", "low", "high"), map(_plain, values)))
                for metric, values in metrics.items()
            }
            for answer, metrics in self.scores.items()
        }
        return {
            "source": self.source,
            "rows": self.rows,
            "metric": self.metric,
            "learning": dataclasses.asdict(self.learning),
            "seen": self.seen,
            "scores": scores,
            "recommended_minus_average": _difference_json(self.difference),
            "recommended_minus_class_shares": {
                name: _difference_json(gap) for name, gap in self.over_shares.items()
            },
            "sentence": self.sentence,
        }


@with_one_thread
def estimate(
    data: TaskData,
    blender,
    others: Mapping[str, Any] | None = None,
    source: str = "auto",
    kind: str = "tuning",
    learning: Learning = NOTHING_KNOWN,
) -> Estimate:
    """Score the recommended answer, the tuned weights, the average and the best single model.

    Parameters
    ----------
    data : TaskData
    blender : Blender
        Unfitted, or fitted (it is cloned); its options hold the metric and the seed.
    others : dict of str to estimator, optional
        Further answers to compare, with `fit` and `predict_proba` as `Blender` has them.
    source : {"auto", "test split", "nested cross-validation"}
        Which rows to score on. ``auto`` takes the test split if it has labels.
    kind : str
        What the tuning rows are, in words: ``out-of-fold``, ``validation``, or ``tuning``.
    learning : Learning
        Of the heads that predicted the out-of-fold rows: nested log-losses and their intervals,
        but those of the class shares, are those of heads of all rows.
    """
    if source == "auto":
        source = "test split" if len(data.rows(TEST)) else "nested cross-validation"
    options = blender.options
    held = held_out(data, blender, others, source)
    rows, tables, ours = held.rows, held.tables, held.tables[RECOMMENDED]
    metric = get_metric(options.metric)
    scored = Scored(metric, data.y[rows], data.letters_of(rows), data.images_of(rows), options.seed)
    scores = {answer: _scores(scored, table) for answer, table in tables.items()}
    tuning = len(data.rows(TUNING))
    nested = source != "test split"
    # Each head gains a Kth of its loss at most, and their blend a half of its own: K is 2 or more.
    half = min(own["log_loss"][0] for own in scores.values()) / 2
    learning = dataclasses.replace(learning, gain=min(learning.gain, half))
    learning = learning if nested else NOTHING_KNOWN
    images = int(scored.images.max()) + 1
    for answer in tables.keys() - {PRIOR}:
        own = scores[answer]
        both = dataclasses.replace(learning, excess=learning.excess + held.excess.get(answer, 0.0))
        own["log_loss"] = both.of_all_rows(*own["log_loss"], images)
    where = counted(len(rows), f"{kind if nested else 'test'} row")
    variance = 4 * held.excess.get(RECOMMENDED, 0.0) / images
    over_shares = {
        one.name: _difference(
            dataclasses.replace(scored, metric=one), ours, tables[PRIOR], variance
        )
        for one in (METRICS["log_loss"], METRICS["accuracy"])
    }
    return Estimate(
        source,
        len(rows),
        metric.name,
        {answer: _seen(answer, tuning, kind, where, held.parts) for answer in tables},
        scores,
        _difference(scored, ours, tables[AVERAGE], variance),
        over_shares,
        where + (f"{_APART}, one of {held.parts} parts at a time" if nested else ""),
        learning,
    )


def _difference(
    scored: Scored, ours: np.ndarray, theirs: np.ndarray, variance: float
) -> Difference:
    """Compare two answers; that of choosing by other rows is a variance more of log-loss."""
    gap = paired_difference(scored, ours, theirs)
    if scored.metric.name != "log_loss":
        return gap
    low, high = _wider(gap.value, gap.low, gap.high, variance)
    return dataclasses.replace(gap, low=low, high=high)


def _seen(answer: str, tuning: int, kind: str, where: str, parts: int) -> str:
    if parts:
        chosen = (
            f"chosen on {parts - 1} of {parts} parts of {tuning} {kind} rows, scored on the part "
            "left out"
        )
        return chosen if answer != AVERAGE else f"nothing is chosen; scored on {where}"
    if answer == AVERAGE:
        return f"nothing is chosen; scored on {where}"
    return f"chosen on {tuning} {kind} rows, scored on {where}"


def _scores(scored: Scored, table: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """Return the metrics that are always shown, and that of the blend, with their intervals."""
    shown = {m.name: m for m in (*(METRICS[name] for name in SHOWN), scored.metric)}
    return {
        name: _with_interval(dataclasses.replace(scored, metric=one), table)
        for name, one in shown.items()
    }


def _with_interval(scored: Scored, table: np.ndarray) -> tuple[float, float, float]:
    value = scored.metric.value(scored.y, table, scored.letters)
    return (value, *bootstrap_interval(scored, table))


def _beyond(gap: Difference) -> int:
    """Return 1 or -1 where the difference is beyond noise, else 0."""
    if not np.isfinite(gap.low):
        return int(np.sign(gap.value)) if np.isfinite(gap.value) else 0
    return int(gap.low > 0) - int(gap.high < 0)


def _interval(gap: Difference) -> str:
    if not np.isfinite(gap.low):
        return f"gain {gap.value:+.4f}, too many rows for an interval"
    text = (
        f"gain {gap.value:+.4f}, 95% interval {gap.low:+.4f} to {gap.high:+.4f}, paired test "
        f"p = {gap.p:.2g}"
    )
    if _beyond(gap) == 0 and gap.p < 0.05:
        # The interval imagines a mistake more, and other rows to choose by; the test does not.
        text += " of these rows alone: a mistake more, or other rows to choose by, could undo it"
    return text


def _difference_json(gap: Difference) -> dict:
    return {name: _plain(value) for name, value in dataclasses.asdict(gap).items()}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
