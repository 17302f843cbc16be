from __future__ import annotations

import os
import subprocess
import sys

import pytest

from icecore.core.errors import first_line
from icecore.core.imports import missing_dependency

LIBRARIES = {
    "cv2": ("libGL.so.1", "apt-get install libgl1"),
    "mxnet": ("libquadmath.so.0", "apt-get install libquadmath0"),
    "lightgbm": ("libgomp.so.1", "apt-get install libgomp1"),
}
LOADERS = {
    "cv2": "from icecore.features.images.libraries import load_opencv as load",
    "mxnet": "from icecore.features.gluon.loader import load_mxnet as load",
    "lightgbm": "from icecore.heads.kinds.lightgbm import load_lightgbm as load",
}


@pytest.mark.parametrize("package", LIBRARIES)
def test_a_missing_system_library_is_named_with_its_remedy(tmp_path, package):
    """The system's own loader fails here: the package wants a library that is in no place."""
    if package == "mxnet" and sys.version_info >= (3, 12):
        pytest.skip("MXNet is not even tried on this Python")
    library, remedy = LIBRARIES[package]
    (tmp_path / package).mkdir()
    nowhere = tmp_path / "nowhere" / library
    (tmp_path / package / "__init__.py").write_text(f"import ctypes\nctypes.CDLL({str(nowhere)!r})")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{LOADERS[package]}\n"
        "from icecore.core.errors import MissingDependencyError\n"
        "try:\n    load()\nexcept MissingDependencyError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True
    )
    message, hint = done.stdout.splitlines()
    assert message == f"{package} is installed but the system library {library} is missing"
    assert remedy in hint


def test_a_missing_package_names_its_extra():
    error = missing_dependency("mxnet", ModuleNotFoundError("No module", name="mxnet"))
    assert str(error).startswith("the Python package mxnet is not installed\n")
    assert "needs Python 3.11: pip install 'icecore[mxnet]'" in error.hint
    error = missing_dependency("safetensors", ModuleNotFoundError("No", name="safetensors"))
    assert "pip install 'icecore[gluon]'" in error.hint


def test_a_torchvision_that_does_not_fit_torch_is_said():
    """What torchvision's import raises then speaks of an operator, and leads nobody anywhere."""
    error = missing_dependency("timm", RuntimeError("operator torchvision::nms does not exist"))
    assert "timm cannot be loaded: torchvision" in error.message
    assert "is not built for torch" in error.message
    assert "--force-reinstall torch torchvision" in error.hint


def test_a_package_of_a_package_is_named_itself():
    error = missing_dependency("gluoncv", ModuleNotFoundError("No module", name="yacs.config"))
    assert "yacs.config is not installed" in error.message


def test_other_failures_keep_their_first_line():
    error = missing_dependency("onnx", ImportError("bad magic\nand much more"))
    assert error.message == "onnx cannot be loaded: bad magic"


def test_the_reason_is_found_among_the_places_that_openvino_lists():
    said = (
        "Exception from src/core.cpp:105:\nCheck 'false' failed at report.cpp:151:\n"
        "FrontEnd API failed with OpConversionFailure:\nModel wasn't fully converted.{}\nSummary:\n"
    )
    log = " Failed operations detailed log:\n-- Pad-19 with a message:\n"
    log += "While validating ONNX node '<Node(Pad): cc>': Exception from pad.cpp:32:\nUnsupported"
    assert first_line(RuntimeError(said.format(log) + "-- Conversion is failed for: Pad-19")) == (
        "Unsupported"
    )
    unknown = said.format("") + "-- No conversion rule found for operations: com.me.Mystery"
    assert first_line(RuntimeError(unknown)).startswith("No conversion rule found for operations")


def test_a_library_that_finds_no_memory_needs_no_installation():
    error = missing_dependency("cv2", ImportError("libx.so: failed to map segment from shared"))
    assert "gives no more memory" in error.message
    assert "pip" not in error.hint
