"""Each conversion of weights, on random networks, through the front door."""

from __future__ import annotations

import functools
import json
import os

import numpy as np
import onnx
import pytest
from gluon_files import (
    export_as_in_2018,
    load_gluon_backbone,
    save_safetensors,
    timm_features,
    timm_network,
)
from packages import needs, skip_without

from icecore.core.errors import BackboneError, IrregularFileError, ProofError, WeightsError
from icecore.features.backbones import load_backbone
from icecore.features.engines.mxnet import MXNetEngine
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.convert import read_safetensors
from icecore.features.weights.local import find_local_weights
from icecore.features.weights.origins import ORIGINS
from icecore.features.weights.request import WeightsRequest
from icecore.features.weights_store import import_weights

of_timm = needs("torch", "timm", "safetensors")
of_mxnet = needs("mxnet", "gluoncv")
CONVERTED = {spec: origin for spec, origin in ORIGINS.items() if origin.naming != "mxnet"}
# One of each family; for each other network there is a slow test.
QUICK = (
    "gluon:resnet18_v1b",
    "gluon:resnet50_v1d",
    "gluon:se_resnext50_32x4d",
    "gluon:densenet121",
    "gluon:inceptionv3",
    "mxnet:inceptionv3",
)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def images(side, count=2):
    rng = np.random.default_rng(0)
    zoom = -(-side // 5)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return coarse.repeat(zoom, axis=1).repeat(zoom, axis=2)[:, :side, :side]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def check_conversion(spec, tmp_path, engine="onnxruntime"):
    network = timm_network(CONVERTED[spec].repository.removeprefix("timm/"))
    assert network.pretrained_cfg["mean"] == CONVERTED[spec].mean
    assert network.pretrained_cfg["std"] == CONVERTED[spec].std
    file = import_weights(save_safetensors(network, tmp_path / "model.safetensors"), spec)
    assert file.kind == "converted"
    backbone = load_backbone(BackboneSpec.parse(spec), engine, WeightsRequest())
    assert str(file.path) in backbone.network.origin
    batch = images(backbone.record.resolution)
    expected = timm_features(network, batch)
    assert relative(expected[0], expected[1]) > 1e-3, "features must depend on the image"
    assert relative(backbone.start("cpu").run(batch), expected) < 1e-4


@of_timm
@pytest.mark.parametrize("spec", QUICK)
def test_a_timm_network_as_gluons_gives_the_same_features(spec, tmp_path):
    check_conversion(spec, tmp_path)


@of_timm
@pytest.mark.slow
@pytest.mark.parametrize("spec", [spec for spec in CONVERTED if spec not in QUICK])
def test_every_other_network_of_the_table(spec, tmp_path):
    check_conversion(spec, tmp_path)


@of_timm
@of_mxnet
@pytest.mark.parametrize("spec", ["gluon:resnet18_v1b", "mxnet:inceptionv3"])
def test_mxnet_agrees_on_converted_weights(spec, tmp_path):
    check_conversion(spec, tmp_path, "mxnet")


@of_timm
def test_the_transform_of_torchvisions_inception_matters(tmp_path, monkeypatch):
    """Without folding it in, the test above would fail: the features differ by far."""
    import dataclasses

    spec = "mxnet:inceptionv3"
    network = timm_network(CONVERTED[spec].repository.removeprefix("timm/"))
    gluon = CONVERTED["gluon:inceptionv3"]
    naive = dataclasses.replace(CONVERTED[spec], mean=gluon.mean, std=gluon.std)
    monkeypatch.setitem(ORIGINS, spec, naive)
    import_weights(save_safetensors(network, tmp_path / "model.safetensors"), spec)
    backbone = load_backbone(BackboneSpec.parse(spec), "onnxruntime", WeightsRequest())
    batch = images(299)
    assert relative(backbone.start("cpu").run(batch), timm_features(network, batch)) > 0.1


@functools.cache
def random_gluon(name):
    return load_gluon_backbone(
        BackboneSpec.parse(f"gluon:{name}"), WeightsRequest.parse("random:3")
    )


def check_onnx(name, tmp_path, names=lambda name: name):
    spec, original = BackboneSpec.parse(f"gluon:{name}"), random_gluon(name)
    # What MXNet computes does not depend on a gamma that is fixed, whatever is stored.
    gamma = original.network.features[0].gamma
    gamma.set_data(gamma.data() * 0 + 3)
    path = export_as_in_2018(original.network, tmp_path / "net-7.onnx", names)
    file = import_weights(path, spec.canonical)
    note = json.loads(file.path.with_suffix(".json").read_text())
    assert note["relative_error"] < 1e-4
    back = load_gluon_backbone(spec, WeightsRequest())
    batch = images(224)
    expected = MXNetEngine(original).run(batch)
    assert relative(expected[0], expected[1]) > 1e-3
    assert relative(MXNetEngine(back).run(batch), expected) < 1e-4
    assert back.record.weights_digest == original.record.weights_digest


@of_mxnet
def test_a_gluon_network_comes_back_from_an_onnx_file_of_2018(tmp_path):
    check_onnx("resnet18_v2", tmp_path)


@of_mxnet
def test_it_comes_back_with_the_names_of_another_network(tmp_path):
    check_onnx("resnet18_v2", tmp_path, lambda name: name.replace("resnetv2", "resnetv297"))


@of_mxnet
def test_it_comes_back_with_names_that_mean_nothing(tmp_path):
    table: dict[str, str] = {}
    check_onnx("resnet18_v2", tmp_path, lambda name: table.setdefault(name, f"t{len(table)}"))


@of_mxnet
@pytest.mark.slow
def test_resnet152_v2_comes_back(tmp_path):
    check_onnx("resnet152_v2", tmp_path)


@pytest.fixture(scope="module")
def gluon_onnx(tmp_path_factory):
    skip_without("mxnet", "gluoncv")
    network = random_gluon("resnet18_v2").network
    return export_as_in_2018(network, tmp_path_factory.mktemp("zoo") / "resnet18-v2-7.onnx")


def nothing_kept(home):
    return not home.exists() or list(home.iterdir()) == []


def test_an_onnx_file_of_another_network_is_refused(gluon_onnx, home):
    with pytest.raises(
        WeightsError,
        match=r"(?s)does not hold the weights of gluon:resnet34_v2: \d+ tensors do not fit: "
        r"features.*is missing.*more.*name the right one: icecore weights import FILE --as NETWORK",
    ):
        import_weights(gluon_onnx, "gluon:resnet34_v2")
    assert nothing_kept(home)


def test_weights_that_fit_but_compute_something_else_are_refused(gluon_onnx, tmp_path, home):
    model = onnx.load(str(gluon_onnx))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Sigmoid"
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(ProofError, match=r"differ by \d\.\d+e.*1e-04 is allowed"):
        import_weights(tmp_path / "other.onnx", "gluon:resnet18_v2")
    assert nothing_kept(home)


def test_a_graph_of_fitting_weights_and_a_loop_is_not_run(gluon_onnx, tmp_path, home):
    model = onnx.load(str(gluon_onnx))
    helper, kinds = onnx.helper, onnx.TensorProto
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", [n], [f"{n}_out"]) for n in ("on", "x")],
        "body",
        [value("i", kinds.INT64, []), value("on", kinds.BOOL, []), value("x", kinds.FLOAT, [])],
        [value("on_out", kinds.BOOL, []), value("x_out", kinds.FLOAT, [])],
    )
    for name, number in (("turns", np.int64(2**60)), ("true", np.bool_(True))):
        constant = onnx.numpy_helper.from_array(np.array(number), name)
        model.graph.node.insert(0, helper.make_node("Constant", [], [name], value=constant))
    number = onnx.numpy_helper.from_array(np.array(np.float32(1)), "number")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["number"], value=number))
    loop = helper.make_node("Loop", ["turns", "true", "number"], ["turned"], body=body)
    model.graph.node.insert(3, loop)
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(BackboneError, match="operators that may take any time: Loop"):
        import_weights(tmp_path / "other.onnx", "gluon:resnet18_v2")
    assert nothing_kept(home)


def test_a_graph_of_fitting_weights_and_a_huge_value_is_not_run(gluon_onnx, tmp_path, home):
    model = onnx.load(str(gluon_onnx))
    (first,) = [one.name for one in model.graph.input if "data" in one.name]
    often = onnx.numpy_helper.from_array(np.array([1, 1, 4096, 4096]), "often")
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["often"], value=often))
    model.graph.node.insert(1, onnx.helper.make_node("Tile", [first, "often"], ["vast"]))
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(BackboneError, match="'?vast'? of one image would have more than"):
        import_weights(tmp_path / "other.onnx", "gluon:resnet18_v2")
    assert nothing_kept(home)


def _missing(tensors):
    del tensors["fc.bias"]


def _extra(tensors):
    tensors["head.weight"] = np.zeros(3, np.float32)


def _shape(tensors):
    tensors["fc.weight"] = np.zeros((10, 512), np.float32)
    tensors["bn1.bias"] = np.zeros(3, np.float32)


def _nan(tensors):
    tensors["fc.bias"] = tensors["fc.bias"] * np.nan


def _integers(tensors):
    tensors["fc.bias"] = np.zeros(1000, np.int64)


@of_timm
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_missing, "1 tensor does not fit: fc.bias is missing"),
        (_extra, "1 tensor does not fit: head.weight has no place"),
        (
            _shape,
            r"2 tensors do not fit: bn1.bias is \(3,\), not \(64,\), "
            r"fc.weight is \(10, 512\), not \(1000, 512\)",
        ),
        (_nan, "fc.bias holds float32, not numbers that are finite"),
        (_integers, "fc.bias holds int64, not numbers that are finite"),
    ],
)
def test_every_tensor_that_does_not_fit_is_named(tmp_path, home, change, reason):
    from safetensors.numpy import load_file, save_file

    path = save_safetensors(timm_network("resnet18.gluon_in1k"), tmp_path / "model.safetensors")
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=f"gluon:resnet18_v1b: .*{reason}"):
        import_weights(path, "gluon:resnet18_v1b")
    assert nothing_kept(home)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:20],
        lambda content: b"",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"[" + content[9:],
        lambda content: content.replace(b"data_offsets", b"data_offsetz", 1),
        lambda content: content.replace(b"F32", b"F99", 1),
        lambda content: content.replace(b'"shape":[', b'"shape":[9999999999999,', 1),
    ],
)
def test_damaged_safetensors_are_a_clear_line(tmp_path, home, damage):
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match=r"(?s)not a whole safetensors file.*get the file again"):
        import_weights(path, "gluon:resnet18_v1b")
    assert nothing_kept(home)


@pytest.mark.parametrize(
    ("content", "kind", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page", "download it again"),
    ],
)
def test_what_is_in_place_of_safetensors_is_said(tmp_path, home, content, kind, remedy):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=f"not a whole safetensors file: it is .*{kind}") as it:
        import_weights(tmp_path / "model.safetensors", "gluon:resnet18_v1b")
    assert remedy in it.value.hint


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(IrregularFileError, match="is a named pipe"):
        read_safetensors(tmp_path / "model.safetensors")


def test_damaged_onnx_files_are_a_clear_line(tmp_path, home, gluon_onnx):
    whole = gluon_onnx.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "net.onnx"
    for number in range(15):
        content = bytearray(whole)
        if number % 3 == 0:
            content = content[: rng.integers(0, len(content))]
        else:  # where the structure is: at the beginning and at the end
            for _ in range(5):
                place = rng.integers(0, 3000) * (1 if number % 3 == 1 else -1)
                content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        if _imported(path):  # it hit a weight, or nothing: the conversion was proved then
            assert find_local_weights("resnet18_v2") is not None
            for file in home.iterdir():
                file.unlink()
        else:
            assert nothing_kept(home)


def _imported(path):
    """Any other exception than one of ours would end the test."""
    try:
        return import_weights(path, "gluon:resnet18_v2")
    except (BackboneError, WeightsError, ProofError):
        return None


def test_numbers_that_numpy_lacks_are_called_so(tmp_path, home):
    header = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    content = len(header).to_bytes(8, "little") + header + b"1234"
    (tmp_path / "model.safetensors").write_bytes(content)
    # Where the package ml_dtypes is, the numbers can be read; the file has another network's.
    words = "numbers of a type that Gluon's networks do not have|103 tensors do not fit"
    with pytest.raises((WeightsError, BackboneError), match=words):
        import_weights(tmp_path / "model.safetensors", "gluon:resnet18_v1b")
    assert nothing_kept(home)
