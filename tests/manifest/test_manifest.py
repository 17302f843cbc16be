from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.errors import ManifestError, MissingFileError
from icecore.manifest.classes import fashionai_classes
from icecore.manifest.layouts import read
from icecore.manifest.misspelt import meant_files
from icecore.manifest.names import class_name, class_order
from icecore.manifest.table import Manifest, Sample, split_name


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def rows(manifest):
    return [(s.id, s.split, s.task, s.label) for s in manifest]


def test_class_folders(tmp_path):
    make(tmp_path, "cat/2.jpg", "cat/1.PNG", "dog/a/b.jpeg", "dog/notes.txt", ".hidden/x.jpg")
    found = read(tmp_path)
    assert rows(found) == [
        ("cat/1.PNG", "", "label", "cat"),
        ("cat/2.jpg", "", "label", "cat"),
        ("dog/a/b.jpeg", "", "label", "dog"),
    ]
    assert found.classes() == ("cat", "dog")
    assert all(s.path == str(tmp_path / s.id) for s in found)


@pytest.mark.parametrize("name", ["validation", "val", "valid", "Val"])
def test_split_folders_and_a_test_without_labels(tmp_path, name):
    make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{name}/a/1.jpg", "test/9.jpg")
    assert rows(read(tmp_path)) == [
        ("test/9.jpg", "test", "label", ""),
        ("train/a/1.jpg", "train", "label", "a"),
        ("train/b/1.jpg", "train", "label", "b"),
        (f"{name}/a/1.jpg", "validation", "label", "a"),
    ] or rows(read(tmp_path))[0][0].startswith("Val")
    assert {s.split for s in read(tmp_path)} == {"train", "validation", "test"}


def test_folder_faults_are_named_all_at_once(tmp_path):
    make(tmp_path, "a/1.jpg", "loose.jpg", "other.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError) as caught:
        read(tmp_path)
    text = str(caught.value)
    assert "1 class folder without images (empty)" in text
    assert "2 images outside any class folder (loose.jpg, other.png)" in text
    assert "remove empty class folders" in text


def test_strangers_beside_the_splits(tmp_path):
    make(tmp_path, "train/a/1.jpg", "extra/a/1.jpg")
    with pytest.raises(ManifestError, match="others beside them: extra"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["table.csv", "list.lst"])
def test_a_table_of_no_images_is_told_what_it_lacks(tmp_path, name):
    (tmp_path / name).write_text("path,label\n" if name == "table.csv" else "")
    with pytest.raises(ManifestError, match="no images in") as caught:
        read(tmp_path / name)
    assert "a CSV with path,label[,split] and a line for each image" in caught.value.hint


def test_a_folder_in_place_of_an_image_is_not_called_misspelt(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "data.tsv").write_text("")
    (data / "table.csv").write_text("path,label\n.,a\n")
    assert meant_files([str(data)], str(data / "table.csv")) == []
    assert meant_files([str(data / "DATA.tsv")], str(data / "table.csv")) == [
        "'DATA.tsv' may be 'data.tsv'"
    ]


@pytest.mark.parametrize("folders", [[], ["a", "b"]])
def test_no_images_at_all(tmp_path, folders):
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(ManifestError, match="no images in"):
        read(tmp_path)


def test_what_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="is not there"):
        read(tmp_path / "none")


def test_table_with_relative_paths_and_splits(tmp_path):
    (tmp_path / "t.csv").write_text(
        "\ufeffPath,label,Split\na/1.jpg,x,Train\nb.jpg,y,val\n/c.jpg,,test\n"
    )
    found = read(tmp_path / "t.csv")
    assert rows(found) == [
        ("a/1.jpg", "train", "label", "x"),
        ("b.jpg", "validation", "label", "y"),
        ("/c.jpg", "test", "label", ""),
    ]
    assert [s.path for s in found] == [str(tmp_path / "a/1.jpg"), str(tmp_path / "b.jpg"), "/c.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na.jpg,x\n", "has no column 'path'"),
        ("path\na.jpg\n", "has no column 'label'"),
        ("path,label,Label\na.jpg,x,1\n", "columns of one name: label"),
        ("path,label\na.jpg\n,y\n", r"2 lines .* line 2 has 1 field,.*line 3 has no path"),
        ('path,label\na.jpg,"x\nb.jpg,y\nc.jpg,z"\n', r"2 lines .* line 2 opens a quote.*line 4"),
        ("path,label,digest\na.jpg,x,abc\n", "line 2 has the digest 'abc'"),
        ("path,label,box\na.jpg,x,1 2 3\n", "line 2 has no usable box"),
        ("path,label,split\na.jpg,,test\n", "1 image has no label in .*"),
        ("path,label,split\na.jpg,x,holdout\n", "line 2 has the split 'holdout'"),
        ("path,label\na.jpg,\n", "1 image has no label in .*: a.jpg"),
        ("path,label\na.jpg,x\na.jpg,y\n", "line 3 names a.jpg again, as line 2 does"),
        ("path,label\n", "no images"),
        ("", "is empty"),
        ("path;label\na.jpg;x\n", "by semicolons"),
    ],
)
def test_faults_of_a_table(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ManifestError, match=f"(?s){message}"):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize("both", [False, True])
def test_a_file_with_space_around_its_name_is_not_taken_for_another(tmp_path, both):
    """As pandas writes it: the other file's picture had got the label."""
    for name in (" lead.jpg", "plain.jpg", *["lead.jpg"] * both):
        (tmp_path / name).write_bytes(b"1")
    table = tmp_path / "a.csv"
    for end in ("", ',"a, b"'):
        header = "path,label" + ",note" * bool(end)
        table.write_text(f"{header}\n lead.jpg,dress{end}\n plain.jpg ,hat{end}\n")
        with pytest.raises(
            ManifestError, match="line 2 has space around the path ' lead.jpg', "
        ) as e:
            read(table)
        assert "1 line of" in e.value.message
        assert e.value.hint.startswith("put the path into quotes")
    table.write_text('path,label\n" lead.jpg",dress\n plain.jpg , hat\n')
    assert [one.id for one in read(table)] == [" lead.jpg", "plain.jpg"]


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"path,label\n\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not a CSV in UTF-8"):
        read(tmp_path / "t.csv")


LABELS = """\
Images/sleeve_length_labels/a.jpg,sleeve_length_labels,nnnnymnnn
Images/coat_length_labels/b.jpg,coat_length_labels,ynnnnnnn
Images/my_own/c.jpg,my_own,nny
"""


def fashionai(root, labels=LABELS, questions="", answers=None):
    for name, text in (("Annotations/label.csv", labels), ("Tests/question.csv", questions)):
        if text:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    if answers:
        (root / "Tests/answer.csv").write_text(answers)
    return root


@pytest.mark.parametrize("header", ["", "ImageName,AttrKey,AttrValues\n"])
def test_fashionai(tmp_path, header):
    question = "Images/coat_length_labels/q.jpg,coat_length_labels,?\n"
    found = read(fashionai(tmp_path, header + LABELS, question))
    assert rows(found) == [
        ("Images/sleeve_length_labels/a.jpg", "", "sleeve_length_labels", "Elbow"),
        ("Images/coat_length_labels/b.jpg", "", "coat_length_labels", "Invisible"),
        ("Images/my_own/c.jpg", "", "my_own", "2"),
        ("Images/coat_length_labels/q.jpg", "test", "coat_length_labels", ""),
    ]
    assert found.tasks == ("sleeve_length_labels", "coat_length_labels", "my_own")
    assert found.classes("coat_length_labels")[4:6] == ("Micro", "Knee")
    assert found.classes("my_own") == ("0", "1", "2")
    assert [s.letters for s in found] == ["nnnnymnnn", "ynnnnnnn", "nny", ""]


def test_fashionai_answers_label_the_questions(tmp_path):
    row = "Images/coat_length_labels/q.jpg,coat_length_labels,"
    found = read(fashionai(tmp_path, LABELS, row + "?\n", row + "nnmynnnn\n"))
    assert [(s.split, s.label, s.letters) for s in found][-1] == ("test", "Long", "nnmynnnn")


def test_fashionai_answers_to_other_questions_and_second_answers_are_refused(tmp_path):
    row = "Images/coat_length_labels/q.jpg,coat_length_labels,"
    answers = row + "nnmynnnn\n" + row.replace("q.jpg", "other.jpg") + "y\n" + row + "ynnnnnnn\n"
    with pytest.raises(ManifestError) as error:
        read(fashionai(tmp_path, LABELS, row + "?\n", answers))
    assert f"answer.csv line 3 answers {row[:-1]} again" in error.value.message
    other = "answers what Tests/question.csv does not ask: Images/coat_length_labels/other.jpg"
    assert other in error.value.message


def test_fashionai_archives_side_by_side(tmp_path):
    """The warm-up has a CSV for each attribute; an image of two archives keeps both apart."""
    row = "Images/coat_length_labels/{},coat_length_labels,{}\n".format
    fashionai(tmp_path / "base", row("a.jpg", "nynnnnnn") + row("b.jpg", "nnynnnnn"))
    fashionai(tmp_path / "rank", "", row("q.jpg", "?") + row("b.jpg", "?"))
    make(tmp_path, "rank/Tests/Images/coat_length_labels/q.jpg")
    web = tmp_path / "web" / "Annotations"
    web.mkdir(parents=True)
    (web / "coat_length_labels.csv").write_text(row("a.jpg", "nnnynnnn"))
    (web / "my_labels.csv").write_text("Images/my/c.jpg,my_labels,ny\n")
    found = read(tmp_path)
    where = [(s.id.replace("coat_length_labels/", ""), s.split, s.label) for s in found]
    assert where == [
        ("base/Images/a.jpg", "", "High Waist"),
        ("base/Images/b.jpg", "", "Regular"),
        ("web/Images/a.jpg", "", "Long"),
        ("Images/my/c.jpg", "", "1"),
        ("Images/q.jpg", "test", ""),
        ("Images/b.jpg", "test", ""),
    ]
    assert [s.path.removeprefix(f"{tmp_path}/").split("/Images")[0] for s in found] == [
        "base", "base", "web", "web", "rank/Tests", "rank/Tests",
    ]  # fmt: skip
    alone = read(tmp_path / "web")
    assert [s.id for s in alone] == ["Images/coat_length_labels/a.jpg", "Images/my/c.jpg"]
    assert not found.passed_over


def test_a_line_of_fashionai_without_an_attribute_is_no_task_of_no_name(tmp_path):
    with pytest.raises(ManifestError, match="label.csv line 1 has no attribute"):
        read(fashionai(tmp_path, "Images/x/a.jpg,,ynn\n" + LABELS))


def test_fashionai_faults_are_named_all_at_once(tmp_path):
    labels = "a.jpg,t,nny\nb.jpg,t,nyy\nc.jpg,t,nnx\nd.jpg,t,nnny\ne.jpg\nf.jpg,t,\n"
    with pytest.raises(ManifestError) as caught:
        read(fashionai(tmp_path, labels))
    for part in (
        "line 2 has the letters 'nyy'",
        "'nnx'",
        "line 5 has 1 field,",
        "no letters",
        "rows of 3, 4 letters",
    ):
        assert part in str(caught.value)


def test_kaggle(tmp_path):
    make(tmp_path, "train/x1.jpg", "train/x2.jpg", "test/t.jpg")
    (tmp_path / "labels.csv").write_text("id,breed\nx2,pug\nx1,beagle\n")
    assert rows(read(tmp_path)) == [
        ("train/x2.jpg", "", "label", "pug"),
        ("train/x1.jpg", "", "label", "beagle"),
        ("test/t.jpg", "test", "label", ""),
    ]


@pytest.mark.parametrize("below", ["", "pug/"])
def test_contests_that_call_their_folders_otherwise(below, tmp_path):
    make(tmp_path, f"train_images/{below}x1.jpg", f"train_images/{below}x2.jpg")
    make(tmp_path, "test_images/t.jpg")
    (tmp_path / "train.csv").write_text("image_id,label,age\nx2.jpg,1,4\nx1.jpg,0,5\n")
    assert [(row[1], row[3]) for row in rows(read(tmp_path))] == [
        ("", "1"),
        ("", "0"),
        ("test", ""),
    ]


def test_a_train_csv_beside_class_folders_is_no_table_of_labels(tmp_path):
    make(tmp_path, "train/pug/x1.jpg", "train/beagle/x2.jpg", "test/t.jpg")
    (tmp_path / "train.csv").write_text("id,weight\nx2,1\n")
    assert {row[3] for row in rows(read(tmp_path))} == {"pug", "beagle", ""}


def test_kaggle_labels_and_images_that_do_not_fit(tmp_path):
    make(tmp_path, "train/x1.jpg", "train/bare.jpg")
    (tmp_path / "labels.csv").write_text("id,breed\nx1,pug\ngone,beagle\n")
    with pytest.raises(ManifestError) as caught:
        read(tmp_path)
    assert "1 label without an image (gone)" in str(caught.value)
    assert "1 image without a label (bare.jpg)" in str(caught.value)


def test_unlabelled_images_for_prediction(tmp_path):
    make(tmp_path, "a.jpg", "sub/b.png")
    assert rows(read(tmp_path, labels_required=False)) == [
        ("a.jpg", "test", "label", ""),
        ("sub/b.png", "test", "label", ""),
    ]
    assert rows(read(tmp_path / "a.jpg", labels_required=False)) == [("a.jpg", "test", "label", "")]


names = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), min_size=1, max_size=8)


@given(
    st.dictionaries(
        names.map(str.strip).filter(bool),
        st.tuples(
            st.sampled_from(["", "train", "validation", "test"]),
            names.map(class_name).filter(bool),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_table_comes_back_as_it_was(tmp_path_factory, entries):
    folder = tmp_path_factory.mktemp("table")
    samples = tuple(
        Sample(identity, str(folder / f"{n}.jpg"), split, "label", label, digest="ab" * 32)
        for n, (identity, (split, label)) in enumerate(entries.items())
    )
    Manifest(samples).write(folder / "t.csv")
    found = read(folder / "t.csv", labels_required=False).samples
    assert found == samples


def test_a_table_of_several_tasks_keeps_their_class_order(tmp_path):
    before = read(fashionai(tmp_path))
    before.write(tmp_path / "t.csv")
    after = read(tmp_path / "t.csv")
    assert after.samples == before.samples
    for task in before.tasks:
        assert after.classes(task) == before.classes(task)


def test_missing_files_are_counted_and_named(tmp_path):
    make(tmp_path, *(f"a/{n}.jpg" for n in range(9)))
    found = read(tmp_path)
    for n in range(7):
        (tmp_path / f"a/{n}.jpg").unlink()
    with pytest.raises(MissingFileError, match=r"7 of 9 image files.*0.jpg.* and 2 more"):
        found.require_files()


def test_contest_classes_have_their_number():
    counts = {
        "coat_length": 8,
        "collar_design": 5,
        "lapel_design": 5,
        "neck_design": 5,
        "neckline_design": 10,
        "pant_length": 6,
        "skirt_length": 6,
        "sleeve_length": 9,
    }
    assert sum(counts.values()) == 54
    for task, count in counts.items():
        assert fashionai_classes(f"{task}_labels", count)[0] == "Invisible"
    assert fashionai_classes("coat_length_labels", 3) == ("0", "1", "2")


def test_names():
    assert sorted(["b10", "b9", "a", "10", "9"], key=class_order) == ["9", "10", "a", "b9", "b10"]
    assert split_name(" VALID ") == "validation"
    assert split_name("hat") is None


def test_names_that_are_not_utf8_are_named_at_once(tmp_path):
    make(tmp_path, "a/1.jpg")
    for name in (b"caf\xe9.jpg", b"\xff.jpg"):
        with open(os.fsencode(tmp_path / "a") + b"/" + name, "wb") as file:
            file.write(b"x")
    with pytest.raises(ManifestError, match=r"2 names in .* cannot be read as UTF-8: .*caf\\udce9"):
        read(tmp_path)


def test_caches_and_runs_beside_the_images_are_no_data(tmp_path):
    make(tmp_path, "a/1.jpg", "b/2.jpg", "cache/x", "run/x/3.jpg")
    (tmp_path / "cache/icecore-cache.json").write_text('{"what": "icecore feature cache"}')
    (tmp_path / "run/run.json").write_text('{"icecore": "0.1.0", "tasks": {}}')
    assert [s.id for s in read(tmp_path)] == ["a/1.jpg", "b/2.jpg"]
    assert read(tmp_path).passed_over == (("cache/", "a feature cache"), ("run/", "a run"))
    assert len(read(tmp_path, labels_required=False)) == 2


def test_linked_folders_are_followed_and_circles_are_not(tmp_path):
    make(tmp_path, "elsewhere/3.jpg", "data/a/1.jpg", "data/b/2.JFIF")
    (tmp_path / "data" / "a" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "b" / "circle").symlink_to(tmp_path / "data")
    ids = [s.id for s in read(tmp_path / "data")]
    assert "a/more/3.jpg" in ids
    assert "b/2.JFIF" in ids
    assert len(ids) < 10


def test_a_column_of_paths_is_enough_for_prediction(tmp_path):
    (tmp_path / "t.csv").write_text("path\na.jpg\n")
    assert [s.id for s in read(tmp_path / "t.csv", labels_required=False)] == ["a.jpg"]


def test_odd_digits_in_class_names():
    assert sorted(["1²", "10", "2", "Ⅳ"], key=class_order)[-1] == "Ⅳ"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a.jpg,hat,yn\nb.jpg,cap,ny\n", "2 rows"),
        ("a.jpg,0,yn\nb.jpg,0,ny\n", "b.jpg (label) has the label '0' and the letters 'ny'"),
        ("a.jpg,0,yn\nb.jpg,1,nyn\n", "a.jpg (label) has the letters 'yn'"),
        ("a.jpg,0,yn\nb.jpg,1,yy\n", "b.jpg (label) has the letters 'yy'"),
        ("a.jpg,0,yn\nb.jpg,2,\n", "b.jpg (label) has the label '2'"),
    ],
)
def test_letters_and_labels_that_do_not_agree_are_refused(lines, words, tmp_path):
    make(tmp_path, "a.jpg", "b.jpg")
    table = tmp_path / "t.csv"
    table.write_text("path,label,letters\n" + lines)
    with pytest.raises(ManifestError) as caught:
        read(table)
    assert words in str(caught.value)
    assert "called 0, 1" in str(caught.value)


def test_letters_whose_labels_are_their_places_are_read(tmp_path):
    make(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    table = tmp_path / "t.csv"
    table.write_text("path,label,letters\na.jpg,0,ym\nb.jpg,1,\nc.jpg,,\n")
    assert read(table, labels_required=False).classes() == ("0", "1")
