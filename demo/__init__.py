"""A small data set, drawn, and the three jobs on it."""

from .dataset import DemoData, draw
from .run import DEMO_BACKBONES, DemoResult, run_demo

__all__ = ["DEMO_BACKBONES", "DemoData", "DemoResult", "draw", "run_demo"]
