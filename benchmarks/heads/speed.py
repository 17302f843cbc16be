"""Speed of the heads, after equal quality on unseen rows has been asserted.

Usage: python benchmarks/heads/speed.py CACHE TABLE [--folds K] [--heads mlp logistic]

Every contender is fitted on the same folds of all labelled rows, all feature sets side by side,
and predicts the fold that it did not see. What is chosen or stopped is chosen on a part of the
rows it is fitted on. The first lines assert that ours is not worse beyond noise (two
standard errors of the paired difference); then processor seconds are compared, as ratios.
"""

from __future__ import annotations

import argparse
import math
import os
import time

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

from icecore import manifest
from icecore.cache import FeatureCache
from icecore.heads import make_head
from icecore.heads.folds import deal_folds
from icecore.heads.training.task_data import load_features

# The quickest of the default settings that is as good as the rival: the assertion sees to it.
ONE_MLP = {"width": 128, "dropout": 0.5, "epochs": 8, "members": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache")
    parser.add_argument("table", help="the table that extract left in CACHE/manifests")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--heads", nargs="+", choices=["mlp", "logistic"])
    arguments = parser.parse_args()
    cache = FeatureCache(arguments.cache)
    sets = cache.sets()
    samples = [s for s in manifest.read(arguments.table) if s.label and s.digest]
    keys = [sample.digest for sample in samples]
    X, widths = load_features(sets, keys), tuple(one.width for one in sets)
    codes = np.unique([sample.label for sample in samples], return_inverse=True)[1]
    dealt = deal_folds(keys, codes, arguments.folds, 0)
    ours = {
        "mlp": lambda a, y, b: predict("mlp", ONE_MLP, widths, a, y, b),
        "logistic": lambda a, y, b: predict("logistic", {}, widths, a, y, b),
    }
    print(f"{len(X)} x {X.shape[1]}, {codes.max() + 1} classes, load {os.getloadavg()[0]:.1f}")
    for name, rival in (("mlp", gluon), ("logistic", logistic_cv)):
        if name in (arguments.heads or ours):
            compare(name, ours[name], rival, X, codes, dealt)


def compare(name: str, ours, rival, X, codes, dealt) -> None:
    """Assert equal quality, then print the ratio of processor seconds."""
    losses, seconds = {}, {}
    for title, fit in ((name, ours), (rival.__name__, rival)):
        own = np.empty(len(X))
        start = time.process_time()
        for fold in range(int(dealt.max()) + 1):
            held = dealt == fold
            table = fit(X[~held], codes[~held], X[held])
            own[held] = -np.log(np.maximum(table[np.arange(held.sum()), codes[held]], 1e-15))
        losses[title], seconds[title] = own, time.process_time() - start
        print(f"{title}: log-loss {own.mean():.4f}, {seconds[title]:.1f} processor seconds")
    worse = losses[name] - losses[rival.__name__]
    error = worse.std() / math.sqrt(len(worse))
    print(f"  {name} - {rival.__name__}: {worse.mean():+.4f} +- {error:.4f}")
    assert worse.mean() < 2 * error, f"{name} is worse than {rival.__name__}: no speed counts"
    print(f"  {seconds[rival.__name__] / seconds[name]:.1f} times the processor seconds of {name}")


def predict(kind: str, settings: dict, sets, X, codes, Xt) -> np.ndarray:
    return make_head(kind, 0, sets=sets, **settings).fit(X, codes).predict_proba(Xt)


def logistic_cv(X, codes, Xt) -> np.ndarray:
    """scikit-learn's search for a penalty, on standardised columns."""
    scaler = StandardScaler().fit(X.astype(np.float32))
    X, Xt = scaler.transform(X), scaler.transform(Xt)
    grid = np.geomspace(1e-5, 1e-1, 9)
    head = LogisticRegressionCV(Cs=grid, cv=5, scoring="neg_log_loss", max_iter=200, tol=1e-3)
    return head.fit(X, codes).predict_proba(Xt)


def gluon(X, codes, Xt) -> np.ndarray:
    """The recipe of the Gluon tutorials: 50 epochs, the best by a tenth that is held out."""
    mx = import_mxnet()
    mx.random.seed(0)
    np.random.seed(0)
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dense(256, activation="relu"), mx.gluon.nn.Dropout(0.5))
    net.add(mx.gluon.nn.Dense(int(codes.max()) + 1))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-4, "wd": 1e-5})
    objective = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    order = np.random.permutation(len(X))
    cut = len(X) // 10
    stop, rows = order[:cut], order[cut:]
    data = mx.gluon.data.ArrayDataset(
        mx.nd.array(X[rows].astype(np.float32)), mx.nd.array(codes[rows])
    )
    loader = mx.gluon.data.DataLoader(data, batch_size=128, shuffle=True)
    best, found = math.inf, None
    for _ in range(50):
        for features, labels in loader:
            with mx.autograd.record():
                loss = objective(net(features), labels)
            loss.backward()
            trainer.step(len(features))
        table = probabilities(mx, net, X[stop])
        own = -np.log(np.maximum(table[np.arange(cut), codes[stop]], 1e-15)).mean()
        if own < best:
            best, found = own, probabilities(mx, net, Xt)
    return found


def probabilities(mx, net, X) -> np.ndarray:
    return mx.nd.softmax(net(mx.nd.array(X.astype(np.float32)))).asnumpy().astype(np.float64)


def import_mxnet():
    added = "bool" not in vars(np)
    if added:
        np.bool = bool
    import mxnet

    if added:
        del np.bool
    return mxnet


if __name__ == "__main__":
    main()
