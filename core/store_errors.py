"""What stores answer, in words."""

import re

from .errors import MissingFileError, StoreError

_RIGHTS = {"listed": "list", "read": "read", "created": "write", "removed": "delete"}


class Saying:
    """Turns what libraries raise into one line that names the object and what was refused.

    Parameters
    ----------
    what : {"listed", "read", "created", "removed"}
    """

    def __init__(self, what: str, url: str) -> None:
        self._what, self._url = what, url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        if error is None or isinstance(error, (StoreError, MissingFileError, GeneratorExit)):
            return
        name, said = type(error).__name__, first_line(error)
        # What object_store says of a listing is of no kind.
        status = re.search(r"status code: (\d+)", said)
        if isinstance(error, FileNotFoundError) or (status and status[1] == "404"):
            raise MissingFileError(
                f"{self._url} is not there", "check the URL; names are told apart by their case"
            ) from error
        refused = ("PermissionDeniedError", "UnauthenticatedError")
        if (
            isinstance(error, PermissionError)
            or name in refused
            or (status and status[1] in ("401", "403"))
        ):
            right = _RIGHTS[self._what]
            raise StoreError(
                f"{self._url} may not be {self._what}: the store refuses these credentials",
                f"ask for the right to {right} there, or set the credentials that have it "
                "(as the store's own tools take them)",
            ) from error
        if name == "InvalidPathError":
            raise StoreError(
                f"{self._url} cannot be {self._what}: {said}",
                "rename that object, or name a prefix that it does not lie below",
            ) from error
        if self._what == "listed" and self._url.startswith("http"):
            raise StoreError(
                f"{self._url} cannot be listed: web servers have no lists of what they hold",
                "name the images in the column 'path' of a CSV, or name a tar or table",
            ) from error
        if name == "NotSupportedError":
            raise StoreError(
                f"{self._url} cannot be {self._what}: {said}",
                "copy it to a store that knows ranges of bytes, or to a disk",
            ) from error
        if isinstance(error, Exception):
            raise StoreError(
                f"{self._url} cannot be {self._what}: {said or name}",
                "check the network, the region and the endpoint; the same command goes on",
            ) from error


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, without the queries of URLs."""
    lines = str(error).strip().splitlines()
    # What was sent is no matter for messages.
    return re.sub(r"\?\S*", "", lines[0])[:300] if lines else ""
