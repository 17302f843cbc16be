"""A cache of drawn features, as the tests of heads have it."""

from heads_support import cache, rows

__all__ = ["cache", "rows"]
