"""How many examples a property draws."""

from __future__ import annotations

from hypothesis import settings

# A search draws as many as its profile says, but not for hours where each takes a second.
MOST_TIMES_AS_MANY = 20


def few(count: int, **more) -> settings:
    """Have a property draw `count` examples, and more when they are searched for."""
    told = settings()
    if not told.derandomize:
        count = max(count, min(told.max_examples, MOST_TIMES_AS_MANY * count))
    return settings(max_examples=count, **more)
