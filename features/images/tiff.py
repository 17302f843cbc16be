"""The directories of a TIFF file: whether it has more pages, and whether a camera wrote it raw.

Raw images are TIFF files to a reader that does not know better, and it shows the thumbnail.
"""

import struct
from typing import NamedTuple

_SUBFILE, _PHOTOMETRIC, _MAKE, _INSIDE, _DNG = 0x00FE, 0x0106, 0x010F, 0x014A, 0xC612
# NewSubfileType: a smaller copy of another picture of the file.
_SMALLER = 1
# Colour filter array, and linear raw.
_RAW = frozenset({32803, 34892})
_MOST_DIRECTORIES, _MOST_ENTRIES = 16, 4096
# Numbers of two, four or eight bytes; all else is read byte by byte.
_TYPES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_VALUES = 64
_MARKS = (
    (8, b"CR\2", "Canon, CR2"),
    (4, b"ftypcrx", "Canon, CR3"),
    (6, b"HEAPCCDR", "Canon, CRW"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm, RAF"),
    (0, b"IIRO", "Olympus, ORF"),
    (0, b"IIRS", "Olympus, ORF"),
    (0, b"MMOR", "Olympus, ORF"),
    (0, b"IIU\0", "Panasonic, RW2"),
    (0, b"\0MRM", "Minolta, MRW"),
    (0, b"FOVb", "Sigma, X3F"),
    (8, b"IIII", "Phase One, IIQ"),
)
_REMEDY = "develop it to JPEG or TIFF, or take the JPEG that the camera wrote beside it"


class _Layout(NamedTuple):
    """How numbers lie in a classic or a big TIFF: formats of `struct`, and sizes."""

    order: str
    number: str
    entry: str
    offset: str


class _Directory(NamedTuple):
    """What is looked at of a directory: values by tag, and where the next one begins."""

    values: dict[int, tuple]
    next: int


def describe_raw(content: bytes) -> str:
    """Say that a file is a camera's raw image and what to do; an empty text if it is none."""
    kind = next((name for at, mark, name in _MARKS if content.startswith(mark, at)), "")
    kind = kind or _raw_in_tiff(content)
    return f"a camera's raw image ({kind}): {_REMEDY}" if kind else ""


def has_more_pages(content: bytes) -> bool:
    """Tell whether a TIFF holds a second page, and not only a smaller copy of the first."""
    return any(not _is_smaller(page) for page in _chain(content, _first(content))[1:])


def lacks_its_directory(content: bytes) -> bool:
    """Tell whether a TIFF ends before its first directory does: many programs write it last."""
    first = _first(content)
    return first > 0 and not _chain(content, first)


def begins_with_thumbnail(content: bytes) -> bool:
    """Tell whether the first page of a TIFF is a smaller copy of a later one."""
    first, *others = _chain(content, _first(content)) or [_Directory({}, 0)]
    return _is_smaller(first) and not all(map(_is_smaller, others))


def _raw_in_tiff(content: bytes) -> str:
    pages = _chain(content, _first(content))
    if not pages:
        return ""
    first = pages[0].values
    make = (
        bytes(byte & 255 for byte in first.get(_MAKE, ()))
        .split(b"\0")[0]
        .decode("ascii", "replace")
        .strip()
    )
    if _DNG in first:
        return f"DNG, {make}" if make else "DNG"
    inside = [_chain(content, at) for page in pages for at in page.values.get(_INSIDE, ())[:4]]
    # The first picture of a Nikon or Sony file is its thumbnail.
    thumbnail = _is_smaller(pages[0]) and _INSIDE in first
    if thumbnail or any(_is_raw(one) for chain in (pages, *inside) for one in chain):
        return make or "of an unknown make"
    return ""


def _is_smaller(directory: _Directory) -> bool:
    return bool(directory.values.get(_SUBFILE, (0,))[0] & _SMALLER)


def _is_raw(directory: _Directory) -> bool:
    return directory.values.get(_PHOTOMETRIC, (0,))[0] in _RAW


def _layout(content: bytes) -> _Layout | None:
    if content[:4] in (b"II*\0", b"MM\0*"):
        return _Layout("<" if content[:1] == b"I" else ">", "H", "HHI4s", "I")
    if content[:4] in (b"II+\0", b"MM\0+"):
        return _Layout("<" if content[:1] == b"I" else ">", "Q", "HHQ8s", "Q")
    return None


def _first(content: bytes) -> int:
    layout = _layout(content)
    if layout is None:
        return 0
    return _unpack(content, layout.order + layout.offset, 4 if layout.offset == "I" else 8)[0]


def _chain(content: bytes, at: int) -> list[_Directory]:
    """Read directories one after the other; damage ends them, for the decoder to name."""
    layout, seen = _layout(content), set()
    found: list[_Directory] = []
    while layout and at and at not in seen and len(found) < _MOST_DIRECTORIES:
        seen.add(at)
        try:
            found.append(_directory(content, layout, at))
        except (struct.error, OverflowError):
            break
        at = found[-1].next
    return found


def _directory(content: bytes, layout: _Layout, at: int) -> _Directory:
    entry = struct.Struct(layout.order + layout.entry)
    count = struct.unpack_from(layout.order + layout.number, content, at)[0]
    at += struct.calcsize(layout.order + layout.number)
    values = {}
    for number in range(min(count, _MOST_ENTRIES)):
        tag, kind, length, place = entry.unpack_from(content, at + number * entry.size)
        if tag in (_SUBFILE, _PHOTOMETRIC, _MAKE, _INSIDE, _DNG):
            values[tag] = _values(content, layout, (kind, length, place))
    end = at + count * entry.size
    return _Directory(values, _unpack(content, layout.order + layout.offset, end)[0])


def _values(content: bytes, layout: _Layout, entry: tuple[int, int, bytes]) -> tuple:
    kind, length, place = entry
    form = f"{layout.order}{min(length, _MOST_VALUES)}{_TYPES.get(kind, 'B')}"
    if struct.calcsize(form) > len(place):
        at = struct.unpack(layout.order + layout.offset, place)[0]
        return struct.unpack_from(form, content, at)
    return struct.unpack_from(form, place) or (0,)


def _unpack(content: bytes, form: str, at: int) -> tuple:
    """Unpack numbers; zeros where the file ends before."""
    if at + struct.calcsize(form) > len(content):
        return (0,)
    return struct.unpack_from(form, content, at)
