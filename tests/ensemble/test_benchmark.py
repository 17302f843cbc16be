"""The benchmark's own checks, at a size that takes no time: answers agree before speed counts."""

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

PATH = ROOT / "benchmarks" / "ensemble" / "weights.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("ensemble_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_baseline_is_better(benchmark, capsys):
    benchmark.compare(4, 300, 3, patience=60)
    assert "SLSQP" in capsys.readouterr().out


def test_both_greedy_baselines_are_one_algorithm(benchmark):
    probabilities, y = benchmark.synthetic(5, 400, 4)
    true = benchmark.true_class(probabilities, y).astype(float)
    whole, rounds = benchmark.greedy_tables(probabilities, y, 15, np.inf)
    assert rounds == 15
    assert whole == pytest.approx(benchmark.greedy_columns(true, 15))


@pytest.fixture
def quality(monkeypatch):
    """The modules of benchmarks/jobs/quality.py, which import each other by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "jobs"))
    parts = [f"quality_{part}" for part in ("cases", "rivals", "simulation", "splits")]
    for name in (*parts, "quality"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("quality")


def test_unseen_rows_of_the_quality_benchmark_stay_unseen(quality):
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 240)
    keys = tuple(f"k{number}" for number in rng.integers(200, size=240))
    for more in ({}, {"rows": 40, "repeats": 2}):
        case = quality.Case("made", Path(), (), keys, labels, labels, **more)
        for split in case.splits():
            images = np.array(keys)
            assert not set(images[split.learn]) & set(images[split.test])
            assert set(labels[split.learn]) == {"a", "b", "c"}


def test_many_random_splits_see_no_image_twice_and_say_what_they_found(quality, tmp_path):
    many = importlib.import_module("quality_splits")
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 240)
    keys = tuple(f"k{number}" for number in rng.integers(200, size=240))
    case = quality.Case("made", Path(), (), keys, labels, labels)
    drawn = list(many.splits(case, 40, 3))
    assert len({tuple(split.learn) for split in drawn}) == 3
    for split in drawn:
        images = np.array(keys)
        assert not set(images[split.learn]) & set(images[split.test])
    # Told, low, high, unseen, logistic alone, unseen rows, seconds.
    found = np.array([[0.4, 0.3, 0.5, 0.35, 0.36, 200, 9], [0.4, 0.3, 0.5, 0.55, 0.5, 200, 11]])
    cells = [cell.strip() for cell in many.summary("clothing10", 400, found).split("|")][1:-1]
    assert cells[:4] == ["clothing10, 400 rows", "2", "0.4500", "+0.0500 ± 0.1000"]
    assert cells[4:] == ["1 (50%; 74%)", "1", "+0.0200 ± 0.0300", "1 of 2", "10"]


def test_the_quality_benchmark_knows_who_is_behind(quality):
    keys = np.array(["k0", "k1", "k2", "k0"])
    ours = {"splits": [("fold0", np.array([0.2, 0.4, 0.1, 0.3]), np.ones(4), keys)]}
    theirs = {"splits": [("fold0", np.array([0.3, 0.5, 0.2, 0.4]), np.ones(4), keys)]}
    assert quality.paired(ours, theirs) == pytest.approx((0.1, 0))
    tables = [np.tile([0.9, 0.1], (20, 1)), np.tile([0.2, 0.8], (20, 1))]
    assert quality.greedy_weights(tables, np.zeros(20, int)).tolist() == [1, 0]


def test_the_simulation_finds_the_tool_honest(quality):
    lines = quality.simulated_optimism(3, sizes=(60,))
    assert lines[-1].startswith("| 60 |")


@pytest.mark.parametrize("name", ["LogisticRegressionCV", "Gluon recipe", "kNN"])
def test_rivals_learn(quality, name):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = (rng.normal(size=(90, 12)) + 2 * np.eye(3, 12)[y]).astype(np.float32)
    table = quality.quietly(quality.RIVALS[name], X, y, X)
    assert table.sum(axis=1) == pytest.approx(np.ones(90), abs=1e-5)
    if name != "Gluon recipe":  # at its rate fifty epochs of ninety rows are not enough
        assert (table.argmax(axis=1) == y).mean() > 0.8
