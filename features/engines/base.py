"""What every engine is: something that turns batches of pixels into rows of features."""

import abc
import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...core.errors import BackboneError, MissingDependencyError, first_line
from ...core.hardware import available_cpus
from ...core.imports import is_lack_of_memory
from ..records.record import BackboneRecord


class GraphRefusedError(BackboneError):
    """An engine does not run a graph; whether another one does has not been tried."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """How a backbone is to be run.

    Attributes
    ----------
    device : str
        ``cpu``, ``cuda:N`` or ``mps``.
    precision : {"f32", "tf32", "bf16", "fp16"}
        In which the engine computes.
    batch_size : int
        Images in a usual batch.
    images : int
        How many are to come, as far as that is known.
    threads : int or None
        Processors that it computes on, if that is a CPU; all that there are if None.
    compiled : bool or None
        Whether an engine that can shall compile the network first, which takes minutes; None
        leaves it to the engine, and that to the number of images.
    """

    device: str = "cpu"
    precision: str = "f32"
    batch_size: int = 16
    images: int = 0
    threads: int | None = None
    compiled: bool | None = None

    @property
    def cpus(self) -> int:
        """Processors that it computes on."""
        return self.threads or available_cpus()


AS_USUAL = Setup()


class Engine(abc.ABC):
    """A backbone that is ready to run on one device.

    A subclass is made from a network and a `Setup`. It loads its package when an object is
    made or `precisions` is called, never when its module is imported.

    Attributes
    ----------
    record : BackboneRecord
        Of the network.
    name, title : str
        What ``--engine`` calls it, and what it is called in messages.
    package : str
        The import it needs.
    runs_graphs : bool
        Whether it runs a `GraphNetwork`; otherwise it runs a `GluonBackbone` itself.
    by_name : bool
        Whether it is taken only if it is named: its start takes minutes.
    image_by_image : bool
        Whether each image is computed by itself. Others take another path for each size
        of a batch, with other last bits, so their batches must always have the same size.
    version : str
        Of its package.
    hardware : str
        On what it computes, and by what way, where that is more than the kind of device says: a
        proof holds for that alone.
    notes : sequence of str
        What a user should know of how it runs, each a sentence; said once.
    batches_at_once : int
        How many batches it likes to have: 2 where each image is computed by one processor, so
        that some would wait for the others at the end of every batch.
    """

    record: BackboneRecord
    name: ClassVar[str]
    title: ClassVar[str]
    package: ClassVar[str]
    runs_graphs: ClassVar[bool] = True
    by_name: ClassVar[bool] = False
    image_by_image: bool = False
    version: str
    hardware: str = ""
    notes: Sequence[str] = ()
    batches_at_once: int = 1

    @abc.abstractmethod
    def __init__(self, network, setup: Setup) -> None: ...

    def run(self, images: np.ndarray) -> np.ndarray:
        """Turn uint8 images (N, R, R, 3) into float32 features (N, D).

        It may be called by several threads at once.

        Raises
        ------
        BackboneError
            The images are not of that shape, or its package fails.
        """
        _require_images(images, self.record)
        try:
            features = self.compute(images)
        except Exception as error:  # the exceptions of most packages share no base
            raise self.failure(images, error) from error
        require_one_row_each(features.shape, len(images), self.record)
        return features

    @abc.abstractmethod
    def compute(self, images: np.ndarray) -> np.ndarray:
        """Do the work of `run`; whatever it raises becomes a `BackboneError`."""

    def failure(self, images: np.ndarray, error: Exception) -> BackboneError:
        """Describe what its package raised while it computed."""
        return GraphRefusedError(
            f"{self.record.spec}: {self.title} fails on images of shape {images.shape}: "
            f"{first_line(error)}",
            remedy(error, "try a smaller --batch-size, or another --engine"),
        )

    @classmethod
    @abc.abstractmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """Return in what the hardware of `device` computes for it, the fastest first.

        Nothing is returned where it does not run on such a device.

        Raises
        ------
        MissingDependencyError
            Its package does not load, or not for that device.
        """

    @classmethod
    def installed(cls) -> bool:
        """Tell whether its package is there; it may still fail to load."""
        return importlib.util.find_spec(cls.package) is not None

    @classmethod
    def able(cls, device: str) -> tuple[str, ...]:
        """Return `precisions` of an engine that loads, and nothing of one that does not."""
        try:
            return cls.precisions(device) if cls.installed() else ()
        except MissingDependencyError:
            return ()


def _require_images(images: np.ndarray, record: BackboneRecord) -> None:
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
            "the graph is no classifier with one row for each image, or this engine computes it "
            "otherwise: try another --engine",
        )


def remedy(error: BaseException, otherwise: str) -> str:
    """Say what to do about a library's failure: give it memory, if that is what it lacks."""
    if is_lack_of_memory(error):
        return "free some memory, raise the limit (ulimit -v, -u), or try a smaller --batch-size"
    return otherwise
