from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from icecore.core.errors import MissingFileError, RunError
from icecore.core.npz_files import read_npz, write_npz

# Half of a pair of surrogates is no text, and refused.
letters = st.characters(exclude_categories=["Cs"])
arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.bool_, np.uint8, ">f4", "<U3", "S2"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements={"allow_nan": False, "alphabet": letters},
)


@given(st.dictionaries(st.sampled_from("abc"), arrays), st.sampled_from(["ours", "np", "packed"]))
def test_reads_what_numpy_reads(tmp_path_factory, content, writer):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    {"ours": write_npz, "np": _savez, "packed": _savez_compressed}[writer](path, content)
    found = read_npz(path)
    with np.load(path) as expected:
        assert set(found) == set(expected.files)
        for name in found:
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])


def _savez(path, content):
    np.savez(path, **content)


def _savez_compressed(path, content):
    np.savez_compressed(path, **content)


def test_columns_first(tmp_path):
    values = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(tmp_path / "a.npz", x=values)
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz")["x"], values)


def header(shape, descr="<f8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def zipped(path, members, how=zipfile.ZIP_STORED, flags=0):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members:
            archive.writestr(name, content)
    if flags:
        content = bytearray(path.read_bytes())
        for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(mark) + offset] |= flags
        path.write_bytes(content)


ones = header((2,)) + np.ones(2).tobytes()
HOSTILE = {
    "no array": ([("x.txt", b"")], "is not an array"),
    "short": ([("x.npy", ones[:-1])], "needs 16 bytes, and 15 are there"),
    "long": ([("x.npy", ones + b"x")], "needs 16 bytes, and 17"),
    "huge": ([("x.npy", header((10**12,)))], "needs 8000000000000 bytes"),
    "overflow": ([("x.npy", header((2**62, 2**62)))], "needs"),
    "negative": ([("x.npy", header((-1,)))], "has the shape"),
    "objects": ([("x.npy", header((1,), "|O") + pickle.dumps([1]))], "holds object"),
    "fields": ([("x.npy", header((1,), [("a", "<f4")]) + b"1234")], "not numbers or text"),
    "times": ([("x.npy", header((1,), "<M8[s]") + b"12345678")], "not numbers or text"),
    "no header": ([("x.npy", b"\x93NUMPY\x01\x00\x05\x00abc")], "not a readable NPZ"),
    "long header": ([("x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 99)], "header of"),
    "format": ([("x.npy", b"\x93NUMPY\x09\x00" + ones[8:])], "format"),
    "no magic": ([("x.npy", b"rubbish" * 9)], "magic"),
    "long texts": (
        [("x.npy", header((1,), f"<U{2**30 + 1}") + b"a\0\0\0")],
        "not a readable NPZ: (the array 'x' holds texts of a length beyond all|descr is not a val)",
    ),
    "longer texts": (
        [("x.npy", header((60,), f"<U{10**9}") + b"a" * 240)],
        "not a readable NPZ: (the array 'x' holds texts of a length beyond all|descr is not a val)",
    ),
    "no text": ([("x.npy", header((1,), "<U1") + b"\0\xd8\0\0")], "is no text"),
    "odd text": ([("x.npy", header((1,), "<U1") + b"\xff\xff\xff\x7f")], "is no text"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_hostile_members(tmp_path, case, how):
    members, what = HOSTILE[case]
    zipped(tmp_path / "a.npz", members, how)
    refused(tmp_path / "a.npz", what)


def refused(path, what, **options):
    with pytest.raises(RunError, match=what) as caught:
        read_npz(path, RunError, "train again", **options)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_hostile_archives(tmp_path):
    path = tmp_path / "a.npz"
    zipped(path, [("x.npy", ones)], zipfile.ZIP_LZMA)
    refused(path, "compressed in an unknown way")
    zipped(path, [("x.npy", ones)], flags=1)
    refused(path, "is encrypted")
    with pytest.warns(UserWarning, match="Duplicate"):
        zipped(path, [("x.npy", ones), ("x.npy", ones)])
    refused(path, "has the array 'x' twice")
    zipped(path, [(f"{n}.npy", ones) for n in range(1001)])
    refused(path, "1001 members")


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "a.npz"
    for content, what in [
        (b"", "the file is empty"),
        (b"\x93NUMPY\x01\x00", r"it is a NumPy array"),
        (b"PK nothing", "it is cut short"),
        (b"\0" * 2000, "it holds zeros alone"),
        (b"id,cat,dog", "it is no ZIP archive"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
    ]:
        path.write_bytes(content)
        refused(path, what)
    with pytest.raises(MissingFileError):
        read_npz(tmp_path / "none.npz")
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize("seed", range(60))
def test_every_damage_is_one_line(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "a.npz"
    writer = np.savez_compressed if seed % 2 else np.savez
    writer(path, x=rng.normal(size=(40, 3)), y=np.array(["a", "b"]))
    content = bytearray(path.read_bytes())
    if seed % 3 == 0:
        content = content[: rng.integers(len(content))]
    for _ in range(rng.integers(1, 6)):
        content[rng.integers(len(content))] = rng.integers(256)
    path.write_bytes(content)
    try:
        read_npz(path, RunError)
    except RunError as error:
        assert str(path) in error.message  # noqa: PT017


def test_a_bomb_is_not_inflated(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as file:
            file.write(header((16_000_000,)))
            for _ in range(16):
                file.write(bytes(8_000_000))
    refused(path, "unpack to 122 MiB, which no table of numbers does")
    refused(path, "more than 1 KiB", most=1024)
    refused(
        path, r"a\.npz has an x of float64 \(16000000,\)", check=lambda a: f"has an x of {a['x']}"
    )


def test_only_some_names(tmp_path):
    write_npz(tmp_path / "a.npz", {"x": np.ones(2), "y": np.zeros(3)})
    assert list(read_npz(tmp_path / "a.npz", names=["y", "z"])) == ["y"]


def test_equal_arrays_make_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, {"x": np.ones(2)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
