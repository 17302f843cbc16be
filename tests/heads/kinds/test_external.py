"""Any importable classifier as a head."""

import json
import re
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import check_estimator

from icecore.core.errors import HeadError
from icecore.core.files import sha256_bytes
from icecore.heads import ExternalHead, load_head, make_head

FOREST = "sklearn.ensemble:RandomForestClassifier"


@pytest.fixture
def elsewhere(monkeypatch, tmp_path_factory):
    """Make every file one that another user wrote, once the fixture is called."""
    return lambda: monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("theirs")))


def blobs(rows=90):
    rng = np.random.default_rng(0)
    codes = np.arange(rows) % 3
    X = (3 * rng.normal(size=(3, 5))[codes] + rng.normal(size=(rows, 5))).astype(np.float32)
    return X, np.array(["shirt", "a hat", "skirt"])[codes]


def test_it_passes_scikit_learns_checks():
    # Naive Bayes estimates its smoothing from unweighted variances.
    excused = {"check_sample_weight_equivalence_on_dense_data": "GaussianNB's smoothing"}
    check_estimator(ExternalHead(), expected_failed_checks=excused, on_skip=None)


DISCRIMINANT = "sklearn.discriminant_analysis:LinearDiscriminantAnalysis"


@pytest.mark.parametrize("name", [FOREST, DISCRIMINANT])
def test_loaded_it_answers_the_same(name, tmp_path):
    X, y = blobs()
    settings = {"n_estimators": 12} if name == FOREST else {}
    head = make_head(name, 3, **settings).fit(X.astype(np.float16), y)
    head.save(tmp_path)
    loaded = load_head(tmp_path)
    np.testing.assert_array_equal(
        loaded.predict_proba(X.astype(np.float16)), head.predict_proba(X.astype(np.float16))
    )
    assert loaded.score(X, y) > 0.9


def test_it_is_the_classifier_itself():
    X, y = blobs()
    head = make_head(FOREST, 3, n_estimators=7, random_state=5).fit(X, y)
    reference = RandomForestClassifier(7, random_state=5).fit(X, y)
    np.testing.assert_array_equal(head.predict_proba(X), reference.predict_proba(X))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sklearn.ensemble:Wood", {}, "there is no classifier 'sklearn.ensemble:Wood'"),
        ("nowhere:Thing", {}, "there is no classifier 'nowhere:Thing'"),
        ("os:getcwd", {}, "'os:getcwd' is not a scikit-learn estimator class"),
        ("sklearn.linear_model:Ridge", {}, "is not a classifier with predict_proba"),
        (FOREST, {"wood": 3}, "cannot be made with the settings .*wood"),
    ],
)
def test_what_cannot_be_a_head_is_refused(name, settings, message):
    with pytest.raises(HeadError, match=message):
        make_head(name, 0, **settings).fit(*blobs())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sklearn.neighbors:KNeighborsClassifier", {"n_neighbors": 0}),
        ("sklearn.linear_model:LogisticRegression", {"solver": "foo"}),
        (FOREST, {"max_depth": "deep"}),
    ],
)
def test_an_error_of_its_fit_is_one_line_that_names_its_settings(name, settings):
    with pytest.raises(HeadError, match=f"{name} cannot be fitted with the settings ") as caught:
        make_head(name, 0, **settings).fit(*blobs())
    assert next(iter(settings)) in caught.value.message
    assert "\n" not in caught.value.message
    assert "change these settings" in caught.value.hint


def test_the_classifier_that_a_refusal_recommends_can_be_fitted():
    with pytest.raises(HeadError) as caught:
        make_head("nowhere:Thing", 0).fit(*blobs())
    make_head(re.search(r"instance (\S+:\w+)", caught.value.hint)[1], 0).fit(*blobs())


def test_weights_need_a_classifier_that_takes_them():
    X, y = blobs()
    with pytest.raises(HeadError, match="takes no sample_weight"):
        make_head("sklearn.neighbors:KNeighborsClassifier").fit(X, y, np.arange(90) + 1.0)


@pytest.mark.parametrize("name", [FOREST, "sklearn.naive_bayes:GaussianNB"])
def test_a_file_from_elsewhere_is_opened_by_its_digest_alone(
    name, tmp_path, monkeypatch, elsewhere
):
    X, y = blobs()
    make_head(name, 0).fit(X, y).save(tmp_path)
    assert load_head(tmp_path).score(X, y) > 0.9  # it was written here
    elsewhere()
    with pytest.raises(HeadError, match=r"written elsewhere.*train the head here or") as refusal:
        load_head(tmp_path)
    variable, digest = re.search(r"(\w+)=([0-9a-f]{64})", str(refusal.value)).groups()
    monkeypatch.setenv(variable, "0" * 64)
    with pytest.raises(HeadError, match="written elsewhere"):
        load_head(tmp_path)
    monkeypatch.setenv(variable, f"{'0' * 64},{digest}")
    assert load_head(tmp_path).score(X, y) > 0.9


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("var_", np.full((3, 5), np.nan), "predicts what are no probabilities"),
        ("var_", np.ones((3, 2)), "does not predict"),
        ("theta_", np.ones((3, 5)).astype(str), "does not predict"),
        ("class_prior_", np.ones(0), "does not predict"),
        ("classes_", np.arange(3) / 2, "is no classifier of its classes"),
    ],
)
def test_wrong_numbers_are_an_error_and_no_answer(attribute, value, message, tmp_path):
    X, y = blobs()
    head = make_head("sklearn.naive_bayes:GaussianNB", 0).fit(X, y)
    setattr(head.estimator_, attribute, value)
    head.save(tmp_path)
    with pytest.raises(HeadError, match=message):
        load_head(tmp_path).predict_proba(X)


@pytest.mark.parametrize(
    ("loader", "more"),
    [
        ("ConstructorFromReduceNode", "content"),
        ("FunctionNode", "content"),
        ("TypeNode", "content"),
        ("ObjectNode", "nothing"),
    ],
)
@pytest.mark.parametrize("name", ["builtins eval", "builtins exec", "numpy.testing runstring"])
def test_no_file_runs_code(name, loader, more, tmp_path):
    make_head("sklearn.naive_bayes:GaussianNB", 0).fit(*blobs()).save(tmp_path)
    path, mark = tmp_path / "estimator.skops", tmp_path / "ran"
    with zipfile.ZipFile(path) as archive:
        schema = json.loads(archive.read("schema.json"))
    kept = {key: schema[key] for key in ("protocol", "_skops_version")}
    module, function = name.split()

    def node(kind, loader, content):
        about = {"__class__": kind, "__module__": "builtins", "__loader__": loader}
        return about | {"content": content}

    code = node("str", "JsonNode", json.dumps(f"open({str(mark)!r}, 'w')"))
    arguments = [code]
    if function == "runstring":
        types = node("list", "ListNode", [])
        arguments.append(node("dict", "DictNode", {}) | {"key_types": types})
    forged = {"__class__": function, "__module__": module, "__loader__": loader}
    forged[more] = node("tuple", "TupleNode", arguments)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps(kept | forged))
    with pytest.raises(HeadError, match="written elsewhere, and a file of its kind can run code"):
        load_head(tmp_path)
    assert not mark.exists()


def test_a_damaged_or_other_file_is_refused(tmp_path, monkeypatch):
    X, y = blobs()
    make_head("sklearn.naive_bayes:GaussianNB", 0).fit(X, y).save(tmp_path)
    path = tmp_path / "estimator.skops"

    def write(content):
        path.write_bytes(content)
        monkeypatch.setenv("ICECORE_TRUSTED_DIGESTS", f"0, {sha256_bytes(content).upper()}")

    write(path.read_bytes()[:100])
    with pytest.raises(HeadError, match=r"estimator.skops is not readable"):
        load_head(tmp_path)
    write(skops.io.dumps(LinearRegression().fit(X, X[:, 0])))
    with pytest.raises(HeadError, match="is no classifier of its classes and features"):
        load_head(tmp_path)
    path.unlink()
    with pytest.raises(HeadError, match=r"estimator.skops is not there"):
        load_head(tmp_path)
