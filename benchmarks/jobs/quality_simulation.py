"""Is what the blend says of itself true? The simulations of benchmarks/jobs/quality.py."""

from __future__ import annotations

import math

import numpy as np

from icecore.ensemble import Blender, Chooser, TaskData, estimate
from icecore.ensemble.metrics import log_loss

__all__ = ["optimism_of_splits", "simulated_optimism"]

FRESH = 20_000


def drawn(seed: int, rows: int, models: int = 4, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (M, N, C) of related models of unequal quality, and true classes."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0.6, 1.6, models)
    scale = rng.uniform(0.7, 1.5, models)
    y = rng.integers(classes, size=rows)
    logits = quality[:, None, None] * np.eye(classes)[y] * 1.5
    logits = (
        logits + 0.7 * rng.normal(size=(rows, classes)) + rng.normal(size=(models, rows, classes))
    )
    logits *= scale[:, None, None]
    share = np.exp(logits - logits.max(axis=2, keepdims=True))
    return share / share.sum(axis=2, keepdims=True), y


def simulated_optimism(draws: int, sizes: tuple[int, ...] = (100, 1000)) -> list[str]:
    """Blend models drawn anew each time; compare what is said with 20,000 fresh rows."""
    if not draws:
        return []
    lines = [
        "## Is what the blend says of itself true?",
        "",
        f"Models of unequal quality are drawn {draws} times; the tool says a log-loss of the "
        f"recommended answer with a 95% interval, and {FRESH:,} fresh rows say what it is. Better "
        "than the tool says is a negative difference. The fresh rows have noise of their own: an "
        f"exact interval of 1,000 tuning rows would hold them about {_expected(1000):.0%} of the "
        "time.",
        "",
        "| tuning rows | fresh less said | inside the interval | recommended less average | "
        "recommended less best single | recommended less tuned |",
        "|---|---|---|---|---|---|",
    ]
    for rows in sizes:
        gaps, inside, against = [], 0, []
        for seed in range(draws):
            probabilities, y = drawn(seed, rows + FRESH)
            data = _task(probabilities[:, :rows], y[:rows])
            found = estimate(data, Blender())
            chooser = Chooser(Blender()).fit(probabilities[:, :rows], y[:rows])
            fresh, true = probabilities[:, rows:], y[rows:]
            value, low, high = found.scores["recommended"]["log_loss"]
            actual = log_loss(true, chooser.predict_proba(fresh))
            gaps.append(actual - value)
            inside += low <= actual <= high
            others = [
                chooser.recipes_[name].apply(fresh) for name in ("average", "single", "tuned")
            ]
            against.append([actual - log_loss(true, table) for table in others])
        means, errors = np.mean(against, axis=0), np.std(against, axis=0) / np.sqrt(draws)
        cells = [f"{m:+.4f} ± {e:.4f}" for m, e in zip(means, errors)]
        lines.append(
            f"| {rows:,} | {np.mean(gaps):+.4f} ± {np.std(gaps) / np.sqrt(draws):.4f} | "
            f"{inside} of {draws} ({100 * inside / draws:.0f}%) | " + " | ".join(cells) + " |"
        )
    return lines


def _expected(rows: int) -> float:
    """Return how often an exact 95% interval of `rows` rows holds the mean of fresh ones."""
    return math.erf(1.96 / math.sqrt(2 * (1 + rows / FRESH)))


def optimism_of_splits(results: dict[str, dict[str, dict]], ours: str) -> list[str]:
    """Compare what `icecore blend` said after each training with the unseen rows' log-loss."""
    lines = [
        "The whole default on the data sets above, one line each. Heads that were refitted on all "
        "rows know more than those of the folds, so that fresh rows may do better than was said; "
        "an interval is one of the tuning rows, and the unseen rows have noise of their own.",
        "",
        "| data set | runs | fresh less said | inside the interval | worse than it |",
        "|---|---|---|---|---|",
    ]
    every = []
    for case, found in results.items():
        said = np.array(found.get(ours, {"said": []})["said"], dtype=float).reshape(-1, 5)
        said = said[np.isfinite(said[:, 0])]
        if not len(said):
            continue
        gap = said[:, 3] - said[:, 0]
        inside = (said[:, 1] <= said[:, 3]) & (said[:, 3] <= said[:, 2])
        worse = said[:, 3] > said[:, 2]
        every.append((gap.mean(), inside.sum(), worse.sum(), len(inside)))
        lines.append(
            f"| {case} | {len(gap)} | {gap.mean():+.4f} | {inside.sum()} of {len(inside)} | "
            f"{worse.sum()} |"
        )
    if every:
        gaps, hits, missed, runs = zip(*every)
        lines.append(
            f"| mean | {sum(runs)} | {np.mean(gaps):+.4f} | {sum(hits)} of {sum(runs)} | "
            f"{sum(missed)} |"
        )
    return lines


def _task(probabilities: np.ndarray, y: np.ndarray) -> TaskData:
    models, rows, classes = probabilities.shape
    none = ("",) * rows
    names = tuple(f"m{index}" for index in range(models))
    ids, labels = tuple(map(str, range(rows))), tuple(map(str, range(classes)))
    splits = np.array(["validation"] * rows)
    return TaskData("label", labels, names, ids, probabilities, splits, y, none, none)
