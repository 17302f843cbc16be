"""The images of an MXNet RecordIO file, found without their bytes being read.

A record is a magic number, a word with its length and its place among split records, and the
content, filled up to four bytes; an image's has a header of 24 bytes: the count of labels (0 for
one), that label, and two ids (MXNet, ``python/mxnet/recordio.py``).
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO

from .content import describe_content, remedy_for

_MAGIC, _WORDS, _HEADER = 0xCED7230A, struct.Struct("<II"), struct.Struct("<IfQQ")
_MOST_LABELS = 2**16
_LOOKED_AT = 64


@dataclasses.dataclass(frozen=True)
class Record:
    """An image of a record file: its number, its labels, and where its bytes are."""

    number: int
    labels: tuple[float, ...]
    start: int
    size: int


class Records:
    """The images of a record file of `size` bytes, in their order.

    While one is looked at, `file` is where its bytes begin.

    Attributes
    ----------
    split : int
        How many records lie in several parts, which happens where an image's bytes hold the
        magic number; they are left out.
    fault : str
        Why the file ends before its end, when it has ended; empty if it does not.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.split, self.fault = 0, ""

    def __iter__(self) -> Iterator[Record]:
        """Read the headers."""
        file, at = self._file, 0
        while at < self._size:
            file.seek(at)
            head = file.read(_WORDS.size)
            magic, word = _WORDS.unpack(head) if len(head) == _WORDS.size else (0, 0)
            # Whole, or the first, one in the middle or the last of several parts.
            if magic != _MAGIC or word >> 29 > 3:
                self.fault = f"is damaged at byte {at}"
                if at == 0:
                    self._name_kind()
                return
            kind, length = word >> 29, word & (2**29 - 1)
            start = at + _WORDS.size
            if start + length > self._size or (kind == 0 and length < _HEADER.size):
                self.fault = f"is cut short at byte {at}"
                return
            if kind == 0:
                record = self._record(start, length)
                if record is None:
                    self.fault = f"is damaged at byte {at}"
                    return
                yield record
            elif kind == 1:
                self.split += 1
            at = start + -(-length // 4) * 4

    def _name_kind(self) -> None:
        """Say what the file is, where it is of another kind."""
        self._file.seek(0)
        if kind := describe_content(self._file.read(_LOOKED_AT)):
            self.fault = f"is {kind}: {remedy_for(kind, 'no record file')}"

    def _record(self, start: int, length: int) -> Record | None:
        """Read the header of a record; None if it is damaged."""
        try:
            count, label, number, _ = _HEADER.unpack(self._file.read(_HEADER.size))
            labels = (label,)
            if count:
                if 4 * count > length - _HEADER.size or count > _MOST_LABELS:
                    return None
                labels = struct.unpack(f"<{count}f", self._file.read(4 * count))
        except struct.error:  # It became shorter since it was looked at.
            return None
        begin = _HEADER.size + 4 * count
        return Record(number, labels, start + begin, length - begin)
