"""The jobs as functions: each reads what a user brings and calls one room after another.

The command line is a thin layer over these; scripts and notebooks call them directly.
"""

from ..ensemble import result_text
from .blend import blend
from .bundle import bundle
from .extract import extract
from .predict import PredictReport, predict
from .prune import prune
from .train import train

__all__ = [
    "PredictReport",
    "blend",
    "bundle",
    "extract",
    "predict",
    "prune",
    "result_text",
    "train",
]
