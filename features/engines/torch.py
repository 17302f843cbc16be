"""PyTorch: runs feature graphs on NVIDIA's GPUs, on Apple's, and on CPUs, all by the same way."""

import importlib.util
import threading
import warnings

import numpy as np

from ...core.errors import BackboneError, first_line
from ...core.hardware import bfloat16_pays, cpu_facts
from ...core.imports import load
from ..graphs.network import GraphNetwork
from .base import AS_USUAL, Engine, Setup, require_one_row_each
from .slots import Slots
from .torch_devices import Exactly, Place, require_device
from .torch_lanes import CudaLane, Lane, ThreadLane
from .translation.translate import translate

# From so many images on a network is compiled on a GPU: that takes a minute or two.
COMPILED_FROM = 200_000
_HALVES = {"bf16": "bfloat16", "fp16": "float16"}


class TorchEngine(Engine):
    """Runs a feature graph in PyTorch.

    Attributes
    ----------
    images_at_once : int
        In each lane: 1 on CPUs; on GPUs the usual batch, or what fits into the memory.

    Notes
    -----
    The graph becomes a module once, for batches of one size; what is left of a batch is
    filled up with zeros, so every image takes the same path. Batches go through lanes, each
    with buffers of its own: on a GPU two, so that one is copied while the other is computed;
    on a CPU one for each processor, and each computes one image in one thread.
    """

    name = package = "torch"
    title = "PyTorch"
    batches_at_once = 2

    def __init__(self, network: GraphNetwork, setup: Setup = AS_USUAL) -> None:
        torch = load_torch()
        require_device(torch, setup.device)
        self._torch, self.record, self._setup = torch, network.record, setup
        self.version = torch.__version__.split("+")[0]
        self.notes: list[str] = []
        on_cpu = setup.device == "cpu"
        self.image_by_image = on_cpu or bool(network.mixing)
        count = min(setup.cpus, setup.batch_size) if on_cpu else 2
        self.images_at_once = 1 if on_cpu or network.mixing else setup.batch_size
        self._place = Place(torch, setup.device)
        self.hardware = self._place.name
        self._exactly = Exactly(torch, setup.precision)
        content = network.content()
        self._lanes = self._open(network, content, count)
        self._slots = Slots(self._lanes, self.images_at_once, self.record.num_features)

    def _open(self, network: GraphNetwork, content: bytes, count: int) -> list[Lane]:
        """Make the lanes, for fewer images each if the device's memory does not hold them."""
        while True:
            network.require_batches_of(self.images_at_once)
            module = self._module(content)
            try:
                return self._lanes_of(module, count)
            except self._torch.OutOfMemoryError as error:
                if self.images_at_once == 1:
                    raise _out_of_memory(self.record.spec, self._setup.device, error) from error
            except Exception as error:  # what is computed first is computed here
                side = self.record.resolution
                images = np.empty((self.images_at_once, side, side, 3), np.uint8)
                raise self.failure(images, error) from error
            del module
            self._place.forget()
            self.images_at_once = -(-self.images_at_once // 2)
            note = (
                f"{self._setup.device} has too little memory for {self._setup.batch_size} images "
                f"of {self.record.spec} at once; it computes {self.images_at_once} at a time"
            )
            self.notes = [note]

    def _module(self, content: bytes):
        side, narrow = self.record.resolution, _HALVES.get(self._setup.precision)
        shape = (self.images_at_once, side, side, 3)
        narrow = narrow and getattr(self._torch, narrow)
        module = translate(self._torch, content, shape, narrow, self.record.spec)
        require_one_row_each(module.features_shape, self.images_at_once, self.record)
        return module

    def _lanes_of(self, module, count: int) -> list[Lane]:
        module = module.to(self._setup.device)
        module = self._compiled(module)
        side = self.record.resolution
        shape = (self.images_at_once, side, side, 3)
        kind = CudaLane if self._place.is_cuda else ThreadLane
        lanes: list[Lane] = []
        with self._exactly:
            for _ in range(count):
                lanes.append(kind(self._place, module, shape, self._exactly))
        return lanes

    def _compiled(self, module):
        """Compile the module for a GPU that is to compute many images, if that can be done."""
        compiled = self._setup.compiled
        if compiled is None:
            compiled = self._place.is_cuda and self._setup.images >= COMPILED_FROM
        if not compiled:
            return module
        side, torch = self.record.resolution, self._torch
        example = torch.zeros(
            (self.images_at_once, side, side, 3), dtype=torch.uint8, device=self._setup.device
        )
        try:
            with self._exactly, torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = torch.compile(module, fullgraph=True, dynamic=False)
                made(example)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler, its driver or its cache: each has its own kinds
            self.notes.append(
                f"torch.compile does not work on this machine ({first_line(error)}); "
                f"{self.record.spec} runs on {self._setup.device} without it, more slowly"
            )
            return module
        self.hardware += ", compiled"
        return made

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """See `Engine.precisions`."""
        torch = load_torch()
        require_device(torch, device)
        if device == "mps":
            return ("fp16", "f32")
        if device != "cpu":
            major = torch.cuda.get_device_capability(device)[0]
            return ("fp16", *(("bf16", "tf32") if major >= 8 else ()), "f32")
        cpu = cpu_facts()
        halves = (("bf16", "avx512_bf16"), ("fp16", "avx512_fp16"))
        able = [name for name, flag in halves if flag in cpu.flags]
        first = ["bf16"] if "bf16" in able and bfloat16_pays(cpu) else []
        return (*first, "f32", *(name for name in able if name not in first))

    @classmethod
    def installed(cls) -> bool:
        """See `Engine.installed`: many have PyTorch for other reasons, and no onnx."""
        return super().installed() and importlib.util.find_spec("onnx") is not None

    @property
    def busy_seconds(self) -> float:
        """Seconds that the device has computed, without copies and waiting."""
        return sum(lane.busy_seconds for lane in self._lanes)

    def compute(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.compute`."""
        return self._slots.run(images)

    def failure(self, images: np.ndarray, error: Exception) -> BackboneError:
        """See `Engine.failure`."""
        if isinstance(error, self._torch.OutOfMemoryError):
            return _out_of_memory(self.record.spec, self._setup.device, error)
        return super().failure(images, error)


_loading = threading.Lock()


def load_torch():
    """Import ``torch``, or say what to install."""
    with _loading, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load("torch")


def _out_of_memory(spec: str, device: str, error: Exception) -> BackboneError:
    return BackboneError(
        f"{spec}: {device} has too little free memory: {first_line(error)}",
        "end what else uses it, give a smaller --batch-size or --precision-compute fp16, or "
        "another --device",
    )
