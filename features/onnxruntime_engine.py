"""ONNX Runtime: runs feature graphs on CPUs and GPUs."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np

from ..dependencies import missing_dependency
from ..errors import BackboneError, MissingDependencyError
from .devices import available_cpus
from .record import BackboneRecord

__all__ = ["OnnxRuntimeEngine", "load_onnxruntime"]


class OnnxRuntimeEngine:
    """Runs a feature graph in ONNX Runtime.

    Parameters
    ----------
    graph : Path or bytes
        ``images`` uint8 (N, R, R, 3) to ``features`` (N, D).
    record : BackboneRecord
    device : str
        ``cpu`` or ``cuda:N``.
    """

    name = "onnxruntime"

    def __init__(self, graph: Path | bytes, record: BackboneRecord, device: str = "cpu") -> None:
        ort = load_onnxruntime()
        self.version = importlib.metadata.version("onnxruntime")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = available_cpus()
        providers: list = ["CPUExecutionProvider"]
        if device != "cpu":
            if "CUDAExecutionProvider" not in ort.get_available_providers():
                raise MissingDependencyError(
                    f"device {device}: this ONNX Runtime has no CUDA support",
                    "pip install onnxruntime-gpu in place of onnxruntime, or use --device cpu",
                )
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(device.split(":")[1])}))
        source = graph if isinstance(graph, bytes) else str(graph)
        try:
            self._session = ort.InferenceSession(source, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise BackboneError(
                f"{record.spec}: ONNX Runtime refuses the graph: "
                f"{str(error).splitlines()[0][:200]}",
                "export the network again, or use another engine",
            ) from error
        if device != "cpu" and self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise MissingDependencyError(
                f"device {device}: ONNX Runtime could not start CUDA",
                "check the driver and the CUDA and cuDNN libraries, or use --device cpu",
            )
        self._record = record

    def run(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.run`."""
        try:
            features = self._session.run(["features"], {"images": images})[0]
        except Exception as error:  # as above
            raise BackboneError(
                f"{self._record.spec}: ONNX Runtime fails on images of shape {images.shape}: "
                f"{str(error).splitlines()[0][:200]}",
                "check input_size in the record beside the graph; a graph that was exported for a "
                "batch of one needs --batch-size 1",
            ) from error
        if features.shape != (len(images), self._record.num_features):
            raise BackboneError(
                f"{self._record.spec} gives features of shape {features.shape}, not "
                f"{(len(images), self._record.num_features)}",
                "the graph is no classifier with one row for each image",
            )
        return features


def load_onnxruntime():
    """Import ``onnxruntime``, or say what to install."""
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise missing_dependency("onnxruntime", error) from error
    return onnxruntime
