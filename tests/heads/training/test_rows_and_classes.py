"""What is left out of training, and said: images without features, dropped classes; settings."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from heads_support import go, make_cache, samples

from icecore.cache import FeatureCache
from icecore.core.errors import CacheError, HeadError, ManifestError
from icecore.runs import read_probabilities


@pytest.fixture
def some(tmp_path):
    """Thirty images, and a cache of the first twenty-six."""
    rows = samples(30)
    return make_cache(tmp_path / "cache", rows[:26], names=("one",)), rows


def test_images_that_the_extraction_refused_are_to_be_mended_and_not_extracted_again(
    some, tmp_path
):
    cache, rows = some
    noted = [
        {"id": row.id, "path": row.path, "digest": row.digest, "reason": "the file is empty"}
        for row in rows[26:]
    ]
    cache.record_failures(noted[:3])
    with pytest.raises(ManifestError, match=r"1 are not in the cache \(image29.jpg\)") as caught:
        go(cache, rows, tmp_path / "run", heads=["ridge"])
    assert "at its extraction 3 could not be used (image26.jpg: the file is empty," in str(
        caught.value
    )
    assert caught.value.hint.startswith("run `icecore extract` on this data first")
    cache.record_failures(noted)
    for data, count in ((rows, "4 of the 30"), (rows[26:], "none of the 4")):
        with pytest.raises(ManifestError, match=f"{count} images of the data") as caught:
            go(cache, data, tmp_path / "run", heads=["ridge"])
        assert "could not be used (image26.jpg: the file is empty, " in caught.value.message
        assert caught.value.hint.startswith("mend these images, or take them out of the data")


def test_data_that_is_mostly_not_in_the_cache_is_an_error(some, tmp_path):
    cache, rows = some
    with pytest.raises(ManifestError) as caught:
        go(cache, rows, tmp_path / "run", heads=["ridge"])
    assert "4 of the 30 images of the data have no features (13%): 4 are not in" in str(
        caught.value
    )
    assert "image26.jpg" in str(caught.value)
    assert "--allow-missing" in caught.value.hint
    assert not (tmp_path / "run").exists()
    result = go(cache, rows, tmp_path / "run", heads=["ridge"], allow_missing=True)
    assert len(result.left_out) == 4
    # A tenth is borne.
    assert go(cache, rows[:28], tmp_path / "few", heads=["ridge"]).left_out
    unreadable = [dataclasses.replace(row, digest="") for row in rows[26:]]
    with pytest.raises(ManifestError, match="4 cannot be read"):
        go(cache, [*rows[:26], *unreadable], tmp_path / "no", heads=["ridge"])


def test_dropped_classes_are_named_and_get_probability_0(cache, rows, tmp_path):
    result = go(cache, rows, tmp_path / "run", heads=["ridge"], drop_classes=["label=hat"])
    (warning,) = result.tasks[0].warnings
    assert (
        "classes that are dropped: hat (25 training images); their probability is always 0"
        in warning
    )
    table = read_probabilities(tmp_path / "run/label/probabilities/ridge-all.npz")
    assert table.classes == ("dress", "hat", "skirt")
    assert not table.probabilities[:, 1].any()
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1)
    with pytest.raises(
        HeadError, match=r"nothing to drop: label=cap, hat=label; there are label=dress"
    ):
        go(cache, rows, tmp_path / "no", drop_classes=["label=cap", "hat=label"])
    with pytest.raises(HeadError, match=r"drop_classes 'hat' \(write TASK=NAME\)"):
        go(cache, rows, tmp_path / "no", drop_classes=["hat"])
    with pytest.raises(HeadError, match=r"only 1 can be learnt, .*\(dropped: dress, hat\)"):
        go(cache, rows, tmp_path / "no", drop_classes=["label=hat", "label=dress"])


def test_a_class_is_dropped_in_whatever_spelling(tmp_path):
    rows = samples(30, classes=("caf\u00e9", "hat", "skirt"))
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    options = {"heads": ["ridge"], "drop_classes": ["label= cafe\u0301 "]}
    (warning,) = go(cache, rows, tmp_path / "run", **options).tasks[0].warnings
    assert "classes that are dropped: caf\u00e9 (10 training images)" in warning


def test_that_there_is_nothing_to_hold_out_is_said(some, tmp_path):
    cache, rows = some
    result = go(cache, rows[:26], tmp_path / "run", heads=["ridge"], validation="holdout")
    (warning,) = result.tasks[0].warnings
    assert "no validation split to hold out: all rows are scored out of fold" in warning


def test_one_kind_of_head_with_several_settings(cache, rows, tmp_path):
    heads = ["ridge", "mlp,width=4,epochs=1", "mlp,width=6"]
    result = go(cache, rows, tmp_path / "run", heads=heads)
    names = ["ridge-all", "mlp-width=4-epochs=1-all", "mlp-width=6-all"]
    assert [model.name for model in result.tasks[0].models] == names
    for name, width in zip(names[1:], (4, 6)):
        head = json.loads((tmp_path / "run/label/heads" / name / "head.json").read_text())
        assert head["settings"]["width"] == width
        # What --set says of the kind holds where the head does not say otherwise.
        assert head["settings"]["members"] == 1
    again = go(cache, rows, tmp_path / "run", heads=heads[:2], overwrite=True)
    assert all(model.reused for model in again.tasks[0].models)
    with pytest.raises(HeadError, match="there is no head 'tree'"):
        go(cache, rows, tmp_path / "no", heads=["tree,depth=3"])
    with pytest.raises(HeadError, match="depth"):
        go(cache, rows, tmp_path / "no", heads=["ridge,depth=3"])


def test_where_every_image_was_refused_nobody_is_sent_to_extract_them_again(tmp_path):
    rows = samples(3)
    empty = FeatureCache.create(tmp_path / "empty")
    empty.record_failures(
        {"id": row.id, "path": row.path, "digest": row.digest, "reason": "the file is empty"}
        for row in rows
    )
    with pytest.raises(CacheError, match="3 images could not be used.*image0.jpg: ") as caught:
        go(empty, rows, tmp_path / "run")
    assert caught.value.hint.startswith("mend these images, or take them out of the data; for ")
