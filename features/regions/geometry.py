"""Arithmetic of boxes: arrays (N, 4) of x0, y0, x1, y1."""

import numpy as np

# Of a frame's side: what is predicted outside of these is no box of it.
_SMALLEST, _LARGEST = 0.01, 4.0


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection of boxes over their union, (N,); 0 where they do not meet."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    return shared / np.maximum(_area(first) + _area(second) - shared, 1e-12)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)


def encode(boxes: np.ndarray) -> np.ndarray:
    """Return centre, and logarithm of width and height, (N, 4), as they are regressed."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, np.log(size)], axis=1)


def inverse_encode(values: np.ndarray) -> np.ndarray:
    """Return the boxes that `encode` makes `values` of; impossible ones are brought back."""
    # Strange weights overflow: what is no number is a box in the middle.
    centre = np.clip(np.nan_to_num(values[:, :2], nan=0.5), -0.5, 1.5)
    log_sides = np.nan_to_num(values[:, 2:], nan=0.0)
    half = np.exp(np.clip(log_sides, np.log(_SMALLEST), np.log(_LARGEST))) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def into(boxes: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return boxes in shares of the frames (N, 4) that they are seen in."""
    return (boxes - np.tile(frames[:, :2], 2)) / np.tile(frames[:, 2:] - frames[:, :2], 2)


def out_of(shares: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return what `into` was given."""
    return shares * np.tile(frames[:, 2:] - frames[:, :2], 2) + np.tile(frames[:, :2], 2)


def grown(boxes: np.ndarray, factor: float) -> np.ndarray:
    """Return boxes with `factor` times the sides, about the same centres."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centre - factor * half, centre + factor * half], axis=1)


def clipped(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return boxes cut off at the edges of their images, of `sizes` (N, 2): width, height."""
    return np.clip(boxes, 0, np.tile(sizes, 2))
