"""What executes a backbone: MXNet, the reference, or ONNX Runtime.

Every engine takes a uint8 batch of images and gives float32 feature rows. A
row depends on its own image alone, not on its neighbours in the batch. A new
engine is a module with a class of this form and an entry in `KINDS`; the
conformance suite runs over all entries.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Protocol

import numpy as np

from ..errors import BackboneError
from .sources import GraphNetwork

__all__ = ["ENGINES", "KINDS", "Engine", "EngineKind", "choose_engine"]


class Engine(Protocol):
    """A backbone that is ready to run on one device."""

    name: str
    version: str

    def run(self, images: np.ndarray) -> np.ndarray:
        """Turn uint8 images (N, R, R, 3) into float32 features (N, D)."""


@dataclasses.dataclass(frozen=True)
class EngineKind:
    """An engine that may be installed.

    Attributes
    ----------
    name : str
    package : str
        The import it needs.
    runs_graphs : bool
        Whether it runs ONNX graphs; otherwise it runs Gluon networks themselves.
    start : callable
        Takes a `GraphNetwork` (or a `GluonBackbone`) and a device, returns an `Engine`.
    """

    name: str
    package: str
    runs_graphs: bool
    start: Callable[[object, str], Engine]

    @property
    def installed(self) -> bool:
        """Whether its package is there; it may still fail to load."""
        return importlib.util.find_spec(self.package) is not None


def _start_mxnet(network, device: str) -> Engine:
    from .mxnet_engine import MXNetEngine

    return MXNetEngine(network, device)


def _start_onnxruntime(network: GraphNetwork, device: str) -> Engine:
    from .onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(network.graph, network.record, device)


# In the order in which "auto" tries them.
KINDS = {
    kind.name: kind
    for kind in (
        EngineKind("onnxruntime", "onnxruntime", True, _start_onnxruntime),
        EngineKind("mxnet", "mxnet", False, _start_mxnet),
    )
}
ENGINES = ("auto", *sorted(KINDS))


def choose_engine(engine: str, *, graphs_only: bool) -> EngineKind:
    """Return the engine that is named, or the fastest that is installed.

    Parameters
    ----------
    engine : str
        One of `ENGINES`. On a CPU ONNX Runtime runs the same network about twice as
        fast as MXNet.
    graphs_only : bool
        Whether the source has no Gluon network, so that MXNet cannot run it.

    Raises
    ------
    BackboneError
        No such engine.
    """
    if engine not in ENGINES:
        raise BackboneError(f"no engine '{engine}'", f"choose one of {', '.join(ENGINES)}")
    if engine != "auto":
        return KINDS[engine]
    able = [kind for kind in KINDS.values() if kind.runs_graphs or not graphs_only]
    # With none installed, the first one's own error says what to install.
    return next((kind for kind in able if kind.installed), able[0])
