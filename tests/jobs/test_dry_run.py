"""What an extraction would cost, without it."""

from __future__ import annotations

import importlib
import re
import shutil
import uuid

import pytest
from places import draw_photos, s3_server, upload, write_tars

from icecore import jobs, manifest
from icecore.cli.main import main
from icecore.core import stores
from icecore.core.errors import BackboneError
from icecore.core.stores import store_of
from icecore.manifest import streams


def test_the_missing_rows_are_counted_and_no_row_is_written(tmp_path, image_folder, tiny_onnx):
    cache, specs = tmp_path / "cache", [f"onnx:{tiny_onnx}"]
    cost = jobs.dry_run(image_folder, cache, specs)
    assert not cache.exists()
    assert (cost.images, cost.unique, cost.missing) == (6, None, 6)
    assert cost.gigabytes == pytest.approx(6 * 6 * 2 / 1e9)
    assert cost.hours == pytest.approx(6 / cost.images_per_second / 3600)
    jobs.extract(image_folder, cache, specs)
    shards = sorted(cache.rglob("shards/*.h5"))
    again = jobs.dry_run(image_folder, cache, specs)
    assert (again.unique, again.missing, again.hours, again.gigabytes) == (6, 0, 0, 0)
    assert jobs.dry_run(manifest.read(image_folder), cache, specs).images == 6
    other = jobs.dry_run(image_folder, cache, specs, jobs.ExtractOptions(views="flip"))
    assert (other.missing, other.gigabytes) == (6, pytest.approx(6 * 12 * 2 / 1e9))
    assert sorted(cache.rglob("shards/*.h5")) == shards


def test_tars_are_looked_into_no_further_than_a_sample_needs(
    tmp_path, tiny_onnx, monkeypatch, capsys
):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    monkeypatch.setattr(stores, "BLOCK", 4096)
    monkeypatch.setattr(streams, "AT_A_TIME", 8)
    monkeypatch.setattr(importlib.import_module("icecore.jobs.dry_run"), "SAMPLE", 12)
    made = write_tars(draw_photos(tmp_path / "photos", 240), tmp_path / "made", count=12)
    data, specs = upload(made, f"memory://{uuid.uuid4().hex}/tars"), [f"onnx:{tiny_onnx}"]
    store, _ = store_of(data)
    whole, read = store._read, []
    monkeypatch.setattr(store, "_read", lambda *given: read.append(given) or whole(*given))
    cost = jobs.dry_run(data, tmp_path / "cache", specs)
    assert not (tmp_path / "cache").exists()
    assert len({key for key, *_ in read}) <= 2
    assert 180 <= cost.images == cost.missing <= 320
    assert (cost.unique, cost.measured) == (None, 8) or cost.measured == 12
    assert cost.estimated > 0
    main(["extract", data, "-o", str(tmp_path / "cache"), "-b", specs[0], "--dry-run"])
    assert re.match(r"about \d{3} images, \d{3} without rows", capsys.readouterr().out)
    # What an extraction has found is known to the image, and nothing is read for it.
    jobs.extract(data, tmp_path / "cache", specs)
    read.clear()
    cost = jobs.dry_run(data, tmp_path / "cache", specs)
    assert (cost.images, cost.estimated, cost.unique, cost.missing) == (240, 0, 240, 0)
    assert len({key for key, *_ in read}) <= 12


def test_boxes_are_refused(tmp_path, image_folder, tiny_onnx):
    with pytest.raises(BackboneError, match="knows no boxes"):
        options = jobs.ExtractOptions(boxes=tmp_path / "boxes.csv")
        jobs.dry_run(image_folder, tmp_path / "cache", [f"onnx:{tiny_onnx}"], options)


def test_a_cache_in_a_store_is_not_written_to(tmp_path, tiny_onnx, monkeypatch):
    monkeypatch.setenv("ICECORE_CACHES", str(tmp_path / "caches"))
    photos, specs = draw_photos(tmp_path / "photos", 60), [f"onnx:{tiny_onnx}"]
    with s3_server() as (bucket, client):

        def there():
            found = client.list_objects_v2(Bucket=bucket.removeprefix("s3://"))
            return {one["Key"]: one["ETag"] for one in found.get("Contents", [])}

        cache, data = f"{bucket}/cache", upload(photos, f"{bucket}/photos")
        before, (store, _) = there(), store_of(data)
        whole, read = store._read, []
        monkeypatch.setattr(store, "_read", lambda *given: read.append(given) or whole(*given))
        cost = jobs.dry_run(data, cache, specs)
        # Nothing is read but what is measured.
        assert (cost.missing, cost.measured, len(read)) == (60, 30, 30)
        assert there() == before
        jobs.extract(f"{data}/train/hat", cache, specs)
        before = there()
        shutil.rmtree(tmp_path / "caches")
        cost = jobs.dry_run(data, cache, specs)
        assert (cost.images, cost.unique, cost.missing) == (60, 60, 30)
        assert there() == before
