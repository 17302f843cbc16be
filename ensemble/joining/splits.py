"""Which rows tune weights, which are tests, and which show images that models learnt from."""

from collections.abc import Sequence

import numpy as np

from ...core.errors import ProbabilityError, counted, enumerate_some
from ...manifest import Sample
from ...runs import ProbabilityTable

TUNING, TEST = "validation", "test"
# What the notes on rows say that tune and answer nothing.
LEFT_OUT = "left out"
_LEARNT = "models were trained on the same images ({})"
_CALLED_SO = (
    "the labels put them into the split 'train' ({}), and no file says otherwise; where they are "
    "out of fold, a column split of the files calls them 'validation'"
)


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
    tables: Sequence[ProbabilityTable],
    ids: list[str],
    splits: dict[str, str],
    labels: dict[str, Sample],
    notes: list[str],
) -> tuple[list[str], np.ndarray]:
    """Return the ids without those that models learnt from, and which rows show their images.

    Files call a test row so, too, whose image is among the training images: nobody may score it,
    but its answer is asked for.
    """
    learnt = [identity for identity in ids if splits[identity] == "train"]
    tests = {i for i in learnt if i in labels and labels[i].split == TEST}
    splits |= dict.fromkeys(tests, TEST)
    said = {i for table in tables for i, split in zip(table.ids, table.splits) if split}
    left = [identity for identity in learnt if identity not in tests]
    parts = {
        (LEFT_OUT, _LEARNT): [identity for identity in left if identity in said],
        (LEFT_OUT, _CALLED_SO): [identity for identity in left if identity not in said],
        ("answered, and not scored", _LEARNT): [i for i in learnt if i in tests],
    }
    for (what, why), named in parts.items():
        if named:
            rows = counted(len(named), "row is", "rows are")
            notes.append(f"{rows} {what}: {why.format(enumerate_some(named))}")
    kept = [identity for identity in ids if splits[identity] != "train"]
    return kept, np.array([identity in tests for identity in kept], dtype=bool)
