"""Groups from a table, and in the table that icecore writes."""

from __future__ import annotations

import pytest

from icecore.core.errors import ManifestError
from icecore.manifest import Manifest, Sample, apply_groups, read

MANIFEST = Manifest(
    (
        Sample("a.jpg", "/data/a.jpg", label="hat"),
        Sample("b.jpg", "/data/b.jpg", label="coat", group="worn"),
        Sample("b.jpg", "/data/b.jpg", task="length", label="long", group="worn"),
        Sample("c.jpg", "/data/c.jpg", label="hat"),
    ),
    "the data",
)


def test_some_images_get_groups_by_id_or_path_in_every_task(tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("note,ID,Group\nx,a.jpg,flat\ny,/data/b.jpg, laid out \n", encoding="utf-8")
    found = apply_groups(MANIFEST, table)
    assert [one.group for one in found] == ["flat", "laid out", "laid out", ""]


def test_groups_come_back_from_the_table_that_is_written(tmp_path):
    MANIFEST.write(tmp_path / "samples.csv")
    again = read(tmp_path / "samples.csv")
    assert [one.group for one in again] == ["", "worn", "worn", ""]
    bare = Manifest(MANIFEST.samples[:1])
    bare.write(tmp_path / "bare.csv")
    assert "group" not in (tmp_path / "bare.csv").read_text(encoding="utf-8")


def test_all_faults_are_named_with_their_lines(tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("id,group\na.jpg,x\nz.jpg,x\na.jpg,y\n", encoding="utf-8")
    with pytest.raises(ManifestError) as error:
        apply_groups(MANIFEST, table)
    assert "line 3 z.jpg is not in the data" in error.value.message
    assert "line 4 a.jpg has a group already" in error.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [("id,kind\na.jpg,x\n", "no columns 'id' and 'group'"), ("id,group\na.jpg,\n", "no group")],
)
def test_tables_without_groups_are_refused(tmp_path, text, words):
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=words):
        apply_groups(MANIFEST, tmp_path / "groups.csv")


def test_a_group_of_a_long_name_is_a_fault_of_its_line(tmp_path):
    (tmp_path / "groups.csv").write_text(f"id,group\na.jpg,{'x' * 5000}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="line 2 has a class name of 5000 characters"):
        apply_groups(MANIFEST, tmp_path / "groups.csv")


def test_paths_are_taken_from_the_folder_of_a_table_in_this_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.csv").write_text("path,group\nphotos/a.jpg,flat\n", encoding="utf-8")
    sample = Sample("a.jpg", str(tmp_path / "photos/a.jpg"), label="hat")
    (found,) = apply_groups(Manifest((sample,), "the data"), "g.csv")
    assert found.group == "flat"
