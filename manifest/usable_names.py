"""Names that a table of samples can hold."""

import sys

from ..core.errors import ManifestError, counted, enumerate_some
from .table import Manifest


def require_usable_names(manifest: Manifest) -> None:
    """Refuse names that no table could hold; all of them are named."""
    # Such names come from old archives; no table could hold them.
    # Those of members of an archive and of classes are ids and labels alone.
    names = {one.path: None for one in manifest}
    for one in manifest:
        own = (one.id, one.label, one.group)
        names |= {name: None for name in own if name not in one.path}
    bad = [name for name in names if not _is_utf8(name)]
    if bad:
        raise ManifestError(
            f"{counted(len(bad), 'name')} in {manifest.source} cannot be read as UTF-8: "
            f"{enumerate_some(map(ascii, bad))}",
            "rename them, for instance with convmv"
            if sys.getfilesystemencoding() == "utf-8"
            else "this locale is not of UTF-8: set PYTHONUTF8=1",
        )
    broken = [name for name in names if "\n" in name or "\r" in name or "\0" in name]
    if broken:
        raise ManifestError(
            f"{counted(len(broken), 'name')} in {manifest.source} with line breaks or NUL: "
            f"{enumerate_some(broken)}",
            "rename them: no table can hold such names",
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
