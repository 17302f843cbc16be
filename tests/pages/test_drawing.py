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

    hostile = '<script>&"'
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
