"""A BLAS of one thread, for work of many small products."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

P = ParamSpec("P")
R = TypeVar("R")


def with_one_thread(work: Callable[P, R]) -> Callable[P, R]:
    """Have `work` done with a BLAS of one thread.

    Between small products its other threads wait at full speed: they make nothing faster, take
    the processor from whatever runs beside, and wait for it themselves. And what is found does
    not depend on how many processors there are.
    """

    @functools.wraps(work)
    def held(*arguments: P.args, **options: P.kwargs) -> R:
        with threadpool_limits(1, user_api="blas"):
            return work(*arguments, **options)

    return held
