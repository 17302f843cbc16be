"""What every head must do, whichever it is."""

from __future__ import annotations

import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from icecore.core.errors import HeadError, MissingFileError
from icecore.heads import (
    HEAD_KINDS,
    KernelHead,
    LogisticHead,
    MLPClassifier,
    Rows,
    load_head,
    make_head,
)
from icecore.heads.kinds import logistic
from icecore.heads.kinds.ridge import _solve
from icecore.heads.mlp import classifier
from icecore.heads.numerics import directions, gram

# Small settings, so that the suite is quick.
QUICK = {
    "kernel": {},
    "grouped": {},
    "logistic": {},
    "mlp": {"width": 16, "epochs": 6, "learning_rate": 2e-2, "scaling": "rms"},
    "lightgbm": {"rounds": 15, "min_rows": 5, "components": 4},
    "ridge": {},
    "neighbours": {},
}
# Closed settings: dozens of fits need no folds.
QUICK_FOR_CHECKS = {
    "kernel": {"alpha": 1e-4, "width": 1.0},
    "grouped": {"alpha": 1e-4, "share": 0.5},
    "logistic": {"alpha": 1e-4},
    "mlp": {"width": 32, "members": 1, "epochs": 8, "learning_rate": 2e-2, "scaling": "rms"},
    "lightgbm": {"min_rows": 1, "rounds": 10},
    "ridge": {},
    "neighbours": {},
}
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
# A row drawn twice falls into two batches and meets two dropout masks, so weight 2
# is the same only on average (scikit-learn's own MLP is excused for the same reason;
# weight 0 is exactly absence, which is tested below). Trees are grown from histograms
# and leaf counts that count rows, not weights; a median of distances counts rows, too. Logistic
# regression agrees, but its float32 products not to scikit-learn's 1e-7: our own test follows.
EXCUSED = {
    "kernel": {WEIGHTS: "the median distance counts rows"},
    "grouped": {WEIGHTS: "the median distance counts rows"},
    "logistic": {WEIGHTS: "to 1e-3, not to 1e-7"},
    "mlp": {WEIGHTS: "batches are drawn by row"},
    "lightgbm": {WEIGHTS: "leaves count rows"},
    "ridge": {WEIGHTS: "leaving out one of two equals"},
    "neighbours": {WEIGHTS: "two equal rows are two neighbours"},
}


def blobs(rows=150, classes=3, columns=6, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.arange(rows) % classes
    centres = 3 * rng.normal(size=(classes, columns))
    X = (centres[codes] + rng.normal(size=(rows, columns))).astype(np.float32)
    names = np.array(["shirt", "a hat", "skirt", "dress"])[:classes]
    return X, names[codes]


@pytest.fixture(params=sorted(HEAD_KINDS))
def kind(request):
    return request.param


@pytest.fixture
def head(kind):
    return make_head(kind, seed=0, **QUICK[kind])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a function that puts a saved head of a kind into a folder."""
    folders = {}

    def put(kind, folder):
        if kind not in folders:
            # Where a library is missing, this raises each time, so that each test is skipped.
            head = make_head(kind, seed=0, **QUICK[kind]).fit(*blobs())
            made = tmp_path_factory.mktemp(kind)
            head.save(made)
            folders[kind] = made
        shutil.copytree(folders[kind], folder, dirs_exist_ok=True)

    return put


@pytest.mark.parametrize("cls", list(HEAD_KINDS.values()))
def test_scikit_learns_own_checks(cls):
    estimator = cls(random_state=0, **QUICK_FOR_CHECKS[cls.kind])
    check_estimator(estimator, expected_failed_checks=EXCUSED[cls.kind], on_skip=None)


def test_it_learns_and_keeps_the_classes_in_order(head):
    X, y = blobs()
    assert head.fit(X, y) is head
    assert head.classes_.tolist() == ["a hat", "shirt", "skirt"]
    table = head.predict_proba(X)
    assert table.shape == (150, 3)
    assert table.dtype == np.float64
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-12)
    assert (head.predict(X) == y).mean() > 0.9
    assert (head.predict(X) == head.classes_[table.argmax(axis=1)]).all()


def test_two_classes_have_two_columns(head):
    X, y = blobs(classes=2)
    assert head.fit(X, y).predict_proba(X).shape == (150, 2)
    assert head.score(X, y) > 0.9


def test_float16_features_are_taken_as_they_are(head):
    X, y = blobs()
    half = X.astype(np.float16)
    table = head.fit(half, y).predict_proba(half)
    again = head.fit(half.astype(np.float32), y).predict_proba(half.astype(np.float32))
    np.testing.assert_allclose(table, again, atol=1e-6)


def test_one_seed_gives_one_result_and_another_seed_another(kind):
    X, y = blobs()
    first, again = (make_head(kind, 3, **QUICK[kind]).fit(X, y).predict_proba(X) for _ in "ab")
    np.testing.assert_array_equal(first, again)
    if kind == "mlp":
        other = make_head(kind, 4, **QUICK[kind]).fit(X, y).predict_proba(X)
        assert np.abs(first - other).max() > 1e-4


def test_weight_zero_is_absence(head):
    X, y = blobs()
    weights = np.ones(len(y))
    weights[::5] = 0
    masked = head.fit(X, y, sample_weight=weights).predict_proba(X)
    removed = head.fit(X[weights > 0], y[weights > 0]).predict_proba(X)
    np.testing.assert_allclose(masked, removed, atol=1e-6)


def test_saved_and_loaded_it_predicts_the_same_to_the_bit(head, tmp_path):
    X, y = blobs()
    head.fit(X, y).save(tmp_path / "head")
    loaded = load_head(tmp_path / "head")
    assert type(loaded) is type(head)
    assert loaded.get_params() == head.get_params()
    assert loaded.classes_.tolist() == head.classes_.tolist()
    np.testing.assert_array_equal(loaded.predict_proba(X), head.predict_proba(X))
    loaded.save(tmp_path / "again")
    for file in (tmp_path / "head").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


@pytest.mark.parametrize("labels", [[3, 1, 2], [False, True, False], [0.5, 2.0, 1.0]])
def test_classes_that_are_not_text_come_back(head, labels, tmp_path):
    X, y = blobs()
    y = np.array(labels)[np.unique(y, return_inverse=True)[1]]
    if y.dtype == float:
        y = (y * 2).astype(int)
    head.fit(X, y).save(tmp_path)
    loaded = load_head(tmp_path)
    assert loaded.classes_.dtype == head.classes_.dtype
    assert (loaded.predict(X) == head.predict(X)).all()


def test_unfitted_it_neither_predicts_nor_saves(head, tmp_path):
    with pytest.raises(NotFittedError):
        head.predict_proba(blobs()[0])
    with pytest.raises(NotFittedError):
        head.save(tmp_path)


def test_nan_and_infinity_are_refused_with_their_rows(head):
    good, y = blobs()
    fitted = clone(head).fit(good, y)
    for value in (np.nan, np.inf, -np.inf):
        X = good.copy()
        X[[4, 7], 2] = value
        with pytest.raises(HeadError, match=r"NaN or infinity in 2 of 150 rows: 4, 7"):
            head.fit(X, y)
        with pytest.raises(HeadError, match="NaN or infinity in 2 of 150 rows"):
            fitted.predict_proba(X)


def test_bad_input_gets_one_clear_line(head):
    X, y = blobs()
    with pytest.raises(HeadError, match="all 150 training rows have one class, 'shirt'"):
        head.fit(X, np.full(150, "shirt"))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        head.fit(X, y[:-1])
    with pytest.raises(HeadError, match="sample_weight goes from -1 to -1"):
        head.fit(X, y, sample_weight=-np.ones(150))
    head.fit(X, y)
    with pytest.raises(ValueError, match="X has 5 features, but .* is expecting 6 features"):
        head.predict_proba(X[:, :5])


def test_constant_features_do_no_harm(head):
    X, y = blobs()
    wide = np.hstack([X, np.full((150, 3), 7, np.float32), np.zeros((150, 2), np.float32)])
    assert head.fit(wide, y).score(wide, y) > 0.9


def test_it_works_inside_scikit_learn(head):
    X, y = blobs(90)
    pipeline = make_pipeline(StandardScaler(), head)
    table = cross_val_predict(pipeline, X, y, cv=3, method="predict_proba")
    assert (np.unique(y)[table.argmax(axis=1)] == y).mean() > 0.85
    calibrated = CalibratedClassifierCV(head, cv=3).fit(X, y)
    assert calibrated.predict_proba(X).shape == (90, 3)


def test_its_settings_can_be_searched():
    X, y = blobs(90)
    search = GridSearchCV(
        MLPClassifier(epochs=3, members=1, random_state=0), {"width": [4, 8]}, cv=3
    )
    assert search.fit(X, y).best_params_["width"] in (4, 8)


@pytest.mark.parametrize("columns", [8, 200])
@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_is_scikit_learns_minimum(columns, classes):
    X, y = blobs(120, classes=classes, columns=columns)
    weights = np.random.default_rng(0).random(120)
    ours = LogisticHead(C=0.5, scaling="none", tol=1e-7).fit(X, y, weights)
    reference = LogisticRegression(C=0.5, tol=1e-9, max_iter=9000)
    reference.fit(X.astype(np.float64), y, weights)
    np.testing.assert_allclose(ours.predict_proba(X), reference.predict_proba(X), atol=2e-3)
    scaled = LogisticHead(alpha=0.05, scaling="standard", tol=1e-7).fit(X, y)
    wide = make_pipeline(
        StandardScaler(),
        FunctionTransformer(lambda Z: Z / np.sqrt(columns)),
        LogisticRegression(C=(1 if classes > 2 else 2) / (0.05 * 120), tol=1e-9, max_iter=9000),
    ).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(scaled.predict_proba(X), wide.predict_proba(X), atol=2e-3)


def power_scaled(X, sets):
    parts = np.split(X.astype(np.float64), np.cumsum(sets)[:-1], axis=1)
    roots = [np.sign(part) * np.sqrt(np.abs(part)) for part in parts]
    return np.hstack([root / np.linalg.norm(root, axis=1, keepdims=True) for root in roots])


def test_logistic_on_power_scaled_sets_is_scikit_learns():
    X, y = blobs(200, classes=4, columns=30)
    ours = LogisticHead(alpha=0.02, sets=(20, 10), tol=1e-7).fit(X, y)
    Z = power_scaled(X, (20, 10))
    Z -= Z.mean(axis=0)
    Z /= np.sqrt((Z**2).sum(axis=1).mean())
    reference = LogisticRegression(C=1 / (0.02 * 200), tol=1e-9, max_iter=9000).fit(Z, y)
    np.testing.assert_allclose(ours.predict_proba(X), reference.predict_proba(Z), atol=3e-3)


def test_the_kernel_head_is_logistic_regression_in_the_kernels_space():
    X, y = blobs(150, classes=3, columns=30)
    ours = KernelHead(alpha=1e-3, width=0.7, sets=(20, 10), tol=1e-7).fit(X, y)
    Z = power_scaled(X, (20, 10))
    distances = pdist(Z)
    assert ours.support_.gamma == pytest.approx(1 / (2 * 0.49 * np.median(distances**2)), rel=1e-2)
    kernel = np.exp(-ours.support_.gamma * squareform(distances**2))
    values, vectors = np.linalg.eigh(kernel)
    mapped = vectors * np.sqrt(np.maximum(values, 0))
    reference = LogisticRegression(C=1 / (1e-3 * 150), tol=1e-9, max_iter=9000).fit(mapped, y)
    np.testing.assert_allclose(ours.predict_proba(X), reference.predict_proba(mapped), atol=5e-3)


@pytest.mark.parametrize("kind", ["kernel", "logistic"])
def test_many_rows_have_landmarks(kind, monkeypatch):
    X, y = blobs(900, classes=3, columns=150)
    exact = make_head(kind, **({"width": 1.0} if kind == "kernel" else {}), alpha=1e-3).fit(X, y)
    for module in (gram, logistic):
        monkeypatch.setattr(module, "EXACT_ROWS", 500)
        monkeypatch.setattr(module, "LANDMARKS", 120 if kind == "logistic" else 400)
    some = make_head(kind, **({"width": 1.0} if kind == "kernel" else {}), alpha=1e-3).fit(X, y)
    if kind == "kernel":
        assert len(some.support_) == 400
    np.testing.assert_allclose(some.predict_proba(X), exact.predict_proba(X), atol=0.12)
    assert (some.predict(X) == exact.predict(X)).mean() > 0.98
    # The path gives what a fit gives, here too.
    rows = Rows(X, np.eye(3, dtype=np.float32)[exact_codes(y)], np.ones(900), np.unique(y), (150,))
    fitted, judged = np.arange(600), np.arange(600, 900)
    table = some.predict_path(rows, fitted, judged, [{"alpha": 1e-3}])[0]
    again = clone(some).fit_rows(rows, fitted).predict_proba(X[judged])
    np.testing.assert_allclose(table, again, atol=2e-2)


def exact_codes(y):
    return np.unique(y, return_inverse=True)[1]


def test_a_path_gives_what_fits_give(kind):
    X, y = blobs(120)
    rows = Rows(X, np.eye(3, dtype=np.float32)[exact_codes(y)], np.ones(120), np.unique(y), (6,))
    head = make_head(kind, 0, **({} if kind == "lightgbm" else QUICK[kind]))
    if kind == "mlp":
        head.set_params(epochs="auto", members=1)
    choices = head.choices()[:4]
    fitted, judged = np.arange(80), np.arange(80, 120)
    tables = head.predict_path(rows, fitted, judged, choices)
    assert tables.shape == (len(choices), 40, 3)
    for choice, table in zip(choices, tables, strict=True):
        again = clone(head).set_params(**choice).fit_rows(rows, fitted).predict_proba(X[judged])
        np.testing.assert_allclose(table, again, atol=2e-2 if kind in PATHS else 1e-6)


# Warm starts end within a gap of the minimum, not at the same point of it.
PATHS = ("kernel", "grouped", "logistic")


@pytest.mark.parametrize("columns", [6, 40])
def test_rows_are_predicted_beside_a_fit_as_by_the_fitted_head(kind, columns, monkeypatch):
    # Of 40 columns there are directions.
    for module in (directions, classifier):
        monkeypatch.setattr(module, "DIRECTIONS", 20)
    X, y = blobs(120, columns=columns)
    sets = (columns - 2, 2)
    rows = Rows(X, np.eye(3, dtype=np.float32)[exact_codes(y)], np.ones(120), np.unique(y), sets)
    settings = {**QUICK_FOR_CHECKS[kind], **({"scaling": "power"} if kind == "mlp" else {})}
    head = make_head(kind, 0, **settings)
    head.set_params(**head.choices()[0])
    fitted, unseen = np.arange(80), np.arange(80, 120)
    table = clone(head).fit_and_predict(rows, fitted, unseen)
    again = clone(head).fit_rows(rows, fitted).predict_proba(X[unseen])
    np.testing.assert_allclose(table, again, atol=2e-3)
    X[100] = np.nan
    with pytest.raises(HeadError, match="contains NaN"):
        clone(head).fit_and_predict(rows, fitted, unseen)


def test_settings_that_are_given_are_not_chosen(kind):
    closed = {
        "kernel": {"alpha": 1e-4, "width": 1.0},
        "grouped": {"alpha": 1e-4, "share": 0.5},
        "logistic": {"alpha": 1e-4},
        "mlp": {"epochs": 3},
        "lightgbm": {"rounds": 3},
        "ridge": {"alpha": 0.1},
        "neighbours": {"neighbours": 3, "temperature": 0.1},
    }[kind]
    assert make_head(kind, **closed).choices() == [{}]
    X, y = blobs()
    assert make_head(kind, 0, **closed).fit(X, y).chosen_ == {}


def test_nor_does_a_search_try_others_for_them(kind):
    head = make_head(kind, 0)
    assert head.searched(2, 0) == head.further_choices(2, 0)
    given = {"mlp": {"width": 64, "dropout": 0.0}, "lightgbm": {"leaves": 31, "rounds": 3}}
    given |= {"logistic": {"scaling": "standard"}, "kernel": {"width": 1.0}}
    settings = given.get(kind, {})
    lists = make_head(kind, 0, **settings).searched(9, 0)
    assert all(set(settings).isdisjoint(choice) for choices in lists for choice in choices)
    assert lists or kind not in ("mlp", "lightgbm")


@pytest.mark.parametrize("columns", [8, 200])
def test_ridge_is_scikit_learns_and_its_left_out_scores_are_refits(columns):
    X, y = blobs(60, columns=columns)
    targets = np.eye(3)[np.unique(y, return_inverse=True)[1]]
    share = np.random.default_rng(0).random(60)
    share /= share.sum()
    coef, left_out = _solve(X, targets, share, 0.5)
    reference = Ridge(alpha=0.5, fit_intercept=False).fit(X.astype(float), targets, share)
    np.testing.assert_allclose(coef, reference.coef_.T, atol=1e-4)
    for row in (0, 17):
        kept = np.arange(60) != row
        reference.fit(X[kept].astype(float), targets[kept], share[kept])
        np.testing.assert_allclose(left_out[row], reference.predict(X[[row]])[0], atol=1e-3)


def test_one_neighbour_is_the_nearest_row():
    X, y = blobs()
    head = make_head("neighbours", neighbours=1).fit(X[:100], y[:100])
    reference = KNeighborsClassifier(1, metric="cosine").fit(X[:100], y[:100])
    assert (head.predict(X[100:]) == reference.predict(X[100:])).all()


def test_logistic_weights_are_repetitions():
    X, y = blobs()
    counts = np.random.default_rng(0).integers(3, size=150)
    head = LogisticHead(alpha=1e-3, tol=1e-7)
    weighted = head.fit(X, y, counts).predict_proba(X)
    repeated = head.fit(X.repeat(counts, 0), y.repeat(counts)).predict_proba(X)
    np.testing.assert_allclose(weighted, repeated, atol=1e-3)


def test_unknown_heads_and_settings_are_named():
    with pytest.raises(HeadError, match="there is no head 'forest'"):
        make_head("forest")
    with pytest.raises(HeadError, match="'mlp' has no setting breadth, hight"):
        make_head("mlp", breadth=3, hight=2)
    with pytest.raises(HeadError, match=r"^settings .* range: width=0 .*; members=0 .*dropout"):
        MLPClassifier(width=0, members=0, dropout=1.5).fit(*blobs())


@pytest.mark.parametrize("kind", ["kernel", "logistic", "mlp", "ridge", "neighbours"])
def test_soft_labels_pull_towards_their_classes(kind):
    X, y = blobs()
    hard = np.eye(3, dtype=np.float32)[exact_codes(y)]
    settings = {"epochs": 30, "scaling": "rms", "weight_decay": 0.0} if kind == "mlp" else {}
    head = make_head(kind, 0, **settings)
    head.set_params(**head.choices()[-1])
    means = []
    for targets in (hard, (0.15 + 0.55 * hard).astype(np.float32)):
        rows = Rows(X, targets, np.ones(150), np.unique(y), (6,))
        fitted = clone(head).fit_rows(rows, np.arange(150))
        means.append(fitted.predict_proba(X).max(axis=1).mean())
    # The best answer to the soft targets is 0.7 for the likeliest class.
    assert means[0] > 0.88
    assert means[1] == pytest.approx(0.7, abs=0.06)


def break_file(folder, change):
    path = folder / "head.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=2), "format 2; this icecore reads 1"),
        (lambda c: c.update(format="1"), "format = '1', not int"),
        (lambda c: c.update(kind="os.system"), "its kind is 'os.system'"),
        (lambda c: c.pop("classes"), "classes = None, not list"),
        (lambda c: c.update(classes=["a"]), "classes are not two or more"),
        (lambda c: c.update(classes=["a", 1, "b"]), "classes are not two or more"),
        (lambda c: c.update(classes=["b", "a", "c"]), "not in order"),
        (lambda c: c.update(classes=["a", "b", "c", "d"]), "cannot be used"),
        (lambda c: c.update(features=-3), "-3 features"),
        (lambda c: c.update(features=5), "cannot be used"),
        (lambda c: c["settings"].update(color="red"), "unknown settings: color"),
        (lambda c: c.update(fitted=[]), "fitted = \\[\\], not dict"),
        (lambda c: c.update(fitted={}), "None, not"),
    ],
)
def test_a_damaged_description_is_refused(saved, kind, tmp_path, change, message):
    saved(kind, tmp_path)
    break_file(tmp_path, change)
    with pytest.raises(HeadError, match=message):
        load_head(tmp_path)


def test_a_saved_setting_that_is_out_of_range_is_refused_with_the_folder(tmp_path):
    X, y = blobs()
    LogisticHead().fit(X, y).save(tmp_path)
    break_file(tmp_path, lambda content: content["settings"].update(alpha=0))
    with pytest.raises(HeadError, match=rf"head in {re.escape(str(tmp_path))} cannot.*alpha=0"):
        load_head(tmp_path)


@pytest.mark.parametrize("sets", [[8, -2], [6, 0], [5], [3, 3.0]])
def test_widths_of_feature_sets_are_whole_and_complete(tmp_path, sets):
    X, y = blobs(columns=6)
    LogisticHead().fit(X, y).save(tmp_path)
    break_file(tmp_path, lambda content: content["fitted"].update(sets=sets))
    said = "not whole numbers of 1 or more that are 6 in all"
    with pytest.raises(HeadError, match=rf"sets = {re.escape(str(sets))}, {said}"):
        load_head(tmp_path)


def test_damaged_arrays_are_refused(saved, kind, tmp_path):
    saved(kind, tmp_path)
    path = tmp_path / "weights.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HeadError, match=r"weights.npz is not a readable NPZ"):
        load_head(tmp_path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(HeadError, match=r"weights.npz has nothing, not"):
        load_head(tmp_path)
    path.unlink()
    with pytest.raises(HeadError, match=r"weights.npz is not there"):
        load_head(tmp_path)
    (tmp_path / "head.json").write_text("[1, 2")
    with pytest.raises(HeadError, match="not usable JSON"):
        load_head(tmp_path)
    (tmp_path / "head.json").unlink()
    with pytest.raises(MissingFileError, match="head.json is not there"):
        load_head(tmp_path)


def test_nothing_is_unpickled(tmp_path):
    X, y = blobs()
    MLPClassifier(width=4, members=1, epochs=1, random_state=0).fit(X, y).save(tmp_path)
    with np.load(tmp_path / "weights.npz") as stored:
        arrays = dict(stored)
    arrays["b1_1"] = np.array([print] * 4, dtype=object)
    with open(tmp_path / "weights.npz", "wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(HeadError, match="holds object, not numbers or text"):
        load_head(tmp_path)
    arrays["b1_1"] = np.array([np.nan] * 4, np.float32)
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(HeadError, match="b1_1 in weights.npz is not finite"):
        load_head(tmp_path)


def test_many_rows_train_a_wide_network_and_a_long_one_drops_more_of_it():
    def shape(rows, columns=1280, **settings):
        recipe = MLPClassifier(**settings)._recipe(rows, columns)
        return recipe.width, recipe.dropout

    assert [shape(rows, epochs=8) for rows in (896, 897)] == [(128, 0.5), (256, 0.5)]
    assert [shape(rows, epochs=14) for rows in (896, 897)] == [(128, 0.5), (256, 0.75)]
    # Of several networks side by side.
    assert [shape(rows, 3840, epochs=14) for rows in (1792, 1793)] == [(128, 0.5), (256, 0.75)]
    assert shape(5000, epochs=14, width=64) == (64, 0.5)
    assert shape(5000, epochs=14, dropout=0.1) == (256, 0.1)


def test_layers_that_do_not_fit_together_are_refused(tmp_path):
    X, y = blobs()
    head = MLPClassifier(members=1, epochs=1, random_state=0).fit(X, y)
    head.save(tmp_path)
    np.testing.assert_array_equal(load_head(tmp_path).predict_proba(X), head.predict_proba(X))
    with np.load(tmp_path / "weights.npz") as stored:
        arrays = dict(stored)
    arrays["b1_1"] = arrays["b1_1"][:-1]
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(HeadError, match="the layers of a network do not fit together"):
        load_head(tmp_path)


def test_a_strange_lightgbm_text_is_refused(tmp_path):
    X, y = blobs()
    head = make_head("lightgbm", 0, **QUICK["lightgbm"]).fit(X, y)
    head.save(tmp_path)
    other = make_head("lightgbm", 0, **QUICK["lightgbm"]).fit(X, y == "shirt")
    other.save(tmp_path / "other")
    (tmp_path / "model.txt").write_bytes((tmp_path / "other/model.txt").read_bytes())
    with pytest.raises(HeadError, match="4 inputs and 1 trees a round, not 4 and 3"):
        load_head(tmp_path)
    (tmp_path / "model.txt").write_text("tree\nnonsense\n")
    with pytest.raises(HeadError, match="model.txt is not a LightGBM model"):
        load_head(tmp_path)
    (tmp_path / "model.txt").unlink()
    with pytest.raises(HeadError, match="model.txt is not there"):
        load_head(tmp_path)


@pytest.mark.parametrize("kind", ["kernel", "grouped", "logistic", "mlp"])
def test_widths_of_feature_sets_are_those_of_the_rows(kind):
    X, y = blobs()
    with pytest.raises(HeadError, match="are 3 features in all, and X has 6"):
        make_head(kind, 0, sets=(1, 2)).fit(X, y)
