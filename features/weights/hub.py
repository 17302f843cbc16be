"""Files from the Hugging Face hub, each checked against the digest that the hub names.

``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` work as they do
everywhere. ``huggingface_hub`` resumes what was cut off and keeps
the files in its own cache; it does not look at their digests, so that is done here.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from ...core.errors import WeightsError, first_line
from ...core.files import sha256_file
from ...core.imports import load, quiet_log

_DEFAULT_ENDPOINT = "https://huggingface.co"
TIMEOUT = 10  # seconds until the hub answers


@dataclasses.dataclass(frozen=True)
class HubFile:
    """A file of the hub on this machine.

    Attributes
    ----------
    revision : str
        The commit that it is of.
    sha256 : str
        Of its bytes, as the hub has it.
    """

    path: Path
    repository: str
    file: str
    revision: str
    sha256: str

    @property
    def text(self) -> str:
        """Where it is from, in a line."""
        return f"hub {self.repository}@{self.revision[:12]} {self.file}"


def hub_url(repository: str, file: str) -> str:
    """Return the address where a browser gets the file, without a name and password."""
    return _shown(f"{_endpoint()}/{repository}/resolve/main/{file}")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", _DEFAULT_ENDPOINT).rstrip("/")


def _shown(text: str) -> str:
    login = urlsplit(_endpoint()).netloc.rpartition("@")[0]
    return text.replace(f"{login}@", "") if login else text


def hub_file(
    repository: str,
    file: str,
    on_bytes: Callable[[int, int | None], None] | None = None,
    *,
    local_only: bool = False,
) -> HubFile:
    """Return a file of the hub, from the hub's cache on this machine or by a download.

    Parameters
    ----------
    repository : str
        ``owner/name``.
    file : str
        Path in the repository.
    on_bytes : callable, optional
        Called with the bytes received, and in all if that is known.
    local_only : bool
        Ask no server.

    Raises
    ------
    WeightsError
        It cannot be had, or its bytes are not those that the hub names. Then it is not kept.
    """
    hub = load("huggingface_hub")
    where, endpoint = hub_url(repository, file), _endpoint()
    local_only = local_only or _offline()
    try:
        with quiet_log("huggingface_hub"):
            if not local_only:
                # The download itself would try for half a minute if there is no way to the hub.
                asked = f"{endpoint}/{repository}/resolve/main/{file}"
                hub.get_hf_file_metadata(asked, timeout=TIMEOUT, endpoint=endpoint)
            path = hub.hf_hub_download(
                repository,
                file,
                cache_dir=_cache(),
                endpoint=endpoint,
                local_files_only=local_only,
                tqdm_class=_bar_class(on_bytes),
                etag_timeout=TIMEOUT,
            )
    except Exception as error:  # the library, its HTTP client and the disk raise many kinds
        if not local_only:
            with contextlib.suppress(WeightsError):
                return hub_file(repository, file, local_only=True)
        reason = _shown(first_line(error))
        raise WeightsError(f"{where}: {type(error).__name__}: {reason}") from error
    return _checked(Path(path), repository, file, where)


def _checked(path: Path, repository: str, file: str, where: str) -> HubFile:
    # .../snapshots/COMMIT/FILE leads to .../blobs/DIGEST: the digest that the hub sent.
    blob, parts = path.resolve(), file.split("/")
    revision, named = path.parents[len(parts) - 1].name, blob.name
    sha256 = sha256_file(blob)
    if len(named) == 64:
        good = named == sha256
    else:  # small files are named as git names them
        content = blob.read_bytes()
        good = named == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if not good:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise WeightsError(
            f"{where}: its SHA-256 is {sha256}, the hub says {named}",
            "the file was damaged on its way; try again",
        )
    return HubFile(path, repository, file, revision, sha256)


def _cache() -> str | None:
    # The library reads the environment when it is imported; this, when a file is wanted.
    home = os.environ.get("HF_HOME")
    return os.environ.get("HF_HUB_CACHE") or (os.path.join(home, "hub") if home else None)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _bar_class(on_bytes):
    """Make a progress bar of the kind that the library drives, which only counts."""

    class _Counter(load("tqdm", "tqdm.auto").auto.tqdm):
        def __init__(self, *args, **kwargs) -> None:
            kwargs.pop("name", None)
            kwargs["disable"] = True
            self._received, self._total = kwargs.get("initial") or 0, kwargs.get("total")
            super().__init__(*args, **kwargs)

        def update(self, n=1):
            self._received += n or 0
            if on_bytes is not None:
                on_bytes(self._received, self._total)

    return _Counter
