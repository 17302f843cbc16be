"""Download Gluon's archives of parameters: resumed if cut off, checked before they are kept."""

import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...core.errors import DiskFullError, WeightsError, first_line
from ...core.files import disk_full_named, publish
from ...core.imports import load
from ...core.regular_files import open_regular

DEFAULT_REPOSITORY = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/"
# The largest published classifier has 0.6 GB of parameters.
LARGEST_PARAMETERS = 2 * 2**30
ATTEMPTS = 3  # in a row without a byte
MOST_ATTEMPTS = 100
BLOCK = 2**16  # bytes; of a block that was cut off nothing is kept
TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
PAUSE = 1.0  # seconds before the second attempt; twice as long before each later one


def gluon_url(stem: str) -> str:
    """Return the address of an archive: ``NAME-SHA1.zip`` in ``$MXNET_GLUON_REPO``.

    A name and password in it are left out: messages and records of weights have the address.
    """
    return f"{_repository()[0]}/gluon/models/{stem}.zip"


def _repository() -> tuple[str, tuple[str, str] | None]:
    """Return where the archives lie, and the name and password with which they are asked for."""
    parts = urlsplit(os.environ.get("MXNET_GLUON_REPO", DEFAULT_REPOSITORY).rstrip("/"))
    login, _, host = parts.netloc.rpartition("@")
    name, _, password = login.partition(":")
    known = (unquote(name), unquote(password)) if login else None
    return parts._replace(netloc=host).geturl(), known


def download_gluon(
    stem: str, sha1: str, target: Path, on_bytes: Callable[[int, int | None], None] | None = None
) -> None:
    """Download an archive and keep the parameters in it.

    Parameters
    ----------
    stem : str
        ``NAME-SHA1`` as Gluon has it, eight digits of the hash.
    sha1 : str
        Of the parameters.
    target : Path
        Where they go. What was received of an archive that was cut off lies beside it as
        ``.STEM.zip.part``, and the next attempt goes on there, in this run or another.
    on_bytes : callable, optional
        Called with the bytes received, and in all if the server says.

    Raises
    ------
    WeightsError
        The host cannot be reached, does not have it, or sends something else.
    """
    url = gluon_url(stem)
    part = target.parent / f".{stem}.zip.part"
    with disk_full_named(part):
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part, on_bytes)
    try:
        _unpack(url, part, f"{stem}.params", sha1, target)
    finally:
        part.unlink(missing_ok=True)  # whole by now: right, or wrong for good


def _receive(url: str, part: Path, on_bytes: Callable | None) -> None:
    requests = load("requests")
    fruitless = 0
    for _ in range(MOST_ATTEMPTS):
        before = _size(part)
        try:
            return _receive_once(requests, url, part, on_bytes)
        except requests.RequestException as error:
            failure = error
        # Where something arrives the connection is poor, but good enough.
        fruitless = fruitless + 1 if _size(part) <= before else 1
        if fruitless >= ATTEMPTS or not _may_pass(failure):
            break
        time.sleep(PAUSE * 2 ** (fruitless - 1))
    if not _size(part):
        part.unlink(missing_ok=True)
    raise WeightsError(f"{url}: {first_line(failure)}") from failure


def _may_pass(failure) -> bool:
    """Say whether another attempt may have more luck."""
    answer = getattr(failure, "response", None)
    if answer is not None:
        return answer.status_code >= 500 or answer.status_code in (408, 416, 429)
    return not isinstance(failure, ValueError)  # that is how requests calls addresses unusable


def _receive_once(requests, url: str, part: Path, on_bytes: Callable | None) -> None:
    start = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    with requests.get(
        url, headers=headers, auth=_repository()[1], stream=True, timeout=TIMEOUT
    ) as answer:
        if answer.status_code == 416:  # what is there is no beginning of that file
            part.unlink()
        answer.raise_for_status()
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is not None and total > LARGEST_PARAMETERS:
            raise WeightsError(
                f"{url}: the answer has {total} bytes", "this is no file of network weights"
            )
        with open(part, "r+b" if part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            received = start
            for block in answer.iter_content(BLOCK):
                file.write(block)
                received += len(block)
                if received > LARGEST_PARAMETERS:
                    raise WeightsError(f"{url}: the answer does not end", "check MXNET_GLUON_REPO")
                if on_bytes is not None:
                    on_bytes(received, total)
    if total is not None and received < total:
        raise requests.ConnectionError(f"cut off after {received} of {total} bytes")


def _unpack(url: str, archive: Path, member: str, sha1: str, target: Path) -> None:
    try:
        with open_regular(archive) as packed, zipfile.ZipFile(packed) as bundle:
            entry = bundle.getinfo(member)
            if entry.file_size > LARGEST_PARAMETERS:
                raise WeightsError(
                    f"{url}: it would unpack to {entry.file_size} bytes of parameters", ""
                )
            with publish(target) as temporary:
                with bundle.open(entry) as source, open(temporary, "wb") as file:
                    shutil.copyfileobj(source, file, 2**20)
                found = sha1_file(temporary)
                if found != sha1:
                    raise WeightsError(f"{url}: its SHA-1 is {found}, not {sha1}", "")
    except (WeightsError, DiskFullError):
        raise
    except Exception as error:  # a damaged archive can fail in many ways
        raise WeightsError(f"{url}: not a Gluon weights archive ({error})") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sha1_file(path: Path) -> str:
    """Return the SHA-1 of a file's bytes, by which Gluon names its files."""
    with open_regular(path, 0) as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
