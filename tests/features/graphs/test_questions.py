"""What a child said of a graph is remembered, and a failure is not."""

from __future__ import annotations

import pytest

from icecore.core.child import ChildError, Limits
from icecore.features.graphs import questions

LIMITS = Limits(10, 60.0, 2**30)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Ask about bytes; returns the answer, and how often a child was asked."""
    monkeypatch.setenv("ICECORE_GRAPHS", str(tmp_path / "graphs"))
    calls = []

    def child(module, arguments, limits):
        calls.append(arguments)
        if arguments[1] == "fails":
            raise ChildError("takes too long")
        return {"bytes": open(arguments[0], "rb").read().decode(), "of": arguments[1]}

    monkeypatch.setattr(questions, "ask_child", child)

    def ask(content, word):
        return questions.ask_once("a.module", content, [word], LIMITS), len(calls)

    return ask


def test_each_question_is_asked_once(asked):
    assert asked(b"one", "width") == ({"bytes": "one", "of": "width"}, 1)
    assert asked(b"one", "width") == ({"bytes": "one", "of": "width"}, 1)
    assert asked(b"one", "cost")[1] == 2
    assert asked(b"two", "width") == ({"bytes": "two", "of": "width"}, 3)


def test_a_failure_and_a_damaged_note_are_asked_again(asked, tmp_path):
    for _ in range(2):
        with pytest.raises(ChildError, match="too long"):
            asked(b"one", "fails")
    assert asked(b"one", "width")[1] == 3
    (note,) = (tmp_path / "graphs").iterdir()
    note.write_text("[")
    assert asked(b"one", "width") == ({"bytes": "one", "of": "width"}, 4)


def test_where_nothing_can_be_kept_it_is_asked_each_time(asked, tmp_path):
    (tmp_path / "graphs").write_text("a file in the folder's place")
    assert asked(b"one", "width")[1] == 1
    assert asked(b"one", "width")[1] == 2
