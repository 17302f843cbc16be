"""The benchmark's own checks, at a size that takes no time: answers agree before speed counts."""

import importlib.util

import numpy as np
import pytest
from repository import ROOT

PATH = ROOT / "benchmarks" / "ensemble.py"


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
