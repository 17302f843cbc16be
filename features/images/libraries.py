"""OpenCV and Pillow, loaded when they are first needed."""

import contextlib
import functools
import os

import numpy as np

from ...core.imports import load, missing_dependency, quieten_pillow, warn_if_newer

NEWEST_OPENCV, NEWEST_NUMPY = 5, 2
# 179 million pixels, the limit at which Pillow refuses too: half a gigabyte of RGB.
LARGEST_IMAGE = 178_956_970


@functools.cache
def load_opencv():
    """Import OpenCV, or say which system library or package is missing."""
    # A second check of sizes, for headers that OpenCV and Pillow read differently.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(LARGEST_IMAGE))
    cv2 = load("cv2")
    warn_if_newer("OpenCV", cv2.__version__, NEWEST_OPENCV)
    # Parallelism comes from decoding many images at once.
    cv2.setNumThreads(0)
    # What is wrong with a file is said once, by us. Version 5 has the switch in another place.
    for place in (cv2, getattr(cv2.utils, "logging", None)):
        if hasattr(place, "setLogLevel"):
            place.setLogLevel(0)
    return cv2


# Twice of what glibc takes from a heap at most.
_BLOCK = 2**26


def load_pillow():
    """Import Pillow's Image module, or say what to install."""
    try:
        from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

        Image.preinit()
    except ImportError as error:
        raise missing_dependency("PIL", error) from error
    with contextlib.suppress(ImportError):  # Since Pillow 11.3.
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    quieten_pillow()
    # GluonCV turns this on when it is imported; what is missing of a file would become grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    # Smaller pieces of an image stay in the heap of each thread that has decoded a large one.
    Image.core.set_block_size(_BLOCK)
    # Its own reader of TIFFs without compression mixes planes of 16 bits up.
    TiffImagePlugin.READ_LIBTIFF = True
    # A PNG may carry more than a megabyte of text or colour profile; all of it stays bounded.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    return Image


@functools.cache
def load_simplejpeg():
    """Import simplejpeg (libjpeg-turbo), or say what to install."""
    return load("simplejpeg")


@functools.cache
def load_pi_heif():
    """Import pi-heif (libheif), or say what to install."""
    pi_heif = load("pi_heif")
    # Parallelism comes from decoding many images at once.
    pi_heif.options.DECODE_THREADS = 1
    return pi_heif


def load_decoders() -> None:
    """Load what every folder of images needs, or say what the first that does not load needs."""
    warn_if_newer("NumPy", np.__version__, NEWEST_NUMPY)
    load_opencv()
    load_pillow()
    load_simplejpeg()
