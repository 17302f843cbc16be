"""NVIDIA's GPUs of this machine, and which builds of the engines run on them."""

from __future__ import annotations

import csv
import dataclasses
import re
import shutil
import subprocess
from collections.abc import Sequence

__all__ = ["Gpu", "MXNET_ARCHITECTURES", "ORT_ARCHITECTURES", "find_gpus", "parse_gpus", "runs_on"]

# Machine code in the CUDA builds of MXNet 1.9.1; they carry no PTX, which newer GPUs could
# translate for themselves.
MXNET_ARCHITECTURES = ("sm_50", "sm_52", "sm_60", "sm_61", "sm_70", "sm_75", "sm_80", "sm_86")
# Of onnxruntime-gpu 1.31, for CUDA 13.
ORT_ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
_FIELDS = "index,name,compute_cap,memory.total,driver_version"


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU as ``nvidia-smi`` describes it.

    Attributes
    ----------
    index : int
        N of ``cuda:N``.
    name : str
    capability : tuple of 2 ints
        CUDA compute capability.
    memory_mib : int
    driver : str
    """

    index: int
    name: str
    capability: tuple[int, int]
    memory_mib: int
    driver: str


def find_gpus() -> tuple[list[Gpu], str]:
    """Ask ``nvidia-smi``; return the GPUs, and its complaint if it has one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], ""
    command = [program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi does not answer: {error}"
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"status {done.returncode}"]
        return [], f"nvidia-smi: {lines[0][:200]}"
    return parse_gpus(done.stdout), ""


def parse_gpus(text: str) -> list[Gpu]:
    """Read the CSV of ``nvidia-smi``; lines that are no GPUs are passed over.

    >>> parse_gpus("0, NVIDIA A10G, 8.6, 23028, 550.54.15")[0].capability
    (8, 6)
    """
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) == 5 and row[0].isdigit() and re.fullmatch(r"\d+\.\d+", row[2]):
            major, minor = map(int, row[2].split("."))
            memory = int(row[3]) if row[3].isdigit() else 0
            found.append(Gpu(int(row[0]), row[1], (major, minor), memory, row[4]))
    return found


def runs_on(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Tell whether a build with machine code for `architectures` runs on a GPU.

    Machine code runs on GPUs of its own generation that are as new or newer;
    ``compute_NN`` (PTX) runs on any that is as new or newer.

    >>> runs_on(["sm_80", "sm_86"], (8, 9)), runs_on(["sm_80", "sm_86"], (9, 0))
    (True, False)
    """
    for name in architectures:
        kind, _, number = name.partition("_")
        built = (int(number[:-1]), int(number[-1]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False
