"""Look over everything that the jobs need, and say of each fault how to mend it.

Packages are loaded and engines are run in processes of their own, so that one
that crashes is a finding and not the end.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..cache import verify
from ..core.errors import BackboneError, CacheError, IcecoreError, enumerate_some
from ..core.hardware import available_cpus, bfloat16_pays, cpu_facts
from ..features import (
    ENGINES,
    MXNET_ARCHITECTURES,
    ORT_ARCHITECTURES,
    Gpu,
    ask,
    check_library,
    find_gpus,
    graph_folder,
    runs_on,
)

__all__ = ["LEVELS", "Finding", "conflicts", "examine", "judge_gpus"]

LEVELS = ("ok", "note", "problem")
CORE = ("click", "h5py", "jinja2", "lightgbm", "numpy", "rich", "scikit-learn", "scipy")
WATCHED = (
    *CORE, "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "mxnet", "mxnet-cu112",
    "mxnet-cu117", "gluoncv", "opencv-python", "opencv-python-headless", "pillow",
)  # fmt: skip
# Imports that need libraries of the system, or that every extraction needs.
LOADED = {"lightgbm": "lightgbm", "h5py": "h5py", "cv2": "opencv-python-headless", "PIL": "pillow"}
LITTLE_ROOM = 2**30
VERY_LITTLE_ROOM = 100 * 2**20


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    level : {"ok", "note", "problem"}
        A note hinders some use; a problem hinders what is installed from working.
    area : str
    text : str
    fix : str
        What to do; empty where nothing is to be done.
    """

    level: str
    area: str
    text: str
    fix: str = ""


def examine(
    cache: str | os.PathLike | None = None, on_progress: Callable[[str], None] | None = None
) -> list[Finding]:
    """Look at this machine, and at the feature cache `cache` if there is one.

    Parameters
    ----------
    cache : path-like, optional
        A cache, or where one shall be.
    on_progress : callable, optional
        Called with the name of what is looked at next.
    """
    tell = on_progress or (lambda area: None)
    versions = _versions()
    checks: dict[str, Callable[[], list[Finding]]] = {
        "python": lambda: _python(sys.version_info[:3]),
        "packages": lambda: _packages(versions) + conflicts(versions, sys.version_info[:2]),
        "libraries": _libraries,
        "processor": lambda: _processor(*cpu_facts()),
        "engines": _engines,
        "gpus": _gpus,
        "graphs": _graphs,
        "weights": lambda: _weights(versions),
        "disk": lambda: _disk(Path(cache or ".")),
        "cache": lambda: _cache(cache) if cache is not None else [],
    }
    findings = []
    for area, check in checks.items():
        tell(area)
        try:
            findings += check()
        except Exception as error:  # a check that fails must not hide what the others find
            text = f"cannot be looked at: {type(error).__name__}: {str(error)[:200]}"
            findings.append(Finding("problem", area, text, "report this"))
    return findings


def _python(version: Sequence[int]) -> list[Finding]:
    text = ".".join(map(str, version))
    if tuple(version) < (3, 11):
        return [Finding("problem", "python", f"Python {text}", "icecore needs 3.11 or newer")]
    return [Finding("ok", "python", f"Python {text}")]


def _versions() -> dict[str, str]:
    found = {}
    for name in WATCHED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _packages(versions: Mapping[str, str]) -> list[Finding]:
    missing = [name for name in CORE if name not in versions]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    found = [Finding("ok", "packages", listed)]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        found.append(Finding("problem", "packages", text, "pip install icecore"))
    return found


def conflicts(versions: Mapping[str, str], python: tuple[int, int]) -> list[Finding]:
    """Name the packages that do not work together.

    Parameters
    ----------
    versions : mapping of str to str
        Of the packages that are installed, under their names on the package index.
    python : tuple of 2 ints
    """
    found = []

    def problem(text: str, fix: str) -> None:
        found.append(Finding("problem", "packages", text, fix))

    mxnet = next((name for name in versions if name.startswith("mxnet")), None)
    if mxnet and "numpy" in versions and _number(versions["numpy"]) >= (2,):
        text = f"mxnet {versions[mxnet]} does not work with numpy {versions['numpy']}"
        problem(text, "pip install 'numpy<2'")
    if mxnet and python >= (3, 12):
        text = f"mxnet {versions[mxnet]} does not work on Python {python[0]}.{python[1]}"
        problem(text, f"pip uninstall {mxnet}: Gluon's networks do not need it")
    for one, other in (("onnxruntime", "onnxruntime-gpu"), ("mxnet-cu112", "mxnet-cu117")):
        if one in versions and other in versions:
            problem(f"{one} and {other} overwrite each other's files", _keep(one, other))
    if "opencv-python" in versions and "opencv-python-headless" in versions:
        text = "opencv-python and opencv-python-headless overwrite each other's files"
        problem(text, _keep("opencv-python", "opencv-python-headless"))
    return found


def _keep(one: str, other: str) -> str:
    return f"pip uninstall {one} {other}, then install {other} alone"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _libraries() -> list[Finding]:
    names = [name for name in LOADED if importlib.util.find_spec(name) is not None]
    found = []
    for name, answer in zip(names, _ask_all([f"import:{name}" for name in names])):
        if "error" in answer:
            text = f"{name}: {answer['error']}"
            found.append(Finding("problem", "libraries", text, answer["hint"]))
    if not found:
        found.append(Finding("ok", "libraries", f"{', '.join(names)} load"))
    lacking = [LOADED[name] for name in ("cv2", "PIL") if name not in names]
    if lacking:
        text = f"not installed, and needed to read images: {', '.join(lacking)}"
        found.append(Finding("note", "libraries", text, "pip install 'icecore[onnx]'"))
    return found


def _processor(maker: str, flags: frozenset[str]) -> list[Finding]:
    named = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
    has = [name for name in named if name in flags]
    halves = "bf16 pays" if bfloat16_pays(maker, flags) else "f32 is the fastest"
    text = f"{available_cpus()} processors, {', '.join(has) or 'no vector unit known'}: {halves}"
    return [Finding("ok", "processor", text)]


def _engines() -> list[Finding]:
    kinds = [kind for kind in ENGINES.values() if not kind.by_name]
    there = [kind for kind in kinds if kind.installed()]
    found = []
    for kind, answer in zip(there, _ask_all([f"engine:{kind.name}" for kind in there])):
        if "error" in answer:
            text = f"{kind.name}: {answer['error']}"
            found.append(Finding("problem", "engines", text, answer["hint"]))
        else:
            text = (
                f"{kind.name} {answer['version']} computes correctly (relative error "
                f"{answer['relative_error']:.0e}); on the CPU: {', '.join(answer['precisions'])}"
            )
            found.append(Finding("ok", "engines", text))
    if not there:
        text = "none is installed: extract and predict cannot work, train and blend can"
        return [Finding("note", "engines", text, "pip install 'icecore[onnx]'")]
    # MXNet is the reference, and nobody needs it.
    absent = [kind.name for kind in kinds if not kind.installed() and kind.name != "mxnet"]
    fixes = {
        "openvino": "for speed on CPUs: pip install 'icecore[openvino]'",
        "onnxruntime": "for ONNX networks: pip install 'icecore[onnx]'",
    }
    found += [Finding("note", "engines", f"{n} is not installed", fixes[n]) for n in absent]
    return found


def _gpus() -> list[Finding]:
    gpus, complaint = find_gpus()
    if complaint:
        fix = "reinstall NVIDIA's driver, or use --device cpu"
        return [Finding("note", "gpus", complaint, fix)]
    if not gpus:
        return [Finding("ok", "gpus", "nvidia-smi shows none; the CPU is used")]
    providers: Sequence[str] = ()
    if ENGINES["onnxruntime"].installed():
        try:
            import onnxruntime

            providers = onnxruntime.get_available_providers()
        except (ImportError, OSError):
            pass  # the check of the engines says so
    names = _versions()
    found = judge_gpus(gpus, providers, any(name.startswith("mxnet-cu") for name in names))
    if "CUDAExecutionProvider" in providers:
        devices = [f"cuda:{gpu.index}" for gpu in gpus]
        for device, answer in zip(devices, _ask_all(["engine:onnxruntime"] * len(gpus), devices)):
            if "error" in answer:
                text = f"onnxruntime on {device}: {answer['error']}"
                found.append(Finding("problem", "gpus", text, answer["hint"]))
            else:
                found.append(Finding("ok", "gpus", f"onnxruntime computes correctly on {device}"))
    return found


def judge_gpus(gpus: Sequence[Gpu], providers: Sequence[str], mxnet_cuda: bool) -> list[Finding]:
    """Say of each GPU which of the installed engines can run on it.

    Parameters
    ----------
    gpus : sequence of Gpu
    providers : sequence of str
        Of the installed ONNX Runtime.
    mxnet_cuda : bool
        Whether a CUDA build of MXNet is installed.
    """
    found = []
    ort = "CUDAExecutionProvider" in providers
    for gpu in gpus:
        number = "".join(map(str, gpu.capability))
        what = f"cuda:{gpu.index} {gpu.name}, sm_{number}, {gpu.memory_mib / 1024:.0f} GiB"
        able = ["onnxruntime"] if ort and runs_on(ORT_ARCHITECTURES, gpu.capability) else []
        mxnet_runs = runs_on(MXNET_ARCHITECTURES, gpu.capability)
        able += ["mxnet"] if mxnet_cuda and mxnet_runs else []
        if able:
            found.append(Finding("ok", "gpus", f"{what}: {' and '.join(able)} can use it"))
        elif runs_on(ORT_ARCHITECTURES, gpu.capability):
            fix = "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
            found.append(Finding("note", "gpus", f"{what}: no installed engine uses it", fix))
        elif mxnet_runs:
            fix = "pip install mxnet-cu117, or an onnxruntime-gpu of 1.22 or older"
            found.append(Finding("note", "gpus", f"{what}: too old for onnxruntime-gpu", fix))
        else:
            found.append(Finding("note", "gpus", f"{what}: no engine runs on it", "use the CPU"))
        if mxnet_cuda and not mxnet_runs:
            text = f"{what}: MXNet's CUDA build has no code for it (sm_50 to sm_89)"
            found.append(Finding("note", "gpus", text, "use --engine onnxruntime on this GPU"))
    return found


def _graphs() -> list[Finding]:
    try:
        faults = check_library()
    except BackboneError as error:
        faults = [error.message]
    text = "the graphs of Gluon's networks are as they were released"
    found = [Finding("problem", "graphs", fault, "reinstall icecore") for fault in faults[:3]]
    found = found or [Finding("ok", "graphs", text)]
    try:
        folder = graph_folder()
    except ImportError:
        text = "platformdirs is not installed; networks of timm cannot be exported"
        return [*found, Finding("note", "graphs", text, "pip install 'icecore[onnx]'")]
    fault = _why_not_writable(folder)
    if fault:
        text = f"{folder} cannot be written ({fault}); exported networks cannot be kept"
        return [*found, Finding("problem", "graphs", text, "name another folder in ICECORE_GRAPHS")]
    return [*found, Finding("ok", "graphs", f"{folder} can be written")]


def _why_not_writable(folder: Path) -> str:
    """Try it, in the nearest folder that exists: permissions alone do not tell."""
    place = _existing(folder)
    trial = place / f".icecore-doctor-{secrets.token_hex(6)}"
    try:
        if not place.is_dir():
            return f"{place} is a file"
        trial.write_bytes(b"")
        trial.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _existing(path: Path) -> Path:
    path = Path(os.path.abspath(path))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _weights(versions: Mapping[str, str]) -> list[Finding]:
    (answer,) = _ask_all(["weights"])
    if "error" in answer:
        return [Finding("note", "weights", answer["error"], answer["hint"])]
    have = {name: origin for name, origin in answer["weights"].items() if origin}
    found = [Finding("ok", "weights", f"{name}: {origin}") for name, origin in have.items()]
    lacking = [name for name in answer["weights"] if name not in have]
    if lacking:
        fix = f"icecore weights fetch {' '.join(lacking)}, or bring them with --weights-dir"
        text = f"not on this machine: {', '.join(lacking)}"
        found.append(Finding("note", "weights", text, fix))
    return found


def _disk(folder: Path) -> list[Finding]:
    free = shutil.disk_usage(_existing(folder)).free
    text = f"{free / 2**30:.1f} GiB free at {os.path.abspath(folder)}"
    fix = "an image takes about 12 KB in the cache for three networks; free some space"
    if free < VERY_LITTLE_ROOM:
        return [Finding("problem", "disk", text, fix)]
    level = "note" if free < LITTLE_ROOM else "ok"
    return [Finding(level, "disk", text, fix if level == "note" else "")]


def _cache(cache: str | os.PathLike) -> list[Finding]:
    path = Path(cache)
    if not path.exists():
        fault = _why_not_writable(path)
        if fault:
            text = f"{path} cannot be made: {fault}"
            return [Finding("problem", "cache", text, "choose a folder that you may write to")]
        return [Finding("ok", "cache", f"{path} is not there yet; extract makes it")]
    try:
        found = verify(path)
    except (CacheError, IcecoreError) as error:
        return [Finding("problem", "cache", error.message, error.hint)]
    reasons = enumerate_some(
        (f"{problem['file']}: {problem['reason']}" for problem in found["problems"]), most=3
    )
    text = f"{path}: {found['sets']} feature sets, {found['rows']} rows"
    if not found["ok"]:
        fix = f"icecore cache repair {path}; the next extract computes again what is lost"
        return [Finding("problem", "cache", f"{text}; {reasons}", fix)]
    if found["problems"]:
        fix = f"icecore cache repair {path}"
        return [Finding("note", "cache", f"{text}, no row is damaged; {reasons}", fix)]
    fault = _why_not_writable(path)
    if fault:
        text = f"{text}, no row is damaged, but it cannot be written ({fault})"
        return [Finding("note", "cache", text, "train and blend can read it")]
    return [Finding("ok", "cache", f"{text}, no row is damaged")]


def _ask_all(questions: Sequence[str], devices: Sequence[str] | None = None) -> list[dict]:
    devices = devices or ["cpu"] * len(questions)
    with ThreadPoolExecutor(max_workers=max(1, min(len(questions), available_cpus()))) as pool:
        return list(pool.map(ask, questions, devices))
