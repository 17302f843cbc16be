"""How tasks are trained: folds, uncertain labels, rare classes, weights, search."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from ...core.arguments import require_types
from ...core.errors import HeadError, enumerate_some
from ...manifest import class_name
from ..folds import FEWEST_FOLDS

# Each of them fits every head again: more is a typo.
_MOST_REPEATS, _MOST_FOLDS, _MOST_SEARCHED = 1000, 1000, 10_000
# What no model by itself depends on.
_OF_THE_WHOLE = ("features", "heads", "overwrite", "group_labels", "allow_missing", "ray")


def _are_settings(given: Mapping) -> bool:
    return all(
        isinstance(some, Mapping) and all(isinstance(name, str) for name in (kind, *some))
        for kind, some in given.items()
    )


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """What is to be trained, and how.

    Attributes
    ----------
    features : sequence of str, optional
        Feature sets, those joined by ``+`` side by side; see `plan_models`.
    heads : sequence of str, optional
        Kinds of heads, see `HEAD_KINDS`; settings may follow, as in ``mlp,width=128``, and a
        kind may be there with several.
    overwrite : bool
        Replace an earlier run. Heads of it that this user fitted are taken over, not fitted
        again, where nothing they depend on changed.
    validation : {"folds", "holdout"}
        Which rows weights are tuned on. "folds": all labelled rows, training and validation
        split alike, each predicted by heads that did not see its fold. "holdout": the
        validation split, predicted by heads that know the training split alone (without a
        validation split: "folds").
    folds : int
    repeats : int
        How often the rows are dealt into folds anew; the out-of-fold probabilities
        of the repeats are averaged.
    seed : int
    settings : mapping of head kind to its settings
    maybe : float
        Weight of FashionAI's letter m in the targets: 0 ignores it, 1 makes it a full label
        beside the y, between them it is a soft label. (Trees and foreign classifiers take
        the likeliest label.)
    min_class_count : int
        Classes with fewer training images are dropped from training; they come
        back in the output columns with probability 0.
    drop_classes : sequence of str
        Classes to drop from training alike, as ``TASK=NAME``.
    allow_missing : bool
        Train also where more than a tenth of the images have no features.
    class_weight : {None, "balanced"}
        "balanced" gives every class the same total weight in the fits of heads that learn
        by log-loss or least squares; intercepts are fitted to the classes as they occur.
    refit : {"all", "train"}
        The final heads learn from all labelled rows, or with "holdout" from the training
        split alone.
    groups : bool
        Images are of several kinds (the manifest's `group`): a `grouped` head is trained too.
    group_labels : path-like, optional
        CSV that names the groups of some images, see `icecore.manifest.apply_groups`.
    search : int
        Number of further settings to try for each kind of head, which is chosen among as
        its own ones are: out of fold.
    search_seconds : float, optional
        Time in which further settings are tried, for all models together (a busy machine
        makes another result of it).
    ray : str, optional
        Fit on a Ray cluster: ``local`` for processes on this machine, ``auto`` for the cluster that
        this machine is in, or what ``ray start`` printed. None: in threads of this process.
    """

    features: Sequence[str] | None = None
    heads: Sequence[str] | None = None
    overwrite: bool = False
    validation: str = "folds"
    folds: int = 5
    repeats: int = 1
    seed: int = 0
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    maybe: float = 0.0
    min_class_count: int = 0
    drop_classes: Sequence[str] = ()
    allow_missing: bool = False
    class_weight: str | None = None
    refit: str = "all"
    groups: bool = False
    group_labels: str | os.PathLike | None = None
    search: int = 0
    search_seconds: float | None = None
    ray: str | None = None

    def __post_init__(self) -> None:
        require_types(self)
        seconds = self.search_seconds
        wrong = [
            f"{name}={getattr(self, name)!r} ({what})"
            for name, fits, what in (
                (
                    "features",
                    self.features is None or len(self.features) > 0,
                    "one or more, or None",
                ),
                ("heads", self.heads is None or len(self.heads) > 0, "one or more, or None"),
                ("validation", self.validation in ("folds", "holdout"), "folds or holdout"),
                (
                    "folds",
                    FEWEST_FOLDS <= self.folds <= _MOST_FOLDS,
                    f"{FEWEST_FOLDS} to {_MOST_FOLDS}",
                ),
                ("repeats", 1 <= self.repeats <= _MOST_REPEATS, f"1 to {_MOST_REPEATS}"),
                ("seed", 0 <= self.seed < 2**31, "0 or more, below 2**31"),
                ("maybe", 0 <= self.maybe <= 1, "from 0 to 1"),
                ("min_class_count", self.min_class_count >= 0, "0 or more"),
                ("class_weight", self.class_weight in (None, "balanced"), "balanced or nothing"),
                ("refit", self.refit in ("all", "train"), "all or train"),
                ("search", 0 <= self.search <= _MOST_SEARCHED, f"0 to {_MOST_SEARCHED:,}"),
                ("search_seconds", seconds is None or 0 < seconds < math.inf, "above 0"),
                ("settings", _are_settings(self.settings), "as {'mlp': {'width': 256}}"),
            )
            if not fits
        ]
        if seconds and not self.search:
            wrong.append("search_seconds without search (say how many settings to try)")
        if seconds and self.ray is not None:
            wrong.append("search_seconds with ray (machines share no clock: say how many to try)")
        if self.group_labels is not None and not self.groups:
            wrong.append("group_labels without groups (say that heads shall know them)")
        wrong += [
            f"drop_classes '{text}' (write TASK=NAME)"
            for text in self.drop_classes
            if not all(text.partition("="))
        ]
        if self.refit == "train" and self.validation == "folds":
            wrong.append("refit='train' with validation='folds' (the folds know all rows)")
        if wrong:
            raise HeadError(
                f"these options of the training cannot be used: {enumerate_some(wrong, 20)}",
                "the brackets say what can be",
            )

    def for_head(self, kind: str) -> dict[str, Any]:
        """Return the settings of one kind of head."""
        return dict(self.settings.get(kind, {}))

    def dropped(self, task: str) -> frozenset[str]:
        """Return the names of the classes of a task that are to be dropped."""
        named = (text.partition("=") for text in self.drop_classes)
        return frozenset(class_name(name) for of_task, _, name in named if of_task == task)

    def with_settings(self, kind: str, settings: Mapping[str, Any]) -> Self:
        """Return the options with more settings of one kind of head."""
        own = {**self.for_head(kind), **settings}
        return dataclasses.replace(self, settings={**self.settings, kind: own})

    def plain(self) -> dict[str, Any]:
        """Return how heads are trained, as JSON can hold it."""
        fields = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in _OF_THE_WHOLE
        }
        return {**fields, "settings": {k: dict(v) for k, v in self.settings.items()}}
