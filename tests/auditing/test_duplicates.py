"""What copies do to a score is measured on the rows whose copy was trained on, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from icecore.auditing import Images, TaskRows
from icecore.auditing.duplicates import Group, measure_leak


def pictured(splits, digests):
    ids = tuple(f"{number}.jpg" for number in range(len(splits)))
    empty, points = ("",) * len(ids), np.zeros((len(ids), 1), np.float32)
    return Images(ids, empty, tuple(digests), tuple(splits), empty, points, points)


def judged(y, right, kinds):
    table = np.full((len(y), 2), np.nan)
    for row, (own, is_right, kind) in enumerate(zip(y, right, kinds)):
        if kind:
            table[row] = np.eye(2)[own if is_right else 1 - own]
    return TaskRows("label", ("a", "b"), np.array(y), table, np.array(kinds), "a test")


def test_rows_with_a_copy_in_training_flatter():
    # 40 test rows: 20 have a copy in training and are right, of the others half are.
    splits = ["train"] * 20 + ["test"] * 40
    right = [True] * 20 + [True] * 20 + [True, False] * 10
    kinds = [""] * 20 + ["test"] * 40
    images = pictured(splits, [f"d{number}" for number in range(60)])
    groups = [Group((number, 20 + number), False, ("train", "test")) for number in range(20)]
    (leak,) = measure_leak(groups, images, judged([0, 1] * 30, right, kinds), seed=0)
    assert (leak.rows_of, leak.rows, leak.leaked) == ("test", 40, 20)
    assert (leak.accuracy, leak.clean) == (0.75, 0.5)
    assert leak.difference == 0.25
    assert 0 < leak.low < 0.25 < leak.high


@pytest.mark.parametrize(("equal", "leaked"), [(True, 0), (False, 10)])
def test_equal_files_share_a_fold_and_other_copies_do_not(equal, leaked):
    digests = [f"d{number % 20 if equal else number}" for number in range(40)]
    images = pictured(["train"] * 40, digests)
    groups = [Group((number, 20 + number), equal, ("train",)) for number in range(5)]
    found = measure_leak(groups, images, judged([0, 1] * 20, [True] * 40, ["out-of-fold"] * 40), 0)
    assert sum(leak.leaked for leak in found) == leaked


def test_copies_among_test_rows_alone_teach_nobody():
    images = pictured(["train"] * 20 + ["test"] * 20, [f"d{number}" for number in range(40)])
    task = judged([0, 1] * 20, [True] * 40, [""] * 20 + ["test"] * 20)
    assert measure_leak([Group((20, 21), False, ("test",))], images, task, 0) == []
