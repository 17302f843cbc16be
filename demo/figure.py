"""Draw one garment on a figure, for the demo: a person or a mannequin in a photograph.

Everything is in body units (one head high; the chin is at 1, the waist near 2.9,
the knee near 5.6, the floor near 7.5), with x = 0 down the middle of the body.
"""

import dataclasses

import numpy as np

from .paint import Canvas, Colour, Fabric, background, colour, develop, ellipse, limb, spline

NECKLINES = ("Strapless", "Deep V", "V", "Square", "Round", "One Shoulder")

_SKINS = ((0.07, 0.22, 0.96), (0.07, 0.35, 0.86), (0.07, 0.45, 0.72), (0.06, 0.55, 0.5))
_MANNEQUINS = ((0.1, 0.05, 0.95), (0.1, 0.15, 0.88), (0.6, 0.03, 0.6), (0.0, 0.0, 0.25))
# What the camera looks at for each attribute: the middle and the height of the view.
_VIEWS = {
    "sleeve_length_labels": (2.75, (4.2, 5.4)),
    "neckline_design_labels": (1.75, (3.0, 4.6)),
    "skirt_length_labels": (5.25, (6.2, 7.8)),
}
_FORMATS = ((2, 3), (3, 4), (4, 5), (1, 1), (4, 3))


@dataclasses.dataclass(frozen=True)
class Outfit:
    """What the figure wears.

    Attributes
    ----------
    neckline : str
        One of `NECKLINES`.
    depth : float
        Where the neckline ends, in body units.
    sleeve : float
        Length as a share of the arm: 0 is sleeveless, 1 reaches the wrist.
    hem : float
        Where the skirt ends, in body units.
    trousers : bool
        Trousers in place of the skirt.
    behind : bool
        The figure is seen from behind.
    """

    neckline: str
    depth: float
    sleeve: float
    hem: float
    trousers: bool = False
    behind: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """A photograph, and where in it the parts are that matter.

    Attributes
    ----------
    content : bytes
        JPEG.
    boxes : dict of str to (x0, y0, x1, y1)
        Pixels of ``neck`` and ``hem``, where at least half of them is to be seen.
    """

    content: bytes
    boxes: dict[str, tuple[int, int, int, int]]


@dataclasses.dataclass(frozen=True)
class _Figure:
    """Build, pose and colours of one figure."""

    skin: Colour
    hair: Colour | None
    shoulder: float
    waist: float
    hip: float
    arms: tuple[np.ndarray, np.ndarray]
    step: float


def draw_picture(rng: np.random.Generator, view: str, outfit: Outfit) -> Picture:
    """Draw `outfit` on a random figure.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all that is not given comes from.
    view : str
        The attribute (FashionAI key) that the camera shows.
    outfit : Outfit
        What the figure wears.
    """
    across, down = _FORMATS[rng.choice(len(_FORMATS), p=(0.15, 0.3, 0.2, 0.25, 0.1))]
    short = int(rng.integers(200, 281))
    width = round(short * max(across / down, 1))
    height = round(short * max(down / across, 1))
    canvas = Canvas(
        background(rng, width, height),
        _camera(rng, view, width, height),
        float(rng.uniform(-1, 1)),
    )
    figure = _choose_figure(rng)
    top = Fabric.choose(rng)
    bottom = top if rng.uniform() < 0.4 and not outfit.trousers else Fabric.choose(rng)
    _paint_body(canvas, figure, rng, legs=not outfit.trousers)
    if outfit.trousers:
        _paint_trousers(canvas, figure, bottom, rng)
        _paint_top(canvas, figure, outfit, top, rng)
    elif bottom is top or rng.uniform() < 0.6:
        _paint_top(canvas, figure, outfit, top, rng, tucked=True)
        _paint_skirt(canvas, figure, outfit, bottom, rng)
    else:
        _paint_skirt(canvas, figure, outfit, bottom, rng)
        _paint_top(canvas, figure, outfit, top, rng)
    _paint_arms(canvas, figure, outfit, top, rng)
    _paint_head(canvas, figure, rng, outfit.behind)
    canvas.mark("neck", _neck(figure, outfit))
    return Picture(develop(rng, canvas.image), canvas.marks)


def _neck(figure: _Figure, outfit: Outfit) -> np.ndarray:
    """From below the lips to below the neckline, between the shoulders."""
    side, end = figure.shoulder - 0.12, max(2.05, outfit.depth + 0.12)
    return np.array([(-side, 0.95), (side, 0.95), (side, end), (-side, end)])


def _camera(rng: np.random.Generator, view: str, width: int, height: int) -> np.ndarray:
    middle, (least, most) = _VIEWS[view]
    scale = height / rng.uniform(least, most)
    if width > height:
        scale *= 1.15
    tilt, squeeze = rng.normal(0, 0.055), rng.uniform(0.92, 1.1)
    mirror = rng.choice([-1.0, 1.0])
    cos, sin = np.cos(tilt) * scale, np.sin(tilt) * scale
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([squeeze * mirror, 1.0])
    centre = np.array([rng.normal(0, 0.25), middle + rng.normal(0, 0.2)])
    return np.column_stack([turn, np.array([width, height]) / 2 - turn @ centre])


def _choose_figure(rng: np.random.Generator) -> _Figure:
    mannequin = rng.uniform() < 0.2
    tones = _MANNEQUINS if mannequin else _SKINS
    hue, saturation, value = tones[rng.integers(len(tones))]
    skin = colour(hue, saturation, value * rng.uniform(0.93, 1.03))
    hair = None if mannequin else colour(rng.uniform(0.02, 0.12), 0.55, rng.uniform(0.08, 0.75))
    shoulder = rng.uniform(0.8, 0.95)
    left, right = (_choose_arm(rng, side * (shoulder - 0.06), side) for side in (-1, 1))
    waist, hip, step = rng.uniform(0.5, 0.6), rng.uniform(0.7, 0.84), rng.normal(0, 0.1)
    return _Figure(skin, hair, shoulder, waist, hip, (left, right), step)


def _choose_arm(rng: np.random.Generator, x: float, side: int) -> np.ndarray:
    """Shoulder, elbow, wrist as a smooth path."""
    upper = rng.uniform(0.08, 0.4)
    lower = upper + rng.uniform(-0.4, 0.15)
    if rng.uniform() < 0.2:  # a hand on the hip
        upper, lower = rng.uniform(0.5, 0.7), rng.uniform(-0.75, -0.55)
    shoulder = np.array([x, 1.64])
    elbow = shoulder + 1.3 * np.array([side * np.sin(upper), np.cos(upper)])
    wrist = elbow + 1.15 * np.array([side * np.sin(lower), np.cos(lower)])
    return spline([shoulder, elbow, wrist], steps=10)


def _mirrored(right: list[tuple[float, float]]) -> np.ndarray:
    """Close a half outline, given from top to bottom on the right, over the middle."""
    half = np.asarray(right, float)
    return np.concatenate([half, (half * (-1, 1))[::-1]])


def _folds(rng: np.random.Generator, depth: float, pleats: float = 0.0):
    a, b, c = rng.uniform(2, 5), rng.uniform(-1.5, 1.5), rng.uniform(0, 6)
    count = rng.uniform(9, 16)

    def brightness(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        wave = depth * np.sin(a * u + b * v + c) * np.sin(2.3 * v + b * u)
        if pleats:
            wave = wave + pleats * np.sin(count * u / (0.4 + 0.22 * np.maximum(v - 2.5, 0)) + c)
        return 1 + wave

    return brightness


def _paint_body(canvas: Canvas, figure: _Figure, rng: np.random.Generator, legs: bool) -> None:
    shoe = colour(rng.uniform(), rng.uniform(0, 0.7), rng.uniform(0.1, 0.9))
    if figure.hair is not None and rng.uniform() < 0.6:
        length = rng.uniform(1.2, 2.1)
        outline = [(0, -0.05), (0.42, 0.15), (0.5, 0.8), (0.42, length), (0, length + 0.1)]
        canvas.paint(spline(_mirrored(outline), closed=True), figure.hair, relief=0.4)
    for side in (-1, 1):
        knee = side * (0.36 + figure.step * side)
        ankle = side * 0.33 + figure.step
        path = spline([(side * 0.38, 3.9), (knee, 5.55), (ankle, 7.15)])
        shape = limb(path, (0.37, 0.3, 0.2, 0.2, 0.11))
        canvas.paint(shape, figure.skin, relief=0.5 * legs)
        foot = spline([(ankle, 7.15), (ankle + side * 0.1, 7.4), (ankle + side * 0.2, 7.5)])
        canvas.paint(limb(foot, (0.12, 0.14, 0.1)), shoe)
    s = figure.shoulder
    outline = [(0.18, 0.8), (0.2, 1.25), (0.5, 1.43), (s - 0.03, 1.58), (s - 0.14, 2.15)]
    outline += [(figure.waist - 0.02, 2.9), (figure.hip - 0.04, 3.75), (0.3, 4.2)]
    canvas.paint(spline(_mirrored(outline), closed=True), figure.skin, relief=0.45, shadow=0.25)
    chin = ellipse(0, 1.02, 0.26, 0.22)
    canvas.paint(chin, figure.skin * 0.78)
    for side in (-1, 1):  # collar bones
        path = spline([(side * 0.08, 1.5), (side * 0.3, 1.46), (side * 0.5, 1.43)])
        canvas.paint(limb(path, (0.012, 0.02, 0.008)), figure.skin * 0.86)


def _neck_opening(outfit: Outfit, width: float) -> np.ndarray:
    """Edge of the neckline from one shoulder over the middle to the other, open at the top."""
    d, w = outfit.depth, width
    if outfit.neckline in ("V", "Deep V"):
        left = spline([(-w, 1.2), (-w * 0.62, 1.2 + (d - 1.2) * 0.45), (0, d)])
        right = spline([(0, d), (w * 0.62, 1.2 + (d - 1.2) * 0.45), (w, 1.2)])
        return np.concatenate([left[:-1], right])
    if outfit.neckline == "Square":
        return np.array([(-w, 1.2), (-w * 0.97, d), (w * 0.97, d), (w, 1.2)])
    angle = np.linspace(np.pi, 0, 20)
    return np.stack([w * np.cos(angle), 1.25 + (d - 1.25) * np.sin(angle)], 1)


def _paint_top(
    canvas: Canvas,
    figure: _Figure,
    outfit: Outfit,
    cloth: Fabric,
    rng: np.random.Generator,
    tucked: bool = False,
) -> None:
    ease, end = rng.uniform(0.03, 0.14), rng.uniform(3.2, 4.0)
    if tucked:
        ease, end = 0.03, 3.0
    s = figure.shoulder
    below = figure.hip * (0.75 if tucked else 1) + ease * 0.6
    lower = [(s - 0.1, 2.2), (figure.waist + ease, 2.9), (below, end)]
    holes: list = []
    if outfit.neckline == "Strapless":
        d = outfit.depth
        outline = [(0.3, d + 0.02), (s - 0.12, d - 0.06), *lower]
        dip = rng.uniform(0.0, 0.12)
        trim = spline([(0.1 - s, d - 0.05), (-0.3, d), (0, d + dip), (0.3, d), (s - 0.1, d - 0.05)])
        holes = [[(-0.3, d - 0.3), *trim[6:-6].tolist(), (0.3, d - 0.3)]]
    else:
        narrow = rng.uniform(0.12, 0.26)
        shoulder = s + 0.02 if outfit.sleeve > 0.02 else s - narrow
        outline = [(0.25, 1.32), (0.45, 1.37), (shoulder - 0.09, 1.48)]
        outline += [(shoulder, 1.6), (shoulder - 0.06, 1.85), *lower]
        if outfit.neckline == "One Shoulder":
            trim = spline([(-s - 0.1, 2.12), (-0.2, 1.85), (0.3, 1.5), (0.5, 1.25)])
            holes = [[(-s - 0.3, 2.1), *trim.tolist(), (0.5, 0.9), (-s - 0.3, 0.9)]]
        else:
            wide = 0.5 if outfit.neckline == "Square" else 0.44
            trim = _neck_opening(outfit, rng.uniform(wide - 0.12, wide + 0.04))
            holes = [np.concatenate([trim, [(0.3, 0.9), (-0.3, 0.9)]])]
    folds = _folds(rng, 0.09)
    canvas.paint(
        _mirrored(outline), cloth, holes=holes, relief=0.35, shadow=0.25, radius=0.16, folds=folds
    )
    trim = trim[trim[:, 1] > 1.33 + 0.2 * np.maximum(np.abs(trim[:, 0]) - 0.25, 0)]
    if len(trim) > 1:
        edge = cloth.base * rng.uniform(0.5, 0.9)
        canvas.paint(limb(trim, (0.03, 0.03), 0.0), edge)
    if rng.uniform() < 0.2 and outfit.neckline in ("Round", "V"):
        for y in np.arange(outfit.depth + 0.15, end - 0.1, 0.3):
            canvas.paint(ellipse(0, y, 0.035, 0.035, 10), cloth.second, shadow=0.3, radius=0.03)


def _paint_skirt(
    canvas: Canvas, figure: _Figure, outfit: Outfit, cloth: Fabric, rng: np.random.Generator
) -> None:
    hem, wave = outfit.hem, rng.uniform(0, 0.05)
    flare = rng.choice([-0.03, 0.1, 0.24], p=[0.3, 0.4, 0.3])
    wide = figure.hip + flare * (hem - 3.7) + 0.06
    side = spline([(figure.waist + 0.04, 2.8), (figure.hip + 0.05, 3.7), (wide, hem - 0.08)])
    x = np.linspace(wide, -wide, 30)
    round_hem = hem + 0.1 * (1 - (x / wide) ** 2) - 0.08 + wave * np.sin(x * rng.uniform(8, 14))
    outline = np.concatenate([side, np.stack([x, round_hem], 1), (side * (-1, 1))[::-1]])
    pleats = rng.uniform(0.06, 0.14) if flare > 0 else 0.0
    folds = _folds(rng, 0.08, pleats)
    canvas.paint(outline, cloth, relief=0.4, shadow=0.3, radius=0.2, folds=folds)
    side, start, end = wide + 0.1, hem - 0.7, hem + 0.35
    canvas.mark("hem", np.array([(-side, start), (side, start), (side, end), (-side, end)]))
    if rng.uniform() < 0.5:
        belt = limb(
            np.array([(-figure.waist - 0.06, 2.85), (0, 2.9), (figure.waist + 0.06, 2.85)]),
            (0.07, 0.07),
            0.0,
        )
        canvas.paint(belt, cloth.second, relief=0.2, shadow=0.2, radius=0.04)


def _paint_trousers(
    canvas: Canvas, figure: _Figure, cloth: Fabric, rng: np.random.Generator
) -> None:
    wide = rng.uniform(0.02, 0.12)
    end = rng.uniform(6.0, 7.3)
    folds = _folds(rng, 0.08)
    for side in (-1, 1):
        ankle = side * 0.33 + figure.step
        path = spline([(side * 0.4, 3.7), (side * 0.38 + figure.step, 5.55), (ankle, end)])
        shape = limb(path, (0.4, 0.36, 0.3, 0.22 + wide, 0.18 + wide), 0.0)
        canvas.paint(shape, cloth, relief=0.45, shadow=0.3, folds=folds)
    outline = [(figure.waist + 0.04, 2.85), (figure.hip + 0.03, 3.7), (figure.hip, 4.15), (0, 4.3)]
    canvas.paint(_mirrored(outline), cloth, relief=0.2, folds=folds)


def _paint_arms(
    canvas: Canvas, figure: _Figure, outfit: Outfit, cloth: Fabric, rng: np.random.Generator
) -> None:
    widths = (0.19, 0.18, 0.15, 0.14, 0.095)
    ease, bell = rng.uniform(0.02, 0.07), rng.choice([0.0, 0.09], p=[0.7, 0.3])
    folds = _folds(rng, 0.1)
    for side, arm in zip((-1, 1), figure.arms):
        canvas.paint(limb(arm, widths), figure.skin, relief=0.5, radius=0.09)
        away = (arm[-1] - arm[-2]) / np.linalg.norm(arm[-1] - arm[-2])
        hand = spline([arm[-1], arm[-1] + 0.22 * away, arm[-1] + 0.45 * away])
        canvas.paint(limb(hand, (0.09, 0.13, 0.08)), figure.skin * 0.95)
        bare = outfit.neckline == "One Shoulder" and side < 0
        if outfit.sleeve <= 0.02 or outfit.neckline == "Strapless" or bare:
            continue
        path = _cut(arm, outfit.sleeve)
        share = np.linspace(0, min(outfit.sleeve, 1.0), 5)
        around = np.interp(share, np.linspace(0, 1, 5), widths) + ease + 0.02
        around[0] += 0.03
        around[-1] += bell
        canvas.paint(limb(path, around, 0.1), cloth, relief=0.5, shadow=0.3, folds=folds)
        cuff = limb(path[-2:], around[-1:] + 0.004, 0.1)
        canvas.paint(cuff, cloth.base * 0.7)


def _cut(path: np.ndarray, share: float) -> np.ndarray:
    """Return the first `share` of `path` as 14 points; over 1 goes on in its last direction."""
    beyond = path[-1] + (path[-1] - path[-2]) * 3
    path = np.concatenate([path, beyond[None]])
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    wanted = np.linspace(0, min(share * lengths[-2], lengths[-1]), 14)
    return np.stack([np.interp(wanted, lengths, path[:, axis]) for axis in (0, 1)], 1)


def _paint_head(canvas: Canvas, figure: _Figure, rng: np.random.Generator, behind: bool) -> None:
    if not canvas.shows(ellipse(0, 0.5, 0.5, 0.6)):
        return
    face = [(0.0, 0.02), (0.3, 0.15), (0.37, 0.5), (0.28, 0.88), (0.1, 1.06)]
    canvas.paint(spline(_mirrored(face), closed=True), figure.skin, relief=0.35, radius=0.15)
    if behind:
        back = [(0.0, -0.1), (0.3, 0.0), (0.43, 0.3), (0.42, 0.7), (0.3, 1.1), (0.0, 1.2)]
        hair = figure.skin * 0.3 if figure.hair is None else figure.hair
        canvas.paint(spline(_mirrored(back), closed=True), hair, relief=0.5, radius=0.1)
        return
    if figure.hair is None:
        return
    look = rng.uniform(-0.06, 0.06)
    dark = figure.skin * 0.4
    for side in (-1, 1):
        eye = side * 0.15 + look
        canvas.paint(ellipse(eye, 0.52, 0.065, 0.03, 12), colour(0, 0, 0.95))
        canvas.paint(ellipse(eye + look / 3, 0.52, 0.03, 0.032, 10), dark * 0.4)
        brow = spline([(eye - 0.08, 0.43), (eye, 0.4), (eye + 0.08, 0.43)])
        canvas.paint(limb(brow, (0.015, 0.018, 0.01)), figure.hair * 0.7)
    nose = spline([(look, 0.55), (look + 0.03, 0.68), (look - 0.02, 0.71)])
    canvas.paint(limb(nose, (0.006, 0.016, 0.012)), figure.skin * 0.8)
    lips = figure.skin * np.array([0.85, 0.5, 0.5], np.float32)
    canvas.paint(ellipse(look, 0.85, 0.1, 0.032, 14), lips)
    parting = rng.uniform(-0.25, 0.25)
    line = [(0.4, 0.62), (0.33, 0.3), (parting, 0.16), (-0.33, 0.3), (-0.4, 0.62)]
    crown = [(-0.43, 0.3), (-0.3, 0.0), (0, -0.1), (0.3, 0.0), (0.43, 0.3)]
    canvas.paint(spline(line + crown, closed=True), figure.hair, relief=0.5, radius=0.1)
