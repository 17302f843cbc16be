"""``icecore --log FILE``: what a command says is kept, each line with the time."""

import contextlib
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.errors import IcecoreError
from ..core.regular_files import append_regular, open_regular


class _Copied:
    """A stream that is written to as before, and whole lines of it to a log.

    What redraws a terminal's line (a progress bar) is not a line that anybody wants to read later.
    """

    def __init__(self, stream, log) -> None:
        self._stream, self._log, self._rest = stream, log, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip() and "\x1b" not in line and "\r" not in line:
                self._log(line)
        return self._stream.write(text)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


class _Log:
    """Lines with the time in a file.

    A job is worth more than its log: where the log cannot be written, the job goes on.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, append_regular(path)
        self._fault: OSError | None = None

    def add(self, line: str) -> None:
        if self._fault is None:
            try:
                self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            except OSError as error:
                self._fault = error

    def close(self) -> None:
        # What could not be written is tried again, and fails again.
        with contextlib.suppress(OSError):
            self._file.close()

    def require_whole(self) -> None:
        """Raise the error of the system, if there was one, about the log."""
        if self._fault is not None:
            reason = self._fault.strerror or self._fault
            raise IcecoreError(
                f"the command is done, but its log {self._path} is not whole: {reason}",
                "free some space there, or name a log on another disk",
            ) from self._fault


@contextlib.contextmanager
def keep_log(path: Path, command: Sequence[str]) -> Iterator[None]:
    """Add the command, all it says and how it ended to the file `path`."""
    _require_log(path)
    log = _Log(path)
    log.add(f"started: {shlex.join(['icecore', *command[1:]])}")
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Copied(sys.stdout, log.add), _Copied(sys.stderr, log.add)
    end = "done"
    try:
        yield
    except SystemExit as stopped:
        end = f"ended with status {stopped.code}"
        raise
    except BaseException as error:
        end = f"stopped: {error or type(error).__name__}"
        raise
    finally:
        sys.stdout, sys.stderr = streams
        log.add(end)
        log.close()
    log.require_whole()


def _require_log(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), open_regular(path) as file:
        begin = file.read(len("2026-01-01 00:00:00 "))
        if begin and not re.fullmatch(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", begin):
            raise IcecoreError(
                f"{path} is there, and is no log of icecore: nothing is added to it",
                "name a file of its own: icecore --log FILE COMMAND",
            )
