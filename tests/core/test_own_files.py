"""What this user wrote is known by its bytes, and nothing else is."""

from __future__ import annotations

from icecore.core.own_files import is_own, remember_own


def test_exactly_these_bytes_of_this_user_are_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert not is_own(b"forest")
    remember_own(b"forest")
    assert is_own(b"forest")
    assert not is_own(b"forest.")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "theirs"))
    assert not is_own(b"forest")


def test_a_home_that_cannot_be_written_makes_everything_a_strangers(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember_own(b"forest")
    assert not is_own(b"forest")
