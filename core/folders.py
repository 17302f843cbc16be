"""Folders: put in their place in one step when they are filled, and those of the user."""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import DiskFullError
from .imports import load

try:
    import fcntl
except ImportError:  # Windows has no such locks: nothing is known of who is at work.
    fcntl = None  # type: ignore[assignment]

_RETIRED = "-old"


def user_folder(name: str, variable: str) -> Path:
    """Return a folder of icecore's in the user's cache, or what an environment variable names."""
    if variable in os.environ:
        return Path(os.environ[variable])
    return Path(load("platformdirs").user_cache_dir("icecore", appauthor=False)) / name


@contextlib.contextmanager
def replacing_folder(out: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Give a temporary folder beside `out`; put it in the place of `out` on success.

    What a process left that was killed in the middle is removed first; a folder that had been
    taken out of its place, and was not replaced, is put back.

    Parameters
    ----------
    check : callable
        Raises if `out` may not be replaced; it is asked right before that.
    """
    out = Path(os.path.abspath(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    _tidy(out)
    temporary = out.with_name(f".tmp-{out.name}-{secrets.token_hex(6)}")
    retired = temporary.with_name(temporary.name + _RETIRED)
    temporary.mkdir()
    try:
        with _held(temporary):
            yield temporary
            check()
            if out.exists():
                os.rename(out, retired)
            try:
                os.rename(temporary, out)
            except BaseException:
                if retired.exists():
                    os.rename(retired, out)
                raise
            shutil.rmtree(retired, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, DiskFullError):
            texts = (error.message, error.hint)
            texts = tuple(text.replace(str(temporary), str(out)) for text in texts)
            raise DiskFullError(*texts) from error
        raise


def _tidy(out: Path) -> None:
    pattern = re.compile(rf"\.tmp-{re.escape(out.name)}-[0-9a-f]{{12}}({_RETIRED})?")
    for entry in sorted(out.parent.iterdir()):
        found = pattern.fullmatch(entry.name)
        if not found or entry.is_symlink() or not entry.is_dir():
            continue
        # Who retires a folder holds the temporary one that is to take its place.
        holder = entry.with_name(entry.name.removesuffix(_RETIRED))
        if _is_held(holder if holder.is_dir() else out):
            continue
        if found[1] and not out.exists():
            os.rename(entry, out)
        else:
            shutil.rmtree(entry, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, which goes with the process whatever ends it."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _is_held(folder: Path) -> bool:
    """Tell whether somebody is at work there, as far as that can be known."""
    if fcntl is None:
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
