"""Make hostile caches and see what icecore does with them; run by test_caches.py.

``python attack_caches.py FOLDER COUNT SEED``. Each cache is attacked in one way, drawn from the
seed, and then used in all ways, in a process of its own with limits of time and memory. It
holds if every use ends with an answer or with one of icecore's errors, if no row is served
that was not written, if nothing outside the cache is touched, and if `repair` leaves a cache
that `verify` passes. Prints one JSON line, and a line for each fault before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_caches import (
    ATTACKS,
    DIM,
    KEYS,
    NAME,
    RECORD,
    TRUE,
    VIEWS,
    WIDTH,
    files,
    make_cache,
    make_victim,
)  # fmt: skip

from icecore.cache import (
    FeatureCache,
    compact,
    export,
    list_sets,
    merge,
    prune,
    repair,
    show_set,
    verify,
)
from icecore.cache.sharing.claims import Claims
from icecore.core.errors import IcecoreError

SECONDS, MEMORY = 20, 1 << 30
# Claims of others are waited for so long; a minute in earnest.
Claims.__init__.__defaults__ = (5.0, 0.3)


class TooLong(BaseException):
    """The time is up."""


def too_long(*_: object) -> None:
    raise TooLong


def use(path: Path, seed: int, faults: list[str]) -> None:
    """Use a cache in all ways; add what was wrong to `faults`."""

    def attempt(what: str, job: Callable[[], object]) -> object:
        try:
            return job()
        except TooLong:
            faults.append(f"{what}: it takes too long")
            raise
        except (IcecoreError, OSError) as error:
            text = str(error)
            if not text.strip() or len(text.splitlines()[0]) > 4000:
                faults.append(f"{what}: no message a person can use: {text[:80]!r}")
        except Exception:
            faults.append(f"{what}: {traceback.format_exc(limit=-4)}")
        return None

    def served() -> None:
        cache = FeatureCache(path)
        keys = cache.ids(NAME)
        known = [key for key in keys if key in TRUE]
        rows = cache.matrix(NAME, known)
        if rows.shape[1] != DIM or not np.array_equal(rows, np.array([TRUE[k] for k in known])):
            faults.append("a row was served that nobody wrote")

    def extract() -> None:
        one = FeatureCache.create(path).open_set(RECORD, NAME, WIDTH, VIEWS)
        missing = one.missing(KEYS)
        one.append(missing, np.array([TRUE[key] for key in missing]).reshape(-1, DIM))
        one.write_index()
        if not np.array_equal(one.matrix(KEYS), np.array([TRUE[key] for key in KEYS])):
            faults.append("after a new extraction rows are wrong")

    beside = path.with_name("beside")
    jobs = {
        "read": served,
        "list": lambda: list_sets(FeatureCache(path)),
        "show": lambda: show_set(FeatureCache(path)),
        "failures": lambda: FeatureCache(path).failures(),
        "export": lambda: export(FeatureCache(path), NAME, path.with_name("x.npz")),
        "merge": lambda: merge(FeatureCache.create(beside), [FeatureCache(path)]),
        "prune": lambda: prune(FeatureCache(path), KEYS[:20], dry_run=True),
        "plan a repair": lambda: repair(path, dry_run=True),
        "verify": lambda: verify(path),
    }
    for what, job in jobs.items():
        attempt(what, job)
    mend = [("repair", lambda: repair(path)), ("extract", extract)]
    for what, job in mend if seed % 2 else reversed(mend):
        attempt(what, job)
    report = attempt("verify the mended", lambda: verify(path))
    if report is not None and not report["ok"]:
        faults.append(f"mended, and yet: {report['problems'][0]}")
    attempt("compact", lambda: compact(FeatureCache(path)))
    attempt("read again", served)


def limited(path: Path, seed: int) -> list[str]:
    """Run `use` in a process of its own, with limits of time and memory."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)

            signal.signal(signal.SIGALRM, too_long)
            signal.alarm(SECONDS)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            faults: list[str] = []
            with contextlib.suppress(TooLong):
                use(path, seed, faults)
            os.write(writer, json.dumps(faults)[:60_000].encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = b""
    while part := os.read(reader, 1 << 16):
        said += part
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return [f"the process died of signal {os.WTERMSIG(status)}"]
    try:
        return json.loads(said)
    except ValueError:
        return [f"the process ended early: {said[:200]!r}"]


def look(victim: Path) -> dict:
    return {
        str(p.relative_to(victim)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files(victim)
    }


def main(folder: Path, count: int, seed: int) -> dict:
    make_cache(folder / "original")
    make_victim(folder / "victim")
    counts = {"tried": 0, "held": 0, "fault": 0}
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        place = folder / "case"
        path = Path(shutil.copytree(folder / "original", place / "cache"))
        attack = ATTACKS[number % len(ATTACKS)]
        done = attack(rng, path, folder / "victim")
        before = look(folder / "victim")
        faults = limited(path, number)
        if look(folder / "victim") != before:
            faults.append("something outside the cache was changed")
            shutil.rmtree(folder / "victim")
            make_victim(folder / "victim")
        counts["tried"] += 1
        counts["fault" if faults else "held"] += 1
        for fault in faults:
            print(f"{seed}-{number} {done}: {fault}", flush=True)
        shutil.rmtree(place)
    return counts


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
