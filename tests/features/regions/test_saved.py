"""The files of a region: what is written comes back, and what is no region is refused."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hostile_tables import hostile_json, hostile_npz

from icecore.core.errors import BackboneError, IcecoreError, MissingFileError
from icecore.features.images.preprocessing import Preprocessing
from icecore.features.records.feature_set import FeatureSetRecord
from icecore.features.records.layer import Layer
from icecore.features.records.record import BackboneRecord
from icecore.features.regions.geometry import inverse_encode
from icecore.features.regions.model import Models
from icecore.features.regions.ridge import Linear
from icecore.features.regions.saved import Regions, read_regions, write_regions

WIDTH = 12


def regions(width=WIDTH, pool="none"):
    rng = np.random.default_rng(0)
    how = Preprocessing(32, (0.5,) * 3, (0.5,) * 3, 1.0, "bilinear")
    backbone = BackboneRecord("onnx:a.onnx", "a", "0" * 64, None, width, how)
    linear = [
        Linear(rng.normal(size=(width, k)).astype("f4"), rng.normal(size=k).astype("f4"))
        for k in (4, 5)
    ]
    figures = dict.fromkeys(
        ("boxes", "mean_iou", "share_above_half", "share_whole", "constant_iou"), 0.5
    )
    record = FeatureSetRecord(backbone, "pad", layer=Layer(None, pool))
    return Regions("necks", record, "onnx:/a.onnx", 0.5, figures, Models(*linear, 1.1, -0.1))


@pytest.fixture
def folder(tmp_path):
    write_regions(tmp_path, regions())
    return tmp_path


def edit(folder, **fields):
    path = folder / "regions.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_what_is_written_comes_back(folder):
    given, found = regions(), read_regions(folder)
    for part in ("far", "near"):
        for name in ("weights", "intercept"):
            expected = getattr(getattr(given.models, part), name)
            np.testing.assert_array_equal(getattr(getattr(found.models, part), name), expected)
    assert (found.name, found.source, found.threshold) == ("necks", "onnx:/a.onnx", 0.5)
    assert (found.models.slope, found.models.offset) == (1.1, -0.1)
    assert found.record == given.record
    assert found.figures == given.figures


def test_the_digest_is_of_all_that_was_learnt(folder):
    first = read_regions(folder).digest
    edit(folder, threshold=0.6)
    assert read_regions(folder).digest != first


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"format": 9}, "format 9"),
        ({"name": "../up"}, "a name that is none"),
        ({"slope": -1}, "slope"),
        ({"threshold": "x"}, "threshold"),
        ({"figures": {}}, "figures"),
        ({"record": {}}, "record"),
        ({"source": 3}, "source"),
    ],
)
def test_fields_that_cannot_be_are_refused(folder, fields, said):
    edit(folder, **fields)
    with pytest.raises(BackboneError, match=said):
        read_regions(folder)


def test_maps_of_no_size_or_of_any_size_are_refused(tmp_path):
    write_regions(tmp_path, regions(pool="avg"))
    with pytest.raises(BackboneError, match="not of a map"):
        read_regions(tmp_path)
    write_regions(tmp_path, regions())
    record = json.loads((tmp_path / "regions.json").read_text())["record"]
    record["backbone"]["num_features"] = 2**40
    edit(tmp_path, record=record)
    with pytest.raises(BackboneError, match="not of a map"):
        read_regions(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"far_weights": np.zeros((WIDTH, 4), "f4")},
        {
            "far_weights": np.zeros((WIDTH, 4), "f8"),
            "far_intercept": np.zeros(4, "f4"),
            "near_weights": np.zeros((WIDTH, 5), "f4"),
            "near_intercept": np.zeros(5, "f4"),
        },
        {
            "far_weights": np.full((WIDTH, 4), np.nan, "f4"),
            "far_intercept": np.zeros(4, "f4"),
            "near_weights": np.zeros((WIDTH, 5), "f4"),
            "near_intercept": np.zeros(5, "f4"),
        },
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, arrays):
    np.savez(folder / "weights.npz", **arrays)
    with pytest.raises(BackboneError, match=r"weights\.npz (does not hold|holds numbers)"):
        read_regions(folder)


def test_a_folder_without_a_region_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"has no regions\.json"):
        read_regions(tmp_path)
    write_regions(tmp_path, regions())
    (tmp_path / "weights.npz").unlink()
    with pytest.raises((BackboneError, MissingFileError)):
        read_regions(tmp_path)


def use(folder):
    """Read a region and find with it; what can be read gives finite answers."""
    found = read_regions(folder)
    assert found.record.layer.pool == "none"
    rows = np.full((2, found.record.backbone.num_features), 100, np.float16)
    with np.errstate(all="ignore"):
        boxes = inverse_encode(found.models.far(rows))
        scores = found.models.expected(found.models.near(rows)[:, 4])
    assert np.isfinite(boxes).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert 0 <= found.threshold < np.inf


@pytest.mark.parametrize("name", ["regions.json", "weights.npz"])
def test_a_strangers_files_are_read_truly_or_refused(folder, name):
    path = folder / name
    valid = path.read_bytes()
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    refused = []
    for seed in range(150):
        rng = random.Random(seed)
        if name == "regions.json":
            path.write_bytes(hostile_json(rng, json.loads(valid)))
        else:
            path.write_bytes(hostile_npz(rng, arrays))
        try:
            use(folder)
        except IcecoreError as error:
            refused.append(error)
    assert len(refused) > 50
    assert all(error.hint and "\n" not in error.message for error in refused)
    path.write_bytes(valid)
    use(folder)
