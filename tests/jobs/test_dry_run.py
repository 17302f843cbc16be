"""What an extraction would cost, without it."""

from __future__ import annotations

import pytest

from icecore import jobs, manifest
from icecore.core.errors import BackboneError, CacheError


def test_the_missing_rows_are_counted_and_no_row_is_written(tmp_path, image_folder, tiny_onnx):
    cache, specs = tmp_path / "cache", [f"onnx:{tiny_onnx}"]
    cost = jobs.dry_run(image_folder, cache, specs)
    assert not cache.exists()
    assert (cost.images, cost.unique, cost.missing) == (6, 6, 6)
    assert cost.gigabytes == pytest.approx(6 * 6 * 2 / 1e9)
    assert cost.hours == pytest.approx(6 / cost.images_per_second / 3600)
    jobs.extract(image_folder, cache, specs)
    shards = sorted(cache.rglob("shards/*.h5"))
    again = jobs.dry_run(image_folder, cache, specs)
    assert (again.missing, again.hours, again.gigabytes) == (0, 0, 0)
    assert jobs.dry_run(manifest.read(image_folder), cache, specs).images == 6
    other = jobs.dry_run(image_folder, cache, specs, jobs.ExtractOptions(views="flip"))
    assert (other.missing, other.gigabytes) == (6, pytest.approx(6 * 12 * 2 / 1e9))
    assert sorted(cache.rglob("shards/*.h5")) == shards


def test_boxes_are_refused(tmp_path, image_folder, tiny_onnx):
    with pytest.raises(BackboneError, match="knows no boxes"):
        options = jobs.ExtractOptions(boxes=tmp_path / "boxes.csv")
        jobs.dry_run(image_folder, tmp_path / "cache", [f"onnx:{tiny_onnx}"], options)


def test_a_cache_in_a_store_is_refused(image_folder, tiny_onnx):
    with pytest.raises(CacheError, match="is a URL, and a dry run counts what a folder lacks"):
        jobs.dry_run(image_folder, "s3://bucket/cache", [f"onnx:{tiny_onnx}"])
