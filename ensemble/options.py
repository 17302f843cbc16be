"""Everything that can be asked of a blend, checked in one place."""

import dataclasses
import os
import re
from collections.abc import Callable, Sequence

from ..core.arguments import require_types
from ..core.errors import ProbabilityError, RunError
from ..runs import MENDINGS
from .metrics import METRICS, Metric, get_metric

ANSWERS = ("recommended", "clean", "given", "tuned", "average")
MEANS = ("arithmetic", "geometric")
STACKERS = ("logistic", "lightgbm")
# The weights are equal to a millionth long before.
LARGEST_L2 = 1e6


def require_answer(answer: str | None) -> None:
    """Refuse what is no answer of a blend; None stands for the one that was saved."""
    if answer is not None and answer not in ANSWERS:
        raise RunError(f"there is no answer '{answer}'", f"choose {', '.join(ANSWERS)}")


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclasses.dataclass(frozen=True)
class BlendOptions:
    """What to tune for, what kind of average, and what it may cost.

    Attributes
    ----------
    metric : str, Metric or callable
        What to tune for: a name in `icecore.ensemble.METRICS`, or ``f(y, probabilities)`` of
        which more is better.
    mean : {"arithmetic", "geometric"}
        Average probabilities, or log-probabilities followed by a softmax.
    l2 : float
        Pull to equal weights: adds ``l2 * sum((w - 1/M)**2)`` to the log-loss.
    upper : float
        Largest weight of one model (log-loss only).
    calibrate : bool
        Calibrate the recommended answer where it helps on rows held out of that, and log-loss is
        tuned for: see `icecore.ensemble.Calibration`.
    groups : str
        Class groups with weights of their own: ``"a,b;c"``, or ``each``; empty for none.
    backbones_max, max_size, max_latency : float, optional
        Budgets: a number of networks, their bytes (or a text like ``600MB``), milliseconds for
        one image. They hold for every answer, and for all tasks together.
    costs : path-like, optional
        A table for `read_costs`; a run's own records are used without it.
    share : bool
        One set of tuned weights for all tasks (log-loss, arithmetic): the mean of the tasks'
        log-losses is minimised. What is recommended is decided task by task.
    honest : bool
        Estimate on rows that no choice has seen, with intervals.
    stacking : sequence of str
        Stackers to compare with: ``logistic``, ``lightgbm``.
    align : bool
        Make probability files of unequal ids or classes fit instead of refusing them.
    mend : {"refuse", "renormalise", "softmax"}
        What to do with rows of files that are no probabilities, see `read_tables`.
    seed : int
        Seed for searches that are not convex, folds and draws.

    Raises
    ------
    ProbabilityError
        Options are out of range or do not go together; all faults are named at once.
    """

    metric: str | Metric | Callable[..., float] = "log_loss"
    mean: str = "arithmetic"
    l2: float = 0.0
    upper: float = 1.0
    calibrate: bool = True
    groups: str = ""
    backbones_max: int | None = None
    max_size: float | str | None = None
    max_latency: float | None = None
    costs: str | os.PathLike | None = None
    share: bool = False
    honest: bool = True
    stacking: Sequence[str] = ()
    align: bool = False
    mend: str = "refuse"
    seed: int = 0

    def __post_init__(self) -> None:
        require_types(self)
        if isinstance(self.max_size, str):
            object.__setattr__(self, "max_size", parse_size(self.max_size))
        object.__setattr__(self, "stacking", tuple(self.stacking))
        faults = [*self._out_of_range(), *self._at_odds()]
        if faults:
            raise ProbabilityError("; ".join(faults), "change these options of the blend")

    @property
    def budgets(self) -> dict[str, float]:
        """Budgets that were given, by the kind of cost."""
        named = {
            "networks": self.backbones_max,
            "size": self.max_size,
            "latency": self.max_latency,
        }
        return {kind: float(limit) for kind, limit in named.items() if limit is not None}

    @property
    def convex(self) -> bool:
        """Whether the weights are tuned for log-loss."""
        return get_metric(self.metric).name == "log_loss"

    def _out_of_range(self) -> list[str]:
        faults = []
        known = callable(self.metric) or isinstance(self.metric, Metric)
        if not known and self.metric not in METRICS:
            faults.append(f"unknown metric '{self.metric}': known are {', '.join(METRICS)}")
        for name, allowed in (("mean", MEANS), ("mend", MENDINGS)):
            if getattr(self, name) not in allowed:
                faults.append(f"{name} is '{getattr(self, name)}', not one of {', '.join(allowed)}")
        unknown = [kind for kind in self.stacking if kind not in STACKERS]
        if unknown:
            faults.append(f"unknown stacking '{unknown[0]}': known are {', '.join(STACKERS)}")
        if not 0 <= self.l2 <= LARGEST_L2:
            faults.append(f"l2 is {self.l2}, not from 0 to {LARGEST_L2:g}")
        if not 0 < self.upper <= 1:
            faults.append(f"upper is {self.upper}, not above 0 and at most 1")
        for kind, limit in self.budgets.items():
            if not limit > 0:
                faults.append(f"the budget of {kind} is {limit}, not above 0")
        if self.seed < 0:
            faults.append(f"seed is {self.seed}, not 0 or more")
        return faults

    def _at_odds(self) -> list[str]:
        plain = not callable(self.metric) and self.metric == "log_loss"
        plain |= isinstance(self.metric, Metric) and self.metric.name == "log_loss"
        faults = []
        if not plain and (self.l2 or self.upper != 1):
            faults.append("l2 and upper go with the metric log_loss only")
        if self.groups and not (plain and self.mean == "arithmetic"):
            faults.append("groups go with log_loss and the arithmetic mean only")
        if self.share and not (plain and self.mean == "arithmetic"):
            faults.append("shared weights go with log_loss and the arithmetic mean only")
        if self.share and (self.budgets or self.groups):
            faults.append("shared weights go without budgets and groups")
        return faults


def parse_size(text: str) -> float:
    """Return the bytes that a text like ``600MB`` or ``1.5 GiB`` means.

    >>> parse_size("600MB")
    600000000.0
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*", text)
    try:
        number, unit = found.groups() if found else ("", "")
        return float(number) * _UNITS[unit.lower()]
    except (KeyError, ValueError):
        raise ProbabilityError(
            f"'{text}' is not a size", "give a number and a unit, as in 600MB or 1.5GiB"
        ) from None
