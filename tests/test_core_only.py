"""`import icecore`, `train` and `blend` work where only the light core is installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata

import numpy as np
import pytest
from packages import why_not
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from repository import ROOT

from icecore.cache import FeatureCache
from icecore.core.files import sha256_bytes

# Everything that the extras bring, and what those bring.
BLOCKED = (
    "mxnet gluoncv onnx onnxruntime openvino cv2 PIL platformdirs torch matplotlib pandas "
    "huggingface_hub safetensors timm requests google.protobuf yacs"
).split()

SCRIPT = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if any(name == b or name.startswith(b + ".") for b in {blocked!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
from icecore.cli import main
main({arguments!r})
"""


def run_core_only(*arguments):
    script = SCRIPT.format(blocked=BLOCKED, arguments=[str(a) for a in arguments])
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A cache and a table of labels, as another machine would have sent them."""
    folder = tmp_path_factory.mktemp("sent")
    rng = np.random.default_rng(0)
    cache = FeatureCache.create(folder / "cache")
    keys = [sha256_bytes(str(n).encode()) for n in range(90)]
    y = np.arange(90) % 3
    for name in ("gluon:one", "gluon:two"):
        record = {
            "backbone": {"spec": name, "weights": "pretrained", "weights_digest": name},
            "fit": "crop", "views": ["center"], "precision": "float16", "layer": "last",
        }  # fmt: skip
        rows = rng.normal(size=(90, 8)) + 2 * np.eye(3, 8)[y]
        cache.open_set(record, name, 8).append(keys, rows.astype(np.float32))
    lines = ["id,path,split,task,label,letters,digest"]
    for n, key in enumerate(keys):
        split = ("train", "train", "validation", "test")[n // 3 % 4]
        lines.append(f"{n}.jpg,/nowhere/{n}.jpg,{split},label,c{y[n]},,{key}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_train_and_blend_need_the_core_alone(cached):
    # Of LightGBM the wheel is not enough: it wants the system's OpenMP library.
    heads = ["mlp", "logistic"] + ["lightgbm"] * (not why_not("lightgbm"))
    done = run_core_only(
        "train", cached / "cache", "--data", cached / "table.csv", "-o", cached / "run",
        *(word for head in heads for word in ("--head", head)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run_core_only("blend", cached / "run")
    assert done.returncode == 0, done.stderr
    assert "tuned average" in done.stdout
    assert (cached / "run" / "report.html").exists()
    assert run_core_only("cache", "ls", cached / "cache").returncode == 0


def test_extract_then_says_what_to_install(cached, image_folder, tiny_onnx):
    done = run_core_only("extract", image_folder, "-o", cached / "c", "-b", f"onnx:{tiny_onnx}")
    assert done.returncode == 1
    assert "is not installed" in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (cached / "c").exists()


def test_importing_icecore_loads_no_framework():
    script = (
        "import sys, icecore, icecore.features, icecore.heads, icecore.ensemble, icecore.cli\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(eval(done.stdout))
    assert not loaded & {"mxnet", "gluoncv", "onnx", "onnxruntime", "cv2", "torch", "lightgbm"}


def test_pyproject_declares_the_light_core_and_the_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {line.split(">")[0].split("=")[0] for line in project["dependencies"]}
    assert core == {
        "click", "h5py", "jinja2", "lightgbm", "numpy", "rich", "scikit-learn", "scipy",
        "skops",
    }  # fmt: skip
    assert {"gluon", "onnx", "test", "dev"} <= set(project["optional-dependencies"])
    assert project["license"] == "Apache-2.0"


PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def pins(python: str) -> dict[str, Version]:
    """What requirements.txt installs on a Python."""
    found = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate(
                {"python_version": python, "sys_platform": "linux"}
            ):
                name = canonicalize_name(one.name)
                assert name not in found, f"{name} is there twice for Python {python}"
                (pin,) = one.specifier
                assert pin.operator == "==", f"{line} is not pinned"
                found[name] = Version(pin.version)
    return found


def unfit(lines: list[str], python: str) -> list[str]:
    """Name what is asked for and not pinned, or to another version."""
    there, wrong = pins(python), []
    for line in lines:
        one = Requirement(line)
        if one.marker is not None and not one.marker.evaluate(
            {
                "python_version": python,
                "python_full_version": f"{python}.0",
                "sys_platform": "linux",
                "extra": "",
            }
        ):
            continue
        version = there.get(canonicalize_name(one.name))
        if version is None or not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{line} (pinned: {version})")
    return wrong


@pytest.mark.parametrize("python", PYTHONS)
def test_requirements_pin_every_dependency(python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + [
        line for extra in ("gluon", "mxnet", "onnx", "openvino", "demo")
        for line in project["optional-dependencies"][extra]
        if not line.startswith("icecore[")
    ]  # fmt: skip
    assert unfit(needed, python) == []


@pytest.mark.parametrize("extra", ["ray", "parquet", "report"])
def test_an_extra_brings_no_pyarrow_that_the_pinned_numpy_is_too_old_for(extra):
    """Since 26 it wants NumPy 2, and says so when it is imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = map(Requirement, project["optional-dependencies"][extra])
    brought = [one for one in lines if one.name in ("pyarrow", "ray")]
    for python in PYTHONS:
        if pins(python)["numpy"].major < 2:
            applying = [
                one.specifier
                for one in brought
                if one.name == "pyarrow"
                and (one.marker is None or one.marker.evaluate({"python_version": python}))
            ]
            assert not all(specifier.contains("26.0.1") for specifier in applying)


def test_requirements_are_complete_so_nothing_needs_to_be_resolved():
    python = "{}.{}".format(*sys.version_info)
    for name in pins(python):
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed here")
        # GluonCV asks for OpenCV with windows, whose place the headless build takes.
        lines = [line for line in lines if Requirement(line).name != "opencv-python"]
        assert unfit(lines, python) == [], name


@pytest.mark.parametrize("python", PYTHONS[1:])
def test_mxnet_holds_nothing_back_on_newer_pythons(python):
    there = pins(python)
    assert not {"mxnet", "gluoncv"} & set(there)
    assert there["numpy"] >= Version("2.3")
    assert there["opencv-python-headless"] >= Version("5")
