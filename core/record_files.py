"""The images of an MXNet RecordIO file, found without their bytes being read.

A record is a magic number, a word with its length and its place among split records, and the
content, filled up to four bytes; an image's has a header of 24 bytes: the count of labels (0 for
one), that label, and two ids (MXNet, ``python/mxnet/recordio.py``).
"""

import dataclasses
import struct
from typing import BinaryIO

_MAGIC, _WORDS, _HEADER = 0xCED7230A, struct.Struct("<II"), struct.Struct("<IfQQ")
_MOST_LABELS = 2**16


@dataclasses.dataclass(frozen=True)
class Record:
    """An image of a record file: its number, its labels, and where its bytes are."""

    number: int
    labels: tuple[float, ...]
    start: int
    size: int


def list_records(file: BinaryIO, size: int) -> tuple[list[Record], int, str]:
    """List the images of a record file of `size` bytes.

    Returns
    -------
    records : list of Record
    split : int
        How many records lie in several parts, which happens where an image's bytes hold the
        magic number; they are left out.
    fault : str
        Why the file ends before its end; empty if it does not.
    """
    records: list[Record] = []
    at = split = 0
    while at < size:
        file.seek(at)
        head = file.read(_WORDS.size)
        magic, word = _WORDS.unpack(head) if len(head) == _WORDS.size else (0, 0)
        if magic != _MAGIC:
            return records, split, f"is damaged at byte {at}"
        kind, length = word >> 29, word & (2**29 - 1)
        start = at + _WORDS.size
        if start + length > size or (kind == 0 and length < _HEADER.size):
            return records, split, f"is cut short at byte {at}"
        if kind == 0:
            count, label, number, _ = _HEADER.unpack(file.read(_HEADER.size))
            labels = (label,)
            if count:
                if 4 * count > length - _HEADER.size or count > _MOST_LABELS:
                    return records, split, f"is damaged at byte {at}"
                labels = struct.unpack(f"<{count}f", file.read(4 * count))
            begin = _HEADER.size + 4 * count
            records.append(Record(number, labels, start + begin, length - begin))
        elif kind == 1:
            split += 1
        at = start + -(-length // 4) * 4
    return records, split, ""
