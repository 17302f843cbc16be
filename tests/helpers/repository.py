"""Where the repository of the tests is, wherever a test lies in it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
