"""Fixtures of the tests of training."""

from heads_support import cache, rows

__all__ = ["cache", "rows"]
