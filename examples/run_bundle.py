"""Classify images with what `icecore bundle` wrote: ONNX Runtime, OpenCV, Pillow and NumPy alone.

usage: python run_bundle.py BUNDLE IMAGE...
"""

import json
import math
import os
import sys

import cv2
import numpy as np
from PIL import Image, ImageOps

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.31 on it numbers the machine
import onnxruntime

# Of which Pillow makes the same pixels as icecore; of the kinds of others, some are read otherwise.
FORMATS = ("JPEG", "PNG", "WEBP")
METHODS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def read(path, short=None, long=None):
    """Return the upright image as RGB, transparent areas white.

    A JPEG is decoded at the smallest scale of which the sides are not shorter than these.
    """
    with Image.open(path) as file:
        if file.format not in (*FORMATS, "MPO"):  # A JPEG with further pictures behind it.
            raise ValueError(f"a {file.format} file; save it as PNG")
        for name in ("xmp", "XML:com.adobe.xmp"):  # The orientation is what Exif says.
            file.info.pop(name, None)
        if short is not None and file.format in ("JPEG", "MPO"):
            sides = sorted(file.size)
            enough = (-(-sides[0] // n) >= short and -(-sides[1] // n) >= long for n in (8, 4, 2))
            divisor = next((n for n, good in zip((8, 4, 2), enough) if good), 1)
            file.draft(file.mode, [max(1, n // divisor) for n in file.size])
        image = ImageOps.exif_transpose(file)
    if image.mode in ("I", "F"):  # how bright these numbers are nobody says
        raise ValueError("pixels of 32 bits; save it with 8 or 16 bits")
    if image.mode == "CMYK" and file.format == "JPEG":  # as libraries for JPEG do, not as Pillow
        light = 255 - np.asarray(image, np.int32)
        ink = 255 - light[..., :3]
        return (light[..., 3:] - (ink * light[..., 3:] >> 8)).astype(np.uint8)
    if image.mode.startswith("I;16"):  # Pillow would cut everything above 255 off
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGBA")
    if image.getextrema()[3] == (0, 0):  # alpha that is 0 everywhere is no alpha
        return np.asarray(image.convert("RGB"))
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def needed(how):
    """Return the least sides of an image from which the square is cut: twice its pixels."""
    side = how["input_size"][1]
    if how["fit"] == "pad":
        return 0, math.ceil(math.sqrt(2) * side)
    short = side if how["fit"] == "squash" else int(side / how["crop_pct"])
    return math.ceil(math.sqrt(2) * short), 0


def resize(image, height, width, interpolation):
    """Resize; what shrinks to less than half is averaged in whole blocks first."""
    blocks = max(1, image.shape[0] // height), max(1, image.shape[1] // width)
    if max(blocks) > 1:
        rows, columns = image.shape[0] // blocks[0], image.shape[1] // blocks[1]
        image = image[: rows * blocks[0], : columns * blocks[1]]
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=METHODS[interpolation])


def square(image, how):
    """Fit an image to a square input, as the bundle's metadata say."""
    side, interpolation = how["input_size"][1], how["interpolation"]
    if how["fit"] == "squash":
        return resize(image, side, side, interpolation)
    if how["fit"] == "pad":
        scale = side / max(image.shape[:2])
        new = [max(1, round(n * scale)) for n in image.shape[:2]]
        canvas = np.empty((side, side, 3), np.uint8)
        canvas[:] = np.round(np.array(how["mean"]) * 255).clip(0, 255)
        top, left = (side - new[0]) // 2, (side - new[1]) // 2
        canvas[top : top + new[0], left : left + new[1]] = resize(image, *new, interpolation)
        return canvas
    most = 32 * min(image.shape[:2])  # of a strip, the middle is taken
    top, left = (max(0, (n - most) // 2) for n in image.shape[:2])
    image = image[top : top + most, left : left + most]
    short, least = int(side / how["crop_pct"]), min(image.shape[:2])
    new = [short if n == least else int(n * (short / least)) for n in image.shape[:2]]
    image = resize(image, max(new[0], side), max(new[1], side), interpolation)
    top, left = (round((n - side) * 0.5) for n in image.shape[:2])
    return image[top : top + side, left : left + side]


class Bundle:
    """A bundle, ready to answer."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path)
        self.note = json.loads(self.session.get_modelmeta().custom_metadata_map["icecore"])

    def answer(self, image):
        """Return the probability of each class by task; `image` is a path or an open file."""
        squares = {}
        for name, how in self.note["inputs"].items():
            least = needed(how) if self.note["decoding"] == "fast" else ()
            squares[name] = square(read(image, *least), how)[None]
        tasks = self.note["outputs"]
        tables = self.session.run(list(tasks), squares)
        return {
            task["task"]: dict(zip(task["classes"], map(float, table[0])))
            for task, table in zip(tasks.values(), tables)
        }


def main(bundle, *paths):
    """Print the likeliest class of each task for each image; return the exit status."""
    model, status = Bundle(bundle), 0
    for path in paths:
        try:
            tasks = model.answer(path)
        # Pillow says in these ways that a file is damaged, too large or no image.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            print(f"{path} could not be read: {error}", file=sys.stderr)
            status = 1
            continue
        answers = []
        for task, found in tasks.items():
            best = max(found, key=found.get)
            answers.append(f"{task} {best} {found[best]:.6f}")
        print(*([path] if len(paths) > 1 else []), *answers)
    return status


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    elif len(sys.argv) < 3:
        sys.exit(__doc__)
    else:
        sys.exit(main(*sys.argv[1:]))
