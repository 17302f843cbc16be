import numpy as np
import pytest

from icecore.core.errors import MissingDependencyError, MissingFileError, ProbabilityError
from icecore.ensemble import BlendOptions, blend_sources, read_tables
from icecore.runs import ProbabilityTable, write_probabilities

FASHIONAI = (
    "Images/a/1.jpg,coat_length_labels,0.0000;0.0000;0.0000;0.0000;0.0000;0.0005;0.9993;0.0001\n"
    "Images/b/1.jpg,rib_labels,0.25;0.75\n"
    "Images/a/2.jpg,coat_length_labels,1;0;0;0;0;0;0;0\n"
)


def test_a_fashionai_submission_has_a_table_for_each_task(tmp_path):
    (tmp_path / "team.csv").write_text(FASHIONAI)
    coat, rib = read_tables(tmp_path / "team.csv")
    assert (coat.task, coat.model, coat.ids) == (
        "coat_length_labels",
        "team",
        ("Images/a/1.jpg", "Images/a/2.jpg"),
    )
    assert coat.classes[6] == "Midi"
    assert coat.probabilities[0, 6] == 0.9993
    assert rib.classes == ("0", "1")


@pytest.mark.parametrize("header", ["ImageName,AttrKey,AttrValueProbs", "image_id,attribute,p"])
def test_a_header_of_a_submission_is_passed_over(tmp_path, header):
    (tmp_path / "team.csv").write_text(f"{header}\n{FASHIONAI}")
    assert [table.ids[0] for table in read_tables(tmp_path / "team.csv")] == [
        "Images/a/1.jpg",
        "Images/b/1.jpg",
    ]
    (tmp_path / "team.csv").write_text(f"Bild,Attribut,p\n{FASHIONAI}")
    with pytest.raises(ProbabilityError, match="1 line .*line 1 is Bild,Attribut,p"):
        read_tables(tmp_path / "team.csv")


def test_classes_that_are_called_like_tasks_are_no_tasks(tmp_path):
    (tmp_path / "m.csv").write_text("id,shirt,shirt:long,shirt:wide\na,.2,.2,.6\nb,1,0,0\n")
    (table,) = read_tables(tmp_path / "m.csv")
    assert table.classes == ("shirt", "shirt:long", "shirt:wide")
    assert table.probabilities.tolist() == [[0.2, 0.2, 0.6], [1, 0, 0]]
    # A task beside one whose name begins with its own.
    (tmp_path / "m.csv").write_text("id,a,a:x,a:y,a:b,a:b:x,a:b:=z\n1,y,0,1,'=z,.5,.5\n")
    assert [(t.task, t.classes) for t in read_tables(tmp_path / "m.csv")] == [
        ("a", ("x", "y")),
        ("a:b", ("x", "=z")),
    ]


def test_faulty_lines_of_a_submission_are_named_together(tmp_path):
    path = tmp_path / "team.csv"
    path.write_text("i,t_labels,0.5;0.5\nj,t_labels,0.5;0.2;0.3\nk,t_labels,0.5;x\nl\n")
    with pytest.raises(ProbabilityError) as caught:
        read_tables(path)
    for words in (
        "3 lines of",
        "line 2 has 3 numbers, not 2",
        "line 3 has 'x', which is not a number",
        "line 4 is l",
    ):
        assert words in str(caught.value)


def test_a_kaggle_submission(tmp_path):
    (tmp_path / "dogs.csv").write_text("id,affenpinscher,afghan_hound\nab12,0.25,0.75\n")
    (table,) = read_tables(tmp_path / "dogs.csv")
    assert (table.ids, table.classes) == (("ab12",), ("affenpinscher", "afghan_hound"))


def raw(tmp_path, suffix, numbers):
    """Write numbers that need not be probabilities."""
    path = tmp_path / f"m{suffix}"
    ids, classes = [f"i{n}" for n in range(len(numbers))], ["a", "b"]
    if suffix == ".npz":
        np.savez(path, ids=ids, classes=classes, probabilities=numbers)
    elif suffix == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["probabilities"] = numbers
            for name, values in (("ids", ids), ("classes", classes)):
                file.create_dataset(name, data=values, dtype=h5py.string_dtype())
    else:
        lines = [f"{i},{','.join(map(str, row))}" for i, row in zip(ids, numbers)]
        path.write_text("\n".join(["id,a,b", *lines]))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".h5"])
def test_mending_happens_only_on_request(tmp_path, suffix):
    path = raw(tmp_path, suffix, np.array([[1.0, 3.0], [0.2, 0.2]]))
    with pytest.raises(ProbabilityError, match="logits"):
        read_tables(path)
    (table,) = read_tables(path, "renormalise")
    assert table.probabilities.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    (table,) = read_tables(path, "softmax")
    assert table.probabilities[0] == pytest.approx(np.exp([1, 3]) / np.exp([1, 3]).sum())


@pytest.mark.parametrize("row", [[-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_what_cannot_be_mended_is_named(tmp_path, row):
    path = raw(tmp_path, ".npz", np.array([[0.5, 0.5], row]))
    with pytest.raises(ProbabilityError, match="1 row cannot be divided by their sum, ids i1"):
        read_tables(path, "renormalise")


def test_other_refusals(tmp_path):
    with pytest.raises(MissingFileError, match="is not there"):
        read_tables(tmp_path / "none.csv")
    (tmp_path / "x.txt").write_text("a")
    with pytest.raises(ProbabilityError, match=r"has the ending '.txt'"):
        read_tables(tmp_path / "x.txt", "softmax")
    with pytest.raises(ProbabilityError, match="unknown way to mend rows 'guess'"):
        read_tables(tmp_path / "x.npz", "guess")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow", exc_type=ImportError)
    import pyarrow.parquet as parquet

    path = tmp_path / "m.parquet"
    parquet.write_table(pyarrow.table({"b": [0.25], "id": ["i"], "a": [0.75]}), path)
    (table,) = read_tables(path)
    assert (table.ids, table.classes) == (("i",), ("b", "a"))
    assert table.probabilities.tolist() == [[0.25, 0.75]]
    path.write_bytes(b"PAR1 no")
    with pytest.raises(ProbabilityError, match="not readable Parquet"):
        read_tables(path)


def test_parquet_without_pyarrow_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        read_tables(tmp_path / "m.parquet")


def test_heads_of_one_name_from_two_runs_are_told_apart(tmp_path, builders):
    probabilities, y = builders.probabilities(2, 30)
    ids = tuple(f"i{n}" for n in range(30))
    paths = []
    for number, table in enumerate(probabilities):
        paths.append(tmp_path / f"run{number}/label/probabilities/mlp-all.npz")
        write_probabilities(paths[-1], ProbabilityTable(ids, builders.classes, table))
    labels = "".join(f"{i},{builders.classes[c]}\n" for i, c in zip(ids, y))
    (tmp_path / "labels.csv").write_text("id,label\n" + labels)
    (task,) = blend_sources(paths, tmp_path / "labels.csv", BlendOptions(honest=False)).tasks
    assert list(task.weights) == ["run0/mlp-all", "run1/mlp-all"]
    with pytest.raises(ProbabilityError, match="are of a model of one name, or given twice"):
        blend_sources([paths[0], paths[0]], tmp_path / "labels.csv")


def test_submissions_of_several_teams_are_blended(tmp_path, builders):
    lines, letters = {"one": [], "two": []}, []
    for task, width in (("pant_length_labels", 6), ("collar_design_labels", 5)):
        probabilities, y = builders.probabilities(2, 40, width)
        for n in range(40):
            row = "".join("y" if c == y[n] else "n" for c in range(width))
            letters.append(f"Images/{task}/{n}.jpg,{task},{row}")
            for team, table in zip(lines, probabilities):
                text = ";".join(f"{p:.4f}" for p in table[n])
                lines[team].append(f"Images/{task}/{n}.jpg,{task},{text}")
    # The teams' rows stand in different orders.
    lines["two"].reverse()
    for team, rows in lines.items():
        (tmp_path / f"{team}.csv").write_text("\n".join(rows))
    (tmp_path / "label.csv").write_text("\n".join(letters))
    paths = [tmp_path / f"{team}.csv" for team in lines]
    result = blend_sources(
        paths, tmp_path / "label.csv", BlendOptions("fashionai_ap", honest=False)
    )
    assert [task.task for task in result.tasks] == ["pant_length_labels", "collar_design_labels"]
    for task in result.tasks:
        assert list(task.weights) == ["one", "two"]
        scores = task.scores["tuned"]["tuning"]["fashionai_ap"]
        assert scores >= max(s["tuning"]["fashionai_ap"] for s in task.models.values())


def test_models_of_one_name_in_one_folder_are_called_as_their_files(tmp_path, builders):
    # The name is in the file: to call the file otherwise was advised, and did not help.
    probabilities, y = builders.probabilities(2, 30)
    ids = tuple(f"i{n}" for n in range(30))
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path, rows in zip(paths, probabilities):
        write_probabilities(path, ProbabilityTable(ids, builders.classes, rows, model="net"))
    labels = "".join(f"{i},{builders.classes[c]}\n" for i, c in zip(ids, y))
    (tmp_path / "labels.csv").write_text("id,label\n" + labels)
    (task,) = blend_sources(paths, tmp_path / "labels.csv", BlendOptions(honest=False)).tasks
    assert list(task.weights) == ["one.npz", "two.npz"]
