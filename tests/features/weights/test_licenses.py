from __future__ import annotations

import pytest

from icecore.features.weights.licenses import license_note


@pytest.mark.parametrize("name", ["", "apache-2.0", "MIT", "bsd-3-clause", "cc-by-4.0"])
def test_open_licences_and_unknown_ones_need_no_words(name):
    assert license_note("timm:vit", name) == ""


@pytest.mark.parametrize("name", ["cc-by-nc-4.0", "fair-noncommercial-research-license"])
def test_non_commercial_ones_are_said(name):
    text = license_note("timm:vit", name)
    assert text.startswith("timm:vit: ")
    assert text.endswith(f"{name}, which allows no commercial use")


@pytest.mark.parametrize("name", ["dinov3-license", "apple-amlr", "other", "sync-1.0"])
def test_of_others_nothing_is_claimed(name):
    text = license_note("timm:vit", name)
    assert name in text
    assert "commercial" not in text
