"""A failing or full disk while shards are written: one clear error, nothing left behind."""

from __future__ import annotations

import errno
import os
import traceback

import pytest

from icecore.cache import FeatureCache, verify
from icecore.core.errors import DiskFullError

SPEC, DIM = "gluon:inceptionv3", 300


def test_disk_error_while_a_large_shard_is_written(cache, make, monkeypatch):
    one = cache.open_set(**make.asked(60_000))

    def failing(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing)
        with pytest.raises(OSError, match="Input/output error"):
            make.fill(one, make.keys(40), 40)
    assert list((one.folder / "shards").iterdir()) == []
    make.fill(one, make.keys(40), 40)
    assert verify(cache)["ok"]


def test_full_disk_is_one_clear_error_and_leaves_nothing(cache, make, monkeypatch):
    one = cache.open_set(**make.asked(DIM))
    make.fill(one, make.keys(10), 10)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DiskFullError, match="no room left on the disk while writing"):
            make.fill(one, make.keys(10, 10), 10)
    assert len(list((one.folder / "shards").iterdir())) == 1
    assert FeatureCache(cache.path).ids(SPEC) == sorted(make.keys(10))


@pytest.mark.parametrize("place", ["shard", "index"])
def test_the_error_keeps_no_view_of_a_buffer(cache, make, monkeypatch, place):
    """Its traceback held one of a BytesIO, and Python 3.12.1 crashed at the next collection."""
    one = cache.open_set(**make.asked(DIM))
    make.fill(one, make.keys(10), 10)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFullError) as caught:
        one.write_index() if place == "index" else make.fill(one, make.keys(10, 10), 10)
    views = []
    error = caught.value
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            views += [v for v in frame.f_locals.values() if isinstance(v, memoryview)]
        error = error.__cause__ or error.__context__
    assert views
    assert all(isinstance(view.obj, bytes) for view in views)
