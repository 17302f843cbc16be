"""Plots as inline SVG: no library, no request, colours from the page's own style.

Classes: ``ink`` for lines and text, ``soft`` for axes, ``main`` for what matters, ``grid``.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ..core.errors import counted, escaped

WIDTH, HEIGHT = 440, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 46
# Width of a letter and height of a line of names.
LETTER, LINE = 7, 13


def reliability_plot(bins: Sequence[dict]) -> Markup:
    """Draw accuracy against confidence.

    Parameters
    ----------
    bins : sequence of dict
        ``confidence``, ``accuracy`` and ``rows`` of each interval that has rows.
    """
    frame = _Frame((0, 1), (0, 1), "confidence", "share that is right")
    most = max(entry["rows"] for entry in bins)
    parts = [frame.axes(), frame.line([(0, 0), (1, 1)], "diagonal")]
    parts.append(frame.line([(e["confidence"], e["accuracy"]) for e in bins], "curve"))
    for entry in bins:
        radius = 3 + 7 * np.sqrt(entry["rows"] / most)
        tip = (
            f"{counted(entry['rows'], 'row')}: confidence {entry['confidence']:.3f}, "
            f"right {entry['accuracy']:.3f}"
        )
        parts.append(frame.dot(entry["confidence"], entry["accuracy"], radius, tip))
    return _svg(parts, "Reliability: share of right answers against confidence")


def front_plot(points: Sequence[dict], label: str) -> Markup:
    """Draw the Pareto front of log-loss against cost.

    Parameters
    ----------
    points : sequence of dict
        ``cost``, ``loss`` and ``tip`` (a text) of each point, cheapest first.
    label : str
        Of the cost axis.
    """
    costs, losses = [p["cost"] for p in points], [p["loss"] for p in points]
    frame = _Frame(_padded(costs), _padded(losses), label, "log-loss")
    frame.whole = all(float(cost).is_integer() for cost in costs)
    stairs: list[tuple[float, float]] = []
    for one, following in zip(points, [*points[1:], None]):
        stairs.append((one["cost"], one["loss"]))
        if following is not None:
            stairs.append((following["cost"], one["loss"]))
    parts = [frame.axes(), frame.line(stairs, "curve")]
    parts += [frame.dot(p["cost"], p["loss"], 5, p["tip"]) for p in points]
    return _svg(parts, f"Pareto front: log-loss against {label}")


def ternary_plot(
    names: Sequence[str], steps: int, values: dict[tuple[int, int, int], float], best: np.ndarray
) -> Markup:
    """Draw a score over all weights of three models as a triangle.

    Parameters
    ----------
    names : sequence of three str
    steps : int
        Weights are multiples of ``1 / steps``.
    values : dict of (int, int, int) to float
        Score (more is better) at each grid point, keys in steps.
    best : ndarray of shape (3,)
        The tuned weights.
    """
    corners = np.array([[60.0, 290.0], [380.0, 290.0], [220.0, 30.0]])
    low, high = min(values.values()), max(values.values())
    # Most of the surface is near the top: ranks show its shape, a linear scale would not.
    order = np.sort(np.array(list(values.values())))
    parts = []
    for key, value in values.items():
        x, y = np.array(key) / steps @ corners
        share = np.searchsorted(order, value) / max(len(order) - 1, 1)
        tip = ", ".join(f"{n} {k / steps:.2f}" for n, k in zip(names, key)) + f": {value:.4f}"
        radius = 0.56 * 320 / steps
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="heat" ').format(x, y, radius)
            + Markup('style="fill-opacity:{:.3f}"><title>{}</title></circle>').format(
                share, escaped(tip)
            )
        )
    x, y = best @ corners
    parts.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="7" class="best-point"/>').format(x, y))
    places = [(60, 312, "start"), (380, 312, "end"), (220, 18, "middle")]
    for name, (x, y, anchor) in zip(names, places):
        parts.append(_text(x, y, _short(name, 30), anchor))
    return _svg(parts, f"Score over all weights, from {low:.4f} to {high:.4f}")


def scatter_plot(points: Sequence[dict], x: str, y: str) -> Markup:
    """Draw points with their intervals; the best of each cost are filled and joined.

    Parameters
    ----------
    points : sequence of dict
        ``x``, ``y``, ``low``, ``high`` (of y), ``name``, ``tip`` (texts) and ``best`` (bool).
    x, y : str
        Titles of the axes.
    """
    ends = [p[key] for p in points for key in ("y", "low", "high")]
    frame = _Frame(_padded([p["x"] for p in points]), _padded(ends), x, y)
    front = sorted((p["x"], p["y"]) for p in points if p["best"])
    parts = [frame.axes(), frame.line(front, "curve")]
    taken: list[tuple[float, float, float]] = []
    for point in points:
        parts.append(
            frame.line([(point["x"], point["low"]), (point["x"], point["high"])], "interval")
        )
        kind = "dot" if point["best"] else "ring"
        parts.append(frame.dot(point["x"], point["y"], 5, point["tip"], kind))
        name = _short(point["name"], 24)
        across, up, anchor = _label_place(*frame.at(point["x"], point["y"]), len(name), taken)
        parts.append(_text(across, up, name, anchor))
    return _svg(parts, f"{y} against {x}")


def _label_place(
    x: float, y: float, letters: int, taken: list[tuple[float, float, float]]
) -> tuple[float, float, str]:
    """Return where a point's name stands, and its anchor; no name lies on one in `taken`.

    Points of one cost stand above each other: names go to either side, then up and down.
    """
    width = LETTER * letters
    sides = [(x + 8, "start"), (x - 8, "end")]
    sides = sides if x < WIDTH / 2 else sides[::-1]
    for step in range(2 * len(taken) + 1):
        up = y - 6 + LINE * ((step + 1) // 2) * (1 if step % 2 else -1)
        for across, anchor in sides:
            left = across if anchor == "start" else across - width
            free = all(
                abs(up - other) >= LINE or left > end or left + width < start
                for start, end, other in taken
            )
            inside = TOP <= up <= HEIGHT - BOTTOM and 0 <= left <= WIDTH - width
            if free and inside:
                taken.append((left, left + width, up))
                return across, up, anchor
    return *sides[0][:1], y - 6, sides[0][1]


class _Frame:
    """Maps data to the picture and draws axes with round numbers."""

    whole = False  # what is counted across has no halves

    def __init__(
        self, x_range: tuple[float, float], y_range: tuple[float, float], x: str, y: str
    ) -> None:
        self.x_range, self.y_range, self.labels = x_range, y_range, (x, y)

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (
            HEIGHT - TOP - BOTTOM
        )

    def axes(self) -> Markup:
        parts = []
        for value in _ticks(*self.x_range, 1.0 if self.whole else 0.0):
            x, y = self.at(value, self.y_range[0])
            parts.append(Markup('<path class="grid" d="M{:.1f} {:.1f}V{}"/>').format(x, y, TOP))
            parts.append(_text(x, y + 17, f"{value:g}", "middle"))
        for value in _ticks(*self.y_range):
            x, y = self.at(self.x_range[0], value)
            right = WIDTH - RIGHT
            parts.append(Markup('<path class="grid" d="M{:.1f} {:.1f}H{}"/>').format(x, y, right))
            parts.append(_text(x - 6, y + 4, f"{value:g}", "end"))
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, self.labels[0], "middle"))
        middle = (TOP + HEIGHT - BOTTOM) / 2
        turned = Markup(' transform="rotate(-90 14 {:.0f})"').format(middle)
        parts.append(_text(14, middle, self.labels[1], "middle", turned))
        return Markup("").join(parts)

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> Markup:
        path = " ".join("{:.1f},{:.1f}".format(*self.at(*point)) for point in points)
        return Markup('<polyline class="{}" points="{}"/>').format(kind, path)

    def dot(self, x: float, y: float, radius: float, tip: str, kind: str = "dot") -> Markup:
        place = self.at(x, y)
        shape = '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>'
        return Markup(shape).format(kind, *place, radius, escaped(tip))


def _ticks(low: float, high: float, least: float = 0.0) -> list[float]:
    """Return about five round numbers between `low` and `high`, `least` or more apart."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= 6:
            step *= factor
            break
    step = max(step, least)
    first = np.ceil(low / step - 1e-9)
    count = int((high - first * step) / step + 1e-9) + 1
    return [float(f"{(first + index) * step:.10g}") for index in range(count)]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> Markup:
    shape = '<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>'
    return Markup(shape).format(x, y, anchor, more, escaped(text))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def _svg(parts: Sequence[Markup], title: str) -> Markup:
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, escaped(title)
    )
    return head + Markup("").join(parts) + Markup("</svg>")
