"""Which network at what cost: scores, prices, and what is beyond noise."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import browser
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import binomtest

from icecore import jobs
from icecore.cli import cli
from icecore.core.errors import ProbabilityError, RunError
from icecore.ensemble import metrics
from icecore.ensemble.comparison.compare import is_pareto
from icecore.ensemble.comparison.significance import compare_pairs, holm
from icecore.ensemble.resampling import Scored
from icecore.runs import ProbabilityTable, read_probabilities, write_probabilities


def priced(builders, name, adds, milliseconds):
    found = builders.backbone(name)
    return found | {"parameters": adds // 100, "multiply_adds": adds, "latency_ms": milliseconds}


@pytest.fixture
def two(builders, tmp_path):
    """A run whose models are of two networks, one ten times as dear."""
    folder = builders.run(
        tmp_path / "run", rows=300, tasks=("kind", "length"),
        backbones=[priced(builders, "one", 10**9, 4.0), priced(builders, "two", 10**10, 30.0)],
    )  # fmt: skip
    about = json.loads((folder / "run.json").read_text())
    for task in about["tasks"].values():
        task["features"] |= {"mlp-two": ["print-two"], "logistic-all": ["print-one", "print-two"]}
    (folder / "run.json").write_text(json.dumps(about))
    return folder


def test_scores_are_those_of_the_metrics_and_costs_add_up(two):
    found = jobs.compare([two])
    assert [task.task for task in found.tasks] == ["kind", "length"]
    task = found.tasks[0]
    assert (task.rows, task.rows_of) == (100, "test")
    assert [line.scores["accuracy"][0] for line in task.lines] == sorted(
        (line.scores["accuracy"][0] for line in task.lines), reverse=True
    )
    by_name = {line.model: line for line in task.lines}
    both = by_name["logistic-all"]
    assert both.costs["multiply_adds"] == 11 * 10**9
    assert both.costs["latency_ms"] == 34
    assert both.costs["dimension"] == 16
    assert both.networks == ("onnx:one", "onnx:two")
    assert by_name["mlp-one"].costs["parameters"] == 10**7
    for line in task.lines:
        for value, low, high in line.scores.values():
            assert low <= value <= high


def test_a_view_costs_what_an_image_costs(two):
    about = json.loads((two / "run.json").read_text())
    about["backbones"][0]["record"] = {"views": ["center", "flip"]}
    (two / "run.json").write_text(json.dumps(about))
    by_name = {line.model: line for line in jobs.compare([two]).tasks[0].lines}
    assert by_name["mlp-one"].costs["multiply_adds"] == 2 * 10**9
    assert by_name["mlp-one"].costs["latency_ms"] == 4  # it was measured for an image
    assert by_name["mlp-one"].costs["parameters"] == 10**7


def test_noise_is_said_to_be_noise_and_a_real_difference_is_not(two):
    lines = {line.model: line for line in jobs.compare([two]).tasks[0].lines}
    assert lines["noise"].beyond_noise
    best = next(line for line in lines.values() if line.behind is None)
    assert not best.beyond_noise
    assert best.pareto


def test_the_pareto_front_has_no_model_that_another_beats():
    rng = np.random.default_rng(0)
    worth, prices = rng.integers(5, size=40).tolist(), rng.integers(5, size=40).tolist()
    points = list(zip(worth, prices))
    for (value, price), best in zip(points, is_pareto(worth, prices)):
        beaten = any(o >= value and c <= price and (o, c) != (value, price) for o, c in points)
        assert best == (not beaten)
    assert is_pareto([1.0, 0.5], [None, 3]) == [False, True]


def test_equal_models_differ_beyond_noise_in_one_case_of_twenty_at_most():
    rng = np.random.default_rng(0)
    metric, alarms = metrics.get_metric("accuracy"), 0
    for _ in range(60):
        y = rng.integers(3, size=80)
        tables = [rng.dirichlet(np.ones(3), 80) for _ in range(4)]
        pairs = compare_pairs(Scored(metric, y), tables)
        alarms += any(one.p < 0.05 for one in pairs.values())
    assert alarms <= 6


def test_accuracy_is_tested_exactly_and_images_count_once():
    y = np.zeros(12, int)
    first, second = np.tile([0.9, 0.1], (12, 1)), np.tile([0.1, 0.9], (12, 1))
    metric = metrics.get_metric("accuracy")
    (one,) = compare_pairs(Scored(metric, y), [first, second]).values()
    assert one.p == pytest.approx(binomtest(12, 12).pvalue)
    (one,) = compare_pairs(Scored(metric, y, groups=np.arange(12) // 4), [first, second]).values()
    assert one.p == pytest.approx(0.25)
    assert one.value == 1


def test_holm_is_holms():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([float("nan"), 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_runs_of_different_data_are_refused_in_one_line(two, builders, tmp_path):
    other = builders.run(tmp_path / "other", rows=150)
    with pytest.raises(RunError, match="are runs of different data: .* images are in one"):
        jobs.compare([two, other])
    again = builders.run(tmp_path / "again", rows=300, tasks=("kind", "length"))
    text = (again / "samples.csv").read_text().replace(",hat,", ",dress,")
    (again / "samples.csv").write_text(text)
    with pytest.raises(RunError, match="have other labels there"):
        jobs.compare([two, again])


def test_runs_of_other_labels_are_judged_by_the_same_corrected_ones(two, builders, tmp_path):
    again = builders.run(tmp_path / "again", rows=300, tasks=("kind", "length"))
    text = (again / "samples.csv").read_text()
    corrected = tmp_path / "corrected.csv"
    corrected.write_text(
        text.replace(",hat,", ",swap,").replace(",dress,", ",hat,").replace(",swap,", ",dress,")
    )
    before = jobs.compare([two]).tasks[0]
    (again / "samples.csv").write_text(corrected.read_text())
    with pytest.raises(RunError, match="--labels judges all by the same labels"):
        jobs.compare([two, again])
    found = jobs.compare([two, again], corrected).tasks[0]
    by = {line.model: line.scores["accuracy"][0] for line in found.lines}
    alone = jobs.compare([again]).tasks[0]
    for line in alone.lines:
        assert by[f"run/{line.model}"] == by[f"again/{line.model}"] == line.scores["accuracy"][0]
    assert {line.scores["accuracy"][0] for line in before.lines}.isdisjoint(by.values())


def test_corrected_labels_name_every_row_of_the_runs(two, tmp_path):
    rows = (two / "samples.csv").read_text().splitlines(keepends=True)
    (tmp_path / "some.csv").write_text("".join(rows[:-2]))
    with pytest.raises(ProbabilityError, match=r"some.csv has no label for 2 rows of the runs"):
        jobs.compare([two], tmp_path / "some.csv")


def test_labels_of_rows_that_a_run_lacks_are_not_asked_for(two, builders, tmp_path):
    # As where `audit --apply` dropped rows and changed others, and both runs are compared.
    again = builders.run(tmp_path / "again", rows=300, tasks=("kind", "length"))
    text = (again / "samples.csv").read_text().replace(",hat,", ",dress,")
    kept = [line for line in text.splitlines(keepends=True) if "images/007." not in line]
    (again / "samples.csv").write_text("".join(kept))
    for path in again.glob("*/probabilities/*.npz"):
        table = read_probabilities(path)
        left = [row for row, name in enumerate(table.ids) if "images/007." not in name]
        fields = {name: tuple(getattr(table, name)[i] for i in left) for name in ("ids", "splits")}
        parts = {**fields, "probabilities": table.probabilities[left]}
        write_probabilities(path, dataclasses.replace(table, **parts))
    aligned = jobs.CompareOptions(align=True)
    with pytest.raises(ProbabilityError, match="have other labels for") as caught:
        jobs.compare([two, again], options=aligned)
    assert "--labels" in caught.value.hint
    found = jobs.compare([two, again], again / "samples.csv", aligned).tasks[0]
    assert any("all files have are used" in note for note in found.notes)


def test_runs_of_the_same_data_are_compared_row_by_row(two, builders, tmp_path):
    again = builders.run(tmp_path / "again", rows=300, tasks=("kind", "length"))
    found = jobs.compare([two, again])
    names = {line.model for line in found.tasks[0].lines}
    assert {"run/mlp-one", "again/mlp-one"} <= names
    pair = next(
        one for names, one in found.tasks[0].pairs.items()
        if set(names) == {"run/mlp-one", "again/mlp-one"}
    )  # fmt: skip
    assert (pair.value, pair.p) == (0, 1)


def test_tables_fit_a_terminal_that_wide(two):
    found = jobs.compare([two])
    tables = [line for line in jobs.comparison_text(found, 80).split("\n") if "  " in line]
    assert 40 < max(map(len, tables)) <= 80
    assert sum("mlp-one" in line for line in tables) > len(found.tasks)
    assert max(map(len, jobs.comparison_text(found).split("\n"))) > 150


def test_the_command_writes_every_form(two, tmp_path):
    names = [f"t.{ending}" for ending in ("html", "csv", "md", "tex", "json")]
    outs = [part for name in names for part in ("-o", str(tmp_path / name))]
    done = CliRunner().invoke(cli, ["compare", str(two), *outs])
    assert done.exit_code == 0, done.output
    assert "100 test rows" in done.output
    assert "corrected for 6 comparisons (Holm, 5%)" in done.output
    assert "* marks the Pareto-best of accuracy and multiply-adds" in done.output
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert len(rows) == 8
    assert float(rows[0]["accuracy_low"]) <= float(rows[0]["accuracy"])
    assert json.loads((tmp_path / "t.json").read_text())["tasks"][0]["rows"] == 100
    latex = (tmp_path / "t.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert "&" in latex
    assert "_" not in latex.replace(r"\_", "")
    assert "| accuracy | kind | length |" in (tmp_path / "t.md").read_text()
    page = (tmp_path / "t.html").read_text()
    assert "All tasks: accuracy" in page
    assert "accuracy against multiply-adds" in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_it_cannot_do_is_said(two, tmp_path):
    for arguments, text in (
        (["-o", "table.xls"], "has an ending that names no format"),
        (["--metric", "speed"], "unknown metric 'speed'"),
        (["--metric", "fashionai_ap"], "needs FashionAI letters"),
    ):
        done = CliRunner().invoke(cli, ["compare", str(two), *arguments])
        assert done.exit_code != 0
        assert text in str(done.exception), arguments


def test_a_run_without_costs_has_no_front(run):
    found = jobs.compare([run], options=jobs.CompareOptions(metric="log_loss", cost="latency_ms"))
    assert not any(line.pareto for line in found.tasks[0].lines)
    assert "multiply_adds" not in found.tasks[0].lines[0].costs


@pytest.mark.skipif(not browser.CHROMIUM, reason="needs chromium")
def test_the_page_never_scrolls_sideways(builders, tmp_path):
    """Tables do in their own box; a name without a space is broken."""
    task = "skirt_length_labels" * 5
    run = builders.run(tmp_path / "run", rows=60, tasks=("kind", task))
    jobs.compare([run], outs=[tmp_path / "compare.html"])
    with browser.open_tab(tmp_path) as tab:
        for width in (1400, 400):
            tab.open(tmp_path / "compare.html", width)
            assert task in tab.run("document.body.textContent")
            assert tab.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_answers_are_compared_on_test_rows_alone(tmp_path, ending):
    """As `predict` writes them; no weight is tuned, so that no other rows are needed."""
    ids, rng = tuple(f"{number}.jpg" for number in range(40)), np.random.default_rng(0)
    true = rng.integers(0, 2, 40)
    for name, share in (("good", 0.9), ("bad", 0.55)):
        right = np.where(rng.random(40) < share, true, 1 - true)
        numbers = np.where(np.arange(2) == right[:, None], 0.8, 0.2)
        table = ProbabilityTable(ids, ("a", "b"), numbers, ("test",) * 40, name, "label")
        write_probabilities(tmp_path / f"{name}.{ending}", table)
    lines = [f"{identity},{'ab'[label]}" for identity, label in zip(ids, true)]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["id,label", *lines]))
    files = [tmp_path / f"{name}.{ending}" for name in ("bad", "good")]
    task = jobs.compare(files, labels).tasks[0]
    assert [line.model for line in task.lines] == ["good", "bad"]
    assert (task.rows, task.rows_of) == (40, "test")
    labels.write_text("id,label\nelse.jpg,a\nother.jpg,b\n")
    with pytest.raises(ProbabilityError, match=r"has no row with a label: 40 of the split 'test'"):
        jobs.compare(files, labels)
    with pytest.raises(ProbabilityError, match=r"no row to tune weights on: 40 of the split"):
        jobs.blend(files, labels)
