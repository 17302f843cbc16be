"""A cache is made of files and folders of its own: nothing else is followed, moved or removed."""

from __future__ import annotations

import json
import os
import shutil
import time

import h5py
import numpy as np
import pytest

from icecore.cache import FeatureCache, compact, export, merge, prune, repair, verify
from icecore.cache.check import check_set
from icecore.cache.sharing import claim_files
from icecore.cache.sharing.claim_files import remove_dead
from icecore.cache.sharing.claims import Claims
from icecore.cache.upkeep.rewrite import _prune_set
from icecore.core.errors import CacheError, IcecoreError
from icecore.manifest import DigestMemory

SPEC, DIM = "gluon:inceptionv3", 5


@pytest.fixture
def filled(cache, make):
    make.fill(cache.open_set(**make.asked(DIM)), make.keys(20), 5)
    cache.find(SPEC).write_index()
    cache.record_failures([{"id": "x", "path": "x", "digest": "", "reason": "empty"}])
    return cache


@pytest.fixture
def victim(tmp_path):
    """A folder of the user's, with what cleaning and repairing look for."""
    folder = tmp_path / "victim"
    (folder / "shards").mkdir(parents=True)
    with h5py.File(folder / "precious.h5", "w") as file:
        file["a"] = [1, 2]
    for name in (".tmp-mine", "notes.txt", "record.json", "x.csv"):
        (folder / name).write_text("mine")
        os.utime(folder / name, (0, 0))
    return folder


def uses(path, make):
    """Everything that can be done with a cache."""
    return {
        "open": lambda: FeatureCache(path),
        "create": lambda: FeatureCache.create(path),
        "extract": lambda: FeatureCache.create(path).open_set(**make.asked(DIM)),
        "verify": lambda: verify(path),
        "repair": lambda: repair(path),
        "merge": lambda: merge(FeatureCache.create(path.with_name("other")), [FeatureCache(path)]),
        "prune": lambda: prune(FeatureCache(path), make.keys(3), dry_run=False),
        "compact": lambda: compact(FeatureCache(path)),
        "export": lambda: export(FeatureCache(path), SPEC, path.with_name("x.npz")),
    }


def look(folder):
    return {p: (p.lstat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in folder.rglob("*")}


def files(seen):
    return {path: content for path, content in seen.items() if path.suffix}


PLACES = [
    "{set}", "{set}/shards", "{set}/damaged", "{set}/record.json", "{set}/index.h5",
    "{set}/shards/000000000000000000000000.h5", "manifests", "claims", "claims/x.claim",
    "failures.json", "digests/0.txt", "icecore-cache.json", "manifests/photos.csv",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_links_are_refused_by_name_and_their_targets_left_alone(filled, make, victim, place):
    path = filled.path / place.format(set=filled.find(SPEC).folder.name)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(victim if "." not in path.name else victim / "precious.h5")
    before = look(victim), look(filled.path)
    for what, use in uses(filled.path, make).items():
        with pytest.raises(CacheError, match=r"is a link; a cache is made of files") as caught:
            use()
        assert str(path) in caught.value.message, what
    assert (look(victim), look(filled.path)) == before


def test_the_cache_itself_may_be_a_link(filled, make, tmp_path):
    (tmp_path / "link").symlink_to(filled.path)
    cache = FeatureCache.create(tmp_path / "link")
    one = cache.open_set(**make.asked(DIM))
    make.fill(one, make.keys(5, 20), 5)
    assert verify(tmp_path / "link")["rows"] == 25


@pytest.mark.parametrize("place", PLACES)
def test_pipes_are_refused_at_once(filled, make, place):
    path = filled.path / place.format(set=filled.find(SPEC).folder.name)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    start = time.monotonic()
    for use in uses(filled.path, make).values():
        with pytest.raises(CacheError, match=r"is a named pipe; a cache is made of files"):
            use()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("place", [place for place in PLACES if "." in place])
def test_folders_in_place_of_files_are_refused(filled, make, place):
    path = filled.path / place.format(set=filled.find(SPEC).folder.name)
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    for use in uses(filled.path, make).values():
        with pytest.raises(CacheError, match=f"{path} is a folder in place of a file"):
            use()


def test_what_comes_in_the_middle_of_a_job_is_refused_too(filled, make, victim):
    one = filled.find(SPEC)
    one.rows.refresh()
    shards = one.folder / "shards"
    aside = shards.rename(shards.with_name("aside"))
    shards.symlink_to(victim / "shards")
    before = look(victim)
    with pytest.raises(CacheError, match=f"{shards} is a link"):
        make.fill(one, make.keys(5, 20), 5)
    shards.unlink()
    aside.rename(shards)
    pipe = shards / f"{'0' * 24}.h5"
    os.mkfifo(pipe)
    for use in (lambda: len(one), lambda: one.missing(make.keys(3)), one.write_index):
        with pytest.raises(CacheError, match=f"{pipe} is a named pipe"):
            use()
    pipe.unlink()
    shard = next(shards.glob("*.h5"))
    shard.rename(victim / "shard")
    os.mkfifo(shard)
    with pytest.raises(IcecoreError, match="is a named pipe"):
        one.matrix(make.keys(20))
    shard.unlink()
    shard.symlink_to(victim / "shard")
    with pytest.raises(IcecoreError, match="is a link"):
        one.matrix(make.keys(20))
    (victim / "shard").unlink()
    assert files(look(victim)) == files(before)


def test_a_cache_that_became_a_link_in_the_middle_of_a_job_is_not_written_through(filled, make):
    root, aside = filled.path, filled.path.with_name("aside")
    one = filled.open_set(**make.asked(DIM))
    known = sorted(one.folder.rglob("*")), set(os.listdir(root)) | {"claims"}
    os.rename(root, aside)
    root.symlink_to(aside)
    for job in (
        lambda: make.fill(one, make.keys(5, 100), 5),
        one.write_index,
        lambda: prune(filled, make.keys(3), dry_run=False),
        lambda: filled.open_set(**make.asked(DIM, "gluon:resnet18_v1")),
    ):
        with pytest.raises(CacheError, match=f"{root} is a link"):
            job()
    assert (sorted(one.folder.rglob("*")), set(os.listdir(aside)) | {"claims"}) == known


def test_claims_and_digests_are_not_written_through_a_cache_that_became_a_link(filled):
    root, aside = filled.path, filled.path.with_name("aside")
    claims, memory = filled.claims(), DigestMemory(root / "digests")
    memory.add("a.jpg", [1, 2, 3], "0" * 64)
    os.rename(root, aside)
    root.symlink_to(aside)
    before = set(look(aside))
    for job in (
        lambda: claims.acquire(["x"]),
        lambda: Claims(root / "claims"),
        lambda: remove_dead(root / "claims"),
        lambda: filled.record_failures([{"id": "y", "path": "y", "digest": "", "reason": "bad"}]),
    ):
        with pytest.raises(CacheError, match=f"{root} is a link"):
            job()
    memory.publish()
    assert set(look(aside)) == before
    claims.close()


def test_digests_are_remembered_in_a_cache_that_is_named_by_a_link(filled, tmp_path):
    (tmp_path / "link").symlink_to(filled.path)
    memory = DigestMemory(tmp_path / "link" / "digests")
    memory.add("a.jpg", [1, 2, 3], "0" * 64)
    memory.publish()
    assert DigestMemory(filled.path / "digests").get("a.jpg", [1, 2, 3]) == "0" * 64


def test_a_set_that_was_moved_away_is_not_made_anew_nor_said_to_be_pruned(filled, make):
    one = filled.open_set(**make.asked(DIM))
    aside = one.folder.rename(filled.path.with_name("aside"))
    before = look(aside)
    for job in (lambda: make.fill(one, make.keys(5, 100), 5), one.write_index):
        with pytest.raises(CacheError, match=f"{one.folder} is gone: it was moved or removed"):
            job()
    aside.rename(one.folder)
    good = check_set(one)[0]
    one.folder.rename(aside)
    kept = {make.keys(20)[0].encode()}
    for whole, keep in ((False, kept), (False, set()), (True, set())):
        with pytest.raises(CacheError, match="is gone"):
            _prune_set(one, good, whole, keep, dry_run=False)
    assert not one.folder.exists()
    assert look(aside) == {aside / p.relative_to(aside): seen for p, seen in before.items()}


def test_files_among_the_shards_that_nothing_reads_are_named(filled, make):
    shards = filled.find(SPEC).folder / "shards"
    first = min(shards.iterdir())
    first.rename(first.with_name(f"{first.stem}.H5"))
    (shards / "notes.txt").write_text("mine")
    (shards / ".DS_Store").write_text("")
    said = {p["file"].split("/")[-1]: p for p in verify(filled.path)["problems"]}
    for name in (f"{first.stem}.H5", "notes.txt"):
        assert "nothing reads it" in said[name]["reason"]
        assert said[name]["harmless"]
    assert len(said[first.name]["rows"]) == 5, "the index names the shard of the lost rows"
    repair(filled.path)
    assert len(list(shards.iterdir())) == 6
    first.with_name(f"{first.stem}.H5").rename(first)
    (shards / "notes.txt").unlink()
    repair(filled.path)
    assert not verify(filled.path)["problems"]


def test_a_link_to_itself_is_no_cache(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for use in (FeatureCache, FeatureCache.create, repair, verify):
        with pytest.raises((CacheError, OSError), match="loop"):
            use(tmp_path / "loop")


def test_claims_lead_nowhere(tmp_path, victim, monkeypatch):
    """A token is part of a file's name, and a process number of another's."""
    monkeypatch.setattr(claim_files, "this_machine", lambda: "here")
    folder = tmp_path / "claims"
    (folder / "beat-x").mkdir(parents=True)
    (folder / "owner-x").mkdir()
    token = "x/../../victim/precious.h5"
    assert (folder / f"beat-{token}").exists(), "the token would lead there"
    owner = {"token": token, "host": "here", "pid": 2**22 + 1, "start": "1"}
    for change in ({}, {"token": "0" * 16, "pid": "../x"}, {"token": 5}, {"pid": -1}):
        (folder / "a.claim").write_text(json.dumps(owner | change))
        before = look(victim)
        with Claims(folder, expiry_s=0.0) as claims:
            claims.acquire(["a"])
            assert claims.acquire(["a"]), "it is nobody's, and taken once that is sure"
        assert look(victim) == before


def test_a_damaged_set_is_told_by_what_is_damaged_and_not_by_a_traceback(filled, make):
    """Numbers of keys, rows and checksums that disagree, under a name that fits."""
    import hashlib

    one = filled.find(SPEC)
    place = sorted((one.folder / "shards").iterdir())[0]
    with h5py.File(place) as file:
        attributes = dict(file.attrs)
        keys, sums, rows = (file[name][()] for name in ("keys", "checksums", "features"))
    lost = [key.decode() for key in keys.tolist()]
    place.unlink()
    with h5py.File(place, "w", libver=("v108", "v110")) as file:
        file.attrs.update(attributes)
        file["keys"], file["checksums"], file["features"] = keys[:3], sums, rows
        start = file["features"].id.get_offset()
    content = place.read_bytes()
    rest = hashlib.sha256(content[:start] + content[start + rows.nbytes :]).hexdigest()
    forged = place.rename(place.with_name(f"{rest[:24]}.h5"))
    report = verify(filled.path)
    problems = {p["file"].split("/")[-1]: p for p in report["problems"]}
    assert not report["ok"]
    assert problems[forged.name]["reason"] == "it has 5 rows, 3 keys and 5 checksums"
    assert sorted(problems[place.name]["rows"]) == sorted(lost)
    done = repair(filled.path)
    assert sorted(next(iter(done["to_recompute"].values()))) == sorted(lost)
    assert (one.folder / "damaged" / forged.name).is_file()
    again = FeatureCache(filled.path).open_set(**make.asked(DIM))
    assert sorted(again.missing(make.keys(20))) == sorted(lost)
    make.fill(again, lost, 5)
    assert np.array_equal(again.matrix(make.keys(20)), make.rows(make.keys(20), DIM))


def test_what_a_killed_writer_left_anywhere_goes_when_the_cache_is_written_to(filled):
    folder = filled.find(SPEC).folder
    for name in ("manifests", "digests"):
        (filled.path / name).mkdir(exist_ok=True)
    folders = {filled.path, folder, folder / "shards"}
    folders |= {filled.path / "manifests", filled.path / "digests"}
    for one in folders:
        for name, age in (("old", 3600), ("new", 0)):
            (one / f".tmp-{name}").write_text("")
            os.utime(one / f".tmp-{name}", (time.time() - age,) * 2)
    FeatureCache.create(filled.path)
    assert set(filled.path.rglob(".tmp-*")) == {one / ".tmp-new" for one in folders}
