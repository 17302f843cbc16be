"""MXNet's lists of images, as im2rec writes them."""

import pytest
from packages import needs
from PIL import Image

from icecore import manifest
from icecore.core import csv_files
from icecore.core.errors import ManifestError
from icecore.features.gluon.loader import load_mxnet


@pytest.fixture
def folder(tmp_path):
    for name in ("a/b.png", "a/c d.png", "e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    return tmp_path


@needs("mxnet")
def test_labels_and_names_are_those_that_mxnet_reads(folder):
    mxnet = load_mxnet()
    (folder / "x.lst").write_text("7\t1.000000\ta/b.png\n3\t0\ta/c d.png\n0\t12.5\te.png\n")
    reference = mxnet.image.ImageIter(
        1, (3, 8, 8), path_imglist=str(folder / "x.lst"), path_root=str(folder)
    ).imglist
    read = manifest.read(folder / "x.lst")
    assert [(one.id, float(one.label)) for one in read] == [
        (name, float(label.asnumpy()[0])) for label, name in reference.values()
    ]
    assert [one.label for one in read] == ["1", "0", "12.5"]
    assert [one.path for one in read] == [str(folder / one.id) for one in read]


def test_several_labels_are_said(folder):
    (folder / "x.lst").write_text("0\t4\t5\te.png\n1\t2\ta/b.png\n")
    read = manifest.read(folder / "x.lst")
    assert [one.label for one in read] == ["4", "2"]
    assert read.warnings[0].startswith("1 of the lines of ")
    assert "has several labels: the first is taken" in read.warnings[0]


def test_all_faulty_lines_are_named(folder):
    (folder / "x.lst").write_text("0\t1\te.png\nx\t1\ta/b.png\n2\t1\n3 1 b.png\n4\t1\ta/../e.png\n")
    with pytest.raises(ManifestError) as found:
        manifest.read(folder / "x.lst")
    assert "4 lines of" in found.value.message
    for text in ("line 2 has a number", "line 3 has no number", "line 4 has no", "as line 1 does"):
        assert text in found.value.message
    assert "parted by tabs" in found.value.hint


def test_other_files_of_that_ending_are_refused_in_one_line(folder):
    (folder / "x.lst").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ManifestError, match="is no text in UTF-8"):
        manifest.read(folder / "x.lst")


def test_options_of_csv_have_no_effect_and_that_is_said(folder):
    (folder / "x.lst").write_text("0\t1\te.png\n")
    read = manifest.read(folder / "x.lst", table=manifest.TableOptions(path_column="file"))
    assert "no effect" in read.warnings[0]


def test_a_list_of_very_many_lines_is_refused_before_they_take_all_memory(folder, monkeypatch):
    monkeypatch.setattr(csv_files, "_MOST_ROWS", 2)
    (folder / "many.lst").write_text("0\t1\ta.jpg\n" * 3)
    with pytest.raises(ManifestError, match="many.lst has more than 2 lines"):
        manifest.read(folder / "many.lst")
