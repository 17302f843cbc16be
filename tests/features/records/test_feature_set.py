"""The record of a feature set: every field counts, and it comes back whole."""

from __future__ import annotations

import dataclasses
import json

import pytest

from icecore.cache import fingerprint
from icecore.core.errors import BackboneError
from icecore.features.images.preprocessing import Preprocessing
from icecore.features.images.views import Views
from icecore.features.records.feature_set import FeatureSetRecord
from icecore.features.records.layer import Layer
from icecore.features.records.record import BackboneRecord

HOW = Preprocessing(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875, "bilinear")
BACKBONE = BackboneRecord("gluon:resnet18_v2", "resnet18_v2", "ab" * 32, None, 512, HOW)
RECORD = FeatureSetRecord(BACKBONE)
OTHERS = {
    "fit": "pad",
    "views": Views.parse("flip+random:3", 0.2, seed=9),
    "layer": Layer("stage3", "gem"),
    "precision": "float32",
    "compute": "bf16",
    "decoding": "full",
    "backbone": dataclasses.replace(BACKBONE, random_seed=0),
}


def changed(name):
    return dataclasses.replace(RECORD, **{name: OTHERS[name]})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(FeatureSetRecord)])
def test_each_field_is_part_of_the_fingerprint_and_comes_back(name):
    record = changed(name)
    assert record.fingerprint != RECORD.fingerprint
    assert FeatureSetRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(BackboneRecord)])
def test_each_field_of_the_backbone_is_part_of_it(name):
    new = {"random_seed": 3, "num_features": 9}.get(name, "another")
    if name == "preprocessing":
        new = dataclasses.replace(HOW, crop_pct=0.9)
    backbone = dataclasses.replace(BACKBONE, **{name: new})
    assert FeatureSetRecord(backbone).fingerprint != RECORD.fingerprint
    assert BackboneRecord.from_dict(backbone.as_dict()) == backbone


def test_every_field_is_written_whatever_its_value_and_the_fingerprint_is_of_these():
    names = {frozenset(changed(name).as_dict()) for name in OTHERS}
    assert names == {frozenset(RECORD.as_dict())}
    assert RECORD.fingerprint == fingerprint(RECORD.as_dict())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "is of format 2, not 1"),
        ({"fit": None}, "has fit = None, not a text"),
        ({"newer": 1}, "it has fields that this icecore does not know"),
        ({"views": ["spiral"]}, "unknown views: spiral"),
        ({"views": None}, "has views = None, not a list of texts"),
        ({"pool": "median"}, "no pool 'median'"),
        ({"backbone": {"spec": "gluon:x"}}, "backbone has no field 'architecture'"),
        ({"backbone": None}, "has backbone = None, not an object"),
        ({"augmentation": {"cutout": 1}}, "augmentation"),
        ({"layer": ["x"]}, "has layer = .*, not a text"),
    ],
)
def test_a_record_of_another_version_is_refused_with_the_reason(change, reason):
    fields = RECORD.as_dict() | change
    with pytest.raises(BackboneError, match=rf"(?s)run.json: record.*{reason}.*extract again"):
        FeatureSetRecord.from_dict(fields, "run.json: record")


def test_a_field_that_is_missing_is_named():
    for name in RECORD.as_dict():
        fields = RECORD.as_dict()
        del fields[name]
        with pytest.raises(BackboneError, match=f"no field '{name}'"):
            FeatureSetRecord.from_dict(fields)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("random_seed", True, "has random_seed = True, not a whole number"),
        ("num_features", 0, "has num_features = 0, not 1 or more"),
        ("preprocessing", {"crop_pct": 0.001}, "has crop_pct = 0.001, not a finite number of 0.25"),
        ("preprocessing", {"crop_pct": "x"}, "has crop_pct = 'x', not a number"),
    ],
)
def test_a_field_of_the_backbone_that_cannot_be_is_named(field, value, reason):
    fields = RECORD.as_dict()
    inner = fields["backbone"]
    inner[field] = inner[field] | value if isinstance(value, dict) else value
    with pytest.raises(BackboneError, match=reason):
        FeatureSetRecord.from_dict(fields)


def test_weights_are_random_where_they_have_a_seed():
    assert not BACKBONE.is_random
    assert BACKBONE.weights == "pretrained"
    random = dataclasses.replace(BACKBONE, random_seed=0)
    assert random.is_random
    assert random.weights == "random:0"


def test_networks_share_squares_where_the_fit_does_not_tell_them_apart():
    other = dataclasses.replace(HOW, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert HOW.of_squares("crop") == other.of_squares("crop")
    assert HOW.of_squares("pad") != other.of_squares("pad")
    closer = dataclasses.replace(HOW, crop_pct=1.0)
    assert HOW.of_squares("squash") == closer.of_squares("squash")
    assert HOW.of_squares("crop") != closer.of_squares("crop")
