from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from icecore.core import places
from icecore.core.errors import (
    FileFormatError,
    IrregularFileError,
    MissingDependencyError,
    StoreError,
)
from icecore.core.once_cache import OnceCache
from icecore.core.places import absolute, bytes_place, facts_of, is_place, is_there, read_place
from icecore.core.stores import store_of


def test_a_file_that_is_called_like_a_row_is_a_file(tmp_path):
    for name in ("#row=1&column=b.png", "a.csv#row=1&column=b.png"):
        (tmp_path / name).write_bytes(b"x")
        assert not is_place(str(tmp_path / name))
        assert read_place(str(tmp_path / name), 5) == b"x"
    os.mkfifo(tmp_path / "a.parquet")
    assert not is_there(f"{tmp_path}/a.parquet#row=1&column=b")
    assert not is_there(f"{tmp_path}/a.tar/b#bytes=1-2")


def test_bytes_of_a_file(tmp_path):
    file = tmp_path / "a.tar"
    file.write_bytes(bytes(range(100)))
    place = bytes_place(str(file), 10, 5)
    assert read_place(place, 5) == bytes(range(10, 15))
    assert facts_of(place)[0] == 5
    with pytest.raises(FileFormatError, match="5 bytes, more than 4 bytes"):
        read_place(place, 4)
    with pytest.raises(StoreError, match="ends before byte 120"):
        read_place(bytes_place(str(file), 100, 20), 100)
    with pytest.raises(FileNotFoundError):
        read_place(bytes_place(str(tmp_path / "none"), 0, 20), 100)


def test_a_pipe_is_no_container(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IrregularFileError):
        read_place(f"{tmp_path}/pipe#bytes=0-9", 100)


@pytest.mark.parametrize(
    "name", ["a b.jpg", "a#b.jpg", "#bytes=1-2.jpg", "a#row=1.jpg", "C:/a.jpg", "s3:/a.jpg"]
)
def test_odd_names_are_files(name):
    assert not is_place(name)
    assert absolute(name) == os.path.abspath(name)


def test_a_thing_is_made_once_and_the_last_are_kept():
    made, cache = [], OnceCache(2)

    def make():
        time.sleep(0.05)
        made.append(1)
        return len(made)

    threads = [threading.Thread(target=cache.get, args=("a", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert [cache.get(key, make) for key in "abcba"] == [1, 2, 3, 2, 4]


def test_large_things_are_few():
    cache, made = OnceCache(10), []
    for key in "abcabc":
        cache.get(key, lambda: made.append(1) or np.empty(2**29, np.uint8))
    assert len(made) == 6
    cache.get("d", lambda: b"")
    assert cache.get("c", lambda: None) is not None


def test_objects_are_read_in_blocks_that_neighbours_share(monkeypatch):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    content = os.urandom(1000)
    fsspec.filesystem("memory").pipe_file("/places-test/a.tar", content)
    monkeypatch.setattr(places, "BLOCK", 64)
    monkeypatch.setattr(places, "_BLOCKS", OnceCache(4))
    for start, size in ((0, 1), (60, 10), (64, 64), (10, 700), (999, 1), (936, 64)):
        place = bytes_place("memory://places-test/a.tar", start, size)
        assert read_place(place, 1000) == content[start : start + size]
    with pytest.raises(StoreError, match="ends before byte 1001"):
        read_place(bytes_place("memory://places-test/a.tar", 999, 2), 1000)


def test_another_machine_is_the_one_that_a_url_names(monkeypatch):
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    class Far(MemoryFileSystem):
        cachable = False

        def __init__(self, host, username="", **rest):
            super().__init__(**rest)
            self.far = (username, host)

        @staticmethod
        def _get_kwargs_from_urls(path):
            user, _, rest = path.removeprefix("sftp://").partition("@")
            return {"host": rest.partition("/")[0], "username": user}

    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda scheme: Far)
    store, key = store_of("sftp://me@far/folder/a.jpg")
    assert store._files.far == ("me", "far")


def test_a_package_that_a_store_asks_for_is_named(monkeypatch):
    import fsspec

    def lacking(scheme):
        raise ImportError('SFTPFileSystem requires "paramiko" to be installed')

    monkeypatch.setattr(fsspec, "get_filesystem_class", lacking)
    with pytest.raises(MissingDependencyError, match=r'(?s)sftp://.*"paramiko".*that package'):
        store_of("sftp://far/a.jpg")
