"""Files that a command writes replace neither what it reads nor one another."""

from __future__ import annotations

import pytest

from icecore.core.errors import RunError
from icecore.core.outputs import require_writable


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "label").mkdir(parents=True)
    for name in ("run.json", "report.html", "label/head.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["run.json", "label/head.json", "label/../run.json"])
def test_what_is_read_is_not_replaced(run, tmp_path, name):
    with pytest.raises(RunError, match="is read by this command: the answer would replace it"):
        require_writable([None, run / name], [run])
    (tmp_path / "table.csv").write_text("")
    (tmp_path / "link.csv").symlink_to("table.csv")
    with pytest.raises(RunError, match="is read by this command"):
        require_writable([tmp_path / "link.csv"], [None, tmp_path / "table.csv"])


def test_two_answers_have_two_names(run, tmp_path):
    with pytest.raises(RunError, match=r"x.csv is to hold two answers"):
        require_writable([tmp_path / "x.csv", None, tmp_path / "run" / ".." / "x.csv"])


def test_reports_beside_a_run_and_new_files_are_written(run, tmp_path):
    outs = [run / "report.html", run / "label" / "new.csv", tmp_path / "a" / "b.csv"]
    require_writable(outs, [run, tmp_path / "nowhere", "s3://bucket/x"])


def test_a_folder_is_no_file(run):
    with pytest.raises(RunError, match="is a folder"):
        require_writable([run])
