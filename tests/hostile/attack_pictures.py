"""Attack the decoders with files made from a seed: ``attack_pictures.py FOLDER COUNT SEED``.

Each file is a sound picture that was cut, filled, spliced, enlarged or given another name. Held:
the same pixels as the sound one where nothing but what surrounds them was touched, or an
`ImageError`. A fault is anything else: another error, a picture of another size, much memory.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from icecore.core.errors import ImageError
from icecore.features.images.decode import decode

FORMS = {
    "JPEG": {"quality": 90},
    "progressive": {"format": "JPEG", "progressive": True, "quality": 85},
    "PNG": {}, "WEBP": {"lossless": True}, "GIF": {}, "BMP": {},
    "TIFF": {"compression": "tiff_deflate"}, "lzw": {"format": "TIFF", "compression": "tiff_lzw"},
}  # fmt: skip
ENDS = {"JPEG": b"\xff\xd9", "progressive": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82"}
# Their scans have checksums, or a decoder that warns when a part is cut off.
CUT_IS_SEEN = frozenset(FORMS)


def sound(form: str, rng: random.Random) -> tuple[bytes, np.ndarray]:
    height, width = rng.randint(40, 90), rng.randint(40, 90)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 20, (height, width, 3))
    y, x = np.mgrid[0:height, 0:width]
    pixels = (np.dstack([x * 2, y * 2, 255 - x - y]) + noise).clip(0, 255).astype(np.uint8)
    options = {"format": form} | FORMS[form]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue(), decode(buffer.getvalue())


def cut(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    share = rng.uniform(0.05, 0.95)
    return content[: int(len(content) * share)], "refused"


def closed(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    short, _ = cut(content, form, rng)
    # What a progressive JPEG has lost may have been nothing but zeros.
    return short + ENDS.get(form, b"\0;"), "any" if form == "progressive" else "refused"


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


def nothing(content: bytes, form: str, rng: random.Random) -> tuple[bytes, str]:
    texts = [b"<!DOCTYPE html>", b"{}", b"%PDF-1.4", b"\0\0\0\x18ftypheic", bytes(3000)]
    return rng.choice(texts) + rng.randbytes(rng.randint(0, 50)), "refused"


ATTACKS = (cut, closed, appended, flipped, numbers, hollow, nothing)


def fault_of(content: bytes, wanted: str, pixels: np.ndarray) -> str:
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
    return ""


def main(folder: Path, count: int, seed: int) -> dict:
    rng, faults = random.Random(seed), 0
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
    for number in range(count):
        form = rng.choice(sorted(FORMS))
        content, pixels = sound(form, rng)
        attack = ATTACKS[number % len(ATTACKS)]
        changed, wanted = attack(content, form, rng)
        (folder / "last").write_bytes(changed)  # if the process ends, this is why
        fault = fault_of(changed, wanted, pixels)
        if fault:
            faults += 1
            print(f"{seed}-{number} {form} {attack.__name__}: {fault}", flush=True)
    return {"tried": count, "held": count - faults, "fault": faults}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
