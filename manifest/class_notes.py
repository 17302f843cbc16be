"""What a reader should know of a task's classes before anything is made of its images."""

import collections
import re
from collections.abc import Sequence

from ..core.errors import counted, enumerate_some, escaped
from .names import class_order

# A number with a fraction, alone or among others: a measurement, or a class's probability.
_FRACTION = re.compile(r"(?<![\w.])[+-]?\d*\.(?!0*(?!\d))\d+(e[+-]?\d+)?%?(?![\w.])", re.I)
_FEW_FRACTIONS = 3
# Rare classes of this number are nothing odd.
_FEW_ALONE = 10


def class_notes(task: str, labels: Sequence[tuple[str, str]]) -> list[str]:
    """Name classes that nothing can be learnt of.

    Parameters
    ----------
    labels : sequence of (str, str)
        Split and label of each image; an image without a label has an empty one.
    """
    known = [(split, label) for split, label in labels if label]
    return _unlearnt(task, known) + _of_one_image(task, known) + _measured(task, known)


def _unlearnt(task: str, labels: Sequence[tuple[str, str]]) -> list[str]:
    """Name the classes of other splits that no training image has."""
    by: dict[str, set[str]] = collections.defaultdict(set)
    for split, label in labels:
        by[split].add(label)
    trained = by["train"] | by[""]
    lacking = {split: by[split] - trained for split in ("validation", "test")}
    if not trained or not any(lacking.values()):
        return []
    named = [
        f"{escaped(name)} ({split})"
        for split, names in lacking.items()
        for name in sorted(names, key=class_order)
    ]
    return [
        f"{counted(len(named), 'class', 'classes')} of '{escaped(task)}' that no training "
        f"image has: {enumerate_some(named)}"
    ]


def _of_one_image(task: str, labels: Sequence[tuple[str, str]]) -> list[str]:
    """Say so where most classes have one image: dates, ids and measurements are such labels."""
    counts = collections.Counter(label for _, label in labels)
    alone = sorted((name for name, count in counts.items() if count == 1), key=class_order)
    if len(alone) < _FEW_ALONE or 2 * len(alone) <= len(counts):
        return []
    return [
        f"{len(alone)} of {len(counts)} classes of '{escaped(task)}' have one image each: "
        f"{enumerate_some(map(escaped, alone))}; of a single image nothing is learnt, so if "
        "these are dates, names or measurements, divide them into a few ranges or kinds"
    ]


def _measured(task: str, labels: Sequence[tuple[str, str]]) -> list[str]:
    """Say so where most classes are numbers with fractions: nothing knows that 0.7 is near 0.8."""
    names = {label for _, label in labels}
    found = sorted(
        (name for name in names if _FRACTION.fullmatch(re.split("[;| ]", name)[0])), key=class_order
    )
    if len(found) < _FEW_FRACTIONS or 2 * len(found) <= len(names):
        return []
    return [
        f"{len(found)} of {len(names)} classes of '{escaped(task)}' are numbers with fractions: "
        f"{enumerate_some(map(escaped, found))}; each is learnt as a class of its own, so divide "
        "measurements into a few ranges, and of the probabilities of several classes write the "
        "name of the likeliest"
    ]
