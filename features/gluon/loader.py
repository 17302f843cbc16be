"""The one place where MXNet and GluonCV are imported.

MXNet 1.9.1 is the last release and was written for an older NumPy: it reads
``numpy.bool`` while it is imported, a name that NumPy took away in 1.24 and
gave back with another meaning in 2.0.
"""

import contextlib
import functools
import importlib.util
import sys
import warnings
from collections.abc import Iterator

import numpy as np

from ...core.errors import MissingDependencyError, counted
from ...core.hardware import gpu_index
from ...core.imports import load


@contextlib.contextmanager
def _as_in_2022() -> Iterator[None]:
    """Give NumPy the name that MXNet and GluonCV read while they load."""
    lacks = "bool" not in vars(np)
    if lacks:
        vars(np)["bool"] = bool
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if lacks:  # left in place it would break numpy.ma and SciPy
            del vars(np)["bool"]


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Let ``import torch`` fail: GluonCV refuses to start beside a torch newer than 1."""
    torch = sys.modules.get("torch")
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if torch is None:
            del sys.modules["torch"]
        else:
            sys.modules["torch"] = torch


@functools.cache
def load_mxnet():
    """Import and return ``mxnet``.

    Raises
    ------
    MissingDependencyError
        It is not installed, lacks a system library, or Python or NumPy is too new for it.
    """
    if sys.version_info >= (3, 12):
        raise MissingDependencyError(
            "MXNet, the reference, runs on Python up to 3.11, and this is "
            f"{sys.version_info[0]}.{sys.version_info[1]}",
            "use --engine openvino or onnxruntime, which run Gluon's networks on every Python; or "
            "Python 3.11 with pip install 'icecore[mxnet]'",
        )
    if importlib.util.find_spec("mxnet") and int(np.__version__.split(".")[0]) >= 2:
        raise MissingDependencyError(
            f"mxnet 1.9.1 does not work with NumPy {np.__version__}", "pip install 'numpy<2'"
        )
    with _as_in_2022():
        return load("mxnet")


@functools.cache
def load_gluoncv():
    """Import and return ``gluoncv``, after MXNet."""
    load_mxnet()
    with _as_in_2022(), _without_torch():
        return load("gluoncv", "gluoncv.model_zoo")


def mxnet_context(device: str):
    """Return MXNet's context for ``cpu`` or ``cuda:N``.

    Raises
    ------
    MissingDependencyError
        MXNet sees no such GPU, or has no machine code for it.
    """
    mx, index = load_mxnet(), gpu_index(device)
    if index is None:
        return mx.cpu()
    try:
        count = mx.context.num_gpus()
    except mx.MXNetError:
        count = 0
    if index >= count:
        raise MissingDependencyError(
            f"device {device}: this MXNet build sees {counted(count, 'GPU')}",
            "install mxnet-cu117 (GPUs up to sm_89), use --engine onnxruntime with "
            "onnxruntime-gpu, or use --device cpu",
        )
    context = mx.gpu(index)
    try:
        # The CUDA builds of MXNet carry machine code for some GPUs and for no others.
        (mx.nd.ones((1,), ctx=context) + 1).asnumpy()
    except mx.MXNetError as error:
        raise MissingDependencyError(
            f"device {device}: this MXNet build does not run on that GPU "
            f"({str(error).strip().splitlines()[-1][:120]})",
            "MXNet 1.9.1 runs on GPUs from sm_50 to sm_89; use --engine onnxruntime with "
            "onnxruntime-gpu for newer ones",
        ) from error
    return context
