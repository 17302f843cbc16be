"""Every operator that PyTorch's engine knows gives what ONNX Runtime gives, unoptimized."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from packages import needs

from icecore.core.errors import BackboneError
from icecore.features.graphs.session import load_onnxruntime

pytestmark = needs("torch", "onnxruntime")
SIDE = 6
SHAPE = (2, SIDE, SIDE, 3)
INT, FLOAT = np.int64, np.float32


def model_of(nodes, opset, **arrays):
    """Images -> "x" float32 (2, 3, 6, 6) in [-1.5, 1.5] -> `nodes` -> "y" -> features (2, D)."""
    arrays |= {"half": np.array(127.5, FLOAT), "scale": np.array(1 / 85, FLOAT)}
    arrays |= {"rows": np.array([0, -1], INT)}
    before = [
        helper.make_node("Transpose", ["images"], ["in_0"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["in_0"], ["in_1"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["in_1", "half"], ["in_2"]),
        helper.make_node("Mul", ["in_2", "scale"], ["x"]),
    ]
    after = [helper.make_node("Flatten", ["y"], ["features"], axis=1)]
    graph = helper.make_graph(
        [*before, *nodes, *after],
        "net",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", "D"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made


def images():
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def translated(model, narrow=None):
    import torch

    from icecore.features.engines.translation.translate import translate

    module = translate(torch, model.SerializeToString(), SHAPE, narrow, "onnx:net")
    with torch.inference_mode():
        return module(torch.from_numpy(images())).numpy(), module


def judged(model):
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"images": images()})[0]


def check(nodes, opset=17, **arrays):
    model = model_of(nodes, opset, **arrays)
    expected = judged(model)
    found, module = translated(model)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    return module


def node(kind, *inputs, **attributes):
    return helper.make_node(kind, ["x", *inputs], ["y"], kind.lower(), **attributes)


def positive(kind, *inputs, **attributes):
    """Return an operator on numbers above 0."""
    return [
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node(kind, ["e", *inputs], ["y"], **attributes),
    ]


UNARY = (
    "Abs Ceil Celu Cos Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Mish Neg Relu Round Selu "
    "Sigmoid Sign Sin Softplus Softsign Tanh Identity"
).split()


@pytest.mark.parametrize("kind", UNARY)
def test_functions_of_one_number(kind):
    check([node(kind)], opset=18)


@pytest.mark.parametrize("kind", ["Log", "Sqrt", "Reciprocal"])
def test_functions_of_positive_numbers(kind):
    check(positive(kind))


@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.3}])
@pytest.mark.parametrize("kind", ["Elu", "LeakyRelu"])
def test_attributes_are_heeded(kind, attributes):
    check([node(kind, **attributes)])


BINARY = "Add Sub Mul Div Max Min Mean Sum PRelu".split()


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("shape", [(), (3, 1, 1), (1, 3, 1, 6)])
def test_functions_of_an_image_and_what_is_known(kind, shape):
    other = np.random.default_rng(1).uniform(0.5, 2, shape).astype(FLOAT)
    check([node(kind, "o")], o=other)


@pytest.mark.parametrize("kind", BINARY)
def test_functions_of_two_values_of_the_image(kind):
    check([helper.make_node("Exp", ["x"], ["e"]), helper.make_node(kind, ["x", "e"], ["y"])])


def test_the_known_one_comes_first():
    two = np.array([2.0], FLOAT)
    for kind in ("Sub", "Div", "Pow"):
        check(
            [
                helper.make_node("Exp", ["x"], ["e"]),
                helper.make_node(kind, ["two", "e"], ["y"]),
            ],
            two=two,
        )
    check(positive("Pow", "two"), two=two)


@pytest.mark.parametrize("kind", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
def test_comparisons_choose(kind):
    compared = helper.make_node(kind, ["x", "zero"], ["b"])
    negated = helper.make_node("Not", ["b"], ["n"])
    both = helper.make_node("Or", ["b", "n"], ["o"])
    one = helper.make_node("And", ["o", "b"], ["a"])
    chosen = helper.make_node("Where", ["a", "x", "seven"], ["y"])
    check(
        [compared, negated, both, one, chosen],
        zero=np.array(0, FLOAT),
        seven=np.array([7], FLOAT),
    )


@pytest.mark.parametrize("bounds", [("low", "high"), ("low",), ("", "high")])
def test_clip(bounds):
    check([node("Clip", *bounds)], low=np.array(-0.5, FLOAT), high=np.array(0.7, FLOAT))


REDUCERS = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare".split()


@pytest.mark.parametrize("kind", REDUCERS)
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions_before_and_after_their_axes_became_an_input(kind, keep):
    if kind != "ReduceSum":
        check([node(kind, axes=[-1, 2], keepdims=keep)], opset=17)
    check([node(kind, "axes", keepdims=keep)], opset=18, axes=np.array([2, 3], INT))


CONVOLUTIONS = {
    "plain": ((4, 3, 3, 3), {}),
    "strides": ((4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "unequal": ((4, 3, 3, 3), {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "dilated": ((4, 3, 2, 2), {"dilations": [2, 3], "pads": [1, 1, 1, 1]}),
    "depthwise": ((6, 1, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    "same": ((4, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same_lower": ((4, 3, 4, 4), {"auto_pad": "SAME_LOWER"}),
    "valid": ((4, 3, 3, 3), {"auto_pad": "VALID"}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("biased", [False, True])
def test_convolutions_and_the_normalisation_after_them(case, biased):
    shape, attributes = CONVOLUTIONS[case]
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=shape).astype(FLOAT), rng.normal(size=shape[0]).astype(FLOAT)
    inputs = ["x", "k", "b"] if biased else ["x", "k"]
    conv = helper.make_node("Conv", inputs, ["v"], **attributes)
    norm = helper.make_node("BatchNormalization", ["v", *"smnr"], ["y"], epsilon=1e-3)
    of_channels = {name: rng.uniform(0.5, 2, shape[0]).astype(FLOAT) for name in "smnr"}
    module = check([conv, norm], k=kernel, b=bias, **of_channels)
    assert not any("batch_norm" in str(one.target) for one in module.graph.nodes), "it is folded"
    # What something else reads, too, stays as it is.
    again = helper.make_node("BatchNormalization", ["v", *"smnr"], ["w"])
    total = helper.make_node("Add", ["w", "v"], ["y"])
    module = check([conv, again, total], k=kernel, b=bias, **of_channels)
    assert any("batch_norm" in str(one.target) for one in module.graph.nodes)


@pytest.mark.parametrize("attributes", [{}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}])
def test_transposed_convolutions(attributes):
    kernel = np.random.default_rng(0).normal(size=(3, 5, 3, 3)).astype(FLOAT)
    conv = helper.make_node("ConvTranspose", ["x", "k"], ["v"], **attributes)
    norm = helper.make_node("BatchNormalization", ["v", *"smnr"], ["y"])
    values = {n: np.linspace(0.5, 1.5, 5).astype(FLOAT) for n in "smnr"}
    check([conv, norm], k=kernel, **values)


POOLS = {
    "plain": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "padded": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "unequal": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
    "ceil": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    "wide": {"kernel_shape": [2, 2], "pads": [2, 2, 2, 2]},
}


@pytest.mark.parametrize("case", [name for name in POOLS if name != "wide"])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools(kind, case):
    check([node(kind, **POOLS[case])])
    if kind == "AveragePool" and case != "ceil":
        check([node(kind, count_include_pad=1, **POOLS[case])])


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pools(kind):
    check([node(kind)])


RESIZES = [
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"mode": "nearest"},
    {"mode": "linear"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    {"mode": "cubic", "cubic_coeff_a": -0.5},
    {"mode": "linear", "antialias": 1},
]


@pytest.mark.parametrize("attributes", RESIZES)
@pytest.mark.parametrize("by", ["scales", "sizes"])
def test_maps_are_resized_as_onnx_defines_it(attributes, by):
    factor = 0.5 if "antialias" in attributes else 2.0
    opset = 18 if "antialias" in attributes else 13
    if by == "scales":
        resized = node("Resize", "", "s", **attributes)
        check([resized], opset, s=np.array([1, 1, factor, factor], FLOAT))
    else:
        sizes = np.array([2, 3, 4 if factor < 1 else 9, 4 if factor < 1 else 12], INT)
        check([node("Resize", "", "", "s", **attributes)], opset, s=sizes)


def test_normalisations():
    rng = np.random.default_rng(0)
    three = {n: rng.uniform(0.5, 1.5, 3).astype(FLOAT) for n in "smnr"}
    check([node("BatchNormalization", *"smnr")], **three)
    check([node("InstanceNormalization", "s", "m")], s=three["s"], m=three["m"])
    rows = {n: rng.uniform(0.5, 1.5, 6).astype(FLOAT) for n in "sm"}
    check([node("LayerNormalization", "s", "m", axis=-1)], **rows)
    maps = {n: rng.uniform(0.5, 1.5, (6, 6)).astype(FLOAT) for n in "sm"}
    check([node("LayerNormalization", "s", "m", axis=2, epsilon=1e-3)], **maps)
    check([node("LRN", size=3, alpha=0.1, beta=0.5, bias=1.5)])
    check([node("LpNormalization", axis=1, p=2)])


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_softmax_before_and_after_its_meaning_changed(kind, opset):
    check([node(kind, axis=1)], opset)
    check([node(kind)], opset)


GEMMS = [{}, {"transB": 1}, {"alpha": 0.5, "beta": 2.0}]


@pytest.mark.parametrize("attributes", GEMMS)
@pytest.mark.parametrize("biased", [False, True])
def test_products(attributes, biased):
    rng = np.random.default_rng(0)
    shape = (5, 108) if attributes.get("transB") else (108, 5)
    flat = helper.make_node("Flatten", ["x"], ["f"], axis=1)
    gemm = helper.make_node("Gemm", ["f", "w", *["b"] * biased], ["y"], **attributes)
    check([flat, gemm], w=rng.normal(size=shape).astype(FLOAT), b=np.arange(5, dtype=FLOAT))
    check([node("MatMul", "m")], m=rng.normal(size=(6, 4)).astype(FLOAT))
    check([helper.make_node("MatMul", ["m", "x"], ["y"])], m=rng.normal(size=(4, 6)).astype(FLOAT))


def test_gelu_in_many_words_is_one_call():
    words = [
        helper.make_node("Div", ["x", "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["d"]),
        helper.make_node("Mul", ["d", "fifty"], ["y"]),
    ]
    values = {"root": 2**0.5, "one": 1.0, "fifty": 0.5}
    module = check(words, **{name: np.array(value, FLOAT) for name, value in values.items()})
    assert sum("gelu" in str(one.target) for one in module.graph.nodes) == 1
    values["fifty"] = 0.51
    module = check(words, **{name: np.array(value, FLOAT) for name, value in values.items()})
    assert not any("gelu" in str(one.target) for one in module.graph.nodes)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_one_call(masked):
    scores = "masked" if masked else "scores"
    words = [
        helper.make_node("Transpose", ["x"], ["k"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["x", "k"], ["scores"]),
        *[helper.make_node("Add", ["scores", "bias"], ["masked"])] * masked,
        helper.make_node("Softmax", [scores], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "x"], ["y"]),
    ]
    bias = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(FLOAT)
    module = check(words, bias=bias)
    assert sum("attention" in str(one.target) for one in module.graph.nodes) == 1


MOVES = {
    "reshape": ([node("Reshape", "s")], {"s": np.array([0, -1, 9], INT)}),
    "transpose": ([node("Transpose", perm=[0, 3, 1, 2])], {}),
    "unsqueeze": (
        [helper.make_node("Unsqueeze", ["x", "a"], ["u"]),
         helper.make_node("Squeeze", ["u", "a"], ["y"])],
        {"a": np.array([1, -1], INT)},
    ),
    "concat": ([node("Concat", "o", "x", axis=1)], {"o": np.ones((2, 2, 6, 6), FLOAT)}),
    "split": (
        [helper.make_node("Split", ["x", "s"], ["a", "b"], axis=2),
         helper.make_node("Concat", ["b", "a"], ["y"], axis=-2)],
        {"s": np.array([2, 4], INT)},
    ),
    "slice": (
        [node("Slice", "s", "e", "a", "t")],
        {"s": [-1, 1], "e": [-(2**31), 2**31 - 1], "a": [2, 3], "t": [-2, 1]},
    ),
    "gather": ([node("Gather", "i", axis=2)], {"i": np.array([[0, -1], [3, 3]], INT)}),
    "gather_one": ([node("Gather", "i", axis=2)], {"i": np.array(-2, INT)}),
    "expand": (
        [helper.make_node("GlobalMaxPool", ["x"], ["g"]),
         helper.make_node("Expand", ["g", "s"], ["y"])],
        {"s": np.array([1, 3, 4, 1], INT)},
    ),
    "tile": ([node("Tile", "r")], {"r": np.array([1, 2, 1, 3], INT)}),
    "pad": ([node("Pad", "p", "v")], {"p": [0, 1, 2, 0, 0, 0, 1, 3], "v": np.array(5, FLOAT)}),
    "reflect": ([node("Pad", "p", mode="reflect")], {"p": [0, 0, 2, 1, 0, 0, 1, 3]}),
    "edge": ([node("Pad", "p", mode="edge")], {"p": [0, 0, 2, 1, 0, 0, 1, 3]}),
    "depth": (
        [helper.make_node("SpaceToDepth", ["x"], ["d"], blocksize=2),
         helper.make_node("DepthToSpace", ["d"], ["y"], blocksize=2)],
        {},
    ),
    "crd": (
        [helper.make_node("SpaceToDepth", ["x"], ["d"], blocksize=2),
         helper.make_node("DepthToSpace", ["d"], ["y"], blocksize=2, mode="CRD")],
        {},
    ),
    "shape": (
        [helper.make_node("Shape", ["x"], ["s"]),
         helper.make_node("Gather", ["s", "two"], ["side"], axis=0),
         helper.make_node("Cast", ["side"], ["f"], to=TensorProto.FLOAT),
         helper.make_node("Mul", ["x", "f"], ["y"])],
        {"two": np.array(2, INT)},
    ),
    "cumsum": ([node("CumSum", "a")], {"a": np.array(3, INT)}),
}  # fmt: skip


@pytest.mark.parametrize("case", MOVES)
def test_numbers_that_are_moved_about(case):
    nodes, arrays = MOVES[case]
    arrays = {n: np.array(v, INT) if isinstance(v, list) else v for n, v in arrays.items()}
    check(nodes, **arrays)


def test_half_precision_begins_at_the_first_layer_with_weights():
    import torch

    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(FLOAT)
    conv = helper.make_node("Conv", ["x", "k"], ["v"])
    half = helper.make_node("Mul", ["v", "seven"], ["y"])
    model = model_of([conv, half], 17, k=kernel, seven=np.array(7, FLOAT))
    exact, _ = translated(model)
    found, module = translated(model, torch.bfloat16)
    assert found.dtype == FLOAT
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert 1e-4 < error < 2e-2
    kinds = {str(one.dtype) for one in module.buffers()}
    assert kinds == {"torch.bfloat16"}, "shift and scale of the pixels are plain numbers here"


def test_operators_that_are_not_known_are_all_named_with_another_engine():
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),
        helper.make_node("Einsum", ["x"], ["y"], equation="nchw->nchw"),
    ]
    with pytest.raises(BackboneError) as caught:
        translated(model_of(nodes, 17))
    assert "the engine torch refuses the graph" in caught.value.message
    assert "the operators Einsum, NonZero" in caught.value.message
    assert caught.value.hint == "use --engine onnxruntime"


def test_what_an_operator_cannot_do_is_said_with_its_name():
    shape = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["i"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["i", "one"], ["s"]),
        helper.make_node("Tile", ["x", "s"], ["y"], "tiled"),
    ]
    with pytest.raises(BackboneError, match="Tile 'tiled' whose input 1 depends on the image"):
        translated(model_of(shape, 17, one=np.array([1], INT)))
    with pytest.raises(BackboneError, match=r"Reshape 'reshape' that turns \(2, 3, 6, 6\) into"):
        translated(model_of([node("Reshape", "s")], 17, s=np.array([5, 5], INT)))
    with pytest.raises(BackboneError, match="whose output does not depend on the image"):
        plain = helper.make_node("Identity", ["half"], ["i"])
        flat = helper.make_node("Reshape", ["i", "s"], ["y"])
        translated(model_of([plain, flat], 17, s=np.array([1, 1], INT)))


@pytest.mark.parametrize("kind", ["Div", "Mod"])
def test_whole_numbers_over_0_are_refused_and_others_are_infinite(kind, recwarn):
    nodes = [
        helper.make_node(kind, ["one", "none"], ["q"]),
        helper.make_node("Cast", ["q"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Min", ["x", "c"], ["y"]),
    ]
    with pytest.raises(BackboneError, match=f"{kind} 'q'.* divide by zero"):
        translated(model_of(nodes, 17, one=np.array(1, INT), none=np.array(0, INT)))
    if kind == "Div":
        nodes[0].input[1] = "float_none"
        nodes[0].input[0] = "half"
        check(nodes, float_none=np.array(0, FLOAT))
    assert not recwarn.list


def test_what_fails_while_it_runs_prints_nothing_of_its_own(capfd):
    places = [
        helper.make_node("Add", ["x", "far"], ["a"]),
        helper.make_node("Cast", ["a"], ["n"], to=7),
    ]
    found = helper.make_node("Gather", ["some", "n"], ["y"], axis=0)
    model = model_of([*places, found], 17, far=np.float32(99), some=np.ones(5, np.float32))
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        translated(model)
    assert capfd.readouterr() == ("", "")


def test_graphs_inside_what_is_known_are_not_run():
    body = helper.make_graph(
        [helper.make_node("Identity", ["half"], ["o"])],
        "body", [], [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )  # fmt: skip
    chosen = helper.make_node("If", ["yes"], ["z"], "chosen", then_branch=body, else_branch=body)
    with pytest.raises(BackboneError, match="If 'chosen' with a graph inside"):
        translated(model_of([chosen, node("Add", "z")], 17, yes=np.array(True)))


@pytest.mark.slow
def test_every_network_of_both_zoos_gives_the_features_of_onnx_runtime():
    from icecore.features.backbones import load_backbone
    from icecore.features.engines.base import Setup
    from icecore.features.engines.proof import random_images
    from icecore.features.engines.torch import TorchEngine
    from icecore.features.gluon.library import graph_index
    from icecore.features.records.spec import BackboneSpec
    from icecore.features.weights.request import WeightsRequest

    request, errors = WeightsRequest.parse("random:0"), {}
    for text in sorted(graph_index()):
        loaded = load_backbone(BackboneSpec.parse(text), "onnxruntime", request)
        batch = random_images(loaded.record.resolution, 1, 0)
        expected = loaded.start("cpu", 1).run(batch)
        found = TorchEngine(loaded.network, Setup(batch_size=1)).run(batch)
        errors[text] = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert max(errors.values()) < 1e-4, errors


def test_one_slope_a_channel_as_mxnet_writes_it():
    """ONNX Runtime does not know it; OpenVINO and onnx's own evaluator do."""
    import torch

    slope = np.array([0.1, 0.2, 0.3], FLOAT)
    found, _ = translated(model_of([node("PRelu", "s")], 13, s=slope))
    written_out, _ = translated(model_of([node("PRelu", "s")], 13, s=slope.reshape(3, 1, 1)))
    assert torch.equal(torch.from_numpy(found), torch.from_numpy(written_out))
    with pytest.raises(BackboneError, match="with more slopes than numbers"):
        translated(model_of([node("PRelu", "s")], 13, s=np.ones((2, 1, 3, 6, 6), FLOAT)))


def test_pads_of_the_first_opset():
    pads = [0, 0, 1, 2, 0, 0, 0, 3]
    old, _ = translated(model_of([helper.make_node("Pad", ["x"], ["y"], paddings=pads)], 1))
    new, _ = translated(model_of([helper.make_node("Pad", ["x"], ["y"], pads=pads)], 9))
    assert np.array_equal(old, new)
