"""Images that stand in the data more than once, and what that does to scores.

Features propose and pixels decide. Two images are proposed where the cosine of their whitened
features is high, or stands out from that of their other neighbours; they are copies where their
fine structure agrees (see `agreement`). Where the files cannot be looked at, or the structure
does not agree but the features are very close, they look alike and no more.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .material import Images, TaskRows
from .neighbours import nearest
from .options import AuditOptions
from .pictures import agreement

NEIGHBOURS = 12
# A cosine that lies so much above that of the next ten neighbours proposes a pair, too.
_STANDS_OUT = 0.25
# Without pixels, from this cosine on two images look alike.
_LOOKS_ALIKE = 0.7
_DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that are close.

    Attributes
    ----------
    first, second : int
        Numbers of the images.
    cosine : float
        Of their whitened features.
    agreement : float or None
        Of their fine structure; None where the files were not looked at.
    """

    first: int
    second: int
    cosine: float
    agreement: float | None


@dataclasses.dataclass(frozen=True)
class Group:
    """Copies of one photograph.

    Attributes
    ----------
    rows : tuple of int
        Numbers of the images.
    equal : bool
        Whether all files are equal to the byte.
    splits : tuple of str
        Those that have one of them.
    """

    rows: tuple[int, ...]
    equal: bool
    splits: tuple[str, ...]

    @property
    def leaks(self) -> bool:
        """Whether test or validation images are among the training images, too."""
        return len(self.splits) > 1


@dataclasses.dataclass(frozen=True)
class Copies:
    """What was found.

    Attributes
    ----------
    groups : list of Group
        Those that leak first.
    alike : list of Pair
        Look alike, but are not copies; closest first.
    looked_at : int
        Pairs whose pixels were compared.
    unseen : int
        Pairs whose files could not be.
    """

    groups: list[Group]
    alike: list[Pair]
    looked_at: int
    unseen: int


@dataclasses.dataclass(frozen=True)
class Leak:
    """What copies of training images among the judged ones do to the score.

    Attributes
    ----------
    task, rows_of : str
        Which rows were judged: ``test``, ``validation`` or ``out-of-fold``.
    rows, leaked : int
        How many, and how many of them have a copy that was trained on.
    accuracy, clean : float
        With and without these.
    difference, low, high : float
        Of the two, with its 95% bootstrap interval.
    """

    task: str
    rows_of: str
    rows: int
    leaked: int
    accuracy: float
    clean: float
    difference: float
    low: float
    high: float


def find_copies(images: Images, options: AuditOptions) -> tuple[Copies, np.ndarray]:
    """Find images that are there several times.

    Returns
    -------
    copies : Copies
    distance : ndarray of shape (N,)
        How far each image is from its ten nearest others on average, 1 - cosine.
    """
    index, cosine = nearest(images.points, NEIGHBOURS, options.seed)
    level = cosine[:, 1:11].mean(axis=1) if cosine.shape[1] > 1 else np.zeros(len(images))
    by_digest: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(images.digests):
        if digest:
            by_digest[digest].append(row)
    same = [(rows[0], other) for rows in by_digest.values() for other in rows[1:]]
    alike, looked_at, unseen = [], 0, 0
    for pair in _proposed(images, index, cosine, level, options):
        if images.digests[pair.first] and images.digests[pair.first] == images.digests[pair.second]:
            continue
        looked_at += pair.agreement is not None
        unseen += pair.agreement is None
        if (pair.agreement or 0) >= options.agreement:
            same.append((pair.first, pair.second))
        elif pair.cosine >= _LOOKS_ALIKE:
            alike.append(pair)
    groups = [_group(images, rows) for rows in _connected(same, len(images))]
    groups.sort(key=lambda group: (not group.leaks, group.rows))
    alike.sort(key=lambda pair: -pair.cosine)
    return Copies(groups, alike, looked_at, unseen), 1 - level


def _proposed(images: Images, index, cosine, level, options: AuditOptions):
    """Yield the closest pairs, their pixels compared, as many as there is time for."""
    row, place = np.nonzero(np.isfinite(cosine))
    other, close = index[row, place], cosine[row, place]
    first, second = np.minimum(row, other), np.maximum(row, other)
    out = close - (level[first] + level[second]) / 2
    chosen = (close >= options.similarity) | ((out >= _STANDS_OUT) & (close >= 0.25))
    pairs = {(int(a), int(b)): (float(c), float(o)) for a, b, c, o in zip(
        first[chosen], second[chosen], close[chosen], out[chosen])}  # fmt: skip
    most = max(200, len(images) // 5)
    for (a, b), (near, _) in sorted(pairs.items(), key=lambda item: (-item[1][1], item[0]))[:most]:
        looks = [(images.paths[number], images.boxes[number]) for number in (a, b)]
        yield Pair(a, b, near, agreement(*looks))


def _group(images: Images, rows: Sequence[int]) -> Group:
    splits = tuple(dict.fromkeys(images.splits[row] for row in rows))
    equal = len({images.digests[row] or row for row in rows}) == 1
    return Group(tuple(rows), equal, splits)


def measure_leak(groups: Sequence[Group], images: Images, task: TaskRows, seed: int) -> list[Leak]:
    """Compare scores with and without the judged rows that have a copy in training.

    A row that was predicted out of fold was left out of one fold only: its copies in other
    folds were trained on, so every copy but those in test counts. Files that are equal to the
    byte share a fold, and so do not count there.
    """
    splits = np.array(images.splits)
    found = []
    for kind in dict.fromkeys(task.held_out[task.judged].tolist()):
        rows = np.array([row for row in task.judged if task.held_out[row] == kind])
        trained = _trained_on(splits, kind)
        leaked = {
            row
            for group in groups
            for row in group.rows
            if any(trained[other] and _apart(images, row, other, kind) for other in group.rows)
        }
        taken = np.array([row in leaked for row in rows])
        right = (task.probabilities[rows].argmax(axis=1) == task.y[rows]).astype(float)
        if taken.any() and not taken.all():
            found.append(_compared(task.task, kind, right, taken, seed))
    return found


def _apart(images: Images, row: int, other: int, kind: str) -> bool:
    """Tell whether `other` may have been trained on when `row` was predicted."""
    share = images.digests[row] and images.digests[row] == images.digests[other]
    return row != other and not (kind == "out-of-fold" and share)


def _trained_on(splits: np.ndarray, kind: str) -> np.ndarray:
    if kind == "out-of-fold":
        return splits != "test"
    return (splits == "train") | (splits == "") if kind == "validation" else splits != "test"


def _compared(task: str, kind: str, right: np.ndarray, leaked: np.ndarray, seed: int) -> Leak:
    def gap(counts: np.ndarray) -> float:
        clean = counts * ~leaked
        return float(counts @ right / counts.sum() - clean @ right / max(clean.sum(), 1))

    rng = np.random.default_rng([seed, 22])
    count = len(right)
    draws = [
        gap(np.bincount(rng.integers(count, size=count), minlength=count)) for _ in range(_DRAWS)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    whole, clean = float(right.mean()), float(right[~leaked].mean())
    return Leak(
        task, kind, count, int(leaked.sum()), whole, clean, whole - clean, float(low), float(high)
    )


def _connected(pairs: Sequence[tuple[int, int]], count: int) -> list[list[int]]:
    """Return the rows that pairs connect, in lists of two and more."""
    first, second = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    members: dict[int, list[int]] = defaultdict(list)
    for row in np.unique(np.concatenate([first, second])).tolist():
        members[part[row]].append(row)
    return list(members.values())
