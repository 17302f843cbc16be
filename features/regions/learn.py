"""Learn where a region is, from the boxes of a few images; and tell honestly how well.

Images fall into folds. The box that is held against the truth was found by models that knew
no image of its fold, at each of the three looks, and so were the boxes that the close-ups of
the second look are cut around.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from ...core.errors import BackboneError, counted
from .geometry import encode, into, inverse_encode, iou, out_of
from .looks import Looker, Picture
from .model import Chain, Models, close_up, follow_on
from .ridge import FOLDS, Linear, Ridge, gram

FEWEST = 20
# More hardly help, and take long: eigenvalues cost the cube of their number.
MOST = 1000
# Close-ups of the second look, all images together.
_CLOSE_UPS, _MOST_EACH = 600, 3
_ELSEWHERE = 0.25


@dataclasses.dataclass(frozen=True)
class LearningOptions:
    """How a region is learnt.

    Attributes
    ----------
    threshold : float
        Where less intersection over union is expected than this, an image stays whole.
    floor : float
        Boxes that are found with less on average, out of fold, are refused.
    seed : int
        Of the folds and the close-ups.
    """

    threshold: float = 0.5
    floor: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("threshold", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise BackboneError(
                    f"{name} {getattr(self, name)} cannot be used",
                    "give an intersection over union, 0 to 1",
                )
        if self.seed < 0:
            raise BackboneError(f"seed {self.seed} cannot be used", "give 0 or more")


@dataclasses.dataclass(frozen=True)
class Learnt:
    """What was learnt, and how well boxes of images are found that it does not know.

    Attributes
    ----------
    ids : tuple of str
        Images whose boxes were learnt from.
    truth, found : ndarray, shape (N, 4)
        Their boxes, and what was found out of fold; pixels of the upright images.
    overlap : ndarray, shape (N,)
        Intersection over union of both.
    scores : ndarray, shape (N,)
        What of it was expected.
    constant : float
        Mean overlap with one and the same box in every image, the median.
    """

    models: Models
    ids: tuple[str, ...]
    truth: np.ndarray
    found: np.ndarray
    overlap: np.ndarray
    scores: np.ndarray
    constant: float


def learn_regions(
    looker: Looker,
    pictures: Sequence[Picture],
    boxes: np.ndarray,
    whole: Sequence[Picture] = (),
    options: LearningOptions | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Learnt:
    """Learn to find a region.

    Parameters
    ----------
    pictures : sequence of Picture
        Of different files.
    boxes : ndarray, shape (N, 4)
        In pixels of the files' images.
    whole : sequence of Picture
        Pictures without the region.

    Raises
    ------
    BackboneError
        There are too few boxes, or they cannot be found again: the intersection over union
        is said.
    """
    options = options or LearningOptions()
    rng = np.random.default_rng(options.seed)
    require_enough(len(pictures))
    given = np.asarray(boxes, float)
    truth = given / np.stack([one.scale for one in pictures])
    folds = rng.permutation(len(pictures)) % FOLDS
    on_step("looking at whole images")
    far, first = _far(looker, pictures, truth, folds)
    on_step("looking closer")
    close = _CloseUps(pictures, truth, folds, rng)
    close.around(looker, first)
    close.elsewhere(looker)
    if whole:
        close.without(looker, whole, _strange(looker, whole, far))
    on_step("learning")
    near, held_out = close.fit()
    on_step("looking once more")
    chain, line = close.judge(looker, near[:-1], held_out)
    models = Models(far, near[-1], *line)
    found = chain.boxes(pictures)
    learnt = Learnt(
        models=models,
        ids=tuple(one.id for one in pictures),
        truth=given,
        found=found * np.stack([one.scale for one in pictures]),
        overlap=iou(found, truth),
        scores=models.expected(chain.likeness),
        constant=_constant(pictures, truth),
    )
    _require_found(learnt, options.floor)
    return learnt


def require_enough(count: int) -> None:
    """Raise `BackboneError` where there are too few boxes."""
    if count < FEWEST:
        raise BackboneError(
            f"{counted(count, 'box is', 'boxes are')} too few to learn from and to see how well "
            "it went",
            f"mark at least {FEWEST}; 200 are good",
        )


def _require_found(learnt: Learnt, floor: float) -> None:
    mean = learnt.overlap.mean()
    if not mean >= floor:
        raise BackboneError(
            f"these boxes cannot be found: out of fold the mean intersection over union is "
            f"{mean:.2f}, less than {floor:g} (one and the same box in every image has "
            f"{learnt.constant:.2f})",
            "see that the boxes mark the same thing in all images and belong to these files, mark "
            "more, or take another network (-b) or layer (--layer)",
        )


def _far(looker: Looker, pictures, truth: np.ndarray, folds: np.ndarray):
    """Learn the first look; return the model and the boxes found out of fold."""
    frames = looker.frames(pictures)
    rows = looker.whole(pictures)
    ridge = Ridge(rows, gram(rows), folds, encode(into(truth, frames)))
    return ridge.models()[-1], out_of(inverse_encode(ridge.held_out), frames)


def _strange(looker: Looker, whole: Sequence[Picture], far: Linear) -> np.ndarray:
    """Return where the first look finds the region in pictures that do not show it."""
    return out_of(inverse_encode(far(looker.whole(whole))), looker.frames(whole))


def _constant(pictures: Sequence[Picture], truth: np.ndarray) -> float:
    sizes = np.tile(np.array([one.size for one in pictures], float), 2)
    same = np.median(truth / sizes, axis=0)
    return float(iou(same * sizes, truth).mean())


class _CloseUps:
    """Close-ups of the pictures, and what is to be learnt from them.

    Those of the first kind, one for each picture, are cut around the boxes of the first look.
    """

    def __init__(self, pictures, truth: np.ndarray, folds: np.ndarray, rng) -> None:
        self.pictures, self.truth, self.folds, self._rng = list(pictures), truth, folds, rng
        self._rows: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._folds: list[np.ndarray] = []
        self._used: list[np.ndarray] = []
        # Boxes that a second look was sent to, besides those of the first kind.
        self._sent: list[tuple[list[Picture], np.ndarray, np.ndarray, int]] = []
        self.first = truth

    def around(self, looker: Looker, first: np.ndarray) -> None:
        """Add close-ups around `first`, and around boxes that miss as those do."""
        self.first, size = first, np.tile(self.truth[:, 2:] - self.truth[:, :2], 2)
        middle = np.tile((self.truth[:, :2] + self.truth[:, 2:]) / 2, 2)
        missed = encode((first - middle) / size + 0.5)
        count = len(self.pictures)
        for number in range(int(np.clip(round(_CLOSE_UPS / count), 1, _MOST_EACH))):
            shuffled = self._rng.permutation(count) if number else np.arange(count)
            boxes = (inverse_encode(missed[shuffled]) - 0.5) * size + middle
            self._add(looker, boxes if number else first)

    def elsewhere(self, looker: Looker) -> None:
        """Add close-ups of other places, in which there is little of the region."""
        sizes = np.array([one.size for one in self.pictures], float)
        size = self.truth[:, 2:] - self.truth[:, :2]
        best, least = self.truth, np.full(len(sizes), np.inf)
        for _ in range(8):
            corner = self._rng.uniform(size=sizes.shape) * np.maximum(sizes - size, 1)
            there = np.concatenate([corner, corner + size], axis=1)
            shared = np.abs(iou(there, self.truth) - self._rng.uniform(0, _ELSEWHERE, len(sizes)))
            better = shared < least
            best = np.where(better[:, None], there, best)
            least = np.where(better, shared, least)
        self._sent.append((self.pictures, best, self.truth, len(self._rows)))
        self._add(looker, best, boxed=False)

    def without(self, looker: Looker, whole: Sequence[Picture], boxes: np.ndarray) -> None:
        """Add close-ups of pictures that do not show the region."""
        nowhere = np.full((len(whole), 4), -1.0)
        self._sent.append((list(whole), boxes, nowhere, len(self._rows)))
        rows = looker.parts(whole, close_up(boxes))
        self._append(rows, np.zeros((len(rows), 5)), np.arange(len(rows)) % FOLDS, False)

    def _add(self, looker: Looker, boxes: np.ndarray, boxed: bool = True) -> None:
        frames = close_up(boxes)
        shares = into(self.truth, frames) if boxed else np.tile([0.0, 0, 1, 1], (len(boxes), 1))
        targets = np.concatenate([encode(shares), iou(boxes, self.truth)[:, None]], axis=1)
        self._append(looker.parts(self.pictures, frames), targets, self.folds, boxed)

    def _append(self, rows, targets, folds, boxed: bool) -> None:
        self._rows.append(rows)
        self._targets.append(targets)
        self._folds.append(folds)
        self._used.append(np.full(len(rows), boxed))

    def fit(self) -> tuple[list[Linear], np.ndarray]:
        """Learn the closer looks; return the models and what is predicted out of fold."""
        rows = np.concatenate(self._rows)
        self._starts = np.cumsum([0, *map(len, self._rows)])
        self._rows.clear()
        folds, targets = np.concatenate(self._folds), np.concatenate(self._targets)
        products = gram(rows)
        boxes = Ridge(rows, products, folds, targets[:, :4], np.concatenate(self._used))
        likeness = Ridge(rows, products, folds, targets[:, 4:])
        joined = [
            Linear(
                np.concatenate([one.weights, other.weights], axis=1),
                np.concatenate([one.intercept, other.intercept]),
            )
            for one, other in zip(boxes.models(), likeness.models())
        ]
        return joined, np.concatenate([boxes.held_out, likeness.held_out], axis=1)

    def judge(
        self, looker: Looker, near: Sequence[Linear], held_out: np.ndarray
    ) -> tuple[Chain, tuple[float, float]]:
        """Follow each picture by the models without its fold; learn what to expect of a box."""
        everywhere = [(self.pictures, self.first, self.truth, 0), *self._sent]
        chains, overlaps = [], []
        for pictures, boxes, truth, place in everywhere:
            span = slice(self._starts[place], self._starts[place + 1])
            answer = functools.partial(_by_fold, near, self._folds[place])
            chain = follow_on(looker, pictures, (boxes, held_out[span]), answer)
            chains.append(chain)
            overlaps.append(iou(chain.boxes(pictures), truth))
        likeness = np.concatenate([chain.likeness for chain in chains])
        return chains[0], _calibrated(likeness, np.concatenate(overlaps))


def _by_fold(near: Sequence[Linear], folds: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Answer each row by the model that knows nothing of its fold."""
    answers = np.empty((len(rows), len(near[0].intercept)))
    for fold in range(FOLDS):
        answers[folds == fold] = near[fold](rows[folds == fold])
    return answers


def _calibrated(likeness: np.ndarray, overlaps: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the overlaps' line; it does not fall."""
    spread = likeness - likeness.mean()
    slope = max(0.0, float(spread @ overlaps / max(spread @ spread, 1e-12)))
    return slope, float(overlaps.mean() - slope * likeness.mean())
