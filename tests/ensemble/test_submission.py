import csv
import dataclasses

import numpy as np
import pytest
from blending import blend_run

from icecore.core.errors import (
    IcecoreError,
    MissingDependencyError,
    MissingFileError,
    ProbabilityError,
    RunError,
)
from icecore.ensemble import (
    AnswerOptions,
    Answers,
    BlendOptions,
    TaskAnswers,
    blend_sources,
    final_answers,
    read_tables,
    require_sheet_fits,
    write_answers,
)
from icecore.ensemble.answer_sheet import read_sheet

QUICK = BlendOptions(honest=False)


def answered(task="label", classes=("x", "y"), rows=None, wanted=None, folders=(), **more):
    """Return answers of one task, and of others given as keywords."""
    rows = {"a.jpg": [0.25, 0.75], "b.jpg": [0.5, 0.5]} if rows is None else rows
    tables = {task: (classes, rows), **more}
    tasks = {
        name: TaskAnswers(
            name,
            tuple(columns),
            {i: np.array(row) for i, row in found.items()},
            np.arange(1, len(columns) + 1) / np.arange(1, len(columns) + 1).sum(),
        )
        for name, (columns, found) in tables.items()
    }
    every = [(i, name) for name, one in tasks.items() for i in one.rows]
    return Answers(tasks, tuple(wanted or every), tuple(folders))


def rows_of(path):
    return list(csv.reader(path.open()))


def test_test_rows_are_what_is_handed_in(run, tmp_path):
    result = blend_run(run, QUICK, write=False)
    answers = final_answers(result)
    assert [i for i, _ in answers.wanted] == [f"images/{n:03d}.jpg" for n in range(80, 120)]
    write_answers(tmp_path / "x.npz", answers)
    (table,) = read_tables(tmp_path / "x.npz")
    assert set(table.splits) == {"test"}
    assert table.probabilities == pytest.approx(result.tasks[0].table()[80:])


def test_the_average_and_the_recommended_answer(run):
    result = blend_run(run, write=False)
    average = final_answers(result, "average").tasks["label"].rows["images/080.jpg"]
    assert average == pytest.approx(result.tasks[0].data.probabilities[:, 80].mean(axis=0))
    recommended = final_answers(result).tasks["label"].rows["images/080.jpg"]
    assert recommended == pytest.approx(result.tasks[0].table()[80])
    with pytest.raises(RunError, match="there is no answer 'best'"):
        final_answers(result, "best")


@pytest.mark.parametrize("form", ["csv", "npz", "h5", "parquet"])
def test_plain_formats_can_be_read_back(run, tmp_path, form):
    answers = final_answers(blend_run(run, QUICK, write=False))
    try:
        write_answers(tmp_path / f"final.{form}", answers)
    except MissingDependencyError as error:
        pytest.skip(error.message)
    (back,) = read_tables(tmp_path / f"final.{form}")
    assert back.ids == tuple(i for i, _ in answers.wanted)
    expected = [answers.tasks["label"].rows[i] for i in back.ids]
    np.testing.assert_allclose(back.probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("form", ["csv", "kaggle"])
def test_written_numbers_keep_what_is_small_and_add_up_to_1(tmp_path, form):
    # Softmax of wide scores: some are far below a millionth, where six decimals would say 0.
    scores = np.random.default_rng(0).normal(0, 8, (40, 30))
    rows = np.exp(scores - scores.max(axis=1, keepdims=True))
    rows /= rows.sum(axis=1, keepdims=True)
    classes = tuple(f"class{n:02d}" for n in range(30))
    path = tmp_path / "x.csv"
    named = {f"{n:02d}.jpg": row for n, row in enumerate(rows)}
    write_answers(path, answered("label", classes, named), AnswerOptions(form=form))
    with path.open() as lines:
        read = np.array([line[-30:] for line in list(csv.reader(lines))[1:]], float)
    assert rows.min() < 1e-12
    assert read == pytest.approx(rows, rel=1e-8)
    # What scikit-learn's log_loss allows before it warns.
    assert abs(read.sum(axis=1) - 1).max() < np.sqrt(np.finfo(float).eps)


def test_a_csv_of_several_tasks_can_be_read_back(tmp_path):
    answers = answered(
        "a:b",
        ("x", "id"),
        {"1": [0.25, 0.75]},
        split=(("x", "y:z"), {"1": [1, 0], "2": [0.5, 0.5]}),
    )
    write_answers(tmp_path / "a.csv", answers)
    assert rows_of(tmp_path / "a.csv") == [
        ["id", "a:b", "a:b:x", "a:b:id", "class:split", "split:x", "split:y:z"],
        ["1", "id", "0.25", "0.75", "x", "1", "0"],
        ["2", "", "", "", "x", "0.5", "0.5"],
    ]
    one, two = read_tables(tmp_path / "a.csv")
    assert (one.task, one.classes, one.ids) == ("a:b", ("x", "id"), ("1",))
    assert (two.task, two.classes, two.ids) == ("split", ("x", "y:z"), ("1", "2"))
    assert two.probabilities.tolist() == [[1, 0], [0.5, 0.5]]


def test_a_row_that_a_joined_file_lacks_is_not_said_to_have_no_image(run, tmp_path):
    data = blend_run(run, QUICK, write=False).tasks[0].data
    lines = [
        ",".join([i, *map(str, row)]) for i, row in zip(data.ids, data.probabilities[0].tolist())
    ]
    theirs = tmp_path / "theirs.csv"
    theirs.write_text("\n".join([",".join(["id", *data.classes]), *lines[:-2]]) + "\n")
    options = dataclasses.replace(QUICK, align=True)
    answers = final_answers(blend_sources([run, theirs], options=options))
    written = write_answers(tmp_path / "o.csv", answers)
    assert written.without == data.ids[-2:]
    assert "could be read, or no answer in one of the files, and are empty" in written.warning
    whole = write_answers(tmp_path / "o.csv", final_answers(blend_run(run, QUICK, write=False)))
    assert not whole.warning


def test_a_kaggle_submission_without_a_sample(run, tmp_path):
    answers = final_answers(blend_run(run, QUICK, write=False))
    write_answers(tmp_path / "out.csv", answers, AnswerOptions("kaggle"))
    rows = rows_of(tmp_path / "out.csv")
    assert rows[0] == ["id", *answers.tasks["label"].classes]
    assert rows[1][0] == "080"
    expected = answers.tasks["label"].rows["images/080.jpg"]
    assert np.array(rows[1][1:], float) == pytest.approx(expected, rel=1e-5)


def test_a_sheet_may_have_its_ids_last(tmp_path):
    (tmp_path / "sample.csv").write_text("breed,id\nx,b\nx,a\n")
    options = AnswerOptions(sample=tmp_path / "sample.csv")
    answers = answered("label", ("x", "y"), {"a.jpg": [1, 0], "b.jpg": [0, 1]})
    write_answers(tmp_path / "out.csv", answers, options)
    assert rows_of(tmp_path / "out.csv") == [["breed", "id"], ["y", "b"], ["x", "a"]]


def test_kaggle_ids_must_stay_unique(tmp_path):
    answers = answered(rows={"a/1.jpg": [0.5, 0.5], "b/1.jpg": [0.5, 0.5]})
    for step in (require_sheet_fits, write_answers):
        with pytest.raises(ProbabilityError, match=r"1 id is no longer unique .*: 1"):
            step(tmp_path / "out.csv", answers, AnswerOptions("kaggle"))
    assert not list(tmp_path.iterdir())


def test_a_fashionai_submission_holds_all_tasks_in_letter_order(tmp_path):
    names = ("Full", "Cropped", "3/4", "Mid", "Short", "Invisible")
    answers = answered(
        "pant_length_labels",
        names,
        {"Images/p.jpg": [0.5, 0.2, 0.1, 0.1, 0.06, 0.04]},
        other_labels=(("n", "m"), {"Images/o.jpg": [5 / 7, 2 / 7]}),
    )
    write_answers(tmp_path / "out.csv", answers, AnswerOptions("fashionai"))
    assert (tmp_path / "out.csv").read_text() == (
        "Images/p.jpg,pant_length_labels,0.0400;0.0600;0.1000;0.1000;0.2000;0.5000\n"
        "Images/o.jpg,other_labels,0.7143;0.2857\n"
    )
    assert [t.task for t in read_tables(tmp_path / "out.csv")] == list(answers.tasks)
    with pytest.raises(ProbabilityError, match="the format kaggle holds one task, there are 2"):
        write_answers(tmp_path / "out.csv", answers, AnswerOptions("kaggle"))
    with pytest.raises(ProbabilityError, match=r"unknown format 'xls'.*incomplete is 'x'"):
        AnswerOptions("xls", incomplete="x")
    with pytest.raises(ProbabilityError, match=r"out.xls has the ending '.xls'"):
        write_answers(tmp_path / "out.xls", answers)


# A contest's sheet ---------------------------------------------------------------------------


def test_a_sample_of_kaggle_says_ids_order_and_columns(tmp_path):
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("image_id,y,x\nb.jpg,0,0\na,0,0\n")
    answers = answered(
        rows={"test/a.jpg": [0.25, 0.75], "test/b.jpg": [1, 0], "test/c.jpg": [1, 0]}
    )
    written = write_answers(tmp_path / "out.csv", answers, AnswerOptions(sample=sample))
    assert (tmp_path / "out.csv").read_text() == "image_id,y,x\nb.jpg,0,1\na,0.75,0.25\n"
    assert (written.form, written.rows, written.unasked, written.warning) == ("kaggle", 2, 1, "")
    assert "as " in written.text
    assert "1 answers are not asked for" in written.text


@pytest.mark.parametrize(
    ("header", "value"), [("id,label", "x"), ("id,label", ""), ("id,y", "0.5")]
)
def test_a_sample_of_two_columns_asks_for_labels_or_for_one_class(tmp_path, header, value):
    (tmp_path / "s.csv").write_text(f"{header}\na,{value}\nb,{value}\n")
    write_answers(tmp_path / "o.csv", answered(), AnswerOptions(sample=tmp_path / "s.csv"))
    wanted = {"id,label": "a,y\nb,x\n", "id,y": "a,0.75\nb,0.5\n"}[header]
    assert (tmp_path / "o.csv").read_text() == f"{header}\n{wanted}"


def test_the_sheet_of_fashionai_says_which_rows_of_which_task(tmp_path):
    (tmp_path / "Tests").mkdir()
    (tmp_path / "Tests/question.csv").write_text("b.jpg,two_labels,?\na.jpg,label,?\n")
    answers = answered(two_labels=(("u", "v"), {"b.jpg": [1, 0]}), folders=[tmp_path])
    written = write_answers(tmp_path / "out.csv", answers)
    assert (tmp_path / "out.csv").read_text() == (
        "b.jpg,two_labels,1.0000;0.0000\na.jpg,label,0.2500;0.7500\n"
    )
    assert written.sheet == tmp_path / "Tests/question.csv"
    write_answers(tmp_path / "plain.csv", answers, AnswerOptions("csv"))
    assert len(rows_of(tmp_path / "plain.csv")) == 3
    write_answers(tmp_path / "a.npz", answered(folders=[tmp_path]))
    with pytest.raises(ProbabilityError, match="a sheet of the form fashionai, not kaggle"):
        write_answers(tmp_path / "k.csv", answers, AnswerOptions("kaggle"))
    (tmp_path / "sample_submission.csv").write_text("id,label\na,x\n")
    with pytest.raises(ProbabilityError, match="2 sheets to answer"):
        write_answers(tmp_path / "k.csv", answers)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (
            "id,x,z,u\na,0,0,0\nb,0,0,0\n",
            [r"2 columns are no classes \(z, u\)", r"1 class has no column \(y\)"],
        ),
        ("id,x,z\n1,0,0\n2,0,0\na,0,0\n", ["2 of its 3 ids are no images here: 1, 2", r"\(z\)"]),
        ("id,label\na,hat\n", ["the values of its column 'label' are no classes: hat"]),
        ("a.jpg,u_labels,?\nb.jpg,label,?\n", [r"tasks that have no answers: u_labels \(1 row\)"]),
        (
            "id,x,y\na,0,0\na,0,0\n,0,0\n",
            ["2 lines of .* line 3 repeats the id a; line 4 has no id"],
        ),
        ("a.jpg,label,?\na.jpg,label,?\n", ["line 2 asks for a.jpg,label again"]),
        ("id\na\n", ["is no sample of a submission"]),
    ],
)
def test_what_does_not_fit_the_sheet_is_one_error(tmp_path, sample, words):
    (tmp_path / "s.csv").write_text(sample)
    for pattern in words:
        with pytest.raises(ProbabilityError, match=pattern):
            write_answers(tmp_path / "o.csv", answered(), AnswerOptions(sample=tmp_path / "s.csv"))
    assert not (tmp_path / "o.csv").exists()


def test_what_is_said_of_a_sheet_that_does_not_fit_leads_to_a_file(tmp_path):
    answers, sample = answered(), tmp_path / "s.csv"
    sample.write_text("id,target\na,0.5\nb,0.5\n")
    with pytest.raises(ProbabilityError) as caught:
        write_answers(tmp_path / "o.csv", answers, AnswerOptions(sample=sample))
    assert "--format csv without --sample writes the answers" in caught.value.hint
    assert "a copy whose column 'target' is called as that class" in caught.value.hint
    write_answers(tmp_path / "o.csv", answers, AnswerOptions("csv"))
    sample.write_text(sample.read_text().replace("target", "y"))
    write_answers(tmp_path / "o.csv", answers, AnswerOptions(sample=sample))
    assert rows_of(tmp_path / "o.csv")[1] == ["a", "0.75"]
    # In the second the column is called so already, and the ids are what is wrong.
    for text in ("id,label\na,hat\n", "id,y\n7,0.5\n"):
        sample.write_text(text)
        with pytest.raises(ProbabilityError) as caught:
            write_answers(tmp_path / "o.csv", answers, AnswerOptions(sample=sample))
        assert "a copy" not in caught.value.hint


def test_lines_of_other_lengths_are_told_how_long_a_line_is(tmp_path):
    (tmp_path / "s.csv").write_text("id,x,y\na,0\nb,0,0\n")
    with pytest.raises(ProbabilityError, match="line 2 has 2 fields, not 3") as caught:
        write_answers(tmp_path / "o.csv", answered(), AnswerOptions(sample=tmp_path / "s.csv"))
    assert "as many fields as the header" in caught.value.hint


def test_ids_that_may_be_several_images_are_refused(tmp_path):
    (tmp_path / "s.csv").write_text("id,x,y\n1,0,0\n")
    answers = answered(rows={"u/1.jpg": [1, 0], "v/1.jpg": [0, 1]})
    with pytest.raises(ProbabilityError, match=r"1 id may be several images: 1 \(u/1.jpg, v/1.jpg"):
        write_answers(tmp_path / "o.csv", answers, AnswerOptions(sample=tmp_path / "s.csv"))


def test_a_sheet_means_the_test_images_where_training_ones_have_their_names(tmp_path):
    (tmp_path / "s.csv").write_text("id,x,y\n1,0,0\n2,0,0\n3,0,0\n")
    names = ("train/1.jpg", "train/2.jpg", "train/3.jpg", "test/1.jpg", "test/2.jpg")
    rows = {name: [name.startswith("test"), name.startswith("train")] for name in names}
    tests = frozenset(name for name in rows if name.startswith("test"))
    answers = dataclasses.replace(answered(rows=rows), tests=tests)
    options = AnswerOptions(sample=tmp_path / "s.csv")
    require_sheet_fits(tmp_path / "o.csv", answers, options)
    written = write_answers(tmp_path / "o.csv", answers, options)
    # The third has no image; a training image of its name is another one.
    assert written.without == ("3",)
    assert rows_of(tmp_path / "o.csv")[1:3] == [["1", "1", "0"], ["2", "1", "0"]]
    (tmp_path / "s.csv").write_text("id,x,y\ntrain/3.jpg,0,0\n2,0,0\n")
    write_answers(tmp_path / "o.csv", answers, options)
    assert rows_of(tmp_path / "o.csv")[1:] == [["train/3.jpg", "0", "1"], ["2", "1", "0"]]


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        ("o.txt", None, "has the ending '.txt'"),
        ("o.csv", "npz", "ending '.csv', and is to be written as npz"),
        ("o.npz", "csv", "ending '.npz', and is to be written as csv"),
        ("o.hdf5", "kaggle", "ending '.hdf5', and is to be written as kaggle"),
        ("o.h5", "parquet", "ending '.h5', and is to be written as parquet"),
        ("o.npz", None, "holds one task, there are 2"),
    ],
)
def test_a_form_that_cannot_be_is_found_before_the_work(tmp_path, name, form, words):
    answers = answered(other=(("u", "v"), {"a.jpg": [1, 0]}))
    with pytest.raises(ProbabilityError, match=words):
        require_sheet_fits(tmp_path / name, answers, AnswerOptions(form))
    require_sheet_fits(tmp_path / "o.hdf5", answered(), AnswerOptions("h5"))
    with pytest.raises(ProbabilityError, match=r"o.npz is .* npz, and --excel is for CSVs"):
        require_sheet_fits(tmp_path / "o.npz", answered(), AnswerOptions(excel=True))


def test_rows_without_an_answer_get_the_prior_or_nothing_or_are_refused(tmp_path):
    (tmp_path / "s.csv").write_text("id,x,y\na,0,0\nc,0,0\nb,0,0\nnowhere,0,0\n")
    answers = answered(wanted=[(f"{n}.jpg", "label") for n in "abc"])
    options = {"sample": tmp_path / "s.csv"}
    written = write_answers(tmp_path / "o.csv", answers, AnswerOptions(**options))
    assert rows_of(tmp_path / "o.csv")[2:] == [
        ["c", "0.333333333", "0.666666667"], ["b", "0.5", "0.5"],
        ["nowhere", "0.333333333", "0.666666667"],
    ]  # fmt: skip
    assert written.without == ("c", "nowhere")
    assert "2 of 4 rows of" in written.warning
    assert "get the class shares of the training images: c, nowhere" in written.warning
    few = answered(rows={"a.jpg": [1, 0]}, wanted=answers.wanted)
    with pytest.raises(ProbabilityError, match="2 of 3 rows have no image .*: b.jpg, c.jpg"):
        write_answers(tmp_path / "r.csv", few, AnswerOptions("kaggle"))
    write_answers(tmp_path / "few.csv", few, AnswerOptions("kaggle", incomplete="prior"))
    assert write_answers(tmp_path / "few.csv", few).without == ("b.jpg", "c.jpg")
    with pytest.raises(ProbabilityError, match="2 of 4 rows have no image .*: c, nowhere"):
        write_answers(tmp_path / "r.csv", answers, AnswerOptions(incomplete="refuse", **options))
    assert not (tmp_path / "r.csv").exists()
    write_answers(tmp_path / "e.csv", answers, AnswerOptions(incomplete="empty", **options))
    assert rows_of(tmp_path / "e.csv")[2] == ["c", "", ""]
    # A plain table says nothing of an image that nothing is known of.
    written = write_answers(tmp_path / "plain.csv", answers)
    assert rows_of(tmp_path / "plain.csv")[3] == ["c.jpg", "", "", ""]
    assert "are empty: c.jpg" in written.warning
    assert read_tables(tmp_path / "plain.csv")[0].ids == ("a.jpg", "b.jpg")
    assert "are left out" in write_answers(tmp_path / "o.npz", answers).warning


def test_the_prior_of_a_run_is_that_of_its_labels(run):
    task = final_answers(blend_run(run, QUICK, write=False)).tasks["label"]
    assert task.prior.sum() == pytest.approx(1)
    assert (task.prior > 0).all()


def test_what_is_in_place_of_a_sheet_is_said(tmp_path):
    """It is there, and was said not to be."""
    with pytest.raises(IcecoreError, match="is a folder, not a file"):
        read_sheet(tmp_path)
    with pytest.raises(MissingFileError, match="none.csv is not there"):
        read_sheet(tmp_path / "none.csv")
