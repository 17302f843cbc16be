"""What the file beside a network says about its images is heeded or refused, by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from icecore.core.errors import BackboneError, MissingFileError
from icecore.features.images.foreign_record import find_record, read_record

PLAIN = {
    "input_size": [3, 224, 224],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop_pct": 0.875,
    "interpolation": "bicubic",
}
HUB = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def read(tmp_path, fields) -> dict:
    (tmp_path / "net.json").write_text(json.dumps(fields))
    return read_record(tmp_path / "net.json")


def stated(fields: dict) -> dict:
    """Leave out what is ``...``."""
    return {name: value for name, value in fields.items() if value is not ...}


def test_a_plain_record_is_what_it_says(tmp_path):
    assert read(tmp_path, PLAIN) == PLAIN | {"input_space": "RGB", "crop_mode": "center"}


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ([127, 127, 127], [128, 128, 128]),
        ([0, 0, 0], [255, 255, 255]),
        ([0, 0, 0], [58.4, 57.1, 57.4]),
        ([0.485, 0.456, 0.406], [58.4, 57.1, 57.4]),
        ([123.7, 116.3, 103.5], [0.229, 0.224, 0.225]),
        ([104, 117, 123], [1, 1, 1]),
        ([-103.9, -116.8, -123.7], [1, 1, 1]),
    ],
)
def test_numbers_for_pixels_of_0_to_255_are_refused_and_the_remedy_works(tmp_path, mean, std):
    fields = PLAIN | {"mean": mean, "std": std}
    with pytest.raises(BackboneError, match=r"divide mean and std by 255, or add \"input_range\""):
        read(tmp_path, fields)
    if max(mean) > 1 and min(mean) > 0 and min(std) >= 1:
        found = read(tmp_path, fields | {"input_range": [0, 255]})
        np.testing.assert_allclose(found["mean"], np.array(mean) / 255)
        np.testing.assert_allclose(found["std"], np.array(std) / 255)


@pytest.mark.parametrize(("mean", "std"), [([0, 0, 0], [1, 1, 1]), ([0.5] * 3, [0.5] * 3)])
def test_usual_numbers_pass(tmp_path, mean, std):
    assert read(tmp_path, PLAIN | {"mean": mean, "std": std})["std"] == std


def test_a_network_of_bgr_and_0_to_255_is_read_as_rgb_and_0_to_1(tmp_path):
    fields = {"input_space": "BGR", "input_range": [0, 255], "mean": [104, 117, 128]}
    found = read(tmp_path, PLAIN | fields | {"std": [1, 2, 4]})
    assert found["input_space"] == "BGR"
    np.testing.assert_allclose(found["mean"], np.array([128, 117, 104]) / 255)
    np.testing.assert_allclose(found["std"], np.array([4, 2, 1]) / 255)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"input_space": "GBR"}, "input_space is 'GBR'"),
        ({"input_range": [-1, 1]}, r"input_range is \[-1, 1\]"),
        ({"input_range": [0, 255], "mean": [0, 0, 0]}, r"std is .*for pixels of 0 to 1, and input"),
        ({"input_range": [0, 255]}, r"for pixels of 0 to 1, and input_range \[0, 255\]"),
        ({"crop_mode": "corners"}, "crop_mode is 'corners'"),
        ({"crop_mode": "squash"}, "crop_mode is 'squash' with crop_pct 0.875"),
        ({"crop_pct": 0.001}, "crop_pct is 0.001"),
        ({"std": [0.5, 0.5, 1e-320]}, "std is "),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"num_classes": True}, "num_classes is True"),
        ({"crop_percent": 0.9}, r"not understood: crop_percent \(crop_pct\?\)"),
        ({"color": "BGR", "gamma": 2}, r"not understood: color, gamma"),
        ({"interpolation": "hamming"}, "interpolation is 'hamming'"),
    ],
)
def test_fields_that_are_not_heeded_are_refused_by_name(tmp_path, fields, said):
    with pytest.raises(BackboneError, match=said):
        read(tmp_path, PLAIN | fields)


def test_what_is_there_for_people_passes(tmp_path):
    texts = {"architecture": "resnet50", "license": "mit", "url": "", "label_names": ["a"]}
    found = read(tmp_path, PLAIN | texts | {"_comment": "mine", "num_classes": 1000})
    assert found["architecture"] == "resnet50"
    assert found["num_classes"] == 1000


def test_timms_own_file_is_read_through(tmp_path):
    inner = PLAIN | {"crop_mode": "squash", "crop_pct": 1.0, "first_conv": "conv1", "tag": "a"}
    whole = {"architecture": "x", "num_classes": 10, "num_features": 64, "pretrained_cfg": inner}
    found = read(tmp_path, whole)
    assert found["crop_mode"] == "squash"
    assert found["num_features"] == 64


@pytest.mark.parametrize("name", ["num_classes", "mean", "crop_pct"])
def test_what_stands_twice_must_say_the_same(tmp_path, name):
    whole = {"num_classes": 10, **PLAIN, "pretrained_cfg": {**PLAIN, "num_classes": 10}}
    assert read(tmp_path, whole)["num_classes"] == 10
    whole[name] = {"num_classes": 1000, "mean": [0.5] * 3, "crop_pct": 1.0}[name]
    with pytest.raises(BackboneError, match=f"contradicts its own pretrained_cfg: {name} is "):
        read(tmp_path, whole)


def test_the_record_of_the_hub_is_found_and_read(tmp_path):
    folder = tmp_path / "repository" / "onnx"
    folder.mkdir(parents=True)
    (tmp_path / "repository" / "preprocessor_config.json").write_text(json.dumps(HUB))
    found = read_record(find_record(folder / "model.onnx"))
    assert found == PLAIN | {"input_space": "RGB", "crop_mode": "center"}
    (folder / "model.json").write_text(json.dumps(PLAIN | {"crop_pct": 1.0}))
    assert read_record(find_record(folder / "model.onnx"))["crop_pct"] == 1.0
    # A link to nothing is no lack of a record, beside which another one would be taken.
    (folder / "model.json").unlink()
    (folder / "model.json").symlink_to("nowhere.json")
    with pytest.raises(MissingFileError, match=r"model.json is not there"):
        read_record(find_record(folder / "model.onnx"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size": {"height": 224, "width": 224}, "do_center_crop": False},
         {"crop_pct": 1.0, "crop_mode": "squash"}),
        ({"image_processor_type": "ViTImageProcessor", "size": 224, "do_center_crop": False},
         {"crop_pct": 1.0, "crop_mode": "squash"}),
        ({"image_processor_type": "FlavaImageProcessor", "size": 224},
         {"crop_pct": 1.0, "crop_mode": "squash"}),
        ({"image_processor_type": "CLIPImageProcessor", "size": 256, "crop_size": 224},
         {"crop_pct": 0.875, "crop_mode": "center"}),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224},
          "crop_pct": 0.875, "do_center_crop": None}, {"crop_pct": 0.875, "crop_mode": "center"}),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384},
          "do_center_crop": None}, {"crop_pct": 1.0, "crop_mode": "squash"}),
        ({"resample": 2}, {"interpolation": "bilinear"}),
        ({"do_flip_channel_order": True, "do_normalize": False},
         {"input_space": "BGR", "mean": [0, 0, 0], "std": [1, 1, 1]}),
        ({"do_rescale": False, "do_normalize": False}, {"mean": [0, 0, 0], "std": [1 / 255] * 3}),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3},
         {"mean": [0.5] * 3, "std": [0.5] * 3}),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
         {"mean": [0.5] * 3, "std": [0.5] * 3}),
        ({"include_top": True, "image_std": [0.5] * 3}, {"std": [0.25] * 3}),
        # Two processors that enlarge the short side first, whatever size says.
        ({"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}},
         {"crop_pct": 0.875, "crop_mode": "center"}),
        ({"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 224},
          "crop_pct": 0.95}, {"crop_pct": 224 / 235}),
        ({"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 224}},
         {"crop_pct": 224 / 248}),
        # One that does not normalise.
        ({"image_processor_type": "MobileViTImageProcessor", "do_normalize": ...,
          "image_mean": ..., "image_std": ..., "do_flip_channel_order": True},
         {"mean": [0, 0, 0], "std": [1, 1, 1], "input_space": "BGR"}),
        # What processors do where the file does not say it, and an older name beside the new one.
        ({"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": ...},
         {"input_space": "BGR"}),
        ({"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": True,
          "do_flip_channels": True}, {"input_space": "BGR"}),
        ({"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": False},
         {"input_space": "RGB"}),
        ({"image_processor_type": "EfficientNetImageProcessor", "include_top": ...,
          "image_std": [0.5] * 3}, {"std": [0.25] * 3}),
        ({"image_processor_type": "EfficientNetImageProcessor", "include_top": False,
          "image_std": [0.5] * 3}, {"std": [0.5] * 3}),
    ],
)  # fmt: skip
def test_the_words_of_the_hub_are_translated(tmp_path, fields, expected):
    found = read(tmp_path, stated(HUB | fields))
    for name, value in expected.items():
        if isinstance(value, list):
            np.testing.assert_allclose(found[name], value, err_msg=name)
        else:
            assert found[name] == value, name


@pytest.mark.parametrize(("side", "short"), [(96, 118), (224, 256), (299, 400), (384, 450)])
def test_the_short_side_that_the_hub_states_is_kept_to_the_pixel(tmp_path, side, short):
    sizes = {"size": {"shortest_edge": short}, "crop_size": {"height": side, "width": side}}
    assert int(side / read(tmp_path, stated(HUB | sizes))["crop_pct"]) == short


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rescale_offset": True}, "rescale_offset is True"),
        ({"do_resize": False}, "do_resize is false"),
        ({"do_pad": True}, "do_pad is True"),
        ({"resample": 5}, "resample is 5"),
        ({"do_center_crop": False}, "which leaves images oblong"),
        ({"size": {"height": 224, "width": 320}}, "size is"),
        ({"image_mean": 0.5}, "image_mean is 0.5"),
        ({"data_format": "channels_last"}, "data_format is 'channels_last'"),
        ({"size": {"shortest_edge": 256, "longest_edge": 300}}, "size is .*longest_edge"),
        ({"size": {"height": 224, "width": 224, "max_height": 9}, "do_center_crop": False}, "size"),
        ({"size": {"height": 256, "width": 256}}, "it squashes and cuts"),
        ({"size": {"height": 256, "width": 256}, "do_center_crop": ...}, "is not stated"),
        ({"image_processor_type": "BeitImageProcessor", "size": {"height": 256, "width": 256},
          "crop_size": ..., "do_center_crop": ...}, "do_center_crop is not stated"),
        ({"do_flip_channels": True}, "do_flip_channels is True"),
        ({"crop_pct": 0.9}, "crop_pct is 0.9"),
        ({"image_processor_type": "ConvNextImageProcessor", "crop_pct": [0.9]}, "crop_pct is"),
        ({"image_processor_type": "PerceiverImageProcessor"}, "kind 'perceiver', whose steps"),
        (
            {"feature_extractor_type": "ImageGPTFeatureExtractor", "image_processor_type": ...},
            "kind 'imagegpt', whose steps",
        ),
        # To some processors a number is both sides.
        ({"image_processor_type": "DeiTImageProcessor", "size": 256}, "it squashes and cuts"),
        (
            {"feature_extractor_type": "BeitFeatureExtractor", "image_processor_type": ...,
             "size": 256}, "it squashes and cuts",
        ),
        ({"image_processor_type": "CLIPImageProcessor", "size": 224, "do_center_crop": False},
         "which leaves images oblong"),
        ({"image_processor_type": ..., "size": 256}, "no image_processor_type says"),
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, "feature_extractor_type is"),
        ({"do_rescale": False}, r"for pixels of 0 to 1, but they are scaled to \[0, 255\]"),
        ({"rescale_factor": 1}, r"for pixels of 0 to 1, but they are scaled to \[0, 255\]"),
        ({"resample": ...}, "resample is None"),
        ({"resample": [2]}, r"resample is \[2\]"),
        ({"resample": True}, "resample is True"),
        ({"do_center_crop": "false"}, "do_center_crop is 'false'"),
        ({"do_normalize": None}, "do_normalize is None"),
        ({"image_mean": [True] * 3}, "image_mean is"),
        ({"image_mean": [127.5] * 3}, r"image_mean is .*but pixels are scaled to \[0, 1\]"),
    ],
)  # fmt: skip
def test_what_the_hub_says_and_is_not_done_is_refused_by_name(tmp_path, fields, said):
    with pytest.raises(BackboneError, match=said):
        read(tmp_path, stated(HUB | fields))


def test_a_missing_record_says_how_it_looks(tmp_path):
    with pytest.raises(MissingFileError, match=r"(?s)net.json is not there.*crop_pct"):
        read_record(find_record(tmp_path / "net.onnx"))
