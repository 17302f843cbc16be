"""Every file under DATA is used, counted as passed over with its reason, or refused."""

from __future__ import annotations

import json
import os
import random
import re
import unicodedata

import pytest

from icecore.core.errors import ManifestError, MissingFileError
from icecore.manifest import passed_over_text, read
from icecore.manifest.box_table import read_boxes
from icecore.manifest.csv_table import TableOptions
from icecore.manifest.names import class_order, look_alike_notes, look_alikes
from icecore.manifest.table import Manifest, Sample


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def reasons(manifest):
    return dict(manifest.passed_over)


def labels(manifest):
    return {sample.id: sample.label for sample in manifest}


# Folders ----------------------------------------------------------------------------------


def test_files_that_are_no_images_are_counted_by_ending(tmp_path):
    make(tmp_path, "hat/1.jpg", "dress/1.png", "hat/2.CR2", "hat/3.cr2", "hat/4.dng")
    make(tmp_path, "hat/5.jpg_large", "hat/hash", "hat/.DS_Store", "notes.txt", ".git/x.jpg")
    make(tmp_path, "__MACOSX/hat/._1.jpg")
    found = read(tmp_path)
    assert labels(found) == {"dress/1.png": "dress", "hat/1.jpg": "hat"}
    assert reasons(found) == {
        "hat/2.CR2": ".cr2", "hat/3.cr2": ".cr2", "hat/4.dng": ".dng",
        "hat/5.jpg_large": ".jpg_large", "hat/hash": "no ending", "hat/.DS_Store": "hidden",
        "notes.txt": ".txt", ".git/": "hidden", "__MACOSX/": "__MACOSX",
    }  # fmt: skip
    text = passed_over_text(found.passed_over)
    assert text.startswith("7 files and 2 folders were passed over: .cr2 2, .dng 1, ")
    assert text.endswith("hidden 2, __MACOSX 1, no ending 1")
    assert ".jpg_large 1" in text


def test_what_lies_in_icloud_alone_is_counted_apart(tmp_path):
    make(tmp_path, "hat/1.jpg", "hat/.2.jpg.icloud", "hat/.x")
    assert passed_over_text(read(tmp_path).passed_over).endswith(": hidden 1, in iCloud alone 1")


def test_a_class_folder_of_such_files_alone_says_what_it_has(tmp_path):
    make(tmp_path, "hat/1.jpg", "dress/1.cr2")
    with pytest.raises(ManifestError, match=r"images \(dress with 1 other file: .cr2\)"):
        read(tmp_path)
    with pytest.raises(ManifestError, match=r"no images in .*, only .cr2"):
        read(make(tmp_path / "other", "a/1.cr2"))


@pytest.mark.parametrize(
    "content",
    ['{"scanner": 2}', "[]", "", "{" * 9999, '{"tasks": 3}', '{"icecore": "0.1.0"}'],
)
def test_another_programs_run_json_makes_no_folder_vanish(tmp_path, content):
    make(tmp_path, "hat/1.jpg", "dress/1.jpg")
    (tmp_path / "hat/run.json").write_text(content)
    (tmp_path / "dress/icecore-cache.json").write_text(content)
    found = read(tmp_path)
    assert set(labels(found).values()) == {"hat", "dress"}
    assert set(reasons(found).values()) == {".json"}


@pytest.mark.parametrize(
    "names",
    [
        ["seg_train/seg_train/hat/1.jpg", "seg_test/seg_test/hat/1.jpg", "seg_pred/seg_pred/1.jpg"],
        ["images-train/hat/1.jpg", "images-val/hat/2.jpg"],
        ["2019/hat/1.jpg", "2020/hat/2.jpg", "2020/dress/2.jpg"],
        ["dataset/hat/1.jpg", "dataset/dress/2.jpg"],
        ["train/train/hat/1.jpg", "train/train/dress/1.jpg", "test/test/3.jpg"],
    ],
)
def test_folders_of_folders_do_not_become_classes(tmp_path, names):
    make(tmp_path, *names)
    with pytest.raises(ManifestError, match="hold no images but further folders"):
        read(tmp_path)
    found = read(tmp_path, labels_required=False)
    assert len(found) == len(names)
    assert set(labels(found).values()) == {""}
    assert any("taken without labels: the class folders" in note for note in found.notes())


def test_classes_around_folders_of_days_can_be_listed(tmp_path):
    """No folder that could be given would have been right."""
    make(tmp_path / "traps", "cat/2023-01-01/a.jpg", "dog/2023-01-01/b.jpg")
    with pytest.raises(ManifestError, match="hold no images but further folders") as caught:
        read(tmp_path / "traps")
    assert caught.value.hint.endswith("name each image in a table (path,label)")
    lines = ["path,label", "traps/cat/2023-01-01/a.jpg,cat", "traps/dog/2023-01-01/b.jpg,dog"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert sorted(labels(read(tmp_path / "t.csv")).values()) == ["cat", "dog"]


def test_class_folders_with_folders_inside_are_named(tmp_path):
    make(tmp_path, "hat/summer/1.jpg", "hat/winter/2.jpg", "dress/3.jpg")
    found = read(tmp_path)
    assert set(labels(found).values()) == {"hat", "dress"}
    assert any(
        "holds no image directly" in n and "hat (summer, winter)" in n for n in found.notes()
    )
    make(tmp_path / "b", "hat/summer/1.jpg", "dress/long/3.jpg")
    assert len(read(tmp_path / "b").notes()) == 1


def test_a_class_called_train(tmp_path):
    make(tmp_path, "bus/1.jpg", "train/1.jpg")
    found = read(tmp_path)
    assert set(labels(found).values()) == {"bus", "train"}
    assert any("taken for a class" in note for note in found.notes())


def test_what_macos_adds_is_no_class_beside_the_splits(tmp_path):
    make(
        tmp_path, "train/hat/1.jpg", "train/dress/1.jpg", "__MACOSX/train/hat/._1.jpg", "docs/a.txt"
    )
    found = read(tmp_path)
    assert labels(found) == {"train/dress/1.jpg": "dress", "train/hat/1.jpg": "hat"}
    assert reasons(found) == {"__MACOSX/": "__MACOSX", "docs/a.txt": ".txt"}


def test_a_flat_folder_needs_no_labels_unless_they_are_asked_for(tmp_path):
    make(tmp_path, "1.jpg", "2.png", "3.cr2")
    found = read(tmp_path, labels_required=False)
    assert labels(found) == {"1.jpg": "", "2.png": ""}
    assert reasons(found) == {"3.cr2": ".cr2"}
    with pytest.raises(ManifestError, match=r"holds 2 images and no class folders, so there are"):
        read(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "1.jpg", "label": "hat"}\n', "utf-8")
    with pytest.raises(ManifestError, match=r"for labels in metadata.jsonl, that table"):
        read(tmp_path)
    assert labels(read(tmp_path / "metadata.jsonl")) == {"1.jpg": "hat"}
    found.write(tmp_path / "t.csv")
    with pytest.raises(ManifestError, match=r"2 images have no label in .*: 1.jpg, 2.png"):
        read(tmp_path / "t.csv")


def test_labels_are_taken_where_they_are_though_not_asked_for(tmp_path):
    make(tmp_path, "hat/1.jpg", "dress/2.jpg")
    assert labels(read(tmp_path, labels_required=False)) == labels(read(tmp_path))


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"\0\0\0\x18ftypheic", "a HEIC image"), (b"\0\0\0\x1cftypavif", "an AVIF image")],
)
def test_a_single_file_is_called_what_it_is(tmp_path, content, kind):
    (tmp_path / "a.cr2").write_bytes(content)
    for required in (True, False):
        with pytest.raises(ManifestError, match=f"is {kind}, not a table"):
            read(tmp_path / "a.cr2", labels_required=required)


@pytest.mark.timeout(10)
def test_a_pipe_is_no_data(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(ManifestError, match="is a named pipe, not a file"):
        read(tmp_path / "t.csv")


def test_names_with_line_breaks_are_refused(tmp_path):
    make(tmp_path, "a/1\n2.jpg", "b/1.jpg")
    with pytest.raises(ManifestError, match=r"1 name in .* with line breaks or NUL: .*a/1\\n2.jpg"):
        read(tmp_path)


def test_what_the_contest_tables_do_not_name(tmp_path):
    make(tmp_path, "Images/t/a.jpg", "Images/t/b.jpg", "Tests/x.pdf")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/label.csv").write_text("Images/t/a.jpg,t,ny\n")
    found = read(tmp_path)
    assert reasons(found) == {"Images/t/b.jpg": "images that no table names", "Tests/x.pdf": ".pdf"}


# Kaggle -----------------------------------------------------------------------------------


def kaggle(root, table, *images):
    make(root, *(f"train/{name}" for name in images))
    (root / "labels.csv").write_text(table)
    return root


@pytest.mark.parametrize(
    "ids", [["a", "b"], ["a.jpg", "b.jpg"], ["x/a", "b"], ["x/a.jpg", "b"], ["train/x/a.jpg", "b"]]
)
def test_an_id_may_have_ending_and_folder(tmp_path, ids):
    table = "id,breed\n" + "".join(f"{one},dog{one[-5:]}\n" for one in ids)
    found = read(kaggle(tmp_path, table, "x/a.jpg", "b.jpg"))
    assert [sample.id for sample in found] == ["train/x/a.jpg", "train/b.jpg"]


@pytest.mark.parametrize(
    ("table", "images", "what"),
    [
        ("id,breed\na,x\n", ["a.jpg", "a.png"], "'a' may be train/a.jpg, train/a.png"),
        ("id,l\n0,x\n", ["hat/0.jpg", "dress/0.jpg"], "'0' may be train/dress/0.jpg, train/hat"),
        ("id,breed\na,x\na.jpg,y\n", ["a.jpg"], "line 3 repeats train/a.jpg of line 2"),
        ("id,breed\na,x\n", ["a.jpg", "b.jpg"], r"1 image without a label \(b.jpg\)"),
        ("id,breed\na\n", ["a.jpg"], "line 2 has 1 field,"),
        ('id,breed\n"a,x\n', ["a.jpg"], "line 2 opens a quote"),
        ("id,x,y\na,x,y\n", ["a.jpg"], "give an id and a label"),
    ],
)
def test_a_label_belongs_to_one_file(tmp_path, table, images, what):
    with pytest.raises(ManifestError, match=f"(?s){what}"):
        read(kaggle(tmp_path, table, *images))


def test_files_of_one_stem_are_told_apart_by_their_ending(tmp_path):
    found = read(kaggle(tmp_path, "id,breed\na.jpg,x\na.png,y\n", "a.jpg", "a.png"))
    assert labels(found) == {"train/a.jpg": "x", "train/a.png": "y"}


def test_other_columns_and_files_beside_them(tmp_path):
    make(tmp_path, "other/1.jpg", "sample_submission.csv")
    found = read(kaggle(tmp_path, "width,breed,id\n9,pug,a\n", "a.jpg"))
    assert labels(found) == {"train/a.jpg": "pug"}
    # The sample is what `blend -o` answers.
    assert reasons(found) == {"other/1.jpg": "images that no table names"}


# Tables -----------------------------------------------------------------------------------


def table(root, text):
    (root / "t.csv").write_text(text)
    return root / "t.csv"


def test_the_table_of_an_image_folder_of_hugging_face(tmp_path):
    (tmp_path / "0001.png").write_bytes(b"x")
    table = tmp_path / "metadata.csv"
    table.write_text("file_name,label\n0001.png,hat\n")
    (sample,) = read(table)
    assert (sample.id, sample.path, sample.label) == ("0001.png", f"{tmp_path}/0001.png", "hat")
    # Its own column of paths comes first, and one that was named is the only one.
    table.write_text("file_name,path,label\nnone.png,0001.png,hat\n")
    assert [sample.id for sample in read(table)] == ["0001.png"]
    table.write_text("file_name,label\n0001.png,hat\n")
    with pytest.raises(ManifestError, match="has no column 'where'"):
        read(table, table=TableOptions(path_column="where"))


def test_columns_of_other_names_and_further_ones(tmp_path):
    path = table(tmp_path, "n,File,breed,weight\n1,a.jpg,pug,2\n")
    found = read(path, table=TableOptions("file", "Breed"))
    assert labels(found) == {"a.jpg": "pug"}
    assert found.notes() == ["columns of t.csv that are not used: n, weight"]
    with pytest.raises(ManifestError, match="has no columns path, label") as caught:
        read(path)
    assert caught.value.hint.endswith("--path-column and --label-column")
    with pytest.raises(ManifestError, match="has no column 'race'"):
        read(path, table=TableOptions("file", "race"))


def test_options_of_tables_without_a_table_are_said(tmp_path):
    for name in ("hat/a.jpg", "coat/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    found = read(tmp_path, table=TableOptions(path_column="image"))
    (warning,) = found.warnings
    assert "is no CSV: what was said of columns and lines has no effect" in warning
    assert read(tmp_path, table=TableOptions()).warnings == ()


def test_bad_rows_are_left_out_by_name(tmp_path):
    path = table(tmp_path, 'path,label,split\na.jpg,x\nb.jpg,"y,\nc.jpg,z,\nd.jpg,x,monday\n')
    make(tmp_path, "c.jpg")
    found = read(path, table=TableOptions(skip_bad_rows=True))
    assert labels(found) == {"c.jpg": "z"}
    (note,) = found.notes()
    assert note.startswith(f"left out: 3 lines of {path} cannot be read: line 2 has 2 fields")
    assert "line 3 opens a quote" in note
    assert "line 5 has the split 'monday'" in note
    with pytest.raises(ManifestError, match="1 line of"):
        read(table(tmp_path, "path,label\n,x\n"), table=TableOptions(skip_bad_rows=True))


def test_rows_that_cannot_be_used_are_bad_rows_too(tmp_path):
    text = "path,label,split\na.jpg,x,\na.jpg,y,\nb.jpg,,\ngone.jpg,x,\nq.jpg,,test\n"
    path = table(make(tmp_path, "a.jpg", "b.jpg"), text)
    with pytest.raises(
        ManifestError, match=r"1 line of .* line 3 names a.jpg again, as line 2 does"
    ):
        read(path)
    found = read(path, table=TableOptions(skip_bad_rows=True))
    assert labels(found) == {"a.jpg": "x", "q.jpg": ""}
    (note,) = found.notes()
    assert "3 lines" in note
    assert "line 4 has no label" in note
    assert f"line 5 names a file that is not there: {tmp_path}/gone.jpg" in note


def test_a_column_for_each_attribute(tmp_path):
    path = table(
        tmp_path,
        "file,Colour,shape,split\na.jpg,red,round,\nb.jpg,,square,\nq.jpg,,,test\nz.jpg,,,\n",
    )
    one = read(path, labels_required=False, table=TableOptions("file", "colour"))
    assert {sample.task for sample in one} == {"label"}
    wide = TableOptions("file", ("colour", "shape"))
    found = read(path, labels_required=False, table=wide)
    assert [(s.id, s.task, s.label, s.split) for s in found] == [
        ("a.jpg", "Colour", "red", ""),
        ("a.jpg", "shape", "round", ""),
        ("b.jpg", "shape", "square", ""),
        ("q.jpg", "Colour", "", "test"),
        ("q.jpg", "shape", "", "test"),
        ("z.jpg", "Colour", "", ""),
        ("z.jpg", "shape", "", ""),
    ]
    assert found.tasks == ("Colour", "shape")
    with pytest.raises(ManifestError, match=r"1 image has no label in .*: z.jpg\n"):
        read(path, table=wide)
    with pytest.raises(ManifestError, match="has no columns size, weight"):
        read(path, table=TableOptions("file", ("size", "shape", "weight")))


def test_a_stray_quote_swallows_no_lines(tmp_path):
    lines = [f"{n}.jpg,hat" for n in range(9)]
    lines[2], lines[6] = '2.jpg,"hat', '6.jpg,hat"'
    with pytest.raises(ManifestError, match="2 lines .* line 4 opens a quote.*line 8 has a quote"):
        read(table(tmp_path, "path,label\n" + "\n".join(lines)))


# Names ------------------------------------------------------------------------------------


def test_spaces_and_unicode_forms_make_one_class_from_folder_and_table(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    make(tmp_path / "d", "hat/1.jpg", "hat /2.jpg", f"{nfc}/1.jpg", f"{nfd}/2.jpg")
    found = read(tmp_path / "d")
    assert found.classes() == (nfc, "hat")
    assert len([note for note in found.notes() if "folders are one class" in note]) == 2
    found.write(tmp_path / "t.csv")
    again = read(tmp_path / "t.csv")
    assert again.samples == found.samples
    text = f'path,label\n1.jpg, "hat"\n2.jpg,hat \n3.jpg,{nfc}\n4.jpg,{nfd}\n'
    found = read(table(tmp_path, text))
    assert found.classes() == (nfc, "hat")
    assert any("one class: 'cafe\\u0301', 'caf\\xe9'" in note for note in found.notes())


@pytest.mark.parametrize(
    "other",
    [
        "Hat",
        "HAT",
        "hat\u200b",
        "\u200dhat",
        "h\u0430t",
        "ha t",
        "ha-t",
        "ha_t",
        "\uff48at",
        "ha\xadt",
    ],
)
def test_names_that_look_alike_are_named(tmp_path, other):
    found = read(table(tmp_path, f"path,label\n1.jpg,hat\n2.jpg,{other}\n3.jpg,dress\n"))
    assert len(found.classes()) == 3
    (note,) = found.notes()
    assert note.startswith("classes of 'label' have names that look alike: ")
    assert "'hat'" in note
    assert "\u200b" not in note
    assert "dress" not in note


def test_groups_and_tasks_that_look_alike_are_named(tmp_path):
    text = "path,colour,co-lour,group\n1.jpg,a,b,Worn\n2.jpg,a,b,worn\n3.jpg,b,a,flat\n"
    options = TableOptions(label_columns=("colour", "co-lour"))
    assert read(table(tmp_path, text), table=options).notes() == [
        "tasks have names that look alike: 'co-lour' and 'colour'",
        "groups of images have names that look alike: 'Worn' and 'worn'",
    ]


def test_names_that_do_not_look_alike():
    assert look_alikes(["hat", "hats", "cat", "b1", "b2", "t-shirt", "shirt"]) == []
    assert look_alikes(["1", "01", "001", "10"]) == [("001", "01", "1")]
    assert look_alikes(["1", "1.0", "10"]) == [("1", "1.0")]


def test_a_class_called_as_programs_call_nothing_is_said():
    (note,) = look_alike_notes("classes of 'label'", ["hat", "NaN", "none", "(blank)", "\\N"])
    assert (
        r"names that programs write where a value is missing: (blank), NaN, \N; leave the field"
        in note
    )
    assert look_alike_notes("classes", iter(["hat", "null", "Hat"]))[0].endswith("'Hat' and 'hat'")


def test_a_header_in_the_middle_is_no_image(tmp_path):
    make(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "t.csv").write_text("path,label\na.jpg,x\npath,label\nb.jpg,y\n")
    with pytest.raises(ManifestError, match="line 3 repeats the header line"):
        read(tmp_path / "t.csv")
    assert len(read(tmp_path / "t.csv", table=TableOptions(skip_bad_rows=True))) == 2


@pytest.mark.parametrize("again", ["./a.jpg", "sub/../a.jpg", "{}/a.jpg", "{}/./a.jpg"])
def test_a_file_named_again_in_other_words_is_refused(tmp_path, again):
    name = again.format(tmp_path)
    (tmp_path / "t.csv").write_text(f"path,label\na.jpg,x\nb.jpg,y\n{name},y\n")
    with pytest.raises(ManifestError, match=r"line 4 names .*a.jpg again, as line 2 does"):
        read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(f"id,path,label\n1,a.jpg,x\n2,b.jpg,y\n3,{name},x\n")
    assert len(read(tmp_path / "t.csv")) == 3  # Its ids tell them apart.
    (tmp_path / "t.csv").write_text(f"id,path,label\n1,a.jpg,x\n2,b.jpg,y\n3,{name},y\n")
    with pytest.raises(ManifestError, match=r"unlike labels of one file .*: 1, 3 \(x or y\)"):
        read(tmp_path / "t.csv")


def test_json_is_named(tmp_path):
    (tmp_path / "t.csv").write_text('[{"path": "a.jpg", "label": "x"}]')
    with pytest.raises(ManifestError, match="is not a CSV in UTF-8: it is JSON"):
        read(tmp_path / "t.csv")


def test_one_order_of_equal_names():
    names = ["1", "01", "001", "10", "a1", "a01", "\u00b2", "2"]
    orders = set()
    for seed in range(20):
        random.Random(seed).shuffle(names)
        samples = tuple(Sample(f"{n}.jpg", f"{n}.jpg", label=n) for n in names)
        orders.add(Manifest(samples).classes())
    assert orders == {tuple(sorted(names, key=class_order))}
    assert next(iter(orders))[:5] == ("001", "01", "1", "2", "10")


def test_numbers_of_any_length_have_their_place_in_the_order():
    long = "9" * 900
    assert sorted(["b", f"a{long}", "a10", "a9"], key=class_order) == ["a9", "a10", f"a{long}", "b"]
    assert class_order("9" * 5000) > class_order("8" * 5000)
    assert look_alikes(["0" * 5000 + "7", "7", "8"]) == [("0" * 5000 + "7", "7")]


def test_a_name_of_megabytes_is_a_fault_of_its_line(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\na.jpg,cat\nb.jpg," + "x" * 2**20)
    with pytest.raises(ManifestError, match="line 3 has a class name of 1048576 characters"):
        read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("path,label\na.jpg,cat\n" + "x" * 9999 + ".jpg,cat")
    with pytest.raises(ManifestError, match="line 3 has a name of 10003 characters"):
        read(tmp_path / "t.csv")
    with pytest.raises(ManifestError, match="line 2 has a class name of 2000 characters"):
        read(kaggle(tmp_path / "k", "id,breed\na," + "x" * 2000, "a.jpg"))


# Digests ----------------------------------------------------------------------------------


def test_images_in_several_splits_are_named(tmp_path):
    samples = tuple(
        Sample(f"{split}/{n}.jpg", f"/{n}.jpg", split, label="x", digest=f"{n:064x}")
        for split, numbers in (("train", (1, 2, 3)), ("validation", (3, 4)), ("test", (1,)))
        for n in numbers
    )
    found = Manifest((*samples, Sample("bare.jpg", "/b.jpg", "test")))
    assert set(found.repeated_across_splits()) == {f"{1:064x}", f"{3:064x}"}
    (note,) = found.notes()
    assert note.startswith("2 images stand in several splits, equal to the byte: ")
    assert "train/1.jpg = test/1.jpg" in note
    assert Manifest(samples[:3]).notes() == []


def test_passed_over_survives_what_is_made_of_a_manifest(tmp_path):
    found = read(make(tmp_path, "a/1.jpg", "b/1.jpg", "a/2.cr2"))
    assert found.with_digests({}).passed_over == found.passed_over
    assert found.select("label").passed_over == found.passed_over


def test_json_of_all_of_it_can_be_written(tmp_path):
    found = read(make(tmp_path, "a/1.jpg", "b/1.jpg", "a/2.cr2"))
    assert json.dumps([found.passed_over, found.notes()])


def test_folders_of_systems_are_neither_classes_nor_pictures(tmp_path):
    make(tmp_path, "hat/1.jpg", "dress/1.jpg", "$RECYCLE.BIN/2.jpg", "lost+found/3.jpg")
    make(tmp_path, "hat/@eaDir/1.jpg", "@eaDir/dress/4.jpg", "#recycle/5.jpg")
    make(tmp_path, "#snapshot/monday/hat/6.jpg", "~snapshot/hat/7.jpg", "$Recycle.Bin/8.jpg")
    found = read(tmp_path)
    assert labels(found) == {"dress/1.jpg": "dress", "hat/1.jpg": "hat"}
    assert reasons(found) == {
        f"{name}/": name.rpartition("/")[2]
        for name in (
            "$RECYCLE.BIN", "lost+found", "hat/@eaDir", "@eaDir", "#recycle", "#snapshot",
            "~snapshot", "$Recycle.Bin",
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "remedy"),
    [
        ("id,path,label\n1,0.jpg,a\n1,1.jpg,b\n", "the column 'id' has another one for each"),
        ("path,label\n0.jpg,a\n0.jpg,b\n", "each line names an image of its own; --skip"),
        ("path,label\n0.jpg,a\n1.jpg\n", "each line has as many fields as the header; --sk"),
        ("path,label\n0.jpg,a\n1.jpg,b,c\n", "each line has as many fields as the header; --sk"),
        ("path,label\n0.jpg,a\n1.jpg,b\0\n", "--skip-bad-rows leaves such lines out"),
        ("path,label,digest\n0.jpg,a,\n1.jpg,b,0123\n", "a digest is a SHA-256: leave the col"),
        ('path,label\n0.jpg,a\n1.jpg,"b\nc"\n', "a record is one line; quotes inside a quoted"),
        (
            "path,label,split\n0.jpg,a,0\n",
            "a split is train, validation (val, valid) or test; mend",
        ),
    ],
)
def test_the_remedy_is_that_of_the_fault_that_was_found(tmp_path, lines, remedy):
    with pytest.raises(ManifestError) as caught:
        read(table(tmp_path, lines))
    assert caught.value.hint.startswith(remedy)


def test_faults_of_json_lines_and_json_that_is_called_otherwise_have_remedies(tmp_path):
    lines = [
        '{"path": "0.jpg", "label": "a"},',
        '{"path": "1.jpg", "label": "b"}',
        '{"label": "b"}',
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    with pytest.raises(ManifestError) as caught:
        read(tmp_path / "t.jsonl")
    assert caught.value.hint == (
        "each line is a JSON object of its own, in UTF-8; each line names its image, in a field of "
        "one name; --skip-bad-rows leaves such lines out"
    )
    (tmp_path / "t.json").write_text("\n".join(lines[1:2]))
    with pytest.raises(ManifestError, match="it is JSON") as caught:
        read(tmp_path / "t.json")
    assert "or as JSON lines (.jsonl: one object in each line" in caught.value.hint
    with pytest.raises(ManifestError, match="it is JSON") as caught:
        read_boxes(tmp_path / "t.json", read(make(tmp_path / "d", "a/0.jpg", "b/1.jpg")))
    assert "JSON lines" not in caught.value.hint
    (tmp_path / "t.json").rename(tmp_path / "u.jsonl")
    assert len(read(tmp_path / "u.jsonl")) == 1


def test_a_column_of_yes_and_no_that_speaks_of_a_split_is_named(tmp_path):
    notes = read(table(tmp_path, "path,label,is_valid\n0.jpg,a,True\n1.jpg,b,False\n")).notes()
    assert "'is_valid' (False, True); call the one that does 'split', with train" in notes[-1]


def test_the_table_that_is_named_beside_a_folder_is_the_one_of_labels(tmp_path):
    make(tmp_path, "images/Train_0.jpg", "images/Test_0.jpg")
    for name in ("sample_submission", "test", "train"):
        (tmp_path / f"{name}.csv").write_text("image_id,healthy,rust\nTrain_0,1,0\n")
    with pytest.raises(ManifestError) as caught:
        read(tmp_path)
    table = tmp_path / "train.csv"
    assert caught.value.hint.startswith(f"give the table itself ({table}), with path,label")
    found = read(table, table=TableOptions("image_id", ("healthy",)))
    with pytest.raises(MissingFileError) as caught:
        found.require_files()
    assert "'Train_0' may be 'images/Train_0.jpg'" in caught.value.hint


def test_a_table_beside_one_folder_of_images_is_not_passed_over(tmp_path):
    make(tmp_path, "images/a.jpg", "images/b.jpg")
    (tmp_path / "labels.csv").write_text("path,label\nimages/a.jpg,hat\nimages/b.jpg,dress\n")
    with pytest.raises(
        ManifestError, match=r"(?s)one class folder \(images\) and labels.csv .*give the table"
    ):
        read(tmp_path)
    by_table = read(tmp_path / "labels.csv")
    assert [sample.label for sample in by_table] == ["hat", "dress"]
    assert len(read(tmp_path, labels_required=False)) == 2
    (tmp_path / "images").rename(tmp_path / "train")
    (tmp_path / "labels.csv").write_text("id,label\na,hat\nb,dress\n")
    assert labels(read(tmp_path)) == {"train/a.jpg": "hat", "train/b.jpg": "dress"}


@pytest.mark.parametrize(("in_table", "in_folder"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_ids_in_another_unicode_form_are_found(tmp_path, in_table, in_folder):
    names = [unicodedata.normalize(form, "caf\u00e9") for form in (in_table, in_folder)]
    make(tmp_path, f"train/{names[1]}.jpg", "train/b.jpg")
    (tmp_path / "labels.csv").write_text(f"id,label\n{names[0]},hat\nb,dress\n", encoding="utf-8")
    assert sorted(labels(read(tmp_path)).values()) == ["dress", "hat"]


@pytest.mark.parametrize(
    "folders",
    [
        ("train2017", "val2017"), ("train", "test1"), ("trainset", "testset"),
        ("split=train", "split=test"),
        ("train_images", "test_images"), ("seg_train/hat", "seg_train/dress", "seg_pred"),
        ("X_train", "X_test"), ("imgs_tr", "imgs_te"), ("trn", "tst"), ("1_train", "2_test"),
        ("hat", "dress", "test"), ("hat", "dress", "Val"), ("hat", "dress", "val/hat"),
        ("hat", "hat/test", "dress"), ("hat/train", "dress/test"),
    ],
)  # fmt: skip
def test_folders_that_are_called_as_splits_are_no_classes(tmp_path, folders):
    for number, folder in enumerate(folders):
        make(tmp_path, f"{folder}/{number}.jpg", f"{folder}/{number}b.jpg")
    with pytest.raises(ManifestError, match="called as splits: .*") as told:
        read(tmp_path)
    assert "give it another name" in told.value.hint


def test_words_of_splits_in_longer_names_are_classes(tmp_path):
    names = [
        "test tube",
        "train station",
        "steam train",
        "valley",
        "training shoes",
        "latest",
        "atest",
    ]
    make(tmp_path, *(f"{name}/1.jpg" for name in names))
    assert sorted(read(tmp_path).classes()) == sorted(names)


def test_folders_of_parts_of_a_data_set_are_said(tmp_path):
    make(tmp_path, "JPEGImages/1.jpg", "SegmentationClass/1.png")
    (note,) = read(tmp_path).notes()
    assert "names that folders of files often have: JPEGImages, SegmentationClass" in note
    make(tmp_path / "b", "train/images/1.jpg", "val/images/2.jpg")
    assert "a name that folders of files often have: images;" in read(tmp_path / "b").notes()[0]


def test_folders_beside_the_images_of_a_class_are_said(tmp_path):
    make(tmp_path, "hat/1.jpg", "hat/rejected/2.jpg", "dress/3.jpg")
    (note,) = read(tmp_path).notes()
    assert "holds further folders beside images, and all are of its class: hat (rejected)" in note


def test_classes_that_no_training_image_has_are_said(tmp_path):
    make(tmp_path, "train/hat/1.jpg", "train/dress/2.jpg", "val/hats/3.jpg", "test/all/4.jpg")
    notes = read(tmp_path).notes()
    assert "2 classes of 'label' that no training image has: hats (validation), all (test)" in notes


def test_a_link_to_a_folder_leaves_its_images_where_they_are(tmp_path):
    make(tmp_path, "train/hat/1.jpg", "train/dress/2.jpg")
    (tmp_path / "test").symlink_to("train")
    found = read(tmp_path)
    assert {sample.split for sample in found} == {"train"}
    assert reasons(found) == {"test/": "a folder that was seen already"}


@pytest.mark.parametrize(
    "labels",
    [
        ("hat|red", "hat", "red"), ("hat;red", "hat;blue"), ('"hat, red"', '"hat, blue"'),
        ('"[""hat"", ""red""]"', "dress"), ('"{""choices"":[""hat""]}"', "dress"),
        ("1 2", "3"), ("['hat']", "dress"),
    ],
)  # fmt: skip
def test_lists_of_labels_are_said(tmp_path, labels):
    lines = "".join(f"{number}.jpg,{label}\n" for number, label in enumerate(labels))
    notes = read(table(tmp_path, f"path,label\n{lines}")).notes()
    assert any("look like lists of several labels" in note for note in notes)
    assert look_alike_notes("classes", ["salt, pepper", "tench, Tinca tinca", "24-7", "a; b"]) == []


def test_numbers_that_differ_do_not_look_alike():
    assert look_alikes(["1.5", "15", "-1", "1", "1-2", "12"]) == []
    assert look_alikes(['="hat"', "hat", "=a", "a"]) == [('="hat"', "hat")]
    assert look_alikes(["1,5", "1.5"]) == [("1,5", "1.5")]
    assert look_alikes(["+1", "1", "caf\u00e9", "caf\u00c3\u00a9", "a & b", "a &amp; b"]) != []
    assert len(look_alikes(["+1", "1", "\u201chat\u201d", "hat", "a & b", "a &amp; b"])) == 3


def test_the_column_of_images_is_the_id(tmp_path):
    make(tmp_path, "train/w1.jpg", "train/w2.jpg")
    (tmp_path / "train.csv").write_text("Image,Id\nw1.jpg,w_a\nw2.jpg,w_b\n")
    assert labels(read(tmp_path)) == {"train/w1.jpg": "w_a", "train/w2.jpg": "w_b"}


def test_columns_of_a_contest_that_are_not_used_are_named(tmp_path):
    make(tmp_path, "train/1.jpg", "train/2.jpg")
    (tmp_path / "train.csv").write_text("id,label,variety,age\n1,a,x,9\n2,b,y,8\n")
    assert "columns of train.csv that are not used: variety, age" in read(tmp_path).notes()


def test_a_header_that_is_one_quoted_field_is_shown_so(tmp_path):
    with pytest.raises(ManifestError, match='its first line is: "path,label"'):
        read(table(tmp_path, '"path,label"\n"1.jpg,hat"\n'))


@pytest.mark.parametrize(
    ("written", "file"),
    [
        (r"a\b.png", "a/b.png"), ("a/my%20hat.png", "a/my hat.png"),
        (r".\a\b%2B1.png", "a/b+1.png"), ("/b.png", "b.png"),
        ("data/train/a/b.png", "a/b.png"), (r"C:\Users\me\b.png", "b.png"),
        ("file:/a/b.png", "a/b.png"), ("a/b", "a/b.png"), ("a/B.JPG", "a/b.png"),
        ("'b.png'", "b.png"), ("cafe\u0301.png", "caf\xe9.png"), ("~/x/b.png", "b.png"),
        ("a+hat.png", "a hat.png"), ("a&amp;b.png", "a&b.png"), ("caf\xc3\xa9.png", "caf\xe9.png"),
        ("../input/x/b.jpeg", "b.png"), ("b.jpg", "images/b.png"), ("a/b", "train/b.png"),
    ],
)  # fmt: skip
def test_files_that_are_there_in_other_words_are_named(tmp_path, written, file):
    make(tmp_path, file, "a/100%.png")
    (tmp_path / "t.csv").write_text(f"path,label\n{written},x\na/100%.png,y\nno\\way.png,y\n")
    with pytest.raises(MissingFileError, match="2 of 3 image files") as caught:
        read(tmp_path / "t.csv").require_files()
    said = f"write the paths as the files are called: '{written}' may be '{file}'; relative paths"
    assert caught.value.hint.startswith(said)
    (tmp_path / "t.csv").write_text(f"path,label\n{file},x\na/100%.png,y\n")
    read(tmp_path / "t.csv").require_files()


def test_ids_of_training_and_of_test_images_are_told_apart_in_hints(tmp_path):
    # CIFAR-10 and many others count both from 1.
    make(tmp_path, "test/1.png", "train/1.png", "train/2.png", "jpeg/train/ISIC_3.jpg")
    (tmp_path / "t.csv").write_text("id,label\n1,x\n2,y\nISIC_3,y\n")
    with pytest.raises(MissingFileError, match="3 of 3 image files") as caught:
        read(tmp_path / "t.csv", table=TableOptions("id")).require_files()
    assert "'1' may be 'test/1.png' or 'train/1.png', '2' may be 'train/2.png'" in caught.value.hint
    assert "'ISIC_3' may be 'jpeg/train/ISIC_3.jpg'" in caught.value.hint


def test_a_table_none_of_whose_files_is_there_has_the_remedy_for_that(tmp_path):
    make(tmp_path, "images/1.jpg")
    (tmp_path / "t.csv").write_text("id,label\n1,x\n")
    with pytest.raises(ManifestError, match="line 2 names a file that is not there") as caught:
        read(tmp_path / "t.csv", table=TableOptions("id", skip_bad_rows=True))
    assert caught.value.hint.startswith("write paths as the files are called, with their folder")


def test_a_path_that_may_mean_several_files_or_none_has_no_such_hint(tmp_path):
    make(tmp_path, "a.png", "a.jpg", "b.png")
    (tmp_path / "t.csv").write_text("path,label\na,x\nc.png,x\nb.png,y\n")
    with pytest.raises(MissingFileError) as caught:
        read(tmp_path / "t.csv").require_files()
    assert caught.value.hint == "restore the files, or leave these images out"
    (tmp_path / "t.csv").write_text("path,label\nD:\\c.png,x\nb.png,y\n")
    with pytest.raises(MissingFileError) as caught:
        read(tmp_path / "t.csv").require_files()
    assert r"'D:\c.png' is a path of a Windows computer" in caught.value.hint


@pytest.mark.parametrize("columns", [("path",), ("kind", "Kind")])
def test_a_column_for_two_things_is_refused(tmp_path, columns):
    (tmp_path / "t.csv").write_text("path,kind\n1.jpg,a\n2.jpg,b\n")
    with pytest.raises(ManifestError, match=r"(?s)is named twice.*name a column once.*: path,kind"):
        read(tmp_path / "t.csv", table=TableOptions(label_columns=columns))


@pytest.mark.parametrize(
    "folders",
    [
        ("HAM10000_images_part_1", "HAM10000_images_part_2"),
        ("fold_0", "fold_1"),
        ("images_001",) * 2,
    ],
)
def test_parts_of_a_data_set_with_a_table_beside_are_no_classes(tmp_path, folders):
    make(tmp_path, *(f"{folder}/{number}.jpg" for number, folder in enumerate(folders)))
    (tmp_path / "metadata.csv").write_text("image_id,dx\n0,a\n1,b\n")
    with pytest.raises(ManifestError, match=r"(?s)metadata.csv beside .*give the table itself"):
        read(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    assert any("folders of files often have" in one for one in read(tmp_path).notes())


def test_numbered_classes_with_a_table_beside_are_classes(tmp_path):
    make(tmp_path, "c0/1.jpg", "c1/2.jpg", "class 1/3.jpg", "n01440764/4.jpg", "t.csv")
    assert len(read(tmp_path).classes()) == 4
    assert not any("folders of files" in one for one in read(tmp_path).notes())


def test_measurements_as_labels_are_said():
    (note,) = look_alike_notes("labels", ["0.25", "1.5", "-3.125", "7.75", "12.0", "40.1"])
    assert note.startswith("labels look like measurements: -3.125, 0.25, 1.5, 7.75, 40.1; each")
    assert look_alike_notes("labels", ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0"]) == []
    assert look_alike_notes("labels", ["v1.5", "v2.5", "v3.5", "v4.5", "v5.5", "v6.5"]) == []


def test_folders_that_contradict_labels_csv_are_said(tmp_path):
    kaggle(tmp_path, "id,label\na,hat\nb,hat\nc,dress\n", "hat/a.jpg", "dress/b.jpg", "x/c.jpg")
    found = read(tmp_path)
    assert {one.label for one in found} == {"hat", "dress"}
    assert found.warnings == (
        "1 image lies in the folder of another class than labels.csv says, which counts: "
        "train/dress/b.jpg",
    )


def test_json_lines_of_an_image_folder_of_hugging_face(tmp_path):
    table = tmp_path / "metadata.jsonl"
    table.write_text(
        '{"file_name": "0001.png", "label": "hat", "objects": {"bbox": [1, 2]}}\n\n'
        '{"label": 3, "file_name": "a/ü.png", "split": null}\n'
    )
    first, second = found = read(table)
    assert (first.id, first.path, first.label) == ("0001.png", f"{tmp_path}/0001.png", "hat")
    assert (second.id, second.label, second.split) == ("a/ü.png", "3", "")
    assert found.notes() == ["columns of metadata.jsonl that are not used: objects"]
    table.write_text('{"file_name": "1.png", "label": "hat"}\n{"file_name": \n["2.png"]\n')
    with pytest.raises(ManifestError) as caught:
        read(table)
    assert "2 lines of" in caught.value.message
    assert "line 2 is not usable JSON" in caught.value.message
    assert "line 3 holds a JSON array" in caught.value.message
    make(tmp_path, "1.png")
    (kept,) = read(table, table=TableOptions(skip_bad_rows=True))
    assert kept.id == "1.png"
    table.write_text('{"file": "1.png", "breed": "pug"}\n')
    with pytest.raises(ManifestError, match="no columns path, label; its fields are: file,breed"):
        read(table)
    assert labels(read(table, table=TableOptions("file", "breed"))) == {"1.png": "pug"}
    table.write_text("\n")
    with pytest.raises(ManifestError, match="has no line that is a JSON object"):
        read(table)
    table.write_text('{"file_name": "a\\u0000b.png", "label": "hat"}\n')
    with pytest.raises(ManifestError, match="no table could hold|NUL|cannot"):
        read(table)


def test_json_lines_without_a_field_in_common_fill_no_memory(tmp_path):
    table = tmp_path / "metadata.jsonl"
    table.write_text("".join(f'{{"a{number}": 1}}\n' for number in range(2**14)))
    with pytest.raises(ManifestError, match="has 16,384 lines and 16,384 different fields"):
        read(table)


def test_masks_beside_their_images_are_named(tmp_path):
    # They were images of their classes without a word.
    names = ("a/b (1)", "a/b (1)_mask", "a/b (1)_mask_1", "a/2", "b/2_mask", "b/3", "b/gt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(b"pixels")
    (note,) = read(tmp_path).notes()
    assert note.startswith(
        "2 images are called as masks of others (a/b (1)_mask.png, a/b (1)_mask_"
    )


def test_folders_of_notes_are_not_to_be_removed(tmp_path):
    # "remove empty class folders" was said of YOLO's labels.
    for name in ("images/1.png", "labels/1.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"0 .5 .5 .1 .1")
    with pytest.raises(ManifestError, match="1 class folder without images") as caught:
        read(tmp_path)
    assert "remove" not in caught.value.hint
    assert "boxes, masks and lists are not read: move folders that are no" in caught.value.hint


def test_a_column_for_each_class_is_named(tmp_path):
    text = "path,hat,cap,cape\na.jpg,1,0,0\nb.jpg,0,0,1.0\nq.jpg,,,\n"
    path = table(tmp_path, text)
    options = TableOptions("path", ("hat", "cap", "cape"))
    (note,) = read(path, labels_required=False, table=options).warnings
    assert note.startswith("each image has 1 in one of the columns hat, cap, cape, and 0 in")
    for other in (text.replace("1,0,0", "1,1,0"), text.replace("1,0,0", "0,0,0")):
        assert not read(table(tmp_path, other), labels_required=False, table=options).warnings


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"path": "0.jpg", "label": NaN}\n', "line 1 .*NaN"),
        (b'{\n "path": "0.jpg"\n}\n', "3 lines of"),
        ('{"path": "0.jpg"}\n'.encode("utf-16"), "UTF-8"),
        (b'{"path": "0.jpg"}\r{"path": "1.jpg"}\r', "line 1 .*Extra data"),
    ],
)
def test_why_no_line_of_json_is_read_is_said(content, said, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=said):
        read(path)


def test_excels_line_and_a_database_are_called_what_they_are(tmp_path):
    with pytest.raises(ManifestError, match="begins with a line that only Excel understands: sep="):
        read(table(tmp_path, "sep=,\npath,label\na.jpg,hat\n"))
    (tmp_path / "t.csv").write_bytes(b"SQLite format 3\0" + bytes(90))
    with pytest.raises(ManifestError, match="it is an SQLite database"):
        read(tmp_path / "t.csv")


def test_a_folder_of_a_split_without_images_is_named(tmp_path):
    make(tmp_path, "train/hat/1.jpg", "train/dress/2.jpg")
    (tmp_path / "val").mkdir()
    assert read(tmp_path).notes() == ["no images in the folders of splits val"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("photos.zip", "unpack the archives"), (".hat/1.jpg", "begin with a point.*rename them")],
)
def test_what_to_do_where_there_are_no_images_fits_what_is_there(name, remedy, tmp_path):
    make(tmp_path, name)
    with pytest.raises(ManifestError, match="no images in") as caught:
        read(tmp_path)
    assert re.search(remedy, caught.value.hint)


def test_images_that_a_kaggle_table_lacks_are_not_to_be_restored(tmp_path):
    make(tmp_path, "train/1.jpg", "train/2.jpg")
    (tmp_path / "labels.csv").write_text("id,label\n1,hat\n", "utf-8")
    with pytest.raises(ManifestError, match=r"1 image without a label \(2.jpg\)") as caught:
        read(tmp_path)
    assert caught.value.hint.startswith("give the images a line in labels.csv, or take them out")
    (tmp_path / "labels.csv").write_text("id,label\n1,hat\n2,hat\n3,hat\n", "utf-8")
    with pytest.raises(ManifestError, match=r"1 label without an image \(3\)") as caught:
        read(tmp_path)
    assert caught.value.hint.startswith("restore the images, or take the lines out of labels.csv")
    assert "give the images" not in caught.value.hint


def test_a_column_of_splits_under_another_name_is_named(tmp_path):
    text = "path,label,subset,kind\na.jpg,hat,Train,train\nb.jpg,cap,test,bus\nc.jpg,cap,,\n"
    unused, said = read(table(tmp_path, text)).warnings
    assert unused.endswith("are not used: subset, kind")
    assert said.startswith(
        "columns that seem to say the split, and are not used: 'subset' (Train, "
    )
    found = read(table(tmp_path, text.replace("subset", "split")))
    assert [one.split for one in found] == ["train", "test", ""]
    assert not [note for note in found.warnings if "split" in note]


def test_a_label_whose_words_are_all_labels_is_said_to_be_a_list(tmp_path):
    make(tmp_path, *(f"{n}.jpg" for n in range(4)))
    path = tmp_path / "t.csv"
    path.write_text("path,label\n0.jpg,scab rust\n1.jpg,scab\n2.jpg,rust\n3.jpg,red hat\n")
    (note,) = read(path).notes()
    assert "look like lists of several labels: 'scab rust'; an image" in note
    path.write_text("path,label\n0.jpg,scab+rust\n1.jpg,scab\n2.jpg,rust leaf\n3.jpg,hat/cap\n")
    assert read(path).notes() == []


@pytest.mark.parametrize("ending", [".jpg", ""])
def test_a_table_of_kaggle_without_a_header_is_known_by_its_first_image(tmp_path, ending):
    make(tmp_path, "train/0.jpg", "train/1.jpg")
    (tmp_path / "labels.csv").write_text(f"0{ending},cat\n1{ending},dog\n")
    with pytest.raises(ManifestError, match=f"names an image, and no columns: 0{ending}") as found:
        read(tmp_path)
    assert found.value.hint == "put a header line above it: id,label"
    (tmp_path / "labels.csv").write_text(f"id,label\n0{ending},cat\n1{ending},dog\n")
    assert [one.label for one in read(tmp_path)] == ["cat", "dog"]


@pytest.mark.parametrize("given", ["01.jpg", "1", "1.PNG"])
def test_ids_of_kaggle_that_files_are_called_otherwise_are_named(tmp_path, given):
    make(tmp_path, "train/001.png", "train/002.png")
    (tmp_path / "labels.csv").write_text(f"id,label\n{given},cat\n002,dog\n")
    with pytest.raises(ManifestError, match="do not fit") as caught:
        read(tmp_path)
    said = f"write the ids as the files are called: '{given}' may be '001.png'; restore"
    assert caught.value.hint.startswith(said)


def test_a_header_of_other_words_that_a_file_is_called_by_is_one(tmp_path):
    make(tmp_path, "train/name.jpg", "train/1.jpg")
    (tmp_path / "labels.csv").write_text("name,kind\nname,cat\n1,dog\n")
    assert [one.label for one in read(tmp_path)] == ["cat", "dog"]


@pytest.mark.parametrize("name", ["path", "label"])
def test_no_column_is_named_by_an_empty_text(name):
    options = {"path": {"path_column": ""}, "label": {"label_columns": ("",)}}[name]
    with pytest.raises(ManifestError, match="a column of the table is named by an empty text"):
        TableOptions(**options)


@pytest.mark.parametrize("name", ["100APPLE", "102_PANA", "202401__", "Photos from 2023", "DCIM"])
def test_folders_of_cameras_and_phones_are_said_to_be_none_of_classes(tmp_path, name):
    (note,) = read(make(tmp_path, f"{name}/1.jpg", f"{name}/2.jpg", "hat/1.jpg")).notes()
    assert note.startswith(f"a class folder has a name that folders of files often have: {name};")


@pytest.mark.parametrize("names", [("train_a", "val_a"), ("test-b", "train-b")])
def test_folders_of_splits_with_a_letter_are_no_classes(tmp_path, names):
    with pytest.raises(ManifestError, match="that are called as splits"):
        read(make(tmp_path, *(f"{name}/1.jpg" for name in names)))
    found = read(make(tmp_path / "x", "ten/1.jpg", "tea/1.jpg", "training day/1.jpg"))
    assert found.classes() == ("tea", "ten", "training day")


# What extract would refuse -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said", "hint"),
    [
        ("file:///photos/1.jpg", "is a file of this machine", "plain paths in place of file://"),
        ("ftp://host/1.jpg", "is of no store that is known here: ftp", "download such images"),
        ("S3://bucket/1.jpg", "is no URL of a store", "small letters up to ://"),
        ("AmlDatastore://photos/1.jpg", "is no URL of a store", "small letters up to ://"),
        ("https://me:secret@host/1.jpg", "is given with a password", "leave passwords out"),
        ("https://host/1.jpg?sig=secret", "is given with a query", "download such images"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_urls_that_are_never_read_are_faults_of_their_lines(tmp_path, url, said, hint, kind):
    make(tmp_path, "2.jpg")
    table = tmp_path / f"t.{kind}"
    rows = [{"path": url, "label": "hat"}, {"path": "2.jpg", "label": "hat"}]
    lines = [json.dumps(row) for row in rows]
    if kind == "csv":
        lines = ["path,label", *(f"{row['path']},{row['label']}" for row in rows)]
    table.write_text("\n".join(lines))
    with pytest.raises(ManifestError) as error:
        read(table)
    assert said in error.value.message
    assert "secret" not in error.value.message
    assert hint in error.value.hint
    found = read(table, table=TableOptions(skip_bad_rows=True))
    assert [sample.id for sample in found] == ["2.jpg"]
    assert said in found.warnings[0]


def test_what_a_row_with_a_digest_names_is_not_looked_at(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(f"path,label,digest\nfile:///gone/1.jpg,hat,{'ab' * 32}\n")
    assert [sample.path for sample in read(table)] == ["file:///gone/1.jpg"]


# Which column of a contest's table is the image ---------------------------------------------


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("id,breed", "{image},{label}", ""),
        ("image_name,patient_id,target", "{image},{whose},{label}", ""),
        ("patient_id,image_name,target", "{whose},{image},{label}", ""),
        ("id,image,label", "{whose},{image},{label}", ""),
        ("patient_id,label", "{image},{label}", "'patient_id' of labels.csv is taken"),
        ("patient_id,scan,label", "{whose},{image},{label}", "'scan' of labels.csv is taken"),
        ("id,scan,label", "{whose},{image},{label}", "'scan' of labels.csv is taken"),
        ("breed,img", "{label},{image}", "'img' of labels.csv is taken"),
    ],
)
def test_the_column_that_names_images_is_taken_and_said(tmp_path, header, row, told):
    names = [f"{number:03}" for number in range(1, 7)]
    make(tmp_path, *(f"train/{name}.jpg" for name in names))
    known = dict(zip(names, "ababab"))
    lines = [row.format(image=n, label=known[n], whose=f"P{int(n) % 3}") for n in names]
    (tmp_path / "labels.csv").write_text("\n".join([header, *lines]))
    found = read(tmp_path)
    assert labels(found) == {f"train/{name}.jpg": known[name] for name in names}
    said = [one for one in found.warnings if "is taken for the images' names" in one]
    assert (told in said[0] and "for their labels" in said[0]) if told else not said


def test_labels_that_are_numbers_are_never_taken_for_ids(tmp_path):
    make(tmp_path, *(f"train/{number}.jpg" for number in range(1, 5)))
    (tmp_path / "labels.csv").write_text("id,grade\n1,2\n2,1\n3,4\n4,3\n")
    assert list(labels(read(tmp_path)).values()) == ["2", "1", "4", "3"]


def test_names_that_a_spreadsheet_made_dates_of_are_named():
    (note,) = look_alike_notes("classes of 'age'", ["0-2", "4-Jun", "12-Oct", "Feb-15", "25-32"])
    assert "look like dates that a spreadsheet made of other names" in note
    assert "4-Jun, 12-Oct, Feb-15" in note
    assert not look_alike_notes("classes", ["4-6", "june", "may", "sep-tember", "1-martin"])


def test_what_python_programs_keep_tables_in_is_named(tmp_path):
    import pickle

    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"path": ["1.jpg"] * 9}, protocol=4))
    (tmp_path / "data.arrow").write_bytes(b"\xff\xff\xff\xff\xc8\0\0\0" + bytes(300))
    with pytest.raises(ManifestError, match="it is a pickle of Python, which is never read"):
        read(tmp_path / "t.pkl")
    with pytest.raises(ManifestError, match="it is an Arrow stream") as error:
        read(tmp_path / "data.arrow")
    assert "write it as Parquet" in error.value.hint


@pytest.mark.parametrize(
    "labels",
    [
        ("0.7", "0.25", "1.0", ".5"),
        ("0.7;0.3", "0.2;0.8", "0.5;0.5"),
        ("1e-1", "2.5e-1", "3.5", "-.5"),
    ],
)
def test_classes_that_are_measurements_or_probabilities_are_named(tmp_path, labels):
    lines = "".join(f"{at}.jpg,{label}\n" for at, label in enumerate(labels * 4))
    (note,) = read(table(tmp_path, f"path,label\n{lines}")).notes()
    assert f"of {len(labels)} classes of 'label' are numbers with fractions: " in note
    assert "divide measurements into a few ranges" in note


@pytest.mark.parametrize(
    "labels", [("0.0", "1.0", "2.0"), ("v1.5", "1.2.3", "3"), ("0.5", "a", "b")]
)
def test_numbers_that_are_names_are_no_measurements(tmp_path, labels):
    lines = "".join(f"{at}.jpg,{label}\n" for at, label in enumerate(labels * 4))
    assert read(table(tmp_path, f"path,label\n{lines}")).notes() == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Usage", ("Training", "PublicTest", "PrivateTest")),
        ("partition", ("0", "1", "2")),
        ("part", ("train", "dev", "held-out")),
    ],
)
def test_columns_of_splits_in_other_words_are_named(tmp_path, name, values):
    lines = "".join(f"{at}.jpg,{'ab'[at % 2]},{value}\n" for at, value in enumerate(values * 2))
    notes = read(table(tmp_path, f"path,label,{name}\n{lines}")).notes()
    assert f"columns that seem to say the split, and are not used: '{name}' (" in notes[-1]
    # As is advised.
    known = {value: split for value, split in zip(values, ("train", "validation", "test"))}
    lines = "".join(
        f"{at}.jpg,{'ab'[at % 2]},{known[value]}\n" for at, value in enumerate(values * 2)
    )
    assert len(read(table(tmp_path, f"path,label,split\n{lines}")).summary()) == 3
    other = "".join(f"{at}.jpg,{'ab'[at % 2]},{('car', 'train')[at % 2]}\n" for at in range(4))
    notes = read(table(tmp_path, f"path,label,vehicle\n{other}")).notes()
    assert "seem to say" not in " ".join(notes)
