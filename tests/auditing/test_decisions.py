from __future__ import annotations

import pytest

from icecore.auditing import apply_decisions
from icecore.core.csv_files import write_csv
from icecore.core.errors import ManifestError
from icecore.manifest import Manifest, Sample

TABLE = Manifest(
    (
        Sample("a.jpg", "/d/a.jpg", "train", "kind", "hat"),
        Sample("a.jpg", "/d/a.jpg", "train", "length", "0", "yn"),
        Sample("b.jpg", "/d/b.jpg", "train", "kind", "dress"),
        Sample("b.jpg", "/d/b.jpg", "test", "length", "1", "ny"),
        Sample("c.jpg", "/d/c.jpg", "train", "kind", "dress"),
    ),
    "table.csv",
)


def decided(tmp_path, *lines, table=TABLE):
    path = tmp_path / "decisions.csv"
    write_csv(path, [("id", "task", "action"), *lines])
    return apply_decisions(table, path)


def test_rows_are_dropped_relabelled_and_moved_and_the_rest_is_as_it_was(tmp_path):
    table, counts = decided(
        tmp_path,
        ("a.jpg", "", "drop"),
        ("b.jpg", "kind", "relabel: hat"),
        ("b.jpg", "kind", "split:VAL"),
        ("c.jpg", "kind", "keep"),
        ("c.jpg", "", ""),
    )
    assert counts == {"dropped": 2, "doubted": 0, "relabelled": 1, "moved": 1}
    assert [(s.id, s.task, s.label, s.split) for s in table] == [
        ("b.jpg", "kind", "hat", "validation"),
        ("b.jpg", "length", "1", "test"),
        ("c.jpg", "kind", "dress", "train"),
    ]
    assert TABLE.samples[2].label == "dress"


def test_a_class_may_end_with_a_colon(tmp_path):
    rows = [Sample(f"{name}.jpg", "", "train", label=name) for name in ("hat:", "hat")]
    table, _ = decided(tmp_path, ("hat.jpg", "", "relabel:hat:"), table=Manifest(tuple(rows), "t"))
    assert [sample.label for sample in table] == ["hat:", "hat:"]


def test_a_new_label_moves_the_letters(tmp_path):
    classes = TABLE.classes("length")
    table, _ = decided(tmp_path, ("a.jpg", "length", f"relabel:{classes[1]}"))
    (row,) = [s for s in table if (s.id, s.task) == ("a.jpg", "length")]
    assert (row.label, row.letters) == (classes[1], "ny")


def test_every_faulty_line_is_named_and_nothing_is_done(tmp_path):
    with pytest.raises(ManifestError) as caught:
        decided(
            tmp_path,
            ("z.jpg", "", "drop"),
            ("a.jpg", "colour", "drop"),
            ("a.jpg", "kind", "relabel:skirt"),
            ("a.jpg", "kind", "remove"),
            ("b.jpg", "kind", "split:somewhere"),
            ("c.jpg", "kind", "relabel:hat"),
            ("c.jpg", "", "relabel:dress"),
        )
    assert caught.value.message.startswith("7 lines of ") or "6 lines" in caught.value.message
    for part in (
        "line 2 names z.jpg",
        "line 3",
        "'skirt', which is no class",
        "'remove'",
        "'split:somewhere'",
        "line 8 says relabel:dress of c.jpg, after relabel:hat",
    ):
        assert part in str(caught.value), part  # fmt: skip


def test_a_table_that_drops_everything_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="drops every image"):
        decided(tmp_path, *((name, "", "drop") for name in ("a.jpg", "b.jpg", "c.jpg")))


def test_a_table_without_actions_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,label\na.jpg,hat\n")
    with pytest.raises(ManifestError, match="it needs id, task and action"):
        apply_decisions(TABLE, path)
