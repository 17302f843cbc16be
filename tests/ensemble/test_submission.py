import csv

import numpy as np
import pytest

from icecore.core.errors import MissingDependencyError, ProbabilityError
from icecore.ensemble import BlendOptions, blend_run, final_tables, read_tables, write_final
from icecore.runs import ProbabilityTable


def test_test_rows_are_what_is_handed_in(run):
    result = blend_run(run, BlendOptions(honest=False), write=False)
    (table,) = final_tables(result)
    assert len(table.ids) == 40
    assert set(table.splits) == {"test"}
    assert table.probabilities == pytest.approx(result.tasks[0].table()[80:])
    (whole,) = final_tables(result, rows="all")
    assert len(whole.ids) == 120


def test_the_average_and_the_recommended_answer(run):
    result = blend_run(run, write=False)
    (average,) = final_tables(result, "average")
    assert average.probabilities == pytest.approx(
        result.tasks[0].data.probabilities[:, 80:].mean(axis=0)
    )
    (recommended,) = final_tables(result, "recommended")
    assert recommended.probabilities == pytest.approx(result.tasks[0].table()[80:])
    with pytest.raises(ProbabilityError, match="unknown answer 'best'"):
        final_tables(result, "best")


@pytest.mark.parametrize("form", ["csv", "npz", "h5"])
def test_plain_formats_can_be_read_back(run, tmp_path, form):
    (table,) = final_tables(blend_run(run, BlendOptions(honest=False), write=False))
    write_final(tmp_path / f"final.{form}", [table], form)
    (back,) = read_tables(tmp_path / f"final.{form}")
    assert back.ids == table.ids
    assert back.probabilities == pytest.approx(table.probabilities)


def test_parquet_can_be_read_back_or_says_what_is_missing(run, tmp_path):
    (table,) = final_tables(blend_run(run, BlendOptions(honest=False), write=False))
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
            write_final(tmp_path / "final.parquet", [table], "parquet")
        return
    write_final(tmp_path / "final.parquet", [table], "parquet")
    (back,) = read_tables(tmp_path / "final.parquet")
    assert back.probabilities == pytest.approx(table.probabilities)


def test_a_kaggle_submission(run, tmp_path):
    (table,) = final_tables(blend_run(run, BlendOptions(honest=False), write=False))
    write_final(tmp_path / "out.csv", [table], "kaggle")
    rows = list(csv.reader((tmp_path / "out.csv").open()))
    assert rows[0] == ["id", *table.classes]
    assert rows[1][0] == "080"
    assert np.array(rows[1][1:], float) == pytest.approx(table.probabilities[0], rel=1e-5)


def test_kaggle_ids_must_stay_unique(tmp_path):
    table = ProbabilityTable(("a/1.jpg", "b/1.jpg"), ("x", "y"), np.full((2, 2), 0.5))
    with pytest.raises(ProbabilityError, match=r"1 ids are no longer unique .*: 1"):
        write_final(tmp_path / "out.csv", [table], "kaggle")
    assert not list(tmp_path.iterdir())


def test_a_fashionai_submission_holds_all_tasks_in_letter_order(tmp_path):
    names = ("Full", "Cropped", "3/4", "Mid", "Short", "Invisible")
    row = np.array([[0.5, 0.2, 0.1, 0.1, 0.06, 0.04]])
    tables = [
        ProbabilityTable(("Images/p.jpg",), names, row, task="pant_length_labels"),
        ProbabilityTable(("Images/o.jpg",), ("n", "m"), row[:, :2] / 0.7, task="other_labels"),
    ]
    write_final(tmp_path / "out.csv", tables, "fashionai")
    assert (tmp_path / "out.csv").read_text() == (
        "Images/p.jpg,pant_length_labels,0.0400;0.0600;0.1000;0.1000;0.2000;0.5000\n"
        "Images/o.jpg,other_labels,0.7143;0.2857\n"
    )
    assert [t.task for t in read_tables(tmp_path / "out.csv")] == [t.task for t in tables]
    with pytest.raises(ProbabilityError, match="the format kaggle holds one task, there are 2"):
        write_final(tmp_path / "out.csv", tables, "kaggle")
    with pytest.raises(ProbabilityError, match="unknown format 'xls'"):
        write_final(tmp_path / "out.csv", tables, "xls")
