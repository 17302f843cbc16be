"""A network that its user exported, without MXNet: the fixture was written by MXNet 1.9.1."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from repository import ROOT

from icecore.core.errors import BackboneError, WeightsError
from icecore.features.backbones import load_backbone
from icecore.features.catalogue import list_layers
from icecore.features.gluon.params_file import read_params, write_params
from icecore.features.records.layer import Layer
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

FILES = ROOT / "tests" / "fixtures" / "gluon-file"


def load(prefix, **spec):
    wanted = BackboneSpec("gluon-file", str(prefix), **spec)
    return load_backbone(wanted, "onnxruntime", WeightsRequest())


def images(count=3, side=32):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture
def small(tmp_path):
    shutil.copytree(FILES, tmp_path / "files")
    return tmp_path / "files" / "small"


def test_its_rows_are_those_that_mxnet_computed():
    found = load(FILES / "small").start("cpu").run(images())
    np.testing.assert_allclose(found, np.load(FILES / "rows.npy"), rtol=1e-5, atol=1e-6)


def test_layers_pools_and_other_sizes():
    names = {
        name: shape for name, _, shape in list_layers(f"gluon-file:{FILES}/small", WeightsRequest())
    }
    assert names["conv1_fwd"] == (12, 8, 8)
    rows = load(FILES / "small", layer=Layer("conv0_relu_fwd", "max")).start("cpu").run(images())
    assert rows.shape == (3, 8)
    assert load(FILES / "small", resolution=48).start("cpu").run(images(2, 48)).shape == (2, 12)
    with pytest.raises(BackboneError, match=r"(?s)no layer 'conv7_fwd'.*did you mean conv"):
        load(FILES / "small", layer=Layer("conv7_fwd"))


def test_of_several_outputs_none_is_taken_without_a_word(small):
    path = small.with_name("small-symbol.json")
    graph = json.loads(path.read_text())
    names = [node["name"] for node in graph["nodes"]]
    side = names.index("conv0_relu_fwd")
    graph["heads"] = [[side, 0, 0], *graph["heads"]]
    path.write_text(json.dumps(graph))
    with pytest.raises(
        BackboneError, match=r"(?s)has 2 outputs: conv0_relu_fwd, dense0_fwd.*--layer NAME"
    ):
        load(small)
    assert list_layers(f"gluon-file:{small}", WeightsRequest())
    at_the_end = load(small, layer=Layer("flatten0_flatten0")).start("cpu").run(images())
    np.testing.assert_allclose(at_the_end, np.load(FILES / "rows.npy"), rtol=1e-5, atol=1e-6)
    assert load(small, layer=Layer("conv0_relu_fwd")).start("cpu").run(images()).shape == (3, 8)


def test_mxnet_is_not_loaded():
    code = (
        "import sys; from icecore.features import load_backbone, BackboneSpec, WeightsRequest\n"
        f"spec = BackboneSpec.parse({f'gluon-file:{FILES}/small'!r})\n"
        "load_backbone(spec, 'onnxruntime', WeightsRequest()).start('cpu')\n"
        "assert not {'mxnet', 'gluoncv'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("op", "attributes", "why"),
    [
        ("RNN", {}, r"operators that icecore does not know: 'RNN' of '\w+'"),
        ("Pooling", {"pool_type": "lp", "kernel": "(2, 2)"}, r"\(Pooling\) cannot .*pool_type=lp"),
        ("Pooling", {"kernel": "(two)"}, r"\(Pooling\) cannot .*settings are not understood"),
    ],
)
def test_what_cannot_be_translated_says_what_it_needs(small, op, attributes, why):
    path = small.with_name("small-symbol.json")
    graph = json.loads(path.read_text())
    index = next(i for i, node in enumerate(graph["nodes"]) if node["op"] != "null")
    graph["nodes"][index] |= {"op": op, "attrs": attributes, "inputs": [[0, 0, 0]]}
    path.write_text(json.dumps(graph))
    with pytest.raises(
        BackboneError, match=f"(?s){why.replace('node 1', f'node {index}')}"
    ) as caught:
        load(small)
    assert "(mxnet.onnx.export_model) and use onnx:FILE" in caught.value.hint


def with_second_output(small, name: str) -> None:
    """Make the output of a layer one more output of the graph, the first one."""
    path = small.with_name("small-symbol.json")
    graph = json.loads(path.read_text())
    index = next(i for i, node in enumerate(graph["nodes"]) if node["name"] == name)
    graph["heads"] = [[index, 0, 0], *graph["heads"]]
    path.write_text(json.dumps(graph))


def test_of_several_outputs_the_layer_is_asked_for(small):
    expected = {
        name: load(small, layer=Layer(name)).start("cpu").run(images())
        for name in ("conv0_relu_fwd", "conv1_fwd")
    }
    plain = list_layers(f"gluon-file:{small}", WeightsRequest())
    with_second_output(small, "conv0_relu_fwd")
    with pytest.raises(BackboneError, match=r"has 2 outputs: conv0_relu_fwd, \w+") as caught:
        load(small)
    assert "--layer NAME ('icecore backbones --layers gluon-file:" in caught.value.hint
    # One lies before the first output, one only before the second.
    for name, rows in expected.items():
        found = load(small, layer=Layer(name)).start("cpu").run(images())
        np.testing.assert_array_equal(found, rows)
    listed = list_layers(f"gluon-file:{small}", WeightsRequest())
    assert {one[0] for one in listed} == {one[0] for one in plain}
    with pytest.raises(BackboneError, match="no layer 'conv7_fwd'"):
        load(small, layer=Layer("conv7_fwd"))


def test_weights_of_another_network_are_refused_with_all_that_differ(small):
    path = small.with_name("small-0000.params")
    arrays = read_params(path)
    wrong = {
        n: v[:, :1] if n.endswith(("conv1_weight", "dense0_weight")) else v
        for n, v in arrays.items()
    }
    write_params(path, wrong)
    with pytest.raises(
        WeightsError,
        match=r"(?s)shapes that differ: conv1_weight \(12, 1, 3, 3\) for \(12, 8, 3, 3\), "
        r"dense0_weight \(7, 1\) for \(7, 12\)",
    ):
        load(small)


def test_a_step_of_zero_does_not_end_the_process(small):
    path = small.with_name("small-symbol.json")
    graph = json.loads(path.read_text())
    node = next(one for one in graph["nodes"] if one["op"] == "Convolution")
    node["attrs"]["stride"] = "(0, 0)"
    path.write_text(json.dumps(graph))
    code = "import sys; from test_gluon_file_alone import load; load(sys.argv[1])"
    found = subprocess.run(
        [sys.executable, "-c", code, str(small)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 1
    # Newer versions of onnx give such a step no shape instead of dividing by it.
    words = ("finding out the shapes of its values ends the process", "than what reaches them")
    assert any(text in found.stderr for text in words), found.stderr


@pytest.mark.parametrize(
    ("op", "setting", "said"),
    [
        ("Dropout", {"mode": "always"}, "a mode that drops at random"),
        ("Pooling", {"layout": "NHWC"}, "a layout other than NCHW"),
    ],
)
def test_settings_that_change_the_rows_are_refused(small, op, setting, said):
    path = small.with_name("small-symbol.json")
    graph = json.loads(path.read_text())
    for node in graph["nodes"]:
        if node["op"] == op:
            node["attrs"].update(setting)
    path.write_text(json.dumps(graph))
    with pytest.raises(BackboneError, match=said):
        load(small)
