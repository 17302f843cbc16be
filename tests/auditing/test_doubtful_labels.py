"""Doubtful labels: the same rows in the same order as cleanlab 2.9.0 finds.

The numbers are of ``find_label_issues(y, p, filter_by="confident_learning",
return_indices_ranked_by="self_confidence")`` and ``estimate_joint(y, p) * n``.
"""

from __future__ import annotations

import numpy as np
import pytest

from icecore.auditing import doubtful_labels

CLEANLAB = {
    (0, 200, 3): [59, 107, 123, 46, 19, 17, 157, 148, 50, 23],
    (1, 500, 6): [
        34, 372, 6, 164, 312, 31, 7, 41, 109, 16, 68, 1, 351, 311, 251, 4, 456, 384, 246, 48, 79,
        140, 227, 198, 381, 97, 467, 419, 29, 133, 346, 479, 108, 480, 25, 340, 73, 408, 229, 339,
        438, 421, 332, 400, 390, 120, 450, 449, 491, 171, 325, 49, 370, 386, 254, 33, 106, 145,
        189, 356, 350, 127, 475, 85, 161, 397,
    ],
}  # fmt: skip
CLEANLAB_JOINT = [[50, 2, 3], [3, 64, 3], [2, 3, 70]]  # rounded there to whole rows


def noisy(seed, rows, classes):
    rng = np.random.default_rng(seed)
    true = rng.integers(classes, size=rows)
    y = np.where(rng.random(rows) < 0.1, rng.integers(classes, size=rows), true)
    logits = 2.0 * np.eye(classes)[true] + rng.normal(size=(rows, classes))
    table = np.exp(logits)
    return y, table / table.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("case", CLEANLAB)
def test_the_doubtful_labels_are_those_of_cleanlab(case):
    assert doubtful_labels(*noisy(*case)).rows.tolist() == CLEANLAB[case]


def test_the_joint_is_that_of_cleanlab():
    found = doubtful_labels(*noisy(0, 200, 3))
    assert np.abs(found.joint - CLEANLAB_JOINT).max() <= 1
    assert found.joint.sum() == pytest.approx(200)
    assert found.expected == pytest.approx(16, abs=1)


def test_sure_models_find_every_flipped_label_and_nothing_else():
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=400)
    flipped = rng.choice(400, 20, replace=False)
    y = true.copy()
    y[flipped] = (y[flipped] + rng.integers(1, 4, 20)) % 4
    found = doubtful_labels(y, 0.9 * np.eye(4)[true] + 0.025)
    assert sorted(found.rows) == sorted(flipped)
    assert np.array_equal(found.instead, true[found.rows])
    assert found.expected == pytest.approx(20, abs=1)


def test_classes_without_a_row_and_labels_beyond_doubt_are_no_trouble():
    found = doubtful_labels(np.array([0, 0, 1]), np.eye(4)[[0, 0, 1]])
    assert found.rows.tolist() == []
    assert found.expected == 0
