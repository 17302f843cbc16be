"""What others would make of the same features: the rivals of benchmarks/jobs/quality.py.

Each takes features and class numbers of the rows to learn from, and features of unseen rows,
and returns their probabilities; every choice (penalty, stopping) is made inside, on the rows
to learn from.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np

__all__ = ["RIVALS", "autogluon", "greedy_weights"]

# Trees over thousands of columns for hundreds of classes take hours.
MOST_TREE_CLASSES = 50


def logistic(X: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """scikit-learn's LogisticRegressionCV on standardised columns, chosen by log-loss."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(X)
    X, unseen = scaler.transform(X), scaler.transform(unseen)
    if 2 * len(X) < X.shape[1]:
        # An L2 penalty does not change with a rotation: the rows' own space is enough.
        basis = np.linalg.svd(X, full_matrices=False)[2].T
        X, unseen = X @ basis, unseen @ basis
    rare = np.bincount(y).min() < 3
    folds = (KFold if rare else StratifiedKFold)(3, shuffle=True, random_state=0)
    # Folds without a class cannot be scored by log-loss; accuracy chooses there.
    head = LogisticRegressionCV(
        Cs=np.logspace(-5, -1, 5),
        cv=folds,
        scoring=None if rare else "neg_log_loss",
        max_iter=100,
    )
    return head.fit(X, y).predict_proba(unseen)


def mlp(X: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """scikit-learn's MLPClassifier on standardised columns, with its own early stopping."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Its inner split needs two rows of each class.
    stop = bool(np.bincount(y).min() >= 2 and len(y) * 0.1 >= len(np.unique(y)))
    head = MLPClassifier(256, early_stopping=stop, random_state=0, max_iter=100)
    return make_pipeline(StandardScaler(), head).fit(X, y).predict_proba(unseen)


def gradient_boosting(X: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray | None:
    """scikit-learn's HistGradientBoostingClassifier, 50 rounds of small trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    if y.max() >= MOST_TREE_CLASSES or X.shape[1] > 1500:
        return None
    head = HistGradientBoostingClassifier(
        max_iter=50, learning_rate=0.1, max_leaf_nodes=8, max_features=0.1, random_state=0
    )
    return head.fit(X, y).predict_proba(unseen)


def lightgbm(X: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray | None:
    """LightGBM, 100 rounds, a tenth of the columns for each tree."""
    from lightgbm import LGBMClassifier

    if y.max() >= MOST_TREE_CLASSES:
        return None
    head = LGBMClassifier(
        n_estimators=100,
        num_leaves=8,
        learning_rate=0.08,
        colsample_bytree=0.1,
        subsample=0.8,
        subsample_freq=1,
        n_jobs=1,
        random_state=0,
        verbose=-1,
    )
    return head.fit(X, y).predict_proba(unseen)


def neighbours(X: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Twenty nearest neighbours by cosine, each weighted, with one row of class shares."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import normalize

    count = min(20, len(y))
    head = KNeighborsClassifier(count, weights="distance").fit(normalize(X), y)
    shares = np.bincount(y) / len(y)
    return (count * head.predict_proba(normalize(unseen)) + shares) / (count + 1)


def gluon(X: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """The recipe of the Gluon tutorials in plain NumPy: Adam 1e-4, up to 50 epochs.

    Dense 256, ReLU, dropout 0.5, batches of 128, weight decay 1e-5; stops at the best epoch
    of an inner tenth.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    held, learn = order[: max(1, len(y) // 10)], order[max(1, len(y) // 10) :]
    classes = int(y.max()) + 1
    sizes = (X.shape[1], 256, classes)
    parts = []
    for below, above in zip(sizes, sizes[1:]):
        bound = np.sqrt(6 / (below + above))
        parts += [rng.uniform(-bound, bound, (below, above)).astype(np.float32)]
        parts += [np.zeros(above, np.float32)]
    means, squares = [np.zeros_like(p) for p in parts], [np.zeros_like(p) for p in parts]
    best, kept, step = np.inf, parts, 0
    for _ in range(50):
        shuffled = rng.permutation(learn)
        for begin in range(0, len(shuffled), 128):
            rows = shuffled[begin : begin + 128]
            step += 1
            gradients = _gluon_gradients(parts, X[rows], y[rows], rng)
            for part, gradient, mean, square in zip(parts, gradients, means, squares):
                gradient += 1e-5 * part
                mean += 0.1 * (gradient - mean)
                square += 0.001 * (gradient**2 - square)
                rate = 1e-4 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                part -= (rate * mean / (np.sqrt(square) + 1e-8)).astype(np.float32)
        table = _gluon_table(parts, X[held])
        loss = -np.log(np.maximum(table[np.arange(len(held)), y[held]], 1e-15)).mean()
        if loss < best:
            best, kept = loss, [part.copy() for part in parts]
    return _gluon_table(kept, unseen)


def _gluon_gradients(parts, X, y, rng) -> list[np.ndarray]:
    inner, inner_bias, outer, outer_bias = parts
    hidden = np.maximum(X @ inner + inner_bias, 0)
    kept = (rng.random(hidden.shape) < 0.5).astype(np.float32) * 2
    dropped = hidden * kept
    error = _softmax(dropped @ outer + outer_bias)
    error[np.arange(len(y)), y] -= 1
    error /= len(y)
    back = (error @ outer.T) * kept * (hidden > 0)
    return [X.T @ back, back.sum(axis=0), dropped.T @ error, error.sum(axis=0)]


def _gluon_table(parts, X) -> np.ndarray:
    inner, inner_bias, outer, outer_bias = parts
    return _softmax(np.maximum(X @ inner + inner_bias, 0) @ outer + outer_bias).astype(float)


def _softmax(logits: np.ndarray) -> np.ndarray:
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)


RIVALS = {
    "LogisticRegressionCV": logistic,
    "MLPClassifier": mlp,
    "Gluon recipe": gluon,
    "HistGradientBoosting": gradient_boosting,
    "LightGBM": lightgbm,
    "kNN": neighbours,
}


def quietly(function, *arguments):
    """Call a rival without its warnings of convergence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def greedy_weights(tables: list[np.ndarray], y: np.ndarray, rounds: int = 50) -> np.ndarray:
    """Caruana's greedy selection with replacement by log-loss on held-out tables."""
    true = np.stack([np.maximum(t[np.arange(len(y)), y], 1e-15) for t in tables], axis=1)
    total, counts = np.zeros(len(y)), np.zeros(len(tables))
    best, best_loss = None, np.inf
    for done in range(1, rounds + 1):
        losses = -np.log((total[:, None] + true) / done).mean(axis=0)
        pick = int(np.argmin(losses))
        total, counts[pick] = total + true[:, pick], counts[pick] + 1
        if losses[pick] < best_loss - 1e-12:
            best, best_loss = counts / done, losses[pick]
    return best


AUTOGLUON = """
import json, sys, time, warnings
import numpy as np, pandas as pd
from autogluon.tabular import TabularPredictor
warnings.simplefilter("ignore")
data, folder = np.load(sys.argv[1]), sys.argv[2]
seconds, preset = float(sys.argv[3]), sys.argv[5]
names = [f"f{i}" for i in range(data["X"].shape[1])]
table = pd.DataFrame(data["X"], columns=names)
table["y"] = data["y"]
fit = TabularPredictor("y", path=folder, eval_metric="log_loss", verbosity=0)
fit = fit.fit(table, time_limit=seconds, presets=preset, num_gpus=0)
found = fit.predict_proba(pd.DataFrame(data["unseen"], columns=names), as_multiclass=True)
full = np.zeros((len(found), int(data["y"].max()) + 1))
full[:, found.columns.astype(int)] = found.to_numpy()
np.save(sys.argv[4], full)
t = __import__("resource")
used = [t.getrusage(who) for who in (t.RUSAGE_SELF, t.RUSAGE_CHILDREN)]
print(json.dumps({"cpu": sum(u.ru_utime + u.ru_stime for u in used)}))
"""


def autogluon(options, seconds: float, X, y, unseen) -> tuple[np.ndarray, float]:
    """AutoGluon tabular in an environment of its own; returns probabilities and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.savez(folder / "data.npz", X=X, y=y, unseen=unseen)
        (folder / "run.py").write_text(AUTOGLUON)
        files = [folder / "data.npz", folder / "models", seconds, folder / "out.npy"]
        arguments = [*files, options.preset]
        done = subprocess.run(
            [options.autogluon, str(folder / "run.py"), *map(str, arguments)],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        )
        if done.returncode:
            raise RuntimeError(f"AutoGluon failed: {done.stderr[-2000:]}")
        used = json.loads(done.stdout.strip().splitlines()[-1])["cpu"]
        return np.load(folder / "out.npy"), used
