"""Every error that icecore raises on purpose.

Each class also inherits the builtin that a caller would expect, so that
``except ValueError`` or ``except FileNotFoundError`` works without knowing
icecore. The message says what went wrong and what was found; ``hint`` says
what to do. The command line prints both and nothing else.
"""

import errno
import unicodedata
from collections.abc import Iterable


class IcecoreError(Exception):
    """Base of all errors of icecore.

    Parameters
    ----------
    message : str
        What went wrong and what was found.
    hint : str, optional
        What the reader can do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class FileFormatError(IcecoreError, ValueError):
    """A file does not hold what its reader expects."""


class ArgumentError(IcecoreError, TypeError):
    """A function was given arguments of other types than it declares."""


class IrregularFileError(IcecoreError, OSError):
    """A name leads to a pipe, a socket, a device or a folder where a file is needed."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(f"{path} is {what}, not a file", "give the path of a regular file")
        # What reports an OSError of the system reports this one alike.
        self.errno, self.strerror, self.filename = errno.EINVAL, f"it is {what}", str(path)


class ManifestError(IcecoreError, ValueError):
    """The data a user brought cannot be read as one table of samples."""


class MissingFileError(IcecoreError, FileNotFoundError):
    """A file or folder that was named is not there."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.strerror = message


class StoreError(IcecoreError, OSError):
    """An object of a store cannot be listed, read or created."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        # What reports an OSError of the system reports this one alike.
        self.errno, self.strerror = errno.EIO, message


class RefusedError(StoreError):
    """A store refuses the credentials that it was given."""


class ImageError(IcecoreError, ValueError):
    """One image cannot be decoded, or is too large to be decoded safely."""


class BackboneError(IcecoreError, ValueError):
    """A backbone spec, its network or its preprocessing record is unusable."""


class WeightsError(IcecoreError, ValueError):
    """Pretrained weights cannot be had, or a weights file is not what it should be."""


class ProofError(IcecoreError, ArithmeticError):
    """An exported graph does not compute what its reference computes."""


class MissingDependencyError(IcecoreError, ImportError):
    """A package or a system library that this step needs cannot be loaded."""


class CacheError(IcecoreError, ValueError):
    """A folder is not a feature cache, or its format is not readable."""


class FingerprintError(CacheError):
    """Cached rows were made in another way than the one asked for."""


class DamagedCacheError(CacheError):
    """A shard is cut short or its content does not match its checksum."""


class MissingRowsError(CacheError, KeyError):
    """Rows were asked for that the cache does not hold."""


class ClusterError(IcecoreError, RuntimeError):
    """A Ray cluster cannot be joined, is too small, or did not do what it was given."""


class HeadError(IcecoreError, ValueError):
    """Features and labels cannot be made into a head."""


class RunError(IcecoreError, ValueError):
    """A folder is not a run, or a run lacks what the command needs."""


class ProbabilityError(IcecoreError, ValueError):
    """A probability file is unusable, or several do not belong together."""


class DiskFullError(IcecoreError, OSError):
    """There is no room left for a file that was being written."""


def enumerate_some(items: Iterable[object], most: int = 5) -> str:
    """Join the first few items for a message and count the rest.

    >>> enumerate_some(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    texts = [escaped(shortened(str(item))) for item in items]
    shown = ", ".join(texts[:most])
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many, and of what.

    Parameters
    ----------
    number : int
    one, many : str
        What stands behind 1 and behind other numbers; `many` is `one` with an s by default.

    >>> counted(1, "image"), counted(2, "image"), counted(0, "class has", "classes have")
    ('1 image', '2 images', '0 classes have')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def escaped(text: str, keep: str = "") -> str:
    """Write control and other invisible characters of a stranger's name as escapes.

    A terminal obeys some of them; others (zero-width spaces, marks of direction) make two
    names look like one.

    Parameters
    ----------
    text : str
    keep : str
        Characters that stay as they are, such as the line breaks of a message.

    >>> escaped("a\\x1b[2Jb\\u200b")
    'a\\\\x1b[2Jb\\\\u200b'
    """
    if text.isprintable():
        return text
    return "".join(
        one if one in keep or not _is_invisible(one) else one.encode("unicode_escape").decode()
        for one in text
    )


def shortened(text: str, most: int = 400) -> str:
    """Leave the middle out of a text of more than `most` characters: a cell may have megabytes.

    >>> shortened("abcdefghij", most=8)
    'abcd...ghij'
    """
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def first_line(error: BaseException) -> str:
    """Return what a library says of its failure, as part of one line.

    >>> first_line(ValueError("no\\nthat is all")), first_line(ValueError())
    ('no', 'ValueError')
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO and MXNet first list the places in their own source that the failure came through.
    places = (
        "Exception from ", "Check '", "Traceback (most recent call last)", 'File "',
        "FrontEnd API failed", "Model wasn't fully converted", "While validating", "Summary:",
    )  # fmt: skip
    telling = [
        line.removeprefix("-- ")
        for line in lines
        if not line.startswith(places) and not line.endswith("with a message:")
    ]
    return (telling or lines or [type(error).__name__])[0][:200]


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
