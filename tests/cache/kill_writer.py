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
    one = FeatureCache.create(path).open_set(RECORD, DIM)
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


def run_once(path: Path, delay: float, seed: int) -> tuple[bool, list[str]]:
    """Start a writer and kill it after `delay`; return whether it was killed, and its words."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            write(path, writer, seed)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    said = b""
    while part := os.read(reader, 1 << 16):
        said += part
    os.close(reader)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a writer failed")
    return os.WIFSIGNALED(status), [line for line in said.decode().split("\n") if line]


def main(folder: Path, kills: int, seed: int) -> dict:
    rng = random.Random(seed)
    result = {"kills": 0, "lost": 0, "computed_twice": 0, "differing": 0, "finished": 0}
    path, done = folder / "0", set()
    while result["kills"] < kills:
        killed, said = run_once(path, rng.uniform(0.0, 0.12), rng.randrange(1 << 30))
        result["kills"] += killed
        for line in said:
            word, _, key = line.partition(" ")
            if word == "c":
                result["computed_twice"] += key in done
            elif len(key) == 64:
                done.add(key)
        if not path.exists() or not (path / "icecore-cache.json").exists():
            continue
        cache = FeatureCache(path)
        have = sorted(done)
        if have:
            rows = cache.matrix("test:net", have)
            wanted = EXPECTED[[KEYS.index(key) for key in have]]
            result["lost"] += len(set(have) - set(cache.ids("test:net")))
            result["differing"] += not np.array_equal(rows, wanted)
        if not killed:
            result["finished"] += 1
            result["differing"] += cache.matrix("test:net", KEYS).tobytes() != EXPECTED.tobytes()
            result["differing"] += not verify(cache)["ok"]
            shutil.rmtree(path)
            path, done = folder / str(result["finished"]), set()
    # The last one is resumed to its end.
    write(path, os.open(os.devnull, os.O_WRONLY), 0)
    last = FeatureCache(path)
    result["differing"] += last.matrix("test:net", KEYS).tobytes() != EXPECTED.tobytes()
    result["differing"] += not verify(last)["ok"]
    return result


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
