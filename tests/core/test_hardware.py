"""Memory that linear algebra needs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from icecore.core.hardware import require_working_memory


def test_memory_that_is_not_there_is_an_error_and_not_a_wait():
    require_working_memory(2**20)
    with pytest.raises(MemoryError, match="MiB more are needed"):
        require_working_memory(2**46)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows do not keep these limits")
@pytest.mark.parametrize("limit", ["-d 20000", "-d 60000", "-d 200000", "-v 50000", "-v 350000"])
def test_little_memory_is_said_in_a_line(tmp_path, limit):
    """Libraries end in tracebacks, in a crash, or wait for ever (OpenBLAS) for what they lack."""
    command = f'ulimit {limit}; exec "$0" -m icecore blend "$1"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("error: the system gives no more memory or threads: ")
    assert "raise the limit" in second
