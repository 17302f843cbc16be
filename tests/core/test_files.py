from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest

from icecore.core.errors import DiskFullError, FileFormatError, IrregularFileError
from icecore.core.files import publish, publish_json, publish_text, sha256_bytes, sha256_file


def test_the_whole_file_or_none(tmp_path):
    target = tmp_path / "sub" / "file.txt"
    publish_text(target, "old")
    with pytest.raises(KeyboardInterrupt), publish(target) as temporary:
        temporary.write_text("half")
        assert target.read_text() == "old"
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["file.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_error(tmp_path, number):
    with pytest.raises(DiskFullError, match=r"(?s)no room left.*free some space") as caught:
        with publish(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise OSError(number, os.strerror(number))
    assert isinstance(caught.value, OSError)
    assert os.listdir(tmp_path) == []


def test_other_errors_pass_and_leave_nothing(tmp_path):
    with pytest.raises(PermissionError), publish(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "no")
    assert os.listdir(tmp_path) == []


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        publish_json(tmp_path / "x.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []


def test_digest_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "abc") == sha256_bytes(b"abc") == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_pipe_or_socket_is_not_replaced_by_a_file(tmp_path, monkeypatch, kind, linked):
    monkeypatch.chdir(tmp_path)
    if kind == "pipe":
        os.mkfifo("there")
    else:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("there")
    os.symlink("there", "link")
    mode = os.lstat("there").st_mode
    with pytest.raises(IrregularFileError, match=f"is a .*{kind}, not a file"):
        publish_text("link" if linked else "there", "text")
    assert os.lstat("there").st_mode == mode
    assert sorted(os.listdir()) == ["link", "there"]


@pytest.mark.parametrize("target", ["file", "nowhere", "link"])
def test_a_link_is_replaced_and_not_followed(tmp_path, target):
    (tmp_path / "file").write_text("precious")
    os.symlink(target, tmp_path / "link")
    publish_text(tmp_path / "link", "new")
    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/x"])
def test_the_systems_names_of_open_files_are_not_replaced(tmp_path, place):
    # Nothing is written here: if this is broken, root would replace the system's link.
    code = (
        "from pathlib import Path\n"
        "from icecore.core.files import _require_replaceable\n"
        f"_require_replaceable(Path({place!r}))"
    )
    with open(tmp_path / "output", "wb") as file:
        done = subprocess.run([sys.executable, "-c", code], stdout=file, stderr=subprocess.PIPE)
    kind = "a device" if place == "/dev/stdout" else "a part of the system in /proc"
    assert f"is {kind}, not a file".encode() in done.stderr


def test_an_error_has_the_name_that_was_given(tmp_path):
    publish_text(tmp_path / ("x" * 250), "a long name")
    with pytest.raises(OSError, match="too long") as caught:
        publish_text(tmp_path / ("x" * 300), "text")
    assert caught.value.filename == str(tmp_path / ("x" * 300))


def test_a_file_that_is_too_large_is_not_digested(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(FileFormatError, match="has 1 TiB, more than the 1 GiB"):
        sha256_file(tmp_path / "sparse", 2**30)
