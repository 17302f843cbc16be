"""What executes a backbone: MXNet, the reference, or a runtime for its ONNX graph.

Every engine takes a uint8 batch of images and gives float32 feature rows. A
row depends on its own image alone, not on its neighbours in the batch. A new
engine is a module with a class of this form and an entry in `KINDS`; the
conformance suite runs over all entries.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable

from ...core.errors import BackboneError, MissingDependencyError, enumerate_some
from ..graphs.network import GraphNetwork
from .base import Engine, Setup

__all__ = ["COMPUTE_PRECISIONS", "ENGINES", "KINDS", "EngineKind", "choose_engine"]

COMPUTE_PRECISIONS = ("auto", "f32", "bf16", "fp16")


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
        Takes a `GraphNetwork` (or a `GluonBackbone`) and a `Setup`, returns an `Engine`.
    precisions : callable
        Takes a device; returns in what the hardware there computes for the engine, the
        fastest first; nothing if the engine does not run there.
    by_name : bool
        Whether it is taken only if it is named: its start takes minutes.
    """

    name: str
    package: str
    runs_graphs: bool
    start: Callable[[object, Setup], Engine]
    precisions: Callable[[str], tuple[str, ...]]
    by_name: bool = False

    @property
    def installed(self) -> bool:
        """Whether its package is there; it may still fail to load."""
        return importlib.util.find_spec(self.package) is not None

    def able(self, device: str) -> tuple[str, ...]:
        """Return `precisions` of an engine that loads, and nothing of one that does not."""
        try:
            return self.precisions(device) if self.installed else ()
        except MissingDependencyError:
            return ()


def _start_mxnet(network, setup: Setup) -> Engine:
    from .mxnet import MXNetEngine

    return MXNetEngine(network, setup.device)


def _mxnet_precisions(device: str) -> tuple[str, ...]:
    from ..gluon.loader import mxnet_context

    if device != "cpu":
        mxnet_context(device)
    return ("f32",)


def _start_onnxruntime(network: GraphNetwork, setup: Setup) -> Engine:
    from .onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(
        network.graph, network.record, setup.device, setup.precision, setup.batch_size
    )


def _onnxruntime_precisions(device: str) -> tuple[str, ...]:
    from .onnxruntime import onnxruntime_precisions

    return onnxruntime_precisions(device)


def _start_tensorrt(network: GraphNetwork, setup: Setup) -> Engine:
    from .onnxruntime import TensorRTEngine

    return TensorRTEngine(network.graph, network.record, setup.device, setup.precision)


def _tensorrt_precisions(device: str) -> tuple[str, ...]:
    from .onnxruntime import onnxruntime_precisions

    return onnxruntime_precisions(device, tensorrt=True)


def _start_openvino(network: GraphNetwork, setup: Setup) -> Engine:
    from .openvino import OpenVinoEngine

    return OpenVinoEngine(
        network.graph, network.record, setup.device, setup.precision, setup.batch_size
    )


def _openvino_precisions(device: str) -> tuple[str, ...]:
    from .openvino import openvino_precisions

    return openvino_precisions() if device == "cpu" else ()


# In the order in which "auto" tries them: by speed, see docs/engines.md.
KINDS = {
    kind.name: kind
    for kind in (
        EngineKind("openvino", "openvino", True, _start_openvino, _openvino_precisions),
        EngineKind("onnxruntime", "onnxruntime", True, _start_onnxruntime, _onnxruntime_precisions),
        EngineKind("mxnet", "mxnet", False, _start_mxnet, _mxnet_precisions),
        EngineKind(
            "tensorrt", "onnxruntime", True, _start_tensorrt, _tensorrt_precisions, by_name=True
        ),
    )
}
ENGINES = ("auto", *sorted(KINDS))
# Whose error says what to install where nothing is.
_FIRST_TO_INSTALL = "onnxruntime"


def choose_engine(
    engine: str, *, graphs_only: bool, device: str = "cpu", precision: str = "f32"
) -> tuple[EngineKind, str]:
    """Return the engine that is named, or the fastest that is installed, and its precision.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.
    graphs_only : bool
        Whether the source has no Gluon network, so that MXNet cannot run it.
    device : str
        ``cpu`` or ``cuda:N``.
    precision : str
        One of `COMPUTE_PRECISIONS`; ``auto`` is the fastest on this hardware.

    Raises
    ------
    BackboneError
        No such engine, or the engine (with ``auto``, none) computes in that precision here.
    """
    if engine not in ENGINES:
        raise BackboneError(f"no engine '{engine}'", f"choose one of {', '.join(ENGINES)}")
    if precision not in COMPUTE_PRECISIONS:
        raise BackboneError(
            f"no precision '{precision}' to compute in",
            f"choose one of {', '.join(COMPUTE_PRECISIONS)}",
        )
    kinds = [
        kind
        for kind in KINDS.values()
        if kind.name == engine
        or (engine == "auto" and not kind.by_name and (kind.runs_graphs or not graphs_only))
    ]
    for kind in kinds:
        able = kind.able(device)
        if able and precision in ("auto", *able):
            return kind, able[0] if precision == "auto" else precision
    if precision in ("auto", "f32") and not any(kind.able(device) for kind in kinds):
        # None is installed or runs there: starting one says what is missing.
        return (KINDS[_FIRST_TO_INSTALL] if engine == "auto" else kinds[0]), "f32"
    raise _unable(engine, precision, device, graphs_only)


def _unable(engine: str, precision: str, device: str, graphs_only: bool) -> BackboneError:
    others = {
        kind.name: kind.able(device)
        for kind in KINDS.values()
        if kind.name != engine and (kind.runs_graphs or not graphs_only)
    }
    able = [name for name, precisions in others.items() if precision in precisions]
    who = "no installed engine computes" if engine == "auto" else f"{engine} does not compute"
    needs = {
        "f32": "give --precision-compute fp16",
        "bf16": "bf16 needs OpenVINO and a CPU with AVX512-BF16 or AMX",
        "fp16": "fp16 needs ONNX Runtime and an NVIDIA GPU, or OpenVINO and a CPU with AVX512-FP16",
    }
    hint = f"use --engine {enumerate_some(able)}" if able else needs[precision]
    if precision != "f32":
        hint += "; or --precision-compute f32"
    return BackboneError(f"{who} in {precision} on this machine's {device}", hint)
