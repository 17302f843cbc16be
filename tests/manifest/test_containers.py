from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import add, draw_photos, files_of, write_parquet, write_records, write_tars

from icecore.core import parquet_files
from icecore.core.errors import FileFormatError, IcecoreError, ManifestError, MissingFileError
from icecore.core.parquet_files import read_field, read_table
from icecore.core.places import open_container, read_place
from icecore.core.record_files import Records
from icecore.manifest import open_data, read, read_remembered


@pytest.fixture
def photos(tmp_path):
    return draw_photos(tmp_path / "photos", 6)


def contents(manifest):
    return sorted(read_place(sample.path, 2**20) for sample in manifest)


def tar(path, *entries):
    import tarfile

    with tarfile.open(path, "w") as archive:
        for name, content in entries:
            add(archive, name, content)
    return path


def test_keys_end_at_the_first_dot_of_the_file_name(tmp_path):
    found = read(
        tar(
            tmp_path / "a.tar",
            ("v1.0/x.left.jpg", b"1"),
            ("v1.0/x.right.jpg", b"2"),
            ("v1.0/x.cls", b"7\n"),
        )
    )
    assert [(s.id, s.label) for s in found] == [
        ("a.tar/v1.0/x.left.jpg", "7"),
        ("a.tar/v1.0/x.right.jpg", "7"),
    ]


def test_captions_are_no_labels(tmp_path):
    entries = [(f"{n}.{e}", c) for n in range(30) for e, c in (("jpg", b"1"), ("txt", b"a %d" % n))]
    found = read(tar(tmp_path / "a.tar", *entries), labels_required=False)
    assert {sample.label for sample in found} == {""}
    assert "differ from image to image: not labels" in found.warnings[0]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("1.json", b"[" * 5000, "is not usable JSON: it is nested more than 64 levels deep"),
        ("1.json", b"{", "is not usable JSON: Expecting property name"),
        ("1.json", b"\xff", "is not usable JSON: 'utf-8' codec"),
        ("1.json", b'{"label": {"a": 1}}', "has {'a': 1} where one label would be"),
        ("1.json", b'{"label": ["a", "b"]}', "has ['a', 'b'] where one label would be"),
        ("1.json", b'{"label": "hat"}' + b" " * 2**16, "has 65552 bytes, more than 65536"),
        ("1.cls", b"\xff", "is no text in UTF-8"),
        ("1.cls", b"a\nb", "has several lines"),
    ],
)
def test_a_text_that_is_no_label_is_named_with_the_reason(tmp_path, name, text, said):
    path = tar(tmp_path / "a.tar", ("1.jpg", b"1"), (name, text))
    found = read(path, labels_required=False)
    assert [sample.label for sample in found] == [""]
    assert f"1 text in {path} cannot be read ({name} {said}" in found.warnings[0]
    with pytest.raises(ManifestError, match=f"1 image has no label.*{re.escape(said)}"):
        read(path)


@pytest.mark.parametrize("text", [b"null", b"{}", b'{"label": null}', b'{"caption": "a b"}'])
def test_json_of_other_things_is_passed_over(tmp_path, text):
    found = read(tar(tmp_path / "a.tar", ("1.jpg", b"1"), ("1.json", text)), labels_required=False)
    assert ([sample.label for sample in found], found.warnings) == ([""], ())


def test_splits_are_those_that_names_speak_of(photos, tmp_path):
    write_tars(photos, tmp_path / "data", 1)
    (tmp_path / "data/train-00000.tar").rename(tmp_path / "data/set-val-00000.tar")
    write_tars(photos, tmp_path / "data", 1)
    (tmp_path / "data/test").mkdir()
    tar(tmp_path / "data/test/0.tar", ("9.jpg", b"1"))
    assert {s.id.partition(".tar")[0]: s.split for s in read(tmp_path / "data")} == {
        "set-val-00000": "validation",
        "train-00000": "train",
        "test/0": "test",
    }


def test_images_beside_tars_are_read_as_before(photos, tmp_path):
    write_tars(photos, photos)
    found = read(photos)
    assert len(found) == 6
    assert [why for _, why in found.passed_over] == [".tar"] * 3


def test_tables_of_paths_name_the_files_beside_them(photos, tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    paths = [path.relative_to(photos).as_posix() for path in files_of(photos)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [{"bytes": None, "path": path} for path in paths]
    table = pa.table({"image": pa.array(rows, kind), "label": ["a"] * 6})
    pq.write_table(table, photos / "t.parquet")
    assert contents(read(photos / "t.parquet")) == sorted(
        p.read_bytes() for p in files_of(photos) if p.suffix != ".parquet"
    )
    rows[0]["path"] = "../../etc/passwd.jpg"
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), photos / "t.parquet")
    with pytest.raises(ManifestError, match="names an image outside its folder"):
        read(photos / "t.parquet", labels_required=False)


def test_a_table_without_images_is_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    nested = pa.array([{"bytes": {"bytes": b"x"}}])
    for name, column in (("text", ["a"]), ("image", nested)):
        pq.write_table(pa.table({name: column}), tmp_path / "t.parquet")
        with pytest.raises(FileFormatError, match=f"has no column of images; it has {name}"):
            read(tmp_path / "t.parquet", labels_required=False)


def test_a_cut_table_is_named(photos, tmp_path):
    folder = write_parquet(photos, tmp_path / "made")
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for length in (0, 3, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match="is no readable Parquet table"):
            read(folder)


def test_a_small_table_of_very_many_rows_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "train.parquet"
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for _ in range(11):
            writer.write_table(pa.table({"image": pa.nulls(10**6, pa.binary())}))
    assert path.stat().st_size < 2**17
    with pytest.raises(FileFormatError, match="has 11,000,000 rows, more than 10,000,000"):
        read_table(str(path), open_container)


def test_a_long_label_in_every_row_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"image": [b"x"] * 5, "label": ["y" * 5000] * 5}), path)
    with pytest.raises(FileFormatError, match="a label has 5,000 characters"):
        read_table(str(path), open_container)


def test_rows_are_those_of_their_group(photos, tmp_path):
    for struct_ in (True, False):
        folder = write_parquet(photos, tmp_path / str(struct_), struct_)
        assert contents(read(folder)) == sorted(path.read_bytes() for path in files_of(photos))
        place = next(iter(read(folder))).path
        with pytest.raises(FileFormatError, match="has no row 99"):
            read_place(place.replace("row=0", "row=99"), 2**20)
        with pytest.raises(FileFormatError, match="more than 10 bytes"):
            read_place(place, 10)


def test_records_of_several_labels_and_names(photos, tmp_path):
    found = read(write_records(photos, tmp_path / "made"))
    assert contents(found) == sorted(path.read_bytes() for path in files_of(photos))
    assert [s.id for s in found] == [
        f"train.rec/{p.parent.name}/{p.name}" for p in files_of(photos)
    ]
    head = struct.pack("<IfQQ", 2, 0.0, 5, 0) + struct.pack("<2f", 3.0, 4.0) + b"xyz"
    content = struct.pack("<II", 0xCED7230A, len(head)) + head + b"\0"
    found = Records(io.BytesIO(content), len(content))
    (record,), fault = found, found.fault
    assert (record.number, record.labels, record.size, fault) == (5, (3.0, 4.0), 3, "")
    assert content[record.start : record.start + record.size] == b"xyz"


@given(st.data())
def test_cut_or_damaged_records_end_in_a_listing(data):
    content = b""
    for number in range(3):
        body = struct.pack("<IfQQ", 0, 1.0, number, 0) + b"abcde"
        content += struct.pack("<II", 0xCED7230A, len(body)) + body + b"\0\0\0"
    length = data.draw(st.integers(0, len(content)))
    damaged = bytearray(content[:length])
    if damaged and data.draw(st.booleans()):
        damaged[data.draw(st.integers(0, length - 1))] ^= data.draw(st.integers(1, 255))
    found = Records(io.BytesIO(bytes(damaged)), length)
    records, fault = list(found), found.fault
    assert all(0 <= r.start <= r.start + r.size <= length for r in records)
    if 0 < length % 40 < 37 and bytes(damaged) == content[:length]:
        assert fault
        assert len(records) == length // 40


def test_records_that_became_shorter_end_in_a_listing():
    body = struct.pack("<IfQQ", 2, 0.0, 5, 0) + struct.pack("<2f", 3.0, 4.0) + b"abcd"
    content = (struct.pack("<II", 0xCED7230A, len(body)) + body) * 2
    for length in range(len(content) // 2, len(content)):
        found = Records(io.BytesIO(content[:length]), len(content))
        assert [record.number for record in found][:1] == [5]
        assert found.fault or length >= len(content) - 4  # Bytes of images are read by others.


def test_a_list_with_a_number_beyond_all_names_nothing(photos, tmp_path):
    made = write_records(photos, tmp_path / "made")
    lines = (made / "train.lst").read_text()
    (made / "train.lst").write_text("9" * 5000 + "\t0\ta.jpg\n" + lines)
    assert read(made).images.keys() == read(write_records(photos, tmp_path / "plain")).images.keys()


def records(path, *entries):
    """Write records of ``(labels, number, content)``."""
    content = b""
    for labels, number, image in entries:
        several = len(labels) > 1
        head = struct.pack("<IfQQ", len(labels) * several, 0 if several else labels[0], number, 0)
        body = head + struct.pack(f"<{len(labels)}f", *labels) * several + image
        content += struct.pack("<II", 0xCED7230A, len(body)) + body + b"\0" * (-len(body) % 4)
    path.write_bytes(content)
    return path


def test_a_record_of_no_known_kind_is_damage(tmp_path):
    path = records(tmp_path / "a.rec", ((1.0,), 0, b"x"), ((1.0,), 1, b"y"))
    content = bytearray(path.read_bytes())
    content[36 + 7] = 7 << 5  # The second record's kind.
    path.write_bytes(content)
    found = read(path)
    assert [one.id for one in found] == ["a.rec/0"]
    assert found.warnings == (f"{path} is damaged at byte 36; what lies before that is used",)


def test_labels_of_records_are_whole_numbers_or_none(tmp_path):
    labels = [1234567.0, 1234568.0, 0.5, float("nan"), float("inf"), -1.0]
    entries = [((label,), number, b"x") for number, label in enumerate(labels)]
    found = read(records(tmp_path / "a.rec", *entries), labels_required=False)
    assert [s.label for s in found] == ["1234567", "1234568", "0.5", "", "", "-1"]


def test_that_the_first_of_several_labels_is_taken_is_said(tmp_path):
    detection = ((4.0, 5.0, 20.0, 20.0, 1.0), 0, b"x")
    found = read(records(tmp_path / "a.rec", detection, ((2.0,), 1, b"y")), labels_required=False)
    assert [s.label for s in found] == ["4", "2"]
    (note,) = found.notes()
    assert note.startswith("1 of the records of")
    assert "has several labels: the first is taken" in note


def test_what_is_remembered_of_a_record_file_does_not_hide_a_list_that_changed(tmp_path):
    path = records(tmp_path / "a.rec", ((1.0,), 0, b"x"), ((2.0,), 1, b"y"))
    os.utime(path, (1e9, 1e9))
    (tmp_path / "memory").mkdir()
    remember = lambda: read_remembered(path, tmp_path / "memory" / "digests")  # noqa: E731
    (tmp_path / "a.lst").write_text("0\t1\tx.png\n1\t2\ty.png\n")
    assert [one.id for one in remember()] == ["a.rec/x.png", "a.rec/y.png"]
    (tmp_path / "a.lst").write_text("0\t1\tnew.png\n1\t2\ty.png\n")
    assert [one.id for one in remember()] == ["a.rec/new.png", "a.rec/y.png"]
    (tmp_path / "a.lst").write_text("0\t2\tx.png\n1\t2\ty.png\n")
    with pytest.raises(ManifestError, match=r"x\.png \(1 or 2\)"):
        remember()


def test_what_is_no_image_in_a_container_is_counted(tmp_path):
    entries = [
        ("1.jpg", b"1"),
        ("1.cls", b"hat"),
        ("2.jpg", b""),
        ("3.jpg_large", b"1"),
        ("x", b""),
    ]
    found = read(tar(tmp_path / "a.tar", *entries))
    assert [s.id for s in found] == ["a.tar/1.jpg"]
    assert dict(found.passed_over) == {
        "a.tar/2.jpg": "an empty image", "a.tar/3.jpg_large": ".jpg_large", "a.tar/x": "no ending",
    }  # fmt: skip
    found = read(records(tmp_path / "a.rec", ((1.0,), 7, b"x"), ((1.0,), 8, b"")))
    assert dict(found.passed_over) == {"a.rec/8": "an empty image"}


def test_labels_of_tables_may_be_bytes_and_not_nan(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    for labels, expected in (
        (pa.array(["hüt".encode(), None], pa.binary()), ["hüt", ""]),
        ([1.0, float("nan")], ["1.0", ""]),
    ):
        table = pa.table({"image": pa.array([b"1", b"2"], pa.binary()), "label": labels})
        pq.write_table(table, tmp_path / "a.parquet")
        found = read(tmp_path / "a.parquet", labels_required=False)
        assert [sample.label for sample in found] == expected
    table = pa.table({"image": pa.array([b"1"], pa.binary()), "label": pa.array([b"\xff"])})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(FileFormatError, match="a.parquet is no readable Parquet table: .*utf-8"):
        read(tmp_path / "a.parquet")


def test_a_pattern_of_too_many_files_is_refused():
    with pytest.raises(ManifestError, match="stands for 1000000 files"):
        read("a/{000000..999999}.tar")
    with pytest.raises(ManifestError, match="too many files"):
        read("a/{000..999}/{000..999}.tar")


def test_json_labels(tmp_path):
    entries = [("1.jpg", b"1"), ("1.json", json.dumps({"class_name": "hat"}).encode())]
    assert [s.label for s in read(tar(tmp_path / "a.tar", *entries))] == ["hat"]


def test_labels_of_more_bytes_than_memory_should_take_are_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    pytest.importorskip("pyarrow.parquet")
    label = "x" * 2**20
    labels = [label + str(number) for number in range(300)]
    table = pyarrow.table({"image": [b"x"] * 300, "label": labels})
    pyarrow.parquet.write_table(
        table, tmp_path / "t.parquet", compression="zstd", use_dictionary=False
    )
    assert (tmp_path / "t.parquet").stat().st_size < 2**20
    with pytest.raises(FileFormatError, match="a label has 1,048,57. characters, more than 4,096"):
        read_table(str(tmp_path / "t.parquet"), open_container)


def test_labels_and_paths_of_all_row_groups_count_together(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet_files, "_LARGEST_TEXTS", 1000)
    table = pyarrow.table({"image": [b"x"] * 20, "label": [f"{n:0100}" for n in range(20)]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=5)
    with pytest.raises(FileFormatError, match="t.parquet has .* of labels and paths, more than"):
        read_table(str(tmp_path / "t.parquet"), open_container)


_READ_EACH = """
import os, struct, sys
from icecore.core.parquet_files import read_table, load_parquet
from icecore.core.places import open_container, read_place
load_parquet()
path = sys.argv[1]
content = open(path, "rb").read()
(length,) = struct.unpack("<I", content[-8:-4])
for at in range(len(content) - 8 - length, min(len(content) - 8, len(content) - 8 - length + 200)):
    damaged = bytearray(content)
    damaged[at] = 101
    open(path, "wb").write(damaged)
    if not (child := os.fork()):
        try:
            read_table(path, open_container)
            read_place(f"{path}#row=0&column=image", 2**20)
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        print(at, os.WTERMSIG(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_damage_in_what_a_table_says_of_itself_does_not_end_the_process(photos, tmp_path):
    """Asked for its sizes of a column, pyarrow ends the process where they do not fit together."""
    (path,) = write_parquet(photos, tmp_path / "made").iterdir()
    done = subprocess.run([sys.executable, "-c", _READ_EACH, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_one_large_image_in_very_many_rows_is_refused_before_it_is_unpacked(tmp_path):
    """A file of a megabyte, whose one image is written once, took six gigabytes."""
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    pytest.importorskip("pyarrow.parquet")
    pixels = np.random.default_rng(0).bytes(900_000)
    table = pyarrow.table({"image": pyarrow.array([pixels] * 1300, pyarrow.binary())})
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path, dictionary_pagesize_limit=2**21)
    assert path.stat().st_size < 2**20
    with pytest.raises(
        FileFormatError, match=r"row group of .*t.parquet has more than 1 GiB of images"
    ):
        read_field(str(path), 0, "image", open_container, 2**30)


def test_a_label_of_several_texts_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"image": [b"x"], "label": [["a", "b"]]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(FileFormatError, match="has a column 'label' of list<"):
        read_table(str(tmp_path / "t.parquet"), open_container)


def test_a_long_class_name_or_a_path_that_is_no_text_is_said(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": [b"x"], "label": ["y" * 2000]}), path)
    with pytest.raises(ManifestError, match="row 0 of .*t.parquet has a class name of 2000"):
        read(path)
    pixels = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.int64())])
    images = pyarrow.array([{"bytes": None, "path": 7}], pixels)
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": ["y"]}), path)
    with pytest.raises(FileFormatError, match="paths of its images are no texts"):
        read_table(str(path), open_container)


def test_a_member_whose_name_no_table_holds_is_named(tmp_path):
    tar(tmp_path / "a.tar", ("a.png", b"x"), ("b\nc.png", b"x"))
    with pytest.raises(ManifestError, match=r"1 name in .* with line breaks or NUL: a.tar/b\\nc"):
        read(tmp_path, labels_required=False)


@pytest.mark.parametrize("number", [2, -2])
def test_a_numbered_label_without_a_name_is_no_class_of_its_own(number, tmp_path):
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    parquet = pytest.importorskip("pyarrow.parquet")
    names = {b"huggingface": b'{"info":{"features":{"label":{"names":["a","b"]}}}}'}
    table = pyarrow.table({"image": [b"x", b"y", b"z"], "label": [0, number, -1]})
    parquet.write_table(table.replace_schema_metadata(names), tmp_path / "a.parquet")
    with pytest.raises(
        (FileFormatError, ManifestError), match=rf"the label {number}, and names for 2 classes"
    ):
        read(tmp_path)


def test_classes_of_one_name_in_a_schema_are_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    parquet = pytest.importorskip("pyarrow.parquet")
    names = {b"huggingface": b'{"info":{"features":{"label":{"names":["a","b","a"]}}}}'}
    table = pyarrow.table({"image": [b"x", b"y"], "label": [0, 2]}).replace_schema_metadata(names)
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises((FileFormatError, ManifestError), match="several classes of one name: a"):
        read(tmp_path)


def test_halves_of_characters_and_line_breaks_are_no_labels(tmp_path):
    texts = {"a.cls": b"cat", "b.cls": b"two\nlines", "c.cls": b"\xff", "d.cls": b"no\0ne"}
    images = [(f"{name}.png", b"x") for name in "abcd"]
    tar(tmp_path / "a.tar", *images, *texts.items())
    labels = [one.label for one in read(tmp_path, labels_required=False)]
    assert labels == ["cat", "", "", ""]
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    pytest.importorskip("pyarrow.parquet")
    names = {b"huggingface": b'{"info":{"features":{"label":{"names":["\\ud800","b"]}}}}'}
    table = pyarrow.table({"image": [b"x"] * 2, "label": [0, 1]}).replace_schema_metadata(names)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    assert [one.label for one in read(tmp_path / "t.parquet")] == ["0", "1"]


def test_what_to_do_about_images_without_labels_fits_where_they_lie(tmp_path):
    """Each remedy is followed, and works."""
    plain = (("a/0.jpg", b"0"), ("1.jpg", b"1"))
    path = tar(tmp_path / "a.tar", *plain)
    with pytest.raises(ManifestError, match="2 images have no label") as caught:
        read(path)
    assert "0001.cls for 0001.jpg" in caught.value.hint
    assert "class folder" not in caught.value.hint
    labels = (("a/0.cls", b"hat"), ("1.json", b'{"label": "cap"}'))
    assert len(read(tar(tmp_path / "b.tar", *plain, labels[0], ("1.cls", b"cap"))).classes()) == 2
    assert len(read(tar(tmp_path / "c.tar", *plain, labels[1], ("a/0.json", b"5"))).classes()) == 2
    # As extract leaves it.
    table = tmp_path / "a.csv"
    read(path, labels_required=False).write(table)
    with pytest.raises(ManifestError, match="2 images have no label") as caught:
        read(table)
    assert caught.value.hint.startswith("fill in their labels (the column")
    table.write_text(table.read_text("utf-8").replace(",label,,", ",label,hat,"), "utf-8")
    assert read(table).classes() == ("hat",)

    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": [b"1", b"2"]}), tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="2 images have no label") as caught:
        read(tmp_path / "a.parquet")
    assert "a column 'label' of texts" in caught.value.hint


def test_why_the_texts_of_a_tar_are_no_labels_is_said_where_labels_are_needed(tmp_path):
    entries = [(f"{n}.{e}", c) for n in range(30) for e, c in (("jpg", b"1"), ("txt", b"a %d" % n))]
    with pytest.raises(ManifestError, match="differ from image to image: not labels"):
        read(tar(tmp_path / "a.tar", *entries))


def test_images_that_are_all_to_be_answered_are_not_advised_to_become_so(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.jpg").write_bytes(b"1")
    with pytest.raises(ManifestError, match="1 image has no label") as caught:
        read(tmp_path)
    assert caught.value.hint.endswith("to train with: all of these are to be answered")


def test_columns_of_a_table_that_are_not_used_are_named_once(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"image": [b"1", b"2"], "Label": ["hat", "cap"], "split": [0, 1]}
    for number in range(3):
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    found = read(tmp_path)
    assert found.classes() == ("cap", "hat")
    (note,) = found.notes()
    assert note.startswith("columns of Parquet tables that are not used: split; a column 'split'")
    pq.write_table(pa.table({"image": [b"1"], "fine_label": ["hat"]}), tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="1 image has no label.*not used: fine_label"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train0", "test0"), ("train2017", "val2017"), ("trainset", "testset"),
        ("Train 01", "Test (1)"), ("split=train/0", "split=test/0"), ("train_a", "test_a"),
    ],
)  # fmt: skip
def test_the_split_of_a_table_is_in_its_name(tmp_path, train, test):
    """Images of a test split had been trained on."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in (train, test, "eval"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        table = pa.table({"image": [b"1", b"2"], "label": ["hat", "cap"]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = read(tmp_path)
    splits = {one.id.rpartition("/")[0]: one.split for one in found}
    other = "validation" if test.startswith("val") else "test"
    assert splits == {f"{train}.parquet": "train", f"{test}.parquet": other, "eval.parquet": ""}
    assert found.warnings == (
        "eval.parquet: no split in the name, so for training, beside others that say theirs "
        "(train, validation or test)",
    )


def test_words_of_other_folders_do_not_hide_the_split_of_a_file(tmp_path):
    """Test images had been trained on, for the first word of a path won."""
    entries = ("1.png", b"1"), ("1.cls", b"hat")
    names = {
        "train-test-split/train-0.tar": "train", "train-test-split/test-0.tar": "test",
        "train_test/val/0.tar": "validation", "val/train_test/1.tar": "validation",
        "test/a/testset.tar": "test", "trained/val-0.tar": "validation",
    }  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        tar(tmp_path / name, *entries)
    found = read(tmp_path)
    assert {one.id.removesuffix("/1.png"): one.split for one in found} == names
    assert found.warnings == ()
    tar(tmp_path / "train_test/test-val.tar", *entries)
    (note,) = read(tmp_path / "train_test" / "test-val.tar").warnings
    assert note.startswith("test-val.tar: several splits in one name, so none is taken from it")
    assert "test-val.tar: no split in the name" in read(tmp_path).warnings[0]


@pytest.mark.parametrize("reader", [read, open_data])
def test_a_file_and_its_folders_that_say_unlike_splits_are_refused(tmp_path, reader):
    for name in ("valid/train-1", "test-run/train-0", "train/val/0", "train/0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        tar(tmp_path / f"{name}.tar", ("1.png", b"1"), ("1.cls", b"hat"))
    unlike = (
        r"unlike splits: test-run/train-0.tar \(test or train\), train/val/0.tar \(train or "
        r"validation\), valid/train-1.tar \(train or validation\)"
    )
    with pytest.raises(ManifestError, match=unlike) as caught:
        reader(tmp_path)
    assert caught.value.hint.startswith("rename the folder or the file")
    assert {one.split for one in read(tmp_path / "valid")} == {"train"}


@pytest.mark.parametrize("packed", [False, True])
def test_the_split_of_a_row_is_what_its_table_says(tmp_path, packed):
    import pyarrow as pa
    import pyarrow.parquet as pq

    splits = ["Train", "valid", None, "test", " val "]
    columns = {"image": [b"%d" % n for n in range(5)], "label": ["hat", "cap"] * 2 + ["hat"]}
    column = pa.array(splits)
    table = pa.table(columns | {"Split": column.dictionary_encode() if packed else column})
    for name in ("test-00000-of-00001.parquet", "a.parquet"):
        pq.write_table(table, tmp_path / name, row_group_size=2)
    found = read(tmp_path, labels_required=False)
    assert [one.split for one in found if one.id.startswith("a")] == [
        "train", "validation", "", "test", "validation",
    ]  # fmt: skip
    # Where a row says nothing, the name of the table does.
    assert [one.split for one in found if one.id.startswith("test")] == [
        "train", "validation", "test", "test", "validation",
    ]  # fmt: skip
    assert found.warnings == ()
    table = pa.table(columns | {"split": ["train", "extra", "holdout", "", "extra"]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="'split' of .*a.parquet has extra, holdout") as caught:
        read(tmp_path)
    assert caught.value.hint.endswith("or call the column otherwise")
    (tmp_path / "test").mkdir()
    pq.write_table(table.slice(0, 1), tmp_path / "test" / "val.parquet")  # Its rows say theirs.
    (tmp_path / "a.parquet").unlink()
    assert "train" in {one.split for one in read(tmp_path) if one.id.startswith("test/")}
    pq.write_table(table.rename_columns(["image", "label", "part"]), tmp_path / "a.parquet")
    assert "that are not used: part" in read(tmp_path).warnings[0]


def test_parts_of_a_table_that_are_lacking_are_named(photos, tmp_path):
    table, tables = next(write_parquet(photos, tmp_path).glob("*.parquet")), tmp_path / "tables"
    tables.mkdir()
    for name in ("train-00000-of-00008", "train-00007-of-00008", "test-00000-of-00001"):
        shutil.copy(table, tables / f"{name}.parquet")
    said = "6 of the 8 parts of train-*-of-00008.parquet are not there: "
    assert read(tables).warnings == (f"{said}00001, 00002, 00003, 00004, 00005 and 1 more",)


def test_class_names_of_a_schema_that_become_one_are_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"info": {"features": {"label": {"names": ["hat", "hat "]}}}}
    table = pa.table({"image": [b"1", b"2"], "label": [0, 1]})
    table = table.replace_schema_metadata({b"huggingface": json.dumps(features).encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    (note,) = read(tmp_path / "a.parquet").notes()
    assert note.endswith("are one class: 'hat', 'hat '")


def test_texts_of_which_pyarrow_makes_no_dictionary_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": [b"1", b"2"], "label": ["hat", "cap"]})
    ways = {"image": "DELTA_BYTE_ARRAY", "label": "DELTA_LENGTH_BYTE_ARRAY"}
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, use_dictionary=False, column_encoding=ways)
    found = read(path)
    assert [one.label for one in found] == ["hat", "cap"]
    assert contents(found) == [b"1", b"2"]


def test_what_is_wrong_with_the_columns_of_a_table_is_said(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    twice = pa.Table.from_arrays([pa.array([b"1"])] * 2, ["image", "image"])
    pq.write_table(twice, path)
    with pytest.raises(FileFormatError, match="has columns of one name: image"):
        read(path)
    pq.write_table(pa.table({"image": ["1.jpg"], "label": ["hat"]}), path)
    with pytest.raises(FileFormatError, match=r"it has image \(string\), label \(string\)") as no:
        read(path)
    assert no.value.hint.endswith("paths alone stand in a CSV with path,label")


def test_what_macs_put_into_tars_is_passed_over_as_in_folders(tmp_path):
    entries = (
        ("._1.jpg", b"x"), ("1.jpg", b"1"), ("._1.cls", b"x"), ("./1.cls", b"x"), ("1.cls", b"hat"),
        ("__MACOSX/1.jpg", b"x"), ("./2.jpg", b"2"), ("./2.cls", b"\xef\xbb\xbfhat"),
    )  # fmt: skip
    found = read(tar(tmp_path / "a.tar", *entries))
    assert [(s.id, s.label) for s in found] == [("a.tar/1.jpg", "hat"), ("a.tar/./2.jpg", "hat")]
    assert dict(found.passed_over) == {
        "a.tar/._1.jpg": "hidden", "a.tar/._1.cls": "hidden", "a.tar/__MACOSX/1.jpg": "__MACOSX"
    }  # fmt: skip


def test_labels_of_one_name_that_differ_are_none(tmp_path):
    entries = (("1.jpg", b"1"), ("1.cls", b"hat"), ("2.jpg", b"2"), ("2.cls", b"cap"))
    same = read(tar(tmp_path / "a.tar", *entries, ("2.cls", b"cap\n")))
    assert [one.label for one in same] == ["hat", "cap"]
    path = tar(tmp_path / "b.tar", *entries, ("2.cls", b"hat"))
    with pytest.raises(ManifestError, match=r"1 image has no label.*say other labels \(2.cls\)"):
        read(path)


def test_several_images_of_one_label_are_named(tmp_path):
    entries = (("1.jpg", b"1"), ("1.seg.png", b"2"), ("1.cls", b"hat"))
    found = read(tar(tmp_path / "a.tar", *entries))
    (note,) = found.notes()
    assert note.startswith("1 key has several images in ")
    assert note.endswith("all are of its class (masks, too, if there are any): 1")
    assert not read(tar(tmp_path / "b.tar", *entries[:2]), labels_required=False).notes()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"


@pytest.mark.parametrize("ending", ["tar", "parquet", "rec", "csv"])
def test_a_pointer_of_git_lfs_is_no_container_and_the_remedy_gets_the_file(tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow.parquet")
    path = tmp_path / f"a.{ending}"
    path.write_bytes(POINTER)
    with pytest.raises(IcecoreError) as caught:
        read(path)
    assert "a pointer of Git LFS" in caught.value.message
    assert "git lfs pull" in caught.value.message + caught.value.hint
    assert "what lies before" not in caught.value.message


def test_an_archive_is_no_table_of_samples_and_is_to_be_unpacked(tmp_path):
    path = tmp_path / "photos.tar.gz"
    path.write_bytes(b"\x1f\x8b\x08" + bytes(40))
    with pytest.raises(ManifestError, match="compressed with gzip") as caught:
        read(path)
    assert caught.value.hint.startswith("unpack it; if it is a table, save")


def test_labels_without_an_image_are_named(tmp_path):
    entries = (("1.jpg", b"1"), ("1.cls", b"hat"), ("2.cls", b"cap"))
    (note,) = read(tar(tmp_path / "a.tar", *entries)).notes()
    assert note == f"1 label in {tmp_path / 'a.tar'} without an image: 2"


@pytest.mark.parametrize("ending", ["tar", "parquet", "rec"])
def test_a_single_container_that_is_no_file_is_no_pattern(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    with pytest.raises(MissingFileError, match=r"a\..* is not there\n") as caught:
        read(path)
    assert caught.value.hint.startswith("check the path")
    os.mkfifo(path)
    with pytest.raises(IcecoreError, match=r"a\..* is a named pipe, not a file"):
        read(path)
    with pytest.raises(MissingFileError, match="1 of 1 files of .* are not there") as caught:
        read(tmp_path / f"b{{0..0}}.{ending}")
    assert caught.value.hint.startswith("check the numbers in the pattern")


def test_why_labels_or_images_of_a_tar_are_lacking_is_said_in_the_error(tmp_path):
    path = tar(tmp_path / "a.tar", ("A.jpg", b"1"), ("a.cls", b"hat"))
    with pytest.raises(ManifestError, match=r"1 image has no label.*without an image: a\n"):
        read(path)
    path = tar(tmp_path / "b.tar", ("1.jpg", b"1"), ("1.cls", b"hat"), ("2.jpg", b"2"))
    content = path.read_bytes()
    path.write_bytes(content[:1024] + b"\xff" * 512 + content[1536:])
    with pytest.raises(
        ManifestError, match=r"1 image has no label.*damaged.*before that is used\n"
    ):
        read(path)
    path = tar(tmp_path / "c.tar", ("1.jpg", b""), ("1.cls", b"hat"), ("1.npy", b"x"))
    with pytest.raises(ManifestError, match="2 files were passed over: .npy 1, an empty image 1"):
        read(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"path,label\n", "of another kind"),
        (b"ARROW1\0\0" + bytes(99), r"an Arrow file \(Feather\)"),
        (b"PARE" + bytes(99) + b"PARE", "an encrypted table"),
    ],
)
def test_what_is_no_parquet_table_is_no_damaged_one(tmp_path, content, kind):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(IcecoreError, match=f"is no Parquet table: it is {kind}") as caught:
        read(tmp_path / "a.parquet")
    assert "as Parquet" in caught.value.hint


def test_no_footer_is_read_because_the_file_says_that_it_is_huge(tmp_path):
    with open(tmp_path / "a.parquet", "wb") as file:
        file.write(b"PAR1")
        file.truncate(2**31)  # of holes
        file.seek(2**31 - 8)
        file.write((2**31 - 16).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(FileFormatError, match="its footer has 2 GiB, more than 256 MiB") as caught:
        read(tmp_path / "a.parquet")
    assert caught.value.hint.startswith("copy it again")


def test_paths_beside_bytes_of_no_type_are_images(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "1.jpg").write_bytes(b"1")
    table = pa.table({"image": [{"bytes": None, "path": "1.jpg"}], "label": ["hat"]})
    assert pa.types.is_null(table.schema.field("image").type.field("bytes").type)
    pq.write_table(table, tmp_path / "a.parquet")
    (found,) = read(tmp_path / "a.parquet")
    assert (found.path, found.label) == (str(tmp_path / "1.jpg"), "hat")


@pytest.mark.parametrize("content", [b"0\t1\tcaf\xe9.jpg\n", None])
def test_a_list_beside_a_record_file_is_read_as_lists_are(photos, tmp_path, content):
    folder = write_records(photos, tmp_path / "data")
    (path,) = folder.glob("*.lst")
    if content is None:
        # No room of it is taken on the disk, and gigabytes would be in memory.
        with open(path, "wb") as file:
            file.truncate(3 * 2**30)
    else:
        path.write_bytes(content)
    said = "has 3 GiB, more than the 1 GiB" if content is None else "is no text in UTF-8"
    with pytest.raises(ManifestError, match=f"{path.name} {said}"):
        read(folder)


# By their content ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.pq", "t.PARQ"])
def test_parquet_tables_have_short_endings_too(photos, tmp_path, name):
    usual = next(write_parquet(photos, tmp_path / "usual").iterdir())
    other = tmp_path / name
    shutil.copy(usual, other)
    found = read(other)
    assert contents(found) == contents(read(usual))
    assert [one.label for one in found] == [one.label for one in read(usual)]
    assert [one.id for one in found] == [f"{name}/{row}" for row in range(len(found))]


@pytest.mark.parametrize("name", ["table", "t.csv", "t.dat"])
def test_a_parquet_table_of_another_name_is_refused_and_the_remedy_works(photos, tmp_path, name):
    usual = next(write_parquet(photos, tmp_path / "usual").iterdir())
    other = shutil.copy(usual, tmp_path / name)
    with pytest.raises(ManifestError, match="is a Parquet table, and is not called") as error:
        read(other)
    assert "the ending .parquet" in error.value.hint
    os.rename(other, f"{other}.parquet")
    assert len(read(f"{other}.parquet")) == 6


@pytest.mark.parametrize("name", ["t", "t.rec2"])
def test_tars_and_record_files_are_known_by_their_content(photos, tmp_path, name):
    tars, records = write_tars(photos, tmp_path / "tars", 1), write_records(photos, tmp_path / "r")
    for usual in (tars / "train-00000.tar", records / "train.rec"):
        shutil.copy(usual, tmp_path / name)
        found = read(tmp_path / name, labels_required=False)
        assert contents(found) == contents(read(usual, labels_required=False))


def test_a_folder_of_tables_with_short_endings(photos, tmp_path):
    usual = next(write_parquet(photos, tmp_path / "usual").iterdir())
    (tmp_path / "short").mkdir()
    for part, ending in enumerate(("pq", "parq", "parquet")):
        shutil.copy(usual, tmp_path / f"short/train-{part}.{ending}")
    found = read(tmp_path / "short")
    assert len(found) == 3 * len(read(usual))
    assert not found.passed_over
    assert {one.split for one in found} == {"train"}
    shutil.copy(usual, tmp_path / "short/train-1.pq")
    assert len(read(f"{tmp_path}/short/train-{{0..1}}.pq")) == 2 * len(read(usual))


def test_the_remedy_fits_the_container_whatever_it_is_called(tmp_path):
    with pytest.raises(ManifestError) as error:
        read(tar(tmp_path / "t.dat", ("1.jpg", b"1")))
    assert "0001.cls for 0001.jpg in the tar" in error.value.hint


def test_records_and_their_list_do_not_contradict_each_other(tmp_path):
    path = records(tmp_path / "a.rec", ((1.0,), 0, b"x"), ((0.1,), 1, b"y"), ((2.0,), 2, b"z"))
    (tmp_path / "a.lst").write_text("0\t1\ta.jpg\n1\t0.1\tb.jpg\n2\t2.000000\tc.jpg\n")
    assert [one.id for one in read(path)] == ["a.rec/a.jpg", "a.rec/b.jpg", "a.rec/c.jpg"]
    (tmp_path / "a.lst").write_text("0\t7\ta.jpg\n1\t0.1\tb.jpg\n2\t5\tc.jpg\n")
    with pytest.raises(ManifestError, match=r"2 records: a.rec/a.jpg \(1 or 7\), a.rec/c.jpg \(2 "):
        read(path)


def test_a_list_that_gives_a_record_two_names_is_refused(tmp_path):
    path = records(tmp_path / "a.rec", ((1.0,), 0, b"x"), ((2.0,), 1, b"y"))
    lines = ["0\t1\ta.jpg\n", "1\t2\tb.jpg\n", "0\t1\tc.jpg\n"]
    (tmp_path / "a.lst").write_text("".join(lines))
    with pytest.raises(ManifestError, match=r"a\.lst says several things of 1 number: 0\n"):
        read(path)
    (tmp_path / "a.lst").write_text("".join([*lines[:2], lines[0]]))
    assert [one.id for one in read(path)] == ["a.rec/a.jpg", "a.rec/b.jpg"]


def test_records_in_several_parts_are_counted_and_said(tmp_path):
    path = records(tmp_path / "a.rec", ((1.0,), 0, b"x"), ((0.0,), 1, b"y"))
    part = struct.pack("<II", 0xCED7230A, 1 << 29 | 32) + struct.pack("<IfQQ", 0, 1.0, 2, 0)
    end = struct.pack("<II", 0xCED7230A, 3 << 29 | 8) + bytes(8)
    path.write_bytes(path.read_bytes() + 3 * (part + bytes(8) + end))
    found = read(path)
    assert [one.id for one in found] == ["a.rec/0", "a.rec/1"]
    (said,) = found.warnings
    assert said.startswith(f"3 records of {path} in several parts")
    path.write_bytes(part + bytes(8) + end)
    with pytest.raises(ManifestError, match=r"no images in 1 \.rec file .* in several parts"):
        read(path)
