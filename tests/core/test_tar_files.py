from __future__ import annotations

import gzip
import io
import re
import struct
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.tar_files import TarFiles


def tar_of(*entries, form=tarfile.PAX_FORMAT) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=form) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                (info.type,), info.linkname = content, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return memory.getvalue()


class Listed:
    def __init__(self, file, size):
        found = TarFiles(file, size)
        self.files, self.others, self.fault = list(found), found.others, found.fault


def listed(content: bytes):
    return Listed(io.BytesIO(content), len(content))


SOUND = tar_of(("a.jpg", b"1" * 700), ("é" * 120 + ".jpg", b"2" * 1500), ("b.cls", b"3"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_where_their_bytes_are(form):
    content = tar_of(("x/a.jpg", b"1" * 700), ("n" * 99, b"22"), form=form)
    found = listed(content)
    assert [content[m.start : m.start + m.size] for m in found.files] == [b"1" * 700, b"22"]
    assert ([m.name for m in found.files], found.fault) == (["x/a.jpg", "n" * 99], "")


def test_links_and_devices_are_named_and_not_followed():
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
    found = listed(tar_of(*((f"{n}.jpg", (kind,)) for n, kind in enumerate(kinds)), ("a", b"1")))
    assert [what for _, what in found.others] == ["a link in a tar"] * 2 + [
        "a device or pipe in a tar"
    ] * 2
    assert [member.name for member in found.files] == ["a"]


@given(st.integers(0, len(SOUND) - 1))
def test_a_cut_tar_gives_what_came_before_it(length):
    found = listed(SOUND[:length])
    whole = listed(SOUND).files
    assert found.files == whole[: len(found.files)]
    assert all(member.start + member.size <= length for member in found.files)
    # Of the two blocks at the end one is enough.
    assert bool(found.fault) == (length < whole[-1].start + 1024)


@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
def test_damage_ends_in_a_listing(at, change):
    content = bytearray(SOUND)
    content[at] ^= change
    for member in listed(bytes(content)).files:
        assert 0 <= member.start <= member.start + member.size <= len(content)


def test_a_header_of_gigabytes_is_not_read():
    content = bytearray(tar_of(("n" * 200, b"1"), form=tarfile.GNU_FORMAT))
    info = tarfile.TarInfo.frombuf(bytes(content[:512]), "utf-8", "strict")
    info.size = 2**33
    content[:512] = info.tobuf(tarfile.GNU_FORMAT)
    file = io.BytesIO(content + bytes(2**22))
    assert "a header of more than 1048576 bytes" in Listed(file, 2**33).fault
    assert file.tell() <= 2**20 + 1024


def test_a_tar_behind_another_is_named():
    assert listed(SOUND + bytes(20480)).fault == ""
    found = listed(SOUND + SOUND)
    assert len(found.files) == 3
    assert found.fault == "goes on behind its end mark after b.cls, as joined tars do"


def test_many_long_names_are_read():
    entries = [("n" * 60_000 + str(number), b"1") for number in range(40)]
    assert len(listed(tar_of(*entries)).files) == 40


def test_long_names_of_long_names_are_damage():
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 512
    files = SOUND.rstrip(b"\0")
    files += bytes(-len(files) % 512)
    found = listed(files + (info.tobuf(tarfile.GNU_FORMAT) + b"n" * 512) * 5000)
    assert len(found.files) == 3
    assert found.fault == "is damaged after b.cls (headers of headers, and no file behind them)"


def test_a_negative_size_does_not_lead_back():
    content = bytearray(tar_of(("a", b"1"), ("b", b"2")))
    content[1024 + 124 : 1024 + 136] = b"\xff" + struct.pack(">q", -1024).rjust(11, b"\xff")
    block = bytes(content[1024:1536])
    checksum = tarfile.calc_chksums(block)[0]
    content[1024 + 148 : 1024 + 156] = b"%06o\0 " % checksum
    found = listed(bytes(content))
    assert [member.name for member in found.files] == ["a"]
    assert found.fault


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (gzip.compress(SOUND), "is compressed with gzip: unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS, .*: git lfs pull"),
        (b"<html>404</html>", "is a web page or XML: download it again"),
    ],
)
def test_what_is_no_tar_is_named(content, fault):
    assert re.search(fault, listed(content).fault)


def test_a_name_may_begin_as_another_kind_does():
    for name in ("BZ_001.jpg", "BZh9.jpg", "PK\3\4.jpg", "\x1f.jpg"):
        found = listed(tar_of((name, b"1")))
        assert ([member.name for member in found.files], found.fault) == ([name], "")
