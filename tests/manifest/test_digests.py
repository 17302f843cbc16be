from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from icecore import manifest as manifests
from icecore.manifest import digest_memory, digests
from icecore.manifest.digest_memory import DigestMemory
from icecore.manifest.digests import digest_manifest


@pytest.fixture
def folder(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        age(path)
    return tmp_path / "data"


def age(path, seconds=60):
    os.utime(path, (time.time() - seconds,) * 2)


def digested(table, memory, **options):
    digesting = digests.Digesting(table, memory, **options)
    for _ in digesting:
        pass
    return digesting.report()


def run(folder, memory, **options):
    report = digested(manifests.read(folder), memory, **options)
    return {s.id: s.digest for s in report.manifest}, report


def test_digests_are_of_the_bytes_and_remembered(folder, tmp_path):
    memory = tmp_path / "memory"
    first, report = run(folder, memory)
    assert first == {n: hashlib.sha256(n.encode()).hexdigest() for n in first}
    assert report.read == 3
    again, report = run(folder, memory)
    assert (again, report.read) == (first, 0)
    assert run(folder, memory, paranoid=True)[1].read == 3


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(folder, tmp_path, change):
    memory = tmp_path / "memory"
    run(folder, memory)
    path = folder / "a/1.jpg"
    before = path.stat()
    if change == "size":
        path.write_bytes(b"longer than before")
    elif change == "time":
        path.write_bytes(b"A/1.JPG")
    else:
        path.with_name("new").write_bytes(b"A/1.JPG")
        os.replace(path.with_name("new"), path)
    if change != "time":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found, report = run(folder, memory)
    assert report.read == 1
    assert found["a/1.jpg"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_written_just_now_is_not_trusted_yet(folder, tmp_path):
    memory = tmp_path / "memory"
    (folder / "a/1.jpg").write_bytes(b"fresh!!")
    run(folder, memory)
    assert run(folder, memory)[1].read == 1


@pytest.mark.parametrize("change", ["cut", "digit", "name", "folder", "binary", "link"])
def test_a_damaged_memory_only_costs_time(folder, tmp_path, change):
    memory = tmp_path / "memory"
    run(folder, memory)
    (file,) = memory.iterdir()
    text = file.read_text()
    if change == "cut":
        file.write_text(text[:-5])
    elif change == "digit":
        file.write_text(text.replace("a", "b", 1))
    elif change == "name":
        file.rename(memory / ("0" * 24 + ".txt"))
    elif change == "binary":
        file.write_bytes(b"\xff" * 100)
    else:
        file.unlink()
        if change == "folder":
            file.mkdir()
        else:
            file.symlink_to("/dev/zero")
    found, report = run(folder, memory)
    assert report.read == 3
    assert found == {n: hashlib.sha256(n.encode()).hexdigest() for n in found}


def test_several_processes_add_and_none_loses_anothers(folder, tmp_path):
    memories = [DigestMemory(tmp_path / "memory") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: _add(memories[n], n, 50), range(8)))
    everything = DigestMemory(tmp_path / "memory")
    for n in range(8):
        for i in range(50):
            assert everything.get(f"/d {n}/{i}.jpg", [1, 2, i]) == f"{n:064}"
            assert everything.get(f"/d {n}/{i}.jpg", [1, 3, i]) == ""


def _add(memory, number, count):
    for i in range(count):
        memory.add(f"/d {number}/{i}.jpg", [1, 2, i], f"{number:064}")
        if i % 10 == 9:
            memory.publish()


def test_many_files_become_one(tmp_path):
    memory = DigestMemory(tmp_path / "memory")
    for i in range(40):
        memory.add(f"/{i}", [i, i, i], f"{i:064}")
        memory.publish()
    # One of 32 and that of then, and those that came later.
    assert len(list((tmp_path / "memory").iterdir())) == 2 + 7
    again = DigestMemory(tmp_path / "memory")
    assert [again.get(f"/{i}", [i, i, i]) for i in range(40)] == [f"{i:064}" for i in range(40)]


def test_what_one_process_has_joined_no_other_joins(tmp_path):
    """Else each of many would write everything, and all would read it of each."""
    memories = [DigestMemory(tmp_path / "memory") for _ in range(4)]
    written = set()
    for i in range(40):
        for number, memory in enumerate(memories):
            memory.refresh()
            memory.add(f"/{i}/{number}", [i, i, i], f"{i:064}")
            memory.publish()
            written.update(path.name for path in memory._folder.iterdir())
    assert sum(name.startswith("all-") for name in written) == 5
    again = DigestMemory(tmp_path / "memory")
    assert all(again.get(f"/{i}/{n}", [i, i, i]) == f"{i:064}" for i in range(40) for n in range(4))


def test_processes_share_the_reading_out(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_STRETCH", 8)
    monkeypatch.setattr(digest_memory, "_FIRST_KEPT_SECONDS", 0.0)
    monkeypatch.setattr(digest_memory, "_KEPT_SECONDS", 0.0)
    for number in range(400):
        path = tmp_path / "data" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % number)
        age(path)
    table = manifests.read(tmp_path / "data", labels_required=False)
    (tmp_path / "cache").mkdir()

    slow = digests.digest_of
    monkeypatch.setattr(digests, "digest_of", lambda *a: time.sleep(0.005) or slow(*a))
    with ThreadPoolExecutor(3) as pool:
        reports = list(
            pool.map(lambda _: digested(table, tmp_path / "cache/digests", workers=1), "abc")
        )
    assert len({tuple(s.digest for s in report.manifest) for report in reports}) == 1
    # Alone they would read 1,200.
    assert 400 <= sum(report.read for report in reports) < 1000


def test_a_table_with_digests_needs_no_images(folder, tmp_path):
    first, report = run(folder, None)
    report.manifest.write(tmp_path / "t.csv")
    for path in folder.rglob("*.jpg"):
        path.unlink()
    found, report = run(tmp_path / "t.csv", None)
    assert found == first
    assert report.unreadable == {}


def test_unreadable_files_are_named(folder):
    table = manifests.read(folder)
    (folder / "b/3.jpg").unlink()
    report = digest_manifest(table)
    assert report.unreadable == {"b/3.jpg": "the file cannot be read: No such file or directory"}
    assert sum(bool(s.digest) for s in report.manifest) == 2


def test_a_linked_memory_is_neither_read_nor_written(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "memory").symlink_to(tmp_path / "elsewhere")
    run(folder, tmp_path / "memory")
    assert not os.listdir(tmp_path / "elsewhere")


def test_boxes_of_one_file_are_one_image(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a photograph")
    (tmp_path / "copy.jpg").write_bytes(b"a photograph")
    (tmp_path / "t.csv").write_text(
        "id,path,label,split,box\n1,a.jpg,x,train,0 0 2 2\n2,a.jpg,x,test,1 1 3 3\n"
        "3,copy.jpg,y,test,\n4,copy.jpg,y,validation,0 0 2 2\n"
    )
    found = digest_manifest(manifests.read(tmp_path / "t.csv")).manifest
    assert {one.image for one in found} == {hashlib.sha256(b"a photograph").hexdigest()}
    assert len({one.digest for one in found}) == 3
    (same,) = found.repeated_across_splits().values()
    assert [one.id for one in same] == ["1", "2", "4"]
    assert any("equal to the byte, or parts of one file: 1 = 2 = 4" in n for n in found.notes())
    found.write(tmp_path / "again.csv")
    (tmp_path / "a.jpg").unlink()
    again = digest_manifest(manifests.read(tmp_path / "again.csv")).manifest
    assert [one.image for one in again] == [one.image for one in found]
