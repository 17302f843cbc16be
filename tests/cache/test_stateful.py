"""Random sequences of everything that can happen to a cache, against a dictionary."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from drawing import few
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from icecore.cache import FeatureCache, compact, merge, prune, repair, verify
from icecore.cache.sharing.claims import Claims
from icecore.core.errors import DamagedCacheError, MissingRowsError

DIM, POOL = 6, 24


class Crash(BaseException):
    """Stands for a process that stops here."""


class CacheMachine(RuleBasedStateMachine):
    """Drives one cache and a model of it: a dictionary from key to row."""

    # Set by the test from the fixture, so that builders are shared.
    make = None

    @initialize()
    def begin(self):
        self.root = Path(tempfile.mkdtemp())
        self.cache = FeatureCache.create(self.root / "cache")
        self.reader = FeatureCache(self.root / "cache")
        self.one = self.cache.open_set(**self.make.asked(DIM))
        self.model: dict[str, np.ndarray] = {}
        self.damaged: set[str] = set()
        self.keys = self.make.keys(POOL)

    def teardown(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def some(self, numbers):
        return [self.keys[i] for i in dict.fromkeys(numbers)]

    numbers = st.lists(st.integers(0, POOL - 1), min_size=1, max_size=8)

    @rule(numbers=numbers)
    def write(self, numbers):
        keys = self.some(numbers)
        self.one.append(keys, self.make.rows(keys, DIM))
        self.model.update(zip(keys, self.make.rows(keys, DIM), strict=True))

    @precondition(lambda self: not self.damaged)
    @rule(numbers=numbers, call=st.sampled_from(["write", "fsync", "replace"]))
    def crash_while_writing(self, numbers, call):
        keys = [key for key in self.some(numbers) if key not in self.model]
        real = getattr(os, call)

        def stop(*_):
            raise Crash

        setattr(os, call, stop)
        try:
            self.one.append(keys, self.make.rows(keys, DIM))
        except Crash:
            pass
        finally:
            setattr(os, call, real)

    @rule()
    def resume(self):
        self.cache = FeatureCache(self.cache.path)
        self.one = self.cache.open_set(**self.make.asked(DIM))
        if self.damaged:
            assert self.one.warnings
            self.lose(self.one.missing(list(self.model)))

    def lose(self, keys):
        # Only rows that were hit may be gone.
        assert set(keys) <= self.damaged
        for key in keys:
            del self.model[key]
        self.damaged = set()

    @rule()
    def index(self):
        self.one.write_index()

    @precondition(lambda self: self.model and not self.damaged)
    @rule(number=st.integers(0, 10**6))
    def flip_a_bit_of_a_row(self, number):
        folder = self.one.folder / "shards"
        self.one.rows.refresh()
        shards = [self.one.rows.shards[name] for name in sorted(self.one.rows.shards)]
        shard = shards[number % len(shards)]
        row = number % len(shard.keys)
        path = folder / shard.name
        content = bytearray(path.read_bytes())
        content[shard.offset + row * 2 * DIM + number % (2 * DIM)] ^= 1 << number % 8
        path.write_bytes(content)
        self.damaged = {shard.keys[row].decode()}
        assert not verify(self.cache)["ok"]

    @precondition(lambda self: self.damaged)
    @rule()
    def heal(self):
        lost = repair(self.cache)["to_recompute"]
        assert {key for keys in lost.values() for key in keys} <= self.damaged
        self.one.rows.reset()
        self.reader = FeatureCache(self.cache.path)
        self.lose(self.one.missing(list(self.model)))

    @precondition(lambda self: not self.damaged)
    @rule(numbers=numbers)
    def merge_from_another(self, numbers):
        keys = self.some(numbers)
        other = FeatureCache.create(Path(tempfile.mkdtemp(dir=self.root)) / "other")
        self.make.fill(other.open_set(**self.make.asked(DIM)), keys, 3)
        merge(self.cache, [other])
        self.model.update(zip(keys, self.make.rows(keys, DIM), strict=True))

    @precondition(lambda self: not self.damaged)
    @rule(numbers=numbers)
    def prune_to(self, numbers):
        keep = self.some(numbers)
        planned = prune(self.cache, keep)["sets"]
        assert prune(self.cache, keep, dry_run=False)["sets"] == planned
        before = len(self.model)
        self.model = {key: row for key, row in self.model.items() if key in keep}
        assert sum(entry["rows_removed"] for entry in planned) == before - len(self.model)

    @precondition(lambda self: not self.damaged)
    @rule(size=st.sampled_from([100, 10_000, 1 << 20]))
    def compact_to(self, size):
        compact(self.cache, shard_bytes=size)

    @rule()
    def leave_a_stale_claim(self):
        claims = Claims(self.cache.path / "claims")
        claims.acquire(["maintenance"])
        claims._stop.set()
        claims._thread.join()
        # As after a crash: the files stay, the process is gone.
        path = self.cache.path / "claims" / "maintenance.claim"
        path.write_text(path.read_text().replace('"start": "', '"start": "0'))
        path.write_text(path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 999999999'))
        os.close(claims._beat_file)

    @invariant()
    def same_as_the_model(self):
        if not hasattr(self, "model"):
            return
        keys = sorted(self.model)
        expected = np.array([self.model[key] for key in keys], np.float32).reshape(-1, DIM)
        for cache in (self.reader, FeatureCache(self.cache.path)):
            try:
                got = cache.matrix("inceptionv3", keys)
                ids = cache.ids("inceptionv3")
            except (DamagedCacheError, MissingRowsError):
                assert self.damaged
                continue
            assert np.array_equal(got, expected)
            assert ids == keys
        if not self.damaged:
            assert verify(self.cache)["ok"]


@pytest.mark.hypothesis
def test_random_lives_of_a_cache(make):
    CacheMachine.make = make
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        CacheMachine,
        settings=few(10, stateful_step_count=20, suppress_health_check=list(HealthCheck)),
    )
