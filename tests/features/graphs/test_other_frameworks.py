"""Networks as Hugging Face's Optimum and ONNX Runtime's quantiser write them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_files import SIDE, WIDTH, body, classifier, make, save, weights

from icecore.core.errors import BackboneError, ProofError
from icecore.features.backbones import load_backbones
from icecore.features.engines.base import Setup, require_one_row_each
from icecore.features.engines.choose import ENGINES
from icecore.features.engines.proof import prove_in_engine
from icecore.features.graphs.apart import why_not_apart
from icecore.features.records.layer import Layer
from icecore.features.records.spec import BackboneSpec

node = helper.make_node


def test_the_side_of_position_embeddings_as_a_root_is_followed():
    """DINOv2 interpolates them on a square whose side it computes of their number."""
    nodes = [
        node("Pow", ["count", "half"], ["root"]),
        node("Sqrt", ["count"], ["again"]),
        node("Cast", ["root"], ["height"], to=TensorProto.INT64),
        node("Cast", ["again"], ["width"], to=TensorProto.INT64),
        node("Concat", ["three", "height", "width"], ["shape"], axis=0),
        node("Reshape", ["places", "shape"], ["square"]),
        node("Add", ["data", "square"], ["c"]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        *classifier(),
    ]
    arrays = {
        "count": np.array([SIDE**2], np.float32),
        "half": np.array([0.5], np.float32),
        "three": np.array([1, 3]),
        "places": np.ones((1, 3 * SIDE**2), np.float32),
    }
    assert not why_not_apart(make(nodes[:-1], arrays, outputs={"f": ["N", 3]}))
    whole = node("Pow", ["two", "many"], ["never"])
    arrays |= {"two": np.array([2]), "many": np.array([2**40])}
    assert not why_not_apart(make([whole, *nodes[:-1]], arrays, outputs={"f": ["N", 3]}))


def of_tokens(*names: str):
    """Make an encoder of tokens, as a transformer is, with its first one as another output."""
    nodes = [
        node("Conv", ["data", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Reshape", ["c", "s"], ["t"]),
        node("Transpose", ["t"], ["u"], perm=[0, 2, 1]),
        node("LayerNormalization", ["u", "scale"], ["last_hidden_state"]),
        node("Gather", ["last_hidden_state", "first"], ["pooler_output"], axis=1),
    ]
    arrays = weights() | {
        "s": np.array([0, WIDTH, SIDE**2]),
        "scale": np.ones(WIDTH, np.float32),
        "first": np.array(0),
    }
    shapes = {"last_hidden_state": ["N", SIDE**2, WIDTH], "pooler_output": ["N", WIDTH]}
    return make(nodes, arrays, outputs={one: shapes[one] for one in names}, opset=17)


def test_only_outputs_that_can_be_features_are_advised(tmp_path):
    spec = save(tmp_path / "net.onnx", of_tokens("last_hidden_state", "pooler_output"))
    with pytest.raises(BackboneError, match="name it: --layer pooler_output; or") as caught:
        load_backbones([spec])
    assert "last_hidden_state" not in str(caught.value).split("feature row")[1]
    parsed = BackboneSpec.parse(spec)
    named = BackboneSpec(parsed.source, parsed.name, None, Layer("pooler_output"))
    assert load_backbones([named])[0].record.num_features == WIDTH
    spec = save(tmp_path / "tokens.onnx", of_tokens("last_hidden_state"))
    with pytest.raises(BackboneError, match=r"(?s)no classifier.*\n *give a classifier; 'icecore"):
        load_backbones([spec])


def test_a_layer_of_a_shape_that_is_not_known_is_said_to_be_one(tmp_path):
    parts = [
        node("Unique", ["p"], ["some"]),
        node("Shape", ["some"], ["times"]),
        node("Mul", ["times", "zero"], ["nothing"]),
        node("Concat", ["nothing", "rest"], ["shape"], axis=0),
        node("Reshape", ["p", "shape"], ["f"]),
    ]
    arrays = weights() | {"zero": np.array([0]), "rest": np.array([-1])}
    out = [node("MatMulInteger", ["f8", "k8"], ["out8"]), node("Cast", ["out8"], ["out"], to=1)]
    arrays |= {"k8": np.ones((WIDTH, 7), np.uint8)}
    nodes = [*body()[:-1], *parts, node("Cast", ["f"], ["f8"], to=TensorProto.UINT8), *out]
    parsed = BackboneSpec.parse(save(tmp_path / "net.onnx", make(nodes, arrays)))
    named = BackboneSpec(parsed.source, parsed.name, None, Layer("f"))
    with pytest.raises(BackboneError, match=r"'f' gives (numbers of a shape that|\? numbers with)"):
        load_backbones([named])


def test_a_classifier_that_reads_no_numbers_is_refused(tmp_path):
    nodes = [*body(), node("Slice", ["f", "far", "end", "one"], ["none"])]
    nodes.append(node("Gemm", ["none", "k0"], ["out"]))
    arrays = weights() | {"far": np.array([99]), "end": np.array([100]), "one": np.array([1])}
    spec = save(tmp_path / "net.onnx", make(nodes, arrays | {"k0": np.ones((0, 7), np.float32)}))
    with pytest.raises(
        BackboneError, match="classifier that reads no numbers: 0 numbers of 'none'"
    ):
        load_backbones([spec])


def test_another_width_than_the_shapes_say_may_be_the_fault_of_the_engine(tmp_path):
    (backbone,) = load_backbones([save(tmp_path / "net.onnx", plain_of())])
    with pytest.raises(BackboneError, match=r"(?s)\(2, 9\), not \(2, 5\).*try another --engine"):
        require_one_row_each((2, 9), 2, backbone.record)


def plain_of(quantised: bool = False):
    nodes, arrays = body(), weights() | {"scale": np.float32(0.1), "zero": np.uint8(100)}
    if quantised:
        nodes[0] = node("Conv", ["real", "w"], ["c"], pads=[1, 1, 1, 1])
        nodes = [
            node("QuantizeLinear", ["data", "scale", "zero"], ["whole"]),
            node("DequantizeLinear", ["whole", "scale", "zero"], ["real"]),
            *nodes,
        ]
    return make([*nodes, *classifier()], arrays)


@pytest.mark.parametrize("quantised", [True, False])
def test_quantised_networks_that_engines_compute_otherwise_have_a_remedy(quantised, tmp_path):
    """All engines advised another one, where none computes it as the judge does."""
    (backbone,) = load_backbones([save(tmp_path / "net.onnx", plain_of(quantised))])

    class Wrong(ENGINES["onnxruntime"]):
        def run(self, images):
            return super().run(images) * np.float32(1.5)

    with pytest.raises(ProofError, match="use another --engine") as caught:
        prove_in_engine(Wrong(backbone.network, Setup()), backbone.network, Setup())
    assert ("as it was before it was quantised" in str(caught.value)) is quantised
