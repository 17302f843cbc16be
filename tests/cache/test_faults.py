"""Damage of every kind: found, named, never served, and healed by recomputing only the lost.

A line with the counts is printed at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import itertools
import json
import os
import pathlib
import random
import shutil

import h5py
import numpy as np
import pytest

from icecore.cache import FeatureCache, compact, merge, prune, repair, show_set, verify
from icecore.core.errors import CacheError, DamagedCacheError, IcecoreError, MissingRowsError

SPEC, DIM, ROWS, SHARD = "gluon:inceptionv3", 300, 96, 32


@dataclasses.dataclass
class Tally:
    tried: int = 0
    lost: int = 0
    undetected: int = 0
    wrong: int = 0


@pytest.fixture(scope="module")
def tally(request):
    counts = Tally()
    yield counts
    say(
        request,
        f"faults tried {counts.tried}, rows lost that were sound {counts.lost}, "
        f"undetected {counts.undetected}, wrong rows served {counts.wrong}",
    )


def say(request, line):
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{line}")


@pytest.fixture(scope="module")
def original(tmp_path_factory, make):
    cache = FeatureCache.create(tmp_path_factory.mktemp("original") / "cache")
    one = cache.open_set(**make.asked(DIM))
    make.fill(one, make.keys(ROWS), SHARD)
    one.write_index()
    return cache.path


@pytest.fixture
def sick(original, fast_folder):
    """Copies of the original to do harm to."""
    numbers = itertools.count()

    def copy() -> pathlib.Path:
        return pathlib.Path(shutil.copytree(original, fast_folder / f"copy{next(numbers)}"))

    return copy


def folder_of(path):
    return next(p for p in path.iterdir() if (p / "shards").is_dir())


def shards_of(path):
    return sorted((folder_of(path) / "shards").iterdir())


def keys_in(shard):
    with h5py.File(shard, "r") as file:
        return file["keys"].asstr()[()].tolist()


def expect(tally, make, path, victim, affected, at_most_lost, heal):
    """Check that damage is found, never served, and healed at the least price."""
    tally.tried += 1
    expected = make.rows(make.keys(ROWS), DIM).astype(np.float32)
    try:
        served = FeatureCache(path).matrix(SPEC, make.keys(ROWS))
        tally.wrong += not np.array_equal(served, expected)
    except (DamagedCacheError, MissingRowsError):
        pass
    report = verify(path)
    named = [p for p in report["problems"] if victim in p["file"]]
    tally.undetected += not named or report["ok"] != (not affected)
    if affected:
        assert set(itertools.chain(*(p["rows"] for p in named))) >= set(affected)
    if heal == "repair":
        repair(path)
    one = FeatureCache(path).open_set(**make.asked(DIM))
    missing = one.missing(make.keys(ROWS))
    tally.lost += max(0, len(missing) - at_most_lost)
    one.append(missing, make.rows(missing, DIM))
    one.write_index()
    assert np.array_equal(FeatureCache(path).matrix(SPEC, make.keys(ROWS)), expected)
    after = verify(path)
    assert after["ok"], after["problems"]
    assert not after["problems"]
    assert (tally.lost, tally.undetected, tally.wrong) == (0, 0, 0), victim


def regions(shard):
    """Name the byte ranges of a shard: (name, start, end)."""
    with h5py.File(shard, "r") as file:
        data = {
            name: (file[name].id.get_offset(), file[name].id.get_storage_size())
            for name in ("keys", "checksums", "features")
        }
    size = shard.stat().st_size
    found = [("superblock", 0, 48), ("structure", 48, 1200)]
    found += [(name, start, start + length) for name, (start, length) in data.items()]
    ends = sorted([48, *(s for _, s, _ in found), *(e for _, _, e in found), size])
    gaps = [(a, b) for a, b in itertools.pairwise(ends) if b > a]
    taken = {(s, e) for _, s, e in found}
    return found + [("between", a, b) for a, b in gaps if (a, b) not in taken]


@pytest.mark.parametrize("with_index", [True, False])
def test_one_flipped_bit_in_every_region(sick, make, tally, with_index):
    rng = random.Random(int(with_index))
    for number, (name, start, end) in enumerate(regions(shards_of(sick())[1])):
        for _ in range(3):
            path = sick()
            victim = shards_of(path)[1]
            if not with_index:
                (folder_of(path) / "index.h5").unlink()
            content = bytearray(victim.read_bytes())
            at = rng.randrange(start, end)
            content[at] ^= 1 << rng.randrange(8)
            affected = []
            if name == "features":
                affected = [keys_in(victim)[(at - start) // (2 * DIM)]]
            elif with_index:
                affected = keys_in(victim)
            victim.write_bytes(content)
            heal = "repair" if number % 2 else "extract"
            # Without the index a broken header takes its shard along; otherwise only the
            # row that was hit is computed again.
            at_most = 1 if with_index or name == "features" else SHARD
            if affected:
                expect(tally, make, path, victim.name, affected, at_most, heal)
            else:
                expect_unnamed(tally, make, path, victim.name, at_most)


def expect_unnamed(tally, make, path, victim, at_most):
    """A broken header without an index: the file is named, its rows may be unknown."""
    tally.tried += 1
    report = verify(path)
    tally.undetected += report["ok"] or not any(victim in p["file"] for p in report["problems"])
    one = FeatureCache(path).open_set(**make.asked(DIM))
    missing = one.missing(make.keys(ROWS))
    assert len(missing) <= at_most
    one.append(missing, make.rows(missing, DIM))
    expected = make.rows(make.keys(ROWS), DIM).astype(np.float32)
    assert np.array_equal(one.matrix(make.keys(ROWS)), expected)
    assert not tally.undetected, victim


def test_truncated_at_every_page(sick, make, tally):
    size = shards_of(sick())[0].stat().st_size
    for number, length in enumerate([*range(0, size, 4096), size - 1]):
        path = sick()
        victim = shards_of(path)[0]
        keys = keys_in(victim)
        with h5py.File(victim, "r") as file:
            offset = file["features"].id.get_offset()
        os.truncate(victim, length)
        whole = max(0, min(SHARD, (length - offset) // (2 * DIM)))
        heal = "repair" if number % 2 else "extract"
        # The index knows where rows lie: those before the cut are kept.
        expect(tally, make, path, victim.name, keys, SHARD - whole, heal)


def delete_one(shards):
    shards[0].unlink()
    return shards[0].name, SHARD


def duplicate_one(shards):
    twin = shards[0].with_name("0" * 24 + ".h5")
    shutil.copy(shards[0], twin)
    return twin.name, 0


def swap_two(shards):
    aside = shards[0].with_name("aside")
    shards[0].rename(aside)
    shards[1].rename(shards[0])
    aside.rename(shards[1])
    return shards[0].name, 0


def empty_one(shards):
    shards[2].write_bytes(b"")
    return shards[2].name, SHARD


def other_file(shards):
    shards[1].write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5000))
    return shards[1].name, SHARD


@pytest.mark.parametrize("heal", ["repair", "extract"])
@pytest.mark.parametrize("harm", [delete_one, duplicate_one, swap_two, empty_one, other_file])
def test_whole_shards(sick, make, tally, harm, heal):
    path = sick()
    shards = shards_of(path)
    keys = {shard.name: keys_in(shard) for shard in shards}
    victim, at_most = harm(shards)
    affected = keys.get(victim) or keys[shards[0].name]
    expect(tally, make, path, victim, affected, at_most, heal)


@pytest.mark.parametrize("indexed", [False, True])
def test_shard_deleted_before_an_index_named_it(tmp_path, make, tally, indexed):
    """Nothing knows of it, so nothing is said; its rows are missing and computed again."""
    tally.tried += 1
    path = tmp_path / "cache"
    one = FeatureCache.create(path).open_set(**make.asked(DIM))
    make.fill(one, make.keys(2 * SHARD), SHARD)
    if indexed:
        one.write_index()
    make.fill(one, make.keys(SHARD, 2 * SHARD), SHARD)
    assert (one.folder / "index.h5").exists() == indexed
    victim = next(s for s in shards_of(path) if set(keys_in(s)) == set(make.keys(SHARD, 2 * SHARD)))
    victim.unlink()
    with pytest.raises(MissingRowsError):
        FeatureCache(path).matrix(SPEC, make.keys(ROWS))
    again = FeatureCache(path).open_set(**make.asked(DIM))
    assert again.warnings == []
    assert again.missing(make.keys(ROWS)) == make.keys(SHARD, 2 * SHARD)
    make.fill(again, make.keys(SHARD, 2 * SHARD), SHARD)
    again.write_index()
    assert verify(path)["problems"] == []


def test_shard_that_broke_before_an_index_named_it_is_reported(tmp_path, make, tally):
    path = tmp_path / "cache"
    make.fill(FeatureCache.create(path).open_set(**make.asked(DIM)), make.keys(ROWS), SHARD)
    victim = shards_of(path)[1]
    os.truncate(victim, 100)
    expect_unnamed(tally, make, path, victim.name, SHARD)


@pytest.mark.parametrize("heal", ["repair", "extract"])
def test_shard_of_another_set_is_refused(sick, make, tally, heal):
    path = sick()
    other = FeatureCache(path).open_set(**make.asked(DIM, weights_digest="bb", fit="pad"))
    make.fill(other, make.keys(SHARD), SHARD)
    stray = next((other.folder / "shards").iterdir())
    home = next(one for one in FeatureCache(path).sets() if one.fingerprint != other.fingerprint)
    shutil.copy(stray, home.folder / "shards" / stray.name)
    keys = keys_in(stray)
    shutil.rmtree(other.folder)
    expect(tally, make, path, stray.name, keys, 0, heal)


def test_index_gone_or_altered_harms_nothing(sick, make, tally):
    rng = random.Random(5)
    path = sick()
    (folder_of(path) / "index.h5").unlink()
    expect(tally, make, path, "index.h5", [], 0, "extract")
    for number in range(30):
        path = sick()
        index = folder_of(path) / "index.h5"
        before = seen_by_h5py(index)
        content = bytearray(index.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        index.write_bytes(content)
        tally.tried += 1
        expected = make.rows(make.keys(ROWS), DIM).astype(np.float32)
        assert np.array_equal(FeatureCache(path).matrix(SPEC, make.keys(ROWS)), expected)
        report = verify(path)
        assert report["ok"]
        # Either it is reported, or nobody who reads it can tell the difference.
        if not report["problems"] and seen_by_h5py(index) != before:
            tally.undetected += 1
        assert not tally.undetected, number


def seen_by_h5py(index):
    try:
        with h5py.File(index, "r") as file:
            names = ("features", "keys", "checksums", "order", "shards/name", "shards/rows")
            texts = [file.attrs[name] for name in ("set", "fingerprint")]
            return [file[name][()].tobytes() for name in names] + [bytes(t) for t in texts]
    except (OSError, KeyError, ValueError, TypeError, RuntimeError):
        return None


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"format": 1}'])
@pytest.mark.parametrize("heal", ["repair", "extract"])
def test_record_of_a_set_is_restored_from_its_shards(sick, make, tally, content, heal):
    tally.tried += 1
    path = sick()
    target = folder_of(path) / "record.json"
    before = target.read_bytes()
    target.unlink() if content is None else target.write_bytes(content)
    with pytest.raises(DamagedCacheError, match=r"record\.json is damaged"):
        FeatureCache(path).sets()
    assert not verify(path)["ok"]
    if heal == "repair":
        assert "restored from shard" in repair(path)["done"][0]
    else:
        FeatureCache(path).open_set(**make.asked(DIM))
    assert target.read_bytes() == before
    assert verify(path)["ok"]


def test_the_record_of_another_set_costs_no_row(sick, make):
    path = sick()
    target = folder_of(path) / "record.json"
    before = target.read_bytes()
    other = FeatureCache.create(path.parent / "other").open_set(**make.asked(DIM, "gluon:other"))
    shutil.copy(other.folder / "record.json", target)
    with pytest.raises(DamagedCacheError, match=f"that of a folder called {other.folder.name}"):
        FeatureCache(path).sets()
    assert not any(repair(path)["to_recompute"].values())
    assert target.read_bytes() == before
    assert verify(path)["ok"]


def test_a_copied_set_does_not_count_twice(sick):
    path = sick()
    shutil.copytree(folder_of(path), path / "copy")
    with pytest.raises(DamagedCacheError, match="copy/record.json is damaged: it is that of a"):
        FeatureCache(path).sets()
    assert not verify(path)["ok"]
    found = repair(path)
    assert found["left"] == ["copy"]
    assert "is there, too: move one of the two folders out of the cache" in found["done"][0]
    shutil.rmtree(path / "copy")
    assert verify(path)["ok"]


@pytest.mark.parametrize("heal", ["repair", "extract"])
@pytest.mark.parametrize("record", ["sound", "lost"])
def test_a_renamed_set_keeps_its_rows_and_gets_its_name_back(sick, make, heal, record):
    path = sick()
    folder = folder_of(path)
    folder.rename(path / "mine")
    if record == "lost":
        (path / "mine" / "record.json").unlink()
    with pytest.raises(DamagedCacheError, match="record.json is damaged"):
        FeatureCache(path).sets()
    found = verify(path)
    assert not found["ok"]
    assert (found["shards"], found["rows"]) == (len(shards_of(path)), ROWS)
    assert repair(path, dry_run=True)["done"][0].endswith(f"; renamed to {folder.name}")
    if heal == "repair":
        assert repair(path)["to_recompute"] == {}
    else:
        FeatureCache(path).open_set(**make.asked(DIM))
    assert folder_of(path) == folder
    assert verify(path)["problems"] == []
    np.testing.assert_array_equal(
        FeatureCache(path).matrix(SPEC, make.keys(ROWS)), make.rows(make.keys(ROWS), DIM)
    )


def test_a_set_that_nothing_tells_of_is_left_with_words_that_help(sick, make):
    path = sick()
    folder = folder_of(path)
    (folder / "record.json").unlink()
    count = len(shards_of(path))
    for shard in shards_of(path):
        os.truncate(shard, 1000)
    (problem,) = verify(path)["problems"]
    assert problem["by_hand"]
    assert f"{count} shards not checked" in problem["reason"]
    found = repair(path)
    assert found["left"] == [folder.name]
    assert found["done"][0].endswith(
        "move the folder out of the cache, and run the same icecore extract as before"
    )
    folder.rename(path.parent / "out")
    one = FeatureCache.create(path).open_set(**make.asked(DIM))
    assert len(one.missing(make.keys(ROWS))) == ROWS


@pytest.mark.parametrize("indexed", [True, False])
def test_repair_says_of_which_files_it_does_not_know_the_rows(sick, indexed):
    path = sick()
    victim = shards_of(path)[0]
    os.truncate(victim, 1000)
    if not indexed:
        (folder_of(path) / "index.h5").unlink()
    problem = next(p for p in verify(path)["problems"] if p["kind"] == "shard")
    assert problem["unnamed"] != indexed
    found = repair(path)
    assert found["unnamed"] == ([] if indexed else [str(victim.relative_to(path))])
    assert sum(map(len, found["to_recompute"].values())) == (SHARD if indexed else 0)
    assert ("of a number that is not known rescued" in found["done"][0]) != indexed


@pytest.mark.parametrize("name", ["icecore-cache.json", "failures.json"])
@pytest.mark.parametrize("by", ["repair", "writing"])
def test_damaged_marker_and_failures_are_repaired(sick, make, tally, name, by):
    tally.tried += 1
    path = sick()
    (path / name).write_text("{")
    assert [problem["file"] for problem in verify(path)["problems"]] == [name]
    with pytest.raises(DamagedCacheError, match="is damaged: it is not usable JSON"):
        FeatureCache(path).failures()
    if by == "repair":
        said = repair(path)["done"]
    else:
        said = FeatureCache.create(path).open_set(**make.asked(DIM)).warnings
    assert said[0].startswith(f"{name}: it is not usable JSON: ")
    assert said[0].endswith("; written anew")
    assert verify(path)["ok"]
    assert FeatureCache(path).failures() == []


def test_flipped_bits_in_the_names_of_failures_are_noticed(sick):
    path = sick()
    (path / "failures.json").write_text('{"format": 1, "feilures": []}')
    assert [p["reason"] for p in verify(path)["problems"]] == ["it has no 'failures'"]
    repair(path)
    assert verify(path)["ok"]


@pytest.mark.parametrize("bad", [1, {"id": "x"}, {"id": 1, "path": "", "digest": "", "reason": ""}])
def test_a_failure_that_is_none_is_no_failure_less(sick, make, bad):
    path = sick()
    sound = {"id": "y", "path": "y.jpg", "digest": "", "reason": "empty"}
    (path / "failures.json").write_text(json.dumps({"format": 1, "failures": [bad, sound]}))
    (problem,) = verify(path)["problems"]
    assert problem["reason"].endswith("one of the texts id, path, digest, reason: 1 of 2 failures")
    with pytest.raises(DamagedCacheError, match="1 of 2 failures"):
        show_set(FeatureCache(path))
    repair(path)
    assert verify(path)["ok"]
    assert FeatureCache(path).failures() == [sound]


def test_failures_of_a_newer_format_are_refused_by_verify_and_repair_too(sick):
    path = sick()
    (path / "failures.json").write_text('{"format": 2, "failures": []}')
    for job in (verify, repair):
        with pytest.raises(CacheError, match=r"failures\.json has cache format 2"):
            job(path)


def test_the_marker_of_something_else_is_noticed(sick):
    path = sick()
    (path / "icecore-cache.json").write_text('{"format": 1, "what": "a shop"}')
    assert [p["reason"] for p in verify(path)["problems"]] == ["its 'what' is 'a shop'"]
    repair(path)
    assert verify(path)["ok"]


def test_dry_run_changes_nothing(sick):
    path = sick()
    victim = shards_of(path)[0]
    os.truncate(victim, 100)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    done = repair(path, dry_run=True)
    assert victim.name in done["done"][0]
    assert len(next(iter(done["to_recompute"].values()))) == SHARD
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


# Errors of the disk at every call in turn -------------------------------------------------


class FailingDisk:
    """Makes the k-th call that changes the disk fail; a write has then done half its work."""

    NAMES = ("open", "write", "fsync", "replace", "rename", "mkdir")

    def __init__(self, monkeypatch, at, number):
        self.calls, self.at, self.number = 0, at, number
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))
        monkeypatch.setattr(io, "open", self.counted("io.open", io.open))

    def counted(self, name, real):
        def call(*arguments, **options):
            self.calls += 1
            if self.calls == self.at:
                if name == "write":
                    content = memoryview(arguments[1]).cast("B")
                    real(arguments[0], content[: len(content) // 2], *arguments[2:])
                raise OSError(self.number, os.strerror(self.number))
            return real(*arguments, **options)

        return call


def work(path, make, counted):
    cache = FeatureCache.create(path)
    one = cache.open_set(**make.asked(DIM))
    for start in (0, 10):
        part = one.missing(make.keys(10, start))
        one.append(part, make.rows(part, DIM))
        counted.update(make.keys(10, start))
    one.write_index()
    cache.record_failures([{"id": "x", "path": "x", "digest": "", "reason": "empty"}])
    return cache


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_disk_error_at_every_call(fast_folder, make, tally, monkeypatch, number):
    expected = make.rows(make.keys(20), DIM).astype(np.float32)
    for at in itertools.count(1):
        path, counted = fast_folder / f"{number}-{at}", set()
        with monkeypatch.context() as patch:
            disk = FailingDisk(patch, at, number)
            failed = None
            try:
                work(path, make, counted)
            except (OSError, IcecoreError) as error:
                failed = error
            reached = disk.calls >= at
        if not reached:
            break
        tally.tried += 1
        if failed and number == errno.ENOSPC and not isinstance(failed, IcecoreError):
            # Opening for reading and locks do not go through publishing; never half a file.
            assert failed.errno == errno.ENOSPC
        left = [p for p in fast_folder.rglob(".tmp-*")]
        assert not left, (at, left)
        if counted:
            have = FeatureCache(path).matrix(SPEC, sorted(counted))
            tally.lost += not np.array_equal(have, make.rows(sorted(counted), DIM))
        cache = work(path, make, set())
        assert np.array_equal(cache.matrix(SPEC, make.keys(20)), expected)
        assert verify(path)["ok"]
        assert not tally.lost
    assert at > 30


# Everything that moves rows about, in the order in which it is done.
HOUSEKEEPING = {
    "merge": lambda cache, kept: merge(cache, [FeatureCache(cache.path.parent / "other")]),
    "compact": lambda cache, kept: compact(cache),
    "prune": lambda cache, kept: prune(cache, kept, dry_run=False),
    "repair": lambda cache, kept: repair(cache),
}


@pytest.mark.parametrize("failing", HOUSEKEEPING)
def test_disk_error_at_every_call_of_housekeeping(fast_folder, make, tally, monkeypatch, failing):
    """No row that is to stay is lost, and doing it again does it."""
    kept = make.keys(24)
    expected = make.rows(kept, DIM).astype(np.float32)
    for name, start, count in (("other", 20, 10), ("first", 0, 20)):
        one = FeatureCache.create(fast_folder / name).open_set(**make.asked(DIM))
        make.fill(one, make.keys(count, start), 10)
        one.write_index()
    for step, work_on in HOUSEKEEPING.items():
        if step == failing:
            break
        work_on(FeatureCache(fast_folder / "first"), kept)
    done = FeatureCache(shutil.copytree(fast_folder / "first", fast_folder / "done"))
    work_on(done, kept)
    for at in itertools.count(1):
        path = fast_folder / "cache"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(fast_folder / "first", path)
        with monkeypatch.context() as patch:
            disk = FailingDisk(patch, at, errno.EIO if at % 2 else errno.ENOSPC)
            with contextlib.suppress(OSError, IcecoreError):
                work_on(FeatureCache(path), kept)
            reached = disk.calls >= at
        if not reached:
            break
        tally.tried += 1
        rows = FeatureCache(path).matrix(SPEC, make.keys(20))
        tally.lost += not np.array_equal(rows, expected[:20])
        report = verify(path)
        assert report["ok"], (at, report["problems"])
        work_on(FeatureCache(path), kept)
        after = FeatureCache(path)
        assert after.ids(SPEC) == done.ids(SPEC)
        assert np.array_equal(after.matrix(SPEC, kept), expected)
        assert not tally.lost
    assert at > 15


def test_too_many_open_files_is_not_taken_for_damage(sick, make, monkeypatch):
    path = sick()
    (folder_of(path) / "index.h5").unlink()

    def none_left(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("icecore.cache.format.shard.open_own", none_left)
        for job in (lambda: FeatureCache(path).ids(SPEC), lambda: repair(path)):
            with pytest.raises(OSError, match="Too many open files"):
                job()
    assert not (folder_of(path) / "damaged").exists()
    assert len(FeatureCache(path).ids(SPEC)) == ROWS
