"""TIFF files as any program may write them, byte for byte."""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH, SIDE, ROWS = 24, 20, 16, 8
NONE, JPEG, DEFLATE = 1, 7, 8
FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}


def picture(samples: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(20, 236, (HEIGHT, WIDTH, samples), dtype=np.uint8)


def parts(pixels: np.ndarray, tiled: bool, planar: bool) -> list[np.ndarray]:
    planes = np.split(pixels, pixels.shape[2], 2) if planar else [pixels]
    if not tiled:
        return [plane[y : y + ROWS] for plane in planes for y in range(0, HEIGHT, ROWS)]
    full = [np.pad(one, ((0, -HEIGHT % SIDE), (0, -WIDTH % SIDE), (0, 0))) for one in planes]
    corners = list(itertools.product(range(0, HEIGHT, SIDE), range(0, WIDTH, SIDE)))
    return [plane[y : y + SIDE, x : x + SIDE] for plane in full for y, x in corners]


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def tiff(
    pixels: np.ndarray, *, compression=NONE, tiled=False, planar=False, order="<", big=False, **more
) -> bytes:
    """Return a TIFF; `more` replaces values of tags, by their names below; None leaves one out."""
    pack = {NONE: bytes, DEFLATE: zlib.compress}.get(compression)
    packed = [
        pack(part.astype(part.dtype.newbyteorder(order)).tobytes()) if pack else jpeg(part)
        for part in parts(pixels, tiled, planar)
    ]
    samples, offset = pixels.shape[2], "Q" if big else "I"
    room = 8 if big else 4
    entries = {
        "width": (256, 4, [WIDTH]), "height": (257, 4, [HEIGHT]),
        "bits": (258, 3, [8 * pixels.itemsize] * samples), "compression": (259, 3, [compression]),
        "colours": (262, 3, [2 if samples > 2 else 1]),
        "places": (324 if tiled else 273, 16 if big else 4, [0] * len(packed)),
        "samples": (277, 3, [samples]), "rows": (278, 4, [ROWS]),
        "sizes": (325 if tiled else 279, 4, [*map(len, packed)]), "planes": (284, 3, [1 + planar]),
        "wide": (322, 3, [SIDE]), "tall": (323, 3, [SIDE]), "alpha": (338, 3, [2]),
        "turned": (274, 3, [1]),
    }  # fmt: skip
    unused = {"rows"} if tiled else {"wide", "tall"}
    unused |= set() if samples in (2, 4) else {"alpha"}
    unused |= {name for name, values in more.items() if values is None}
    listed = sorted((tag, name) for name, (tag, _, _) in entries.items() if name not in unused)
    at = (24 if big else 10) + len(listed) * (20 if big else 12) + room
    outside, places = b"", {}
    for _, name in listed:
        _, kind, values = entries[name]
        size = struct.calcsize(order + FORMATS[kind] * len(values))
        if size > room:
            places[name], outside = at + len(outside), outside + bytes(size + size % 2)
    begins = itertools.accumulate(map(len, packed), initial=at + len(outside))
    entries["places"] = (*entries["places"][:2], list(begins)[:-1])
    head = (b"II" if order == "<" else b"MM") + (
        struct.pack(order + "HHHQQ", 43, 8, 0, 16, len(listed))
        if big
        else struct.pack(order + "HIH", 42, 8, len(listed))
    )
    body, values_at = bytearray(outside), at
    for _, name in listed:
        tag, kind, values = entries[name]
        values = more.get(name, values)
        data = struct.pack(order + FORMATS[kind] * len(values), *values)
        if name in places:
            start = places[name] - values_at
            body[start : start + len(data)] = data
            data = struct.pack(order + offset, places[name])
        head += struct.pack(order + "HH" + offset, tag, kind, len(values)) + data.ljust(room, b"\0")
    return head + bytes(room) + bytes(body) + b"".join(packed)
