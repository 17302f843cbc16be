from __future__ import annotations

import struct

import numpy as np
import pytest
from drawing import few
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from packages import needs

from icecore.core.errors import MissingFileError, WeightsError
from icecore.features.gluon.params_file import (
    check_params,
    read_parameters,
    read_params,
    write_params,
)

needs_mxnet = needs("mxnet")
ARRAYS = {
    "features.0.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "arg:fc1_bias": np.array([1.5, -2.0]),
    "größe": np.array([[7]], np.float16),
    "n": np.array([1, 2, 3], np.int32),
    "long": np.array([2**40], np.int64),
    "bytes": np.arange(5, dtype=np.uint8),
    "signed": np.array([-1], np.int8),
}


def mxnet_load(path):
    from icecore.features.gluon.loader import load_mxnet

    return {name: value.asnumpy() for name, value in load_mxnet().nd.load(str(path)).items()}


def same(found, expected):
    return list(found) == list(expected) and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name])
        for name in expected
    )


@pytest.fixture
def written(tmp_path):
    write_params(tmp_path / "a.params", ARRAYS)
    return tmp_path / "a.params"


@needs_mxnet
def test_mxnet_reads_what_is_written(written):
    assert same(mxnet_load(written), ARRAYS)


@needs_mxnet
def test_the_bytes_are_those_that_mxnet_writes(tmp_path, written):
    from icecore.features.gluon.loader import load_mxnet

    nd = load_mxnet().nd
    arrays = {name: nd.array(value, dtype=value.dtype) for name, value in ARRAYS.items()}
    nd.save(str(tmp_path / "theirs.params"), arrays)
    assert (tmp_path / "theirs.params").read_bytes() == written.read_bytes()


def test_what_was_written_is_read(written):
    assert same(read_params(written), ARRAYS)
    assert check_params(written) == {name: value.shape for name, value in ARRAYS.items()}


def test_arrays_in_fortran_order_and_of_the_other_endianness(tmp_path):
    value = np.arange(6, dtype=">f4").reshape(2, 3).T
    write_params(tmp_path / "a.params", {"w": value})
    assert np.array_equal(read_params(tmp_path / "a.params")["w"], value)


def old_file(arrays: bytes, count: int = 1, names=(b"w",)) -> bytes:
    tail = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    return struct.pack("<QQQ", 0x112, 0, count) + arrays + struct.pack("<Q", len(names)) + tail


VALUES = np.array([[1.0, 2.0, 3.0]], np.float32)
OLD_FORMS = {
    "2015": struct.pack("<III", 2, 1, 3) + struct.pack("<iii", 1, 0, 0) + VALUES.tobytes(),
    "2017": struct.pack("<Iiqq", 0xF993FAC8, 2, 1, 3)
    + struct.pack("<iii", 1, 0, 0)
    + VALUES.tobytes(),
    "a GPU's": struct.pack("<Iiiqq", 0xF993FAC9, 0, 2, 1, 3)
    + struct.pack("<iii", 2, 3, 0)
    + VALUES.tobytes(),
}


@needs_mxnet
@pytest.mark.parametrize("form", OLD_FORMS)
def test_older_forms_are_read_as_mxnet_reads_them(tmp_path, form):
    path = tmp_path / "old.params"
    path.write_bytes(old_file(OLD_FORMS[form]))
    assert same(read_params(path), {"w": VALUES})
    assert same(mxnet_load(path), {"w": VALUES})


def dense(*, mark=0xF993FAC9, storage=0, shape=(3,), device=(1, 0), flag=0, values=b"\0" * 12):
    dimensions = struct.pack(f"<i{len(shape)}q", len(shape), *shape)
    return (
        struct.pack("<Ii", mark, storage) + dimensions + struct.pack("<iii", *device, flag) + values
    )


@pytest.mark.parametrize("names", [(b"w", b"arg:w"), (b"aux:w", b"arg:w")])
def test_two_arrays_for_one_parameter_are_refused(tmp_path, names):
    path = tmp_path / "two.params"
    path.write_bytes(old_file(dense() * 2, 2, names))
    with pytest.raises(WeightsError, match=r"two.params holds two arrays for w"):
        read_parameters(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends in a number, after 0 bytes"),
        (b"PKKP" + b"\0" * 30, "begins with 0x504b4b50, not 0x112"),
        (struct.pack("<QQQ", 0x112, 0, 2**60), "claims 1152921504606846976 arrays"),
        (old_file(dense(shape=(2**40,))), "ends in array 0 of shape"),
        (old_file(dense(shape=(2**33, 2**33, 2**33))), "ends in array 0 of shape"),
        (old_file(dense(shape=(-3,))), r"array 0 has the shape \(-3,\)"),
        (old_file(dense(shape=(0,), values=b"")), r"array 0 has the shape \(0,\)"),
        (old_file(dense(shape=(), values=b"\0" * 4)), "array 0 has no dimensions"),
        (old_file(dense(shape=(1,) * 40, values=b"\0" * 4)), "claims 40 dimensions"),
        (old_file(dense(storage=2)), r"array 0 is sparse \(storage type 2\)"),
        (old_file(dense(flag=99)), r"unknown element type \(99\)"),
        (old_file(dense(device=(77, 0))), r"unknown device \(77, 0\)"),
        (old_file(dense(), names=()), "has 1 array and 0 names"),
        (old_file(dense() * 2, 2, (b"w", b"w")), "two of its arrays have the same name"),
        (old_file(dense(), names=(b"\xff",)), "a name is not UTF-8"),
        (old_file(dense(), names=(b"w\0b",)), "a name has a zero in it"),
        (old_file(dense())[:-9] + struct.pack("<Q", 2**62) + b"w", "a name claims"),
        (old_file(dense()) + b"more", "4 bytes follow its end"),
        (old_file(dense(mark=0x80000000)), "claims 2147483648 dimensions"),
    ],
)  # fmt: skip
def test_each_fault_is_named(tmp_path, content, reason):
    path = tmp_path / "bad.params"
    path.write_bytes(content)
    message = rf"(?s)bad.params is not a whole .params file: .*{reason}.*get the file again"
    with pytest.raises(WeightsError, match=message):
        check_params(path)
    with pytest.raises(WeightsError):
        read_params(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="is not there"):
        read_params(tmp_path / "none.params")


def test_a_file_cut_anywhere_is_refused(tmp_path, written):
    whole = written.read_bytes()
    for length in range(len(whole)):
        written.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="not a whole"):
            check_params(written)


def test_what_the_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    bad = {"good": np.ones(2), "scalar": np.float32(1), "text": np.array(["a"])}
    with pytest.raises(WeightsError, match=r"scalar \(float32, 0 dimensions\), text \(<U1"):
        write_params(tmp_path / "a.params", {name: np.asarray(v) for name, v in bad.items()})
    assert list(tmp_path.iterdir()) == []


WHOLE = old_file(
    dense() + dense(shape=(1, 2, 1), flag=1, values=b"\1" * 16), 2, (b"features.0.weight", b"b")
)


@needs_mxnet
@few(100, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8)), max_size=3
    ),
    cut=st.just(len(WHOLE)) | st.integers(0, len(WHOLE)),
)
@example(edits=[], cut=len(WHOLE))
def test_a_mutated_file_is_refused_or_means_the_same_to_mxnet(tmp_path_factory, edits, cut):
    """What passes goes on to MXNet's own reader, in this process: a crash would end the tests."""
    content = bytearray(WHOLE)
    for place, replacement in edits:
        content[place : place + len(replacement)] = replacement
    path = tmp_path_factory.getbasetemp() / "mutated.params"
    path.write_bytes(content[: max(cut, 1)])
    try:
        arrays = read_params(path)
    except WeightsError:
        return
    found = mxnet_load(path)
    assert list(found) == list(arrays)
    for name, value in arrays.items():
        assert found[name].tobytes() == value.tobytes()
        assert found[name].shape == value.shape
