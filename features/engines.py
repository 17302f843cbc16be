"""What executes a backbone: MXNet, the reference, or ONNX Runtime.

Every engine takes a uint8 batch of images and gives float32 feature rows. A
row depends on its own image alone, not on its neighbours in the batch.
"""

from __future__ import annotations

import importlib.metadata
import os
import warnings
from pathlib import Path
from typing import Protocol

import numpy as np

from ..dependencies import missing_dependency
from ..errors import BackboneError, MissingDependencyError
from .mxnet_loader import load_mxnet, mxnet_context
from .record import BackboneRecord

__all__ = ["ENGINES", "Engine", "MXNetEngine", "OnnxRuntimeEngine", "parse_devices"]

ENGINES = ("auto", "mxnet", "onnxruntime")


class Engine(Protocol):
    """A backbone that is ready to run on one device."""

    name: str
    version: str

    def run(self, images: np.ndarray) -> np.ndarray:
        """Turn uint8 images (N, R, R, 3) into float32 features (N, D)."""


class MXNetEngine:
    """Runs the cut Gluon network in MXNet.

    Parameters
    ----------
    backbone : GluonBackbone
    device : str
        ``cpu`` or ``cuda:N``.
    """

    name = "mxnet"

    def __init__(self, backbone, device: str = "cpu") -> None:
        self._mx = mx = load_mxnet()
        self.version = mx.__version__
        self._context = mxnet_context(device)
        record = backbone.record
        self._spec = record.spec
        with warnings.catch_warnings():
            # MXNet asks for the type of the input, and then takes float32 as it should.
            warnings.simplefilter("ignore")
            block = mx.gluon.SymbolBlock(backbone.symbol, mx.sym.var("data"))
        for name, parameter in block.collect_params().items():
            parameter.grad_req = "null"
            value = backbone.parameters[name]
            parameter.shape = value.shape
            parameter.initialize(mx.init.Zero(), ctx=self._context)
            parameter.set_data(value)
        block.hybridize(static_alloc=True, static_shape=True)
        self._block = block
        self._shift = mx.nd.array(np.array(record.mean) * 255, self._context).reshape((1, 3, 1, 1))
        self._scale = mx.nd.array(1 / (np.array(record.std) * 255), self._context).reshape(
            (1, 3, 1, 1)
        )

    def run(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.run`."""
        try:
            batch = self._mx.nd.array(images, self._context, dtype=np.uint8)
            batch = batch.transpose((0, 3, 1, 2)).astype(np.float32)
            return self._block((batch - self._shift) * self._scale).asnumpy()
        except self._mx.MXNetError as error:
            raise BackboneError(
                f"{self._spec}: MXNet fails on images of shape {images.shape}: "
                f"{str(error).strip().splitlines()[-1][:200]}",
                "if memory is short, try a smaller --batch-size",
            ) from error


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


def available_cpus() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_devices(text: str) -> list[str]:
    """Parse ``cpu`` or ``cuda:0[,cuda:1]``.

    >>> parse_devices("cuda:0,cuda:1")
    ['cuda:0', 'cuda:1']
    """
    devices = [part.strip() for part in text.split(",")]
    good = all(d.startswith("cuda:") and d[5:].isdigit() for d in devices) or devices == ["cpu"]
    if not good or len(set(devices)) != len(devices):
        raise BackboneError(
            f"'{text}' names no device", "say cpu, cuda:0, or several GPUs: cuda:0,cuda:1"
        )
    return devices
