"""What several tests need: the shared real data where it is there, and small images."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from repository import ROOT

from icecore.core.errors import MissingDependencyError

SHARED = ROOT.parent / "shared"

# No test tells how busy the machine is. The same examples each time, so that a change is what
# breaks a test; `make test-properties` looks for new ones.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("icecore", derandomize=True, **_COMMON)
settings.register_profile("search", max_examples=1000, **_COMMON)
settings.load_profile("icecore")


def _without_system_libraries():
    """Let a test be skipped that fails for want of a system library, as on a bare machine."""
    try:
        return (yield)
    except MissingDependencyError as error:
        if "the system library" in error.message:
            pytest.skip(error.message)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from _without_system_libraries())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _without_system_libraries())


def shared(relative: str) -> Path:
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"the real data {relative} are not beside this checkout")
    return path


@pytest.fixture(scope="session")
def clothing() -> Path:
    """3,409 real photographs of clothes."""
    return shared("data/clothing10")


@pytest.fixture(scope="session")
def models() -> Path:
    """Three real ImageNet networks in ONNX."""
    return shared("models")


@pytest.fixture(scope="session")
def faults() -> Path:
    """Small files with which icecore went wrong once."""
    return shared("faults")


@pytest.fixture(scope="session")
def photographs(clothing) -> list[Path]:
    """64 of the photographs, of all classes."""
    return sorted(clothing.glob("*/*/*.jpg"))[::50][:64]


@pytest.fixture(scope="session", autouse=True)
def graphs(tmp_path_factory) -> Path:
    """Exported graphs are made anew for a test session, and shared within it."""
    folder = tmp_path_factory.mktemp("graphs")
    os.environ["ICECORE_GRAPHS"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_hub(tmp_path_factory) -> None:
    """No test asks the real Hugging Face hub, or sees what a user has from it."""
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="session", autouse=True)
def own_files(tmp_path_factory) -> None:
    """What tests write is not remembered as the user's own."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("user_cache"))


@pytest.fixture
def fast_folder(tmp_path):
    """A folder in memory where there is one: kills and faults are the same there, fsync is free."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture
def image_folder(tmp_path) -> Path:
    """Two classes, three images each, as PNG, without any library of ours."""
    from PIL import Image

    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for label, tint in (("blue", (0, 0, 120)), ("red", (120, 0, 0))):
        (root / label).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 120, (40 + 7 * number, 50, 3)) + np.array(tint)
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory) -> Path:
    """A small convolutional classifier in ONNX with its record: fast, and a real graph."""
    return _write_tiny_onnx(tmp_path_factory.mktemp("tiny") / "tiny.onnx", seed=0)


@pytest.fixture(scope="session")
def write_tiny_onnx():
    """The function that writes `tiny_onnx`."""
    return _write_tiny_onnx


def _write_tiny_onnx(path: Path, seed: int = 0, side: int = 32) -> Path:
    """Write conv -> relu -> global pool -> flatten -> gemm -> softmax, 6 features."""
    import json

    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    weights = {
        "w": rng.normal(0, 0.3, (6, 3, 3, 3)),
        "fc": rng.normal(0, 0.3, (4, 6)),
        "b": np.zeros(4),
    }
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "fc", "b"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    record = {
        "architecture": path.stem,
        "input_size": [3, side, side],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "crop_pct": 0.875,
        "interpolation": "bilinear",
        "num_features": 6,
    }
    path.with_suffix(".json").write_text(json.dumps(record))
    return path
