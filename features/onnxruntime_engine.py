"""ONNX Runtime: runs feature graphs on CPUs and GPUs."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from ..dependencies import missing_dependency
from ..errors import BackboneError, MissingDependencyError
from .devices import available_cpus, gpu_index
from .engine_checks import first_line, require_images, require_one_row_each
from .record import BackboneRecord

__all__ = ["OnnxRuntimeEngine", "load_onnxruntime", "onnxruntime_precisions"]


class OnnxRuntimeEngine:
    """Runs a feature graph in ONNX Runtime.

    Parameters
    ----------
    graph : Path or bytes
        ``images`` uint8 (N, R, R, 3) to ``features`` (N, D).
    record : BackboneRecord
    device : str
        ``cpu`` or ``cuda:N``.

    Notes
    -----
    Images go into a buffer on the device that is kept from batch to batch, and
    features come from another; each thread that calls `run` has its own two.
    """

    name = "onnxruntime"

    def __init__(self, graph: Path | bytes, record: BackboneRecord, device: str = "cpu") -> None:
        ort = load_onnxruntime()
        self.version = ort.__version__
        self._ort, self._record = ort, record
        index = gpu_index(device)
        self._place = ("cpu", 0) if index is None else ("cuda", index)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = available_cpus()
        providers = providers_for(device, ort.get_available_providers())
        source = graph if isinstance(graph, bytes) else str(graph)
        try:
            self._session = ort.InferenceSession(source, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise BackboneError(
                f"{record.spec}: ONNX Runtime refuses the graph: {first_line(error)}",
                "export the network again, or use another engine",
            ) from error
        if index is not None and "CUDAExecutionProvider" not in self._session.get_providers():
            raise MissingDependencyError(
                f"device {device}: ONNX Runtime could not start CUDA",
                "check the driver and the CUDA and cuDNN libraries, or use --device cpu",
            )
        self._buffers = threading.local()

    def run(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.run`."""
        require_images(images, self._record)
        try:
            binding, batch = self._bound(images.shape)
            batch.update_inplace(images)
            self._session.run_with_iobinding(binding)
            # On a CPU it is a look at the buffer, which the next batch overwrites.
            features = binding.get_outputs()[0].numpy().copy()
        except Exception as error:  # as above
            raise BackboneError(
                f"{self._record.spec}: ONNX Runtime fails on images of shape {images.shape}: "
                f"{first_line(error)}",
                "check input_size in the record beside the graph; a graph that was exported for a "
                "batch of one needs --batch-size 1, or --engine openvino",
            ) from error
        require_one_row_each(features.shape, len(images), self._record)
        return features

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


def providers_for(device: str, available: list[str]) -> list:
    """Return the providers of a session on `device`, with their options.

    Raises
    ------
    MissingDependencyError
        `available` lacks what the device needs.
    """
    index = gpu_index(device)
    if index is None:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise MissingDependencyError(
            f"device {device}: this ONNX Runtime has no CUDA support",
            "pip install onnxruntime-gpu in place of onnxruntime, or use --device cpu",
        )
    return [("CUDAExecutionProvider", {"device_id": str(index)}), "CPUExecutionProvider"]


def onnxruntime_precisions(device: str) -> tuple[str, ...]:
    """Return in what ONNX Runtime computes on `device`, the fastest first."""
    providers_for(device, load_onnxruntime().get_available_providers())
    return ("f32",)


def load_onnxruntime():
    """Import ``onnxruntime``, or say what to install."""
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise missing_dependency("onnxruntime", error) from error
    return onnxruntime
