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
# As its decoders call themselves: LZWDecode, Fax3Decode2D, ..., and what reads their
# bytes; some take the name that Pillow gives to every file.
_NAMELESS = b"tempfile.tif"
_NOT_BUILT = b"support is not configured"
_DECODER = re.compile(rb"\w*Decode\w*$|TIFFFill(Strip|Tile)\w*$|JPEGLib$|tempfile\.tif$")


# One for the process, and never freed: libtiff keeps its address. Warnings cannot be heard, for
# Pillow turns them off whenever it decodes.
@_HANDLER
def _hear(module: bytes | None, text: bytes | None, _values: int | None) -> None:
    name = module or b""
    # Of a compression that it was built without, nothing was decoded.
    if _DECODER.match(name) and _NOT_BUILT not in (text or b""):
        _heard.decoder = "a decoder" if name == _NAMELESS else name.decode("ascii", "replace")[:60]


@contextlib.contextmanager
def heeding_libtiff() -> Iterator[None]:
    """Raise at the end what a decoder of libtiff complained of in this thread.

    Complaints of its reader of directories are about tags, or about a page that is not
    decoded: they are dropped.

    Raises
    ------
    ImageError
        A strip could not be decoded, or not in full.
    """
    _listen()
    _heard.decoder = ""
    try:
        yield
    except OSError as error:
        # All that Pillow tells of it.
        if not str(error).startswith("decoder error"):
            raise
        if not _heard.decoder:
            raise ImageError(
                "the TIFF file is of a rare kind, or its directory damaged (libtiff cannot read "
                "its pixels): save it again with another program, without compression"
            ) from error
    if _heard.decoder:
        raise ImageError(
            f"the TIFF file is damaged, and part of its picture missing ({_heard.decoder} of "
            "libtiff)"
        )


@functools.cache
def _listen() -> None:
    """Have libtiff call us; its handler is one for the process."""
    library = load_pillow().core.__file__
    # Where libtiff is built into Pillow (on Windows), it cannot be reached.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(library).TIFFSetErrorHandler(_hear)
