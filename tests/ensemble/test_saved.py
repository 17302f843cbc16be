import json

import numpy as np
import pytest
from blending import blend_run

from icecore.core.errors import MissingFileError, RunError
from icecore.core.files import sha256_file
from icecore.ensemble import BlendOptions, TaskWeights, load_saved
from icecore.ensemble.saved import sealed
from icecore.runs import file_digests

QUICK = BlendOptions(honest=False)


@pytest.fixture
def blended(run):
    blend_run(run, QUICK)
    return run


def change(run, edit):
    """Let `edit` change the content of blend.json."""
    content = json.loads((run / "blend.json").read_text())
    edit(content["tasks"][0])
    (run / "blend.json").write_text(json.dumps(content))


def set_weight(answer, value):
    def edit(task):
        task["answers"][answer]["weights"]["noise"] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (set_weight("recommended", float("nan")), "not usable JSON"),
        (set_weight("recommended", -0.25), "noise = -0.25"),
        (set_weight("average", -0.25), "noise = -0.25"),
        (set_weight("tuned", 0.75), "weights have the sum"),
        (set_weight("tuned", "0.5"), "noise = '0.5'"),
        (set_weight("tuned", True), "noise = True"),
        (set_weight("tuned", 10**400), "not usable JSON"),
        (lambda t: t["answers"]["tuned"].update(mean="harmonic"), "the mean is 'harmonic'"),
        (lambda t: t["answers"].pop("average"), "has no field 'average'"),
        (lambda t: t.pop("classes"), "has no field 'classes'"),
        (lambda t: t.update(task="other"), "its tasks are other, the run has label"),
        (lambda t: t["classes"].reverse(), "the classes of the task 'label' are others"),
        (
            lambda t: [a["weights"].update(new=0.0) for a in t["answers"].values()],
            "the models of the task 'label' are others",
        ),
        (lambda t: t.update(answers=[]), "answers = "),
    ],
)
def test_what_cannot_be_the_blend_of_this_run_is_refused(blended, edit, words):
    change(blended, edit)
    with pytest.raises(RunError, match=words):
        load_saved(blended)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("temperature", 0.0, "the temperature 0.0 is not from 0.001 to 1000"),
        ("temperature", -1.0, "the temperature -1.0 is not"),
        ("temperature", 1e999, "not usable JSON"),
        ("temperature", None, "temperature"),
        ("wrong_labels", 1.0, "the share of wrong labels 1.0 is not from 0 to below 1"),
        ("wrong_labels", -0.1, "the share of wrong labels -0.1 is not"),
        ("wrong_labels", "much", "wrong_labels = 'much'"),
    ],
)
def test_a_calibration_that_is_none_is_refused(blended, field, value, words):
    def edit(task):
        for answer in task["answers"].values():
            answer["calibration"] = {"temperature": 1.0, "wrong_labels": 0.0, field: value}

    change(blended, edit)
    with pytest.raises(RunError, match=words):
        load_saved(blended)


def test_groups_must_hold_every_class_once():
    with pytest.raises(ValueError, match="do not hold every class once"):
        TaskWeights({"a": 1.0}, classes=("x", "y"), groups=((("x",), {"a": 1.0}),))
    with pytest.raises(ValueError, match="weights of a group name different models"):
        TaskWeights({"a": 1.0}, classes=("x",), groups=((("x",), {"b": 1.0}),))


def test_a_blend_of_other_heads_is_refused(run):
    path = run / "label/heads/noise/head.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    blend_run(run, QUICK)
    load_saved(run)
    path.write_text("[]")
    with pytest.raises(RunError, match=r"files have changed since: label/heads/noise/head.json"):
        load_saved(run)


def test_a_blend_of_other_probabilities_is_refused(blended):
    path = blended / "label/probabilities/noise.npz"
    path.write_bytes((blended / "label/probabilities/mlp-one.npz").read_bytes())
    with pytest.raises(RunError, match=r"files have changed since: label/probabilities/noise.npz"):
        load_saved(blended)
    # A run that travels without its probability files keeps its weights.
    path.unlink()
    assert load_saved(blended).tasks


def test_a_changed_run_that_no_blend_can_be_made_of_is_to_be_restored(run):
    about = json.loads((run / "run.json").read_text())
    about["samples_sha256"] = sha256_file(run / "samples.csv")
    about["tasks"]["label"]["sha256"] = file_digests(run / "label")
    (run / "run.json").write_text(json.dumps(about))
    blend_run(run, QUICK)
    for name in ("samples.csv", "label/probabilities/noise.npz"):
        with open(run / name, "ab") as file:
            file.write(b"\n")
    with pytest.raises(RunError, match=r"samples.csv, .*noise.npz: not what training") as caught:
        load_saved(run)
    assert caught.value.hint == "restore the run as it was, or train again"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "not usable JSON"),
        ("[]", "not a JSON object"),
        ('{"format": 99}', "has the format 99"),
        (
            '{"format": 4, "answer": "tuned", "tasks": [{"task": "a"}], "inputs": {}}',
            "has no field 'answers'",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, words):
    (tmp_path / "blend.json").write_text(content)
    with pytest.raises(RunError, match=words):
        load_saved(tmp_path)


@pytest.mark.parametrize(("place", "why"), [("../x", "is not there"), ("run.json", "is no folder")])
def test_a_run_that_a_blend_names_is_said_to_be_named_by_it(blended, place, why):
    content = json.loads((blended / "blend.json").read_text())
    content["runs"]["other"] = place
    (blended / "blend.json").write_text(json.dumps(content))
    with pytest.raises(MissingFileError, match=f"blend.json names a run that cannot .* {why}"):
        load_saved(blended)


def test_weights_of_a_run_that_was_not_blended(tmp_path):
    with pytest.raises(MissingFileError, match="run 'icecore blend' on this folder first"):
        load_saved(tmp_path)


def test_every_answer_can_be_read(blended):
    found = {answer: load_saved(blended, answer).tasks["label"] for answer in ("tuned", "average")}
    assert set(found["average"].weights.values()) == {0.25}
    assert found["average"].answer == "the plain average"
    assert found["tuned"].weights != found["average"].weights
    with pytest.raises(RunError, match="no answer 'best'"):
        load_saved(blended, "best")


def test_models_of_no_weight_are_not_needed():
    weights = TaskWeights({"a": 1.0, "b": 0.0})
    assert weights.needed == ("a",)
    table = np.array([[0.25, 0.75]])
    assert np.array_equal(weights.combine({"a": table}), table)
    with pytest.raises(RunError, match="the blend needs probabilities of a"):
        weights.combine({"b": table})


@pytest.mark.parametrize("few", [{"noise": 1.0}, {"noise": 0.5, "mlp-one": 0.5}])
@pytest.mark.parametrize(("answer", "end"), [("average", ""), ("recommended", ", calibrated")])
def test_an_average_of_few_models_says_so(blended, few, answer, end):
    # One model alone was called the plain average.
    content = json.loads((blended / "blend.json").read_text())
    (task,) = content["tasks"]
    found = task["answers"][answer]
    found["weights"] = dict.fromkeys(found["weights"], 0.0) | few
    task["recommended"]["is"] = "the plain average, calibrated"
    if end:
        found["calibration"] = {"temperature": 1.0, "wrong_labels": 0.0}
    (blended / "blend.json").write_text(json.dumps(sealed(content)))
    words = load_saved(blended, answer).tasks["label"].answer
    assert words == f"the plain average of {len(few)} of 4 models{end}"


def test_files_whose_digests_were_left_out_are_named(blended):
    content = json.loads((blended / "blend.json").read_text())
    (file,) = [name for name in content["inputs"] if name.endswith("mlp-one.npz")]
    (blended / "label/heads/mlp-one").mkdir(parents=True)
    (blended / "label/heads/mlp-one/.DS_Store").write_text("by a system")
    assert load_saved(blended).tasks
    del content["inputs"][file]
    (blended / "blend.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="it does not say what .*mlp-one.npz held"):
        load_saved(blended)


@pytest.mark.parametrize(
    "edit",
    [
        lambda task: task["recommended"].update(
            {"is": "the tuned weights, moved 3% of the way to equal ones, calibrated"}
        ),
        lambda task: task["answers"]["recommended"].update(
            groups=[
                {
                    "classes": [name],
                    "weights": dict(zip(task["answers"]["recommended"]["weights"], weights)),
                }
                for name, weights in zip(task["classes"], np.eye(4))
            ]
        ),
        lambda task: task["answers"]["average"]["weights"].update(
            zip(task["answers"]["average"]["weights"], (0.7, 0.1, 0.1, 0.1))
        ),
        lambda task: task["answers"]["tuned"].update(
            calibration={"temperature": 1000.0, "wrong_labels": 0.0}
        ),
        lambda task: task["scores"].clear(),
    ],
)
def test_words_and_numbers_that_were_changed_are_refused(blended, edit):
    """An answer had been called the tuned weights, and the plain average, that was neither."""
    change(blended, edit)
    with pytest.raises(RunError, match="changed since it was written: .* its own digest") as caught:
        load_saved(blended)
    assert caught.value.hint == "run 'icecore blend' on this folder again"


def test_a_line_break_of_a_stranger_begins_no_line(blended):
    content = json.loads((blended / "blend.json").read_text())
    content["tasks"][0]["recommended"]["is"] = "good\nwritten: all"
    (blended / "blend.json").write_text(json.dumps(sealed(content)))
    assert load_saved(blended, "recommended").tasks["label"].answer == "good\\nwritten: all"


def test_files_of_the_system_are_not_read(blended):
    """Some of them never end."""
    content = json.loads((blended / "blend.json").read_text())
    content["inputs"]["/proc/self/environ"] = "0" * 64
    (blended / "blend.json").write_text(json.dumps(sealed(content)))
    with pytest.raises(RunError, match="names files of the system: /proc/self/environ"):
        load_saved(blended)
