"""Tables and names in texts."""

from __future__ import annotations

from icecore.core.text import aligned, markdown, markdown_table


def test_columns_have_one_width_and_nothing_hangs_over():
    lines = aligned([["model", "rows", "note"], ["a", "1000", ""], ["long name", "1", "x"]], {1})
    assert lines == ["model      rows  note", "a          1000", "long name     1  x"]


def test_a_name_in_a_table_stays_in_its_cell():
    head, rule, row, end = markdown_table(["class", "rows"], [["a|b\nc<d>", 3]])
    assert (head, rule, end) == ("| class | rows |", "|---|---|", "")
    assert row == r"| a\|b c&lt;d&gt; | 3 |"


def test_what_is_invisible_in_a_name_is_shown_in_markdown():
    assert markdown("a\x1b[2J\u202eb\nc") == "a\\\\x1b\\[2J\\\\u202eb c"
