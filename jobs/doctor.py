"""Look over everything that the jobs need, and say of each fault how to mend it.

Packages are loaded and engines are run in processes of their own, so that one
that crashes is a finding and not the end.
"""

import importlib.metadata
import importlib.util
import itertools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..core.arguments import typed
from ..core.hardware import available_cpus, bfloat16_pays, cpu_facts, describe_machine
from ..core.imports import installed_version
from ..features import ENGINES, ask, engines_for, find_gpus, gpu_files
from . import doctor_checks
from .doctor_checks import TO_INSTALL, Finding

# Imports that need libraries of the system, or a build of another package that fits.
LOADED = ("lightgbm", "h5py", "cv2", "PIL", "pi_heif", "timm")


@typed
def examine(
    cache: str | os.PathLike | None = None, on_progress: Callable[[str], None] | None = None
) -> list[Finding]:
    """Look at this machine, and at the feature cache `cache` if there is one.

    Parameters
    ----------
    cache : path-like, optional
        A cache, or where one is to be made.
    on_progress : callable, optional
        Called with the name of what is looked at next.
    """
    tell = on_progress or (lambda area: None)
    checks: dict[str, Callable[[], list[Finding]]] = {
        "packages": _packages,
        "libraries": _libraries,
        "processor": _processor,
        "engines": _engines,
        "graphs": doctor_checks.check_graphs,
        "weights": doctor_checks.check_weights,
        "disk": lambda: doctor_checks.check_disk(Path(cache or ".")),
        "cache": lambda: doctor_checks.check_cache(cache) if cache is not None else [],
    }
    findings = []
    for area, check in checks.items():
        tell(area)
        try:
            findings += check()
        except Exception as error:  # a check that fails must not hide what the others find
            text = f"cannot be checked: {type(error).__name__}: {str(error)[:200]}"
            findings.append(Finding("problem", area, text, "report this"))
    return findings


def _packages() -> list[Finding]:
    try:
        wanted = importlib.metadata.requires("icecore") or []
    except importlib.metadata.PackageNotFoundError:
        wanted = []
    names: dict[str, bool] = {}  # of all packages, and whether icecore never works without it
    for requirement in wanted:
        if re.search(r'extra == "(test|dev)"', requirement):
            continue
        name = re.split(r"[^\w.-]", requirement)[0]
        names[name] = names.get(name, False) or "extra ==" not in requirement
    versions = {name: version for name in names if (version := installed_version(name))}
    listed = [f"Python {sys.version.split()[0]}", *(" ".join(one) for one in versions.items())]
    found = [Finding("ok", "packages", ", ".join(listed))]
    missing = [name for name, always in names.items() if always and name not in versions]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        found.append(Finding("problem", "packages", text, "pip install icecore"))
    return found + overwritten(importlib.metadata.packages_distributions())


def overwritten(distributions: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Name the packages that several distributions installed, one over the other.

    Parameters
    ----------
    distributions : mapping of str to sequence of str
        Names on the package index, by what is imported.
    """
    found = []
    for package in sorted({"cv2", *(kind.package for kind in ENGINES.values())}):
        names = sorted(set(distributions.get(package, ())))
        if len(names) > 1:
            text = f"{' and '.join(names)} overwrite each other's files"
            fix = f"pip uninstall {' '.join(names)}, then install the one that you want alone"
            found.append(Finding("problem", "packages", text, fix))
    return found


def _libraries() -> list[Finding]:
    names = [name for name in LOADED if importlib.util.find_spec(name) is not None]
    answers = dict(zip(names, _ask_all([(f"import:{name}", "cpu") for name in names])))
    faults = {name: answer for name, answer in answers.items() if "error" in answer}
    found = [Finding("ok", "libraries", f"{', '.join(n for n in names if n not in faults)} load")]
    for name, answer in faults.items():
        level = "note" if name == "timm" else "problem"  # timm is for one kind of spec
        found.append(Finding(level, "libraries", f"{name}: {answer['error']}", answer["hint"]))
    for text in itertools.chain(*(answer.get("newer", ()) for answer in answers.values())):
        fix = "if something fails with it, install the version before, or a newer icecore"
        found.append(Finding("note", "libraries", text, fix))
    lacking = [name for name in ("cv2", "PIL") if name not in names]
    if lacking:
        text = f"not installed, and needed to read images: {', '.join(lacking)}"
        found.append(Finding("note", "libraries", text, TO_INSTALL))
    return found


def _processor() -> list[Finding]:
    halves = "bf16 pays" if bfloat16_pays(cpu_facts()) else "f32 is the fastest"
    return [Finding("ok", "processor", f"{describe_machine()}: {halves}")]


def _engines() -> list[Finding]:
    """Have each engine compute a small network on each device."""
    gpus, complaint = find_gpus()
    found = []
    if complaint:
        fix = "reinstall NVIDIA's driver, or use --device cpu"
        found.append(Finding("note", "engines", complaint, fix))
    elif not gpus and gpu_files():
        text = f"{gpu_files()[0]} is there, so this machine has a GPU, but no nvidia-smi"
        fix = "install NVIDIA's driver with its programs; else only --device cpu computes"
        found.append(Finding("note", "engines", text, fix))
    others = [*gpus, *(["mps"] if sys.platform == "darwin" else [])]
    kinds = [kind for kind in ENGINES.values() if not kind.by_name]
    there = [kind.name for kind in kinds if kind.installed()]
    pairs = list(itertools.product(there, ["cpu", *others]))
    answers = _ask_all([(f"engine:{name}", device) for name, device in pairs])
    for (name, device), answer in zip(pairs, answers):
        where = device + (f" ({gpus[device]})" if device in gpus else "")
        if "error" in answer:
            # Nobody must use a GPU; what is installed must work on the CPU.
            level = "note" if device in others else "problem"
            text = f"{name} on {where}: {answer['error']}"
            found.append(Finding(level, "engines", text, answer["hint"]))
        elif answer["precisions"]:
            text = (
                f"{name} {answer['version']} computes correctly on {where} (relative error "
                f"{answer['relative_error']:.0e}) in {', '.join(answer['precisions'])}"
            )
            found.append(Finding("ok", "engines", text))
    if not there:
        text = "none is installed: extract and predict cannot work, train and blend can"
        found.append(Finding("note", "engines", text, TO_INSTALL))
    for device in others:
        best = next(kind.name for kind in engines_for(device) if not kind.by_name)
        if best not in there:
            text = f"{best}, the fastest engine on {device}, is not installed"
            found.append(Finding("note", "engines", text, f"pip install 'icecore[{best}]'"))
    # MXNet is the reference, and PyTorch is for GPUs: nobody needs them on a CPU.
    absent = [kind.name for kind in kinds if kind.name not in (*there, "mxnet", "torch")]
    if there and absent:
        fix = "each can be installed: pip install 'icecore[openvino]', 'icecore[onnx]'"
        text = f"not installed: {', '.join(absent)}"
        found.append(Finding("note", "engines", text, fix))
    return found


def _ask_all(questions: Sequence[tuple[str, str]]) -> list[dict]:
    with ThreadPoolExecutor(max_workers=max(1, min(len(questions), available_cpus()))) as pool:
        return list(pool.map(lambda question: ask(*question), questions))
