"""Folders: put in their place in one step when they are filled, temporary, and of the user.

Whoever fills a folder holds a lock on it, which goes with the process whatever ends it: so the
next one knows what was left by one that was killed, and removes it.
"""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import DiskFullError, MissingFileError
from .imports import load

try:
    import fcntl
except ImportError:  # Windows has no such locks: nothing is known of who is at work.
    fcntl = None  # type: ignore[assignment]

_RETIRED = "-old"
# Nobody calls a folder of results so; `mkdtemp` adds eight characters.
_SCRATCH = "icecore-scratch-"


def user_folder(name: str, variable: str) -> Path:
    """Return a folder of icecore's in the user's cache, or what an environment variable names."""
    if variable in os.environ:
        return Path(os.environ[variable])
    return Path(load("platformdirs").user_cache_dir("icecore", appauthor=False)) / name


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = _SCRATCH) -> Iterator[Path]:
    """Make a folder for what is wanted for a while only, and remove it at the end.

    Those that killed processes of this user have left in the same place are removed first.

    Parameters
    ----------
    parent : path, optional
        Where; where the system has its temporary files if None.
    prefix : str
        What its name begins with.
    """
    usual = parent is None
    parent = _temporary_place() if parent is None else parent
    remove_abandoned(parent, prefix)
    with _held(lambda: Path(tempfile.mkdtemp(prefix=prefix, dir=parent))) as folder:
        try:
            yield folder
        except DiskFullError as error:
            texts = [text.replace(str(folder), str(parent)) for text in (error.message, error.hint)]
            # A limit of a file's size is said as it is: no space that is freed would help.
            if usual and error.message.startswith("no room") and str(folder) in error.message:
                texts[0] = f"no room left for temporary files in {parent}"
                texts[1] = "free some space there, or name another folder: TMPDIR=/tmp2 icecore ..."
            raise DiskFullError(*texts) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _temporary_place() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise MissingFileError(
            f"there is no folder for temporary files that can be written to: {error.strerror}",
            "name one: TMPDIR=/tmp2 icecore ...",
        ) from error


def remove_abandoned(parent: Path, prefix: str) -> list[Path]:
    """Remove the folders of `scratch_folder` that killed processes of this user have left."""
    removed = []
    pattern = re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}")
    # Windows has neither such locks nor these numbers.
    user = os.getuid() if fcntl is not None else None
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not pattern.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
                continue
            if entry.stat(follow_symlinks=False).st_uid == user:
                with _abandoned(Path(entry.path)) as nobody:
                    if nobody:
                        shutil.rmtree(entry.path, ignore_errors=True)
                        removed.append(Path(entry.path))
    return removed


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
    # Of a link to a folder it is that folder which is replaced.
    out = Path(os.path.realpath(out) if out.is_dir() else os.path.abspath(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    _tidy(out)
    temporary = out
    try:
        with _held(lambda: _new_beside(out)) as temporary:
            retired = temporary.with_name(temporary.name + _RETIRED)
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
        if temporary != out:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, DiskFullError):
            texts = (error.message, error.hint)
            texts = tuple(text.replace(str(temporary), str(out)) for text in texts)
            raise DiskFullError(*texts) from error
        raise


def _new_beside(out: Path) -> Path:
    folder = out.with_name(f".tmp-{out.name}-{secrets.token_hex(6)}")
    try:
        folder.mkdir()
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, str(out)) from error
    return folder


def _tidy(out: Path) -> None:
    pattern = re.compile(rf"\.tmp-{re.escape(out.name)}-[0-9a-f]{{12}}({_RETIRED})?")
    for entry in sorted(out.parent.iterdir()):
        found = pattern.fullmatch(entry.name)
        if not found or entry.is_symlink() or not entry.is_dir():
            continue
        # Who retires a folder holds the temporary one that is to take its place.
        holder = entry.with_name(entry.name.removesuffix(_RETIRED))
        with _abandoned(holder if holder.is_dir() else out) as nobody:
            if not nobody:
                continue
            if found[1] and not out.exists():
                os.rename(entry, out)
            else:
                shutil.rmtree(entry, ignore_errors=True)


@contextlib.contextmanager
def _held(make: Callable[[], Path]) -> Iterator[Path]:
    """Make a folder, and hold a lock on it."""
    while True:
        folder = make()
        descriptor = None
        # Some network file systems have no locks.
        with contextlib.suppress(OSError):
            descriptor = _locked(folder) if fcntl is not None else None
        # Somebody may have taken it for abandoned before it was locked.
        if folder.is_dir():
            break
        if descriptor is not None:
            os.close(descriptor)
    try:
        yield folder
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def _abandoned(folder: Path) -> Iterator[bool]:
    """Tell whether nobody is at work in a folder, as far as that can be known, and keep it so."""
    descriptor = None
    try:
        descriptor = _locked(folder, wait=False) if fcntl is not None else None
        nobody = descriptor is not None
    except OSError as error:
        nobody = isinstance(error, FileNotFoundError)
    try:
        yield nobody
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(folder: Path, wait: bool = True) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
