import numpy as np
import pytest
import sklearn.metrics as reference

from icecore.ensemble.report import analysis
from icecore.manifest.table import Sample


def test_the_class_table_agrees_with_scikit_learn(builders):
    (table,), y = builders.probabilities(1, 150)
    top = table.argmax(axis=1)
    precision, recall, f1, rows = reference.precision_recall_fscore_support(y, top)
    found = analysis.class_table(y, table, builders.classes)
    assert [e["rows"] for e in found] == rows.tolist()
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert [e[name] for e in found] == pytest.approx(values.tolist())


def test_a_class_without_rows_or_predictions_has_no_values():
    found = analysis.class_table(np.array([0]), np.array([[0.9, 0.1]]), ("a", "b"))
    assert found[1] == dict(name="b", rows=0, recall=None, precision=None, f1=None, ap=None)


def test_the_confusion_matrix_agrees_with_scikit_learn(builders):
    (table,), y = builders.probabilities(1, 100)
    expected = reference.confusion_matrix(y, table.argmax(axis=1))
    assert np.array_equal(analysis.confusion_counts(y, table), expected)


def test_reliability_bins_hold_every_row_once(builders):
    (table,), y = builders.probabilities(1, 100)
    bins = analysis.reliability_bins(y, table)
    assert sum(e["rows"] for e in bins) == 100
    assert sum(e["rows"] * e["accuracy"] for e in bins) == pytest.approx(
        (table.argmax(axis=1) == y).sum()
    )


def test_confused_pairs_are_the_wrong_rows_most_confident_first(builders):
    (table,), y = builders.probabilities(1, 200, quality=[0.5])
    pairs = analysis.confused_pairs(y, table, most_rows=1000)
    assert sum(pair["count"] for pair in pairs) == (table.argmax(axis=1) != y).sum()
    assert [p["count"] for p in pairs] == sorted((p["count"] for p in pairs), reverse=True)
    for pair in pairs:
        assert len(pair["rows"]) == pair["count"]
        assert (y[pair["rows"]] == pair["true"]).all()
        sure = table[pair["rows"], pair["predicted"]]
        assert (np.diff(sure) <= 0).all()


def test_conflicting_labels_need_one_content_one_task_and_two_labels():
    def sample(name, label, digest="d", task="label"):
        return Sample(name, "", "train", task, label, "", digest)

    samples = [
        sample("a", "hat"),
        sample("b", "dress"),
        sample("c", "hat", "e"),
        sample("d", "hat", "e"),
        sample("e", "long", task="sleeve"),
        sample("f", "hat", ""),
        sample("g", "dress", ""),
    ]
    (group,) = analysis.conflicting_labels(samples)
    assert [s.id for s in group] == ["a", "b"]


def test_the_ternary_surface_has_its_corners_and_centre(builders):
    probabilities, y = builders.probabilities(3, 60)
    values = analysis.ternary_values(probabilities, y, "log_loss")
    steps = analysis.TERNARY_STEPS
    assert len(values) == (steps + 1) * (steps + 2) // 2
    assert values[0, steps, 0] == pytest.approx(-reference.log_loss(y, probabilities[1]))
    third = steps // 3
    mixed = probabilities.mean(axis=0)
    assert values[third, third, third] == pytest.approx(-reference.log_loss(y, mixed))
