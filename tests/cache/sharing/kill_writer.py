"""Kill a writer at random moments and see what is left; run by test_kill.py.

``python kill_writer.py FOLDER KILLS SEED``. Writers are forked from this small process, so that
each kill costs milliseconds. A writer says "c KEY" before it computes a row and "d KEY" when the
row is counted as done; the pipe outlives it. Prints one JSON line.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

from icecore.cache import FeatureCache, compact, verify

DIM, ROWS = 64, 60
RECORD = {
    "backbone": {"spec": "test:net", "weights_digest": "0"},
    "fit": "crop", "views": ["center"], "precision": "float16", "layer": "pool",
}  # fmt: skip
KEYS = [hashlib.sha256(b"%d" % i).hexdigest() for i in range(ROWS)]


def compute(key: str) -> np.ndarray:
    return np.random.default_rng(int(key[:12], 16)).normal(size=DIM).astype(np.float16)


EXPECTED = np.array([compute(key) for key in KEYS]).astype(np.float32)


def write(path: Path, pipe: int, seed: int) -> None:
    rng = random.Random(seed)
    one = FeatureCache.create(path).open_set(RECORD, "test:net", DIM)
    missing = one.missing(KEYS)
    while missing:
        part = [missing.pop() for _ in range(min(len(missing), rng.randint(1, 4)))]
        os.write(pipe, "".join(f"c {key}\n" for key in part).encode())
        one.append(part, np.array([compute(key) for key in part]), {"seed": seed})
        os.write(pipe, "".join(f"d {key}\n" for key in part).encode())
        if rng.random() < 0.3:
            one.write_index()
        if rng.random() < 0.1:
            compact(FeatureCache(path), shard_bytes=rng.choice([4000, 1 << 20]))
    one.write_index()


CALLS = ("open", "write", "fsync", "replace", "mkdir", "unlink")


def die_at_call(number: int, rng: random.Random) -> None:
    """Make this process kill itself at its `number`-th call that touches the disk."""
    calls = 0

    def deadly(name: str, real):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == number:
                if name == "write" and rng.random() < 0.5:
                    # Half of the bytes are there.
                    content = memoryview(arguments[1]).cast("B")
                    real(arguments[0], content[: len(content) // 2], *arguments[2:])
                elif rng.random() < 0.5:
                    real(*arguments, **options)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, deadly(name, getattr(os, name)))


def run_once(path: Path, moment: float | int, seed: int) -> tuple[bool, list[str]]:
    """Start a writer and kill it; return whether it was killed, and its words.

    A float is a number of seconds, an integer a number of calls that touch the disk.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            if isinstance(moment, int):
                die_at_call(moment, random.Random(seed))
            write(path, writer, seed)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    if isinstance(moment, float):
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    said = b""
    while part := os.read(reader, 1 << 16):
        said += part
    _, status = os.waitpid(child, 0)
    os.close(reader)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a writer failed")
    return os.WIFSIGNALED(status), [line for line in said.decode().split("\n") if line]


class Tally:
    """Counts what went wrong, with the rows that were counted as done so far."""

    def __init__(self) -> None:
        self.counts = {"kills": 0, "lost": 0, "computed_twice": 0, "differing": 0, "finished": 0}
        self.done: set[str] = set()

    def listen(self, said: list[str]) -> None:
        """Take in what a writer said before it died."""
        for line in said:
            word, _, key = line.partition(" ")
            if word == "c":
                self.counts["computed_twice"] += key in self.done
            elif len(key) == 64:
                self.done.add(key)

    def look(self, path: Path) -> None:
        """Compare what a killed writer left with what it had counted as done."""
        cache, have = FeatureCache(path), sorted(self.done)
        self.counts["lost"] += len(self.done - set(cache.ids("test:net")) if have else ())
        if have:
            rows = cache.matrix("test:net", have)
            wanted = EXPECTED[[KEYS.index(key) for key in have]]
            self.counts["differing"] += not np.array_equal(rows, wanted)

    def resume(self, path: Path) -> None:
        """Finish a copy of what was left: it must be as if nobody had been killed."""
        copy = shutil.copytree(path, path.with_name("resumed"))
        one = FeatureCache.create(copy).open_set(RECORD, "test:net", DIM)
        missing = one.missing(KEYS)
        self.counts["computed_twice"] += len(self.done & set(missing))
        one.append(missing, np.array([compute(key) for key in missing]).reshape(-1, DIM))
        self.finish(copy)
        shutil.rmtree(copy)

    def finish(self, path: Path) -> None:
        """Compare a complete cache with an uninterrupted run's."""
        cache = FeatureCache(path)
        self.counts["differing"] += cache.ids("test:net") != sorted(KEYS)
        same = cache.matrix("test:net", KEYS).tobytes() == EXPECTED.tobytes()
        self.counts["differing"] += not (same and verify(cache)["ok"])


def main(folder: Path, kills: int, seed: int) -> dict:
    rng = random.Random(seed)
    started = time.perf_counter()
    write(folder / "whole", os.open(os.devnull, os.O_WRONLY), 0)
    usual = time.perf_counter() - started
    tally, number = Tally(), 0
    path = folder / "0"
    while tally.counts["kills"] < kills:
        # In turn at a moment that the clock gives, and at a call that the seed gives.
        moment = rng.uniform(0.0, usual) if number % 2 else rng.randrange(1, 150)
        number += 1
        killed, said = run_once(path, moment, rng.randrange(1 << 30))
        tally.counts["kills"] += killed
        tally.listen(said)
        if (path / "icecore-cache.json").exists() and any(path.glob("*/record.json")):
            tally.look(path)
            if number % 4 < 2:  # half of each kind; a resumption takes as long as all the rest
                tally.resume(path)
        if not killed:
            tally.counts["finished"] += 1
            tally.finish(path)
            shutil.rmtree(path)
            path, tally.done = folder / str(number), set()
    return tally.counts


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
