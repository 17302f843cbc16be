"""Errors of libtiff's decoders, which go to the terminal while Pillow goes on."""

import contextlib
import ctypes
import functools
import re
import threading
from collections.abc import Iterator

from ...core.errors import ImageError
from .libraries import load_pillow

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_heard = threading.local()
# As its decoders call themselves: LZWDecode, Fax3Decode2D, PackBitsDecode, ...
_DECODER = re.compile(r"\w*Decode\w*$")
# Those of faxes only warn of a line, or a page, that is cut short.
_FAX_DECODER = re.compile(r"Fax\w*Decode\w*$")


@contextlib.contextmanager
def heeding_libtiff() -> Iterator[None]:
    """Raise at the end what a decoder of libtiff complained of in this thread.

    Complaints of its reader of directories are about tags, or about a page that is not
    decoded: they are dropped.

    Raises
    ------
    ImageError
        A strip could not be decoded in full.
    """
    _listen()
    _heard.names = []
    yield
    failed = [name for name in _heard.names if _DECODER.match(name)]
    if failed:
        raise ImageError(
            f"the TIFF file is damaged, and part of its picture missing ({failed[0]} of libtiff)"
        )


@functools.cache
def _listen() -> object:
    """Have libtiff call us; its handlers are two for the process."""
    library = load_pillow().core.__file__
    handlers = _HANDLER(_hear), _HANDLER(_hear_warning)
    # Where libtiff is built into Pillow (on Windows), it cannot be reached.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(library).TIFFSetErrorHandler(handlers[0])
        ctypes.CDLL(library).TIFFSetWarningHandler(handlers[1])
    return handlers  # kept: libtiff holds their addresses


def _hear_warning(module: bytes | None, text: bytes | None, values: int | None) -> None:
    if _FAX_DECODER.match((module or b"").decode("ascii", "replace")):
        _hear(module, text, values)


def _hear(module: bytes | None, _text: bytes | None, _values: int | None) -> None:
    if not hasattr(_heard, "names"):
        _heard.names = []
    _heard.names.append((module or b"").decode("ascii", "replace")[:60])
