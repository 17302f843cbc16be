"""Arguments of wrong types: all are named in one line, before anything is read or written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import icecore
from icecore import jobs
from icecore.core.errors import ArgumentError, CacheError, IcecoreError
from icecore.features import ProgressListener


@pytest.mark.parametrize(
    "call",
    [
        lambda: icecore.extract("photos", "cache", "onnx:net.onnx"),
        lambda: icecore.extract("photos", "cache", [Path("net.onnx")]),
        lambda: icecore.extract(["a.png"], "cache", ["onnx:net.onnx"]),
        lambda: icecore.extract(b"photos", None, ["onnx:net.onnx"]),
        lambda: icecore.extract("photos", "cache", ["onnx:net.onnx"], icecore.TrainOptions()),
        lambda: icecore.extract("photos", "cache", ["onnx:net.onnx"], icecore.ExtractOptions),
        lambda: icecore.read_manifest([1]),
        lambda: icecore.open_run(3),
        lambda: icecore.FeatureCache(b"cache"),
        lambda: icecore.train("cache", "photos", "run", "ridge"),
        lambda: icecore.blend("run"),
        lambda: icecore.predict("run", None, "a.csv"),
        lambda: icecore.load_features("cache", (one for one in "ab")),
        lambda: jobs.bundle("run", 3),
        lambda: icecore.ExtractOptions(seed=1.5),
        lambda: icecore.ExtractOptions(workers=True),
        lambda: icecore.ExtractOptions(paranoid="no"),
        lambda: icecore.TrainOptions(features="onnx:net.onnx"),
        lambda: icecore.TrainOptions(settings=[("mlp", {})]),
        lambda: icecore.BlendOptions(l2="0", stacking="logistic"),
        lambda: icecore.AuditOptions(pictures=None),
    ],
)
def test_wrong_types_are_refused_at_the_door(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="cannot use .* of type ") as error:
        call()
    assert isinstance(error.value, TypeError)
    assert len(str(error.value).splitlines()) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call",
    [
        lambda: jobs.bundle("run", "\0"),
        lambda: jobs.extract("photos\0", "cache", ["onnx:net.onnx"]),
        lambda: jobs.extract("photos", "cache", ["onnx:net\0.onnx"]),
        lambda: jobs.train("cache", Path("photos\0"), "run"),
        lambda: jobs.blend(["run", "b\0"]),
        lambda: jobs.export("cache", ["a"], "\0"),
        lambda: jobs.ExtractOptions(boxes=Path("\0")),
        lambda: jobs.TrainOptions(settings={"mlp": {"a\0": 1}}),
        lambda: icecore.FeatureCache("\0"),
        lambda: icecore.open_run("\0"),
    ],
)
def test_a_name_with_a_zero_byte_is_refused_at_the_door(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="it has a zero byte, which no name has"):
        call()
    assert not list(tmp_path.iterdir())


def test_all_wrong_options_are_named_with_what_can_be_given():
    with pytest.raises(ArgumentError) as error:
        icecore.ExtractOptions(views=None, seed="1", workers=2.5)
    assert error.value.message == (
        "ExtractOptions cannot use views=None of type NoneType (str or Views), "
        "seed='1' of type str (int), workers=2.5 of type float (int or None)"
    )


def test_numbers_of_numpy_and_lists_of_any_kind_are_fine():
    options = icecore.ExtractOptions(
        seed=np.int64(3), resize_margin=np.float32(0.5), batch_size=np.int16(2)
    )
    assert options.seed == 3
    assert icecore.TrainOptions(heads=("ridge",), maybe=1).maybe == 1
    assert icecore.TrainOptions(features=np.array(["a", "b"])).features[1] == "b"


def test_a_listener_need_be_no_subclass(tmp_path):
    class Listener:
        on_digest = on_detect = on_images = lambda *arguments: None

    listener = Listener()
    for name in vars(ProgressListener):
        if not name.startswith("_"):
            setattr(listener, name, lambda *arguments: None)
    with pytest.raises(IcecoreError, match="is not there"):
        icecore.extract(tmp_path / "none", tmp_path / "cache", ["onnx:a.onnx"], progress=listener)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"keys": (one for one in "ab")}, "row keys are a generator"),
        ({"keys": [1, 2]}, "1 is not a row key"),
        ({"keys": [b"0" * 64, b"1" * 64]}, "is not a row key"),
        ({"rows": np.full((2, 3), "a")}, "of the type"),
        ({"rows": np.ones((2, 3), complex)}, "of the type complex128"),
        ({"provenance": {"engine": object()}}, "not plain JSON"),
        ({"provenance": {"seconds": float("nan")}}, "not plain JSON"),
    ],
)
def test_rows_that_cannot_be_kept_are_refused(tmp_path, given, reason):
    cache = icecore.FeatureCache.create(tmp_path / "cache")
    one = cache.open_set({"fit": "crop"}, "gluon:net", 3, ("center",))
    sound = {"keys": ["0" * 64, "1" * 64], "rows": np.ones((2, 3)), "provenance": {}}
    with pytest.raises(CacheError, match=reason):
        one.append(*(sound | given).values())
    assert not len(one)
    one.append(*sound.values())
    assert len(one) == 2


def test_a_name_that_is_no_text_of_files_is_refused(tmp_path):
    cache = icecore.FeatureCache.create(tmp_path / "cache")
    with pytest.raises(CacheError, match="not plain JSON"):
        cache.open_set({"fit": "crop"}, "a\udcff", 3, ("center",))


def test_every_options_class_looks_at_its_types():
    for name in ("AuditOutputs", "BlendOutputs", "CompareOptions", "DetectorOptions",
                 "FitRegionsOptions", "PredictOptions"):  # fmt: skip
        options = getattr(jobs, name)
        given = {one.name: ... for one in dataclasses.fields(options)}
        with pytest.raises(ArgumentError) as error:
            options(**given)
        assert error.value.message.count("=Ellipsis of type") == len(given)
