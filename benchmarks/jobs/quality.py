"""Honest quality of the whole default, `icecore train` and `icecore blend`, against rivals.

    python benchmarks/jobs/quality.py --cache CACHE --work FOLDER [--quick] [--only NAME ...]
        [--photographs FOLDER --models FOLDER] [--autogluon PYTHON --seconds 300 900]
        [--methods icecore rivals] [--simulate 200] [--write]

On each data set (see quality_cases.py) every method learns from the same rows and answers for
the same unseen rows, which play no part in anything: icecore gets them as test rows without
labels. Shown are log-loss, accuracy and processor seconds, and the paired difference in log-loss
to icecore with its standard error over images. "greedy" is greedy ensemble selection over all
rivals, its weights chosen on an inner fifth of the learning rows. What a method made is kept in
FOLDER, so that a run that was stopped goes on; --fresh makes it anew.

The second part asks whether what the tool says of itself is true: the log-loss that the
blend prints, its 95% interval, and the log-loss of unseen rows.

Rivals come from their own packages; AutoGluon runs in the interpreter that --autogluon names.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from quality_cases import Case, Split, cases, extract, write_table
from quality_rivals import RIVALS, autogluon, greedy_weights, quietly
from quality_simulation import optimism_of_splits, simulated_optimism

from icecore.core.hardware import describe_machine
from icecore.runs import read_probabilities

HERE = Path(__file__).resolve().parent
OURS = "icecore"
RUN = "from icecore.cli import main; main()"


def run_icecore(case: Case, split: Split, folder: Path) -> dict:
    """Run the two commands as a user would; return probabilities, seconds and what was said."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        scratch = Path(scratch)
        write_table(case, split, scratch / "table.csv")
        chosen = ["--features", "+".join(case.sets)] if len(case.sets) == 1 else []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        _command(
            "train",
            case.cache,
            "--data",
            scratch / "table.csv",
            "-o",
            scratch / "run",
            "-q",
            *chosen,
        )
        said = _command(
            "blend",
            scratch / "run",
            "--json",
            "-o",
            scratch / "final.npz",
            "--answer",
            case.answer,
        )
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        table = read_probabilities(scratch / "final.npz")
        (task,) = json.loads(said)["tasks"]
    place = {identity: row for row, identity in enumerate(table.ids)}
    order = [place[f"test/{row}.jpg"] for row in split.test]
    return {
        "classes": np.array(table.classes),
        "table": table.probabilities[order],
        "cpu": cpu,
        "wall": wall,
        "said": np.array(_said(task)),
        "recommended": np.array(task["recommended"]["is"]),
    }


def _said(task: dict) -> list[float]:
    if task["estimate"] is None:
        return [np.nan] * 3
    own = task["estimate"]["scores"]["recommended"]["log_loss"]
    return [np.nan if own[name] is None else own[name] for name in ("value", "low", "high")]


def _command(*arguments) -> str:
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    # Elsewhere than here: a folder called icecore beside it would be imported instead.
    done = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[3:])} failed:\n{done.stderr}")
    return done.stdout


def run_rivals(case: Case, split: Split, X: np.ndarray, made: dict, options) -> Iterator[tuple]:
    """Fit the rivals that `made` lacks on the learning rows, and greedy selection over all."""
    classes, y = np.unique(case.given[split.learn], return_inverse=True)
    learn, unseen = X[split.learn], X[split.test]
    inner = np.random.default_rng(0).permutation(len(y)) < len(y) // 5
    for name, rival in RIVALS.items():
        if name in made:
            continue
        start = time.process_time()
        table = quietly(rival, learn, y, unseen)
        if table is None:
            continue
        spent = time.process_time() - start
        assert table.shape == (len(unseen), len(classes)), name
        assert np.allclose(table.sum(axis=1), 1, atol=1e-4), name
        print(f"    {name}: {spent:.1f} s", flush=True)
        yield name, {"classes": classes, "table": table, "cpu": spent}
    whole = len(np.unique(y[~inner])) == len(classes)
    if "greedy" in made or not whole or len(learn) > options.greedy:
        return
    names = [name for name in RIVALS if name in made]
    start = time.process_time()
    tables = [quietly(RIVALS[n], learn[~inner], y[~inner], learn[inner]) for n in names]
    weights = greedy_weights(tables, y[inner])
    spent = time.process_time() - start + sum(float(made[name]["cpu"]) for name in names)
    mixed = sum(w * made[name]["table"] for w, name in zip(weights, names))
    yield "greedy", {"classes": classes, "table": mixed, "cpu": spent}


def true_scores(case: Case, split: Split, made: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return log-loss and whether right, of each unseen row."""
    column = {str(name): index for index, name in enumerate(made["classes"])}
    at = np.array([column.get(str(label), -1) for label in case.judged[split.test]])
    table = np.asarray(made["table"], dtype=float)
    own = np.where(at >= 0, table[np.arange(len(at)), at], 0.0)
    # A millionth for what a method calls impossible, a class that it never saw included.
    return -np.log(np.maximum(own, 1e-6)), table.argmax(axis=1) == at


def kept(path: Path, fresh: bool) -> dict | None:
    """Return what an earlier run made."""
    if fresh or not path.exists():
        return None
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def place(store: Path, case: Case, split: Split, method: str) -> Path:
    """Return the file of what a method made of a split."""
    data = case.name if method == OURS else case.shared or case.name
    base = f"{data}-{split.name}".replace(" ", "_").replace("%", "").replace(",", "")
    return store / f"{base}-{method}.npz"


def measure(case: Case, options) -> dict[str, dict]:
    """Return for each method the losses of all unseen rows, hits and seconds."""
    store = options.work / "made"
    store.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict] = {}
    X = None
    for split in itertools.islice(case.splits(), options.splits):
        print(
            f"  {case.name}, {split.name}: {len(split.learn)} rows, {len(split.test)} unseen",
            flush=True,
        )
        made = {}
        names = [OURS] if "icecore" in options.methods else []
        for name in [*names, *RIVALS, "greedy", *options.minutes]:
            earlier = kept(place(store, case, split, name), options.fresh and name == OURS)
            if earlier is not None:
                made[name] = earlier
        if OURS in names and OURS not in made:
            made[OURS] = run_icecore(case, split, options.work)
            np.savez(place(store, case, split, OURS), **made[OURS])
        if "rivals" in options.methods and any(name not in made for name in RIVALS):
            X = case.features() if X is None else X
            for name, one in run_rivals(case, split, X, made, options):
                made[name] = one
                np.savez(place(store, case, split, name), **one)
        for name, seconds in options.minutes.items():
            if options.autogluon and name not in made and split.name in ("fold0", "draw0"):
                X = case.features() if X is None else X
                classes, y = np.unique(case.given[split.learn], return_inverse=True)
                table, cpu = autogluon(options, seconds, X[split.learn], y, X[split.test])
                made[name] = {"classes": classes, "table": table, "cpu": cpu}
                np.savez(place(store, case, split, name), **made[name])
        for name, one in made.items():
            loss, hit = true_scores(case, split, one)
            entry = found.setdefault(name, {"splits": [], "cpu": [], "said": []})
            images = np.array([case.keys[row] for row in split.test])
            entry["splits"].append((split.name, loss, hit, images))
            entry["cpu"].append(float(one["cpu"]))
            # Where right labels judge, the tuning rows' loss may be of other labels.
            if "said" in one and np.array_equal(case.given, case.judged):
                entry["said"].append([*map(float, one["said"]), float(loss.mean()), len(loss)])
    return found


def paired(ours: dict, theirs: dict) -> tuple[float, float]:
    """Return the mean difference in log-loss over common splits, and its standard error."""
    other = {name: loss for name, loss, _, _ in theirs["splits"]}
    common = [(loss, other[name], keys) for name, loss, _, keys in ours["splits"] if name in other]
    gap = np.concatenate([b - a for a, b, _ in common])
    # Rows of one image, and of one image in several splits, are one observation.
    image = np.unique(np.concatenate([keys for *_, keys in common]), return_inverse=True)[1]
    total, count = np.bincount(image, weights=gap), np.bincount(image)
    error = np.sqrt(((total - count * gap.mean()) ** 2).sum()) / len(gap)
    return float(gap.mean()), float(error)


def row(name: str, entry: dict, ours: dict | None) -> list[str]:
    loss = np.mean([one.mean() for _, one, _, _ in entry["splits"]])
    hit = np.mean([one.mean() for _, _, one, _ in entry["splits"]])
    cells = [name, f"{loss:.4f}", f"{hit:.4f}", f"{np.mean(entry['cpu']):.1f}"]
    if ours is None or name == OURS:
        return [*cells, ""]
    gap, error = paired(ours, entry)
    part = "" if len(entry["splits"]) == len(ours["splits"]) else f" ({len(entry['splits'])} split)"
    return [*cells, f"{gap:+.4f} ± {error:.4f}{part}"]


def markdown(results: dict[str, dict[str, dict]], simulations: list[str]) -> str:
    machine = describe_machine("numpy", "scikit-learn", "lightgbm")
    lines = ["# Quality of the default on unseen rows", "", machine, ""]
    lines += [__doc__.split("\n\n")[2].strip(), ""]
    behind, ahead = [], []
    for case, found in results.items():
        ours = found.get(OURS)
        most = max((entry["splits"] for entry in found.values()), key=len)
        sizes = [len(loss) for _, loss, _, _ in most]
        lines += [f"## {case}", "", f"Unseen rows: {' + '.join(map(str, sizes))}.", ""]
        lines += [
            "| method | log-loss | accuracy | CPU s | behind icecore |",
            "|---|---|---|---|---|",
        ]
        ranked = sorted(
            found, key=lambda n: np.mean([one.mean() for _, one, _, _ in found[n]["splits"]])
        )
        lines += ["| " + " | ".join(row(name, found[name], ours)) + " |" for name in ranked]
        if ours is not None:
            rivals = [name for name in ranked if name != OURS]
            if rivals:
                gap, error = paired(ours, found[rivals[0]])
                met = gap >= -error
                (ahead if met else behind).append(case)
                lines += [
                    "",
                    "Bar, at most one standard error behind the best rival: "
                    + ("met." if met else "MISSED."),
                ]
        lines.append("")
    lines += ["## All data sets", "", *overall(results), ""]
    if behind:
        lines += [f"The bar is missed on: {', '.join(behind)}.", ""]
    return "\n".join([*lines, *simulations]) + "\n"


def overall(results: dict[str, dict[str, dict]]) -> list[str]:
    """Compare the means over data sets that icecore and the rival both have."""
    lines = [
        "| rival | data sets | mean log-loss | icecore on them | CPU s | icecore |",
        "|---|---|---|---|---|---|",
    ]
    names = dict.fromkeys(name for found in results.values() for name in found if name != OURS)
    for name in names:
        pairs = []
        for found in results.values():
            if OURS not in found or name not in found:
                continue
            splits = {split for split, *_ in found[name]["splits"]}
            pairs.append(
                [
                    np.mean([loss.mean() for _, loss, _, _ in found[name]["splits"]]),
                    np.mean(
                        [loss.mean() for s, loss, _, _ in found[OURS]["splits"] if s in splits]
                    ),
                    np.mean(found[name]["cpu"]),
                    np.mean(found[OURS]["cpu"]),
                ]
            )
        if pairs:
            theirs, ours, cpu, own = np.mean(pairs, axis=0)
            lines.append(
                f"| {name} | {len(pairs)} | {theirs:.4f} | {ours:.4f} | {cpu:.1f} | {own:.1f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="cache of the photographs")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--photographs", type=Path, help="to extract, if the cache is not there")
    parser.add_argument("--models", type=Path, help="folder of the three ONNX networks")
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of data sets, or parts of them"
    )
    parser.add_argument("--methods", nargs="*", default=["icecore", "rivals"])
    parser.add_argument("--splits", type=int, help="first splits of each data set [default: all]")
    parser.add_argument(
        "--greedy", type=int, default=10**9, help="most learning rows for greedy selection"
    )
    parser.add_argument("--autogluon", help="a Python that has autogluon.tabular")
    parser.add_argument("--preset", default="medium_quality", help="AutoGluon's presets")
    parser.add_argument("--seconds", type=float, nargs="*", default=[300])
    parser.add_argument("--simulate", type=int, default=200, help="draws of the simulation")
    parser.add_argument("--fresh", action="store_true", help="run icecore anew")
    parser.add_argument("--quick", action="store_true", help="two small data sets, in two minutes")
    parser.add_argument("--write", action="store_true", help="write RESULTS-quality.md")
    options = parser.parse_args()
    if options.quick:
        options.only, options.simulate, options.splits = ["100 rows"], 40, 1
    options.cache, options.work = options.cache.absolute(), options.work.absolute()
    options.work.mkdir(parents=True, exist_ok=True)
    preset = "" if options.preset == "medium_quality" else f", {options.preset}"
    options.minutes = {f"AutoGluon {s / 60:g} min{preset}": s for s in options.seconds}
    if not options.cache.exists():
        extract(options.cache, options.photographs, options.models)
    results = {}
    for case in cases(options.cache, options.work, options.only):
        assert not any(
            set(np.array(case.keys)[split.learn]) & set(np.array(case.keys)[split.test])
            for split in case.splits()
        ), "an image is on both sides"
        results[case.name] = measure(case, options)
    lines = [*simulated_optimism(options.simulate), "", *optimism_of_splits(results, OURS)]
    text = markdown(results, lines)
    print(text)
    if options.write:
        (HERE / "RESULTS-quality.md").write_text(text)


if __name__ == "__main__":
    main()
