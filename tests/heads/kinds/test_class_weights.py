"""Classes that weigh more in fits are not said to be more frequent than they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import root
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from icecore.heads import Rows, make_head

SHARES = np.array([0.7, 0.2, 0.1])
SETTINGS = {
    "kernel": {"alpha": 1e-3, "width": 1.0},
    "grouped": {"alpha": 1e-3, "share": 0.5},
    "logistic": {"alpha": 1e-3, "scaling": "rms"},
    "mlp": {"width": 16, "members": 2, "epochs": 4, "scaling": "rms"},
    "ridge": {"alpha": 1.0},
}


def draw(count, seed):
    """Draw rows of normal classes, of which the best probabilities are a linear model."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(3, count, p=SHARES)
    centres = 1.2 * np.eye(3, 5)
    X = (centres[codes] + rng.normal(size=(count, 5))).astype(np.float32)
    weights = count / (3 * np.bincount(codes))
    rows = Rows(X, np.eye(3, dtype=np.float32)[codes], np.ones(count), np.arange(3), (5,))
    return dataclasses.replace(rows, class_weights=weights)


def fitted(kind, rows):
    return make_head(kind, 0, **SETTINGS[kind]).fit_rows(rows, np.arange(len(rows)))


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_classes_are_as_frequent_as_they_occur_in_what_is_predicted(kind):
    rows, unseen = draw(3000, 2), draw(3000, 3)
    head = fitted(kind, rows)
    # Those of leave-one-out for a ridge, of a mixture whose parts are corrected.
    close = {"ridge": 2e-3, "grouped": 2e-3}.get(kind, 1e-4)
    of_rows = head.predict_proba(rows.features).mean(axis=0)
    np.testing.assert_allclose(of_rows, rows.targets.mean(axis=0), atol=close)
    found = head.predict_proba(unseen.features).mean(axis=0)
    np.testing.assert_allclose(found, unseen.targets.mean(axis=0), atol=0.03)
    every = np.arange(len(rows))
    left = dataclasses.replace(
        rows, class_weights=None, weights=rows.fit_weights(every), _memory={}
    )
    # Left so, a class of 10% is said to be twice as frequent.
    assert fitted(kind, left).predict_proba(unseen.features).mean(axis=0)[2] > 0.17


def test_paths_are_judged_by_corrected_probabilities_too():
    rows = draw(240, 4)
    fitted_rows, judged = np.arange(160), np.arange(160, 240)
    for kind in ("kernel", "logistic", "grouped"):
        head = make_head(kind, 0, **SETTINGS[kind])
        (table,) = head.predict_path(rows, fitted_rows, judged, [{"alpha": 1e-3}])
        alone = head.fit_rows(rows, fitted_rows).predict_proba(rows.features[judged])
        np.testing.assert_allclose(table, alone, atol=0.02)


def test_slopes_are_those_of_scikit_learn_and_the_intercept_is_fitted_anew():
    rows = draw(300, 5)
    reference = LogisticRegression(C=0.5, class_weight="balanced", tol=1e-8)
    reference.fit(rows.features, rows.codes)
    head = make_head("logistic", C=0.5, scaling="none", tol=1e-7).fit_rows(rows, np.arange(300))
    slopes = reference.coef_.T - reference.coef_.T.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(head.coef_, slopes, atol=5e-3)

    def off(intercept):
        chances = softmax(rows.features @ slopes + intercept, axis=1)
        return chances.mean(axis=0) - rows.targets.mean(axis=0)

    wanted = root(off, np.zeros(3)).x
    np.testing.assert_allclose(
        head.intercept_ - head.intercept_.mean(), wanted - wanted.mean(), atol=5e-3
    )
