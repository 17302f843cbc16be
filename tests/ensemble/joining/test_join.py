import dataclasses

import numpy as np
import pytest
from drawing import few
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.errors import ProbabilityError
from icecore.ensemble import join_task, join_tasks
from icecore.ensemble.joining.join import require_tuning_rows
from icecore.manifest.table import Sample
from icecore.runs import ProbabilityTable

CLASSES = ("a", "b", "c")


def make(model="one", ids="pqrs", classes=CLASSES, splits=(), task="label", seed=0):
    rows = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), len(ids))
    return ProbabilityTable(tuple(ids), tuple(classes), rows, tuple(splits), model, task)


def labels(ids="pqrs", names="abca", **fields):
    return {i: Sample(i, "", label=name, **fields) for i, name in zip(ids, names)}


@few(50)
@given(rows=st.permutations(range(4)), columns=st.permutations(range(3)))
def test_order_of_rows_and_columns_means_nothing(rows, columns):
    one, two = make(), make("two", seed=1)
    shuffled = ProbabilityTable(
        tuple(two.ids[i] for i in rows),
        tuple(two.classes[j] for j in columns),
        two.probabilities[np.ix_(rows, columns)],
        model="two",
    )
    straight, joined = join_task([one, two], labels()), join_task([one, shuffled], labels())
    assert np.array_equal(straight.probabilities, joined.probabilities)
    assert joined.y.tolist() == [0, 1, 2, 0]
    assert joined.ids == one.ids
    if list(columns) != [0, 1, 2]:
        assert "classes of two stand in another order; they were joined by name" in joined.notes[0]


def test_unequal_ids_are_named_for_every_file():
    tables = [make(), make("two", "pqrx"), make("three", "pqrsy")]
    with pytest.raises(ProbabilityError) as caught:
        join_task(tables, labels("pqrsxy", "abcabc"))
    assert str(caught.value).startswith(
        "the files do not have the same ids: one lacks 2 ids (x, y); two lacks 2 ids (s, y); "
        "three lacks 1 id (x)"
    )
    joined = join_task(tables, labels("pqrsxy", "abcabc"), align=True)
    assert joined.ids == tuple("pqr")
    assert "only the 3 ids that all files have" in joined.notes[0]


@pytest.mark.parametrize(
    ("split", "names", "needed", "advised"),
    [
        ("validation", "abca", ("validation",), True),
        ("test", "abca", ("validation",), False),
        ("train", "abca", ("validation", "test"), False),
        ("test", "abca", ("validation", "test"), True),
        ("test", ["", "", "", "a"], ("validation", "test"), False),
    ],
)
def test_aligning_is_advised_only_where_it_leads_on(split, names, needed, advised):
    tables = [make(splits=[split] * 3 + ["validation"]), make("two", "pqr")]
    with pytest.raises(ProbabilityError, match="not have the same ids") as caught:
        join_task(tables, labels(names=names), needed=needed)
    assert ("use --align: the 3 ids" in caught.value.hint) == advised
    aligned = join_task(tables, labels(names=names), align=True)
    assert any(len(aligned.rows(one)) for one in needed) == advised


def test_files_without_a_common_id_cannot_be_aligned():
    with pytest.raises(ProbabilityError, match="no id in common"):
        join_task([make(), make("two", "wxyz")], labels(), align=True)


@pytest.mark.parametrize("ids", [["1", "2"], ["a/0001.JPG", "0002.JPG"], [" 001", "2.png"]])
def test_ids_that_are_only_spelt_apart_are_called_so(ids):
    # Kaggle's 0001 becomes 1 where pandas reads it.
    here = ["0001.jpg", "0002.jpg"]
    with pytest.raises(ProbabilityError, match="no id in common") as caught:
        join_task([make(ids=here), make("two", ids)], labels(here))
    assert caught.value.hint.startswith("they differ in folders, endings, capitals or leading")
    with pytest.raises(ProbabilityError, match="2 rows have no label") as caught:
        join_task([make(ids=here)], labels(ids))
    assert caught.value.hint.startswith("they differ in folders, endings, capitals or leading")


@pytest.mark.parametrize("align", [False, True])
def test_files_without_a_common_class_cannot_be_aligned(align):
    # --align was advised, and gave the second file no probability of any true class.
    tables = [make(), make("two", classes=["0", "1", "2"])]
    with pytest.raises(ProbabilityError, match="has no class in common with the others") as caught:
        join_task(tables, labels(), align=align)
    assert "--align" not in str(caught.value)


def test_missing_classes_are_named_and_filled_on_request():
    tables = [make(), make("two", classes="ab")]
    with pytest.raises(ProbabilityError, match="different classes: two lacks c"):
        join_task(tables, labels())
    joined = join_task(tables, labels(), align=True)
    assert joined.classes == CLASSES
    assert not joined.probabilities[1, :, 2].any()
    assert any("two lacks c" in note for note in joined.notes)


def test_labels_that_no_model_knows_are_named_with_their_rows():
    with pytest.raises(ProbabilityError, match=r"1 label is none of .*: hat \(2 rows\)") as told:
        join_task([make()], labels(names=["a", "hat", "hat", "b"]))
    assert told.value.hint.endswith("empty and give them the split 'test' in a column split")
    followed = labels("ps", "ab") | labels("qr", ["", ""], split="test")
    assert join_task([make()], followed).y.tolist() == [0, -1, -1, 1]


def test_labels_that_are_spelt_otherwise_are_to_be_spelt_alike():
    with pytest.raises(ProbabilityError, match="look alike: 'A' and 'a'") as told:
        join_task([make()], labels(names=["A", "b", "b", "b"]))
    assert told.value.hint.startswith("spell each class alike in the labels and the files; the")


def test_also_in_test_rows():
    table = make(splits=["validation", "validation", "test", "test"])
    with pytest.raises(ProbabilityError, match="none of the classes that the models know"):
        join_task([table], labels(names=["a", "b", "hat", "b"]))


def test_tuning_rows_need_labels_and_test_rows_do_not():
    for some in (labels("pqr", "abc"), labels("pqrs", ["a", "b", "c", ""])):
        with pytest.raises(ProbabilityError, match="1 row has no label of the task label: s") as at:
            join_task([make()], some)
        assert at.value.hint.startswith("label them")
    table = make(splits=["validation", "validation", "test", "test"])
    joined = join_task([table], labels("pqr", "abc"))
    assert joined.y.tolist() == [0, 1, 2, -1]
    assert joined.rows("validation").tolist() == [0, 1]
    assert joined.rows("test").tolist() == [2]


def test_splits_come_from_the_labels_where_the_files_have_none():
    joined = join_task([make()], labels(split="validation") | labels("s", "a", split="test"))
    assert joined.splits.tolist() == ["validation"] * 3 + ["test"]


def test_training_rows_are_left_out_and_said_so():
    joined = join_task([make()], labels() | labels("p", "a", split="train"))
    assert joined.ids == tuple("qrs")
    (note,) = joined.notes
    assert note.startswith("1 row is left out: the labels put them into the split 'train' (p),")
    assert "'validation'" in note
    own = join_task([make(splits=["train", *["validation"] * 3])], labels())
    assert own.notes == ("1 row is left out: models were trained on the same images (p)",)


def test_rows_that_labels_call_learnt_from_are_named_where_none_is_left_to_tune_on():
    # As the table of a run by folds, whose rows another program has out of fold.
    truth = labels("pqr", "abc", split="train") | labels("s", "a", split="test")
    with pytest.raises(ProbabilityError) as caught:
        require_tuning_rows(join_task([make()], truth))
    assert "1 of the split 'test'; 3 rows are left out: the labels put" in caught.value.message
    assert "a column split" in caught.value.hint


def test_contradicting_or_unknown_splits_are_refused():
    one = make(splits=["validation"] * 4)
    two = make("two", splits=["validation"] * 3 + ["test"])
    with pytest.raises(ProbabilityError, match=r"1 id in different splits: s \(validation and"):
        join_task([one, two], labels())
    with pytest.raises(ProbabilityError, match="has unknown splits: monday"):
        join_task([make(splits=["monday"] * 4)], labels())


def test_what_the_split_of_training_rows_means_is_said():
    # Out-of-fold rows of other programs are often called as the data call them.
    own, theirs = make(splits=["validation"] * 4), make("two", splits=["train"] * 4)
    with pytest.raises(ProbabilityError, match="4 ids in different splits") as caught:
        join_task([own, theirs], labels())
    assert "leave the column split out" in caught.value.hint
    with pytest.raises(ProbabilityError, match="no row to tune weights on") as caught:
        require_tuning_rows(join_task([theirs], labels()))
    assert "calls them 'validation'" in caught.value.hint


def test_a_test_row_that_one_model_learnt_from_is_scored_for_none():
    # A run before and one after the training copies of test images were dropped.
    splits = ["validation"] * 2 + ["test"]
    one, two = make(splits=[*splits, "train"]), make("two", splits=[*splits, "test"])
    truth = labels() | labels("rs", "ca", split="test")
    for tables in ([one, two], [two, one]):
        joined = join_task(tables, truth)
        assert joined.splits.tolist() == ["validation"] * 2 + ["test"] * 2
        assert joined.repeated.tolist() == [False] * 3 + [True]
        assert "1 row is answered, and not scored" in joined.notes[0]


def test_parts_of_one_models_rows_in_two_files_are_to_be_put_together():
    with pytest.raises(ProbabilityError, match="no id in common") as caught:
        join_task([make("oof"), make("test", "wxyz")], labels())
    assert "put both into one file" in caught.value.hint


def test_nothing_to_tune_on():
    with pytest.raises(ProbabilityError, match="tune weights on: 4 of the split 'test'"):
        require_tuning_rows(join_task([make(splits=["test"] * 4)], labels()))


def test_two_files_of_one_name():
    with pytest.raises(ProbabilityError, match="several tables are of a model of one name: one"):
        join_task([make(), make()], labels())


def test_tasks_are_joined_each_with_its_labels():
    tables = [make(), make(task="other"), make("two", task="other", seed=2)]
    samples = [
        *labels().values(),
        *(dataclasses.replace(s, task="other", label="b") for s in labels().values()),
    ]
    first, second = join_tasks(tables, samples)
    assert (first.task, first.models) == ("label", ("one",))
    assert (second.task, second.models, second.y.tolist()) == ("other", ("one", "two"), [1] * 4)
    with pytest.raises(ProbabilityError, match="no labels for the tasks other"):
        join_tasks(tables, [s for s in samples if s.task == "label"])


def test_the_name_of_an_only_task_need_not_agree():
    samples = [dataclasses.replace(s, task="breed") for s in labels().values()]
    assert join_tasks([make()], samples)[0].y.tolist() == [0, 1, 2, 0]


def test_the_remedy_for_other_names_is_to_write_them_alike():
    """With --align, classes written in capitals would be other classes, of probability 0."""
    half = np.full((2, 2), 0.5)
    one = ProbabilityTable(("a", "b"), ("cat", "dog"), half, model="one")
    capitals = ProbabilityTable(("a", "b"), ("Cat", "Dog"), half, model="two")
    with pytest.raises(
        ProbabilityError, match=r"(?s)look alike: 'Cat' and 'cat'.*spell each"
    ) as at:
        join_task([one, capitals], labels("ab", "ab"))
    assert "--align" not in at.value.hint
    for ids in (("a.jpg", "b.jpg"), ("train/a", "train/b"), ("x\\a.png", "y\\b.png")):
        other = ProbabilityTable(ids, ("cat", "dog"), half, model="two")
        with pytest.raises(ProbabilityError, match=r"(?s)no id in common.*folders, endings"):
            join_task([one, other], labels("ab", "ab"))
