"""Which process reads what, where several would read the same to find out what is in it."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..core.files import sha256_bytes
from .cache_folder import MARKER_NAME
from .featurecache import CLAIMS_NAME, FeatureCache
from .sharing.claims import Claims, ClaimsOfProcess


class Readers:
    """What this process alone reads, until all others can know what it found.

    Parameters
    ----------
    claims : ClaimsOfProcess
    exchange : callable
        Sends what was found, and brings what others have found.
    """

    def __init__(self, claims: ClaimsOfProcess, exchange: Callable[[], None]) -> None:
        self._claims, self._exchange = claims, exchange
        self._held: list[str] = []

    def claim(self, place: str) -> bool:
        """Tell whether this process is to read what is at a place, and no other."""
        name = f"read-{sha256_bytes(place.encode())[:24]}"
        if not self._claims.acquire([name]):
            return False
        self._held.append(name)
        return True

    def tell(self) -> None:
        """Let others know what was found, which is in the memory of digests."""
        self._exchange()
        self._claims.release(self._held)
        self._held = []

    def wait(self) -> None:
        """Wait a little for what others find."""
        time.sleep(self._claims.poll_s)
        self._exchange()


@contextlib.contextmanager
def readers(folder: Path, store: FeatureCache | None) -> Iterator[Readers]:
    """Share out what is to be read among the processes at one cache.

    Parameters
    ----------
    folder : pathlib.Path
        Of the cache, which need not be there yet: what is made before it is one is removed again
        if it does not become one.
    store : FeatureCache or None
        The cache, if it is open.
    """
    new = not folder.exists()
    claims = Claims(folder / CLAIMS_NAME) if store is None else store.claims()
    try:
        with claims:
            yield Readers(claims, store.exchange_digests if store else lambda: None)
    finally:
        if new and not (folder / MARKER_NAME).exists():
            shutil.rmtree(folder / "digests", ignore_errors=True)
            with contextlib.suppress(OSError):
                (folder / CLAIMS_NAME).rmdir()
                folder.rmdir()
