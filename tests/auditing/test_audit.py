"""The whole audit, on drawn features with planted faults; real photographs are elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from icecore import jobs
from icecore.cli import cli
from icecore.core.errors import CacheError, MissingFileError, RunError
from icecore.heads import TrainOptions
from icecore.manifest import read


@pytest.fixture(scope="module")
def found(planted):
    return jobs.audit(planted.cache, planted.table, planted.new)


def test_equal_files_across_splits_are_all_found(found, planted):
    ids = found.images.ids
    pairs = {tuple(sorted(ids[row] for row in group.rows)) for group in found.leaking()}
    assert pairs == {tuple(sorted(pair)) for pair in planted.copies.items()}
    assert all(group.equal for group in found.leaking())


def test_flipped_labels_are_found(found, planted):
    (doubts,) = found.doubts
    named = {found.images.ids[row] for row in doubts.doubts.rows}
    recall = len(named & planted.flipped) / len(planted.flipped)
    precision = len(named & planted.flipped) / len(named)
    assert recall >= 0.7  # a label is doubtful where another class is surer than on average
    assert precision >= 0.9
    assert doubts.doubts.expected == pytest.approx(len(planted.flipped), abs=4)


def test_outliers_and_drift_are_found(found, planted):
    assert {found.images.ids[row] for row in found.outliers} >= planted.outliers
    by_name = {one.new: one for one in found.drift}
    assert by_name["new"].real
    assert by_name["new"].area.low > 0.9
    assert not by_name["validation"].real


def test_the_command_says_it_and_writes_what_it_names(planted, tmp_path):
    arguments = ["audit", str(planted.cache), "--data", str(planted.table), "-q"]
    places = ["--report", str(tmp_path / "a.html"), "--decisions", str(tmp_path / "a.csv")]
    done = CliRunner().invoke(cli, [*arguments, *places])
    assert done.exit_code == 0, done.output
    assert "12 photographs occur several times among the 374 images (24 of them), 12 in " \
           "several splits (leakage):" in done.output  # fmt: skip
    assert "doubtful labels of 374" in done.output
    assert f"decisions: {tmp_path / 'a.csv'}" in done.output
    page = (tmp_path / "a.html").read_text()
    assert "In several splits" in page
    assert "http" not in page.replace("http-equiv", "")
    content = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert len(content["copies"]) == 12
    assert {"conflicts", "leaks", "doubtful_labels", "shortcuts", "drift"} <= set(content)


def test_decisions_make_a_new_table_and_touch_nothing(planted, tmp_path):
    before = planted.table.read_bytes()
    decisions = tmp_path / "a.csv"
    jobs.audit(planted.cache, planted.table, outputs=jobs.AuditOutputs(decisions=decisions))
    header, *lines = decisions.read_text().splitlines()
    assert header == "id,task,split,label,finding,other,suggestion,action"
    at = header.split(",").index("suggestion")
    filled = [line + line.split(",")[at] if "equal files" in line else line for line in lines]
    decisions.write_text("\n".join([header, *filled]) + "\n")
    out = tmp_path / "clean.csv"
    arguments = ["audit", "--data", str(planted.table), "--apply", str(decisions), "-o", str(out)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "12 dropped, 0 relabelled" in done.output
    # The training copies went, the test rows stayed: they are what is compared with others.
    kept = {one.id for one in read(out)}
    assert kept == {one.id for one in read(planted.table)} - set(planted.copies.values())
    assert planted.table.read_bytes() == before
    assert "flatter" not in done.output
    doubts = sum("doubtful" in line for line in lines)
    for action, count in (("", f"{doubts} relabelled"), ("drop", f"{doubts} dropped")):
        wanted = [
            line + (action or line.split(",")[-2]) if "doubtful" in line else line for line in lines
        ]
        decisions.write_text("\n".join([header, *wanted]) + "\n")
        done = CliRunner().invoke(cli, [*arguments[:-1], str(tmp_path / f"other{action}.csv")])
        assert count in done.output
        assert "scores on the others flatter" in done.output
    with pytest.raises(RunError, match="is there already"):
        jobs.apply_audit(planted.table, decisions, out)


def test_a_run_is_judged_by_its_own_heads(planted, tmp_path):
    run = tmp_path / "run"
    jobs.train(planted.cache, planted.table, run, TrainOptions(heads=("logistic",)))
    done = CliRunner().invoke(cli, ["audit", str(run), "-q"])
    assert done.exit_code == 0, done.output
    assert "confident learning on the average of logistic-" in done.output
    assert (run / "audit.html").is_file()
    assert (run / "audit.csv").is_file()
    _require_decisions_kept(run)
    found = jobs.audit(run)
    named = {found.images.ids[row] for row in found.doubts[0].doubts.rows}
    assert len(named & planted.flipped) / len(planted.flipped) >= 0.9
    kinds = {leak.rows_of: leak.leaked for leak in found.leaks}
    assert kinds.get("test", 12) == 12


def _require_decisions_kept(run):
    """What a person filled in stays, whatever is audited again; an untouched table is replaced."""
    table = run / "audit.csv"
    header, first, *others = table.read_text().splitlines()
    assert CliRunner().invoke(cli, ["audit", str(run), "-q"]).exit_code == 0
    decided = "\n".join([header, f"{first}drop", *others]) + "\n"
    table.write_text(decided)
    again = CliRunner().invoke(cli, ["audit", str(run), "-q"])
    assert "somebody has filled in its actions" in again.exception.message
    assert table.read_text() == decided
    other = ["--decisions", str(run.parent / "new.csv")]
    assert CliRunner().invoke(cli, ["audit", str(run), "-q", *other]).exit_code == 0
    assert table.read_text() == decided


def test_what_is_not_there_is_said_in_one_line(planted, tmp_path):
    with pytest.raises(MissingFileError):
        jobs.audit(tmp_path / "absent")
    with pytest.raises(RunError, match="name the images and labels with --data"):
        jobs.audit(planted.cache)
    other = tmp_path / "other.csv"
    other.write_text("path,label\nx.jpg,hat\ny.jpg,dress\n")
    with pytest.raises(CacheError, match="have features in all of"):
        jobs.audit(planted.cache, other)
    with pytest.raises(RunError, match="similarity is 2, not between 0 and 1") as refused:
        jobs.AuditOptions(similarity=2)
    assert "similarity 0.5, agreement 0.65, pictures 4000, seed 0" in refused.value.hint


def test_the_same_question_has_the_same_answer(found, planted):
    assert jobs.audit(planted.cache, planted.table, planted.new).to_json() == found.to_json()


def test_pictures_that_cannot_be_opened_are_counted_and_named(tmp_path, write_tiny_onnx):
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in ("hat", "dress"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    net = write_tiny_onnx(tmp_path / "net.onnx")
    jobs.extract(tmp_path / "photos", tmp_path / "cache", [f"onnx:{net}"])
    (table,) = (tmp_path / "cache" / "manifests").glob("*.csv")
    (tmp_path / "photos" / "hat" / "3.png").unlink()
    notes = jobs.audit(tmp_path / "cache", table).notes
    (note,) = [note for note in notes if "could not be opened" in note]
    assert note.startswith("1 of 24 pictures")
    assert note.endswith("hat/3.png")
