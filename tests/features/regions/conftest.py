"""Images with a bright square somewhere, and the square's box."""

from __future__ import annotations

import pytest
from square_images import draw_squares


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Sixty images, and their boxes by id."""
    root = tmp_path_factory.mktemp("squares")
    return root / "photos", draw_squares(root / "photos", 60)
