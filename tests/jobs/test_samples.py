"""The table of samples that extraction keeps in a cache."""

from __future__ import annotations

import csv
import os
import tarfile
import types
import uuid

import pytest
from heads_support import samples
from two_colours import draw_two_colours

from icecore import jobs
from icecore.cache import FeatureCache, pull, push
from icecore.core.errors import CacheError, ManifestError
from icecore.heads import TrainOptions
from icecore.jobs.samples import keep_manifest
from icecore.manifest import Manifest
from icecore.runs import open_run


def test_a_folder_that_became_a_link_in_the_middle_of_the_job_is_not_written_through(tmp_path):
    cache, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    cache.mkdir()
    elsewhere.mkdir()
    (elsewhere / "photos.csv").write_text("precious", "utf-8")
    (elsewhere / "photos.regions").mkdir()
    os.symlink(elsewhere, cache / "manifests")
    report = types.SimpleNamespace(manifest=Manifest(tuple(samples(4)), "photos"), computed=4)
    with pytest.raises(CacheError, match="manifests is a link; a cache is made of files and"):
        keep_manifest(cache, str(tmp_path / "photos"), report)
    assert sorted(os.listdir(elsewhere)) == ["photos.csv", "photos.regions"]
    assert (elsewhere / "photos.csv").read_text("utf-8") == "precious"


def test_labels_are_filled_in_in_a_copy_of_the_kept_table_as_is_advised(tmp_path, write_tiny_onnx):
    spec = f"onnx:{write_tiny_onnx(tmp_path / 'net.onnx')}"
    photos = draw_two_colours(tmp_path / "photos")
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for path in sorted(photos.rglob("*.png")):
            archive.add(path, str(path.relative_to(photos)))
    cache, source = tmp_path / "cache", tmp_path / "photos.tar"
    jobs.extract(source, cache, [spec])
    with pytest.raises(ManifestError) as refused:
        jobs.train(cache, source, tmp_path / "run")
    advice = "copy the table that `icecore extract` leaves in CACHE/manifests (the next extraction"
    assert advice in refused.value.hint
    with open(cache / "manifests" / "photos.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "copy.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(one | {"label": one["id"].split("/")[-2]} for one in rows)
    jobs.extract(source, cache, [spec])
    assert not (cache / "manifests" / "edited").exists()
    options = TrainOptions(heads=("logistic",), folds=3)
    jobs.train(cache, tmp_path / "copy.csv", tmp_path / "run", options)
    assert open_run(tmp_path / "run").tasks["label"].classes == ("cat", "dog")


def test_labels_that_were_filled_in_in_the_kept_table_itself_are_moved_aside(
    tmp_path, write_tiny_onnx
):
    spec = f"onnx:{write_tiny_onnx(tmp_path / 'net.onnx')}"
    photos = draw_two_colours(tmp_path / "photos")
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for path in sorted(photos.rglob("*.png")):
            archive.add(path, str(path.relative_to(photos)))
    cache, source = tmp_path / "cache", tmp_path / "photos.tar"
    kept, edited = cache / "manifests" / "photos.csv", cache / "manifests" / "edited"
    assert jobs.extract(source, cache, [spec]).notes == []
    for number in (1, 2):
        with open(kept, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        with open(kept, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(one | {"label": one["id"].split("/")[-2]} for one in rows)
        by_hand = kept.read_bytes()
        [note] = jobs.extract(source, cache, [spec]).notes
        moved = edited / ("photos.csv" if number == 1 else "photos-2.csv")
        assert f"it was moved to {moved}" in note
        assert moved.read_bytes() == by_hand != kept.read_bytes()
        assert jobs.extract(source, cache, [spec]).notes == []
    options = TrainOptions(heads=("logistic",), folds=3)
    jobs.train(cache, moved, tmp_path / "run", options)
    assert open_run(tmp_path / "run").tasks["label"].classes == ("cat", "dog")
    assert jobs.verify_cache(cache)["ok"]
    # Data that has grown is no change by hand.
    with tarfile.open(source, "a") as archive:
        archive.add(next(photos.rglob("*.png")), "new/one.png")
    assert jobs.extract(source, cache, [spec]).notes == []
    assert sorted(os.listdir(edited)) == ["photos-2.csv", "photos.csv"]


@pytest.mark.parametrize("name", [".photos", "x" * 250, "..."])
def test_a_table_has_a_name_that_comes_back_from_a_copy(tmp_path, name):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    FeatureCache.create(tmp_path / "cache")
    data = tmp_path / name
    data.mkdir()
    table = Manifest(tuple(samples(4)), "photos")
    report = types.SimpleNamespace(manifest=table, computed=4, notes=[])
    for source in (data, tmp_path / "b" / name, data):
        keep_manifest(tmp_path / "cache", str(source), report)
    kept = sorted(path.name for path in (tmp_path / "cache/manifests").glob("*.csv"))
    assert len(kept) == 2
    url = f"memory://{uuid.uuid4().hex}"
    assert push(FeatureCache(tmp_path / "cache"), url).tables == 2
    assert pull(url, tmp_path / "copy").tables == 2
    assert sorted(path.name for path in (tmp_path / "copy/manifests").glob("*.csv")) == kept
