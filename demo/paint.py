"""Paint for the demo's pictures: shapes, a canvas, fabrics, backgrounds, the camera.

Shapes are polygons in body units (one unit is the height of a head, y points
down); the canvas turns them into pixels. Only Pillow and NumPy are needed.
"""

import colorsys
import dataclasses
import functools
import io
import math
from collections.abc import Callable, Sequence
from typing import Self, TypeAlias

import numpy as np

from ..core.imports import load

Colour: TypeAlias = np.ndarray

_OVERSAMPLING = 2
_COARSE = 4
_FABRICS = ("plain", "heather", "stripes", "pinstripes", "checks", "dots", "floral", "gradient")


@functools.cache
def load_pillow():
    """Import Pillow, or say what to install."""
    return load("PIL", "PIL.Image", "PIL.ImageChops", "PIL.ImageDraw", "PIL.ImageFilter")


def colour(hue: float, saturation: float, value: float) -> Colour:
    """Return the RGB colour (3,), 0 to 255, of a hue, saturation and value from 0 to 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32) * 255


def spline(points: Sequence | np.ndarray, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Return the Catmull-Rom curve (N, 2) through `points`."""
    p = np.asarray(points, float)
    if closed:
        a, b, c, d = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        padded = np.concatenate([p[:1], p, p[-1:]])
        a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = a[:, None], b[:, None], c[:, None], d[:, None]
    curve = b + (c - a) * t / 2 + (2 * a - 5 * b + 4 * c - d) * t**2 / 2
    curve += (3 * b - a - 3 * c + d) * t**3 / 2
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def ellipse(x: float, y: float, rx: float, ry: float, steps: int = 28) -> np.ndarray:
    """Return an ellipse as a polygon (steps, 2)."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def limb(
    path: np.ndarray, widths: Sequence[float] | np.ndarray, round_end: float = 0.8
) -> np.ndarray:
    """Return the outline of a tube along `path` (N, 2) with half `widths`, evenly spread."""
    path = np.asarray(path, float)
    along = np.empty_like(path)
    along[1:-1] = path[2:] - path[:-2]
    along[0], along[-1] = path[1] - path[0], path[-1] - path[-2]
    along /= np.sqrt((along**2).sum(1, keepdims=True)) + 1e-9
    across = along[:, ::-1] * (-1, 1)
    places = np.arange(len(path)) * ((len(widths) - 1) / (len(path) - 1))
    half = np.interp(places, np.arange(len(widths)), widths)[:, None]
    left, right = path + across * half, path - across * half
    tip = path[-1:] + along[-1:] * half[-1] * round_end
    root = path[:1] - along[:1] * half[0] * 0.6
    return np.concatenate([root, left, tip, right[::-1]])


@dataclasses.dataclass(frozen=True)
class Fabric:
    """A woven or printed cloth of two colours."""

    kind: str
    base: Colour
    second: Colour
    scale: float
    angle: float
    seed: int

    @classmethod
    def choose(cls, rng: np.random.Generator) -> Self:
        """Draw a cloth at random."""
        hue, value = rng.uniform(), rng.uniform(0.25, 0.97)
        base = colour(hue, rng.choice([0.05, 0.3, 0.55, 0.8]) * rng.uniform(0.7, 1.2), value)
        contrast = value - 0.45 if value > 0.6 else value + 0.4
        second = colour(hue + rng.choice([0.0, 0.08, 0.5]), rng.uniform(0.05, 0.7), contrast)
        weights = (0.3, 0.14, 0.12, 0.08, 0.1, 0.08, 0.1, 0.08)
        kind = str(rng.choice(_FABRICS, p=weights))
        angle = float(rng.choice([0.0, np.pi / 2, rng.uniform(-0.6, 0.6)], p=[0.5, 0.3, 0.2]))
        return cls(kind, base, second, rng.uniform(2.0, 6.0), angle, int(rng.integers(2**31)))

    def pattern(self, u: np.ndarray, v: np.ndarray) -> np.ndarray | None:
        """Return the share (H, W) of the second colour, 0 to 1; None for a plain cloth.

        `u` (1, W) or (H, W) and `v` are body coordinates.
        """
        if self.kind == "plain":
            return None
        s = self.scale
        x = (math.cos(self.angle) * u - math.sin(self.angle) * v) * s
        y = (math.sin(self.angle) * u + math.cos(self.angle) * v) * s
        if self.kind == "heather":
            rng = np.random.default_rng(self.seed)
            return 0.2 + 0.15 * rng.standard_normal(u.shape, np.float32)
        if self.kind == "stripes":
            return _soft_step(np.sin(2 * np.pi * y))
        if self.kind == "pinstripes":
            return 0.7 * _soft_step(np.sin(4 * np.pi * x) - 0.8)
        if self.kind == "checks":
            return _soft_step(np.sin(np.pi * x)) * 0.5 + _soft_step(np.sin(np.pi * y)) * 0.5
        if self.kind == "dots":
            row = np.floor(y)
            dx, dy = (x + 0.5 * (row % 2)) % 1 - 0.5, y - row - 0.5
            return _soft_step((0.07 - dx * dx - dy * dy) * 12)
        if self.kind == "floral":
            wave = np.sin(2.1 * x + 1.7 * np.sin(1.3 * y)) * np.sin(2.4 * y + 1.9 * np.sin(1.1 * x))
            return _soft_step((wave - 0.45) * 2) - 0.6 * _soft_step((wave - 0.85) * 4)
        if self.kind == "gradient":
            return np.clip((v - 1.5) / 5.0, 0, 1)
        raise ValueError(f"no such cloth: {self.kind}")


def _soft_step(value: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 2.5 * value, 0, 1)


class Canvas:
    """A picture to paint polygons on, in body units.

    Light and folds are computed at a quarter of the size and brought to the full
    size by Pillow: only outlines and patterns need every pixel.

    Parameters
    ----------
    image : PIL.Image.Image
        The background, RGB; painted over in place.
    matrix : ndarray (2, 3)
        Takes body coordinates ``(u, v, 1)`` to pixels ``(x, y)``.
    light : float
        Side that the light comes from, -1 (left) to 1 (right).
    """

    def __init__(self, image, matrix: np.ndarray, light: float = 0.5) -> None:
        self.image = image
        self.matrix = np.asarray(matrix, float)
        self.light = light
        self.unit = float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))
        self._inverse = np.linalg.inv(np.vstack([self.matrix, [0, 0, 1]])).astype(np.float32)
        self.marks: dict[str, tuple[int, int, int, int]] = {}

    def paint(
        self,
        polygon: np.ndarray,
        paint: Colour | Fabric,
        *,
        holes: Sequence[np.ndarray] = (),
        relief: float = 0.0,
        shadow: float = 0.0,
        radius: float = 0.12,
        folds: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Paint `polygon` (N, 2) less `holes`.

        Parameters
        ----------
        polygon, holes : ndarray (N, 2)
            Outlines in body units.
        paint : ndarray (3,) or Fabric
            A colour or a cloth.
        relief, shadow : float, 0 to 1
            How round the shape looks, and how dark its shadow is.
        radius : float
            Reach of both, in body units.
        folds : callable, optional
            Brightness, about 1, as a function of body coordinates.
        """
        Image = load_pillow().Image
        blur = max(radius * self.unit, 0.5)
        outlines = [self._pixels(shape) for shape in (polygon, *holes)]
        box = self._box(outlines[0], 2 * blur if relief or shadow else 1)
        if box is None:
            return
        mask = _mask(outlines, box)
        soft = _soft(mask, blur) if relief or shadow else None
        if shadow and soft is not None:
            self.image.paste((0, 0, 0), box, _enlarge(shadow * _lowered(soft, blur) * 255, mask))
        cloth = paint if isinstance(paint, Fabric) else None
        base = paint.base if isinstance(paint, Fabric) else paint
        if not relief and folds is None and cloth is None:
            self.image.paste(tuple(_bytes(base).tolist()), box, mask)
            return
        brightness = self._brightness(box, soft, blur, relief, folds)
        tint = _enlarge(base * brightness, mask)
        share = None if cloth is None else cloth.pattern(*self._body(box, 1))
        if cloth is not None and share is not None:
            over = _enlarge(cloth.second * brightness, mask)
            tint = Image.composite(over, tint, Image.fromarray(_bytes(share * 255)))
        self.image.paste(tint, box, mask)

    def shows(self, polygon: np.ndarray) -> bool:
        """Tell whether any of `polygon`'s bounding box is in the picture."""
        return self._box(self._pixels(polygon), 0) is not None

    def mark(self, name: str, polygon: np.ndarray) -> None:
        """Note the box (x0, y0, x1, y1) around what is to be seen of `polygon`, if half of it is.

        Nothing is painted; the box is kept in ``marks``.
        """
        outline = self._pixels(polygon)
        box = self._box(outline, 0)
        sides = np.ptp(outline, axis=0)
        if box is not None and (box[2] - box[0]) * (box[3] - box[1]) >= 0.5 * sides.prod():
            self.marks[name] = box

    def _brightness(self, box, soft, blur: float, relief: float, folds) -> np.ndarray:
        """Light on a shape, coarse: (H, W, 1)."""
        light = np.ones([-(-(box[k + 2] - box[k]) // _COARSE) for k in (1, 0)], np.float32)
        if relief:
            light += relief * (0.9 * soft - 0.75)
            tilt = (soft[:, 2:] - soft[:, :-2]) * (blur / _COARSE / 2)
            light[:, 1:-1] += (1.2 * relief * self.light) * tilt
        if folds is not None:
            light *= folds(*self._body(box, _COARSE))
        return light[..., None]

    def _pixels(self, shape: np.ndarray) -> np.ndarray:
        return np.asarray(shape, float) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def _box(self, outline: np.ndarray, pad: float) -> tuple[int, int, int, int] | None:
        width, height = self.image.size
        (left, top), (right, bottom) = outline.min(0).tolist(), outline.max(0).tolist()
        left, top = max(math.floor(left - pad), 0), max(math.floor(top - pad), 0)
        right, bottom = min(math.ceil(right + pad), width), min(math.ceil(bottom + pad), height)
        return (left, top, right, bottom) if right > left and bottom > top else None

    def _body(self, box: tuple[int, int, int, int], step: int) -> tuple[np.ndarray, np.ndarray]:
        """Body coordinates (H, W) of every `step`-th pixel of `box`."""
        x = np.arange(box[0], box[2], step, dtype=np.float32)[None, :] + np.float32(step / 2)
        y = np.arange(box[1], box[3], step, dtype=np.float32)[:, None] + np.float32(step / 2)
        m = self._inverse
        return m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]


def _mask(outlines: list[np.ndarray], box: tuple[int, int, int, int]):
    """Draw the first outline less the others within `box`, with smooth edges."""
    Image, ImageDraw = load_pillow().Image, load_pillow().ImageDraw
    left, top, right, bottom = box
    mask = Image.new("L", ((right - left) * _OVERSAMPLING, (bottom - top) * _OVERSAMPLING))
    pen = ImageDraw.Draw(mask)
    for index, outline in enumerate(outlines):
        place = ((outline - (left, top)) * _OVERSAMPLING).ravel().tolist()
        pen.polygon(place, fill=0 if index else 255)
    return mask.reduce(_OVERSAMPLING)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _soft(mask, blur: float) -> np.ndarray:
    """Return the mask blurred, at a quarter of its size: blurring it whole would be slow."""
    ImageFilter = load_pillow().ImageFilter
    small = mask.reduce(_COARSE)
    return np.asarray(small.filter(ImageFilter.BoxBlur(1.5 * blur / _COARSE)), np.float32) / 255


def _lowered(soft: np.ndarray, blur: float) -> np.ndarray:
    rows = max(round(blur / _COARSE / 2), 1)
    return np.concatenate([np.repeat(soft[:1], rows, axis=0), soft])[: len(soft)]


def _enlarge(coarse: np.ndarray, mask):
    """Bring a coarse map, (H, W) or (H, W, 3), to the size of `mask` as a Pillow image."""
    Image = load_pillow().Image
    size = (coarse.shape[1] * _COARSE, coarse.shape[0] * _COARSE)
    whole = Image.fromarray(_bytes(coarse)).resize(size, Image.Resampling.BILINEAR)
    return whole.crop((0, 0, *mask.size))


def background(rng: np.random.Generator, width: int, height: int):
    """Return a backdrop, a Pillow image: studio, room, wallpaper, street or bricks."""
    Image = load_pillow().Image
    kinds = ("studio", "room", "wallpaper", "street", "bricks")
    kind = rng.choice(kinds, p=(0.3, 0.2, 0.15, 0.25, 0.1))
    tone = colour(rng.uniform(), rng.uniform(0, 0.35), rng.uniform(0.5, 1.0))
    other = tone * rng.uniform(0.55, 0.9) + rng.uniform(-15, 15, 3)
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    if kind == "street":
        return _blurred_street(rng, width, height)
    if kind == "studio":
        share = ((x - rng.uniform(0.3, 0.7)) ** 2 + (y - 0.4) ** 2) * rng.uniform(0.5, 2)
    elif kind == "room":
        share = _soft_step((y - rng.uniform(0.7, 0.95)) * 60) * np.ones_like(x)
    elif kind == "wallpaper":
        wave = np.sin(x * rng.uniform(15, 70)) * np.sin(y * float(rng.choice([0, 40])) + 1.6)
        share = _soft_step(wave) * 0.5
    else:
        rows = y * rng.uniform(10, 18)
        offset = (np.floor(rows) % 2) * 0.5
        columns = (x * rng.uniform(4, 8) + offset) % 1
        share = np.maximum(_soft_step((rows % 1 - 0.88) * 20), _soft_step((columns - 0.94) * 30))
    plain, drawn = (
        Image.new("RGB", (width, height), tuple(_bytes(c).tolist())) for c in (tone, other)
    )
    return Image.composite(drawn, plain, Image.fromarray(_bytes(share * 255)))


def _blurred_street(rng: np.random.Generator, width: int, height: int):
    Image = load_pillow().Image
    across, down = int(rng.integers(3, 9)), int(rng.integers(3, 9))
    level = rng.uniform(110, 210)
    blocks = rng.normal(level, 35, (down, across, 1)) + rng.normal(0, 14, (down, across, 3))
    coarse = Image.fromarray(_bytes(blocks))
    coarse = coarse.resize((across * 2, down * 2), Image.Resampling.NEAREST)
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def develop(rng: np.random.Generator, image) -> bytes:
    """Take the photograph: light, lens blur, sensor noise; return JPEG bytes."""
    pillow = load_pillow()
    Image, ImageFilter = pillow.Image, pillow.ImageFilter
    x = np.linspace(-1, 1, 24, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, 24, dtype=np.float32)[:, None]
    slope = rng.uniform(-0.15, 0.15, 2)
    lamp = slope[0] * x + slope[1] * y - rng.uniform(0, 0.12) * (x * x + y * y)
    cast = rng.uniform(0.85, 1.1) * rng.uniform(0.93, 1.0, 3)
    lamp = Image.fromarray(_bytes((1 + lamp - lamp.max())[..., None] * cast * 255))
    image = pillow.ImageChops.multiply(image, lamp.resize(image.size, Image.Resampling.BILINEAR))
    softness = rng.uniform(-0.8, 1.1)
    if softness > 0.2:
        image = image.filter(ImageFilter.GaussianBlur(softness))
    grain = rng.standard_normal((image.height, image.width), np.float32)
    grain = _bytes(grain * np.float32(rng.uniform(1.5, 9.0)) + np.float32(128.5))
    turned = (grain, grain[::-1], grain[:, ::-1])  # coloured grain from one draw
    bands = turned if rng.uniform() < 0.4 else (grain,) * 3
    grains = Image.merge("RGB", [Image.fromarray(np.ascontiguousarray(b)) for b in bands])
    image = pillow.ImageChops.add(image, grains, 1, -128)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=int(rng.integers(62, 94)))
    return content.getvalue()
