"""The mission's three networks without MXNet, against rows that MXNet made on Python 3.11."""

from __future__ import annotations

import numpy as np
import pytest
from mission_rows import NETWORKS, PLACE, RANDOM, drawn_images, mxnet_rows
from packages import needs

from icecore.core.npz_files import read_npz
from icecore.features.backbones import load_backbone
from icecore.features.records.spec import BackboneSpec


def apart(found, expected):
    """The largest relative L2 error of a row."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    return max(np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1))


@pytest.fixture(scope="module")
def kept():
    return read_npz(PLACE)


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_mxnets_where_there_is_no_mxnet(kept, name):
    network = load_backbone(BackboneSpec.parse(f"gluon:{name}"), "auto", RANDOM)
    images = drawn_images(network.record.resolution)
    rows = network.start("cpu", 2).run(images)
    assert network.record.weights_digest == str(kept[f"{name}.weights"])
    assert apart(rows, kept[name]) < 1e-5
    # They depend on the image, so that agreement means something.
    assert apart(rows[:1], kept[name][1:]) > 1e-3


@pytest.mark.slow
@needs("mxnet", "gluoncv")
@pytest.mark.parametrize("name", NETWORKS)
def test_mxnet_makes_the_kept_rows_again(kept, name):
    rows, digest = mxnet_rows(name)
    assert digest == str(kept[f"{name}.weights"])
    assert apart(rows, kept[name]) < 1e-5
