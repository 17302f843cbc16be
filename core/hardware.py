"""Processors and GPUs that a job may use."""

import mmap
import os
import platform
from pathlib import Path
from typing import NamedTuple

from .errors import BackboneError
from .imports import installed_version

# What OpenBLAS takes before its first product.
_WORKING_MEMORY = 160 * 2**20


def require_working_memory(size: int = _WORKING_MEMORY) -> None:
    """See that a library of linear algebra will get its buffers.

    OpenBLAS asks for them again and again, for ever, where the system has none to give.

    Raises
    ------
    MemoryError
        The process may not have so many bytes more.
    """
    # Memory that is shared is not counted by `ulimit -d`; Windows knows no such flags.
    flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}
    try:
        mmap.mmap(-1, size, **flags).close()
    except OSError as error:
        raise MemoryError(f"{size >> 20} MiB more are needed") from error


def installed_memory(group: Path = Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """Return how many bytes this machine has, or this container may use; None if not known."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None  # Windows
    try:
        return min(size, int(group.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return size  # no such file, or "max": no limit


def available_cpus(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the processors that this process may use; a container may have a share of them."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    try:
        allowed, period = map(int, quota.read_text(encoding="ascii").split())
        return max(1, min(count, -(-allowed // period)))
    except (OSError, ValueError, ZeroDivisionError):
        return count  # no such file, or "max": no limit


class CpuFacts(NamedTuple):
    """A processor's maker, its features as Linux names them, and its model; else nothing."""

    maker: str = ""
    flags: frozenset[str] = frozenset()
    model: str = ""


def cpu_facts(path: Path = Path("/proc/cpuinfo")) -> CpuFacts:
    """Return what Linux says of the processor."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return CpuFacts()
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = frozenset(fields.get("flags", "").split())
    return CpuFacts(fields.get("vendor_id", ""), flags, fields.get("model name", ""))


def describe_machine(*packages: str) -> str:
    """Say in a line what measured times depend on: processor, vector units and versions."""
    cpu = cpu_facts()
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
             if name in cpu.flags]  # fmt: skip
    versions = [f"Python {platform.python_version()}"]
    for name in packages:
        version = installed_version(name)
        versions.append(f"{name} {version}" if version else f"no {name}")
    model = cpu.model or platform.processor() or platform.machine()
    named = f"{available_cpus()} processors of {model}"
    return f"{named} ({', '.join(units) or 'no vector unit known'}); {', '.join(versions)}"


def bfloat16_pays(cpu: CpuFacts) -> bool:
    """Tell whether a CPU multiplies bfloat16 faster than float32.

    Intel's AMX is made for it, and on AMD's AVX512-BF16 whole networks ran at twice the
    rate. On Intel's AVX512-BF16 without AMX they ran slower than in float32; see
    docs/engines.md.
    """
    return "amx_bf16" in cpu.flags or (cpu.maker == "AuthenticAMD" and "avx512_bf16" in cpu.flags)


def parse_devices(text: str) -> list[str]:
    """Parse ``cpu``, ``mps`` (Apple's GPUs) or ``cuda:0[,cuda:1]``.

    >>> parse_devices("cuda:0,cuda:1")
    ['cuda:0', 'cuda:1']
    """
    devices = [part.strip() for part in text.split(",")]
    good = all(d.startswith("cuda:") and d[5:].isdigit() for d in devices)
    good = good or devices in (["cpu"], ["mps"])
    if not good or len(set(devices)) != len(devices):
        raise BackboneError(
            f"'{text}' names no device", "say cpu, cuda:0, several GPUs (cuda:0,cuda:1), or mps"
        )
    return devices


def gpu_index(device: str) -> int | None:
    """Return N of ``cuda:N``, and None of ``cpu``.

    Raises
    ------
    BackboneError
        It is neither.
    """
    devices = parse_devices(device)
    if len(devices) > 1:
        raise BackboneError(f"'{device}' is not one device", "say cpu, or cuda:0")
    if device == "mps":
        raise BackboneError("only PyTorch computes on mps", "use --engine torch, or --device cpu")
    return None if device == "cpu" else int(device.removeprefix("cuda:"))
