from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icecore.core.errors import MissingFileError, ProbabilityError
from icecore.runs.probabilities import ProbabilityTable, read_probabilities, write_probabilities

names = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r\n", exclude_categories=("Z", "C")),
    min_size=1,
    max_size=6,
).filter(lambda name: name != "split")


def table(n=3, classes=("a", "b"), **fields):
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(len(classes)), n)
    return ProbabilityTable(tuple(f"i{k}" for k in range(n)), classes, values, **fields)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([".csv", ".npz", ".h5"]),
    st.lists(names, min_size=1, max_size=5, unique=True),
    st.lists(names, min_size=2, max_size=4, unique=True),
    st.booleans(),
)
def test_what_is_written_comes_back(tmp_path_factory, suffix, ids, classes, with_splits):
    rng = np.random.default_rng(len(ids))
    before = ProbabilityTable(
        tuple(ids),
        tuple(classes),
        rng.dirichlet(np.ones(len(classes)), len(ids)),
        ("validation",) * len(ids) if with_splits else (),
        "m",
    )
    path = tmp_path_factory.mktemp("p") / f"m{suffix}"
    write_probabilities(path, before)
    after = read_probabilities(path)
    assert (after.ids, after.classes, after.splits, after.model) == (
        before.ids, before.classes, before.splits, "m",
    )  # fmt: skip
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.5, np.nan], [0.5, 0.5]], "1 rows with NaN or infinite values, ids i0"),
        ([[3.0, -2.0], [0.5, 0.5]], r"1 rows outside \[0, 1\] .*logits: apply a softmax"),
        ([[0.5, 0.5], [0.5, 0.2]], r"1 rows that do not sum to 1 \(id i1: 0.7\)"),
    ],
)
def test_what_is_no_probability_is_refused_by_row(values, message):
    with pytest.raises(ProbabilityError, match=f"(?s){message}"):
        ProbabilityTable(("i0", "i1"), ("a", "b"), np.array(values))


def test_repeats_and_shapes():
    good = np.full((2, 2), 0.5)
    with pytest.raises(ProbabilityError, match="1 ids more than once: x"):
        ProbabilityTable(("x", "x"), ("a", "b"), good)
    with pytest.raises(ProbabilityError, match="1 classes more than once: a"):
        ProbabilityTable(("x", "y"), ("a", "a"), good)
    with pytest.raises(ProbabilityError, match="3 ids and 2 classes"):
        ProbabilityTable(("x", "y", "z"), ("a", "b"), good)
    with pytest.raises(ProbabilityError, match="no rows"):
        ProbabilityTable((), ("a", "b"), np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "needs a header"),
        ("a.csv", b"id,a,b\n1,0.5\n", "1 lines do not have 3 fields: 2"),
        ("a.csv", b"id,a,b\n1,0.5,x\n", "a probability is not a number"),
        ("a.csv", b"\xff\xfe", "not a CSV in UTF-8"),
        ("a.npz", b"PK nothing", "not a readable NPZ"),
        ("a.h5", b"nothing", "not a readable HDF5"),
        ("a.txt", b"", "has the ending '.txt'"),
    ],
)
def test_what_is_no_file_of_probabilities(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProbabilityError, match=message):
        read_probabilities(tmp_path / name)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match="is not there"):
        read_probabilities(tmp_path / "a.csv")


def test_no_code_is_run_from_an_npz(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    ids = np.empty(1, object)
    ids[0] = Attack()
    np.savez(tmp_path / "a.npz", ids=ids, classes=["a", "b"], probabilities=[[0.5, 0.5]])
    assert pickle.HIGHEST_PROTOCOL
    with pytest.raises(ProbabilityError, match="not a readable NPZ"):
        read_probabilities(tmp_path / "a.npz")
    assert not (tmp_path / "owned").exists()


def test_an_npz_without_the_arrays_says_what_it_has(tmp_path):
    np.savez(tmp_path / "a.npz", x=[1])
    with pytest.raises(ProbabilityError, match="lacks classes, ids, probabilities; it has x"):
        read_probabilities(tmp_path / "a.npz")


def test_an_npz_holds_its_arrays_and_nothing_else(tmp_path):
    write_probabilities(tmp_path / "a.npz", table())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        names = {"ids", "classes", "splits", "probabilities", "model", "task"}
        assert set(arrays.files) == names


def test_rows_of_a_split():
    whole = table(3, splits=("test", "validation", "test"))
    part = whole.rows_of({"test"})
    assert part.ids == ("i0", "i2")
    np.testing.assert_array_equal(part.probabilities, whole.probabilities[[0, 2]])
