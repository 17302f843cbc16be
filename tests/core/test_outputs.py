"""Files that a command writes replace neither what it reads nor one another."""

from __future__ import annotations

import pytest

from icecore.cli import main
from icecore.core.errors import RunError
from icecore.core.outputs import require_kind, require_writable
from icecore.jobs.blend import BlendOutputs, blend


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


def test_a_page_replaces_no_photograph(tmp_path):
    photo, page = tmp_path / "hat.jpg", tmp_path / "page.HTML"
    require_kind(photo, ".html")  # it is not there yet
    for one in (photo, page):
        one.write_text("x")
    require_kind(page, ".html")
    require_kind(None, ".html")
    with pytest.raises(RunError, match=r"hat.jpg is there already, and does not end in") as no:
        require_kind(photo, ".html", ".htm")
    assert no.value.hint == "name a new file, or one that ends in .html"


@pytest.mark.parametrize("option", ["report", "markdown"])
def test_blending_writes_no_page_over_a_photograph(run, tmp_path, option):
    photo = tmp_path / "hat.jpg"
    photo.write_text("x")
    with pytest.raises(RunError, match=r"hat.jpg is there already.*it is not replaced"):
        blend([run], outputs=BlendOutputs(**{option: photo}))
    assert photo.read_text() == "x"


def test_nothing_is_written_into_a_cache(tmp_path):
    (tmp_path / "cache" / "manifests").mkdir(parents=True)
    (tmp_path / "cache" / "icecore-cache.json").write_text("{}")
    for name in ("manifests/photos.csv", "new.csv"):
        with pytest.raises(RunError, match=rf"{name} lies in the cache .*cache, which holds"):
            require_writable([tmp_path / "cache" / name])
    require_writable([tmp_path / "photos.csv"])


def test_a_table_of_samples_replaces_no_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network, table = tmp_path / "lite0.onnx", tmp_path / "table.csv"
    network.write_text("x")
    table.write_text("path,label\nx.jpg,hat\ny.jpg,dress\n")
    with pytest.raises(SystemExit) as end:
        main(["manifest", str(table), "-o", str(network)])
    assert end.value.code == 1
    assert "lite0.onnx is there already, and does not end in .csv" in capsys.readouterr().err
    assert network.read_text() == "x"
