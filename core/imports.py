"""Turn a failed import into one line that says what to install."""

import contextlib
import functools
import importlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from .errors import MissingDependencyError, first_line

_EXTRAS = {
    "mxnet": "use another engine; MXNet, the reference, needs Python 3.11: "
    "pip install 'icecore[mxnet]'",
    "gluoncv": "GluonCV needs Python 3.11: pip install 'icecore[mxnet]'",
    "onnx": "pip install 'icecore[onnx]'",
    "onnxruntime": "pip install 'icecore[onnx]'",
    "openvino": "pip install 'icecore[openvino]'",
    "cv2": "pip install opencv-python-headless",
    "PIL": "pip install pillow",
    "pi_heif": "pip install 'icecore[heic]'",
    "simplejpeg": "pip install simplejpeg",
    "huggingface_hub": "pip install 'icecore[gluon]'",
    "requests": "pip install requests",
    "safetensors": "pip install 'icecore[gluon]'",
    "timm": "pip install 'icecore[timm]'",
    "torch": "pip install 'icecore[torch]'",
    "lightgbm": "pip install lightgbm",
    "fsspec": "pip install 'icecore[remote]'",
    "obstore": "pip install 'icecore[remote]'",
    "boto3": "AWS_PROFILE is set, and profiles are read by boto3: pip install boto3",
    "platformdirs": "pip install 'icecore[onnx]'",
    "pyarrow": "pip install 'icecore[parquet]'",
    "ray": "pip install 'icecore[ray]'",
}
_SYSTEM_LIBRARIES = {
    "libGL": "pip install --force-reinstall opencv-python-headless, or apt-get install libgl1",
    "libgthread": "pip install --force-reinstall opencv-python-headless, "
    "or apt-get install libglib2.0-0",
    "libgomp": "apt-get install libgomp1",
    "libquadmath": "apt-get install libquadmath0",
    "libgfortran": "apt-get install libgfortran5",
}


# As loaders of libraries, thread libraries and C++ say it.
_NO_MEMORY = re.compile(
    "failed to map segment|cannot map zero-fill|cannot allocate memory|can't start new thread|"
    "bad_alloc|resource temporarily unavailable|not enough memory|can't alloc|failed to allocate",
    re.IGNORECASE,
)
NO_MEMORY = "the system gives no more memory or threads"
MORE_MEMORY = "free some memory, or raise the limit (ulimit -v, -d, -u)"


def is_lack_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that the system gives no more memory or threads."""
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return True
    # NumPy tells what else an import may have failed for.
    cause = error.__cause__ or error.__context__
    return isinstance(error, ImportError) and cause is not None and is_lack_of_memory(cause)


def load(package: str, *modules: str) -> Any:
    """Import a package, and modules of it by their whole names; or say what to install."""
    if package == "onnxruntime":
        # From 1.31 on it gives the machine a number when it is imported, and reports to its makers.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        found = importlib.import_module(package)
        for name in modules:
            importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise missing_dependency(package, error) from error
    return found


def missing_dependency(package: str, error: BaseException) -> MissingDependencyError:
    """Describe why `package` could not be imported.

    A wheel can be installed and still not load, for want of a system library
    that it was linked to; the loader then names the library's file.

    Parameters
    ----------
    package : str
        Name of the import that failed.
    error : BaseException
        What it raised.
    """
    text = str(error)
    if is_lack_of_memory(error):
        return MissingDependencyError(
            f"{package} cannot be loaded: the system gives no more memory",
            "free some memory, or raise the limit (ulimit -v)",
        )
    library = re.search(r"(lib[\w+-]+)\.so[\w.]*", text)
    if library and "cannot open shared object file" in text:
        remedy = _SYSTEM_LIBRARIES.get(
            library[1], f"install the system package that has {library[0]}"
        )
        return MissingDependencyError(
            f"{package} is installed but the system library {library[0]} is missing", remedy
        )
    if isinstance(error, ModuleNotFoundError):
        name = error.name or package
        remedy = _EXTRAS.get(name.split(".")[0], _EXTRAS.get(package, f"pip install {name}"))
        return MissingDependencyError(f"the Python package {name} is not installed", remedy)
    if "torchvision::" in text:
        return _torchvision_does_not_fit(package)
    return MissingDependencyError(
        f"{package} cannot be loaded: {first_line(error)}",
        _EXTRAS.get(package, f"reinstall {package}"),
    )


class NewerVersionWarning(UserWarning):
    """A package is newer than this version of icecore knows."""


def warn_if_newer(package: str, version: str, newest: int) -> None:
    """Warn of a package whose major version is newer than this icecore knows; it is tried.

    Parameters
    ----------
    newest : int
        The newest major version that is known.
    """
    major = re.match(r"\d+", version)
    if major and int(major[0]) > newest:
        warnings.warn(
            f"{package} {version} is newer than this version of icecore knows ({newest}); "
            "it is tried",
            NewerVersionWarning,
            stacklevel=3,
        )


def _torchvision_does_not_fit(package: str) -> MissingDependencyError:
    """Describe what torch says as "operator torchvision::nms does not exist"."""
    torch, torchvision = (installed_version(name) or "?" for name in ("torch", "torchvision"))
    return MissingDependencyError(
        f"{package} cannot be loaded: torchvision {torchvision} is not built for torch {torch}",
        "pip install --force-reinstall torch torchvision, both from one index",
    )


def installed_version(package: str) -> str:
    """Return the version of a package by its name on the index; empty if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@contextlib.contextmanager
def quiet_log(name: str) -> Iterator[None]:
    """Keep a library's notes to itself; what fails comes as an exception."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@functools.cache
def quieten_pillow() -> None:
    """Keep Pillow from writing to the terminal: what is wrong with a file is said with its name."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=r"PIL\.")
