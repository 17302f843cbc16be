"""The devices of PyTorch: whether one works, what it is, and in which exact arithmetic."""

import re
import threading
import warnings
from pathlib import Path
from typing import Any, Self

from ...core.errors import MissingDependencyError, first_line
from ...core.hardware import gpu_index
from .gpus import find_gpus, gpu_files

_OR_CPU = "or use --device cpu"
_BUILDS = "https://pytorch.org/get-started/locally"


def require_device(torch, device: str) -> None:
    """Raise an error that says what is missing, unless PyTorch computes on `device`.

    Raises
    ------
    MissingDependencyError
        PyTorch, the driver or the hardware is not what it would take.
    BackboneError
        No such device.
    """
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise MissingDependencyError(
                "device mps: PyTorch finds no GPU of Apple's on this machine",
                "it takes a Mac with Apple silicon and macOS 12.3; use --device cpu",
            )
        return
    index = gpu_index(device)
    if index is None:
        return
    if torch.version.cuda is None:
        _refuse_build(torch, device)
    _require_driver(torch, device)
    count = torch.cuda.device_count()
    if index >= count:
        there = ", ".join(f"cuda:{number}" for number in range(count)) or "no GPU"
        raise MissingDependencyError(
            f"device {device}: PyTorch sees {there} here",
            f"name one that it sees (CUDA_VISIBLE_DEVICES may hide others), {_OR_CPU}",
        )
    capability = torch.cuda.get_device_capability(index)
    name = torch.cuda.get_device_name(index)
    require_architecture(capability, torch.cuda.get_arch_list(), f"device {device}: the {name}")


def _refuse_build(torch, device: str, files: Path = Path("/dev")) -> None:
    seen = "; this machine has a GPU" if gpu_files(files) else ""
    raise MissingDependencyError(
        f"device {device}: this torch {torch.__version__} was built without CUDA{seen}",
        f"install a build with CUDA ({_BUILDS}), {_OR_CPU}",
    )


def _require_driver(torch, device: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        complaint = find_gpus()[1] or first_line(error)
        raise MissingDependencyError(
            f"device {device}: PyTorch cannot use NVIDIA's driver: {complaint}",
            "install or update the driver until nvidia-smi answers, or a torch for its version "
            f"of CUDA ({_BUILDS}), {_OR_CPU}",
        ) from error


def require_architecture(capability: tuple[int, int], built: list[str], what: str) -> None:
    """Raise `MissingDependencyError` unless a build has code for a GPU.

    Parameters
    ----------
    capability : tuple of int
        Major and minor version of the GPU.
    built : list of str
        As PyTorch lists them: ``sm_90`` for machine code, ``compute_90`` for code that the
        driver translates.
    what : str
        The GPU, for messages.
    """
    # A letter at the end (sm_90a) binds code to one version, and comes beside the plain one.
    known = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", one) for one in built]
    versions = [(one[1], (int(one[2]), int(one[3]))) for one in known if one]
    for kind, version in versions:
        same = version[0] == capability[0] and version <= capability
        if same or (kind == "compute" and version <= capability):
            return
    if not versions:
        return  # Nothing is known of this build; the first run shows.
    newer = capability > max(version for _, version in versions)
    mine = f"sm_{capability[0]}{capability[1]}"
    fix = "install a newer torch" if newer else "install an older torch, which still has it"
    raise MissingDependencyError(
        f"{what} ({mine}) is {'newer' if newer else 'older'} than this torch knows: it was built "
        f"for {', '.join(built)}",
        f"{fix} ({_BUILDS}), {_OR_CPU}",
    )


class Place:
    """A device that is ready; `require_device` has let it pass.

    Attributes
    ----------
    torch : module
    name : str
        Of the hardware; empty for CPUs.
    kernels : torch.cuda.Stream or None
        On which a GPU of NVIDIA's computes one batch after the other.
    """

    def __init__(self, torch, device: str) -> None:
        self.torch, self.device = torch, device
        named = {"cpu": "", "mps": "mps"}
        self.name = named[device] if device in named else torch.cuda.get_device_name(device)
        self.kernels: Any = torch.cuda.Stream(device) if self.is_cuda else None

    @property
    def is_cuda(self) -> bool:
        """Whether it is one of NVIDIA's GPUs."""
        return self.device.startswith("cuda")

    def forget(self) -> None:
        """Give memory back that PyTorch keeps for later."""
        if self.is_cuda:
            self.torch.cuda.empty_cache()


class Exactly:
    """Makes PyTorch compute in one precision, and each image alike every time, while it is entered.

    PyTorch keeps this for the whole process. What it finds is put back at the end.

    Parameters
    ----------
    torch : module
    precision : str
        ``tf32`` lets float32 be multiplied with the ten bits of TF32; else it is float32.
    """

    _lock = threading.RLock()

    def __init__(self, torch, precision: str) -> None:
        self._torch, self._tf32 = torch, precision == "tf32"
        self._before: list[tuple] = []

    def __enter__(self) -> Self:
        self._lock.acquire()
        backends = self._torch.backends
        wanted = [
            (backends.cudnn, "allow_tf32", self._tf32),
            (backends.cuda.matmul, "allow_tf32", self._tf32),
            # Sums in half precision would lose digits, and differ from one kernel to another.
            (backends.cuda.matmul, "allow_fp16_reduced_precision_reduction", False),
            (backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", False),
            # The fastest of several kernels is another one each time.
            (backends.cudnn, "benchmark", False),
            (backends.cudnn, "deterministic", True),
        ]
        self._before.append(tuple((at, name, getattr(at, name)) for at, name, _ in wanted))
        for at, name, value in wanted:
            setattr(at, name, value)
        return self

    def __exit__(self, *error) -> None:
        for at, name, value in self._before.pop():
            setattr(at, name, value)
        self._lock.release()
