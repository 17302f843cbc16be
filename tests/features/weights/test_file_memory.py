"""Digests that are remembered: never for a file that is not the one they were taken of."""

from __future__ import annotations

import os

import pytest

from icecore.features.gluon.library import network_graph
from icecore.features.gluon.parameters import parameters_digest, random_parameters
from icecore.features.gluon.params_file import write_params
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.registry import source_of
from icecore.features.weights import file_memory
from icecore.features.weights.file_memory import FileMemory
from icecore.features.weights.request import WeightsRequest

# Digests: two of 64 digits, and of 40.
ONE, TWO, THREE, AGAIN = "1" * 64, "2" * 40, "3" * 64, "6" * 64


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """A folder for notes, and files that count as settled at once."""
    monkeypatch.setenv("ICECORE_GRAPHS", str(tmp_path / "graphs"))
    monkeypatch.setattr(file_memory, "_UNSETTLED_SECONDS", -1.0)
    return tmp_path / "graphs" / "weights"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.params"
    path.write_bytes(b"first")
    return path


def asked(path, what="digest", answer="4" * 64):
    """What is recalled, and whether the file had to be read for it."""
    calls = []
    found = FileMemory(path).recall(what, lambda: calls.append(1) or answer)
    return found, bool(calls)


def test_an_answer_is_found_once_for_each_question(file):
    assert asked(file, answer=ONE) == (ONE, True)
    assert asked(file, answer=TWO) == (ONE, False)
    assert asked(file, "another", answer=TWO) == (TWO, True)


def test_other_bytes_of_the_same_size_and_time_are_another_file(file):
    asked(file, answer=ONE)
    before = os.stat(file)
    file.write_bytes(b"other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert asked(file, answer=TWO) == (TWO, True)


def test_a_file_that_is_put_in_its_place_is_another_file(file, tmp_path):
    asked(file, answer=ONE)
    before = os.stat(file)
    (tmp_path / "other").write_bytes(b"other")
    os.utime(tmp_path / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(tmp_path / "other", file)
    assert asked(file, answer=TWO) == (TWO, True)


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file):
    known = FileMemory(file)
    known.recall("digest", lambda: file.write_bytes(b"second") and "5" * 64)
    assert asked(file, answer=TWO) == (TWO, True)
    early = FileMemory(file)
    file.write_bytes(b"third")
    # What was read since may be of either; a note of before does not speak for it.
    assert early.recall("digest", lambda: THREE) == THREE
    assert asked(file, answer=AGAIN) == (AGAIN, True)


def test_a_file_of_just_now_is_not_remembered(file, monkeypatch):
    monkeypatch.setattr(file_memory, "_UNSETTLED_SECONDS", 1000.0)
    asked(file, answer=ONE)
    assert asked(file, answer=TWO) == (TWO, True)


@pytest.mark.parametrize("damage", ["answer", "text", "gone"])
def test_a_damaged_note_is_as_good_as_none(file, memory, damage):
    asked(file, answer=ONE)
    (note,) = memory.iterdir()
    if damage == "answer":
        note.write_text(note.read_text().replace(ONE, TWO))
    elif damage == "text":
        note.write_text("[")
    elif damage == "gone":
        note.unlink()
    assert asked(file, answer=THREE) == (THREE, True)


def test_where_nothing_can_be_kept_it_is_found_each_time(file, memory):
    memory.parent.write_text("a file in the folder's place")
    assert asked(file, answer=ONE) == (ONE, True)
    assert asked(file, answer=TWO) == (TWO, True)


def test_a_network_has_the_digest_of_the_weights_that_were_read(tmp_path, memory):
    graph = network_graph("gluon", "squeezenet1.1")
    spec = BackboneSpec.parse("gluon:squeezenet1.1@64")
    records = []
    for seed in (0, 1, 1):
        values = random_parameters(graph.parameters, [0] * 100, seed)
        write_params(tmp_path / "squeezenet1.1.params", values)
        for _ in range(2):  # read, then remembered
            network = source_of(spec).load_graph(spec, WeightsRequest(folder=tmp_path))
            assert network.record.weights_digest == parameters_digest(network.graph.values)
            records.append(network.record)
    assert records[0] == records[1] != records[2] == records[3] == records[4] == records[5]
    known = "".join(one.read_text() for one in memory.iterdir())
    assert known.count(" SHA-256\n") == known.count(" parameters of ") == 3
