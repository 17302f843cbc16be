import dataclasses
import html

import numpy as np
import pytest
from two_colours import draw_two_colours

import icecore
from icecore.core.columns import Columns
from icecore.core.errors import ArgumentError, CacheError, ManifestError, RunError
from icecore.manifest import Manifest


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Return a folder with a cache of two sets, a table of two tasks, and a run."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    keys = [f"{number:064x}" for number in range(60)]
    y = np.arange(60) % 3
    cache = icecore.FeatureCache.create(folder / "cache")
    for name, width in (("onnx:a", 4), ("onnx:b", 6)):
        rows = rng.normal(size=(60, width)) + 2 * np.eye(3)[y] @ rng.normal(size=(3, width))
        cache.open_set({"backbone": {"spec": name}}, name, width).append(keys, rows)
    lines = ["id,path,split,task,label,digest"]
    for number, key in enumerate([*keys, "f" * 64]):
        split = ("train", "test")[number % 4 == 0]
        for task, names in (("sleeve", "abc"), ("skirt", "xyz")):
            label = "" if split == "test" else names[number % 3]
            lines.append(f"{number}.jpg,{number}.jpg,{split},{task},{label},{key}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    icecore.train(
        folder / "cache",
        folder / "data.csv",
        folder / "run",
        icecore.TrainOptions(folds=3, heads=["logistic", "ridge"], allow_missing=True),
    )
    return folder


def test_arrays_of_a_task_and_a_split_are_the_rows_of_the_cache(work):
    cache = icecore.FeatureCache(work / "cache")
    found = icecore.load_features(work / "cache", work / "data.csv", "skirt", "train")
    X, y, ids = found
    assert X is found.X
    assert X.shape == (45, 10)
    assert "0.jpg" not in ids
    # 60.jpg has no features.
    assert "60.jpg" not in ids
    keys = [f"{int(name[:-4]):064x}" for name in ids]
    assert np.array_equal(X, cache.matrix(["onnx:a", "onnx:b"], keys))
    assert y.tolist() == ["xyz"[int(name[:-4]) % 3] for name in ids]
    only = icecore.load_features(work / "cache", work / "data.csv", "skirt", features="onnx:b")
    assert only.X.shape == (60, 6)
    assert set(only.y[np.isin(only.ids, ["0.jpg", "4.jpg"])]) == {""}


def test_boxes_that_were_changed_since_the_extraction_are_said(tmp_path, tiny_onnx):
    # The rows of the earlier boxes were taken without a word.
    photos = draw_two_colours(tmp_path / "photos", 2)
    table = tmp_path / "table.csv"

    def write(box):
        names = sorted(path.relative_to(tmp_path) for path in photos.glob("*/*.png"))
        lines = [f"{name},{name.parts[1]},{box}" for name in names]
        table.write_text("\n".join(["path,label,box", *lines]))
        return table

    spec, cache = [f"onnx:{tiny_onnx}"], tmp_path / "cache"
    icecore.extract(write("0 0 9 9"), cache, spec)
    first = icecore.load_features(cache, table).X
    write("9 9 19 19")
    with pytest.raises(ManifestError, match=r"4 images of .*table.csv have other boxes") as error:
        icecore.load_features(cache, table)
    kept = cache / "manifests" / "table.csv"
    assert str(kept) in error.value.hint
    assert np.array_equal(icecore.load_features(cache, kept).X, first)
    icecore.extract(table, cache, spec)
    assert not np.array_equal(icecore.load_features(cache, table).X, first)


def test_a_manifest_by_hand_is_not_of_the_folder_one_is_in(tmp_path, tiny_onnx, monkeypatch):
    # Its boxes were given to the images of that folder, by their ids, without a word.
    photos = draw_two_colours(tmp_path / "photos", 2)
    monkeypatch.chdir(photos)
    spec, cache = [f"onnx:{tiny_onnx}"], tmp_path / "cache"
    whole = icecore.read_manifest(photos)
    icecore.extract(photos, cache, spec)
    first = icecore.load_features(cache, photos).X
    boxed = [dataclasses.replace(one, box="0 0 9 9") for one in whole]
    icecore.extract(Manifest(tuple(boxed)), cache, spec)
    assert np.array_equal(icecore.load_features(cache, photos).X, first)
    assert np.array_equal(icecore.load_features(cache, Manifest(whole.samples)).X, first)
    assert sorted(path.name for path in (cache / "manifests").glob("*.csv")) == [
        "by-hand.csv",
        "photos.csv",
    ]


def test_what_there_is_not_is_said_with_what_there_is(work):
    cache, data = work / "cache", work / "data.csv"
    with pytest.raises(ManifestError, match=r"has 2 tasks\n  name one of: sleeve, skirt"):
        icecore.load_features(cache, data)
    with pytest.raises(ManifestError, match="no task 'hem'"):
        icecore.load_features(cache, data, "hem")
    with pytest.raises(ManifestError, match="split 'validation'"):
        icecore.load_features(cache, data, "skirt", "validation")
    icecore.FeatureCache.create(work / "empty")
    with pytest.raises(CacheError, match="no image of .* has features"):
        icecore.load_features(work / "empty", data, "skirt")


def test_a_run_has_a_leaderboard_and_predictions(work):
    pandas = pytest.importorskip("pandas", reason="compares with pandas")
    run = icecore.open_run(work / "run")
    board = pandas.DataFrame(run.leaderboard())
    assert board.groupby("task").log_loss.is_monotonic_increasing.all()
    first = board[board.task == "sleeve"].model.iloc[0]
    found = pandas.DataFrame(run.predictions("sleeve"))
    table = run.probabilities("sleeve", first)
    assert found.columns[:4].tolist() == ["id", "split", "label", "predicted"]
    assert np.array_equal(found.iloc[:, 4:].to_numpy(), table.probabilities)
    known = found[found.label != ""]
    score = run.about["tasks"]["sleeve"]["scores"][first]["accuracy"]
    assert (known.label == known.predicted).mean() == pytest.approx(score)
    with pytest.raises(RunError, match="has no model 'mlp'"):
        run.predictions("sleeve", "mlp")


def test_columns_show_themselves_and_speak_arrow():
    columns = Columns({"id": [f"<{number}>" for number in range(30)], "x": [0.5, None] * 15})
    assert repr(columns).splitlines()[1] == "<0>   0.5000"
    assert "... 30 rows" in repr(columns)
    page = columns._repr_html_()
    assert html.escape("<19>") in page
    assert html.escape("<20>") not in page
    assert repr(Columns()) == ""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    assert pyarrow.table(columns).to_pydict() == columns


def test_features_and_labels_are_one_table_for_pandas_and_polars(work):
    table = icecore.load_features(work / "cache", work / "data.csv", "skirt", "train")
    assert repr(table).startswith("FeatureTable of 45 rows: X (45, 10) float32")
    pandas = pytest.importorskip("pandas", reason="makes tables of columns")
    frame = pandas.DataFrame(table.columns())
    assert frame.columns[:3].tolist() == ["id", "label", "f0"]
    assert (frame.loc[:, "f0":].to_numpy() == table.X).all()
    assert (frame["label"] == table.y).all()


def test_tasks_and_models_that_a_run_has_not_are_named(work):
    # Each was a KeyError, or a file to write again.
    run = icecore.open_run(work / "run")
    for ask in (run.routes, lambda task: run.probabilities(task, "ridge-a+b"), run.predictions):
        with pytest.raises(RunError, match="has no task 'hem'"):
            ask("hem")
    with pytest.raises(RunError, match="has no model of 'skirt' 'oak'"):
        run.probabilities("skirt", "oak")
    with pytest.raises(ArgumentError, match="task="):
        run.predictions(["skirt"])
    with pytest.raises(ManifestError, match="has no task 'hem'"):
        run.samples().select("hem")
