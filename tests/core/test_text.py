"""Tables and names in texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icecore.core.text import aligned, in_blocks, markdown, markdown_table


def test_columns_have_one_width_and_nothing_hangs_over():
    lines = aligned([["model", "rows", "note"], ["a", "1000", ""], ["long name", "1", "x"]], {1})
    assert lines == ["model      rows  note", "a          1000", "long name     1  x"]


words = st.text("abc", min_size=1, max_size=9)


@given(
    st.integers(3, 6).flatmap(
        lambda n: st.lists(st.lists(words, min_size=n, max_size=n), min_size=2, max_size=4)
    ),
    st.integers(1, 2),
    # Two keys and one column more always fit.
    st.integers(9 + 2 + 9 + 2 + 9, 60),
)
def test_blocks_fit_and_hold_every_cell_with_its_keys(lines, keys, width):
    shown = in_blocks(lines, range(keys, len(lines[0])), keys, width)
    assert max(map(len, shown)) <= width
    blocks = [block.split("\n") for block in "\n".join(shown).split("\n\n")]
    for number, line in enumerate(lines):
        cells = [block[number].split() for block in blocks]
        assert all(part[:keys] == line[:keys] for part in cells)
        assert [cell for part in cells for cell in part[keys:]] == line[keys:]
    assert in_blocks(lines) == aligned(lines)


def test_a_name_in_a_table_stays_in_its_cell():
    head, rule, row, end = markdown_table(["class", "rows"], [["a|b\nc<d>", 3]])
    assert (head, rule, end) == ("| class | rows |", "|---|---|", "")
    assert row == r"| a\|b c&lt;d&gt; | 3 |"


def test_what_is_invisible_in_a_name_is_shown_in_markdown():
    assert markdown("a\x1b[2J\u202eb\nc") == "a\\\\x1b\\[2J\\\\u202eb c"
