"""Processes of this machine: whether one that has left something still lives."""

import functools
import os
import socket
from pathlib import Path


@functools.cache
def this_machine() -> str:
    """Return what tells this machine from others: process numbers mean nothing beyond it."""
    # Nor do they mean anything beyond one boot and one container.
    boot = _read("/proc/sys/kernel/random/boot_id").decode().strip()
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()} {boot} {space}".strip()


def start_of(pid: int) -> str | None:
    """Return when a process of this machine began; None if there is none."""
    stat = _read(f"/proc/{pid}/stat")
    if stat:
        # The second field, a name in parentheses, may hold spaces itself.
        fields = stat.rpartition(b")")[2].split()
        # A zombie is as dead as one gone.
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    if os.name != "posix":
        return "unknown"  # Windows would end the process that is asked.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError, TypeError):
        return "unknown"
    return "unknown"


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
