"""ONNX Runtime: runs feature graphs on CPUs, and on NVIDIA's GPUs by CUDA or TensorRT."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...core.errors import BackboneError, IcecoreError, MissingDependencyError, first_line
from ...core.hardware import gpu_index
from ..graphs.half import half_precision_graph
from ..graphs.network import GraphNetwork
from ..graphs.session import load_onnxruntime, open_session
from ..graphs.store import graph_folder
from .base import AS_USUAL, Engine, GraphRefusedError, Setup, remedy


class OnnxRuntimeEngine(Engine):
    """Runs a feature graph in ONNX Runtime.

    Parameters
    ----------
    setup : Setup
        Its precision is f32, or fp16 on GPUs.

    Notes
    -----
    Images go into a buffer on the device that is kept from batch to batch, and
    features come from another; each thread that computes has its own two.

    Where the images of a usual batch can be dealt out evenly among the processors, each
    processor computes one or two of them at a time. ONNX Runtime's own threads would
    share every layer instead, and at its end the first that is done would wait for the
    last: for long where images are decoded at the same time.
    """

    name = package = "onnxruntime"
    title = "ONNX Runtime"
    _provider = "CUDAExecutionProvider"

    def __init__(self, network: GraphNetwork, setup: Setup = AS_USUAL) -> None:
        ort = load_onnxruntime()
        self.version = ort.__version__
        self._ort, self.record = ort, network.record
        device, precision = setup.device, setup.precision
        index = gpu_index(device)
        self._place = ("cpu", 0) if index is None else ("cuda", index)
        providers = self._providers(device, ort.get_available_providers())
        cpus = setup.cpus
        # 0: a batch is computed as a whole.
        self._together, self._filled = 0, 1
        if network.batch != 1:
            network.require_batches_of(setup.batch_size)
        if network.mixing or network.batch == 1:
            # What the images of a batch may get from one another, each gets from itself.
            self._together, self._filled = 1, network.batch or 1
            self.image_by_image = True
        elif index is None and network.batch is None:
            self._together = _images_together(setup.batch_size, cpus)
        graph = network.graph if isinstance(network.graph, Path) else network.content()
        self._session = self._open(graph, precision, providers, 1 if self._together else cpus)
        # It goes on without a provider whose libraries do not load.
        if index is not None and self._provider not in self._session.get_providers():
            raise MissingDependencyError(
                f"device {device}: ONNX Runtime could not start its {self._provider}",
                "check the driver and its libraries (icecore doctor), or use --device cpu",
            )
        self._buffers = threading.local()
        workers = cpus if index is None else 1
        self._pool = ThreadPoolExecutor(workers, "onnxruntime") if self._together else None
        self.batches_at_once = 2 if self._together else 1

    def _open(self, graph: Path | bytes, precision: str, providers: list, threads: int):
        try:
            if precision == "fp16":
                graph = half_precision_graph(graph, self.record.spec)
            return open_session(graph, providers, intra_op_num_threads=threads)
        except IcecoreError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise GraphRefusedError(
                f"{self.record.spec}: ONNX Runtime refuses the graph: {first_line(error)}",
                remedy(error, "export the network again, or use another engine"),
            ) from error

    def _providers(self, device: str, available: list[str]) -> list:
        return providers_for(device, available)

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """See `Engine.precisions`."""
        if device == "mps":
            return ()
        providers_for(device, load_onnxruntime().get_available_providers())
        return ("f32",) if device == "cpu" else ("fp16", "f32")

    def compute(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.compute`."""
        if self._pool is None:
            return self._compute_together(images)
        starts = range(0, len(images), self._together)
        parts = [images[start : start + self._together] for start in starts]
        return np.concatenate(list(self._pool.map(self._compute_together, parts)))

    def _compute_together(self, images: np.ndarray) -> np.ndarray:
        count = len(images)
        if self._filled > 1:
            images = np.repeat(images, self._filled, axis=0)
        binding, batch = self._bound(images.shape)
        # Before 1.31 it copied the bytes of any array as if they lay in order.
        batch.update_inplace(np.ascontiguousarray(images))
        self._session.run_with_iobinding(binding)
        # On a CPU it is a look at the buffer, which the next batch overwrites.
        return binding.get_outputs()[0].numpy()[:count].copy()

    def _bound(self, shape: tuple[int, ...]):
        """Return this thread's binding for batches of `shape`, and its buffer of images."""
        kept = vars(self._buffers)
        if kept.get("shape") != shape:
            binding = self._session.io_binding()
            batch = self._ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, *self._place)
            binding.bind_ortvalue_input("images", batch)
            binding.bind_output("features", *self._place)
            kept.update(shape=shape, binding=binding, batch=batch)
        return kept["binding"], kept["batch"]


class TensorRTEngine(OnnxRuntimeEngine):
    """Runs a feature graph by TensorRT, which is told to keep what it built.

    Its first batch takes minutes, while it tries kernels; the result is kept in the
    folder of exported graphs and serves the same network, GPU and batch size again.
    """

    name = "tensorrt"
    by_name = True
    _provider = "TensorrtExecutionProvider"

    def _providers(self, device: str, available: list[str]) -> list:
        if device == "cpu":
            raise BackboneError(
                "TensorRT runs on NVIDIA's GPUs, not on the CPU", "use --device cuda:0"
            )
        folder = graph_folder() / "tensorrt"
        providers = providers_for(device, available, tensorrt=folder)
        folder.mkdir(parents=True, exist_ok=True)
        return providers

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """See `Engine.precisions`."""
        if device == "mps":
            return ()
        providers_for(device, load_onnxruntime().get_available_providers(), Path())
        # Its float32 is TF32 wherever the GPU has it, so it is not offered as float32.
        return () if device == "cpu" else ("fp16",)


def _images_together(batch_size: int, cpus: int) -> int:
    """Return how many images a processor computes at a time; 0 if they cannot be dealt out evenly.

    Two at a time were the fastest.
    """
    return next((few for few in (2, 1) if batch_size % (few * cpus) == 0), 0)


def providers_for(device: str, available: list[str], tensorrt: Path | None = None) -> list:
    """Return the providers of a session on `device`, with their options.

    Parameters
    ----------
    available : list of str
        What this ONNX Runtime was built with.
    tensorrt : Path, optional
        Use TensorRT, and keep what it builds in this folder.

    Raises
    ------
    MissingDependencyError
        `available` lacks what the device needs.
    """
    index = gpu_index(device)
    if index is None:
        return ["CPUExecutionProvider"]
    wanted = ["CUDAExecutionProvider"] + ["TensorrtExecutionProvider"] * (tensorrt is not None)
    lacking = [name for name in wanted if name not in available]
    if lacking:
        what = "TensorRT" if "CUDA" not in lacking[0] else "CUDA"
        raise MissingDependencyError(
            f"device {device}: this ONNX Runtime has no {what} support",
            "pip install onnxruntime-gpu in place of onnxruntime, or use --device cpu",
        )
    # Newer GPUs would otherwise multiply float32 with the ten bits of TF32.
    cuda = ("CUDAExecutionProvider", {"device_id": str(index), "use_tf32": "0"})
    if tensorrt is None:
        return [cuda, "CPUExecutionProvider"]
    options = {
        "device_id": str(index),
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(tensorrt),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(tensorrt),
    }
    return [("TensorrtExecutionProvider", options), cuda, "CPUExecutionProvider"]
