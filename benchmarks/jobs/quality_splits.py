"""Does what the whole default says of itself hold over many random splits?

    python benchmarks/jobs/quality_splits.py --cache CACHE --work FOLDER [--splits 24]
        [--only NAME ...] [--write]

Each split draws rows to learn from anew; all others are unseen, and reach training as test rows
without labels. `train` and `blend` run at their defaults. Compared are the log-loss that the
blend tells of the recommended answer with that of the unseen rows, and the recommended answer
with the run's own logistic regression on the unseen rows. What a split gave is kept in FOLDER,
so that a run that was stopped goes on; --write puts the tables into RESULTS-quality.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from quality_cases import Case, Split, cases, write_table

from icecore import jobs
from icecore.jobs import BlendOutputs
from icecore.runs import ProbabilityTable, open_run, read_probabilities

RESULTS = Path(__file__).resolve().parent / "RESULTS-quality.md"
TITLE = "## Many random splits"
# Which data sets, and how many rows each split learns from.
ROWS = {"clothing10": 400, "colour": 600, "one network": 1500}
LEAST = 1e-15


def splits(case: Case, rows: int, count: int) -> Iterator[Split]:
    """Yield random splits: `rows` to learn from, all other images unseen.

    Rows of a class that no row to learn from has are left out: it cannot be predicted.
    """
    keys = np.array(case.keys)
    for seed in range(count):
        order = np.random.default_rng([seed, 14]).permutation(len(keys))
        learn, test = order[:rows], order[rows:]
        known = np.isin(case.true[test], case.given[learn]) & ~np.isin(keys[test], keys[learn])
        yield Split(f"split{seed}", np.sort(learn), np.sort(test[known]))


def measure(case: Case, split: Split, work: Path) -> np.ndarray:
    """Train and blend at the defaults.

    Returns
    -------
    ndarray of shape (7,)
        What blend told and the ends of its interval; the log-loss of the unseen rows by the
        recommended answer and by the logistic regression alone; their number; processor seconds.
    """
    start = time.process_time()
    with tempfile.TemporaryDirectory(dir=work) as folder:
        folder = Path(folder)
        write_table(case, split, folder / "table.csv")
        run = folder / "run"
        options = dataclasses.replace(jobs.TrainOptions(), features=("+".join(case.sets),))
        jobs.train(case.cache, folder / "table.csv", run, options)
        report = jobs.blend([run], outputs=BlendOutputs(folder / "final.npz", save=False))
        final = read_probabilities(folder / "final.npz")
        trained = open_run(run)
        (model,) = (name for name in trained.tasks["label"].models if "logistic" in name)
        logistic = trained.probabilities("label", model)
        told = report.result.tasks[0].estimate.scores["recommended"]["log_loss"]
    spent = time.process_time() - start
    unseen = [_losses(case, split, table) for table in (final, logistic)]
    return np.array([*told, *(one.mean() for one in unseen), len(split.test), spent])


def _losses(case: Case, split: Split, table: ProbabilityTable) -> np.ndarray:
    place = {identity: row for row, identity in enumerate(table.ids)}
    column = {name: number for number, name in enumerate(table.classes)}
    at = [place[f"test/{row}.jpg"] for row in split.test]
    true = [column[label] for label in case.judged[split.test]]
    return -np.log(np.maximum(table.probabilities[at, true], LEAST))


def summary(name: str, rows: int, found: np.ndarray) -> str:
    """Return a row of the table for the splits (n, 7) of a data set."""
    said, low, high, fresh, logistic = found.T[:5]
    inside = (low <= fresh) & (fresh <= high)
    # An interval is one of the rows to learn from; unseen rows have noise of their own.
    exact = math.erf(1.96 / math.sqrt(2 * (1 + rows / found[:, 5].mean())))
    cells = [
        f"{name}, {rows:,} rows",
        str(len(found)),
        f"{fresh.mean():.4f}",
        _with_error(fresh - said),
        f"{inside.sum()} ({inside.mean():.0%}; {exact:.0%})",
        str((fresh > high).sum()),
        _with_error(fresh - logistic),
        f"{(fresh < logistic).sum()} of {len(found)}",
        f"{found[:, 6].mean():.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _with_error(gaps: np.ndarray) -> str:
    return f"{gaps.mean():+.4f} ± {gaps.std(ddof=1) / np.sqrt(len(gaps)):.4f}"


def table(found: dict[str, np.ndarray]) -> str:
    """Return the section of RESULTS-quality.md."""
    lines = [
        TITLE,
        "",
        "`python benchmarks/jobs/quality_splits.py`. Each split draws the rows to learn from anew; "
        "all others are unseen. The default commands; errors are those of the mean over splits. "
        "Beside how many of the unseen rows' log-losses lie inside the interval that blend tells "
        "stands how many would if the interval were exact, since unseen rows have noise of their "
        "own.",
        "",
        "| data set | splits | unseen rows | unseen less told | inside (seen; exact) | worse than "
        "the interval | less logistic alone | better than it | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
        *(summary(name, ROWS[name], rows) for name, rows in found.items()),
    ]
    return "\n".join(lines) + "\n"


def put(section: str) -> None:
    """Put the section into RESULTS-quality.md, in place of the one that is there."""
    text = RESULTS.read_text()
    before, _, after = text.partition(TITLE)
    _, mark, rest = after.partition("\n## ")
    RESULTS.write_text(before.rstrip() + "\n\n" + section + (f"\n{mark[1:]}{rest}" if mark else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="cache of the photographs")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--splits", type=int, default=24)
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--write", action="store_true", help="write RESULTS-quality.md")
    options = parser.parse_args()
    store = options.work.absolute() / "splits"
    store.mkdir(parents=True, exist_ok=True)
    known = {c.name: c for c in cases(options.cache.absolute(), options.work, options.only)}
    found = {}
    for name in options.only:
        rows = []
        for split in splits(known[name], ROWS[name], options.splits):
            path = store / f"{name}-{ROWS[name]}-{split.name}.npy".replace(" ", "_")
            if not path.exists():
                np.save(path, measure(known[name], split, store))
            rows.append(np.load(path))
            print(name, split.name, np.round(rows[-1], 4), flush=True)
        found[name] = np.array(rows)
    section = table(found)
    print(section)
    if options.write:
        put(section)


if __name__ == "__main__":
    main()
