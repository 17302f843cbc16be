"""SIGKILL at random moments, and several processes at once."""

from __future__ import annotations

import errno
import itertools
import json
import multiprocessing
import os
import pickle
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from packages import import_or_skip

import icecore
from icecore.cache import FeatureCache, Lists, compact, verify
from icecore.cache.sharing.claims import Claims

SPEC, DIM = "gluon:inceptionv3", 40


def environment():
    # The package may lie in a checkout of any name; children import what we imported.
    root = Path(icecore.__file__).parent.parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}


@pytest.mark.parametrize("kills", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_kills_lose_nothing_and_compute_nothing_twice(fast_folder, request, kills):
    program = Path(__file__).with_name("kill_writer.py")
    done = subprocess.run(
        [sys.executable, program, fast_folder, str(kills), "7"],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nkilled writers: {json.dumps(result)}")
    assert result["kills"] == kills
    assert (result["lost"], result["computed_twice"], result["differing"]) == (0, 0, 0)
    # Some came through between two kills, so whole lives were seen too.
    assert result["finished"] > 0


def worker(path, make, keys, log, pause, stop_after):
    cache = FeatureCache(path)
    one = cache.open_set(**make.asked(DIM))
    for number, batch in enumerate(cache.share([one], keys, Lists(8))):
        if number == stop_after:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(pause)
        with open(log, "a") as file:
            file.write("".join(f"{key}\n" for key in batch))
        one.append(batch, make.rows(batch, DIM))


@pytest.fixture
def start(make, tmp_path, cache):
    context = multiprocessing.get_context("fork")
    running = []

    def begin(keys, pause=0.0, stop_after=-1):
        log = tmp_path / f"log{len(running)}"
        log.touch()
        arguments = (cache.path, make, keys, log, pause, stop_after)
        running.append(context.Process(target=worker, args=arguments))
        running[-1].start()
        return running[-1], log

    yield begin
    for process in running:
        process.kill()
        process.join()


def test_two_writers_share_the_work_and_compute_no_row_twice(cache, make, start):
    keys = make.keys(300)
    # Slow enough for the others to have started before the first is through.
    writers = [start(keys, pause=0.03) for _ in range(3)]
    for process, _ in writers:
        process.join(60)
        assert process.exitcode == 0
    computed = [key for _, log in writers for key in log.read_text().split()]
    assert sorted(computed) == sorted(keys)
    assert sum(bool(log.read_text()) for _, log in writers) > 1
    assert np.array_equal(cache.matrix(SPEC, keys), make.rows(keys, DIM).astype(np.float32))
    assert verify(cache)["ok"]
    assert not list((cache.path / "claims").iterdir())


def test_claims_of_a_dead_process_are_taken_over(cache, make, start):
    keys = make.keys(100)
    killed, _ = start(keys, stop_after=2)
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert list((cache.path / "claims").glob("*.claim"))
    other, _ = start(keys)
    other.join(60)
    assert other.exitcode == 0
    assert FeatureCache(cache.path).find(SPEC).missing(keys) == []
    assert not list((cache.path / "claims").glob("*.claim"))


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="the filter on system calls is Linux's",
)
def test_no_lock_of_files_is_needed(tmp_path):
    """NFS may refuse all of them, and HDF5 takes some unless told otherwise."""
    program = Path(__file__).with_name("no_locks.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path],
        env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "refused": True, "exits": [0, 0], "same": True, "left": 30, "ok": True,
    }  # fmt: skip


def test_file_that_another_machine_replaced_is_looked_for_again(cache, make, monkeypatch):
    """NFS says ESTALE where a local disk would still give the old file's bytes."""
    keys = make.keys(20)
    make.fill(cache.open_set(**make.asked(DIM)), keys, 10)
    reader = FeatureCache(cache.path)
    expected = reader.matrix(SPEC, keys)
    compact(cache)
    real, calls = os.preadv, itertools.count()

    def stale(*arguments):
        if next(calls) == 0:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(*arguments)

    monkeypatch.setattr(os, "preadv", stale)
    assert np.array_equal(reader.matrix(SPEC, keys), expected)
    assert next(calls) > 1


def test_claim_of_another_machine_expires_only_without_heartbeat(tmp_path):
    with Claims(tmp_path, heartbeat_s=0.05, expiry_s=0.4) as theirs:
        assert theirs.acquire(["lot"])
        claim = tmp_path / "lot.claim"
        content = json.loads(claim.read_text())
        claim.write_text(json.dumps({**content, "host": "elsewhere"}))
        with Claims(tmp_path, heartbeat_s=0.05, expiry_s=0.4) as ours:
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                # Its clock is hours ahead, or behind.
                hours = 6 if int(20 * time.monotonic()) % 2 else -6
                for path in tmp_path.iterdir():
                    os.utime(path, (time.time() + 3600 * hours,) * 2)
                assert not ours.acquire(["lot"])
                time.sleep(0.05)
            # The other machine stops: no heartbeat moves any more.
            theirs._stop.set()
            theirs._thread.join()
            while not ours.acquire(["lot"]):
                assert time.monotonic() < deadline + 30
                time.sleep(0.05)
            theirs.release(["lot"])
            assert json.loads(claim.read_text())["token"] == ours._token
        assert not claim.exists()


def test_half_written_claim_expires(tmp_path):
    (tmp_path / "lot.claim").write_text("")
    with Claims(tmp_path, heartbeat_s=0.05, expiry_s=0.2) as ours:
        assert not ours.acquire(["lot"])
        time.sleep(0.3)
        assert ours.acquire(["lot"])


def test_reader_sees_a_growing_set_of_whole_rows(cache, make, start):
    keys = make.keys(200)
    cache.open_set(**make.asked(DIM))
    expected = dict(zip(keys, make.rows(keys, DIM).astype(np.float32), strict=True))
    writer, _ = start(keys, pause=0.002)
    reader, before = FeatureCache(cache.path), set()
    while writer.is_alive() or len(before) < len(keys):
        ids = reader.ids(SPEC)
        assert before <= set(ids)
        before = set(ids)
        rows = reader.matrix(SPEC, ids)
        assert all(np.array_equal(row, expected[key]) for key, row in zip(ids, rows, strict=True))
        if len(ids) % 3 == 0:
            compact(cache)
    assert before == set(keys)


def test_workers_of_a_data_loader_read_an_open_cache(cache, make):
    torch = import_or_skip("torch")
    keys = make.keys(64)
    make.fill(cache.open_set(**make.asked(DIM)), keys, 9)
    reader = FeatureCache(cache.path)
    expected = reader.matrix(SPEC, keys)

    class Features(torch.utils.data.Dataset):
        def __len__(self):
            return len(keys)

        def __getitem__(self, i):
            return reader.matrix(SPEC, [keys[i]])[0]

    loader = torch.utils.data.DataLoader(
        Features(), batch_size=8, num_workers=2, multiprocessing_context="fork"
    )
    assert np.array_equal(torch.cat(list(loader)).numpy(), expected)


def read_in_child(cache, keys, queue):
    queue.put(cache.matrix(SPEC, keys))


def test_an_open_handle_survives_fork_and_pickling(cache, make):
    keys = make.keys(50)
    make.fill(cache.open_set(**make.asked(DIM)), keys, 9)
    reader = FeatureCache(cache.path)
    expected = reader.matrix(SPEC, keys)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=read_in_child, args=(reader, keys, queue)) for _ in "ab"]
    for child in children:
        child.start()
    for _ in children:
        assert np.array_equal(queue.get(timeout=60), expected)
    for child in children:
        child.join(60)
    assert np.array_equal(reader.matrix(SPEC, keys), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(reader)).matrix(SPEC, keys), expected)
