"""A network in another format than ONNX is called by its name, with what to do."""

from __future__ import annotations

import io
import json
import os
import socket
import zipfile

import pytest
from onnx_files import RECORD

from icecore.core.content import describe_content
from icecore.core.errors import IcecoreError, WeightsError
from icecore.features.backbones import load_backbones
from icecore.features.gluon.params_file import read_params
from icecore.features.weights.convert import read_safetensors
from icecore.features.weights.local import find_local_weights
from icecore.features.weights.request import WeightsRequest
from icecore.features.weights.torch_legacy import read_legacy_torch


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 40)
    return buffer.getvalue()


FORMATS = {
    "pth": (zipped("archive/data.pkl", "archive/data/0"), "of PyTorch", "torch.onnx.export"),
    "script.pt": (zipped("net/data/0", "net/code/a.py"), "of PyTorch", "torch.onnx.export"),
    "pt2": (zipped("net/data/weights/weight_0"), "of PyTorch", "torch.onnx.export"),
    "old.pth": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle of Python", "may run code"),
    "pkl": (b"\x80\x05\x95" + bytes(20), "a pickle of Python", "may run code"),
    "safetensors": (b"\x40\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32"', "safetensors", "timm:NAME"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(60), "TensorFlow Lite", "tf2onnx"),
    "pb": (b"\n\x2b\n\x05input\x12\x0bPlaceholder" + bytes(40), "of TensorFlow", "tf2onnx"),
    "saved_model.pb": (b"\x08\x01\x12\xa1\x02\n\x91\x02" + bytes(40), "of TensorFlow", "tf2onnx"),
    "keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "of Keras", "tf2onnx"),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 file", "tf2onnx"),
    "gguf": (b"GGUF\3\0\0\0" + bytes(60), "llama.cpp", "no graph"),
    "engine": (b"ftrt" + bytes(60), "TensorRT", "was built from"),
    "ort": (b"\x18\0\0\0ORTM" + bytes(60), "ONNX Runtime's own", "made from"),
    "xml": (b'<?xml version="1.0"?>\n<net name="a" version="11">', "of OpenVINO", "made from"),
    "params": (b"\x12\x01" + bytes(62), "of MXNet", "gluon-file:PREFIX"),
    "param": (b"7767517\n75 83\n", "of ncnn", "export it to ONNX"),
}


@pytest.mark.parametrize("case", FORMATS)
def test_a_network_in_another_format_is_named_with_what_to_do(case, tmp_path):
    content, said, hint = FORMATS[case]
    path = tmp_path / f"net.{case}"
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(RECORD))
    with pytest.raises(IcecoreError) as caught:
        load_backbones([f"onnx:{path}"])
    assert said in caught.value.message
    assert "ZIP" not in caught.value.message
    assert "valid" not in caught.value.message
    assert hint in caught.value.hint


def test_an_archive_of_other_things_is_none_of_them():
    assert ".xlsx" in describe_content(zipped("[Content_Types].xml", "xl/workbook.xml"))
    assert ".xlsx" in describe_content(zipped("photos/data/cat.jpg"))
    assert not describe_content(b"\x08\x07\x12\x07pytorch\x1a\x031.0")


@pytest.mark.parametrize("case", [one for one in FORMATS if one not in ("safetensors", "xml")])
def test_weights_in_another_format_are_named_too(case, tmp_path):
    content, said, _ = FORMATS[case]
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_safetensors(path)
    assert said in caught.value.message
    assert "safetensors" in caught.value.hint or "gluon:NAME" in caught.value.hint


def test_a_new_file_of_torch_is_no_damaged_old_one(tmp_path):
    path = tmp_path / "efficientnet-lite0.pth"
    path.write_bytes(FORMATS["pth"][0])
    with pytest.raises(WeightsError, match="(?s)of PyTorch.*_use_new_zipfile_serialization=False"):
        read_legacy_torch(path)
    with pytest.raises(WeightsError, match="not a whole .params file: it is .* of PyTorch"):
        read_params(path)


def pipe(path):
    os.mkfifo(path)


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)


def folder(path):
    path.mkdir()


def dangling(path):
    path.symlink_to("nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
@pytest.mark.parametrize(
    ("put", "said"),
    [
        (pipe, "a named pipe"),
        (socket_at, "a socket"),
        (folder, "a folder"),
        (dangling, "a link to no"),
    ],
)
def test_what_is_no_file_is_not_passed_over_in_a_folder_of_weights(
    put, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # The name of a socket is short.
    put(tmp_path / "resnet18.a1_in1k.safetensors")
    request = WeightsRequest.parse(folder=tmp_path)
    with pytest.raises(WeightsError, match=f"is {said}"):
        request.own_file("resnet18.a1_in1k.safetensors")
    put(tmp_path / "resnet18_v1.params")
    tried: list[str] = []
    find_local_weights("resnet18_v1", tmp_path, tried=tried)
    assert any(line.startswith(f"{tmp_path}/resnet18_v1.params: {said}") for line in tried)
    assert request.own_file("resnet50.safetensors") is None
