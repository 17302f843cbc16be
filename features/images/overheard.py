"""What a decoder says to the terminal, where it says it nowhere else."""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator

# The terminal is one for the process.
_TURN = threading.Lock()


@contextlib.contextmanager
def overheard(pattern: re.Pattern[bytes]) -> Iterator[list[str]]:
    """Collect the lines on stderr that fit a pattern; all others are passed on.

    Yields
    ------
    list of str
        Filled when the context ends.
    """
    lines: list[str] = []
    with _TURN, tempfile.TemporaryFile() as heard:
        kept = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            heard.seek(0)
            for line in heard:
                if pattern.search(line):
                    lines.append(line.decode("ascii", "replace").strip())
                else:
                    os.write(2, line)
