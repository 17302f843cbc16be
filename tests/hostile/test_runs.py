"""A run of which one field or file was changed: `predict` says which, or answers truly.

Each trial is drawn from a seed. It is held if the command ends with 0 and finite answers, or with
an error of one line that names the file (of a head, its folder), and no answer.
"""

from __future__ import annotations

import io
import json
import os
import random

import numpy as np
import pytest
from command import icecore
from hostile_tables import damaged, hostile_json, hostile_npz
from onnx_files import plain, save
from two_colours import draw_two_colours

COUNT = int(os.environ.get("ICECORE_TRIALS", "48"))
FIRST = int(os.environ.get("ICECORE_FIRST_TRIAL", "0"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network, photographs, and a run of two heads that was blended."""
    folder = tmp_path_factory.mktemp("runs")
    draw_two_colours(folder / "photos")
    spec = save(folder / "net.onnx", plain())
    steps = [
        ("extract", folder / "photos", "-o", folder / "cache", "-b", spec, "-q"),
        ("train", folder / "cache", "--data", folder / "photos", "-o", folder / "run", "-q",
         "--head", "logistic", "--head", "ridge", "--folds", "3"),
        ("blend", folder / "run"),
    ]  # fmt: skip
    for step in steps:
        status, _, said = icecore(*step)
        assert status == 0, said
    return folder


def fault_of(folder, names: set[str], seen: set[str]) -> str:
    answer = folder / "answer.csv"
    answer.unlink(missing_ok=True)
    status, _, said = icecore(
        "predict", folder / "run", folder / "photos" / "cat", "-o", answer, "-q"
    )
    if status not in (0, 1):
        return f"status {status}: {said}"
    if set(said) & set("\x1b\u202e\u200b\0"):
        return f"a terminal would obey {said!r}"
    if status == 0:
        seen.add("answered")
        rows = [line.split(",")[2:] for line in answer.read_text().splitlines()[1:]]
        numbers = np.array(rows, float)
        fine = numbers.shape == (8, 2) and np.allclose(numbers.sum(axis=1), 1, atol=1e-3)
        return "" if fine else f"answered {rows[0]}"
    seen.add("refused")
    if answer.exists():
        return "an error, and yet an answer"
    first = said.splitlines()[0]
    return "" if any(name in first for name in names) else f"names none of {names}: {first}"


def test_predict(made, request):
    files = {p.relative_to(made): p.read_bytes() for p in made.rglob("run/**/*") if p.is_file()}
    kinds = [p for p in sorted(files) if p.suffix in (".json", ".npz") and p.parts[-2] != "p"]
    faults, seen = [], set()
    for seed in range(FIRST, FIRST + COUNT):
        rng = random.Random(seed)
        name = rng.choice(kinds)
        valid = files[name]
        if name.suffix == ".json":
            content = hostile_json(rng, json.loads(valid))
        elif rng.random() < 0.5:
            content = damaged(rng, valid)
        else:
            with np.load(io.BytesIO(valid)) as stored:
                content = hostile_npz(rng, dict(stored))
        (made / name).write_bytes(content)
        # A network that is not where run.json says is named itself.
        known = {name.name, f"heads/{name.parent.name}", "net.onnx"}
        if fault := fault_of(made, known, seen):
            faults.append(f"{seed} {name}: {fault}")
        (made / name).write_bytes(valid)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nhostile predict: tried {COUNT}, held {COUNT - len(faults)}, fault {len(faults)}")
    assert not faults, "\n".join(faults)
    assert seen == {"answered", "refused"} or COUNT < 20


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("views", None), ("fit", 3), ("layer", []), ("format", None), ("backbone", True),
        ("augmentation", 1.5),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_is_named_with_its_file(made, field, value):
    path = made / "run" / "run.json"
    valid = path.read_text()
    about = json.loads(valid)
    about["backbones"][0]["record"][field] = value
    path.write_text(json.dumps(about))
    try:
        assert fault_of(made, {"run.json: backbones[0]: record"}, set()) == ""
    finally:
        path.write_text(valid)


def test_a_record_that_its_fingerprint_is_not_of_is_refused(made):
    path = made / "run" / "run.json"
    valid = path.read_text()
    about = json.loads(valid)
    about["backbones"][0]["record"]["fit"] = "pad"
    path.write_text(json.dumps(about))
    try:
        seen: set[str] = set()
        assert fault_of(made, {"the fingerprint is not that of the record"}, seen) == ""
        assert seen == {"refused"}
    finally:
        path.write_text(valid)
