"""Costs that are counted from graphs are those that were counted from MXNet's symbols."""

from __future__ import annotations

import numpy as np
import pytest

from icecore.core.errors import BackboneError
from icecore.features.costs import _of_zoo, feature_set_cost, network_cost
from icecore.features.gluon.library import network_graph
from icecore.features.gluon.zoo import zoo
from icecore.features.graphs.cost import graph_cost
from icecore.features.graphs.cutting import cut_classifier
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.registry import source_of
from icecore.features.weights.request import WeightsRequest

onnx = pytest.importorskip("onnx", reason="graphs need onnx")


@pytest.mark.parametrize(
    "spec",
    ["gluon:resnet18_v1", "gluon:mobilenetv2_0.5", "gluon:squeezenet1.1", "gluon:densenet121",
     "gluon:se_resnext50_32x4d", "mxnet:mobilenet0.25", "gluon:efficientnet_lite0"],
)  # fmt: skip
def test_the_zoos_networks_cost_what_the_table_says(spec):
    source, name = spec.split(":")
    known = zoo()[source, name]
    model = network_graph(source, name).sized(known.resolution)
    cut_classifier(model, spec, resolution=known.resolution, known=True)
    found = graph_cost(model, known.resolution)
    assert found.multiply_adds == known.multiply_adds
    # Graphs have no scales that MXNet takes for 1.
    assert found.parameters == pytest.approx(known.parameters, rel=0.01)


def test_half_the_side_is_a_quarter_of_the_cost():
    spec = BackboneSpec.parse("gluon:resnet18_v1")
    whole, half = _of_zoo(spec, 224), _of_zoo(spec, 112)
    assert half.multiply_adds == pytest.approx(whole.multiply_adds / 4, rel=0.08)
    assert half.parameters == pytest.approx(whole.parameters, rel=0.01)


def test_a_users_own_file_is_counted(tiny_onnx, image_folder, tmp_path):
    from icecore import jobs

    jobs.extract(image_folder, tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    (one,) = __import__("icecore").FeatureCache(tmp_path / "cache").sets()
    noted = one.provenances()[0]["provenance"]
    # A convolution of 6 x 3 x 3 x 3 on 16 x 16 places; the classifier is cut off.
    assert (noted["parameters"], noted["multiply_adds"]) == (162, 162 * 16 * 16)
    entry = {"spec": one.name, "record": one.record, "source": f"onnx:{tiny_onnx}"}
    found = feature_set_cost(entry)
    assert (found.parameters, found.multiply_adds) == (162, 162 * 16 * 16)
    assert feature_set_cost(entry | {"source": "onnx:/absent.onnx"}) is None


def test_matrix_products_are_counted():
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.zeros((7, 5), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, [1, 3, 11, 7])],
        [info("y", TensorProto.FLOAT, None)], [weights],
    )  # fmt: skip
    found = graph_cost(helper.make_model(graph), 11)
    assert (found.parameters, found.multiply_adds) == (35, 3 * 11 * 7 * 5)


def test_a_file_whose_pads_are_computed_in_the_graph_is_counted(models):
    spec = BackboneSpec.parse(f"onnx:{models}/efficientnet_lite0.onnx")
    network = source_of(spec).load_graph(spec, WeightsRequest())
    found, known = network_cost(network), zoo()["gluon", "efficientnet_lite0"]
    assert found.multiply_adds == known.multiply_adds
    # Batch normalisation was folded into the convolutions.
    assert found.parameters == pytest.approx(known.parameters, rel=0.01)


def test_constants_that_grow_are_not_computed():
    """Put together with itself forty times, one number would be terabytes."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Concat", [f"c{n}", f"c{n}"], [f"c{n + 1}"], axis=0) for n in range(40)
    ]
    nodes += [helper.make_node("Gather", ["c40", "zero"], ["scale"], axis=0)]
    nodes += [helper.make_node("Mul", ["images", "scale"], ["y"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("images", kind, ["N", 3, 8, 8])], [value("y", kind, None)],
        [onnx.numpy_helper.from_array(np.ones(1, np.float32), "c0"),
         onnx.numpy_helper.from_array(np.zeros((), np.int64), "zero")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    with pytest.raises(BackboneError, match="needs more than"):
        graph_cost(model, 8)


@pytest.mark.parametrize("forged", ["many", None, [1], 2.5, True])
def test_costs_that_a_run_made_up_are_unknown(forged):
    assert feature_set_cost({"parameters": forged, "spec": "onnx:gone.onnx"}) is None
