"""Copies of drawn pictures are told from other pictures; real ones are in test_photographs."""

from __future__ import annotations

import numpy as np
import pytest

from icecore.auditing.pictures import agreement

Image = pytest.importorskip("PIL.Image", reason="comparing pictures needs Pillow")


@pytest.fixture
def scenes(tmp_path):
    """Three scenes of one layout and different details, as two photographs of a studio are."""
    rng = np.random.default_rng(0)
    layout = np.kron(rng.integers(60, 200, (4, 3)), np.ones((80, 80)))
    found = []
    for number in range(3):
        detail = np.kron(rng.normal(0, 25, (40, 30)), np.ones((8, 8)))
        pixels = np.clip(layout + detail, 0, 255).astype(np.uint8)
        image = Image.fromarray(pixels).convert("RGB")
        path = tmp_path / f"{number}.png"
        image.save(path)
        found.append((image, path))
    return found


def copies(image):
    width, height = image.size
    yield "cut", image.crop((10, 12, width - 14, height - 20)), {}
    yield "compressed", image, {"quality": 20}
    yield "small", image.resize((width // 3, height // 3)), {}
    yield "mirrored", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), {}
    yield "dark", image.point(lambda value: value * 0.6), {}


def test_copies_agree_and_other_pictures_do_not(scenes, tmp_path):
    (image, path), *others = scenes
    for kind, copy, options in copies(image):
        place = tmp_path / f"{kind}.jpg"
        copy.save(place, **({"quality": 90} | options))
        assert agreement((str(path), ""), (str(place), "")) > 0.65, kind
        assert agreement((str(place), ""), (str(path), "")) > 0.65, kind
    for _, other in others:
        assert agreement((str(path), ""), (str(other), "")) < 0.5


def test_a_box_is_what_is_compared(scenes):
    (_, path), (_, other), _ = scenes
    assert agreement((str(path), "0 0 120 160"), (str(path), "120 160 240 320")) < 0.5
    assert agreement((str(path), "0 0 200 300"), (str(path), "")) > 0.65


def test_what_cannot_be_looked_at_has_no_answer(scenes, tmp_path):
    (_, path), *_ = scenes
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for bad in (tmp_path / "broken.jpg", tmp_path / "absent.jpg", tmp_path):
        assert agreement((str(path), ""), (str(bad), "")) is None
