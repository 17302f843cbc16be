from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from icecore.auditing.auc import area


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_is_scikit_learns(ties):
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.3
    scores = rng.normal(size=300) + positive
    scores = scores.round(1) if ties else scores
    found = area(positive, scores)
    assert found.value == pytest.approx(roc_auc_score(positive, scores))
    assert found.low < found.value < found.high


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        positive = np.arange(120) < 40
        found = area(positive, rng.normal(size=120))
        held += found.low <= 0.5 <= found.high
    assert 0.91 <= held / 400 <= 0.98


def test_pairs_told_apart_have_an_area_of_one():
    found = area(np.array([True, True, False, False]), np.array([3.0, 2.0, 1.0, 0.0]))
    assert (found.value, found.low, found.high) == (1, 1, 1)
