"""What an audit looks at: images with their features, and what is known of each for a task."""

import dataclasses

import numpy as np

from ..core.summary import summary


@dataclasses.dataclass(frozen=True)
class Images:
    """The images, each once.

    Attributes
    ----------
    ids, paths, digests, splits, boxes : tuple of str, length N
        As in a manifest.
    points : ndarray of shape (N, D), float32
        Whitened features of length 1, see `whitened`.
    components : ndarray of shape (N, E), float32
        Principal components of the features.
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    splits: tuple[str, ...]
    boxes: tuple[str, ...]
    points: np.ndarray
    components: np.ndarray

    __repr__ = summary

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class TaskRows:
    """What is known of the images for one task.

    Attributes
    ----------
    task : str
    classes : tuple of str, length C
    y : ndarray of int, shape (N,)
        Class of each image; -1 where no label is known.
    probabilities : ndarray of shape (N, C)
        Of heads that had not seen the image; NaN in rows that no such head has predicted.
    held_out : ndarray of str, shape (N,)
        What the honest rows are called: ``out-of-fold``, ``validation``, ``test``; or empty.
    how : str
        Where the probabilities come from.
    """

    task: str
    classes: tuple[str, ...]
    y: np.ndarray
    probabilities: np.ndarray
    held_out: np.ndarray
    how: str

    @property
    def judged(self) -> np.ndarray:
        """Numbers of the rows that have a label and an honest prediction."""
        return np.flatnonzero((self.y >= 0) & np.isfinite(self.probabilities[:, 0]))


def subset(count: int, most: int, seed: int) -> np.ndarray:
    """Return the numbers of at most `most` of `count` rows, drawn evenly, in their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 21]).choice(count, most, replace=False))
