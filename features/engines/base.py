"""What every engine is: something that turns batches of pixels into rows of features."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from ...core.errors import BackboneError
from ..records.record import BackboneRecord

__all__ = ["Engine", "Setup", "first_line", "require_images", "require_one_row_each"]


class Engine(Protocol):
    """A backbone that is ready to run on one device.

    `run` may be called by several threads at once.

    Attributes
    ----------
    name, version : str
    image_by_image : bool
        Whether each image is computed by itself. Others take another path for each size
        of a batch, with other last bits, so their batches must always have the same size.
    batches_at_once : int
        How many batches it likes to have: 2 where each image is computed by one processor, so
        that some would wait for the others at the end of every batch.
    """

    name: str
    version: str
    image_by_image: bool
    batches_at_once: int

    def run(self, images: np.ndarray) -> np.ndarray:
        """Turn uint8 images (N, R, R, 3) into float32 features (N, D)."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """How a backbone is to be run.

    Attributes
    ----------
    device : str
        ``cpu`` or ``cuda:N``.
    precision : {"f32", "bf16", "fp16"}
        In which the engine computes.
    batch_size : int
        Images in a usual batch.
    """

    device: str = "cpu"
    precision: str = "f32"
    batch_size: int = 16


def require_images(images: np.ndarray, record: BackboneRecord) -> None:
    """Raise `BackboneError` unless `images` are uint8 (N, R, R, 3), with N at least 1."""
    square = (record.resolution, record.resolution, 3)
    if images.dtype != np.uint8 or images.shape[1:] != square or not len(images):
        raise BackboneError(
            f"{record.spec} takes uint8 images of shape (N, {', '.join(map(str, square))}), not "
            f"{images.dtype} of shape {images.shape}",
            "fit the images to the backbone's resolution first",
        )


def require_one_row_each(shape: object, count: int, record: BackboneRecord) -> None:
    """Raise `BackboneError` unless `shape` is that of a feature row for each of `count` images."""
    if shape != (count, record.num_features):
        raise BackboneError(
            f"{record.spec} gives features of shape {shape}, not {(count, record.num_features)}",
            "the graph is no classifier with one row for each image",
        )


def first_line(error: BaseException) -> str:
    """Return what a library says of its failure, as part of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO first lists the places in its own source that the failure came through.
    telling = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    return (telling or lines or [type(error).__name__])[0][:200]
