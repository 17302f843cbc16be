"""What blending answers: weights, scores of every answer, and how good they really are."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import __version__
from ..core.summary import summary
from ..manifest import Sample
from .estimate import Estimate
from .joining.join import TEST, TUNING, TaskData
from .metrics import Metric, get_metric
from .options import ANSWERS
from .saved import BLEND_FORMAT, sealed
from .weighting.averaging import Recipe
from .weighting.recommendation import AVERAGE, SINGLE, Reason
from .weighting.subsets import Choice

# Names of scores, and the rows that they are of.
SPLITS = {"tuning": TUNING, "test": TEST}


@dataclasses.dataclass(frozen=True)
class TaskBlend:
    """The answers of one task and what they are worth.

    Attributes
    ----------
    data : TaskData
        The joined rows.
    metric : str
        What the weights were tuned for.
    recipes : dict of str to Recipe
        ``recommended``, ``clean``, ``given``, ``tuned`` and ``average``: weights, class groups
        where they were asked for, and a calibration where it helps.
    reason : Reason
        Why the recommended answer is recommended.
    certificate : float or None
        No weights have an objective lower by more than this on the tuning rows.
    method : str
        How the tuned weights were found.
    models : dict of str to dict
        ``{model: {"tuning": {metric: value}, "test": {...}}}``; ``test`` only where there
        are labelled test rows.
    scores : dict of str to dict
        The same for each answer. The tuning rows have tuned the weights.
    notes : list of str
        What a reader should know.
    validation : str
        How the tuning rows came about, as the run says; empty for files from elsewhere.
    estimate : Estimate or None
        Scores on rows that no choice has seen.
    fronts : dict of str to list of Choice
        Pareto fronts of log-loss against cost, by the kind of cost.
    """

    data: TaskData
    metric: str
    recipes: dict[str, Recipe]
    reason: Reason
    certificate: float | None
    method: str
    models: dict[str, dict]
    scores: dict[str, dict]
    notes: list[str]
    validation: str = ""
    estimate: Estimate | None = None
    fronts: dict[str, list[Choice]] = dataclasses.field(default_factory=dict)

    __repr__ = summary

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.data.task

    @property
    def mean(self) -> str:
        """Kind of average."""
        return self.recipes["tuned"].mean

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each model in the recommended answer; sum 1."""
        return self.weights_of("recommended")

    @property
    def tuning_kind(self) -> str:
        """What the tuning rows are: ``out-of-fold``, ``validation``, or ``tuning``."""
        return tuning_kind(self.validation)

    @property
    def trade_offs(self) -> dict[str, list[Choice]]:
        """The fronts with more than one point; others leave nothing to choose."""
        return {kind: front for kind, front in self.fronts.items() if len(front) > 1}

    @property
    def recommendation(self) -> str:
        """What is recommended, in words."""
        reason = self.reason
        if reason.kind == SINGLE or len(self.models) == 1:
            (name,) = (name for name, weight in self.weights.items() if weight)
            what = f"the {'only' if len(self.models) == 1 else 'best single'} model, {name}"
        elif reason.kind == AVERAGE:
            what = "the plain average"
        else:
            what = "the tuned weights"
            if reason.shrinkage:
                what += f", moved {reason.shrinkage:.0%} of the way to equal ones"
        if self.group_weights:
            what += ", with weights of their own for groups of images"
        return what if reason.calibration is None else f"{what}, calibrated"

    @property
    def calibration(self) -> str:
        """How the recommended answer is calibrated, in words; empty if it is not."""
        found = self.reason.calibration
        if found is None:
            return ""
        used = found.recommended
        what = f"calibrated with a temperature of {found.temperature:.2f}"
        if found.wrong >= 0.005:
            what += f" and {used.wrong:.0%} of the labels taken for wrong"
        gain = found.gain if used is found else found.halved_gain
        return what + (
            f": log-loss lower by {gain:.4f} on {self.tuning_kind} rows that it was not fitted on"
        )

    @property
    def wrong_labels(self) -> str:
        """What to do where labels look wrong, in words; empty where too few do to matter."""
        found = self.reason.calibration
        if found is None or found.wrong < max(0.005, 1.5 * self._imagined):
            return ""
        ours = "for not knowing: the mean of the two"
        if found.recommended is found:
            ours = "the second: the mean of the two does worse on these rows than no calibration"
        return (
            f"about {found.wrong:.0%} of the labels look as if drawn at random (log-loss lower by "
            f"{found.gain:.4f} ± {found.error:.4f} when they are taken so, with a temperature of "
            f"{found.temperature:.2f}). Take --answer clean if "
            "the labels of the images to predict will be right, --answer given if they will be "
            f"wrong as often. The recommended answer is {ours}. 'icecore audit' of a run or cache "
            "lists the labels to look at"
        )

    @property
    def _imagined(self) -> float:
        """The share of wrong labels that the one imagined mistake of a calibration makes alone."""
        images = len(np.unique(self.data.images_of(self.data.rows(TUNING))))
        classes = len(self.data.classes)
        # Labels drawn at random are right by chance, too: a mistake stands for some more of them.
        return classes / max(classes - 1, 1) / (images + 1)

    def weights_of(self, answer: str) -> dict[str, float]:
        """Return the weight of each model in an answer."""
        return dict(zip(self.data.models, self.recipes[answer].weights.tolist()))

    @property
    def group_weights(self) -> dict[str, dict[str, float]]:
        """Weight of each model for each group of images; empty if all groups have the same."""
        return self._routed(self.recipes["recommended"])

    def _routed(self, recipe: Recipe) -> dict[str, dict[str, float]]:
        if recipe.routed is None or self.data.routes is None:
            return {}
        rows = zip(self.data.routes.classes, recipe.routed.tolist())
        return {group: dict(zip(self.data.models, weights)) for group, weights in rows}

    def table(self, answer: str = "recommended") -> np.ndarray:
        """Return an answer's probabilities, (N, C), in the order of ``data.ids``."""
        return self.recipes[answer].apply(self.data.probabilities, self.data.routes_of())

    def to_json(self) -> dict:
        """Return the task's part of `BlendResult.to_json`."""
        data = self.data
        return {
            "task": self.task,
            "classes": list(data.classes),
            "metric": self.metric,
            "answers": {name: self._recipe_json(self.recipes[name]) for name in ANSWERS},
            "recommended": {"is": self.recommendation, **dataclasses.asdict(self.reason)},
            "certificate": self.certificate,
            "method": self.method,
            "rows": {
                "tuning": len(data.rows(TUNING)),
                "test": len(data.rows(TEST)),
                "tuning_rows_are": self.validation or "as the probability files say",
            },
            "models": self.models,
            "scores": self.scores,
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "pareto": {
                kind: [_choice_json(choice) for choice in front]
                for kind, front in self.fronts.items()
            },
            "notes": self.notes,
        }

    def _recipe_json(self, recipe: Recipe) -> dict:
        models = self.data.models
        found: dict = {"mean": recipe.mean, "weights": dict(zip(models, recipe.weights.tolist()))}
        if recipe.calibration is not None:
            known = recipe.calibration
            found["calibration"] = {
                "temperature": known.temperature,
                "wrong_labels": known.wrong,
            }
        routed = self._routed(recipe)
        if routed:
            assert self.data.routes is not None
            found["routed"] = {"router": self.data.routes.model, "weights": routed}
        if recipe.group_weights is not None and recipe.groups is not None:
            found["groups"] = [
                {
                    "classes": [
                        name for name, g in zip(self.data.classes, recipe.groups) if g == number
                    ],
                    "weights": dict(zip(models, weights.tolist())),
                }
                for number, weights in enumerate(recipe.group_weights)
            ]
        return found


@dataclasses.dataclass(frozen=True)
class BlendResult:
    """The answer of `blend_sources`.

    Attributes
    ----------
    tasks : list of TaskBlend
    metric : str
    seed : int
    inputs : dict of str to str
        SHA-256 of every file that went in, by its path.
    run : dict
        What ``run.json`` says, or those of all runs joined; empty for files from elsewhere.
    conflicts : list of list of Sample
        Images of one content (digest) that have different labels.
    samples : tuple of Sample
        The labels, and the rows that have none yet.
    runs : dict of str to Path
        Folders of the runs, by the names that their models begin with; the name of a single
        run is empty.
    """

    tasks: list[TaskBlend]
    metric: str
    seed: int
    inputs: dict[str, str]
    run: dict = dataclasses.field(default_factory=dict)
    conflicts: list[list[Sample]] = dataclasses.field(default_factory=list)
    samples: tuple[Sample, ...] = ()
    runs: dict[str, Path] = dataclasses.field(default_factory=dict)

    __repr__ = summary

    def to_json(self) -> dict:
        """Return ``{"tasks": [{"task", "answers", "recommended", "models", "scores", ...}]}``."""
        return {"tasks": [task.to_json() for task in self.tasks]}

    def to_file(self, answer: str = "recommended") -> dict:
        """Return the content of ``blend.json``: `to_json` with seed, runs and input digests.

        Parameters
        ----------
        answer : {"recommended", "clean", "given", "tuned", "average"}
            Which answer predictions are to take.
        """
        folder = next(iter(self.runs.values()), None)
        content = {
            "format": BLEND_FORMAT,
            "icecore": __version__,
            "metric": self.metric,
            "seed": self.seed,
            "answer": answer,
            # Runs that travel together find one another.
            "runs": {name: _seen_from(folder, path) for name, path in self.runs.items()},
            "inputs": {_seen_from(folder, path): sha for path, sha in self.inputs.items()},
        }
        return sealed(content | self.to_json())


def tuning_kind(validation: str) -> str:
    """Return what tuning rows are, in a word, from how a run says that they came about."""
    if not validation:
        return "tuning"
    return "out-of-fold" if "out-of-fold" in validation else "validation"


def _seen_from(folder: Path | None, path: str | os.PathLike) -> str:
    """Return a path as it is seen from the folder of the first run."""
    if folder is None:
        return str(path)
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return os.path.abspath(path)


def score_splits(
    data: TaskData, table: np.ndarray, metric: str | Metric | Callable
) -> dict[str, dict]:
    """Score `table` (N, C) on the labelled rows of each split that has any, by `metric`, too."""
    scores: dict[str, dict] = {}
    for name, split in SPLITS.items():
        rows = data.rows(split)
        if not len(rows):
            continue
        y, part, letters = data.y[rows], table[rows], data.letters_of(rows)
        names: list = ["log_loss", "accuracy", "map", metric]
        if letters:
            names += ["fashionai_ap", "basic_precision"]
        values = {one.name: one.value(y, part, letters) for one in map(get_metric, names)}
        # JSON has no NaN: a value that is not defined is null.
        scores[name] = {key: None if np.isnan(value) else value for key, value in values.items()}
    return scores


def _choice_json(choice: Choice) -> dict:
    return {
        "models": list(choice.models),
        "weights": choice.weights,
        "log_loss": choice.loss,
        "cost": choice.cost,
        "certificate": choice.certificate,
        "exact": choice.exact,
    }
