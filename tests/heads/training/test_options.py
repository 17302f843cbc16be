"""The options of training: what they ask for, and which are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from heads_support import CLASSES, go, make_cache, samples

from icecore.core.errors import HeadError
from icecore.heads import TrainOptions, base, make_head
from icecore.heads.kinds import neighbours
from icecore.heads.training.plan import plan_models
from icecore.heads.training.targets import labelled_rows, require_known_classes
from icecore.heads.training.task_data import task_data
from icecore.manifest.table import Manifest
from icecore.runs import read_probabilities


def rows_of(samples_, **options):
    data = task_data(Manifest(tuple(samples_), "the data"), "label", set())
    features = np.zeros((len(data.samples), 4), np.float32)
    return labelled_rows(data, data.labelled, features, (4,), TrainOptions(**options))


def test_all_faults_are_named_at_once():
    with pytest.raises(HeadError) as caught:
        TrainOptions(validation="half", folds=2, repeats=0, maybe=2, search_seconds=5, refit="some")
    for fault in ("these options", "validation='half'", "folds=2", "repeats=0", "maybe=2"):
        assert fault in str(caught.value)
    for most in ({"folds": 1001}, {"repeats": 1001}, {"search": 10_001}):
        with pytest.raises(HeadError, match=" to 1"):
            TrainOptions(**most)
    with pytest.raises(HeadError, match="search_seconds without search"):
        TrainOptions(search_seconds=5)
    with pytest.raises(HeadError, match=r"search_seconds=0.* \(above 0\)"):
        TrainOptions(search=2, search_seconds=0.0)
    with pytest.raises(HeadError, match="the folds know all rows"):
        TrainOptions(refit="train")


def test_balanced_weights_give_every_class_the_same_total():
    uneven = samples(30) + samples(12, classes=("hat",), prefix="h")
    rows = rows_of(uneven, class_weight="balanced")
    weights = rows.fit_weights(np.arange(42))
    totals = weights @ rows.targets
    np.testing.assert_allclose(totals, totals.mean())
    assert weights.sum() == pytest.approx(42)
    # Each row counts once in what is said of heads.
    assert (rows.weights == 1).all()


def test_letters_make_soft_labels():
    letters = {"dress": "ymn", "hat": "nyn", "skirt": "nny"}
    lettered = [
        dataclasses.replace(s, letters=letters[s.label], label=str(CLASSES.index(s.label)))
        for s in samples(9)
    ]
    rows = rows_of(lettered, maybe=0.5)
    np.testing.assert_allclose(rows.targets[0], [2 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(rows.targets[1], [0, 1, 0])
    assert rows_of(lettered).targets[0].tolist() == [1, 0, 0]


def test_letters_that_nobody_gave_cannot_count():
    manifest = Manifest(tuple(samples(9)), "mine")
    with pytest.raises(HeadError, match="no label of mine has a letter m"):
        require_known_classes(manifest, TrainOptions(maybe=0.5))


def test_rare_classes_are_left_out_and_come_back_with_probability_0(tmp_path):
    rare = [dataclasses.replace(s, label="coat") for s in samples(2, prefix="c")]
    rows = [*samples(30), *rare, *samples(6, "test", prefix="t")]
    kept = rows_of(rows, min_class_count=3)
    assert kept.classes.tolist() == list(CLASSES)
    assert (kept.weights == 0).sum() == 2
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    result = go(cache, rows, tmp_path / "run", heads=["logistic"], min_class_count=3)
    table = read_probabilities(tmp_path / "run/label/probabilities/logistic-one.npz")
    assert table.classes == ("coat", *CLASSES)
    assert (table.probabilities[:, 0] == 0).all()
    assert result.tasks[0].models[0].scores["accuracy"] > 0.85
    told = "only 0 can be learnt, and a head needs two .fewer than 50 training images: coat, "
    with pytest.raises(HeadError, match=told):
        rows_of(rows, min_class_count=50)
    with pytest.raises(
        HeadError, match="only 1 can be learnt, and .* .dropped: dress, hat, skirt"
    ) as got:
        rows_of(rows, drop_classes=[f"label={name}" for name in CLASSES])
    assert got.value.hint == "drop fewer classes"


def test_repeats_average_folds(tmp_path):
    rows = samples(45)
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    tables = []
    for repeats in (1, 3):
        out = tmp_path / f"run{repeats}"
        result = go(cache, rows, out, heads=["ridge"], folds=3, repeats=repeats)
        tables.append(read_probabilities(out / "label/probabilities/ridge-one.npz"))
    assert result.tasks[0].validation == "out-of-fold, 3 folds, 3 times"
    assert np.abs(tables[0].probabilities - tables[1].probabilities).max() > 1e-4


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("mlp,width=1e6", r"width=1000000.0 \('auto' or a whole number from 1 to 1,048,576\)"),
        ("mlp,width=nan", "width='nan'"),
        ("kernel,alpha=1e400", "alpha=inf"),
        (f"mlp,width=1{'0' * 400}", "width=1000"),
        ("mlp,members=1001", r"members=1001 \(a whole number from 1 to 1,000\)"),
        ("mlp,epochs=100001", "epochs=100001"),
        ("mlp,batch_size=1048577", "batch_size=1048577"),
        ("lightgbm,rounds=262145", r"rounds=262145 \('auto' or a whole number from 1 to 262,144\)"),
        ("lightgbm,leaves=131073", r"leaves=131073 \(a whole number from 2 to 131,072\)"),
        ("lightgbm,leaves=1", "leaves=1 "),
        ("neighbours,neighbours=1048577", "neighbours=1048577"),
        ("kernel,width=1e-300", r"width=1e-300 \('auto' or from 1e-15 to 1e15\)"),
        ("kernel,width=1e300", r"width=1e\+300"),
        ("logistic,tol=null", "tol=None"),
        ('logistic,sets="all"', "sets='all'"),
        ("mlp,random_state=-1", "random_state=-1"),
    ],
)
def test_settings_out_of_range_are_refused_before_the_work(tmp_path, head, said):
    # Each of them ended in a traceback, after the run's folder was begun.
    cache = make_cache(tmp_path / "cache", samples(30), names=("one",))
    with pytest.raises(HeadError, match=said):
        go(cache, samples(30), tmp_path / "run", heads=[head])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "mlp", "width": 10**6}, r"width=1000000, members=2 would take [\d,.]+ GiB"),
        ({"kind": "mlp", "members": 1000, "width": 5000}, r"members=1000 would take [\d,.]+ GiB"),
        ({"kind": "lightgbm", "leaves": 10**5, "components": None}, "leaves=100000"),
    ],
)
def test_memory_that_no_machine_has_is_said_before_it_is_taken(monkeypatch, settings, said):
    monkeypatch.setattr(base, "installed_memory", lambda: 2**30)
    X = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
    with pytest.raises(HeadError, match=f"{said}.*this machine has 1.0 GiB"):
        make_head(**settings, seed=0).fit(X, np.arange(60) % 3)


@pytest.mark.parametrize("kind", ["kernel", "grouped", "neighbours"])
def test_memory_that_goes_with_the_rows_is_said_with_what_needs_less(monkeypatch, kind):
    monkeypatch.setattr(base, "installed_memory", lambda: 2**16)
    X = np.random.default_rng(0).normal(size=(400, 1000)).astype(np.float32)
    y = np.arange(400) % 3
    with pytest.raises(HeadError, match=f"'{kind}' with so many rows would take") as caught:
        make_head(kind, seed=0).fit(X, y)
    assert "--head mlp" in caught.value.hint


def test_votes_of_many_neighbours_are_summed_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 8)), np.arange(90) % 3
    head = make_head("neighbours", seed=0, neighbours=80).fit(X, y)
    whole = head.predict_proba(X)
    monkeypatch.setattr(neighbours, "_VOTES_AT_ONCE", 7 * 80 * 3)
    assert (head.predict_proba(X) == whole).all()


def test_a_run_says_the_memory_that_its_heads_would_take(tmp_path, monkeypatch):
    # Each setting is judged by one network, which would fit.
    monkeypatch.setattr(base, "installed_memory", lambda: 2**30)
    cache = make_cache(tmp_path / "cache", samples(30), names=("one",))
    with pytest.raises(HeadError, match=r"members=1000 would take [\d,.]+ GiB of memory"):
        go(cache, samples(30), tmp_path / "run", heads=["mlp,width=50000,members=1000"], folds=3)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"ridge": None}, {"ridge": {1: 2}}, {1: {}}])
def test_settings_are_of_names(settings):
    with pytest.raises(HeadError, match="settings="):
        TrainOptions(settings=settings)
    with pytest.raises(HeadError, match="search_seconds=inf"):
        TrainOptions(search=1, search_seconds=float("inf"))


def test_a_setting_is_said_once(tmp_path):
    # The head's own won without a word.
    cache = make_cache(tmp_path / "cache", samples(30), names=("one",))
    said = {"heads": ["ridge,alpha=2"], "folds": 3}
    with pytest.raises(HeadError, match="alpha of ridge is 1 for all heads .* and 2 for one"):
        go(cache, samples(30), tmp_path / "run", settings={"ridge": {"alpha": 1}}, **said)
    assert not (tmp_path / "run").exists()
    assert go(cache, samples(30), tmp_path / "run", settings={"ridge": {"alpha": 2}}, **said).tasks


@pytest.mark.parametrize(
    "heads",
    [
        ("one.module:Trees", "another.module:Trees"),
        ("mlp,width=[1 2]", "mlp,width=[1_2]"),
        (f"kernel,note={'x' * 90}a", f"kernel,note={'x' * 90}b"),
    ],
)
def test_two_heads_of_one_name_are_refused(tmp_path, heads):
    # One of them was left out without a word.
    cache = make_cache(tmp_path / "cache", samples(30), names=("one",))
    with pytest.raises(HeadError, match="two heads would both be called"):
        plan_models(cache, None, heads)
    assert len(plan_models(cache, None, [heads[0], heads[0]])[1]) == 1


@pytest.mark.parametrize("name", ["features", "heads"])
def test_none_of_several_is_not_all_of_them(name):
    # An empty list, of which a filter left nothing, meant the defaults.
    with pytest.raises(HeadError, match=rf"{name}=\[\] \(one or more, or None\)"):
        TrainOptions(**{name: []})
