"""The plain alternatives that benchmarks/heads.py measures, each in its own process.

Usage: python heads_contenders.py NAME DATA.npz OPTIONS_JSON; prints one line of JSON.
"""

from __future__ import annotations

import json
import math
import sys
import time

import numpy as np


def gluon(data: dict, options: dict) -> dict:
    """The recipe of the Gluon tutorials: best of 50 epochs, and when it was reached."""
    mx = import_mxnet()
    np.random.seed(options["seed"])
    mx.random.seed(options["seed"])
    X, Xv = (mx.nd.array(data[name].astype(np.float32)) for name in ("X", "Xv"))
    y, yv = mx.nd.array(data["y"]), data["yv"]
    start = time.perf_counter()
    net, trainer, objective = gluon_parts(mx, int(yv.max()) + 1)
    loader = gluon_loader(mx, X, y)
    best, reached = math.inf, math.nan
    for _ in range(50):
        gluon_run_epoch(mx, net, trainer, objective, loader)
        logits = net(Xv).asnumpy().astype(np.float64)
        loss = log_loss(logits, yv)
        if loss < best:
            best, reached = loss, time.perf_counter() - start
    return {"loss": best, "seconds": reached}


def gluon_epoch(data: dict, options: dict) -> dict:
    """Seconds of one epoch after a short warm-up."""
    mx = import_mxnet()
    X, y = mx.nd.array(data["X"].astype(np.float32)), mx.nd.array(data["y"])
    net, trainer, objective = gluon_parts(mx, int(data["y"].max()) + 1)
    gluon_run_epoch(mx, net, trainer, objective, gluon_loader(mx, X[:512], y[:512]))
    loader = gluon_loader(mx, X, y)
    start = time.perf_counter()
    gluon_run_epoch(mx, net, trainer, objective, loader)
    return {"seconds": time.perf_counter() - start}


def gluon_parts(mx, classes: int):
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dense(256, activation="relu"), mx.gluon.nn.Dropout(0.5))
    net.add(mx.gluon.nn.Dense(classes))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-4, "wd": 1e-5})
    return net, trainer, mx.gluon.loss.SoftmaxCrossEntropyLoss()


def gluon_loader(mx, X, y):
    return mx.gluon.data.DataLoader(mx.gluon.data.ArrayDataset(X, y), batch_size=128, shuffle=True)


def gluon_run_epoch(mx, net, trainer, objective, loader) -> None:
    for rows, labels in loader:
        with mx.autograd.record():
            loss = objective(net(rows), labels)
        loss.backward()
        trainer.step(len(rows))
    mx.nd.waitall()


def import_mxnet():
    added = "bool" not in vars(np)
    if added:
        np.bool = bool
    import mxnet

    if added:
        del np.bool
    return mxnet


def sklearn(data: dict, options: dict) -> dict:
    """scikit-learn's MLPClassifier, epoch by epoch until the loss is reached.

    It is given up after 50 epochs, or 8 without a better loss. ``"seconds"`` is when its best
    loss was reached, ``"spent"`` when it was given up.
    """
    from sklearn.neural_network import MLPClassifier

    factor = np.float32(options.get("factor", 1.0))
    X, Xv = data["X"].astype(np.float32), data["Xv"].astype(np.float32)
    start = time.perf_counter()
    X, Xv = X * factor, Xv * factor
    head = MLPClassifier(
        256,
        learning_rate_init=options.get("rate", 1e-3),
        batch_size=128,
        random_state=options["seed"],
    )
    best, reached, since = math.inf, math.nan, 0
    for epoch in range(50):
        head.partial_fit(X, data["y"], classes=np.unique(data["y"]) if epoch == 0 else None)
        table = np.log(np.maximum(head.predict_proba(Xv).astype(np.float64), 1e-300))
        loss = log_loss(table, data["yv"])
        since += 1
        if loss < best:
            best, reached, since = loss, time.perf_counter() - start, 0
        if best <= options["target"] or since == 8:
            break
    return {"loss": best, "seconds": reached, "spent": time.perf_counter() - start}


def torch(data: dict, options: dict) -> dict:
    """A plain float32 loop with the very same recipe as ours."""
    import torch
    from torch import nn

    torch.manual_seed(options["seed"])
    X, Xv = (torch.from_numpy(data[name].astype(np.float32)) for name in ("X", "Xv"))
    y, yv = torch.from_numpy(data["y"]), data["yv"]
    start = time.perf_counter()
    factor = options["factor"]
    X, Xv = X * factor, Xv * factor
    # Dropout by halves is two networks of half the width, which share the last bias.
    below = nn.ModuleList(nn.Linear(X.shape[1], 128) for _ in range(2))
    above = nn.ModuleList(nn.Linear(128, int(yv.max()) + 1, bias=half == 0) for half in range(2))
    for layer in below:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    for layer in above:
        nn.init.zeros_(layer.weight)
    bias = nn.init.zeros_(above[0].bias)
    matrices = [layer.weight for layer in (*below, *above)]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": options["weight_decay"]},
            {"params": [*(layer.bias for layer in below), bias], "weight_decay": 0.0},
        ],
        lr=options["learning_rate"],
    )

    def hidden(half, rows):
        return nn.functional.relu(below[half](rows))

    batches = round(len(X) / options["batch"])
    best, step = math.inf, 0
    for _ in range(options["epochs"]):
        for rows in torch.randperm(len(X)).tensor_split(batches):
            step += 1
            done = (step - 0.5) / (batches * options["epochs"])
            for group in optimiser.param_groups:
                group["lr"] = options["learning_rate"] * 0.5 * (1 + math.cos(math.pi * done))
            parts = rows.tensor_split(2)
            logits = [
                nn.functional.linear(2 * hidden(half, X[part]), above[half].weight, bias)
                for half, part in enumerate(parts)
            ]
            loss = nn.functional.cross_entropy(torch.cat(logits), y[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            logits = sum(above[half](hidden(half, Xv)) for half in range(2))
            best = min(best, log_loss(logits.numpy().astype(np.float64), yv))
        if best <= options["target"]:
            break
    return {"loss": best, "seconds": time.perf_counter() - start}


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    rows = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return float(rows.mean())


if __name__ == "__main__":
    with np.load(sys.argv[2], allow_pickle=False) as stored:
        arrays = dict(stored)
    print(json.dumps(globals()[sys.argv[1]](arrays, json.loads(sys.argv[3]))))
