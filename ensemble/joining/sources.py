"""What goes into a blend: runs, and probability files from elsewhere, each model with a name."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...core.csv_files import LARGEST_CSV
from ...core.errors import MissingFileError, ProbabilityError, RunError, counted, enumerate_some
from ...core.excel_marks import without_excel_marks
from ...core.files import sha256_file
from ...core.npz_files import LARGEST_NPZ
from ...manifest import Sample
from ...runs import ProbabilityTable, Run, open_run
from .foreign import read_tables, unique_models
from .ids import match_ids, names_of
from .labels import read_labels


@dataclasses.dataclass(frozen=True)
class Sources:
    """Tables, labels, and where they come from.

    Attributes
    ----------
    inputs : dict of str to str
        SHA-256 of every file that went in, by its path as it was named.
    runs : dict of str to Run
        By name; the name of a single run is empty.
    about : dict
        What the ``run.json`` of the runs say, joined; empty without a run.
    """

    tables: list[ProbabilityTable]
    samples: tuple[Sample, ...]
    inputs: dict[str, str]
    runs: dict[str, Run]
    about: dict


def read_sources(
    sources: Sequence[str | os.PathLike],
    labels: str | os.PathLike | None,
    mend: str,
    relabel: bool = False,
    asked: Iterable[tuple[str, str]] = (),
) -> Sources:
    """Read runs and probability files.

    Parameters
    ----------
    sources : sequence of path-like
        Folders of runs, and files that `read_tables` reads.
    labels : path-like or None
        What `read_labels` reads. Runs have labels of their own.
    mend : str
        As for `read_tables`.
    relabel : bool, default False
        Whether `labels` may take the place of those of runs.
    asked : iterable of (str, str)
        Ids and tasks (any, if empty) of rows that want an answer: test rows where `labels` do not
        have them.

    Raises
    ------
    MissingFileError, RunError, ProbabilityError
        Files are absent or unusable, a source was given twice, or runs disagree about labels.
    """
    paths = [Path(source) for source in sources]
    _require_usable(paths, labels, relabel)
    folders = [path for path in paths if path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    runs = {name: open_run(path) for name, path in _run_names(folders).items()}
    tables, inputs = [], {}
    for name, run in runs.items():
        for table in run.tables():
            # The head too: weights tuned on its answers are none for another's.
            own = run.head_files(table.task, table.model)
            run.tasks[table.task].require_unchanged(own)
            for path in (run.probability_file(table.task, table.model), *own):
                inputs[str(path)] = sha256_file(path, LARGEST_NPZ)
            tables.append(dataclasses.replace(table, model=model_of_run(name, table.model)))
        samples_file = run.path / "samples.csv"
        if not os.path.lexists(samples_file):
            raise MissingFileError(f"{samples_file} is not there", "restore it, or train again")
        inputs[str(samples_file)] = sha256_file(samples_file, LARGEST_CSV)
    read = [(path, table) for path in files for table in read_tables(path, mend)]
    inputs |= {str(path): sha256_file(path, LARGEST_NPZ) for path in files}
    foreign = unique_models(read, {(table.task, table.model) for table in tables})
    if labels is not None and Path(labels).is_file():
        inputs[str(labels)] = sha256_file(labels, LARGEST_CSV)
    if not runs:
        assert labels is not None  # files alone need them
        samples = _with_asked(read_labels(labels), asked)
    elif labels is None:
        samples = _common_labels(runs, relabel)
    else:
        samples = _relabelled(runs, labels)
    tables += [_with_known_names(table, samples) for table in foreign]
    return Sources(tables, samples, inputs, runs, _about(runs))


def model_of_run(run: str, model: str) -> str:
    """Return the name of a run's model among those of several runs."""
    return f"{run}/{model}" if run else model


def model_in_run(runs: Iterable[str], name: str) -> tuple[str, str] | None:
    """Return the run and its model that a name of `model_of_run` means, None for a file's."""
    run, slash, model = name.partition("/")
    if slash and run in runs:
        return run, model
    return ("", name) if "" in runs else None


def expected_models(runs: dict[str, Run], task: str) -> set[str]:
    """Return the names of all models that `runs` have for a task."""
    return {
        model_of_run(name, model)
        for name, run in runs.items()
        if task in run.tasks
        for model in run.tasks[task].models
    }


def _with_asked(
    samples: tuple[Sample, ...], asked: Iterable[tuple[str, str]]
) -> tuple[Sample, ...]:
    """Add what is asked for to the samples, as test rows."""
    known = {(one.task, one.id) for one in samples}
    tasks = dict.fromkeys(one.task for one in samples)
    rows = dict.fromkeys((own, name) for name, task in asked for own in ([task] if task else tasks))
    return (*samples, *(Sample(i, "", "test", task) for task, i in rows if (task, i) not in known))


def _with_known_names(table: ProbabilityTable, samples: Iterable[Sample]) -> ProbabilityTable:
    """Call task, classes and rows as the samples do that they mean, each one of its own.

    A spreadsheet's apostrophe (``--excel``) is no part of a name.
    """
    samples = list(samples)
    (task,) = without_excel_marks([table.task], {sample.task for sample in samples})
    labels = {sample.label for sample in samples if sample.task == task}
    names = {sample.id: None for sample in samples}
    classes = without_excel_marks(table.classes, labels)
    # Apostrophes stand before whole names, not before ends of paths.
    bare = without_excel_marks(table.ids, {end for name in names for end in names_of(name)})
    found, _ = match_ids(bare, names)
    if len(set(found.values())) < len(found):
        found = {}
    ids = tuple(found.get(name, name) for name in bare)
    return dataclasses.replace(table, task=task, classes=classes, ids=ids)


def _require_usable(paths: list[Path], labels, relabel: bool) -> None:
    if not paths:
        raise ProbabilityError("no probability files were given", "give one file for each model")
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        raise MissingFileError(
            f"{enumerate_some(absent)} {verb} not there",
            "give the folders of runs, or probability files",
        )
    folders = [str(path) for path in paths if path.is_dir()]
    real = [os.path.realpath(path) for path in paths]
    twice = sorted({str(p) for p, one in zip(paths, real) if real.count(one) > 1})
    if twice:
        raise ProbabilityError(
            f"several tables are of a model of one name, or given twice: {enumerate_some(twice)}",
            "give each run and each file once",
        )
    if folders and labels is not None and not relabel:
        for folder in folders:
            open_run(folder)  # Any other folder is called what it is.
        raise RunError(
            f"{enumerate_some(folders)}: a run has its own labels, and there are --labels",
            "leave --labels out; they are for probability files alone",
        )
    if not folders and labels is None:
        raise RunError(
            f"{enumerate_some(paths)}: probability files, but no labels to tune on",
            "add --labels: a CSV with id,label, or the data set itself; or the run they belong to",
        )


def _run_names(folders: Sequence[Path]) -> dict[str, Path]:
    """Name runs by their folders, with the folders above where those are equal."""
    if len(folders) == 1:
        return {"": folders[0]}
    parts = [Path(os.path.realpath(folder)).parts for folder in folders]
    depth = 1
    while len({one[-depth:] for one in parts}) < len(parts):
        depth += 1
    return {"-".join(one[-depth:]): folder for one, folder in zip(parts, folders)}


def _common_samples(runs: dict[str, Run]) -> tuple[Sample, ...]:
    """Return the samples of all runs, each once: that of the first run with the whole image.

    The digest of a whole image tells its copies; that of a part tells the part.
    """
    found: dict[tuple[str, str], Sample] = {}
    for run in runs.values():
        for sample in run.samples():
            known = found.setdefault((sample.task, sample.id), sample)
            if known.box and not sample.box:
                found[sample.task, sample.id] = sample
    return tuple(found.values())


def _common_labels(runs: dict[str, Run], relabel: bool) -> tuple[Sample, ...]:
    """Return the samples of all runs; refuse them if their labels differ."""
    found = {(sample.task, sample.id): sample for sample in _common_samples(runs)}
    torn = []
    for name, run in runs.items():
        for sample in run.samples():
            known = found[sample.task, sample.id]
            if known.label != sample.label:
                torn.append(f"{sample.id} ({known.label or 'none'}, {sample.label} in {name})")
    if torn:
        raise ProbabilityError(
            f"the runs have other labels for {counted(len(torn), 'row')}: {enumerate_some(torn)}",
            "train them all on the same labels"
            + ", or judge them all by those that --labels names" * relabel,
        )
    return tuple(found.values())


def _relabelled(runs: dict[str, Run], labels: str | os.PathLike) -> tuple[Sample, ...]:
    """Return the samples of all runs with the labels of a table.

    It names all that had one, but for those that some run lacks: they are not compared.
    """
    samples = _common_samples(runs)
    everywhere = set.intersection(*({(s.task, s.id) for s in r.samples()} for r in runs.values()))
    truth: dict[tuple[str, str], Sample] = {}
    given = read_labels(labels)
    for task in {sample.task for sample in samples}:
        own = {sample.id: sample for sample in given if sample.task == task}
        found, _ = match_ids(own, (sample.id for sample in samples if sample.task == task))
        truth |= {(task, image): own[name] for name, image in found.items()}
    bare = [
        f"{one.id} ({one.task})"
        for one in samples
        if one.label
        and (one.task, one.id) in everywhere
        and not ((one.task, one.id) in truth and truth[one.task, one.id].label)
    ]
    if bare:
        raise ProbabilityError(
            f"{labels} has no label for {counted(len(bare), 'row')} of the runs: "
            f"{enumerate_some(bare)}",
            "give labels of every row that the runs have labels of, by the names of their tasks",
        )
    return tuple(
        dataclasses.replace(one, label=new.label, letters=new.letters)
        if (new := truth.get((one.task, one.id)))
        else one
        for one in samples
    )


def _about(runs: dict[str, Run]) -> dict:
    """Return what the runs say of themselves as if they were one."""
    if len(runs) < 2:
        return next((run.about for run in runs.values()), {})
    several = [run.about for run in runs.values()]
    backbones = {one["fingerprint"]: one for about in several for one in about["backbones"]}
    tasks: dict[str, dict] = {}
    for name, run in runs.items():
        for task in run.tasks.values():
            entry = tasks.setdefault(task.name, {"validation": {}, "features": {}, "chosen": {}})
            entry["validation"][task.validation] = None
            entry["features"] |= {
                model_of_run(name, model): list(prints) for model, prints in task.features.items()
            }
            chosen = run.about["tasks"][task.name].get("chosen", {})
            entry["chosen"] |= {model_of_run(name, model): one for model, one in chosen.items()}
    for entry in tasks.values():
        if len(entry["validation"]) > 1:
            # What all rows bring is known of rows that were all predicted in one way.
            del entry["chosen"]
        entry["validation"] = " and ".join(entry["validation"])
    return {
        "seed": ", ".join(dict.fromkeys(str(run.seed) for run in runs.values())),
        "random_weights": any(run.random_weights for run in runs.values()),
        "backbones": list(backbones.values()),
        "failures": [one for about in several for one in about.get("failures", [])],
        "tasks": tasks,
    }
