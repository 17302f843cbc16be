"""Samples that a caller or a table made: one id is one image, and every field is text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import icecore
from icecore.core.errors import ManifestError
from icecore.manifest import Manifest, Sample


@pytest.mark.parametrize("column", ["path", "box"])
def test_one_id_is_one_image_in_all_tasks(tmp_path, column):
    # The labels of the second task would have been learnt on rows of another image.
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / name)
    parts = {"path": ("b.png", "0 0 9 9"), "box": ("a.png", "9 9 19 19")}
    rows = [("a.png", "0 0 9 9", "t1"), (*parts[column], "t2")]
    table = tmp_path / "table.csv"
    lines = [f"x,{path},{box},{task},hat" for path, box, task in rows]
    table.write_text("\n".join(["id,path,box,task,label", *lines]))
    with pytest.raises(ManifestError, match="1 id of .* stands for several images: x ") as error:
        icecore.read_manifest(table)
    assert "an id of its own" in error.value.hint


def test_without_ids_files_are_images_of_their_own(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / name)
    table = tmp_path / "table.csv"
    table.write_text("path,task,label\na.png,t1,hat\na.png,t2,red\nb.png,t1,cap\n")
    assert len(icecore.read_manifest(table).images) == 2


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        ("a.png", "row 0 is of type str"),
        (Sample(1, "a.png"), "id=1"),
        (Sample("a", Path("a.png")), r"path=PosixPath\('a.png'\)"),
        (Sample("a", "a.png", label=0), "label=0"),
        (Sample("a", "a.png", label=None), "label=None"),
        (Sample("a", "a.png", split="trian"), "split='trian'"),
        # Runs of such names could be trained, and not be opened.
        (Sample("a", "a.png", task=""), "task=''"),
        (Sample("a", "a.png", label="hat "), "label='hat '"),
        (Sample("a", "a.png", group="cafe\u0301"), "group='cafe\u0301'"),
        (Sample("a", "a.png", label="x" * 1001), "label='xxx"),
        (Sample("a", "a.png", box="1 2 3"), "'1 2 3' is not a box"),
        (Sample("a", "a.png", box=(0, 0, 5, 5)), r"box=\(0, 0, 5, 5\)"),
    ],
)
def test_fields_of_samples_are_text(sample, found):
    # A label of 0 was taken for none.
    with pytest.raises(ManifestError, match=found):
        Manifest((sample,), "mine")


def test_samples_may_come_one_by_one():
    assert len(Manifest((Sample(name, name) for name in "ab"), "mine").images) == 2


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([f"2024-05-{day:02}" for day in range(1, 31)], "30 of 30 classes"),
        ([f"{share}%" for share in range(40)] + ["7%"] * 5, "39 of 40 classes"),
        ([str(2 * number) for number in range(25)], "25 of 25 classes"),
        (["hat", "dress"] * 20 + ["rare", "rarer"], ""),
        ([str(number % 30) for number in range(90)], ""),
        (["hat", "dress"], ""),
    ],
)
def test_labels_that_are_nearly_all_different_are_said(labels, said):
    # A number to predict was taken for as many classes, without a word before the training.
    rows = (Sample(f"{n}", f"{n}.png", label=label) for n, label in enumerate(labels))
    found = [note for note in Manifest(rows).notes() if "have one image each" in note]
    assert len(found) == bool(said)
    assert not said or found[0].startswith(said)


def test_a_file_has_one_label_under_all_its_ids():
    rows = [Sample("x", "a/1.jpg", label="hat"), Sample("y", "a/../a/1.jpg", label="cap")]
    with pytest.raises(ManifestError, match=r"unlike labels of one file .*: x, y \(hat or cap\)"):
        Manifest(tuple(rows))
    boxes = [replace(one, box=box) for one, box in zip(rows, ("0 0 5 5", "5 5 9 9"))]
    tasks = [replace(one, task=one.label) for one in rows]
    same = [replace(one, label="hat") for one in rows]
    for fine in (boxes, tasks, same):
        assert len(Manifest(tuple(fine))) == 2
