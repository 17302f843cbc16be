"""Wait for what comes from elsewhere, and not for ever."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any


def patiently(items: Iterable, seconds: float) -> Iterator:
    """Yield items, each of which must come in time.

    Parameters
    ----------
    seconds : float
        Within which the next one must come.

    Raises
    ------
    TimeoutError
        It did not. The thread that waits for it is left behind.
    """
    coming: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=1)

    def fetch() -> None:
        try:
            for item in items:
                coming.put((True, item))
            coming.put((False, None))
        except BaseException as error:
            coming.put((False, error))

    threading.Thread(target=fetch, daemon=True, name="patience").start()
    while True:
        try:
            more, item = coming.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"nothing came for {seconds:.0f} seconds") from None
        if more:
            yield item
        elif item is None:
            return
        else:
            raise item
