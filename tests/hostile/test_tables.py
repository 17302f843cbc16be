"""Damaged and hostile files of every kind that a reader takes: held with one line, or read truly.

Each trial is drawn from a seed. It is held if the reader raises one of icecore's errors, in one
line that names the file and has nothing in it that a terminal obeys, or if what it reads
keeps the promise of its kind. Everything else is a fault.
``ICECORE_TRIALS`` and ``ICECORE_FIRST_TRIAL`` draw more of them, and others.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import icecore
from hostile_tables import damaged, hostile_csv, hostile_json, hostile_npz

from icecore.cli import main
from icecore.core.errors import IcecoreError
from icecore.core.json_files import read_json
from icecore.ensemble import load_saved, read_costs, read_labels, read_tables
from icecore.heads import load_head, make_head
from icecore.manifest import Manifest, Sample, digest_manifest, read, read_boxes
from icecore.runs import (
    ProbabilityTable,
    open_run,
    read_probabilities,
    write_probabilities,
    write_run,
)

SECONDS = 10
COUNT = int(os.environ.get("ICECORE_TRIALS", "60"))
FIRST = int(os.environ.get("ICECORE_FIRST_TRIAL", "0"))
SEEDS = range(FIRST, FIRST + COUNT)


class Trials:
    """Counts what was tried, held and found faulty."""

    def __init__(self, name: str) -> None:
        self.name, self.tried, self.faults = name, 0, []

    def run(self, seed: int, path: Path, use: Callable, *arguments) -> None:
        self.tried += 1
        try:
            with time_limit():
                use(*arguments)
        except IcecoreError as error:
            text = error.message.replace("\n    ", " ")
            if "\n" in text or any(c in error.message for c in "\x1b\u202e\u200b\0"):
                self.faults.append(f"{self.name} {seed}: not one plain line: {error.message!r}")
            elif path.name not in error.message:
                self.faults.append(f"{self.name} {seed}: does not name the file: {error.message}")
        except BaseException as error:
            self.faults.append(f"{self.name} {seed}: {type(error).__name__}: {error!s:.300}")

    def finish(self, request) -> None:
        held = self.tried - len(self.faults)
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{self.name}: tried {self.tried}, held {held}, fault {len(self.faults)}")
        assert not self.faults, "\n".join(self.faults)


@contextlib.contextmanager
def time_limit():
    def stop(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


IDS = tuple(f"{n}.jpg" for n in range(12))
TABLE = ProbabilityTable(IDS, ("cat", "dog"), np.full((12, 2), 0.5), ("validation",) * 12)
TASK = {
    "classes": ["cat", "dog"], "models": ["one"], "validation": "split", "folder": "label",
    "features": {"one": ["f"]}, "scores": {"one": {"log_loss": 0.5}}, "warnings": ["few"],
}  # fmt: skip
RUN = {
    "format": 1, "icecore": "0.1.0", "seed": 3, "random_weights": False, "tasks": {"label": TASK},
    "backbones": [{"spec": "onnx:a", "fingerprint": "f", "dim": 8, "record": {"fit": "crop"}}],
}  # fmt: skip
COSTS = {"backbones": {"a": {"size_bytes": 5, "latency_ms": 1.5}}, "models": {"m": ["a"]}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with its blend, as icecore writes both."""
    path = tmp_path_factory.mktemp("hostile") / "run"
    rows = tuple(Sample(i, f"/x/{i}", "validation", label="cat") for i in IDS)
    Manifest(rows).write(path / "samples.csv")
    rng = np.random.default_rng(0)
    models = ["one", "two"]
    for model in models:
        table = ProbabilityTable(IDS, ("cat", "dog"), rng.dirichlet([3, 1], 12), TABLE.splits)
        write_probabilities(path / f"label/probabilities/{model}.npz", table)
    task = TASK | {"models": models, "features": dict.fromkeys(models, ("f",)), "scores": {}}
    write_run(path, RUN | {"tasks": {"label": task}})
    with contextlib.redirect_stdout(io.StringIO()):
        main(["blend", str(path), "--json", "--save"])
    return path


def use_blend(path: Path):
    for answer in ("tuned", "recommended"):
        for weights in load_saved(path.parent, answer).tasks.values():
            found = weights.combine(
                {m: np.full((3, len(weights.classes)), 0.5) for m in weights.needed}
            )
            assert np.isfinite(found).all()
            assert (found >= 0).all()


@pytest.mark.parametrize("kind", ["run.json", "blend.json", "costs", "head.json", "any"])
def test_json(tmp_path, run, kind, request):
    trials = Trials(f"hostile {kind}")
    head = make_head("logistic", 0).fit(np.eye(6), np.array(["cat", "dog"] * 3))
    head.save(tmp_path / "head")
    place, valid, use = {
        "run.json": ("run.json", RUN, lambda path: repr(open_run(path.parent))),
        "blend.json": ("blend.json", read_json(run / "blend.json"), use_blend),
        "costs": ("costs.json", COSTS, read_costs),
        "head.json": ("head/head.json", read_json(tmp_path / "head/head.json"), use_head),
        "any": ("any.json", RUN, lambda path: read_json(path, kind=object)),
    }[kind]
    if kind == "blend.json":
        (tmp_path / "run.json").write_bytes((run / "run.json").read_bytes())
    for seed in SEEDS:
        path = tmp_path / place
        path.write_bytes(hostile_json(random.Random(seed), valid))
        trials.run(seed, path.parent if kind == "head.json" else path, use, path)
    trials.finish(request)


def use_head(path: Path):
    found = load_head(path.parent).predict_proba(np.eye(6))
    assert np.isfinite(found).all()


def use_table(path: Path):
    found = read_probabilities(path)
    assert np.isfinite(found.probabilities).all()
    assert found.probabilities.shape == (len(found.ids), len(found.classes))


@pytest.mark.parametrize("kind", ["probabilities", "head"])
def test_npz(tmp_path, kind, request):
    trials = Trials(f"hostile NPZ of {kind}")
    write_probabilities(tmp_path / "p.npz", TABLE)
    make_head("logistic", 0).fit(np.eye(6), np.array(["cat", "dog"] * 3)).save(tmp_path / "head")
    path = tmp_path / ("p.npz" if kind == "probabilities" else "head/weights.npz")
    with np.load(path) as stored:
        valid = dict(stored)
    use = use_table if kind == "probabilities" else use_head
    for seed in SEEDS:
        path.write_bytes(hostile_npz(random.Random(seed), valid))
        trials.run(seed, path, use, path)
    assert not Path("owned").exists()
    trials.finish(request)


@pytest.mark.parametrize("suffix", [".h5", ".parquet"])
def test_other_probability_files(tmp_path, suffix, request):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow", exc_type=ImportError)
    trials = Trials(f"hostile {suffix}")
    path = tmp_path / f"p{suffix}"
    write_probabilities(path, TABLE)
    valid = path.read_bytes()
    for seed in SEEDS:
        path.write_bytes(damaged(random.Random(seed), valid))
        trials.run(seed, path, use_table, path)
    trials.finish(request)


def lines_of(path: Path) -> int:
    content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return sum(bool(line.strip(b', \t\xef\xbb\xbf"')) for line in content.split(b"\n"))


def use_manifest(path: Path):
    # No line is swallowed: each below the header is a sample.
    assert len(read(path, labels_required=False)) == lines_of(path) - 1


IMAGES = Manifest(tuple(Sample(i, f"/x/{i}") for i in IDS))
PATHS = "path,label,split\n" + "".join(f"{i},cat,train\n" for i in IDS)
LABELS = "id,label\n" + "".join(f"{i},dog\n" for i in IDS)
NUMBERS = "id,cat,dog\n" + "".join(f"{i},0.5,0.5\n" for i in IDS)
ANSWERS = "".join(f"{i},coat_labels,0.5;0.5\n" for i in IDS)
BOXES = "path,x0,y0,x1,y1\n" + "".join(f"{i},1,2,3,4\n" for i in IDS)


@pytest.mark.parametrize(
    ("name", "valid", "use"),
    [
        ("table", PATHS, use_manifest),
        ("labels", LABELS, read_labels),
        ("probabilities", NUMBERS, use_table),
        ("answers", ANSWERS, read_tables),
        ("boxes", BOXES, lambda path: read_boxes(path, IMAGES)),
    ],
    ids=lambda one: one if isinstance(one, str) and len(one) < 20 else "",
)
def test_csv(tmp_path, name, valid, use, request):
    trials = Trials(f"hostile CSV of {name}")
    path = tmp_path / "t.csv"
    for seed in SEEDS:
        path.write_bytes(hostile_csv(random.Random(seed), valid))
        trials.run(seed, path, use, path)
    trials.finish(request)


NAMES = [
    b"a.jpg", b"b.PNG", b"c.cr2", b"x", b"\x1b[2J.jpg", b"\xff.jpg", b"l\nb.jpg", b".hidden.jpg",
    b"train", b"test", b"val", b"hat", b"hat ", b"Hat", b"caf\xc3\xa9", b"cafe\xcc\x81",
    b"__MACOSX", b"labels.csv", b"run.json", b"icecore-cache.json", b"Annotations",
    b"label.csv", b"d.jpg", b"1",
]  # fmt: skip


def plant(rng: random.Random, folder: bytes, depth: int = 0) -> None:
    """Fill a folder with files and folders of all kinds."""
    os.makedirs(folder, exist_ok=True)
    for name in rng.sample(NAMES, rng.randint(1, 5)):
        path, kind = folder + b"/" + name, rng.randrange(12)
        if kind < 5 and depth < 3:
            plant(rng, path, depth + 1)
        elif kind == 5:
            os.mkfifo(path)
        elif kind == 6:
            os.symlink(rng.choice([b".", b"..", b"/dev/zero", b"/nowhere", folder]), path)
        elif kind == 7 and len(path) < 90:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(path)
        else:
            with open(path, "wb") as file:
                file.write(rng.choice([b"", b"{}", b"id,label\na,b\n", b"\xff\xd8\xff", b"x" * 99]))


def use_folder(root: Path, required: bool):
    found = digest_manifest(read(root, labels_required=required)).manifest
    used = {sample.path for sample in found}
    passed = [name for name, _ in found.passed_over]
    folders = tuple(name for name in passed if name.endswith("/") or not name)
    for base, _, names in os.walk(root):
        for name in names:
            path = os.path.join(base, name)
            below = os.path.relpath(path, root)
            assert (
                path in used or below in passed or below.startswith(folders) or _is_table(below)
            ), below


def _is_table(name: str) -> bool:
    return name in ("labels.csv", "Annotations/label.csv")


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_folders(tmp_path, request):
    trials = Trials("hostile folders")
    for seed in SEEDS:
        root = tmp_path / f"{seed}"
        plant(random.Random(seed), os.fsencode(root))
        for required in (True, False):
            trials.run(seed, root, use_folder, root, required)
    trials.finish(request)


def test_commands(tmp_path, run, request):
    """The commands end with a status and a line, whatever the run holds."""
    trials = Trials("hostile runs")
    files = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    files.pop(Path("report.html"))
    for seed in range(24):
        rng = random.Random(seed)
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        victim = tmp_path / rng.choice(sorted(files))
        if victim.suffix == ".json":
            victim.write_bytes(hostile_json(rng, read_json(victim)))
        else:
            victim.write_bytes(damaged(rng, victim.read_bytes()))
        trials.run(seed, victim, command, "blend", tmp_path, "--json", "--save")
        trials.run(seed, victim, command, "manifest", tmp_path / "samples.csv")
    trials.finish(request)


def command(*arguments) -> None:
    status, out, err = icecore(*arguments)
    assert status in (0, 1, 2), (status, err)
    assert status == 0 or err.startswith("error: "), err
    assert not set(out + err) & set("\x1b\u202e\u200b\0")
