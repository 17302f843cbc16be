"""Opening a Parquet table, and what is said of a file that is none."""

import contextlib
import os
from collections.abc import Iterator

from .content import describe_content, remedy_for
from .errors import FileFormatError, IcecoreError, first_line
from .regular_files import size_text

_MARK, _MARKED = b"PAR1", 8
# A table of a thousand columns and ten thousand row groups has some hundred megabytes.
_LARGEST_FOOTER = 2**28


def open_parquet(arrow, place: str, file):
    """Open a table; say what a file is that is none."""
    _require_small_footer(place, file)
    try:
        return arrow.parquet.ParquetFile(file)
    except (arrow.ArrowException, ValueError, OSError):
        file.seek(0)
        head = file.read(64)
        cut_short = b"PAR1".startswith(head[:4])
        kind = describe_content(head) or ("" if cut_short else "of another kind")
        if not kind or "Parquet" in kind:
            raise
        raise FileFormatError(
            f"{place} is no Parquet table: it is {kind}",
            remedy_for(kind, "give tables of images as Parquet, or images in folders"),
        ) from None


def _require_small_footer(place: str, file) -> None:
    """Refuse what would be read at once because the file's last bytes say so."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _MARKED))
    last = file.read(_MARKED)
    size = int.from_bytes(last[:4], "little")
    if last[4:] == _MARK and _LARGEST_FOOTER < size <= end:
        raise FileFormatError(
            f"{place} says that its footer has {size_text(size)}, more than "
            f"{size_text(_LARGEST_FOOTER)}",
            "copy it again, or write it with fewer columns and row groups",
        )
    file.seek(0)


@contextlib.contextmanager
def saying(arrow, place: str) -> Iterator[None]:
    """Turn what pyarrow raises into one line that names the table."""
    try:
        yield
    except IcecoreError:
        raise
    except (arrow.ArrowException, ValueError, OverflowError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        other = is_lacking(error) or isinstance(error, UnicodeDecodeError)
        raise FileFormatError(
            f"{place} is no readable Parquet table: {first_line(error)}",
            "write it again with other types" if other else "copy it again; it may be cut short",
        ) from error


def is_lacking(error: Exception) -> bool:
    """Tell whether pyarrow lacks a way to read it; not all such errors are of its own type."""
    return "not yet implemented" in str(error).lower()
