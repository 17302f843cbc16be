"""Results of any size show themselves on a screen."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.summary import summary


@dataclasses.dataclass(frozen=True)
class Part:
    name: str


@dataclasses.dataclass(frozen=True)
class Result:
    rows: tuple
    table: np.ndarray
    parts: object
    found: object = None

    __repr__ = summary


def test_counts_shapes_and_types_stand_for_what_is_long():
    result = Result(tuple("abcde"), np.zeros((3, 400)), [Part("x" * 500)], Part("y"))
    assert repr(result) == (
        "Result\n  rows: 5: ('a', 'b', ...)\n  table: array of shape (3, 400), float64\n"
        "  parts: [Part(...)]\n  found: Part(...)"
    )


@given(st.recursive(st.text() | st.floats() | st.none(), lambda x: st.lists(x) | st.tuples(x)))
def test_a_field_is_one_short_line(value):
    lines = repr(Result((), np.zeros(2), [value] * 50, {str(value): value})).split("\n")
    assert len(lines) == 5
    assert max(map(len, lines)) <= 88
