"""Memory that linear algebra needs."""

from __future__ import annotations

import pytest

from icecore.core.hardware import require_working_memory


def test_memory_that_is_not_there_is_an_error_and_not_a_wait():
    require_working_memory(2**20)
    with pytest.raises(MemoryError, match="MiB more are needed"):
        require_working_memory(2**46)
