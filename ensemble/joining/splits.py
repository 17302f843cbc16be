"""Which rows tune weights, which are tests, and which show images that models learnt from."""

from collections.abc import Sequence

import numpy as np

from ...core.errors import ProbabilityError, counted, enumerate_some
from ...manifest import Sample
from ...runs import ProbabilityTable

TUNING, TEST = "validation", "test"


def row_splits(
    tables: Sequence[ProbabilityTable], ids: list[str], labels: dict[str, Sample]
) -> dict[str, str]:
    """Return the split of each id: what the tables say, else what the labels say, else tuning.

    A test row whose image some of the models learnt from, and others not, is learnt from.
    """
    said: dict[str, str] = {}
    at_odds = []
    for table in tables:
        for identity, split in zip(table.ids, table.splits):
            if not split or said.setdefault(identity, split) == split:
                continue
            test = identity in labels and labels[identity].split == TEST
            if test and {said[identity], split} == {"train", TEST}:
                said[identity] = "train"
            else:
                at_odds.append(f"{identity} ({said[identity]} and {split})")
    if at_odds:
        raise ProbabilityError(
            f"the files put {counted(len(at_odds), 'id')} in different splits: "
            f"{enumerate_some(at_odds)}",
            "make the files from the same split of the data; 'train' is a row that the model of "
            "the file learnt from, 'validation' one that it did not, out of fold too: where that "
            "is not meant, leave the column split out",
        )
    found = {}
    for identity in ids:
        label = labels.get(identity)
        split = said.get(identity) or (label.split if label else "") or TUNING
        found[identity] = split
    unknown = sorted(set(found.values()) - {TUNING, TEST, "train"})
    if unknown:
        raise ProbabilityError(
            f"unknown splits in the files: {enumerate_some(unknown)}",
            "a split is train, validation or test",
        )
    return found


def without_learnt(
    ids: list[str], splits: dict[str, str], labels: dict[str, Sample], notes: list[str]
) -> tuple[list[str], np.ndarray]:
    """Return the ids without those that models learnt from, and which rows show their images.

    Files call a test row so, too, whose image is among the training images: nobody may score it,
    but its answer is asked for.
    """
    learnt = [identity for identity in ids if splits[identity] == "train"]
    tests = {i for i in learnt if i in labels and labels[i].split == TEST}
    splits |= dict.fromkeys(tests, TEST)
    parts = {
        "left out": [identity for identity in learnt if identity not in tests],
        "answered, and not scored": [identity for identity in learnt if identity in tests],
    }
    for what, named in parts.items():
        if named:
            same = f"models were trained on the same images ({enumerate_some(named)})"
            notes.append(f"{counted(len(named), 'row is', 'rows are')} {what}: {same}")
    kept = [identity for identity in ids if splits[identity] != "train"]
    return kept, np.array([identity in tests for identity in kept], dtype=bool)
