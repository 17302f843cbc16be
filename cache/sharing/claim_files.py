"""The files of claims: who made them, and what killed processes have left."""

import contextlib
import os
import re
import secrets
import time
from pathlib import Path

from ...core.errors import CacheError, IcecoreError
from ...core.json_files import parse_json
from ...core.processes import start_of, this_machine
from ..format.disk import LEFTOVER_AGE_S, open_own, require_own_folder

BEAT, OWNER = "beat-", "owner-"
_ENDING, _ASIDE = ".claim", ".stale-"
_LARGEST_CLAIM = 4096
# Tokens in use in this process: a claim of ours that could not be removed is no claim.
LIVE: set[str] = set()


def remove_dead(folder: Path) -> None:
    """Remove what processes of this machine that were killed have left in a folder of claims."""
    require_own_folder(folder.parent, folder)
    names = os.listdir(folder) if folder.is_dir() else []
    tokens = {name.removeprefix(OWNER) for name in names if name.startswith(OWNER)}
    dead = {one for one in tokens if is_dead_here(read_claim(folder / f"{OWNER}{one}"))}
    for name in names:
        path = folder / name
        if name.endswith(_ENDING) and dead:
            owner = read_claim(path)
            if owner.get("token") in dead:
                take_away(folder, path.stem, owner)
        elif name.startswith(_ASIDE) and is_dead_here(read_claim(path)):
            path.unlink(missing_ok=True)
        elif name.startswith(BEAT) and (token := name.removeprefix(BEAT)) not in tokens:
            # It may not have come to say who it is.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.lstat().st_mtime >= LEFTOVER_AGE_S:
                    dead.add(token)
    for token in dead:
        clean_up_after(folder, token)


def take_away(folder: Path, name: str, owner: dict) -> bool:
    """Remove the claim of a process that is gone; tell whether there is none now."""
    # Renaming first makes one taker the winner. If a new claim was made between the
    # judgement and the renaming, it goes back.
    aside = folder / f"{_ASIDE}{secrets.token_hex(8)}"
    try:
        os.rename(claim_path(folder, name), aside)
    except FileNotFoundError:
        return True
    if read_claim(aside).get("token") != owner.get("token"):
        with contextlib.suppress(OSError):
            os.link(aside, claim_path(folder, name))
        _remove(aside)
        return False
    _remove(aside)
    clean_up_after(folder, owner.get("token", ""))
    return True


def _remove(path: Path) -> None:
    # A folder, which is nobody's claim, stays there, out of the way.
    with contextlib.suppress(OSError):
        os.unlink(path)


def claim_path(folder: Path, name: str) -> str:
    """Return the path of a claim."""
    # As text: there are hundreds of claims, and making a Path takes as long as the file.
    return os.path.join(folder, name + _ENDING)


def clean_up_after(folder: Path, token: str) -> None:
    """Remove the files that are not claims of a process that is gone."""
    for kind in (BEAT, OWNER):
        with contextlib.suppress(OSError):
            os.unlink(folder / f"{kind}{token}")


def is_dead_here(owner: dict) -> bool | None:
    """Tell whether a process of this machine is gone; None if it is of another, or unknown."""
    here = whereabouts()
    if not owner or owner.get("host") != here["host"]:
        return None
    if owner.get("pid") == here["pid"]:
        return owner.get("token") not in LIVE
    return start_of(owner.get("pid", 0)) != owner.get("start")


def whereabouts() -> dict:
    """Return what tells this process from all others, of all machines."""
    pid = os.getpid()
    return {"host": this_machine(), "pid": pid, "start": start_of(pid)}


def read_small(path: str | Path) -> bytes:
    """Return what such a file says; nothing if it cannot be read."""
    try:
        with open_own(path) as file:
            return file.read(_LARGEST_CLAIM)
    except (OSError, CacheError):
        return b""


def read_claim(path: str | Path) -> dict:
    """Return who holds a claim; nothing if it does not say so as we do."""
    try:
        owner = parse_json(read_small(path), path)
    except IcecoreError:
        return {}
    # The token becomes part of a file's name, and the process number of another's.
    sound = (
        isinstance(owner.get("token"), str)
        and re.fullmatch("[0-9a-f]{16}", owner["token"])
        and isinstance(owner.get("pid"), int)
    )
    return owner if sound else {}
