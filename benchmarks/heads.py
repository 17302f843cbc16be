"""Speed of the heads, after equal quality has been asserted.

Usage: python benchmarks/heads.py [fit] [stack] [large] [--torch PYTHON]

fit    time to reach the validation log-loss of a Gluon MLP on real features
stack  a search over 32 members against 32 single fits
large  seconds an epoch and peak memory at the size of FashionAI (generated rows)

Every contender is measured in this run, in turns, and prints a ratio. torch runs
in the interpreter given with --torch, since it may not share this environment.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CONTENDERS = HERE / "heads_contenders.py"


def hardware() -> str:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores, NumPy {np.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=[])
    parser.add_argument("--features", help="NPZ with f0, f1, f2, y, split (see docs/heads.md)")
    parser.add_argument("--torch", help="a Python that has torch")
    parser.add_argument("--rows", type=int, default=79573, help="rows of 'large'")
    arguments = parser.parse_args()
    parts = arguments.parts or ["fit", "stack", "large"]
    print(hardware(), f"load {os.getloadavg()[0]:.1f}", flush=True)
    if "fit" in parts or "stack" in parts:
        data = real_features(arguments.features)
    if "fit" in parts:
        benchmark_fit(data, arguments.torch)
    if "stack" in parts:
        benchmark_stack(data)
    if "large" in parts:
        benchmark_large(arguments.rows)


def real_features(path: str | None) -> dict[str, np.ndarray]:
    """Return training and validation rows of clothing10, concatenated, as float16."""
    if path is None:
        raise SystemExit("give --features FILE.npz: how to make it is in docs/heads.md")
    with np.load(path, allow_pickle=False) as stored:
        features = np.concatenate([stored[name] for name in ("f0", "f1", "f2")], axis=1)
        train = stored["split"] == "train"
        return {
            "X": np.ascontiguousarray(features[train]),
            "y": stored["y"][train],
            "Xv": np.ascontiguousarray(features[~train]),
            "yv": stored["y"][~train],
        }


def contender(name: str, data: dict, python: str, **options) -> dict:
    """Run one plain alternative in a process of its own; return what it prints as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "data.npz"), **data)
        command = [python, str(CONTENDERS), name, str(Path(folder, "data.npz"))]
        done = subprocess.run(
            [*command, json.dumps(options)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])


# "factor" is what the scaling "rms" comes to on these features.
RECIPE = {"learning_rate": 1e-3, "epochs": 12, "batch": 128, "factor": 2.8}


def ours(data: dict, target: float, seed: int) -> dict:
    """Fit until the validation log-loss reaches `target`; seconds include everything."""
    from icecore.heads import MLPClassifier

    start = time.perf_counter()
    reached: list[float] = []

    def progress(epoch, outcomes):
        if not reached and outcomes[0].losses[-1] <= target:
            reached.append(time.perf_counter() - start)
            return [0]
        return None

    head = MLPClassifier(
        learning_rate=RECIPE["learning_rate"],
        epochs=RECIPE["epochs"],
        batch_size=RECIPE["batch"],
        weight_decay=0.0,
        random_state=seed,
    )
    head.fit(data["X"], data["y"], validation=(data["Xv"], data["yv"]), progress=progress)
    return {
        "loss": head.best_loss_,
        "seconds": reached[0] if reached else float("nan"),
        "epochs": len(head.losses_),
    }


def benchmark_fit(data: dict, torch_python: str | None, seeds: int = 3) -> None:
    gluon = contender("gluon", data, sys.executable)
    target = gluon["loss"]
    seconds = gluon["seconds"]
    print(f"Gluon MLP, best of 50 epochs: log-loss {target:.4f}, reached in {seconds:.2f} s")
    recipe = {**RECIPE, "target": target}
    rows = {"ours": [], "torch": []}
    for seed in range(seeds):
        rows["ours"].append(ours(data, target, seed))
        if torch_python:
            rows["torch"].append(contender("torch", data, torch_python, seed=seed, **recipe))
    best = {}
    for name, found in rows.items():
        if not found:
            print(f"{name:8} not measured")
            continue
        # A run that does not reach the loss counts as endless.
        times = [one["seconds"] if one["loss"] <= target else np.inf for one in found]
        best[name] = float(np.median(times))
        print(
            f"{name:8} reached it in {np.isfinite(times).sum()} of {len(found)} runs, median "
            f"{best[name]:.2f} s, log-loss {np.mean([one['loss'] for one in found]):.4f}"
        )
    if not np.isfinite(best["ours"]):
        raise SystemExit("our MLP does not reach the loss of the Gluon recipe with most seeds")
    print(f"ratio to Gluon: {gluon['seconds'] / best['ours']:.1f} (bar 10)")
    if "torch" in best:
        print(f"ratio to torch: {best['torch'] / best['ours']:.2f} (bar 1.5)")
    sklearn = contender("sklearn", data, sys.executable, seed=0, target=target)
    # It overfits before it gets there: compare at the loss it does reach.
    same = ours(data, max(target, sklearn["loss"]), 0)
    print(
        f"sklearn's best log-loss is {sklearn['loss']:.4f} after {sklearn['seconds']:.2f} s; ours "
        f"reaches that in {same['seconds']:.2f} s: ratio {sklearn['seconds'] / same['seconds']:.1f}"
        " (bar 3)"
    )


def benchmark_stack(data: dict, members: int = 32) -> None:
    """A search by successive halving over a stack, against as many single fits."""
    from icecore.heads.base import measure_scaling
    from icecore.heads.search import draw_members, halving
    from icecore.heads.stack import fit_stack
    from icecore.heads.stack_parts import Validation

    targets, held = (np.eye(10, dtype=np.float32)[data[name]] for name in ("y", "yv"))
    drawn = draw_members(members, seed=0)
    shared = {"scaling": measure_scaling(data["X"], "rms"), "batch_size": 128}
    validation = Validation(data["Xv"], held)
    start = time.perf_counter()
    found = fit_stack(
        data["X"],
        targets,
        drawn,
        validation=[validation] * members,
        progress=halving(drawn),
        **shared,
    )
    together = time.perf_counter() - start
    # Single fits of every fourth member: their mean stands for all.
    start = time.perf_counter()
    alone = [
        fit_stack(data["X"], targets, [one], validation=[validation], **shared)[0]
        for one in drawn[::4]
    ]
    apart = (time.perf_counter() - start) * members / len(alone)
    for one, other in zip(found[::4], alone, strict=True):
        shared_epochs = len(one.losses)
        if not np.allclose(one.losses, other.losses[:shared_epochs], rtol=2e-2):
            raise SystemExit("a member of the stack differs from the same member alone")
    best = min(one.best_loss for one in found)
    print(
        f"search over {members}: {together:.1f} s, best log-loss {best:.4f}; "
        f"{members} single fits {apart:.1f} s; ratio {together / apart:.2f} (bar 0.5)"
    )


def sgemm_rate() -> float:
    """Return GFLOP/s of a large float32 product with all threads."""
    a = np.ones((2048, 2048), np.float32)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


class PeakMemory(threading.Thread):
    """Watches this process's resident memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.peak = max(self.peak, pages * os.sysconf("SC_PAGE_SIZE"))


def benchmark_large(rows: int, columns: int = 6016, tasks: int = 8) -> None:
    """Eight tasks, each with its own rows, as the contest has them."""
    from icecore.heads.base import measure_scaling
    from icecore.heads.stack import Member, fit_stack

    rng = np.random.default_rng(0)
    features = np.empty((rows, columns), np.float16)
    for top in range(0, rows, 4096):
        block = rng.standard_normal((min(4096, rows - top), columns), dtype=np.float32)
        features[top : top + 4096] = np.maximum(block, 0)
    edges = np.linspace(0, rows, tasks + 1).astype(int)
    rate_before = sgemm_rate()
    memory = PeakMemory()
    memory.start()
    start, epochs, width = time.perf_counter(), 2, 256
    spent = 0.0
    for task in range(tasks):
        own = features[edges[task] : edges[task + 1]]
        targets = np.eye(7, dtype=np.float32)[rng.integers(7, size=len(own))]
        scaling = measure_scaling(own[:2048], "rms")
        begin = time.perf_counter()
        fit_stack(
            own, targets, [Member(width=width, epochs=epochs)], batch_size=256, scaling=scaling
        )
        spent += time.perf_counter() - begin
    memory.done.set()
    rate = (rate_before + sgemm_rate()) / 2
    needed = 2 * 2 * rows * columns * width / 1e9 / rate
    print(
        f"large: {rows} x {columns} float16, {tasks} tasks: {spent / epochs:.2f} s an epoch; the "
        f"products alone need {needed:.2f} s at the measured {rate:.0f} GFLOP/s: "
        f"{needed / (spent / epochs):.2f} of it (bar 0.75)"
    )
    extra = memory.peak - features.nbytes
    print(
        f"large: peak memory is the matrix plus {extra / 1e9:.2f} GB (bar 1.5); "
        f"in all {time.perf_counter() - start:.0f} s"
    )
    part = rows // tasks
    data = {"X": features[:part], "y": rng.integers(7, size=part)}
    gluon = contender("gluon_epoch", data, sys.executable)
    ratio = gluon["seconds"] * rows / part / (spent / epochs)
    print(
        f"large: Gluon with its DataLoader needs {gluon['seconds']:.2f} s for an epoch of {part} "
        f"rows; ratio {ratio:.1f} (bar 4)"
    )


if __name__ == "__main__":
    main()
