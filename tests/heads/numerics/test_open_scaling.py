"""Whether columns are standardised: chosen out of fold, where a look at them says it may pay."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icecore.core.blas import with_one_thread
from icecore.heads import load_head, make_head
from icecore.heads.numerics import gram, scaling
from icecore.heads.numerics.scaling import may_standardise
from icecore.heads.rows import Rows

QUICK = {"kernel": {}, "logistic": {}, "mlp": {"members": 1, "width": 32}}


def drawn(columns, rows=240, seed=0):
    """Return features of one scale, like networks' (above 0, many zeros), and labels."""
    rng = np.random.default_rng(seed)
    codes = np.arange(rows) % 3
    X = rng.normal(size=(rows, columns)) + rng.normal(size=(3, columns))[codes] / 3
    return np.maximum(X, 0).astype(np.float32), codes


def uneven(X, seed=1):
    return X * 10 ** np.random.default_rng(seed).uniform(-3, 3, X.shape[1]).astype(np.float32)


def rows_of(X, codes):
    targets = np.eye(3, dtype=np.float32)[codes]
    return Rows(X, targets, np.ones(len(X)), np.arange(3), (X.shape[1],))


@pytest.mark.parametrize("kind", sorted(QUICK))
def test_columns_of_all_scales_are_learnt(kind):
    X, codes = drawn(300, 600)
    X = uneven(X)

    def loss(head):
        table = head.fit(X[:240], codes[:240]).predict_proba(X[240:])
        return -np.log(table[np.arange(360), codes[240:]]).mean()

    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    assert loss(make_head(kind, 0, **QUICK[kind])) < loss(plain)


@pytest.mark.parametrize("kind", [*QUICK, "ridge"])
def test_a_column_of_tiny_numbers_counts_beside_large_ones(kind):
    codes = np.arange(120) % 2
    noise = np.random.default_rng(0).normal(size=(2, 120))
    tiny = (codes + 0.1 * noise[0]) * 1e-25
    X = np.column_stack([tiny, 1e3 * noise[1]]).astype(np.float32)
    settings = QUICK.get(kind, {}) | ({"scaling": "standard"} if kind != "mlp" else {})
    head = make_head(kind, 0, **settings).fit(X, codes)
    assert (head.predict(X) == codes).mean() > 0.9


@pytest.mark.parametrize("kind", sorted(QUICK))
@pytest.mark.parametrize("chosen", ["power", "standard"])
@with_one_thread  # On some processors two threads of a BLAS round otherwise than one.
def test_a_saved_head_scales_as_it_was_chosen_to(kind, chosen, tmp_path):
    X, codes = drawn(300)
    X = X if chosen == "power" else uneven(X)
    head = make_head(kind, 0, **QUICK[kind]).fit(X, codes)
    assert (head.scaling, head.scaling_) == ("auto", chosen)
    assert head.power_sets == ((300,) if chosen == "power" else ())
    head.save(tmp_path / "head")
    again = load_head(tmp_path / "head")
    assert np.array_equal(again.predict_proba(X), head.predict_proba(X))
    given = make_head(kind, 0, **QUICK[kind], **head.chosen_).fit(X, codes)
    assert np.array_equal(given.predict_proba(X), head.predict_proba(X))


@pytest.mark.parametrize("kind", sorted(QUICK))
def test_networks_features_are_not_standardised_in_vain(kind):
    rows = rows_of(*drawn(300))
    head, fitted, judged = make_head(kind, 0, **QUICK[kind]), np.arange(160), np.arange(160, 240)
    choices = head.choices()
    tables = head.predict_path(rows, fitted, judged, choices)
    left_out = np.isnan(tables).all(axis=(1, 2))
    assert left_out.tolist() == [choice["scaling"] == "standard" for choice in choices]
    # A search that names nothing else tries it.
    only = [choice for choice in choices if choice["scaling"] == "standard"]
    assert np.isfinite(head.predict_path(rows, fitted, judged, only)).all()


def test_a_kernel_of_many_columns_is_not_standardised():
    # Its rows would be as wide; others are taken along 896 directions.
    X, codes = drawn(900)
    rows = rows_of(uneven(X), codes)
    head, fitted, judged = make_head("kernel", 0), np.arange(160), np.arange(160, 240)
    assert may_standardise(rows, fitted)
    choices = head.choices()
    left_out = np.isnan(head.predict_path(rows, fitted, judged, choices)).all(axis=(1, 2))
    assert left_out.tolist() == [choice["scaling"] == "standard" for choice in choices]


def test_a_kernel_of_standardised_columns_is_that_of_scikit_learn(monkeypatch):
    X, codes = drawn(30, 300)
    X = uneven(X) + 1
    scaled = StandardScaler().fit(X[:200]).transform(X)
    apart = pdist(scaled[:200], "sqeuclidean")
    kernel = rbf_kernel(scaled, scaled[:200], gamma=1 / (2 * np.median(apart)))
    head = make_head("kernel", 0, scaling="standard", alpha=1e-2, width=1.0)
    exact = head.fit(X[:200], codes[:200]).predict_proba(X)
    expected = softmax(kernel @ head.coef_ + head.intercept_, axis=1)
    assert exact == pytest.approx(expected, abs=1e-3)
    # Of more rows than may be in the solution, landmarks are.
    monkeypatch.setattr(gram, "EXACT_ROWS", 199)
    monkeypatch.setattr(gram, "LANDMARKS", 180)
    some = head.fit(X[:200], codes[:200]).predict_proba(X)
    assert len(head.coef_) == 180
    assert some == pytest.approx(exact, abs=0.05)


def test_a_row_as_far_away_as_features_may_be_gets_probabilities():
    X, codes = drawn(30, 100)
    head = make_head("kernel", 0, scaling="standard", alpha=1e-2).fit(X, codes)
    far = head.predict_proba(np.full((1, 30), 9.9e14, np.float32))
    assert np.isfinite(far).all()
    assert far.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "tried"),
    [
        (lambda X: X, False),
        (uneven, True),
        (lambda X: X + 100, True),
        (lambda X: X[:, :200], True),
        (lambda X: X * 1000, False),
        (np.ones_like, False),
    ],
    ids=["even", "uneven", "far from zero", "few", "large", "constant"],
)
def test_when_standardising_is_tried(change, tried):
    X, codes = drawn(300)
    assert may_standardise(rows_of(change(X), codes), np.arange(200)) == tried


def test_only_the_rows_of_the_fit_say_so():
    X, codes = drawn(300)
    rows = rows_of(np.concatenate([X[:120], uneven(X[120:])]), codes)
    assert not may_standardise(rows, np.arange(120))
    assert may_standardise(rows, np.arange(120, 240))


def test_feature_sets_of_other_scales_are_no_reason(monkeypatch):
    X, codes = drawn(300)
    X[:, 150:] *= 1000
    two = Rows(X, np.eye(3, dtype=np.float32)[codes], np.ones(len(X)), np.arange(3), (150, 150))
    assert not may_standardise(two, np.arange(200))
    monkeypatch.setattr(scaling, "_FEW_COLUMNS", 300)
    assert may_standardise(two, np.arange(200))
