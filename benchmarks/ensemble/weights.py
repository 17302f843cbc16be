"""Weights for an average: the certified optimum against what people use otherwise.

    python benchmarks/ensemble/weights.py [--quick] [--data FEATURES.npz]

Baselines, each in the same run on the same arrays:
- greedy selection with replacement as AutoGluon does it (Caruana et al. 2004): each round
  scores every model's addition on the whole (N, C) table; 25 and 100 rounds;
- the same algorithm given our shortcut, that log-loss needs only the true class's column;
- scipy's SLSQP from equal weights, and Nelder-Mead, both given that shortcut too.

Before any time is compared the answers are: ours must carry a certificate of 1e-8 or less,
which no baseline can then beat, and no baseline's loss may be lower.

The second part asks whether the recommendation is any good: on ten seeded resamples of real
features (an NPZ with f0, f1, f2, y) the recommended answer's log-loss on test rows may not
be worse than the plain average's by more than the bootstrap noise.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from icecore.core.hardware import describe_machine
from icecore.ensemble import Blender, BlendOptions, Chooser, certificate
from icecore.ensemble.joining.join import TaskData
from icecore.ensemble.metrics import METRICS, log_loss
from icecore.ensemble.resampling import Scored, paired_difference
from icecore.ensemble.weighting.notes import true_class
from icecore.ensemble.weighting.simplex import minimise_log_loss

SIZES = ((24, 20_000, 10), (64, 80_000, 54))
QUICK = ((24, 4_000, 10),)


def synthetic(models, rows, classes, seed=0):
    """Return probabilities (M, N, C) float32 of related models of unequal quality, and y."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=rows)
    shared = rng.normal(size=(rows, classes)).astype(np.float32)
    probabilities = np.empty((models, rows, classes), dtype=np.float32)
    for table in probabilities:
        table[:] = rng.normal(size=(rows, classes)).astype(np.float32) * rng.uniform(0.6, 1.2)
        table += 0.8 * shared
        table[np.arange(rows), y] += rng.uniform(2.0, 3.5)
        table *= rng.uniform(0.7, 1.5)
        np.exp(table - table.max(axis=1, keepdims=True), out=table)
        table /= table.sum(axis=1, keepdims=True)
    return probabilities, y


def greedy_tables(probabilities, y, rounds, deadline):
    """AutoGluon's EnsembleSelection, written plainly, on whole tables."""
    total = np.zeros_like(probabilities[0])
    counts = np.zeros(len(probabilities))
    best, best_loss = None, np.inf
    rows = np.arange(len(y))
    for done in range(1, rounds + 1):
        losses = []
        for table in probabilities:
            mixed = (total + table) / done
            losses.append(-np.log(np.clip(mixed, 1e-15, 1)[rows, y]).mean())
        pick = int(np.argmin(losses))
        total += probabilities[pick]
        counts[pick] += 1
        if losses[pick] < best_loss:
            best, best_loss = counts / done, losses[pick]
        if time.perf_counter() > deadline:
            return best, done
    return best, rounds


def greedy_columns(true, rounds):
    """The same selection, on the true class's probabilities alone."""
    total = np.zeros(len(true))
    counts = np.zeros(true.shape[1])
    best, best_loss = None, np.inf
    for done in range(1, rounds + 1):
        losses = -np.log((total[:, None] + true) / done).mean(axis=0)
        pick = int(np.argmin(losses))
        total += true[:, pick]
        counts[pick] += 1
        if losses[pick] < best_loss:
            best, best_loss = counts / done, losses[pick]
    return best


def slsqp(true):
    models = true.shape[1]

    def loss(w):
        mixed = np.maximum(true @ w, 1e-15)
        return -np.log(mixed).mean(), -(true / mixed[:, None]).mean(axis=0)

    found = minimize(
        loss,
        np.full(models, 1 / models),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"maxiter": 300},
    )
    return np.clip(found.x, 0, None) / np.clip(found.x, 0, None).sum()


def nelder_mead(true):
    models = true.shape[1]

    def weights(z):
        w = np.abs(z)
        return w / w.sum()

    found = minimize(
        lambda z: -np.log(np.maximum(true @ weights(z), 1e-15)).mean(),
        np.full(models, 1 / models),
        method="Nelder-Mead",
        options={"maxfev": 1000},
    )
    return weights(found.x)


def timed(function, *arguments, repeats=1):
    best = np.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        answer = function(*arguments)
        best = min(best, time.perf_counter() - begin)
    return answer, best


def compare(models, rows, classes, patience):
    """Time every method at one size; return our speed over 100 rounds of both greedies."""
    print(f"\nM={models}, N={rows}, C={classes}")
    probabilities, y = synthetic(models, rows, classes)

    def ours():
        # From the whole tables, as the baseline has them.
        return minimise_log_loss(true_class(probabilities, y))

    solution, seconds = timed(ours, repeats=3)
    true = true_class(probabilities, y).astype(np.float64)
    proof = certificate(true, solution.weights)
    assert proof <= 1e-8, proof

    def loss(w):
        return float(-np.log(np.maximum(true @ w, 1e-15)).mean())

    bare, bare_seconds = timed(minimise_log_loss, true, repeats=3)
    assert np.allclose(bare.weights, solution.weights, atol=1e-6)
    line = "{:<34}{:>10}{:>12}{:>16}"
    print(line.format("method", "seconds", "times ours", "loss above ours"))
    print(line.format("icecore, certificate " + f"{proof:.0e}", f"{seconds:.3f}", "1", "0"))
    print(line.format("icecore on columns", f"{bare_seconds:.3f}", "", ""))
    ratios = {}

    def show(name, w, spent, exact=True):
        above = loss(w) - loss(solution.weights)
        assert above >= -1e-8, (name, above)
        ratios[name] = spent / seconds
        mark = "" if exact else "~"
        print(
            line.format(name, f"{mark}{spent:.3f}", f"{mark}{spent / seconds:.1f}", f"{above:.2e}")
        )

    for rounds in (25, 100):
        (w, done), spent = timed(
            greedy_tables, probabilities, y, rounds, time.perf_counter() + patience
        )
        # Every round costs the same: a baseline cut short is scaled up, and marked.
        name = f"greedy, {rounds} rounds" + ("" if done == rounds else f" ({done} run)")
        show(name, w, spent * rounds / done, done == rounds)
        if rounds == 100:
            ratios["greedy 100"] = spent * rounds / done / seconds
    for rounds in (25, 100):
        show(f"greedy on columns, {rounds} rounds", *timed(greedy_columns, true, rounds))
    show("SLSQP from equal weights", *timed(slsqp, true))
    show("Nelder-Mead, 1000 evaluations", *timed(nelder_mead, true))
    return ratios["greedy 100"], ratios["greedy on columns, 100 rounds"]


def resamples(path, count=10):
    """Blend four logistic regressions on `count` resamples; judge the recommendation."""
    from sklearn.linear_model import LogisticRegression

    with np.load(path, allow_pickle=False) as arrays:
        y = arrays["y"]
        sets = {name: arrays[name].astype(np.float32) for name in ("f0", "f1", "f2")}
    sets["all"] = np.hstack(list(sets.values()))
    sets = {n: x / np.linalg.norm(x, axis=1, keepdims=True) for n, x in sets.items()}
    classes = tuple(map(str, range(int(y.max()) + 1)))
    print(
        "\nresample   tuned  average  best single  recommended, shrinkage   gain over average [95%]"
    )
    kept = 0
    for seed in range(count):
        order = np.random.default_rng(seed).permutation(len(y))
        train, rest = order[:1200], order[1200:]
        tables = []
        for x in sets.values():
            # 128 directions are enough for logistic regressions that differ.
            center = x[train].mean(axis=0)
            basis = np.linalg.svd(x[train] - center, full_matrices=False)[2][:128].T
            z = (x - center) @ basis * 10
            model = LogisticRegression(C=1.0, max_iter=1000).fit(z[train], y[train])
            tables.append(model.predict_proba(z[rest]))
        splits = np.where(np.arange(len(rest)) < 500, "validation", "test")
        none = ("",) * len(rest)
        ids = tuple(map(str, rest))
        data = TaskData(
            "label", classes, tuple(sets), ids, np.stack(tables), splits, y[rest], none, none
        )
        tuning, test = data.rows("validation"), data.rows("test")
        # The recommendation sees tuning rows only; test rows judge it.
        blender = Blender(BlendOptions(seed=seed))
        chooser = Chooser(blender).fit(data.probabilities[:, tuning], data.y[tuning])
        held = data.probabilities[:, test]
        answers = {name: recipe.apply(held) for name, recipe in chooser.recipes_.items()}
        scored = Scored(METRICS["log_loss"], data.y[test], seed=seed)
        gap = paired_difference(scored, answers["recommended"], answers["average"])
        best = min(log_loss(data.y[test], table) for table in held)
        losses = [log_loss(data.y[test], answers[name]) for name in ("tuned", "average")]
        advice = f"{chooser.reason_.kind}, {chooser.reason_.shrinkage:.2f}"
        print(
            f"{seed:>8}{losses[0]:>8.4f}{losses[1]:>9.4f}{best:>13.4f}  {advice:<22}"
            f"{gap.value:>+10.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        )
        assert gap.high >= 0, "the recommendation is worse than the plain average beyond noise"
        kept += 1
    print(f"{kept} of {count}: never worse than the plain average beyond the bootstrap noise")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small size only")
    parser.add_argument("--data", type=Path, help="NPZ with f0, f1, f2 and y for the resamples")
    parser.add_argument("--patience", type=float, default=60, help="seconds for a slow baseline")
    options = parser.parse_args()
    print(describe_machine("numpy"))
    for size in QUICK if options.quick else SIZES:
        whole, columns = compare(*size, options.patience)
        verdict = "reached" if whole >= 5 else "MISSED"
        print(
            f"bar, 5 times faster than 100 greedy rounds: {verdict} ({whole:.0f} times; "
            f"{columns:.1f} times faster than greedy on columns)"
        )
        if not options.quick:
            assert whole >= 5
    if options.data:
        resamples(options.data)


if __name__ == "__main__":
    main()
