"""JPEG files -> pixels, by libjpeg-turbo; a file of which pixels are missing is refused.

libjpeg fills what is missing with grey and warns. Here every warning counts, but for
those that leave the picture whole.
"""

import contextlib
import re

import numpy as np

from ...core.errors import ImageError
from .jpeg import MARK, fault_of_scans, has_an_end
from .libraries import load_opencv, load_simplejpeg
from .overheard import overheard

# Of the header, or of tables that name a colour space: no pixel hangs on them.
_HARMLESS = re.compile(
    "Invalid SOS parameters|unknown JFIF revision|Unknown Adobe color|bad ICC marker"
)
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker")
# Of samplings that are none of the usual; OpenCV knows them.
UNKNOWN_SAMPLING = re.compile("Could not determine subsampling")
# How its warnings and errors begin that OpenCV lets it write to the terminal.
_SAID_BY_LIBJPEG = re.compile(
    rb"^(Corrupt JPEG|Premature end|Warning: |Invalid |Unsupported |Unknown |Inconsistent |"
    rb"Bogus |Application transferred|.*JPEG|.*[Mm]arker|.*Huffman|.*DCT)"
)
# A few bytes too many before the end mark are a habit of some cameras.
_FEW = 4
_SCAN, _END = 0xDA, 0xD9
# Encoders write up to ten scans, and each may have a thumbnail's; libjpeg takes 7 ns a pixel.
_SCANS, _MOST_SCANNED = 16, 10**9
# APP0 to APP15 and comments.
_NOT_PIXELS = frozenset({*range(0xE0, 0xF0), 0xFE})
_SEQUENTIAL = frozenset({0xC0, 0xC1})


def decode_jpeg(content: bytes, size: tuple[int, int], reduction: int = 1) -> np.ndarray | None:
    """Decode a JPEG as it lies in the file; its orientation is not applied.

    Every bit of the scan is read at any scale, so the same damage is found.

    Parameters
    ----------
    size : tuple of int
        Its width and height, by its head.
    reduction : {1, 2, 4, 8}
        Divides both sides; they are rounded up.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3), or None
        RGB; None where no decoder knows its kind.

    Raises
    ------
    ImageError
        The file is cut short, or its scan is damaged.
    """
    require_few_scans(content, size)
    if fault := fault_of_scans(content):
        raise _damaged(f"Corrupt JPEG data: {fault}")
    # libjpeg's smallest scale of which no side is shorter than this.
    least = {} if reduction == 1 else _least(size, reduction)
    try:
        return load_simplejpeg().decode_jpeg(content, "RGB", strict=True, **least)
    except ValueError as error:
        said = str(error)
    reason = "" if UNKNOWN_SAMPLING.search(said) else _reason_to_refuse(content, said, least)
    if reason:
        raise _damaged(reason)
    if not has_an_end(content):
        raise ImageError("the JPEG file is cut short")
    # OpenCV would write the harmless warning to the terminal; some stop even the lenient one.
    for data in (content,) if b"Adobe" in content else (content, _pixels_alone(content)):
        with contextlib.suppress(ValueError):
            return load_simplejpeg().decode_jpeg(data, "RGB", strict=False, **least)
    return _by_opencv(content, reduction)


def require_few_scans(content: bytes, size: tuple[int, int]) -> None:
    """Refuse a progressive JPEG that goes over a large picture again and again, for minutes."""
    # Of a photograph's 1.7 MB bytes.count would take 1.5 ms, a tenth of the decoding; this 0.3.
    there = np.frombuffer(content, np.uint8)
    scans = int(np.count_nonzero((there[:-1] == 0xFF) & (there[1:] == _SCAN)))
    if scans > _SCANS and scans * size[0] * size[1] > _MOST_SCANNED:
        raise ImageError(
            f"the JPEG has {scans} scans of {size[0]} x {size[1]} pixels, which would take minutes"
        )


def _least(size: tuple[int, int], reduction: int) -> dict[str, int]:
    width, height = (-(-side // reduction) for side in size)
    return {"min_width": width, "min_height": height}


def _reason_to_refuse(content: bytes, said: str, least: dict[str, int]) -> str:
    """Return a warning that is about the picture; an empty text if all are about something else.

    libjpeg tells its first warning only, so what gave rise to a harmless one is taken away, and
    the rest decoded again.
    """
    if not (_HARMLESS.search(said) or _EXTRANEOUS.search(said)):
        return said
    try:
        load_simplejpeg().decode_jpeg(_pixels_alone(content), "RGB", strict=True, **least)
    except ValueError as error:
        return "" if _is_harmless(str(error)) else str(error)
    return ""


def _pixels_alone(content: bytes) -> bytes:
    """Return the tables, the frame and the scans of a JPEG, without anything in between.

    Nothing is taken away where a scan that lost its mark may stand in between.
    """
    parts, at, sequential, scan = [b"\xff\xd8"], 2, False, 0
    while mark := MARK.search(content, at):
        kind = mark[1][0]
        if scan:
            parts.append(_without_padding(content[scan : mark.start()]))
        elif len(content[at : mark.start()].strip(b"\0\xff")) > _FEW:
            return content
        if kind == _END:
            return b"".join([*parts, b"\xff\xd9"])
        at = mark.end() + int.from_bytes(content[mark.end() : mark.end() + 2], "big")
        segment = content[mark.start() : at]
        sequential |= kind in _SEQUENTIAL
        scan = at if kind == _SCAN else 0
        if kind == _SCAN and sequential:
            segment = segment[:-3] + b"\0\x3f\0"
        if kind not in _NOT_PIXELS:
            parts.append(segment)
    return content


def _without_padding(scan: bytes) -> bytes:
    """Cut the zeros off the end of a scan's data, but for the one of an escaped byte."""
    data = scan.rstrip(b"\0")
    return data + b"\0" if data != scan and data.endswith(b"\xff") else data


def _damaged(said: str) -> ImageError:
    if said.startswith("Premature end of JPEG file"):
        return ImageError("the JPEG file is cut short")
    reason = said.removeprefix("Corrupt JPEG data: ")
    if reason == said:
        return ImageError(f"cannot be decoded as JPEG ({said})")
    return ImageError(f"the JPEG is damaged, and part of its picture missing ({reason})")


def _by_opencv(content: bytes, reduction: int) -> np.ndarray | None:
    """Decode what libjpeg-turbo's own interface stops at: unusual samplings."""
    cv2 = load_opencv()
    colour = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduction]
    try:
        with overheard(_SAID_BY_LIBJPEG) as said:
            image = cv2.imdecode(
                np.frombuffer(content, np.uint8), colour | cv2.IMREAD_IGNORE_ORIENTATION
            )
    except cv2.error as error:
        raise ImageError(f"cannot be decoded as JPEG ({error.err or 'OpenCV failed'})") from error
    for line in said:
        if not _is_harmless(line):
            raise _damaged(line)
    # Not every version takes IMREAD_COLOR_RGB together with a scale.
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _is_harmless(said: str) -> bool:
    """Tell whether libjpeg warns of something that leaves the picture whole."""
    few = _EXTRANEOUS.search(said)
    return bool(_HARMLESS.search(said)) or (few is not None and int(few[1]) <= _FEW)
