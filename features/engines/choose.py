"""Which engine executes a backbone: the registry, and the choice among what is there.

Every engine takes a uint8 batch of images and gives float32 feature rows. A
row depends on its own image alone, not on its neighbours in the batch. A new
engine is a module with a subclass of `Engine` and a place in `ENGINES`; the
conformance suite runs over all of them.
"""

from ...core.errors import BackboneError, enumerate_some
from .base import Engine
from .mxnet import MXNetEngine
from .onnxruntime import OnnxRuntimeEngine, TensorRTEngine
from .openvino import OpenVinoEngine
from .torch import TorchEngine

COMPUTE_PRECISIONS = ("auto", "f32", "tf32", "bf16", "fp16")
ENGINES: dict[str, type[Engine]] = {
    kind.name: kind
    for kind in (OpenVinoEngine, OnnxRuntimeEngine, TorchEngine, MXNetEngine, TensorRTEngine)
}
ENGINE_CHOICES = ("auto", *sorted(ENGINES))
# In the order in which "auto" tries them: by speed, see docs/engines.md.
_ON_CPUS = ("openvino", "onnxruntime", "torch", "mxnet", "tensorrt")
_ON_GPUS = ("torch", "onnxruntime", "mxnet", "openvino", "tensorrt")


def engines_for(device: str) -> list[type[Engine]]:
    """Return all engines, the one that is tried first on such a device first."""
    return [ENGINES[name] for name in (_ON_CPUS if device == "cpu" else _ON_GPUS)]


def choose_engine(
    engine: str, *, graphs_only: bool, device: str = "cpu", precision: str = "f32"
) -> tuple[type[Engine], str]:
    """Return the engine that is named, or the fastest that is installed, and its precision.

    Parameters
    ----------
    engine : str
        One of `ENGINE_CHOICES`.
    graphs_only : bool
        Whether the source has no Gluon network, so that MXNet cannot run it.
    device : str
        ``cpu``, ``cuda:N`` or ``mps``.
    precision : str
        One of `COMPUTE_PRECISIONS`; ``auto`` is the fastest on this hardware.

    Raises
    ------
    BackboneError
        No such engine, or the engine (with ``auto``, none) computes in that precision here.
    """
    if engine not in ENGINE_CHOICES:
        raise BackboneError(
            f"there is no engine '{engine}'", f"choose one of {', '.join(ENGINE_CHOICES)}"
        )
    if precision not in COMPUTE_PRECISIONS:
        raise BackboneError(
            f"there is no precision '{precision}' to compute in",
            f"choose one of {', '.join(COMPUTE_PRECISIONS)}",
        )
    kinds = [
        kind
        for kind in engines_for(device)
        if kind.name == engine
        or (engine == "auto" and not kind.by_name and (kind.runs_graphs or not graphs_only))
    ]
    for kind in kinds:
        able = kind.able(device)
        if able and precision in ("auto", *able):
            return kind, able[0] if precision == "auto" else precision
    if precision in ("auto", "f32") and not any(kind.able(device) for kind in kinds):
        # None is installed or runs there: starting one says what is missing. Of all, ONNX
        # Runtime is the easiest to install; on a GPU it is PyTorch that most people have.
        plain = OnnxRuntimeEngine if device == "cpu" else TorchEngine
        return (plain if engine == "auto" else kinds[0]), "f32"
    raise _unable(engine, precision, device, graphs_only)


def _unable(engine: str, precision: str, device: str, graphs_only: bool) -> BackboneError:
    others = {
        kind.name: kind.able(device)
        for kind in ENGINES.values()
        if kind.name != engine and (kind.runs_graphs or not graphs_only)
    }
    able = [name for name, precisions in others.items() if precision in precisions]
    who = "no installed engine computes" if engine == "auto" else f"{engine} does not compute"
    needs = {
        "f32": "give --precision-compute fp16",
        "tf32": "tf32 needs PyTorch and an NVIDIA GPU from sm_80 on",
        "bf16": "bf16 needs OpenVINO and a CPU with AVX512-BF16 or AMX, or PyTorch and an NVIDIA "
        "GPU from sm_80 on",
        "fp16": "fp16 needs PyTorch or ONNX Runtime and an NVIDIA GPU, or OpenVINO and a CPU with "
        "AVX512-FP16",
    }
    hint = f"use --engine {enumerate_some(able)}" if able else needs[precision]
    if precision != "f32":
        hint += "; or --precision-compute f32"
    return BackboneError(f"{who} in {precision} on this machine's {device}", hint)
