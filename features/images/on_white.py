"""The colours of a decoded picture, on white where it is transparent."""

import numpy as np

from .deep import require_own_colours, upper_eight_bits
from .libraries import load_pillow

# Rows that are blended with white at a time.
_BAND = 512
MODES_WITH_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})


def colours_on_white(image) -> tuple[np.ndarray, int]:
    """Return the colours of Pillow's image on white, and the largest number in them before that.

    Raises
    ------
    ImageError
        Alpha is 0 everywhere, and the colours were multiplied by it.
    """
    has_alpha = image.mode in MODES_WITH_ALPHA or "transparency" in image.info
    # Programs that know no alpha write 0 there: whoever opens the file sees its colours.
    on_white = has_alpha and any(
        band.getextrema()[3] != (0, 0) for _, band in _bands(image, "RGBA")
    )
    if has_alpha and not on_white:
        require_own_colours(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    brightest = 0
    for top, band in _bands(image, "RGBA" if has_alpha else "RGB"):
        brightest = max(brightest, *(high for _, high in band.getextrema()[:3]))
        if on_white:
            white = load_pillow().new("RGBA", band.size, "white")
            band = load_pillow().alpha_composite(white, band)
        pixels[top : top + band.height] = band if band.mode == "RGB" else band.convert("RGB")
    return pixels, brightest


def _bands(image, mode: str):
    """Cut an image into bands of a mode: all of it in that mode would be one more copy."""
    for top in range(0, image.height, _BAND):
        band = image.crop((0, top, image.width, min(top + _BAND, image.height)))
        if band.mode.startswith("I;16"):
            # Pillow would cut everything above 255 off.
            band = load_pillow().fromarray(upper_eight_bits(np.asarray(band), image))
        elif band.mode == "La":
            # Pillow knows no way from it to RGBA.
            band = band.convert("LA")
        yield top, band if band.mode == mode else band.convert(mode)
