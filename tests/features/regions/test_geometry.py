"""Boxes: what goes in comes out, and intersection over union is that of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icecore.features.regions.find import whole_box
from icecore.features.regions.geometry import (
    clipped,
    encode,
    grown,
    into,
    inverse_encode,
    iou,
    out_of,
)

corner, side = st.integers(0, 30), st.integers(1, 20)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def pixels(one):
    painted = np.zeros((60, 60), bool)
    painted[one[1] : one[3], one[0] : one[2]] = True
    return painted


@given(box, box)
def test_the_overlap_is_that_of_counted_pixels(first, second):
    a, b = pixels(first), pixels(second)
    expected = (a & b).sum() / (a | b).sum()
    found = iou(np.array([first], float), np.array([second], float))
    assert found == pytest.approx(expected)


@given(box, box)
def test_what_is_encoded_in_a_frame_comes_back(one, frame):
    boxes, frames = np.array([one], float), np.array([frame], float)
    np.testing.assert_allclose(out_of(into(boxes, frames), frames), boxes, atol=1e-9)
    shares = into(boxes, np.array([[0.0, 0, 60, 60]]))
    np.testing.assert_allclose(inverse_encode(encode(shares)), shares, atol=1e-9)


@given(st.lists(st.floats(), min_size=4, max_size=4))
def test_no_answer_makes_an_impossible_box(values):
    (found,) = inverse_encode(np.array([values]))
    assert np.isfinite(found).all()
    assert (found[2:] > found[:2]).all()


def test_growing_keeps_the_centre_and_clipping_keeps_the_image():
    boxes = np.array([[10.0, 20, 30, 60]])
    np.testing.assert_allclose(grown(boxes, 2), [[0, 0, 40, 80]])
    np.testing.assert_allclose(clipped(grown(boxes, 2), np.array([[35.0, 50]])), [[0, 0, 35, 50]])


def test_boxes_of_whole_pixels_lie_in_the_image_or_are_none():
    assert whole_box(np.array([-3.2, 1.4, 9.6, 30.0]), 10, 20) == (0, 1, 10, 20)
    assert whole_box(np.array([4.1, 4.1, 4.2, 9.0]), 10, 20) is None
    assert whole_box(np.array([np.nan] * 4), 10, 20) is None
    assert whole_box(np.array([50.0, 0, 60, 9]), 10, 20) is None
