"""NVIDIA's GPUs of this machine, by the program that comes with their driver."""

import csv
import shutil
import subprocess
from pathlib import Path


def find_gpus() -> tuple[dict[str, str], str]:
    """Ask ``nvidia-smi``; return the GPUs' names by device, and its complaint if it has one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}, ""
    command = [program, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, f"nvidia-smi does not answer: {error}"
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"status {done.returncode}"]
        return {}, f"nvidia-smi: {lines[0][:200]}"
    return parse_gpus(done.stdout), ""


def gpu_files(folder: Path = Path("/dev")) -> list[Path]:
    """Return the files by which Linux shows NVIDIA's GPUs, whether or not a driver works."""
    return sorted(folder.glob("nvidia[0-9]*"))


def parse_gpus(text: str) -> dict[str, str]:
    """Read the CSV of ``nvidia-smi``; lines that are no GPUs are passed over.

    >>> parse_gpus("0, NVIDIA A10G, 23028")
    {'cuda:0': 'NVIDIA A10G, 22 GiB'}
    """
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    gpus = [row for row in rows if len(row) == 3 and row[0].isdigit()]
    return {
        f"cuda:{index}": name + (f", {int(memory) / 1024:.0f} GiB" if memory.isdigit() else "")
        for index, name, memory in gpus
    }
