"""A run trained on features that were computed in half precision: predict and bundle follow."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from icecore import jobs
from icecore.cache import FeatureCache
from icecore.core.errors import BackboneError, IcecoreError
from icecore.features.engines.choose import ENGINES

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_onnx):
    if "bf16" not in ENGINES["openvino"].able("cpu"):
        pytest.skip("needs OpenVINO and a CPU that computes in bf16")
    folder = tmp_path_factory.mktemp("halves")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4), ("new", 2)):
        for label, tint in COLOURS.items():
            place = folder / ("new" if split == "new" else f"photos/{split}") / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(-40, 40, (40, 40, 3)) + np.array(tint)
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(place / f"{number}.png")
    report = jobs.extract(
        folder / "photos",
        folder / "cache",
        [f"onnx:{tiny_onnx}"],
        jobs.ExtractOptions(precision_compute="bf16"),
    )
    jobs.train(folder / "cache", folder / "photos", folder / "run")
    return folder, report


def answers(path):
    rows = list(csv.DictReader(open(path)))
    return np.array([[float(row[name]) for name in sorted(COLOURS)] for row in rows])


def test_predict_computes_as_the_run_was_trained(trained, tmp_path):
    folder, report = trained
    jobs.predict(
        folder / "run",
        folder / "new",
        tmp_path / "a.csv",
        jobs.PredictOptions(cache=tmp_path / "kept"),
    )
    (kept,) = FeatureCache(tmp_path / "kept").sets()
    assert kept.fingerprint == report.sets[0]["fingerprint"]
    assert kept.record["compute_precision"] == "bf16"


def test_predict_computes_in_another_precision_where_it_is_told_to(trained, tmp_path):
    folder, _ = trained
    jobs.predict(folder / "run", folder / "new", tmp_path / "a.csv")
    jobs.predict(
        folder / "run", folder / "new", tmp_path / "b.csv",
        jobs.PredictOptions(
            precision_compute="f32", engine="onnxruntime", cache=tmp_path / "kept"
        ),
    )  # fmt: skip
    (kept,) = FeatureCache(tmp_path / "kept").sets()
    assert kept.record["compute_precision"] == "f32"
    one, other = answers(tmp_path / "a.csv"), answers(tmp_path / "b.csv")
    assert len(one) == 6
    np.testing.assert_allclose(one, other, atol=0.05)
    assert not np.array_equal(one, other), "half precision shows in the sixth digit"


def test_predict_says_what_to_do_where_the_precision_cannot_be_had(trained, tmp_path):
    folder, _ = trained
    with pytest.raises(BackboneError, match=r"(?s)does not compute in bf16.*--precision-compute"):
        jobs.predict(
            folder / "run",
            folder / "new",
            tmp_path / "a.csv",
            jobs.PredictOptions(engine="onnxruntime"),
        )
    assert not (tmp_path / "a.csv").exists()


def test_a_bundle_computes_in_float32(trained, tmp_path):
    import onnxruntime

    from icecore.features.images.decode import decode
    from icecore.features.images.fit import fit_image
    from icecore.features.records.record import BackboneRecord

    folder, _ = trained
    found = jobs.bundle(folder / "run", tmp_path / "m.onnx")
    assert found["trained_on"] == {"compute_precision": "bf16", "precision": "float16"}
    jobs.predict(folder / "run", folder / "new", tmp_path / "a.csv")
    record = json.loads((folder / "run" / "run.json").read_text())["backbones"][0]["record"]
    backbone = BackboneRecord.from_dict(record["backbone"])
    files = sorted((folder / "new").glob("*/*.png"))
    squares = np.stack(
        [fit_image(decode(path.read_bytes()), backbone.preprocessing, "crop") for path in files]
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    (probabilities,) = session.run(None, {"images": squares})
    np.testing.assert_allclose(probabilities, answers(tmp_path / "a.csv"), atol=0.05)


def test_sets_of_two_compute_precisions_must_be_told_apart(trained, tiny_onnx, tmp_path):
    folder, report = trained
    jobs.extract(folder / "photos", folder / "cache", [f"onnx:{tiny_onnx}"])
    with pytest.raises(IcecoreError, match="compute_precision"):
        jobs.train(
            folder / "cache",
            folder / "photos",
            tmp_path / "run",
            jobs.TrainOptions(features=["onnx:tiny.onnx"]),
        )
