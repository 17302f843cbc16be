"""The files in a tar, found without anything being extracted.

The archive comes from a stranger: its headers are read by Python's tarfile, which is given no
more than a header may have; links, devices and files with holes are named and not followed.
"""

import dataclasses
import io
import tarfile
from collections.abc import Callable
from typing import BinaryIO

# Long names and other extensions of a header; nothing else is read.
_LARGEST_HEADER = 2**20
_BLOCK = 512
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in a tar: its name, and where its bytes begin and how many they are."""

    name: str
    start: int
    size: int


@dataclasses.dataclass(frozen=True)
class Members:
    """What a tar holds.

    Attributes
    ----------
    files : list of Member
        In their order.
    others : list of (str, str)
        What is neither file nor folder, each with what it is.
    fault : str
        Why the archive ends before its end; empty if it does not.
    """

    files: list[Member]
    others: list[tuple[str, str]]
    fault: str


def list_members(
    file: BinaryIO, size: int, visit: Callable[[Member], None] = lambda member: None
) -> Members:
    """List the files in a tar of `size` bytes; what lies before damage is listed.

    Parameters
    ----------
    visit : callable, optional
        Is shown every file, while `file` is where its bytes begin.
    """
    files: list[Member] = []
    others: list[tuple[str, str]] = []
    start = file.read(2)
    file.seek(0)
    if start in _COMPRESSED:
        return Members([], [], f"is compressed with {_COMPRESSED[start]}: unpack it to a plain tar")
    bounded = _Bounded(file)
    try:
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            for info in archive:
                bounded.allow()
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                at, length = info.offset_data, info.size
                if length < 0 or at + length > size:
                    return Members(files, others, f"is cut short in {info.name}")
                if info.isreg() and not info.issparse():
                    member = Member(info.name, at, length)
                    file.seek(at)
                    visit(member)
                    files.append(member)
                elif not info.isdir():
                    others.append((info.name, _kind(info)))
            end = archive.offset
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        # What a store says has its own words.
        if isinstance(error, OSError) and not isinstance(error, tarfile.TarError):
            raise
        after = f" after {files[-1].name}" if files else ""
        return Members(files, others, f"is damaged or cut short{after} ({error})")
    return Members(files, others, _fault_at_end(file, end, size, files))


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "a link in a tar"
    return "a file with holes in a tar" if info.issparse() else "a device or pipe in a tar"


def _fault_at_end(file: BinaryIO, end: int, size: int, files: list[Member]) -> str:
    """Tell whether the archive ends as it should: tarfile stops at damage in silence."""
    file.seek(end)
    block = file.read(_BLOCK)
    after = f" after {files[-1].name}" if files else ""
    if len(block) < _BLOCK:
        return f"is cut short{after}: it has no end mark"
    if any(block):
        return f"is damaged{after}, at byte {end}"
    # Writers fill up with zeros; another tar stands here where two were put into one file.
    more = file.read(_LARGEST_HEADER).strip(b"\0")
    return f"goes on behind its end mark{after}, as joined tars do" if more else ""


class _Bounded(io.RawIOBase):
    """A file of which headers are read, and nothing before what was read already."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._farthest = file, 0
        self.allow()

    def allow(self) -> None:
        """Let the next header be read, which newer tarfiles read in many small parts."""
        self._left = _LARGEST_HEADER

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._left:
            raise tarfile.ReadError(f"a header of more than {_LARGEST_HEADER} bytes")
        content = self._file.read(size)
        self._left -= len(content)
        self._farthest = max(self._farthest, self._file.tell())
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        # One that leads back would be read for ever.
        if whence or offset < self._farthest - _BLOCK:
            raise tarfile.ReadError("a header that leads back")
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()
