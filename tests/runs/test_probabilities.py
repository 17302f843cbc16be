from __future__ import annotations

import pickle
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from drawing import few
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.errors import MissingFileError, ProbabilityError
from icecore.core.npz_files import write_npz
from icecore.manifest import class_name
from icecore.runs import ProbabilityTable, read_probabilities, write_probabilities
from icecore.runs.table import SUM_TOLERANCE

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hdf5"
names = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r\n"), min_size=1, max_size=6
) | st.sampled_from(["id", "split", "label", "ID", "class:id", " a ", '"', "a,b", "=1"])


def table(n=3, classes=("a", "b"), **fields):
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(len(classes)), n)
    return ProbabilityTable(tuple(f"i{k}" for k in range(n)), classes, values, **fields)


@few(40)
@given(
    st.sampled_from([".csv", ".npz", ".h5", ".parquet"]),
    st.lists(names, min_size=1, max_size=5, unique=True),
    st.lists(names.map(class_name).filter(bool), min_size=2, max_size=4, unique=True),
    st.booleans(),
)
def test_what_is_written_comes_back(tmp_path_factory, suffix, ids, classes, with_splits):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow", exc_type=ImportError)
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
        ([[0.5, np.nan], [0.5, 0.5]], "1 row with NaN or infinite values, ids i0"),
        ([[30.0, 70.0], [45.5, 54.4]], r"(?s)outside.*sum to 99.95, as percentages.*renormalise"),
        ([[1.5, 0.5], [0.6, 1.4]], r"(?s)outside.*sum to 2, as percentages and scaled"),
        ([[3.0, -1.0], [0.5, 0.8]], r"1 row outside \[0, 1\] .*logits: apply a softmax"),
        # A softmax was advised for all that follow.
        ([[1.1, -0.1], [0.5, 0.5]], r"sum to 1 all the same, so these are no logits: put 0"),
        ([[30.0, 70.0], [0.5, 0.5]], r"1 other row of it can stay: mend those alone"),
        (-np.log([[0.1, 0.9], [0.3, 0.7]]), r"negative logarithms .*: take exp\(-x\)"),
        ([[0.5, 0.5], [0.5, 0.2]], r"1 row does not sum to 1 \(id i1: 0.7\)"),
        # Two decimals explain a hundredth, four do not.
        ([[0.51, 0.49], [0.75, 0.23]], r"1 row does not sum to 1 \(id i1: 0.98\).* explains 0.01;"),
        ([[0.5125, 0.4875], [0.75, 0.24]], r"\(id i1: 0.99\), where rounding explains 0.004; ids"),
    ],
)
def test_what_is_no_probability_is_refused_by_row(values, message):
    with pytest.raises(ProbabilityError, match=f"(?s){message}"):
        ProbabilityTable(("i0", "i1"), ("a", "b"), np.array(values))


@pytest.mark.parametrize("kind", ["float16", "float32", 1, 2, 3, 4, 5])
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_rounding_alone_makes_no_fault(kind, classes):
    rng = np.random.default_rng(0)
    exact = rng.dirichlet(np.full(classes, 0.7), 400)
    rounded = exact.round(kind) if isinstance(kind, int) else exact.astype(kind).astype(float)
    # Beyond this a table is refused whatever its decimals: most of such a row is rounding.
    rounded = rounded[np.abs(rounded.sum(axis=1) - 1) <= SUM_TOLERANCE]
    ids, names = tuple(map(str, range(len(rounded)))), tuple(map(str, range(classes)))
    assert ProbabilityTable(ids, names, rounded).probabilities is rounded


def test_repeats_and_shapes():
    good = np.full((2, 2), 0.5)
    with pytest.raises(ProbabilityError, match="1 of its ids more than once: x"):
        ProbabilityTable(("x", "x"), ("a", "b"), good)
    with pytest.raises(ProbabilityError, match="1 of its classes more than once: a"):
        ProbabilityTable(("x", "y"), ("a", "a"), good)
    with pytest.raises(ProbabilityError, match="3 ids and 2 classes"):
        ProbabilityTable(("x", "y", "z"), ("a", "b"), good)
    with pytest.raises(ProbabilityError, match="no rows"):
        ProbabilityTable((), ("a", "b"), np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"id,a,b\n", "needs a header and at least one row"),
        ("a.csv", b"id,a\n1,1\n", "needs a header and at least one row"),
        ("a.csv", b"id,a,b\n1,0.5\n", "1 line of .* line 2 has 2 fields, not 3"),
        ("a.csv", b"id,a,b\n1,0.5,x\n", "line 2 has 'x', which is not a number"),
        ("a.csv", b"id,a,b\n1,0.5,nan\n", "line 2 has nan, which is not a finite number"),
        ("a.csv", b'id,a,b\n"1,0.5,0.5\n2",0.5,0.5\n', "line 2 opens a quote in field 1"),
        ("a.csv", b"id,split,a,b\n1,x,0.5,0.5\n", "unknown splits: x"),
        ("a.csv", b"id,a,a\n1,0.5,0.5\n", "columns of one name: a"),
        ("a.csv", b"id,a,b\n,0.5,0.5\n", "an empty name among its ids"),
        ("a.csv", b"id,a,\n1,0.5,0.5\n", "an empty name among its classes"),
        ("a.csv", b"\xff\xfe", "not a CSV in UTF-8"),
        ("a.npz", b"PK nothing", "not a readable NPZ"),
        ("a.h5", b"nothing", "cannot be used as HDF5"),
        ("a.npz", b"", "the file is empty"),
        ("a.txt", b"", "has the ending '.txt'"),
    ],
)
def test_what_is_no_file_of_probabilities(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProbabilityError, match=message):
        read_probabilities(tmp_path / name)


def test_a_class_has_one_spelling_whatever_program_wrote_it(tmp_path):
    (tmp_path / "a.csv").write_text("id,cafe\u0301,b\n1,0.25,0.75\n", "utf-8")
    assert read_probabilities(tmp_path / "a.csv").classes == ("caf\u00e9", "b")
    (tmp_path / "a.csv").write_text("id,cafe\u0301,caf\u00e9\n1,0.25,0.75\n", "utf-8")
    with pytest.raises(ProbabilityError, match="1 of its classes more than once"):
        read_probabilities(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text(f"id,{'a' * 1001},b\n1,0.25,0.75\n", "utf-8")
    with pytest.raises(ProbabilityError, match="a class name of 1001 characters"):
        read_probabilities(tmp_path / "a.csv")


def test_a_softmax_is_taken_of_logits_alone(tmp_path):
    (tmp_path / "logits.csv").write_text(f"id,a,b\n1,0,{np.log(3)}\n2,0.5,0.5\n")
    (tmp_path / "shares.csv").write_text("id,a,b\n1,0.25,0.75\n2,0.5,0.5\n")
    logits, shares = (
        read_probabilities(tmp_path / name, mend="softmax").probabilities
        for name in ("logits.csv", "shares.csv")
    )
    np.testing.assert_allclose(logits, [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_array_equal(shares, [[0.25, 0.75], [0.5, 0.5]])


def test_odd_columns_of_parquet(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    good = {"id": ["x", "y"], "a": [0.25, 0.5], "b": [0.75, 0.5]}

    def reading(**columns):
        parquet.write_table(arrow.table(good | columns), tmp_path / "t.parquet")
        return read_probabilities(tmp_path / "t.parquet")

    # Text that was not marked as such became b'x', a null None, and lists a traceback.
    assert reading(id=[b"x", b"y"]).ids == ("x", "y")
    with pytest.raises(ProbabilityError, match="1 row without an id"):
        reading(id=["x", None])
    for strange in ({"b": [[0.7], [0.5, 0.2]]}, {"a": [[0.2, 0.1]] * 2, "b": [[0.7, 0.3]] * 2}):
        with pytest.raises(ProbabilityError, match="columns that are not of numbers: "):
            reading(**strange)


@pytest.mark.parametrize("name", ["ids", "classes", "model", "task"])
def test_names_are_text_that_can_be_written(name):
    half = "\udcff" if name in ("model", "task") else ("\udcff", "b")
    fields = {"ids": ("a", "b"), "classes": ("a", "b"), name: half}
    with pytest.raises(ProbabilityError, match="a name that is no text in UTF-8"):
        ProbabilityTable(probabilities=np.full((2, 2), 0.5), **fields)


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


def test_what_makes_an_npz_readable_is_said(tmp_path):
    arrays = {"classes": np.array(["a", "b"]), "probabilities": np.full((2, 2), 0.5)}
    folds = {"ids": np.array(["1", "2"]), "probabilities": np.full((5, 2, 2), 0.5)}
    for changed, what in [({"ids": np.array(["1", "2"], object)}, ".astype(str)"), (folds, "mean")]:
        np.savez(tmp_path / "one.npz", **arrays | changed)
        with pytest.raises(ProbabilityError) as caught:
            read_probabilities(tmp_path / "one.npz")
        assert what in caught.value.hint


def test_an_npz_without_the_arrays_says_what_it_has(tmp_path):
    np.savez(tmp_path / "a.npz", x=[1])
    with pytest.raises(ProbabilityError, match="lacks classes, ids, probabilities; it has x"):
        read_probabilities(tmp_path / "a.npz")


def test_an_npz_holds_its_arrays_and_nothing_else(tmp_path):
    write_probabilities(tmp_path / "a.npz", table())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        names = {"ids", "classes", "splits", "probabilities", "model", "task"}
        assert set(arrays.files) == names


LABELLED = "id,label,cat,dog\n1,dog,0.25,0.75\n2,cat,0.6,0.4\n"


@pytest.mark.parametrize(
    "text",
    [
        "cat,dog,id\n0.25,0.75,1\n0.6,0.4,2\n",
        LABELLED,
        "Image_Id,cat,dog\n1,0.25,0.75\n2,0.6,0.4\n",
        "whatever,cat,dog\n1,0.25,0.75\n2,0.6,0.4\n",
    ],
)
def test_the_column_of_ids_is_found_by_its_name(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    found = read_probabilities(tmp_path / "a.csv")
    assert (found.ids, found.classes) == (("1", "2"), ("cat", "dog"))
    np.testing.assert_array_equal(found.probabilities, [[0.25, 0.75], [0.6, 0.4]])


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index"])
def test_an_index_that_pandas_left_in_is_named(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"{name},id,cat,dog\n0,1,0.25,0.75\n")
    with pytest.raises(ProbabilityError, match=r"first column .* is not id.*stands at place 2"):
        read_probabilities(tmp_path / "a.csv")


def test_a_column_that_is_no_class_is_named():
    values = np.array([[7.0, 0.25, 0.75], [8.0, 0.5, 0.5]])
    with pytest.raises(ProbabilityError, match=r"(?s)columns weight.*take out the columns"):
        ProbabilityTable(("a", "b"), ("weight", "cat", "dog"), values)


def test_splits_are_called_as_in_tables_of_labels(tmp_path):
    content = "id,Split,a,b\n1,Train,0.5,0.5\n2,val,0.5,0.5\n3,TEST,0.5,0.5\n"
    (tmp_path / "a.csv").write_text(content)
    assert read_probabilities(tmp_path / "a.csv").splits == ("train", "validation", "test")
    # A class of that name has numbers.
    (tmp_path / "b.csv").write_text("id,Split,b\n1,0.25,0.75\n")
    assert read_probabilities(tmp_path / "b.csv").classes == ("Split", "b")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("with_splits", [False, True])
def test_a_class_of_a_columns_name_keeps_the_ids(tmp_path, suffix, with_splits):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow", exc_type=ImportError)
    before = table(2, ("id", "split", "label"), splits=("test",) * 2 if with_splits else ())
    write_probabilities(tmp_path / f"a{suffix}", before)
    after = read_probabilities(tmp_path / f"a{suffix}")
    assert (after.ids, after.classes) == (before.ids, before.classes)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


def test_mending_is_an_argument(tmp_path):
    (tmp_path / "a.csv").write_text("id,a,b\n1,1,3\n2,0.5,0.5\n")
    with pytest.raises(ProbabilityError, match=r"outside \[0, 1\]"):
        read_probabilities(tmp_path / "a.csv")
    found = read_probabilities(tmp_path / "a.csv", "renormalise").probabilities
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5]])
    found = read_probabilities(tmp_path / "a.csv", "softmax").probabilities
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"ids": np.array(["a"] * 3)}, r"ids of shape \(3,\) and classes of \(2,\)"),
        ({"splits": np.array(["test"])}, r"ids of shape \(2,\), but splits of \(1,\)"),
        ({"model": np.array([], "U1")}, r"has model of <U1 \(0,\), not text"),
        ({"classes": np.array([1.0, 2.0])}, "has classes of float64"),
        ({"probabilities": np.array([["a", "b"]] * 2)}, "has probabilities of <U1"),
        ({"ids": np.array([["a"], ["b"]])}, "has ids of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_before_they_are_read(tmp_path, change, what):
    arrays = {"ids": np.array(["a", "b"]), "classes": np.array(["x", "y"])}
    arrays["probabilities"] = np.full((2, 2), 0.5)
    write_npz(tmp_path / "a.npz", arrays | change)
    with pytest.raises(ProbabilityError, match=what):
        read_probabilities(tmp_path / "a.npz")


def saved(path, ids, **more):
    """Write a file by the tools of its format alone."""
    arrays = {"ids": ids, "classes": np.array([b"x", b"y"]), **more}
    arrays["probabilities"] = np.full((2, 2), 0.5)
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    else:
        pyarrow = pytest.importorskip(
            "pyarrow", reason="Parquet needs pyarrow", exc_type=ImportError
        )
        parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
        splits = {"split": more["splits"].tolist()} if more else {}
        columns = {"id": pyarrow.array(ids), **splits, "x": [0.5, 0.5], "y": [0.5, 0.5]}
        parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
@pytest.mark.parametrize(
    "ids",
    [
        np.array([3, -4]),
        np.array([3, 2**63 + 1], np.uint64),
        np.array(["é".encode(), b"b"]),
        np.array([b"3", b"-4"]),
    ],
)
def test_ids_are_texts_bytes_or_whole_numbers_in_every_format(tmp_path, suffix, ids):
    splits = np.array([b"test", b"test"])
    found = read_probabilities(saved(tmp_path / f"a{suffix}", ids, splits=splits))
    assert found.ids == tuple(one.decode() if isinstance(one, bytes) else str(one) for one in ids)
    assert (found.classes, found.splits) == (("x", "y"), ("test", "test"))


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
@pytest.mark.parametrize(
    "ids", [np.array([1.5, 2]), np.array([True, False]), np.array([b"\xff", b"a"])]
)
def test_other_ids_are_refused_in_every_format(tmp_path, suffix, ids):
    path = saved(tmp_path / f"a{suffix}", ids)
    with pytest.raises(ProbabilityError, match="not text|not UTF-8|can't decode"):
        read_probabilities(path)


def test_it_becomes_a_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table(3, ("a", "id")).to_dict())
    assert list(frame) == ["id", "split", "a", "class:id"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
@pytest.mark.parametrize("suffix", [".csv", ".npz", ".h5", ".parquet"])
def test_names_of_any_bytes_are_written(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow", exc_type=ImportError)
    path = tmp_path / f"\udcff{suffix}"
    write_probabilities(path, table())
    found = read_probabilities(path)
    assert (found.ids, found.model) == (table().ids, "\\udcff")


def test_a_table_without_ids_is_said_to_have_none(tmp_path):
    """Its first class was taken for the ids, and the rest was to be divided by its sum."""
    path = tmp_path / "m.csv"
    path.write_text("cat,dog,hen\n0.2,0.3,0.5\n1,0,0\n0.25,0.25,0.5\n")
    with pytest.raises(ProbabilityError, match=r"(?s)no column of ids: the first one, cat.*put a"):
        read_probabilities(path)
    # Numbers may be ids.
    path.write_text("image,cat,dog\n0,0.5,0.5\n1,0.25,0.75\n")
    assert read_probabilities(path).ids == ("0", "1")


@pytest.mark.parametrize("name", ["segmentation-fault", "division-by-zero", "endless"])
def test_a_file_that_takes_the_hdf5_library_down_is_refused(name):
    """Bytes of files of libver="latest" were changed, and their checksums made anew."""
    path = FIXTURES / f"{name}.h5"
    with pytest.raises(ProbabilityError, match=rf"{name}\.h5 cannot be used as HDF5") as caught:
        read_probabilities(path)
    assert str(path) in caught.value.message


def test_texts_come_out_of_hdf5_as_they_went_in(tmp_path):
    h5py = pytest.importorskip("h5py")
    ids = ["y", "é.jpg", "\U0001f9ca" * 3, "a" * 100_000, "x"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("ids", data=ids, dtype=h5py.string_dtype())
        file.create_dataset("classes", data=["b", "ä"], dtype=h5py.string_dtype())
        file["probabilities"] = np.tile(np.array([0.25, 0.75], "<f2"), (5, 1))
        file.attrs["model"] = "m ö"
    table = read_probabilities(tmp_path / "a.h5")
    assert (list(table.ids), table.classes, table.model) == (ids, ("b", "ä"), "m ö")


def test_a_column_beside_whose_numbers_rows_sum_to_one_is_named(tmp_path):
    # To divide rows by their sum would have made a class of it.
    path = tmp_path / "m.csv"
    path.write_text("id,cat,dog,highest\na,0.25,0.75,0.75\nb,0.6,0.4,0.6\n")
    with pytest.raises(ProbabilityError, match="do not sum to 1") as caught:
        read_probabilities(path)
    assert caught.value.hint.startswith("without the column highest they do")


@pytest.mark.filterwarnings("error")
def test_numbers_whose_sum_is_none_are_refused_without_a_warning(tmp_path):
    values = np.array([[1e308, 1e308, 0.5], [0.25, 0.25, 0.5]])
    fields = {"ids": np.array(["a", "b"]), "classes": np.array(["x", "y", "z"])}
    write_npz(tmp_path / "m.npz", fields | {"probabilities": values})
    with pytest.raises(ProbabilityError, match="outside"):
        read_probabilities(tmp_path / "m.npz")


def test_a_group_in_place_of_numbers_is_said_to_be_none(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ids"], file["classes"] = [b"a"], [b"x", b"y"]
        file.create_group("probabilities")
    with pytest.raises(ProbabilityError, match="'probabilities' are no numbers"):
        read_probabilities(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("name", "content", "said", "hint"),
    [
        ("a.csv", "x.png,0.25,0.75\ny.png,0.5,0.5\n", "no header: its first line is x.png", "id,"),
        (
            "a.csv", "id,true,cat,dog\n1,cat,0.5,0.5\n2,dog,0.5,0.5\n",
            r"columns without a number: true \(cat\)", "take them out",
        ),
        (
            "a.csv", "id,a,b\n<<<<<<< HEAD\n1,0.5,0.5\n=======\n1,0.4,0.6\n>>>>>>> b\n",
            "line 2 has a mark of a merge in git", "",
        ),
        ("a.csv", "id,a\n1,0.5\n", "two classes", ""),
        ("a.npz", "version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS", "lfs pull"),
        ("a.h5", "version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS", "lfs pull"),
        ("a.parquet", "<!DOCTYPE html><html></html>", "it is a web page", "download it again"),
        ("a.h5", "<!DOCTYPE html><html></html>", "it is a web page", "download it again"),
        ("a.parquet", "", "the file is empty", ""),
    ],
)  # fmt: skip
def test_what_a_file_is_instead_is_said_with_a_remedy_that_fits(
    tmp_path, name, content, said, hint
):
    (tmp_path / name).write_text(content)
    with pytest.raises(ProbabilityError, match=said) as caught:
        read_probabilities(tmp_path / name)
    assert hint in caught.value.hint


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_model_and_a_task_are_arrays_in_npz_and_hdf5(tmp_path, suffix, shape):
    named = {name: np.full(shape, name.encode()) for name in ("model", "task")}
    if suffix == ".npz":
        named = {name: array.astype(np.str_) for name, array in named.items()}
    found = read_probabilities(saved(tmp_path / f"a{suffix}", np.array([1, 2]), **named))
    assert (found.model, found.task) == ("model", "task")
    path = saved(tmp_path / f"b{suffix}", np.array([1, 2]), task=np.array(["a", "b"], "S"))
    with pytest.raises(ProbabilityError, match="task"):
        read_probabilities(path)


def test_the_remedy_for_a_row_of_zeros_is_not_to_divide_it_by_its_sum(tmp_path):
    (tmp_path / "a.csv").write_text("id,a,b\n1,0,0\n2,0.5,0.5\n")
    for mend in ("refuse", "renormalise"):
        with pytest.raises(ProbabilityError) as caught:
            read_probabilities(tmp_path / "a.csv", mend)
        assert "take them out, or give their probabilities" in caught.value.hint
        assert "--mend" not in caught.value.hint


def test_fewer_splits_than_ids_are_called_so():
    with pytest.raises(ProbabilityError, match="has 2 ids, but 1 split"):
        ProbabilityTable(("a", "b"), ("x", "y"), np.full((2, 2), 0.5), ("test",))


def test_one_class_alone_is_not_to_be_divided_by_itself():
    with pytest.raises(ProbabilityError) as caught:
        ProbabilityTable(("a", "b"), ("x",), np.array([[0.3], [0.6]]))
    assert "a column for each class" in caught.value.hint
