import dataclasses

import numpy as np
import pytest

from icecore.core.errors import ProbabilityError
from icecore.ensemble import join_task
from icecore.ensemble.joining.join import require_tuning_rows
from icecore.manifest import Sample
from icecore.runs import ProbabilityTable

IDS = ("t1", "v1", "v2", "v3", "e1", "e2", "e3")
SPLITS = ("train", "validation", "validation", "validation", "test", "test", "test")
DIGESTS = ("A", "B", "C", "C", "B", "D", "A")


def samples(digests=DIGESTS):
    return {
        i: Sample(i, "", split, label="xy"[n % 2], digest=digest)
        for n, (i, split, digest) in enumerate(zip(IDS, SPLITS, digests))
    }


def table(ids, splits):
    probabilities = np.random.default_rng(0).dirichlet([1, 1], len(ids))
    return ProbabilityTable(tuple(ids), ("x", "y"), probabilities, tuple(splits), "one")


def test_test_rows_that_were_trained_or_tuned_on_are_named_and_not_scored():
    # The training row is in no file: the models learnt from it.
    data = join_task([table(IDS[1:], SPLITS[1:])], samples())
    assert data.ids == IDS[1:]
    assert [data.ids[r] for r in data.rows("test")] == ["e2"]
    assert [data.ids[r] for r in data.rows("validation")] == ["v1", "v2", "v3"]
    assert any(
        note.startswith("2 rows show images that an earlier split has")
        and "e1 = v1, e3 = t1" in note
        for note in data.notes
    )
    # Boxes of one photograph are one image, though each has a digest of its own.
    boxed = {
        i: dataclasses.replace(one, digest=f"{n}", box=f"0 0 9 {n + 1}", file_digest=one.digest)
        for n, (i, one) in enumerate(samples().items())
    }
    again = join_task([table(IDS[1:], SPLITS[1:])], boxed)
    assert again.notes == data.notes
    assert np.array_equal(again.images_of(np.arange(6)), data.images_of(np.arange(6)))
    images = data.images_of(np.arange(6))
    assert images[1] == images[2], "v2 and v3 are one image"
    assert images[0] == images[3]
    assert len(set(images.tolist())) == 4


def test_training_rows_predicted_out_of_fold_are_tuning_rows():
    oof = ("validation",) * 4 + ("test",) * 3
    data = join_task([table(IDS, oof)], samples())
    assert [data.ids[r] for r in data.rows("validation")] == ["t1", "v1", "v2", "v3"]
    assert [data.ids[r] for r in data.rows("test")] == ["e2"]


def test_a_copy_in_the_test_split_is_answered_not_scored_and_takes_no_tuning_row_away():
    # As `train` writes it: a held-out row whose image heads know is called a training row.
    oof = ("validation",) * 4 + ("train", "test", "train")
    data = join_task([table(IDS, oof)], samples())
    assert [data.ids[r] for r in data.rows("validation")] == ["t1", "v1", "v2", "v3"]
    assert [data.ids[r] for r in data.rows("test")] == ["e2"]
    assert data.ids == IDS
    assert data.splits.tolist() == ["validation"] * 4 + ["test"] * 3
    assert data.notes == (
        "2 rows are answered, and not scored: models were trained on the same images (e1, e3)",
    )
    # What is to be tuned on needs no answer.
    held = ("train", "train", "validation", "validation", "train", "test", "test")
    data = join_task([table(IDS, held)], samples(("A", "A", "C", "D", "E", "F", "G")))
    assert data.ids == IDS[2:]
    assert [data.ids[r] for r in data.rows("test")] == ["e2", "e3"], "not scored without digests"
    assert data.notes[0] == ("2 rows are left out: models were trained on the same images (t1, v1)")


def test_without_digests_every_row_counts():
    plain = {i: dataclasses.replace(s, digest="") for i, s in samples().items()}
    data = join_task([table(IDS[1:], SPLITS[1:])], plain)
    assert len(data.rows("test")) == 3
    assert len(set(data.images_of(np.arange(6)).tolist())) == 6


def test_tuning_rows_that_are_all_trained_on_are_refused():
    with pytest.raises(ProbabilityError, match="images that no model was trained on"):
        require_tuning_rows(join_task([table(IDS[1:], SPLITS[1:])], samples(("A",) * 7)))
