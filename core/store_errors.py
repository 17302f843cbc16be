"""What stores answer, in words."""

import contextlib
import re
from collections.abc import Iterator

from .errors import MissingFileError, RefusedError, StoreError

_RIGHTS = {"listed": "list", "read": "read", "created": "write", "removed": "delete"}
# Some stores answer 507, others 403, as if it were a matter of credentials.
_FULL = re.compile(r"status code: 507|InsufficientStorage|StorageFull|Quota\w*Exceeded")

# What obstore says of the URL that it is given, and with another type of what a listing has.
_UNFIT = "Could not parse path"


@contextlib.contextmanager
def saying(what: str, url: str) -> Iterator[None]:
    """Turn what libraries raise into one line that names the object and what was refused.

    Parameters
    ----------
    what : {"listed", "read", "created", "removed"}
    """
    try:
        yield
    except (StoreError, MissingFileError):
        raise
    except BaseException as error:
        # What obstore did not foresee is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        # Without a name and password that stand in it.
        raise _in_words(error, what, re.sub("//[^/@]*@", "//", url)) from error


def _in_words(error: BaseException, what: str, url: str) -> StoreError | MissingFileError:
    name, said = type(error).__name__, first_line(error)
    # What object_store says of a listing is of no kind, nor what the hub's library says.
    found = re.search(r"status code: (\d+)", said)
    answer = getattr(error, "response", None)
    status = found[1] if found else str(getattr(answer, "status_code", ""))
    if isinstance(error, FileNotFoundError) or status == "404":
        return MissingFileError(
            f"{url} is not there", "check the URL; names are told apart by their case"
        )
    if told := _by_its_words(error, what, url, status):
        return told
    refused = name in ("PermissionDeniedError", "UnauthenticatedError")
    if refused or isinstance(error, PermissionError) or status in ("401", "403"):
        return RefusedError(
            f"{url} may not be {what}: the store refuses these credentials",
            f"ask for the right to {_RIGHTS[what]} there, or set the credentials that have it "
            "(as the store's own tools take them)",
        )
    if name == "InvalidPathError":
        return StoreError(
            f"{url} cannot be {what}: {said}",
            "rename that object, or name a prefix that it does not lie below",
        )
    if what == "listed" and url.startswith("http"):
        return StoreError(
            f"{url} cannot be listed: web servers have no lists of what they hold",
            "name the images in the column 'path' of a CSV, or name a tar or table",
        )
    if name == "NotSupportedError":
        return StoreError(
            f"{url} cannot be {what}: {said}",
            "copy it to a store that knows ranges of bytes, or to a disk",
        )
    return StoreError(
        f"{url} cannot be {what}: {said or name}",
        "check the network, the region and the endpoint (http:// needs AWS_ALLOW_HTTP=true); "
        "the same command goes on",
    )


def _by_its_words(error: BaseException, what: str, url: str, status: str) -> StoreError | None:
    """Tell what stores say under the number of something else, or of nothing."""
    said = first_line(error)
    if what == "created" and _FULL.search(str(error)):
        return StoreError(
            f"{url} cannot be created: the store is full, or its quota is used up",
            "free some space there or have the quota raised; the same command goes on",
        )
    if status in ("429", "503"):
        return StoreError(
            f"{url} cannot be {what}: the store is asked too often, or is not ready ({status}), "
            "and was so each time that it was asked again",
            "wait some minutes, or ask with fewer machines at a time; the same command goes on",
        )
    if "RequestTimeTooSkewed" in str(error):
        return StoreError(
            f"{url} cannot be {what}: the clocks of the store and of this machine differ",
            "set the clock of this machine",
        )
    if _UNFIT in said:
        return StoreError(
            f"{url} cannot be {what}: {said}",
            "between slashes stand names, which are not empty, not . or .., and have no control "
            "characters: write the URL so",
        )
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without the queries of URLs."""
    lines = str(error).strip().splitlines()
    # What was sent is no matter for messages.
    return re.sub(r"\?\S*", "", lines[0])[:300] if lines else ""
