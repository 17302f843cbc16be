from __future__ import annotations

import errno
import os
import socket

import pytest

from icecore.core.errors import FileFormatError, IrregularFileError, MissingFileError, RunError
from icecore.core.files import sha256_file
from icecore.core.regular_files import append_regular, open_regular, read_regular, read_whole


@pytest.fixture
def irregular(tmp_path, monkeypatch):
    # A socket's path may have a hundred characters.
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        os.symlink("/dev/zero", "device")
        os.symlink("pipe", "link")
        os.mkdir("folder")
        yield tmp_path


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("pipe", "a named pipe"),
        ("socket", "a socket"),
        ("device", "a device"),
        ("link", "a named pipe"),
        ("folder", "a folder"),
    ],
)
@pytest.mark.parametrize("read", [open_regular, sha256_file, lambda path: read_regular(path, 99)])
def test_only_regular_files_are_opened(irregular, name, what, read):
    with pytest.raises(IrregularFileError, match=f"{name} is {what}, not a file") as caught:
        read(irregular / name)
    assert isinstance(caught.value, OSError)
    assert caught.value.strerror == f"it is {what}"


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b", 3) == b"abc"


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="a file that fails, of Linux")
@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize(
    "read", [lambda f: f.read(), lambda f: f.read(9), lambda f: f.readinto(bytearray(9))]
)
def test_a_file_that_the_disk_cannot_read_is_named(tmp_path, buffering, read):
    os.symlink("/proc/self/mem", tmp_path / "photo.jpg")
    with open_regular(tmp_path / "photo.jpg", buffering) as file:
        with pytest.raises(OSError, match="photo.jpg") as caught:
            read(file)
    assert caught.value.errno == errno.EIO


def test_no_byte_of_a_large_file_is_read(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(FileFormatError, match=r"has 1 TiB, more than the 4 KiB"):
        read_regular(tmp_path / "sparse", 2**12)


def test_failures_take_the_type_of_the_room(tmp_path):
    with pytest.raises(MissingFileError, match=r"(?s)none is not there\n  train again"):
        read_whole(tmp_path / "none", 9, RunError, "train again")
    with pytest.raises(RunError, match="is a folder, not a file"):
        read_whole(tmp_path, 9, RunError)
    with pytest.raises(RunError, match="cannot be read: .*embedded null"):
        read_whole("a\0b", 9, RunError)


def test_lines_are_added_to_a_file_and_to_nothing_else(irregular, tmp_path):
    (tmp_path / "file").write_text("precious\n")
    os.symlink(tmp_path / "file", "to a file")
    for name in ("pipe", "socket", "folder", "link", "to a file"):
        with pytest.raises(IrregularFileError, match="not a file"):
            append_regular(name)
    for line in ("one\n", "two\n"):
        with append_regular(tmp_path / "log") as log:
            log.write(line)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    assert (tmp_path / "file").read_text() == "precious\n"
