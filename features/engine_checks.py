"""What every engine asks of its input and of its graph."""

from __future__ import annotations

import numpy as np

from ..core.errors import BackboneError
from .record import BackboneRecord

__all__ = ["first_line", "require_images", "require_one_row_each"]


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
