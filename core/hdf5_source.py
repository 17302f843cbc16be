"""The bytes of an HDF5 file, as the library asks for them."""

import re
import struct
from typing import Any

from .regular_files import RegularFile

# Texts of any length lie in collections, which begin so; the last number is their version.
_COLLECTION = b"GCOL\1\0\0\0"
_SIZES = struct.Struct("<HHIQ")
# B-trees, heaps and other lists, by which parts of a file are found; what begins so has one of the
# first numbers of versions next. The library reads each by itself, and believes what it says.
_LISTS = re.compile(
    rb"(?:BTHD|BTIN|BTLF|FRHP|FHIB|FHDB|FSHD|FSSE|FAHD|FADB|EAHD|EAIB|EASB|EADB|SMTB|SMLI"
    rb"|TREE|SNOD|HEAP)[\0-\2]"
)
# Larger reads are of numbers, not of what the library keeps of a file.
_LARGEST_LOOKED_AT, _LARGEST_COLLECTION = 1 << 20, 1 << 24


class Hdf5Source:
    """A file for HDF5, which takes it that a read gives all the bytes it asked for.

    A collection of texts with an object of no size is refused: the library would look for the
    next one at the same place for ever.

    Parameters
    ----------
    plain : RegularFile
    lists : bool
        Whether it may have B-trees, heaps and other lists of its parts.
    """

    def __init__(self, plain: RegularFile, lists: bool = True) -> None:
        self._lists = lists
        self.seek, self.tell, self.flush = plain.seek, plain.tell, plain.flush
        self.read, self._plain = plain.read, plain

    def readinto(self, buffer: Any) -> None:
        """Fill `buffer`."""
        whole = memoryview(buffer).cast("B")
        start, view = self.tell(), whole
        while len(view):
            count = self._plain.readinto(view)
            if not count:
                raise OSError("it is cut short")
            view = view[count:]
        if not self._lists and _LISTS.match(whole[:5]):
            raise OSError("it holds lists of its parts, which are not used here")
        if len(whole) <= _LARGEST_LOOKED_AT:
            content = bytes(whole)
            at = content.find(_COLLECTION)
            while at >= 0:
                self._require_sound(start + at)
                at = content.find(_COLLECTION, at + 1)
            self.seek(start + len(content))

    def _require_sound(self, place: int) -> None:
        self.seek(place)
        head = self.read(_SIZES.size)
        size = _SIZES.unpack(head)[3] if len(head) == _SIZES.size else 0
        # The size counts the head; what follows are other parts of the file, of any content.
        content = self.read(min(max(0, size - len(head)), _LARGEST_COLLECTION))
        at = 0
        while at + _SIZES.size <= len(content):
            index, _, _, length = _SIZES.unpack_from(content, at)
            # What is free has the number 0, and counts its own head.
            step = length if index == 0 else _SIZES.size + -(-length // 8) * 8
            if step < _SIZES.size:
                raise OSError("a collection of texts in it is damaged")
            at += step
