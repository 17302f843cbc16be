import itertools
import re

import numpy as np
import pytest

from icecore.pages import drawing


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.3491, 0.4824), (1e-9, 3e-9), (0, 1e9), (-5, 5), (17.9, 18.1)]
)
def test_ticks_are_few_round_and_inside(low, high):
    ticks = drawing._ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-9 * abs(low) <= tick <= high * (1 + 1e-9) for tick in ticks)
    assert all(len(f"{tick:g}") <= 7 for tick in ticks)


def test_plots_are_well_formed_and_escape_names():
    from xml.etree.ElementTree import fromstring

    hostile = '<script>&"\x1b\u202e'
    points = [{"cost": 1, "loss": 0.5, "tip": hostile}, {"cost": 3, "loss": 0.4, "tip": "b"}]
    values = {(2, 0, 0): 0.1, (1, 1, 0): 0.3, (0, 0, 2): 0.2}
    bins = [{"confidence": 0.9, "accuracy": 0.8, "rows": 7}]
    places = [
        {"x": 1, "y": 0.5, "low": 0.4, "high": 0.6, "name": hostile, "tip": hostile, "best": True},
        {"x": 2, "y": 0.4, "low": 0.3, "high": 0.5, "name": "b", "tip": "b", "best": False},
    ]
    for plot in (
        drawing.scatter_plot(places, hostile, "accuracy"),
        drawing.front_plot(points, hostile),
        drawing.front_plot(points[:1], "models"),
        drawing.ternary_plot([hostile] * 3, 2, values, np.array([0.2, 0.3, 0.5])),
        drawing.reliability_plot(bins),
    ):
        root = fromstring(str(plot))
        assert root.tag == "svg"
        assert not list(root.iter("script"))
        assert "\u202e" not in str(plot)


@pytest.mark.parametrize("most", [2, 3, 12])
def test_networks_are_counted_in_whole_numbers(most):
    points = [{"cost": n, "loss": 1 / n, "tip": str(n)} for n in range(1, most + 1)]
    plot = str(drawing.front_plot(points, "number of networks"))
    across = re.findall(r'text-anchor="middle"[^>]*>([\d.]+)<', plot)
    assert len(across) >= 2
    assert set(across) <= {str(n) for n in range(most + 1)}


NAME = re.compile(r'<text[^>]* x="([\d.-]+)" y="([\d.-]+)"[^>]*text-anchor="(\w+)"[^>]*>(m\d+)<')


@pytest.mark.parametrize("count", [2, 9, 18])
def test_names_of_points_of_one_cost_stand_apart(count):
    points = [
        {"x": 5.0, "y": 0.8 + 0.001 * n, "low": 0.7, "high": 0.9, "best": False}
        | {"name": f"m{n}", "tip": ""}
        for n in range(count)
    ]
    points.append({**points[0], "x": 9.0, "name": "m99"})
    text = str(drawing.scatter_plot(points, "cost", "score"))
    boxes = []
    for x, y, anchor, name in NAME.findall(text):
        left = float(x) - (drawing.LETTER * len(name) if anchor == "end" else 0)
        boxes.append((left, left + drawing.LETTER * len(name), float(y)))
    assert len(boxes) == count + 1
    assert all(
        left >= 0 and right <= drawing.WIDTH and 0 < y < drawing.HEIGHT for left, right, y in boxes
    )
    for one, other in itertools.combinations(boxes, 2):
        apart = (
            one[1] < other[0] or other[1] < one[0] or abs(one[2] - other[2]) >= drawing.LINE - 0.2
        )
        assert apart, (one, other)
