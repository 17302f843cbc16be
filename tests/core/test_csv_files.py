from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from icecore.core import csv_files, json_lines
from icecore.core.csv_files import (
    csv_line,
    csv_lines,
    csv_number,
    line_faults,
    read_csv,
    write_csv,
)
from icecore.core.errors import FileFormatError, ManifestError, MissingFileError

fields = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\ufeff")), min_size=1, max_size=5
).filter(any)


@given(st.lists(fields, min_size=1, max_size=5))
@example([["{", "\x0c"]])
@example([["["], [' "x": 1']])
def test_what_is_written_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    write_csv(path, rows)
    assert [line.fields for line in csv_lines(path)] == rows
    # The standard library's reader sees the same.
    assert [row for row in csv.reader(io.StringIO(path.read_text("utf-8"))) if any(row)] == rows


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '[{"a": 1}]', '[\n  "a"\n]', '\n{\n\t"a": 1}', '[ "a"]']
)
def test_json_is_told(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(FileFormatError, match="is not a CSV in UTF-8: it is JSON"):
        list(csv_lines(tmp_path / "t.csv"))


def lines(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    return [(one.number, one.fields or one.fault) for one in csv_lines(tmp_path / "t.csv")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end(tmp_path, end):
    content = end.join([b"\xef\xbb\xbfa, b ", b"", b' "x,""y" ,z', b",", b"1,2"])
    assert lines(tmp_path, content) == [(1, ["a", "b"]), (3, ['x,"y', "z"]), (5, ["1", "2"])]


def test_unusual_spaces_end_no_line(tmp_path):
    assert lines(tmp_path, "a\x0bb\u2028c\x85d,e".encode()) == [(1, ["a\x0bb\u2028c\x85d", "e"])]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'a,"b', 'opens a quote in field 2 and does not close it: "b'),
        (b'a"b,c', "has a quote inside field 1, which is not quoted"),
        (b'a,"b"c', "goes on behind the closing quote of field 2"),
        (b'a,b"', "has a quote inside field 2"),
        (b'"a', "opens a quote in field 1"),
        (b"a,\0", "has a NUL character"),
    ],
)
def test_a_fault_stays_in_its_line(tmp_path, line, fault):
    found = lines(tmp_path, b"h,i\n" + line + b"\n1,2\n" + line + b"\n")
    assert [number for number, _ in found] == [1, 2, 3, 4]
    assert found[2] == (3, ["1", "2"])
    assert found[1][1].startswith(fault)
    assert found[3][1].startswith(fault)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b,A\n", "columns of one name: a"),
        (b"a;b\n1;2\n", "by semicolons"),
        (b"a\tb\n", "by tabs"),
        (b"a|b\n", "by bars"),
        (b'"a";"b"\n"1";"2"\n', "line 1 separates fields by semicolons"),
        (b'"a"\t"b"\n', "line 1 separates fields by tabs"),
        (b'"a,b\n', "line 1 opens a quote"),
        (b"\xff\xfea\0", "text in UTF-16"),
        (b"a\0b\0", "text in UTF-16"),
        ("a,b".encode("utf-32"), "text in UTF-32"),
        ("a,b".encode("utf-32-be"), "text in UTF-32"),
        (b"a,b\ncaf\xe9,1\n", "line 2 has the byte 0xe9; in Windows-1252 it would read 'café,1'"),
        (b"PK\x03\x04rest", "it is a ZIP archive"),
        (b"\0\0\0\x18ftypheic", "it is a HEIC image"),
        (b"<!DOCTYPE html>", "it is a web page"),
        (b"a," * 2**18, "too long for a table"),
        (b"a" * 2**24, "too long for a table"),
    ],
)
def test_what_is_no_table(tmp_path, content, what):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=what) as caught:
        read_csv(tmp_path / "t.csv", ManifestError)
    assert "t.csv" in caught.value.message
    assert "\n" not in caught.value.message


def test_ragged_lines_are_collected_with_the_others(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'Id,b\n1,2\n1\n1,2,3\n"x\n3,4\n')
    table = read_csv(tmp_path / "t.csv")
    assert (table.header, table.column("id"), table.column("x", "B")) == (("Id", "b"), 0, 1)
    assert [(row.number, row.fields) for row in table.rows] == [(2, ["1", "2"]), (6, ["3", "4"])]
    error = line_faults(table.path, table.faults, ManifestError)
    assert error.message.startswith(f"3 lines of {tmp_path}/t.csv cannot be read: line 3 has 1")
    assert "line 4 has 3 fields, not 2; line 5 opens a quote" in error.message


def test_what_is_not_there_or_too_large(tmp_path):
    with pytest.raises(MissingFileError, match="is not there"):
        read_csv(tmp_path / "none.csv")
    with open(tmp_path / "t.csv", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ManifestError, match="has 1 TiB, more than"):
        read_csv(tmp_path / "t.csv", ManifestError)


@pytest.mark.parametrize("text", ["", "x", "1_0", "nan", "inf", "1e999", "\u0663", "0x1"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="number"):
        csv_number(text)


def test_formulas_are_quoted_on_request():
    row = ["=1+1", "+a", "-b", "@c", "d=", -0.5, "\tx"]
    assert csv_line(row, excel=True) == "'=1+1,'+a,'-b,'@c,d=,-0.5,'\tx\n"
    # Names that differ stay so.
    assert csv_line(["'=a", "'a", "''-"], excel=True) == "''=a,'a,'''-\n"
    assert csv_line(row) == '=1+1,+a,-b,@c,d=,-0.5,"\tx"\n'


def test_no_table_can_hold_a_line_break():
    with pytest.raises(ValueError, match=r"'a\\nb' has a line break"):
        csv_line(["a\nb"])


def test_many_columns_and_long_cells_take_no_time_and_one_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{number}" for number in range(100_000)) + ",c7\n")
    start = time.process_time()
    with pytest.raises(ManifestError, match="columns of one name: c7"):
        read_csv(path, ManifestError)
    assert time.process_time() - start < 5
    long = "x" * 5_000_000
    error = line_faults(path, [(2, f"repeats the id {long}")], ManifestError)
    assert len(error.message) < 1000


def test_what_no_table_holds_is_one_line_with_its_name(tmp_path):
    with pytest.raises(FileFormatError, match=r"'a\\nb' has a line break"):
        write_csv(tmp_path / "t.csv", [["id"], ["a\nb"]])
    with pytest.raises(FileFormatError, match=r"t.csv cannot be written: .*'id\\na\\udcff'"):
        write_csv(tmp_path / "t.csv", [["id"], ["a\udcff"]])
    assert not list(tmp_path.iterdir())


def test_a_table_of_very_many_lines_is_refused_before_they_take_all_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_MOST_ROWS", 3)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 3)
    assert len(read_csv(path).rows) == 3
    path.write_text("a,b\n" + "1,2\n" * 3 + '"\n')
    with pytest.raises(FileFormatError, match="has more than 3 lines"):
        read_csv(path)
    path.write_text("a,b\n" + "\n" * 6)
    with pytest.raises(FileFormatError, match="has more than 6 lines"):
        read_csv(path)
    monkeypatch.setattr(json_lines, "_MOST_LINES", 3)
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n' * 3)
    assert len(json_lines.read_json_lines(tmp_path / "t.jsonl").rows) == 3
    (tmp_path / "t.jsonl").write_text("{}\n" * 4)
    with pytest.raises(FileFormatError, match="has more than 3 lines"):
        json_lines.read_json_lines(tmp_path / "t.jsonl")
