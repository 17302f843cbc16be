"""A listener to an extraction that hears one thing."""

from __future__ import annotations

from icecore.features import ProgressListener

__all__ = ["hearing"]


def hearing(on_images) -> ProgressListener:
    """Return a listener that passes each look at the images on to a function."""
    listener = ProgressListener()
    listener.on_images = on_images
    return listener
