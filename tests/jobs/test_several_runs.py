"""One answer of several runs: blended by id, predicted through all of them, and bundled."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from icecore import jobs
from icecore.core.errors import HeadError, RunError
from icecore.ensemble import load_saved
from icecore.ensemble.saved import sealed
from icecore.runs import read_probabilities

HEADS = jobs.TrainOptions(heads=["logistic", "ridge"])


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_tiny_onnx):
    """Photographs of three colours, and runs on three networks; the third was given boxes."""
    root, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        for label, colour in {"blue": (40, 60, 200), "red": (200, 50, 50)}.items():
            folder = root / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.normal(0, 80, (48, 40, 3)) + np.array(colour)
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    images = sorted((root / "photos").rglob("*.png"))
    boxes = [f"{path.relative_to(root / 'photos').as_posix()},4,4,36,40" for path in images]
    (root / "boxes.csv").write_text("\n".join(["path,x0,y0,x1,y1", *boxes]) + "\n")
    for seed, name in enumerate(("first", "second", "cut")):
        net = write_tiny_onnx(root / f"net{seed}.onnx", seed=seed)
        how = jobs.ExtractOptions(boxes=root / "boxes.csv" if name == "cut" else None)
        jobs.extract(root / "photos", root / f"cache-{name}", [f"onnx:{net}"], how)
        jobs.train(root / f"cache-{name}", root / "photos", root / name, HEADS)
    return root


def blend(place, *names, **outputs):
    options = jobs.BlendOptions(honest=False, calibrate=False)
    runs = [place / name for name in names]
    return jobs.blend(runs, None, options, jobs.BlendOutputs(**outputs))


def answers(path):
    return {row["id"]: row for row in csv.DictReader(path.open())}


def test_predict_goes_through_all_runs_with_boxes_for_those_that_know_them(place, tmp_path):
    report = blend(place, "first", "cut", answer="average")
    assert report.files == (place / "first/report.html", place / "first/blend.json")
    with pytest.raises(RunError, match="cut was trained on boxes"):
        jobs.predict(place / "first", place / "photos", tmp_path / "a.csv")
    options = jobs.PredictOptions(boxes=place / "boxes.csv")
    found = jobs.predict(place / "first", place / "photos", tmp_path / "a.csv", options)
    assert found.answers == {"label": "the plain average"}
    assert found.boxed == found.images == 30
    predicted = answers(tmp_path / "a.csv")
    tables = [
        read_probabilities(place / run / f"label/probabilities/{head}.npz")
        for run, head in (
            ("first", "logistic-net0"), ("first", "ridge-net0"),
            ("cut", "logistic-net2"), ("cut", "ridge-net2"),
        )
    ]  # fmt: skip
    tests = [i for i, split in enumerate(tables[0].splits) if split == "test"]
    for row in tests:
        expected = np.mean([table.probabilities[row] for table in tables], axis=0)
        own = predicted[tables[0].ids[row]]
        np.testing.assert_allclose([float(own["blue"]), float(own["red"])], expected, atol=2e-3)


def test_what_predict_uses_is_what_was_saved_last(place, tmp_path):
    blend(place, "second", answer="average")
    before = (place / "second/blend.json").read_bytes()
    looked = blend(place, "second", answer="tuned", save=False)
    assert looked.files == ()
    assert (place / "second/blend.json").read_bytes() == before
    assert load_saved(place / "second").answer == "average"
    blend(place, "second", answer="tuned")
    found = jobs.predict(place / "second", place / "photos/test", tmp_path / "a.csv")
    assert found.answers == {"label": "the tuned weights"}


def test_networks_without_weight_are_not_computed(place, tmp_path):
    report = blend(place, "first", "second", answer="tuned")
    content = json.loads((place / "first/blend.json").read_text())
    for answer in content["tasks"][0]["answers"].values():
        answer["weights"] = dict.fromkeys(answer["weights"], 0.0) | {"second/ridge-net1": 1.0}
    (place / "first/blend.json").write_text(json.dumps(sealed(content)))
    options = jobs.PredictOptions(cache=tmp_path / "cache")
    jobs.predict(place / "first", place / "photos/test", tmp_path / "a.csv", options)
    from icecore import FeatureCache

    assert [one.name for one in FeatureCache(tmp_path / "cache").sets()] == ["onnx:net1.onnx"]
    assert report.result.runs.keys() == {"first", "second"}


def test_a_bundle_holds_the_networks_of_all_runs(place, tmp_path):
    pytest.importorskip("onnxruntime")
    blend(place, "first", "second", answer="average")
    found = jobs.bundle(place / "first", tmp_path / "m.onnx")
    assert found["answers"] == {"label": "the plain average"}
    assert len(found["inputs"]) >= 1


def test_files_from_elsewhere_cannot_predict(place, tmp_path):
    table = read_probabilities(place / "second/label/probabilities/ridge-net1.npz")
    rows = [f"{i},{p[0]},{p[1]}" for i, p in zip(table.ids, table.probabilities)]
    (tmp_path / "theirs.csv").write_text("\n".join(["id,blue,red", *rows]) + "\n")
    options = jobs.BlendOptions(honest=False)
    sources = [place / "second", tmp_path / "theirs.csv"]
    jobs.blend(sources, None, options, jobs.BlendOutputs(answer="average"))
    with pytest.raises(RunError, match="gives weight to files from elsewhere.*: theirs"):
        jobs.predict(place / "second", place / "photos/test", tmp_path / "a.csv")


def test_a_foreign_classifier_is_refused_before_its_features_are_computed(
    place, tmp_path, monkeypatch
):
    pytest.importorskip("skops.io")
    foreign = jobs.TrainOptions(heads=("sklearn.naive_bayes:GaussianNB",))
    jobs.train(place / "cache-first", place / "photos", tmp_path / "run", foreign)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of-somebody-else"))
    options = jobs.PredictOptions(cache=tmp_path / "kept")
    with pytest.raises(HeadError, match="estimator.skops was written elsewhere"):
        jobs.predict(tmp_path / "run", place / "photos", tmp_path / "a.csv", options)
    assert not (tmp_path / "kept").exists()
