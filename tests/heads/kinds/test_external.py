"""Any importable classifier as a head."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import check_estimator

from icecore.core.errors import HeadError
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


def test_weights_need_a_classifier_that_takes_them():
    X, y = blobs()
    with pytest.raises(HeadError, match="takes no sample_weight"):
        make_head("sklearn.neighbors:KNeighborsClassifier").fit(X, y, np.arange(90) + 1.0)


def test_types_that_nobody_trusts_are_refused(tmp_path, elsewhere):
    X, y = blobs()
    make_head(FOREST, 0, n_estimators=5).fit(X, y).save(tmp_path)
    elsewhere()
    with pytest.raises(HeadError, match=r"not trusted: .*sklearn.tree._tree.Tree; name their mod"):
        load_head(tmp_path)


@pytest.mark.filterwarnings("ignore:The `probability` parameter was deprecated")
@pytest.mark.parametrize("name", ["svm:SVC", "neighbors:KNeighborsClassifier"])
def test_what_hands_its_arrays_to_compiled_code_is_trusted_by_name_alone(
    name, tmp_path, monkeypatch, elsewhere
):
    X, y = blobs()
    make_head(f"sklearn.{name}", 0, **({"probability": True} if "SVC" in name else {})).fit(
        X, y
    ).save(tmp_path)
    assert load_head(tmp_path).score(X, y) > 0.9  # it was written here
    elsewhere()
    with pytest.raises(HeadError, match=r"not trusted: sklearn.*; name their mod"):
        load_head(tmp_path)
    monkeypatch.setenv("ICECORE_TRUSTED_MODULES", "sklearn")
    assert load_head(tmp_path).score(X, y) > 0.9


def test_sparse_weights_are_not_taken_from_a_file(tmp_path, elsewhere):
    # Their indices could lead anywhere.
    head = make_head("sklearn.linear_model:LogisticRegression", 0).fit(*blobs())
    head.estimator_.sparsify()
    head.save(tmp_path)
    elsewhere()
    with pytest.raises(HeadError, match=r"not trusted: .*\(SparseMatrixNode\)"):
        load_head(tmp_path)


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


@pytest.mark.parametrize("member", ["schema.json", "more.npy"])
def test_an_archive_that_unpacks_to_much_is_refused_before(member, tmp_path):
    make_head("sklearn.naive_bayes:GaussianNB", 0).fit(*blobs()).save(tmp_path)
    path = tmp_path / "estimator.skops"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content[member] = content.get(member, b"") + b" " * (65 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(HeadError, match=r"it would unpack to 65 MiB"):
        load_head(tmp_path)


def test_a_file_cannot_choose_what_is_imported(tmp_path):
    X, y = blobs()
    make_head("sklearn.naive_bayes:GaussianNB", 0).fit(X, y).save(tmp_path)
    path = tmp_path / "estimator.skops"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    schema = content["schema.json"].replace(b"GaussianNB", b"fly")
    content["schema.json"] = schema.replace(b"sklearn.naive_bayes", b"antigravity")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(HeadError, match=r"not trusted: antigravity\.fly"):
        load_head(tmp_path)


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
    with pytest.raises(HeadError, match=rf"not trusted: {module}\.{function}"):
        load_head(tmp_path)
    assert not mark.exists()


def test_a_damaged_or_other_file_is_refused(tmp_path):
    X, y = blobs()
    make_head("sklearn.naive_bayes:GaussianNB", 0).fit(X, y).save(tmp_path)
    path = tmp_path / "estimator.skops"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(HeadError, match=r"estimator.skops is not readable"):
        load_head(tmp_path)
    path.write_bytes(skops.io.dumps(LinearRegression().fit(X, X[:, 0])))
    with pytest.raises(HeadError, match="is no classifier of its classes and features"):
        load_head(tmp_path)
    path.unlink()
    with pytest.raises(HeadError, match=r"estimator.skops is not there"):
        load_head(tmp_path)
