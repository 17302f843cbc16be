"""The house style of HTML pages: one template, small pictures, plots as SVG."""

from .drawing import front_plot, reliability_plot, scatter_plot, ternary_plot
from .rendering import render_page
from .thumbnails import (
    FILE_SIZE,
    FULL_SIZE,
    Pictures,
    load_pillow,
    missing_reason,
    opened_safely,
    thumbnail,
)

__all__ = [
    "FILE_SIZE",
    "FULL_SIZE",
    "Pictures",
    "front_plot",
    "load_pillow",
    "missing_reason",
    "opened_safely",
    "reliability_plot",
    "render_page",
    "scatter_plot",
    "ternary_plot",
    "thumbnail",
]
