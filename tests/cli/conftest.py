"""A cache of drawn features, as the tests of heads have it."""

from __future__ import annotations

import pytest
from heads_support import make_cache, samples


@pytest.fixture
def rows():
    return (
        samples(60, "train")
        + samples(15, "validation", prefix="v")
        + samples(9, "test", prefix="t")
    )


@pytest.fixture
def cache(tmp_path, rows):
    return make_cache(tmp_path / "cache", rows)
