"""Use a cache where the system refuses every file lock, as NFS may; run by test_kill.py.

``python no_locks.py FOLDER``. A seccomp filter lets ``flock`` and the locking commands of
``fcntl`` fail with ENOLCK in this process and all that it forks, whichever library calls them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import multiprocessing
import platform
import struct
import sys
from pathlib import Path

import numpy as np
from kill_writer import DIM, EXPECTED, KEYS, RECORD, compute

from icecore.cache import FeatureCache, Lists, compact, export, merge, prune, repair, verify

# System call numbers: flock, fcntl.
CALLS = {"x86_64": (0xC000003E, 73, 72), "aarch64": (0xC00000B7, 32, 25)}
# F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW.
LOCKING = (6, 7, 37, 38)
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000 | errno.ENOLCK
NUMBER, ARCHITECTURE, SECOND_ARGUMENT = 0, 4, 24
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2


def refuse_locks() -> None:
    """Install the filter; it cannot be taken off again."""
    machine, flock, fcntl_number = CALLS[platform.machine()]
    program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_IF_EQUAL, 0, 8, machine),
        (LOAD, 0, 0, NUMBER),
        (JUMP_IF_EQUAL, 7, 0, flock),
        (JUMP_IF_EQUAL, 0, 5, fcntl_number),
        (LOAD, 0, 0, SECOND_ARGUMENT),
        *((JUMP_IF_EQUAL, 4 - i, 0, command) for i, command in enumerate(LOCKING)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, FAIL),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SET_SECCOMP, FILTER, header, 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "prctl")


def is_refused(lock) -> bool:
    with open(__file__) as file:
        try:
            lock(file, fcntl.LOCK_SH)
        except OSError as error:
            return error.errno == errno.ENOLCK
    return False


def work(path: Path) -> None:
    cache = FeatureCache.create(path)
    one = cache.open_set(RECORD, "test:net", DIM)
    for keys in cache.share([one], KEYS, Lists(5)):
        one.append(keys, np.array([compute(key) for key in keys]))
    one.write_index()


def main(folder: Path) -> dict:
    refuse_locks()
    refused = is_refused(fcntl.flock) and is_refused(fcntl.lockf)
    FeatureCache.create(folder / "a").open_set(RECORD, "test:net", DIM)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=work, args=(folder / "a",)) for _ in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    work(folder / "b")
    cache, other = FeatureCache(folder / "a"), FeatureCache(folder / "b")
    same = cache.matrix("test:net", KEYS).tobytes() == EXPECTED.tobytes()
    merge(FeatureCache.create(folder / "c"), [cache, other])
    compact(cache)
    prune(cache, KEYS[:30], dry_run=False)
    repair(cache)
    cache.record_failures([{"id": "x", "path": "x", "digest": "", "reason": "empty"}])
    export(cache, "test:net", folder / "x.h5")
    return {
        "refused": refused,
        "exits": [writer.exitcode for writer in writers],
        "same": same,
        "left": len(cache.ids("test:net")),
        "ok": all(verify(folder / name)["ok"] for name in "abc"),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
