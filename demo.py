"""The demo: a small data set drawn on the spot, for a first run, tests and benchmarks."""

from __future__ import annotations

from .demo_drawing import DemoData, draw

__all__ = ["DemoData", "draw"]
