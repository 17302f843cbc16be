"""Names from data in texts that are read by programs."""

from __future__ import annotations

__all__ = ["markdown"]


def markdown(text: str) -> str:
    """Keep names from data from becoming markup, in Markdown or in HTML made of it."""
    for character in "\\`*_[]<>|#":
        text = text.replace(
            character,
            f"\\{character}" if character not in "<>" else {"<": "&lt;", ">": "&gt;"}[character],
        )
    return " ".join(text.split())
