"""Images of 16 bits a value: eight of them are kept, so a picture must use the upper ones."""

import io

import numpy as np

from ...core.errors import ImageError
from .libraries import load_opencv, load_pillow

# What 12 bits hold. As 16 bits it is a sixteenth of full brightness: next to black.
LARGEST_OF_TWELVE_BITS = 4095
# After the reduction to 8 bits, which OpenCV rounds for TIFF.
_NEARLY_BLACK = 16
# Kinds of PNG that may have a transparent colour: grey, and RGB.
_WITH_KEY = (0, 2)
_BITS_PER_SAMPLE, _PHOTOMETRIC, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 0x0102, 0x0106, 0x0152, 0x0153
# Of a photograph's negative, and of inks, large numbers are dark.
_WHITE_IS_ZERO, _INKS = 0, 5
_DARK = (_WHITE_IS_ZERO, _INKS)
_PREMULTIPLIED = 1
# What the numbers of a TIFF are, where they are not unsigned.
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


def require_unsigned(header) -> None:
    """Refuse a TIFF of signed, floating-point or large numbers: how bright they are nobody says."""
    if header.format != "TIFF":
        return
    for kind in _numbers(header, _SAMPLE_FORMAT):
        if kind in _FORMATS:
            raise ImageError(
                f"a TIFF of {_FORMATS[kind]} numbers, whose brightness nobody knows: save it with "
                "unsigned numbers of 8 or 16 bits"
            )
    if max(_numbers(header, _BITS_PER_SAMPLE)) > 16:
        raise ImageError(
            "a TIFF of numbers of more than 16 bits, whose brightness nobody knows: save it with "
            "8 or 16 bits"
        )


def _numbers(header, tag: int) -> tuple:
    stated = header.tag_v2.get(tag, 1)
    return stated if isinstance(stated, tuple) else (stated,)


def upper_eight_bits(values: np.ndarray, image) -> np.ndarray:
    """Return a grey image of 12 or 16 bits with eight, dark where it is dark."""
    if image.format != "TIFF":
        return (values >> 8).astype(np.uint8)
    upper = (values >> (_numbers(image, _BITS_PER_SAMPLE)[0] - 8)).astype(np.uint8)
    # Pillow leaves these as they are stored.
    return ~upper if _numbers(image, _PHOTOMETRIC)[0] == _WHITE_IS_ZERO else upper


def require_own_colours(image) -> None:
    """Refuse a TIFF whose colours were multiplied by its alpha, which is 0 everywhere."""
    if image.format == "TIFF" and _PREMULTIPLIED in _numbers(image, _EXTRA_SAMPLES):
        raise ImageError(
            "a TIFF whose alpha is 0 everywhere, and by which its colours were multiplied: save it "
            "without alpha"
        )


def require_upper_bits(content: bytes, header, brightest: int) -> None:
    """Refuse an image of 16 bits whose values stop at 8 or 12 bits.

    Cameras and programs store such numbers as they are; read as 16 bits they are black. By how
    much to scale them only their owner knows.

    Parameters
    ----------
    brightest : int
        Largest value of what became of it, in 8 bits; a bright picture needs no second look.
    """
    if not _is_of_sixteen_bits(content, header):
        return
    inverted = header.format == "TIFF" and _numbers(header, _PHOTOMETRIC)[0] in _DARK
    if brightest > _NEARLY_BLACK and not inverted:
        return
    # Of a PNG the upper eight bits were kept as they are, of a TIFF rounded ones.
    if header.format == "PNG" and brightest:
        largest = 256 * brightest + 255
    else:
        largest = _largest_colour(content, header)
    if 0 < largest <= LARGEST_OF_TWELVE_BITS:
        shade = "white" if inverted else "black"
        bits = next(bits for bits in (8, 10, 12) if largest < 2**bits)
        raise ImageError(
            f"an image of 16 bits whose values stop below {2**bits}, so it would be {shade}: "
            f"it holds {bits} bits; multiply its values by {65535 // (2**bits - 1)} first"
        )


def _is_of_sixteen_bits(content: bytes, header) -> bool:
    if header.format == "PNG":
        return content[24:25] == b"\x10"
    if header.format == "TIFF":
        return 16 in _numbers(header, _BITS_PER_SAMPLE)
    return False


def _largest_colour(content: bytes, header) -> int:
    if header.format == "PNG":
        return _largest_lower_half(content)
    if header.mode.startswith("I;16"):
        with load_pillow().open(io.BytesIO(content), formats=(header.format,)) as image:
            return int(np.asarray(image).max(initial=0))
    if header.mode == "CMYK":
        with load_pillow().open(io.BytesIO(content), formats=(header.format,)) as image:
            upper = max(high for _, high in image.getextrema())
        return 256 * upper + 255 if upper else 0
    cv2 = load_opencv()
    kept = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR  # without alpha
    raw = cv2.imdecode(np.frombuffer(content, np.uint8), kept)
    if raw is None or raw.dtype != np.uint16:
        return 0
    return int(raw.max(initial=0))


def _largest_lower_half(content: bytes) -> int:
    """Return the largest lower byte of the colours of a PNG of 16 bits."""
    with load_pillow().open(io.BytesIO(content), formats=("PNG",)) as image:
        if image.mode.startswith("I;16"):
            return int((np.asarray(image) & 255).max(initial=0))
        # Of grey with alpha Pillow knows no other order: its bytes are taken for four channels.
        grey = _take_lower_half(image) == "LA;16B"
        colours = image.getextrema()
        return colours[1][1] if grey else max(high for _, high in colours[:3])


def _take_lower_half(image) -> str:
    """Have Pillow keep the lower bytes, in place of the upper ones, and return what it had meant.

    It is told another order of them.
    """
    (kind, box, at, raw), *_ = image.tile
    image.tile = [(kind, box, at, "RGBA" if raw == "LA;16B" else raw.replace(";16B", ";16L"))]
    return raw


def with_key_as_alpha(content: bytes, image):
    """Return a PNG, one colour of which is transparent, with alpha where that colour is.

    Pillow compares eight bits with what the file says of two, four or sixteen.
    """
    key, bits = image.info.get("transparency"), content[24]
    if key is None or bits == 8 or content[25] not in _WITH_KEY:
        return image
    if bits < 8:
        largest = 2**bits - 1
        image.info["transparency"] = key if image.mode == "1" else key * (255 // largest)
        return image
    upper, lower = np.asarray(image), None
    if image.mode == "RGB":
        with load_pillow().open(io.BytesIO(content), formats=("PNG",)) as again:
            _take_lower_half(again)
            lower = np.asarray(again)
        keyed = (upper == [one >> 8 for one in key]) & (lower == [one & 255 for one in key])
        keyed = keyed.all(axis=2)
    else:
        keyed = upper == key
        upper = (upper >> 8).astype(np.uint8)
    alpha = np.where(keyed, 0, 255).astype(np.uint8)
    return load_pillow().fromarray(np.dstack([upper, alpha]))
