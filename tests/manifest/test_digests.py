from __future__ import annotations

import hashlib
import os
import time

import pytest

from icecore import manifest as manifests
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


def run(folder, memory, **options):
    report = digest_manifest(manifests.read(folder), memory, **options)
    return {s.id: s.digest for s in report.manifest}, report


def test_digests_are_of_the_bytes_and_remembered(folder, tmp_path):
    memory = tmp_path / "memory.json"
    first, report = run(folder, memory)
    assert first == {n: hashlib.sha256(n.encode()).hexdigest() for n in first}
    assert report.read == 3
    again, report = run(folder, memory)
    assert (again, report.read) == (first, 0)
    assert run(folder, memory, paranoid=True)[1].read == 3


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(folder, tmp_path, change):
    memory = tmp_path / "memory.json"
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
    digests, report = run(folder, memory)
    assert report.read == 1
    assert digests["a/1.jpg"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_written_just_now_is_not_trusted_yet(folder, tmp_path):
    memory = tmp_path / "memory.json"
    (folder / "a/1.jpg").write_bytes(b"fresh!!")
    run(folder, memory)
    assert run(folder, memory)[1].read == 1


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 9, "files": {}}', "x"])
def test_a_damaged_memory_only_costs_time(folder, tmp_path, content):
    memory = tmp_path / "memory.json"
    memory.write_text(content)
    assert run(folder, memory)[1].read == 3
    assert run(folder, memory)[1].read == 0


def test_a_table_with_digests_needs_no_images(folder, tmp_path):
    first, report = run(folder, None)
    report.manifest.write(tmp_path / "t.csv")
    for path in folder.rglob("*.jpg"):
        path.unlink()
    digests, report = run(tmp_path / "t.csv", None)
    assert digests == first
    assert report.unreadable == {}


def test_unreadable_files_are_named(folder):
    table = manifests.read(folder)
    (folder / "b/3.jpg").unlink()
    report = digest_manifest(table)
    assert report.unreadable == {"b/3.jpg": "the file cannot be read: No such file or directory"}
    assert sum(bool(s.digest) for s in report.manifest) == 2
