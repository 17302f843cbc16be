from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.errors import FileFormatError, RunError
from icecore.core.files import publish_json
from icecore.core.json_files import parse_json, read_json

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda children: st.lists(children) | st.dictionaries(texts, children),
    max_leaves=20,
)


@given(st.dictionaries(texts, values), st.booleans())
def test_reads_what_json_reads(content, ascii_only):
    text = json.dumps(content, ensure_ascii=ascii_only)
    assert (
        parse_json(text, "it")
        == parse_json(text.encode("utf-8", "surrogatepass"), "it")
        == (json.loads(text))
    )


def test_escapes_take_little_memory():
    # They took fifty times as much as the file has.
    content = b'{"a": "' + b"\\u0001" * 2**19 + b'"}'
    tracemalloc.start()
    try:
        assert len(parse_json(content, "it")["a"]) == 2**19
        assert tracemalloc.get_traced_memory()[1] < 4 * len(content)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not usable JSON"),
        (b"{", "not usable JSON"),
        (b"[" * 100_000, "nested more than 64 levels"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested more than 64 levels"),
        (b'{"\\"[": ' + b"[" * 70 + b"]" * 70 + b"}", "nested more than 64 levels"),
        (b'{"a": 1' + b"0" * 400 + b"}", "401 digits"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "5001 digits"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": ' + b"9" * 400 + b".0}", "is too large"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": 1, "a": 2}', "names 'a' twice"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\uDC00": 1}', "half of a surrogate pair"),
        (b'{"a\\u0000b": 1}', "the character NUL"),
        (b'["\\\\\\u0000"]', "the character NUL"),
        (b'{"a": "\xed\xa0\x80"}', "can't decode"),
        (b"\xff\xfe{\x00}\x00", "it is UTF-16"),
        (b"{\x00", "not usable JSON"),
        (b"[]", "holds a JSON array, not a JSON object"),
        (b"3", "holds a number, not a JSON object"),
        (b"null", "holds null, not"),
        (b"[" + b"[]," * 2_000_000 + b"[]]", "values and next to nothing"),
    ],
)
def test_every_damage_is_one_line_with_the_name(tmp_path, content, what):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=what) as caught:
        read_json(path, RunError, "train again")
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint == "train again"


def test_what_looks_dangerous_and_is_not(tmp_path):
    content = {"[[[[" * 50: "\\" * 9 + '"', "digest": "1" * 64, "pair": "\U0001f600", "n": 2**63}
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    assert read_json(tmp_path / "a.json") == content


def test_what_is_published_can_be_read_with_nul_in_a_text(tmp_path):
    publish_json(tmp_path / "a.json", {"a\0b": ["\\\0\0", "\\u0000"]})
    assert read_json(tmp_path / "a.json") == {r"a\x00b": [r"\\x00\x00", r"\u0000"]}


def test_other_kinds_on_request(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    assert read_json(tmp_path / "a.json", kind=list) == [1]
    assert read_json(tmp_path / "a.json", kind=object) == [1]


def test_a_large_file_is_not_read(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(RunError, match="has 1 TiB, more than"):
        read_json(tmp_path / "a.json", RunError)


def test_a_name_that_comes_again_among_very_many_is_found_at_once():
    fields = ",".join(f'"n{number}":0' for number in range(100_000))
    start = time.process_time()
    with pytest.raises(RunError, match="names 'n99999' twice"):
        parse_json(f'{{{fields},"n99999":1}}', "it", RunError)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (
            b'{\n<<<<<<< HEAD\n "a": 1\n=======\n "a": 2\n>>>>>>> other\n}',
            "a merge in git",
            "git status",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "it is a web page", "download it again"),
        (b"\0" * 3000, "zeros alone", "make it again"),
        (b'{"a": "<<<<<<< ======= >>>>>>> ",}', "Expecting|Illegal", "make it again"),
    ],
)
def test_what_a_file_is_instead_is_said_with_a_remedy_that_fits(tmp_path, content, said, hint):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=said) as caught:
        read_json(tmp_path / "a.json")
    assert hint in caught.value.hint
