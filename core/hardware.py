"""Processors and GPUs that a job may use."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from .errors import BackboneError

__all__ = ["available_cpus", "bfloat16_pays", "cpu_facts", "gpu_index", "parse_devices"]
__all__ += ["require_working_memory"]

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
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise MemoryError(f"{size >> 20} MiB more are needed") from error


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


def cpu_facts(path: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """Return the processor's maker and its features, as Linux names them; else nothing."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", frozenset()
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields.get("vendor_id", ""), frozenset(fields.get("flags", "").split())


def bfloat16_pays(maker: str, flags: frozenset[str]) -> bool:
    """Tell whether a CPU multiplies bfloat16 faster than float32.

    Intel's AMX is made for it, and on AMD's AVX512-BF16 whole networks ran at twice the
    rate. On Intel's AVX512-BF16 without AMX they ran slower than in float32; see
    docs/engines.md.
    """
    return "amx_bf16" in flags or (maker == "AuthenticAMD" and "avx512_bf16" in flags)


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
