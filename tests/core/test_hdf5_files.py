"""HDF5 files of every wrong kind are refused in one line, before anything is read from them."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from icecore.core.errors import CacheError, FileFormatError, IrregularFileError
from icecore.core.hdf5_files import (
    new_hdf5,
    open_hdf5,
    read_array,
    read_attribute,
    read_texts,
)
from icecore.core.hdf5_rules import Hdf5Rules

GZIP = {"chunks": (10,), "compression": "gzip"}


def soft(file):
    file["a"] = h5py.SoftLink("/none")


def external(file):
    file.create_group("g")["a"] = h5py.ExternalLink("secret.h5", "/a")


def stored_elsewhere(file):
    file.create_dataset("a", (10,), "f4", external=[("secret.bin", 0, 40)])


def virtual(file):
    layout = h5py.VirtualLayout((2,), "i8")
    layout[:] = h5py.VirtualSource("secret.h5", "a", (2,))
    file.create_virtual_dataset("a", layout)


def scaled(file):
    file.create_dataset("a", data=np.zeros(100), chunks=(10,), scaleoffset=2)


def filled(file):
    file.create_dataset("a", (200_000_000, 2), "f8", chunks=(1024, 2), compression="gzip")


def unwritten(file):
    file.create_dataset("a", (10**9, 2), "f8")


def bomb(file):
    file.create_dataset("a", data=np.zeros(80 << 20, "u1"), chunks=(8 << 20,), compression="gzip")


def named_type(file):
    file["a"] = np.dtype("f4")


def shapeless(file):
    file["a"] = h5py.Empty("f4")


def crowded(file):
    for number in range(5000):
        file.create_group(str(number))


REFUSED = {
    soft: "'a' is a link to elsewhere",
    external: "'g/a' is a link to elsewhere",
    stored_elsewhere: "'a' is stored in another file",
    virtual: "'a' is a virtual data set",
    scaled: "'a' is packed with filter 6",
    filled: "'a' declares 195313 chunks and holds 0",
    unwritten: r"'a' declares 14\.9 GiB and holds 0 bytes",
    bomb: "'a' would unpack to 80 MiB from",
    named_type: "'a' is neither a group nor a data set",
    shapeless: "'a' is an empty data set",
    crowded: "more than 4096 groups",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_leads_elsewhere_or_declares_what_is_not_there(tmp_path, make):
    np.full(10, 7, "f4").tofile(tmp_path / "secret.bin")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = [1, 2]
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(FileFormatError, match=REFUSED[make]) as caught, open_hdf5(path):
        pass
    assert caught.value.message.startswith(f"{path} cannot be used as HDF5: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"x" * 1000, b"\x89HDF\r\n\x1a\n" + bytes(5000), None])
def test_what_is_not_hdf5(tmp_path, content):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(1000)
    path.write_bytes(path.read_bytes()[:-3000] if content is None else content)
    with pytest.raises(CacheError, match="cannot be used") as caught, open_hdf5(path, CacheError):
        pass
    assert "Unable to" not in caught.value.message


def overfull(file, levels=1):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((10,))
    for _ in range(levels):
        made.set_deflate(9)
    space = h5py.h5s.create_simple((10,))
    data = h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_DOUBLE, space, dcpl=made)
    content = bytes(50 << 20)
    for _ in range(levels):
        content = zlib.compress(content, 9)
    data.write_direct_chunk((0,), content)


@pytest.mark.parametrize(
    ("levels", "said"), [(1, "unpack to more than they declare"), (3, "packed 3 times over")]
)
def test_chunks_that_unpack_to_more_than_they_declare_are_not_unpacked(tmp_path, levels, said):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        overfull(file, levels)
    with pytest.raises(FileFormatError, match=f"'a' .*{said}"), open_hdf5(path) as file:
        read_array(file, "a", 1, "f")


@pytest.mark.parametrize("packing", [GZIP, {"compression": "lzf"}])
def test_what_packing_makes_larger_and_chunks_over_the_edge_are_read(tmp_path, packing):
    path, rng = tmp_path / "x.h5", np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 7), dtype=np.uint8)
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("a", data=noise, **{**packing, "chunks": (4, 4), "fletcher32": True})
    with open_hdf5(path) as file:
        assert (read_array(file, "a", 2, "u") == noise).all()


def test_a_collection_of_texts_that_the_library_would_walk_for_ever_is_damaged(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["model"] = "m"
        file["a"] = [1, 2]
    content = bytearray(path.read_bytes())
    with open_hdf5(path) as file:
        assert read_attribute(file, "model") == "m"
    # The head of the collection, and one object of eight bytes; the next one is what is free.
    free = content.index(b"GCOL") + 16 + 16 + 8
    assert content[free : free + 2] == b"\0\0"
    content[free + 8 : free + 16] = (16).to_bytes(8, "little")
    path.write_bytes(content)
    code = (
        "import sys; from icecore.core.errors import FileFormatError\n"
        "from icecore.core.hdf5_files import open_hdf5, read_attribute\n"
        "try:\n    with open_hdf5(sys.argv[1]) as file: read_attribute(file, 'model')\n"
        "except FileFormatError as error: print(error.message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120
    )
    assert "a collection of texts in it is damaged" in done.stdout


def test_what_follows_a_collection_of_texts_is_no_part_of_it(tmp_path):
    path, ids = tmp_path / "x.h5", [f"{number}.jpg" for number in range(60)]
    for after in (np.zeros(60), np.arange(3), np.zeros((60, 3)), np.ones(60, np.uint64)):
        with h5py.File(path, "w") as file:
            file.create_dataset("ids", data=ids, dtype=h5py.string_dtype())
            file["after"] = after
        with open_hdf5(path) as file:
            assert read_texts(file, "ids") == ids
            read_array(file, "after", after.ndim, after.dtype.kind)


def test_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.h5")
    with pytest.raises(IrregularFileError, match="named pipe"), open_hdf5(tmp_path / "x.h5"):
        pass


def test_groups_that_hold_each_other_and_common_filters_are_read(tmp_path):
    path = tmp_path / "x.h5"
    with new_hdf5(path) as file:
        file.create_group("g")["up"] = file["/"]
        file.create_dataset("a", data=np.arange(95), shuffle=True, fletcher32=True, **GZIP)
    with open_hdf5(path) as file:
        assert read_array(file, "a", 1, "i").tolist() == list(range(95))
    with pytest.raises(FileFormatError, match="filter 2"):
        with open_hdf5(path, rules=Hdf5Rules(filters=frozenset())):
            pass


def test_tables_of_another_shape_or_type_are_one_line_with_the_files_name(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["numbers"], file["texts"], file["fixed"] = np.eye(2), ["ä", "b"], [b"a", b"\xff"]
        file.create_group("group")
        file.attrs["list"], file.attrs["text"], file.attrs["raw"] = [1, 2], "ü", np.bytes_("x")
    wrong = {
        lambda f: read_array(f, "numbers", 1, "f"): "shape",
        lambda f: read_array(f, "numbers", 2, "<f4"): "holds float64, not float32",
        lambda f: read_array(f, "group", 1, "f"): "no data set 'group'",
        lambda f: read_array(f, "none", 1, "f"): "no data set 'none'",
        lambda f: read_texts(f, "numbers"): "shape",
        lambda f: read_texts(f, "fixed"): "utf-8",
        lambda f: read_attribute(f, "list"): "no single text or number",
        lambda f: read_attribute(f, "none"): "no attribute 'none'",
    }
    for read, reason in wrong.items():
        with pytest.raises(FileFormatError, match=f"x.h5 cannot be used.*{reason}"):
            with open_hdf5(path) as file:
                read(file)
    with open_hdf5(path) as file:
        assert read_texts(file, "texts") == ["ä", "b"]
        assert [read_attribute(file, name) for name in ("text", "raw")] == ["ü", "x"]


def test_a_text_that_many_entries_share_does_not_unpack_without_end(tmp_path, monkeypatch):
    """Texts of any length lie in a heap, and all entries may point at one of them."""
    monkeypatch.setattr("icecore.core.hdf5_rules._UNPACKED_BYTES", 1 << 16)
    monkeypatch.setattr("icecore.core.hdf5_rules._UNPACKED_RATIO", 2)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=["y" * 20_000] + ["x"] * 200, dtype=h5py.string_dtype())
        place = file["a"].id.get_offset()
    content = bytearray(path.read_bytes())
    first = content[place : place + 16]
    for entry in range(1, 201):
        content[place + 16 * entry : place + 16 * (entry + 1)] = first
    path.write_bytes(content)
    with h5py.File(path) as file:
        assert len(file["a"][150]) == 20_000, "the file is as it was meant"
    with pytest.raises(FileFormatError, match="would unpack to more than"), open_hdf5(path) as file:
        read_texts(file, "a")


def test_a_system_without_files_to_spare_is_not_a_damaged_file(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a"] = [1]

    def none_left(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(h5py, "File", none_left)
    with pytest.raises(OSError, match="Too many open files") as caught, open_hdf5(path):
        pass
    assert not isinstance(caught.value, FileFormatError)


LISTS = {
    "v1": ({"libver": "earliest"}, {"chunks": (2, 1)}),
    "fixed array": ({"libver": "latest"}, {"chunks": (2, 1)}),
    "extensible array": ({"libver": "latest"}, {"chunks": (2, 2), "maxshape": (None, 2)}),
    "B-tree": ({"libver": "latest"}, {"chunks": (2, 1), "maxshape": (None, None)}),
}


@pytest.mark.parametrize("kind", [*LISTS, "attributes", "members"])
def test_lists_of_parts_are_refused_where_none_belong(tmp_path, kind):
    """Made for it, they take the library down; what icecore writes has none."""
    made, how = LISTS.get(kind, ({"libver": "latest"}, {}))
    with h5py.File(tmp_path / "a.h5", "w", **made) as file:
        file.create_dataset("a", data=np.arange(12.0).reshape(6, 2), **how)
        for number in range(20):
            if kind == "attributes":
                file.attrs[f"{number}"] = number
            elif kind == "members":
                file.create_group(f"{number}")
    with open_hdf5(tmp_path / "a.h5") as file:
        assert read_array(file, "a", 2, "f")[5, 1] == 11
    with pytest.raises(FileFormatError, match="lists of its parts|lies in chunks"):
        with open_hdf5(tmp_path / "a.h5", rules=Hdf5Rules(lists=False)) as file:
            file.attrs.get("0")
            read_array(file, "a", 2, "f")


def test_what_icecore_writes_has_no_lists_of_parts(tmp_path):
    with new_hdf5(tmp_path / "a.h5") as file:
        file["a"], file["b/c"] = np.arange(12.0).reshape(6, 2), np.array(["x", "TREE\0"], "S8")
        file.attrs["text"] = "x" * 10_000
    with open_hdf5(tmp_path / "a.h5", rules=Hdf5Rules(lists=False)) as file:
        assert read_array(file, "a", 2, "f")[5, 1] == 11
