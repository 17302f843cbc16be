"""Which files this user's icecore wrote: their digests, kept where no stranger's file gets to.

What may run code is opened without a question, and a finished head is taken over, only if it was
written here.
"""

import os
from pathlib import Path

from .files import sha256_bytes


def remember_own(content: bytes) -> None:
    """Keep the digest of a file that is written now, for `is_own`."""
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / sha256_bytes(content)).touch()
    except (OSError, RuntimeError):  # No home, or a read-only one: the file is a stranger's then.
        return


def is_own(content: bytes) -> bool:
    """Tell whether this user wrote a file of exactly these bytes, on this machine."""
    try:
        return (_folder() / sha256_bytes(content)).is_file()
    except (OSError, RuntimeError):
        return False


def _folder() -> Path:
    # Training needs the core alone, and platformdirs, which knows other systems' folders, is
    # none of it.
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "icecore" / "own"
