import pytest

from icecore.core.errors import MissingFileError, ProbabilityError
from icecore.ensemble import read_labels
from icecore.manifest.table import Manifest, Sample


def table(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "id,label\na,hat\nb,dress\n",
        "id,breed\na,hat\nb,dress\n",
        "split,label,image\n,hat,a\nval,dress,b\n",
        "colour,id\nhat,a\ndress,b\n",
        "id,label,letters\na,hat,nny\nb,dress,nyn\n",
        "\ufeffid,label\r\na, hat\r\nb,dress\r\n",
    ],
)
def test_plain_tables(tmp_path, text):
    samples = read_labels(table(tmp_path, text))
    assert [(s.id, s.label, s.task) for s in samples] == [
        ("a", "hat", "label"),
        ("b", "dress", "label"),
    ]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "ImageName,AttrKey,AttrValues\n",
        "image,attribute,letters\n",
        "image_name,attr_key,label\n",
    ],
)
def test_fashionai_tables(tmp_path, header):
    text = header + "i/a.jpg,pant_length_labels,nnymnn\ni/a.jpg,odd_labels,ny\n"
    samples = read_labels(table(tmp_path, text))
    assert [(s.task, s.label, s.letters) for s in samples] == [
        ("pant_length_labels", "Mid", "nnymnn"),
        ("odd_labels", "1", "ny"),
    ]


def test_tables_that_icecore_wrote(tmp_path):
    samples = (
        Sample("a", "/x/a.jpg", "test", "label", ""),
        Sample("b", "/x/b.jpg", "", "label", "h"),
    )
    Manifest(samples).write(tmp_path / "samples.csv")
    assert read_labels(tmp_path / "samples.csv") == samples


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("name,colour,size\na,red,1\n", "has the columns name,colour,size"),
        (
            "id,label\na,hat\nb\na,dress\n",
            "2 lines of .*line 3 has 1 field,.*line 4 repeats the id",
        ),
        ("id,label,split\na,hat,monday\n", "line 2 has the split 'monday'"),
        (
            "i,task_labels,yn\ni,task_labels,yn\nj,task_labels,yy\n",
            "line 2 repeats.*line 3 has the",
        ),
    ],
)
def test_faults_are_named_together(tmp_path, text, words):
    with pytest.raises(ProbabilityError, match=words):
        read_labels(table(tmp_path, text))


def test_a_missing_or_binary_file(tmp_path):
    with pytest.raises(MissingFileError, match="is not there"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_bytes(b"id,label\n\xff\xfe\n")
    with pytest.raises(ProbabilityError, match="not a CSV in UTF-8"):
        read_labels(tmp_path / "x.csv")
