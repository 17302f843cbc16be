"""The files in a tar, found without anything being extracted.

The archive comes from a stranger: its headers are read by Python's tarfile, which is given no
more than a header may have; links, devices and files with holes are named and not followed.
"""

import dataclasses
import io
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from .content import describe_content, remedy_for

# Long names and other extensions of a header; nothing else is read.
_LARGEST_HEADER = 2**20
_BLOCK = 512
# A tar begins with the name of a file, which may begin as other kinds do.
_MARK, _AT = b"ustar", 257


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in a tar: its name, and where its bytes begin and how many they are."""

    name: str
    start: int
    size: int


class TarFiles:
    """The files in a tar of `size` bytes, in their order; what lies before damage comes.

    While one is looked at, `file` is where its bytes begin.

    Attributes
    ----------
    others : list of (str, str)
        What is neither file nor folder, each with what it is, as far as the tar was read.
    fault : str
        Why the archive ends before its end, when it has ended; empty if it does not.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.others: list[tuple[str, str]] = []
        self.fault = self._last = ""

    def __iter__(self) -> Iterator[Member]:
        """Read the headers."""
        head = self._file.read(_BLOCK)
        self._file.seek(0)
        if not head.startswith(_MARK, _AT) and (kind := describe_content(head)):
            remedy = remedy_for(kind, "no tar")
            self.fault = f"is {kind}: {remedy}"
            return
        try:
            yield from self._members(_Bounded(self._file))
        except RecursionError:
            self.fault = f"is damaged{self._last} (headers of headers, and no file behind them)"
        except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
            # What a store says has its own words.
            if isinstance(error, OSError) and not isinstance(error, tarfile.TarError):
                raise
            self.fault = f"is damaged or cut short{self._last} ({error})"

    def _members(self, bounded: "_Bounded") -> Iterator[Member]:
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            for info in archive:
                bounded.allow()
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                at, length = info.offset_data, info.size
                if length < 0 or at + length > self._size:
                    self.fault = f"is cut short in {info.name}"
                    return
                if info.isreg() and not info.issparse():
                    self._file.seek(at)
                    yield Member(info.name, at, length)
                    self._last = f" after {info.name}"
                elif not info.isdir():
                    self.others.append((info.name, _kind(info)))
            end = archive.offset
        self.fault = self._fault_at_end(end)

    def _fault_at_end(self, end: int) -> str:
        """Tell whether the archive ends as it should: tarfile stops at damage in silence."""
        self._file.seek(end)
        block = self._file.read(_BLOCK)
        if len(block) < _BLOCK:
            return f"is cut short{self._last}: it has no end mark"
        if any(block):
            return f"is damaged{self._last}, at byte {end}"
        # Writers fill up with zeros; another tar stands here where two were put into one file.
        more = self._file.read(_LARGEST_HEADER).strip(b"\0")
        return f"goes on behind its end mark{self._last}, as joined tars do" if more else ""


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "a link in a tar"
    return "a file with holes in a tar" if info.issparse() else "a device or pipe in a tar"


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
