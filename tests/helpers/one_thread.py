"""A fixture for rooms whose tests multiply small matrices."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Hold the BLAS to one thread: between small products the others wait at full speed."""
    with threadpool_limits(1, user_api="blas"):
        yield
