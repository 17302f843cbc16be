"""Ridge regression by the Gram matrix, against scikit-learn on the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest

from icecore.features.regions.ridge import FOLDS, PENALTIES, Ridge, gram

linear_model = pytest.importorskip("sklearn.linear_model")


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(60, 300)) + 3).astype(np.float16)
    targets = rows[:, :2].astype(float) * 2 + rng.normal(0, 0.3, (60, 2)) - 5
    return rows, targets, rng.permutation(60) % FOLDS


def reference(rows, targets, index):
    centred = rows - rows.mean(axis=0)
    scale = np.linalg.eigvalsh(centred @ centred.T).max()
    return linear_model.Ridge(alpha=scale * PENALTIES[index]).fit(rows, targets)


def test_the_gram_matrix_is_that_of_centred_rows(problem):
    rows = problem[0].astype(float)
    centred = rows - rows.mean(axis=0)
    np.testing.assert_allclose(gram(problem[0]), centred @ centred.T, rtol=1e-3, atol=0.1)


def test_predictions_out_of_fold_are_those_of_models_without_the_fold(problem):
    rows, targets, folds = problem
    ridge = Ridge(rows, gram(rows), folds, targets)
    wide = rows.astype(float)
    for fold in range(FOLDS):
        out = folds == fold
        for column in range(2):
            model = reference(wide[~out], targets[~out, column], ridge._best[column])
            np.testing.assert_allclose(
                ridge.held_out[out, column], model.predict(wide[out]), atol=5e-3
            )
    *without, whole = ridge.models()
    for fold, model in enumerate(without):
        out = folds == fold
        np.testing.assert_allclose(model(rows[out]), ridge.held_out[out], atol=5e-3)
    expected = np.column_stack(
        [reference(wide, targets[:, k], ridge._best[k]).predict(wide) for k in range(2)]
    )
    np.testing.assert_allclose(whole(rows), expected, atol=5e-3)


def test_the_penalty_is_the_best_out_of_fold(problem):
    rows, targets, folds = problem
    ridge = Ridge(rows, gram(rows), folds, targets)
    wide, errors = rows.astype(float), []
    for index in range(len(PENALTIES)):
        found = np.empty(60)
        for fold in range(FOLDS):
            out = folds == fold
            found[out] = reference(wide[~out], targets[~out, 0], index).predict(wide[out])
        errors.append(((found - targets[:, 0]) ** 2).mean())
    assert ridge._best[0] == int(np.argmin(errors))


def test_rows_without_a_target_teach_nothing(problem):
    rows, targets, folds = problem
    used = np.arange(60) < 50
    spoilt = targets.copy()
    spoilt[~used] = 1e6
    first = Ridge(rows, gram(rows), folds, targets, used)
    second = Ridge(rows, gram(rows), folds, spoilt, used)
    np.testing.assert_array_equal(first.held_out, second.held_out)
    np.testing.assert_array_equal(first.models()[-1].weights, second.models()[-1].weights)
