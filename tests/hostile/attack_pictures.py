"""Attack the decoders with files made from a seed: ``attack_pictures.py FOLDER COUNT SEED``.

Each file is a sound picture that was cut, filled, spliced, enlarged, given another name or another
directory. Held: an `ImageError`, or a picture; the same pixels as those of the sound one where the
format has checksums; a JPEG ends alike at every scale. A fault is anything else: another error,
much memory, a line on stderr.
"""

from __future__ import annotations

import importlib.util
import io
import json
import random
import resource
import sys
from pathlib import Path

import numpy as np
from PIL import Image, features

from icecore.core.errors import ImageError
from icecore.features.images.decode import ImageFile, decode

HEIC = Path(__file__).parents[1] / "fixtures" / "heic" / "photo.heic"


def see_through(image):
    """Give an image alpha that grows from left to right."""
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").rotate(90).resize(image.size).point(lambda a: a | 1))
    return image


def in_colours(image):
    return image.quantize(64)


def with_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


# How each is saved, and what it is turned into before.
FORMS = {
    "JPEG": ({"quality": 90}, None),
    "progressive": ({"format": "JPEG", "progressive": True, "quality": 85}, None),
    "turned": ({"format": "JPEG", "exif": with_exif()}, None),
    "CMYK": ({"format": "JPEG"}, lambda image: image.convert("CMYK")),
    "PNG": ({}, None),
    "PNG alpha": ({"format": "PNG"}, see_through),
    "PNG grey alpha": ({"format": "PNG"}, lambda image: see_through(image).convert("LA")),
    "PNG palette": ({"format": "PNG", "transparency": 3}, in_colours),
    "PNG 16": ({"format": "PNG"}, lambda image: image.convert("I;16")),
    "APNG": ({"format": "PNG", "save_all": True}, None),
    "WEBP": ({"lossless": True}, None),
    "WEBP alpha": ({"format": "WEBP"}, see_through),
    "GIF": ({}, None),
    "GIF animated": ({"format": "GIF", "save_all": True}, in_colours),
    "BMP": ({}, None),
    "TIFF": ({"compression": "tiff_deflate"}, None),
    "lzw": ({"format": "TIFF", "compression": "tiff_lzw"}, None),
    "TIFF alpha": ({"format": "TIFF", "compression": "tiff_lzw"}, see_through),
    "TIFF pages": ({"format": "TIFF", "compression": "tiff_lzw", "save_all": True}, None),
    "fax": ({"format": "TIFF", "compression": "group4"}, lambda image: image.convert("1")),
}
if features.check("avif"):
    FORMS |= {"AVIF": ({"quality": 80}, None), "AVIF alpha": ({"format": "AVIF"}, see_through)}
if importlib.util.find_spec("pi_heif"):
    FORMS |= {"HEIC": ({}, None)}
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82"}
# Where every byte that pixels hang on has a checksum: what is decoded is what was saved.
CHECKED = frozenset(form for form in FORMS if "PNG" in form)
MAY_BE_WHOLE = frozenset({"progressive", "APNG", "GIF animated", "TIFF pages"})


def sound(form: str, rng: random.Random) -> tuple[bytes, np.ndarray]:
    height, width = rng.randint(40, 90), rng.randint(40, 90)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 20, (height, width, 3))
    y, x = np.mgrid[0:height, 0:width]
    pixels = (np.dstack([x * 2, y * 2, 255 - x - y]) + noise).clip(0, 255).astype(np.uint8)
    if form == "HEIC":
        return HEIC.read_bytes(), decode(HEIC.read_bytes())
    options, turn = FORMS[form]
    options = {"format": form} | options
    image = Image.fromarray(pixels)
    if options.get("save_all"):
        options["append_images"] = [image.rotate(180)]
    buffer = io.BytesIO()
    if form == "PNG 16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(buffer, "PNG")
    else:
        (turn(image) if turn else image).save(buffer, **options)
    return buffer.getvalue(), decode(buffer.getvalue())


def end_of(content: bytes) -> bytes:
    """Return the end mark of a file's format."""
    kind = {b"\xff\xd8": "JPEG", b"\x89P": "PNG"}.get(content[:2], "")
    return ENDS.get(kind, b"\0;")


def cut(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    share = rng.uniform(0.05, 0.95)
    whole = form in ("APNG", "GIF animated", "TIFF pages") and share > 0.3
    return content[: int(len(content) * share)], "any" if whole else "refused"


def closed(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    short, _ = cut(content, form, rng)
    # What a progressive JPEG has lost may have been nothing but zeros; of an animation the
    # first picture may be whole.
    return short + end_of(content), "any" if form in MAY_BE_WHOLE else "refused"


def appended(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    return content + rng.randbytes(rng.randint(1, 5000)), "any"


def flipped(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    new = bytearray(content)
    for _ in range(rng.randint(1, 12)):
        new[rng.randrange(len(new))] = rng.randrange(256)
    return bytes(new), "any"


def numbers(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    new = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(min(len(new), 120))
        new[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)])
    return bytes(new), "any"


def hollow(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    at, size = rng.randrange(len(content)), rng.randint(1, 2000)
    return content[:at] + bytes(min(size, len(content) - at)) + content[at + size :], "any"


def doubled(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    at, size = rng.randrange(len(content)), rng.randint(1, 300)
    return content[:at] + content[at : at + size] + content[at:], "any"


def left_out(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    at, size = rng.randrange(len(content)), rng.randint(1, 300)
    return content[:at] + content[at + size :], "any"


def nothing(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    texts = [b"<!DOCTYPE html>", b"{}", b"%PDF-1.4", b"\0\0\0\x18ftypheic", bytes(3000)]
    return rng.choice(texts) + rng.randbytes(rng.randint(0, 50)), "refused"


def lied(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    """Change the type, count or value of an entry in the directory of a TIFF."""
    if content[:4] != b"II*\0":
        return numbers(content, form, rng)
    new, at = bytearray(content), int.from_bytes(content[4:8], "little")
    entry = at + 2 + 12 * rng.randrange(int.from_bytes(content[at : at + 2], "little"))
    if rng.random() < 0.3:
        new[entry + 2] = rng.randrange(20)
    else:
        value = rng.choice([0, 1, 2, 7, 8, 9, 100, 65535, 2**16, 2**31, 2**32 - 1])
        start = entry + rng.choice([4, 8, 8])
        new[start : start + 4] = value.to_bytes(4, "little")
    return bytes(new), "any"


ATTACKS = (cut, closed, appended, flipped, numbers, hollow, doubled, left_out, nothing, lied)


def fault_of(content: bytes, wanted: str, pixels: np.ndarray, checked: bool) -> str:
    scales = {n: _outcome(content, n) for n in (1, 2, 8)} if content[:2] == b"\xff\xd8" else {}
    if len(set(scales.values())) > 1:
        return f"ends otherwise at another scale: {scales}"
    try:
        found = decode(content)
    except ImageError as error:
        return "" if error.message else "an error without a reason"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if wanted == "refused":
        return f"decoded to {found.shape}"
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3:
        return f"decoded to {found.dtype} of {found.shape}"
    if checked and not np.array_equal(found, pixels):
        return "decoded to other pixels than were saved"
    return ""


def _outcome(content: bytes, reduction: int) -> str:
    try:
        ImageFile(content).decode(reduction)
        return "decoded"
    except ImageError as error:
        return error.message


def main(folder: Path, count: int, seed: int) -> dict:
    rng, faults = random.Random(seed), 0
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
    for number in range(count):
        form = rng.choice(sorted(FORMS))
        content, pixels = sound(form, rng)
        attack = ATTACKS[number % len(ATTACKS)]
        changed, wanted = attack(content, form, rng)
        (folder / "last").write_bytes(changed)  # if the process ends, this is why
        fault = fault_of(changed, wanted, pixels, form in CHECKED)
        if fault:
            faults += 1
            print(f"{seed}-{number} {form} {attack.__name__}: {fault}", flush=True)
    return {"tried": count, "held": count - faults, "fault": faults}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
