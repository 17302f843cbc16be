import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
from blending import blend_run
from threadpoolctl import threadpool_info, threadpool_limits

from icecore import jobs
from icecore.core.errors import MissingFileError, ProbabilityError, RunError
from icecore.ensemble import BlendOptions, blend_sources, load_saved, result_text
from icecore.runs import ProbabilityTable, read_probabilities, write_probabilities

SCORES = {"log_loss", "accuracy", "map"}


def test_a_run_gets_weights_and_an_honest_table(run, builders):
    result = blend_run(run)
    (task,) = result.to_json()["tasks"]
    assert task["task"] == "label"
    for answer in task["answers"].values():
        assert list(answer["weights"]) == list(task["models"]) == list(builders.models)
        assert sum(answer["weights"].values()) == pytest.approx(1)
    assert task["certificate"] <= 1e-8
    assert task["metric"] == "log_loss"
    for scores in [*task["models"].values(), *task["scores"].values()]:
        assert set(scores) == {"tuning", "test"}
        assert set(scores["tuning"]) == set(scores["test"]) == SCORES
    reached = task["scores"]["tuned"]["tuning"]["log_loss"]
    assert reached <= min(s["tuning"]["log_loss"] for s in task["models"].values()) + 1e-9
    assert reached <= task["scores"]["average"]["tuning"]["log_loss"] + 1e-9


def test_the_numbers_are_those_of_scikit_learn(run, builders):
    (task,) = blend_run(run, BlendOptions(honest=False)).to_json()["tasks"]
    tables = [read_probabilities(run / f"label/probabilities/{m}.npz") for m in task["models"]]
    y = builders.probabilities(rows=120, quality=[1.6, 1.3, 2.0, 0.2])[1]
    mixed = sum(
        w * t.probabilities for w, t in zip(task["answers"]["tuned"]["weights"].values(), tables)
    )
    for split, rows in (("tuning", slice(0, 80)), ("test", slice(80, 120))):
        hot = np.eye(4)[y[rows]]
        assert task["scores"]["tuned"][split] == pytest.approx(
            {
                "log_loss": reference.log_loss(y[rows], mixed[rows]),
                "accuracy": reference.accuracy_score(y[rows], mixed[rows].argmax(axis=1)),
                "map": reference.average_precision_score(hot, mixed[rows], average="macro"),
            }
        )


def test_what_is_written_can_be_read_back(run):
    result = blend_run(run, BlendOptions(seed=5))
    content = json.loads((run / "blend.json").read_text())
    assert content["tasks"] == result.to_json()["tasks"]
    assert content["seed"] == 5
    assert len(content["inputs"]["samples.csv"]) == 64
    assert "label/probabilities/noise.npz" in content["inputs"]
    weights = load_saved(run).tasks["label"]
    assert weights.weights == content["tasks"][0]["answers"]["recommended"]["weights"]
    tables = {
        m: read_probabilities(run / f"label/probabilities/{m}.npz").probabilities
        for m in weights.needed
    }
    assert weights.combine(tables) == pytest.approx(result.tasks[0].table())
    assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_write_false_leaves_the_folder_as_it_is(run):
    before = sorted(run.rglob("*"))
    blend_run(run, BlendOptions(honest=False), write=False)
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("metric", ["accuracy", "map"])
def test_other_metrics_are_no_worse_than_average_and_singles(run, metric):
    (task,) = blend_run(run, BlendOptions(metric, honest=False), write=False).to_json()["tasks"]
    singles = [s["tuning"][metric] for s in task["models"].values()]
    reached = task["scores"]["tuned"]["tuning"][metric]
    assert reached >= max([*singles, task["scores"]["average"]["tuning"][metric]])
    assert task["certificate"] is None


def test_several_tasks_with_letters(tmp_path, builders):
    run = builders.run(tmp_path / "run", tasks=("sleeve", "skirt"), letters=True)
    result = blend_run(run, BlendOptions("basic_precision", honest=False))
    assert [task["task"] for task in result.to_json()["tasks"]] == ["sleeve", "skirt"]
    scores = result.to_json()["tasks"][0]["scores"]["tuned"]["test"]
    assert set(scores) == SCORES | {"fashionai_ap", "basic_precision"}
    assert scores["basic_precision"] >= scores["accuracy"]


def test_the_text_is_the_table_and_what_follows_from_it(run, builders):
    result = blend_run(run, write=False)
    text = result_text(result)
    for words in [*builders.models, "plain average", "tuned average", "recommended: "]:
        assert words in text
    assert "validation log-loss" in text
    assert "test log-loss" in text
    # One answer is what most readers want; the others and the proofs are asked for.
    assert text.count("on 40 test rows: log-loss") == 1
    for words in ("certificate", "class shares:", "chosen on"):
        assert words not in text
        assert words in result_text(result, details=True)
    assert len(text.splitlines()) <= 2 + len(builders.models) + 3 + 6


def copies(run, folder, suffix):
    """Write the tables of a run as files from elsewhere, rows shuffled, without splits."""
    paths = []
    for number, path in enumerate(sorted((run / "label/probabilities").iterdir())):
        table = read_probabilities(path)
        order = np.random.default_rng(number).permutation(len(table.ids))
        paths.append(folder / f"{path.stem}{suffix}")
        write_probabilities(
            paths[-1],
            ProbabilityTable(
                tuple(table.ids[i] for i in order),
                table.classes,
                table.probabilities[order],
                model=path.stem,
            ),
        )
    return paths


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".h5"])
def test_files_from_elsewhere_give_the_same_answer(run, tmp_path, suffix):
    expected = blend_run(run, BlendOptions(honest=False), write=False).tasks[0]
    paths, options = copies(run, tmp_path, suffix), BlendOptions(honest=False)
    found = blend_sources(paths, run / "samples.csv", options)
    assert found.tasks[0].weights == pytest.approx(expected.weights, abs=1e-6)
    assert found.tasks[0].scores["tuned"]["test"] == pytest.approx(expected.scores["tuned"]["test"])


def test_files_need_labels_and_no_run(run, tmp_path):
    paths = copies(run, tmp_path, ".csv")
    with pytest.raises(ProbabilityError, match="no probability files were given"):
        blend_sources([], run / "samples.csv")
    with pytest.raises(MissingFileError, match=r"none.csv is not there"):
        blend_sources([*paths, tmp_path / "none.csv"], run / "samples.csv")
    with pytest.raises(MissingFileError, match=r"labels.csv is not there"):
        blend_sources(paths, tmp_path / "labels.csv")


def test_rows_that_a_sheet_asks_for_need_no_label(tmp_path):
    rng, files = np.random.default_rng(0), [tmp_path / "one.csv", tmp_path / "two.csv"]
    for path in files:
        rows = "".join(f"{number},{p:.4f},{1 - p:.4f}\n" for number, p in enumerate(rng.random(40)))
        path.write_text(f"id,x,y\n{rows}")
    labels, sheet, split = (tmp_path / name for name in ("labels.csv", "sheet.csv", "split.csv"))
    known = "".join(f"{number},{'xy'[number % 2]}\n" for number in range(30))
    labels.write_text(f"id,breed\n{known}")
    sheet.write_text("id,x,y\n" + "".join(f"{number},0,0\n" for number in range(30, 40)))
    split.write_text(
        "id,label,split\n"
        + known.replace("\n", ",validation\n")
        + "".join(f"{number},,test\n" for number in range(30, 40))
    )
    with pytest.raises(ProbabilityError, match=r"(?s)10 rows have no label.*--sample"):
        jobs.blend(files, labels)
    found, expected = (tmp_path / name for name in ("found.csv", "expected.csv"))
    jobs.blend(files, labels, outputs=jobs.BlendOutputs(found, sample=sheet))
    jobs.blend(files, split, outputs=jobs.BlendOutputs(expected, sample=sheet))
    assert found.read_text() == expected.read_text()
    assert len(found.read_text().splitlines()) == 11


def test_an_impossible_row_is_named_in_the_result(run, tmp_path):
    path = run / "label/probabilities/noise.npz"
    table = read_probabilities(path)
    y = np.array(blend_run(run, BlendOptions(honest=False), write=False).tasks[0].data.y)
    table.probabilities[3] = np.eye(4)[(y[3] + 1) % 4]
    write_probabilities(path, table)
    (task,) = blend_run(run).tasks
    assert any(
        "noise gives its true class a probability of 0 in 1 row" in note
        and "images/003.jpg; such values count as 1e-15" in note
        for note in task.notes
    )
    assert np.isfinite(task.models["noise"]["tuning"]["log_loss"])
    assert "images/003.jpg" in (run / "report.html").read_text()


def test_a_run_that_may_not_be_written_to_is_said_before_anything_is_written(
    run, tmp_path, monkeypatch
):
    outputs = jobs.BlendOutputs(out=tmp_path / "answers.csv")
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p) != run and access(p, mode))
    with pytest.raises(RunError, match="may not be written to") as caught:
        jobs.blend([run], outputs=outputs)
    assert "--no-save" in caught.value.hint
    assert not outputs.out.exists()
    jobs.blend([run], outputs=dataclasses.replace(outputs, save=False))
    assert outputs.out.exists()


def test_folders_that_are_no_run(tmp_path, run):
    with pytest.raises(MissingFileError, match=r"none is not there"):
        blend_run(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"is not a run: it has no run.json"):
        blend_run(tmp_path / "empty")
    for model in ("mlp-one", "noise"):
        (run / f"label/probabilities/{model}.npz").unlink()
    with pytest.raises(RunError, match=r"lacks probability files: .*mlp-one.npz, .*noise.npz"):
        blend_run(run)
    assert not (run / "blend.json").exists()
    assert not (run / "report.html").exists()
    (run / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run.json is not usable JSON"):
        blend_run(run)


def test_one_task_has_nobody_to_share_weights_with(run):
    with pytest.raises(ProbabilityError, match="one task, label, which has nobody to share"):
        blend_sources([run], options=BlendOptions(share=True))


def test_a_file_that_cannot_hold_the_answers_is_refused_before_the_work(
    tmp_path, builders, monkeypatch
):
    run = builders.run(tmp_path / "run", tasks=("sleeve", "skirt"))
    monkeypatch.setattr("icecore.ensemble.blend._blend_task", None)
    with pytest.raises(ProbabilityError, match="the format npz holds one task, there are 2"):
        jobs.blend([run], outputs=jobs.BlendOutputs(out=tmp_path / "o.npz"))
    assert not (tmp_path / "o.npz").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.5", np.ones(3)])
def test_a_metric_of_the_callers_own_gives_a_number(run, value):
    def mine(y, probabilities):
        return value

    with pytest.raises(ProbabilityError, match="the metric mine gives .* for [0-9]+ rows"):
        blend_sources([run], options=BlendOptions(mine))


def test_a_metric_of_the_callers_own_may_be_scikit_learns(run):
    def sklearn_accuracy(y, probabilities):
        return reference.accuracy_score(y, probabilities.argmax(axis=1))

    def scores(metric):
        (task,) = blend_sources([run], options=BlendOptions(metric, honest=False)).tasks
        return [found["test"][task.metric] for found in task.scores.values()]

    assert scores(sklearn_accuracy) == pytest.approx(scores("accuracy"))


def test_a_blend_takes_one_thread_of_the_blas(run):
    seen = []
    with threadpool_limits(2, user_api="blas"):
        blend_sources(
            [run],
            options=BlendOptions(honest=False),
            check=lambda tasks: seen.extend(threadpool_info()),
        )
    assert {one["num_threads"] for one in seen if one["user_api"] == "blas"} == {1}
