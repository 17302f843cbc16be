"""Which layer are the features, and what does the graph take: found, said, or asked."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import (
    CLASSES,
    RECORD,
    SIDE,
    WIDTH,
    body,
    classifier,
    expected,
    features_of,
    make,
    plain,
    save,
    some_images,
    weights,
)

from icecore import jobs
from icecore.core.errors import BackboneError, RunError
from icecore.features.backbones import load_backbones
from icecore.features.records.layer import BEFORE_CLASSIFIER, Layer

node = helper.make_node
CLOSE = {"rtol": 2e-4, "atol": 1e-5}
ENGINES = ("openvino", "onnxruntime")


def load(spec: str, layer: str | None = None, engine: str = "auto", pool: str = "avg"):
    wanted = BEFORE_CLASSIFIER if layer is None and pool == "avg" else Layer(layer, pool)
    return load_backbones([spec], engine, layer=wanted)[0]


def rows(spec: str, images=None, **options) -> np.ndarray:
    """Return the features that both engines agree on."""
    images = some_images() if images is None else images
    first, second = (load(spec, engine=e, **options).start("cpu").run(images) for e in ENGINES)
    np.testing.assert_allclose(first, second, **CLOSE)
    return first


def headless(activation: str = "Relu", order: str = "pool last"):
    """End in a convolution, an activation and a pool, as networks without a classifier do."""
    arrays = weights() | {"last": np.random.default_rng(1).normal(size=(9, WIDTH, 1, 1))}
    arrays["last"] = arrays["last"].astype(np.float32)
    nodes = [*body()[:2]]
    if order == "pool last":
        nodes += [
            node("Conv", ["r", "last"], ["y"], name="conv_head"),
            node(activation, ["y"], ["z"]),
            node("GlobalAveragePool", ["z"], ["q"]),
        ]
    else:
        nodes += [
            node("GlobalAveragePool", ["r"], ["q0"]),
            node("Conv", ["q0", "last"], ["y"], name="conv_head"),
            node(activation, ["y"], ["q"]),
        ]
    nodes.append(node("Flatten", ["q"], ["embedding"], axis=1))
    return make(nodes, arrays, outputs={"embedding": ["N", 9]})


@pytest.mark.parametrize("between", [[], ["Dropout"], ["Identity", "Flatten"]])
def test_a_layer_that_sums_up_probabilities_is_asked_about(between, tmp_path):
    """As networks do that tell breeds apart and answer with kinds."""
    nodes = [*body(), *classifier()]
    nodes[-1].output[0] = "logits"
    nodes += [node("Softmax", ["logits"], ["breeds"], axis=1)]
    for kind in between:
        nodes += [node(kind, nodes[-1].output, [f"after {kind}"])]
    nodes += [node("MatMul", [*nodes[-1].output, "sums"], ["out"], name="kinds")]
    arrays = weights() | {"sums": np.eye(CLASSES, 3, dtype=np.float32)}
    model = make(nodes, arrays, outputs={"out": ["N", 3]})
    spec = save(tmp_path / "net.onnx", model)
    with pytest.raises(BackboneError, match="'kinds', which makes 3 .* probabilities themselves"):
        load(spec)
    np.testing.assert_allclose(rows(spec, layer="f"), expected(some_images()), **CLOSE)
    model = save(tmp_path / "net.onnx", model, num_classes=3)
    assert rows(model).shape == (3, CLASSES)


CHOICES = {
    "Slice": node("Slice", ["all", "from", "to", "axis"], ["out"]),
    "Gather": node("Gather", ["all", "some"], ["out"], axis=1),
    "Split": node("Split", ["all", "sizes"], ["rest", "out"], axis=1),
}


@pytest.mark.parametrize("how", CHOICES)
@pytest.mark.parametrize("known", [True, False], ids=["shapes known", "shapes not known"])
@pytest.mark.parametrize("record", [{}, {"num_classes": CLASSES - 1}])
def test_a_classifier_of_which_answers_are_left_away_is_found(how, known, record, tmp_path):
    """As that for the background is."""
    nodes = [*body(), *classifier(), CHOICES[how]]
    nodes[-2].output[0] = "all"
    if not known:
        shape = [node("Cast", ["s2"], ["decimal"], to=TensorProto.FLOAT)]
        shape += [node("Cast", ["decimal"], ["to_f"], to=TensorProto.INT64)]
        nodes[3:4] = [*shape, node("Reshape", ["p", "to_f"], ["f"])]
    numbers = {"from": [1], "to": [CLASSES], "axis": [1], "sizes": [1, CLASSES - 1]}
    numbers |= {"some": [*range(1, CLASSES)], "s2": [0, WIDTH]}
    numbers = {name: np.array(one, np.int64) for name, one in numbers.items()}
    model = make(nodes, weights() | numbers, outputs={"out": ["N", CLASSES - 1]})
    spec = save(tmp_path / "net.onnx", model, **record)
    np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)
    assert f"to tell {CLASSES - 1} classes apart" in load(spec).network.layer


def test_where_the_search_for_a_classifier_ended_is_said(tmp_path):
    equation = node("Einsum", ["f", "k"], ["e"], "head", equation="bc,ck->bk")
    nodes = [*body(), equation, node("Softmax", ["e"], ["out"], axis=1)]
    with pytest.raises(BackboneError, match=r"no classifier.*: .* ends at Einsum 'head'"):
        load(save(tmp_path / "net.onnx", make(nodes, weights())))


def test_a_product_that_turns_the_features_round_is_asked_about(tmp_path):
    nodes = [*body(), node("Transpose", ["f"], ["t"], perm=[1, 0])]
    nodes += [node("Gemm", ["t", "k", "b"], ["out"], "head", transA=1)]
    spec = save(tmp_path / "net.onnx", make(nodes, weights()))
    with pytest.raises(BackboneError, match=r"no classifier.*: .* ends at Gemm 'head'"):
        load(spec)
    np.testing.assert_allclose(rows(spec, layer="f"), expected(some_images()), **CLOSE)


@pytest.mark.parametrize("between", [[], ["Mul"], ["Identity", "Add", "Dropout"]])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("record", [{}, {"num_classes": CLASSES}])
def test_a_layer_that_calibrates_logits_is_not_the_classifier(between, times, record, tmp_path):
    """As matrix scaling does."""
    nodes = [*body(), *classifier()]
    nodes[-1].output[0] = "logits"
    for kind in between:
        inputs = [*nodes[-1].output, "b"][: 1 + (kind in ("Mul", "Add"))]
        nodes += [node(kind, inputs, [f"after {kind}"])]
    for number in range(times):
        nodes += [node("MatMul", [*nodes[-1].output, "square"], [f"scaled{number}"])]
    nodes += [node("Softmax", nodes[-1].output, ["out"], axis=1)]
    square = np.random.default_rng(0).normal(size=(CLASSES, CLASSES)).astype(np.float32)
    spec = save(tmp_path / "net.onnx", make(nodes, weights() | {"square": square}), **record)
    np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)
    assert load(spec).network.layer.startswith(f"{WIDTH} numbers of 'f'")


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "HardSwish", "Clip", "Elu"])
@pytest.mark.parametrize("order", ["pool last", "pool first"])
def test_a_network_without_classifier_is_asked_about_and_the_remedies_work(
    activation, order, tmp_path
):
    model = headless(activation, order)
    if activation == "HardSwish":
        model.opset_import[0].version = 14
    spec = save(tmp_path / "net.onnx", model)
    with pytest.raises(BackboneError, match=r"ends in the Conv 'conv_head', which makes 9") as told:
        load(spec)
    named = re.findall(r"--layer (\S+) [a-z]* ?the (\d+)", told.value.hint)
    assert [int(width) for _, width in named] == [9, WIDTH]
    for layer, width in named:
        assert rows(spec, layer=layer).shape == (3, int(width))
    assert rows(save(tmp_path / "net.onnx", model, num_classes=9)).shape == (3, WIDTH)


def test_a_convolution_before_the_pool_is_asked_about(tmp_path):
    model = headless()
    kept = [n for n in model.graph.node if n.op_type != "Relu" or n.output[0] != "z"]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.node[-2].input[0] = "y"
    spec = save(tmp_path / "net.onnx", model)
    with pytest.raises(BackboneError, match="ends in the Conv 'conv_head'.*or a pool"):
        load(spec)
    assert rows(spec, layer="embedding").shape == (3, 9)


def test_softmax_makes_a_layer_with_activation_a_classifier(tmp_path):
    model = headless()
    model.graph.node.append(node("Softmax", ["embedding"], ["p"], axis=1))
    model.graph.output[0].name = "p"
    assert rows(save(tmp_path / "net.onnx", model)).shape == (3, WIDTH)


def test_no_classes_means_that_the_output_is_the_row(tmp_path):
    spec = save(tmp_path / "net.onnx", headless(), num_classes=0)
    assert load(spec).network.layer == (
        "9 numbers of 'embedding', the output, for the record says num_classes 0"
    )
    np.testing.assert_array_equal(rows(spec), rows(spec, layer="embedding"))
    model = headless()
    model.graph.output.append(
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 9, SIDE, SIDE])
    )
    with pytest.raises(BackboneError, match="'embedding'.*'z'"):
        load(save(tmp_path / "net.onnx", model, num_classes=0))


def test_no_classes_and_a_classifier_contradict_each_other(tmp_path):
    spec = save(tmp_path / "net.onnx", plain(), num_classes=0)
    with pytest.raises(BackboneError, match=r"(?s)num_classes 0.*the Gemm 'out'.*--layer out"):
        load(spec)
    assert rows(spec, layer="out").shape == (3, CLASSES)
    with pytest.raises(BackboneError, match=f"num_classes 8, but the Gemm 'out' gives {CLASSES}"):
        load(save(tmp_path / "net.onnx", plain(), num_classes=8))


def test_a_layer_without_a_map_is_not_blamed_on_a_pool_that_regions_do_not_offer(tmp_path):
    spec = save(tmp_path / "net.onnx", plain())
    with pytest.raises(BackboneError, match="that gives a map of height and width") as caught:
        rows(spec, layer="out", pool="none")
    assert "--pool" not in str(caught.value)


def test_outputs_of_different_classifiers_are_asked_about(tmp_path):
    rng = np.random.default_rng(2)
    arrays = weights() | {"a": rng.normal(size=(3, CLASSES)).astype(np.float32)}
    arrays["s"] = rng.normal(size=(3, WIDTH, 1, 1)).astype(np.float32)
    nodes = [
        *body(),
        node("Conv", ["r", "s"], ["side"]),
        node("GlobalMaxPool", ["side"], ["sp"]),
        node("Flatten", ["sp"], ["sf"], axis=1),
        node("Gemm", ["sf", "a"], ["aux"]),
        *classifier(),
    ]
    outputs = {"aux": ["N", CLASSES], "out": ["N", CLASSES]}
    spec = save(tmp_path / "net.onnx", make(nodes, arrays, outputs=outputs))
    with pytest.raises(BackboneError, match="has 2 classifiers, which read different") as told:
        load(spec)
    named = re.findall(r"--layer (\S+) \((\d+) numbers, before the output '(\w+)'", told.value.hint)
    assert named == [("sf", "3", "aux"), ("f", str(WIDTH), "out")]
    np.testing.assert_allclose(rows(spec, layer="f"), expected(some_images()), **CLOSE)


def test_classifiers_that_read_the_same_need_the_same_features(tmp_path):
    arrays = weights() | {"box": np.ones((WIDTH, 4), np.float32)}
    nodes = [*body(), node("Gemm", ["f", "box"], ["where"]), *classifier()]
    model = make(nodes, arrays, outputs={"where": ["N", 4], "out": ["N", CLASSES]})
    for record in ({}, {"num_classes": CLASSES}, {"num_classes": 4}):
        spec = save(tmp_path / "net.onnx", model, **record)
        np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)


DENSE = {
    "segmentation": [node("Conv", ["r", "o"], ["m"]), node("Softmax", ["m"], ["out"], axis=1)],
    "one mask": [node("Conv", ["r", "o"], ["m"]), node("Sigmoid", ["m"], ["out"])],
    "logits of places": [node("Conv", ["r", "o"], ["out"])],
    "a picture": [
        node("Gemm", ["f", "k"], ["m"]), node("Sigmoid", ["m"], ["s"]),
        node("Reshape", ["s", "sides"], ["out"]),
    ],
    "a sequence": [
        node("Reshape", ["r", "flat"], ["t"]), node("Transpose", ["t"], ["u"], perm=[0, 2, 1]),
        node("MatMul", ["u", "k"], ["l"]), node("Softmax", ["l"], ["out"], axis=-1),
    ],
    "places in a row": [node("Conv", ["r", "o"], ["m"]), node("Flatten", ["m"], ["out"])],
    "places of a pool in a row": [
        node("Conv", ["r", "o"], ["m"]),
        node("AveragePool", ["m"], ["q"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        node("Flatten", ["q"], ["f2"]), node("Softmax", ["f2"], ["out"], axis=1),
    ],
    "a sequence in a row": [
        node("Reshape", ["r", "flat"], ["t"]), node("Transpose", ["t"], ["u"], perm=[0, 2, 1]),
        node("MatMul", ["u", "k"], ["l"]), node("Flatten", ["l"], ["out"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", DENSE)
def test_what_answers_for_places_is_no_classifier_without_a_word(kind, tmp_path):
    arrays = weights() | {"flat": np.array([0, WIDTH, -1])}
    arrays["o"] = arrays["k"].T.reshape(CLASSES, WIDTH, 1, 1).copy()
    arrays["k"] = np.ones((WIDTH, 12 if kind == "a picture" else CLASSES), np.float32)
    arrays["sides"] = np.array([0, 3, 2, 2])
    shapes = {"a picture": ["N", 3, 2, 2], "a sequence": ["N", SIDE**2, CLASSES]}
    laid_out = ["N", CLASSES * SIDE**2] if "in a row" in kind else ["N", CLASSES, SIDE, SIDE]
    outputs = {"out": shapes.get(kind, laid_out)}
    model = make([*body(), *DENSE[kind]], arrays, outputs=outputs)
    spec = save(tmp_path / "net.onnx", model)
    with pytest.raises(BackboneError, match="no row of classes but a map, or a sequence") as told:
        load(spec)
    # What is advised works.
    for layer, wide in re.findall(r"--layer (\S+) takes the (\d+) numbers", told.value.hint):
        found = rows(spec, layer=layer)
        assert np.isfinite(found).all()
        assert found.shape[1] == int(wide)
    count = int(re.search(r'"num_classes": (\d+)', told.value.hint)[1])
    assert np.isfinite(rows(save(tmp_path / "net.onnx", model, num_classes=count))).all()


@pytest.mark.parametrize("first", [True, False])
def test_outputs_that_lead_to_one_classifier_are_no_question(first, tmp_path):
    nodes = [*body(), *classifier(), node("Softmax", ["out"], ["prob"], axis=1)]
    outputs = {"f": ["N", WIDTH], "out": ["N", CLASSES], "prob": ["N", CLASSES]}
    outputs = outputs if first else dict(reversed(outputs.items()))
    spec = save(tmp_path / "net.onnx", make(nodes, weights(), outputs=outputs))
    np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)


def behind(kind: str):
    arrays, nodes = weights(), []
    kernel = arrays.pop("k")
    if kind == "Constant":
        nodes = [node("Constant", [], [n], value=numpy_helper.from_array(v, n))
                 for n, v in arrays.items()]  # fmt: skip
        nodes.append(node("Constant", [], ["k"], value=numpy_helper.from_array(kernel, "k")))
        arrays = {}
    elif kind == "Identity":
        arrays["k0"] = kernel
        nodes = [node("Identity", ["k0"], ["k1"]), node("Identity", ["k1"], ["k"])]
    elif kind == "Transpose":
        arrays["k0"] = np.ascontiguousarray(kernel.T)
        nodes = [node("Transpose", ["k0"], ["k"], perm=[1, 0])]
    elif kind == "DequantizeLinear":
        arrays |= {"k0": np.round(kernel * 30).astype(np.int8), "step": np.float32(1 / 30)}
        arrays |= {"zero": np.int8(0)}
        arrays = {n: np.asarray(v) for n, v in arrays.items()}
        nodes = [node("DequantizeLinear", ["k0", "step", "zero"], ["k"])]
    elif kind == "Cast":
        arrays["k0"] = kernel.astype(np.float64)
        nodes = [node("Cast", ["k0"], ["k"], to=TensorProto.FLOAT)]
    elif kind == "Reshape":
        arrays |= {"k0": kernel.reshape(-1), "shape": np.array([WIDTH, CLASSES])}
        nodes = [node("Reshape", ["k0", "shape"], ["k"])]
    elif kind == "Mul":
        arrays |= {"k0": kernel / 2, "two": np.array(2, np.float32)}
        nodes = [node("Mul", ["k0", "two"], ["k"])]
    return make([*nodes, *body(), *classifier()], arrays)


@pytest.mark.parametrize(
    "kind", ["Constant", "Identity", "Transpose", "DequantizeLinear", "Cast", "Reshape", "Mul"]
)
def test_weights_that_depend_on_constants_alone_are_constant(kind, tmp_path):
    spec = save(tmp_path / "net.onnx", behind(kind))
    np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)


@pytest.mark.parametrize("width", [WIDTH, SIDE])
@pytest.mark.parametrize("pool", ["avg", "max"])
def test_a_dense_layer_on_a_map_with_channels_last(width, pool, tmp_path):
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.3, (width, 3, 3, 3)).astype(np.float32)
    arrays = {"w": kernel, "k": rng.normal(size=(width, CLASSES)).astype(np.float32)}
    nodes = [
        *body()[:2],
        node("Transpose", ["r"], ["map"], perm=[0, 2, 3, 1]),
        node("MatMul", ["map", "k"], ["dense"]),
        node("ReduceMean", ["dense"], ["out"], axes=[1, 2], keepdims=0),
    ]
    spec = save(tmp_path / "net.onnx", make(nodes, arrays))
    found = rows(spec, pool=pool)
    assert found.shape == (3, width)
    if pool == "avg":
        np.testing.assert_allclose(found, expected(some_images(), arrays), **CLOSE)
    np.testing.assert_allclose(rows(spec, pool=pool, layer="map"), found, **CLOSE)


def test_what_was_taken_is_said(tmp_path, image_folder):
    spec = save(tmp_path / "net.onnx", plain())
    assert load(spec).network.layer == (
        f"{WIDTH} numbers of 'f', which the Gemm 'out' reads to tell {CLASSES} classes apart"
    )


INTEGERS = ["UINT8", "INT32", "INT64", "UINT16"]


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("last", [False, True])
def test_graphs_of_integers_prepare_their_pixels_themselves(kind, last, tmp_path):
    number = getattr(TensorProto, kind)
    nodes = [node("Cast", ["data"], ["real"], to=TensorProto.FLOAT)]
    if last:
        nodes.append(node("Transpose", ["real"], ["first"], perm=[0, 3, 1, 2]))
    rest = [*body(), *classifier()]
    rest[0].input[0] = "first" if last else "real"
    shape = ["N", SIDE, SIDE, 3] if last else ["N", 3, SIDE, SIDE]
    model = make([*nodes, *rest], weights(), shape=shape, kind=number)
    images = some_images()
    found = rows(save(tmp_path / "net.onnx", model), images)
    np.testing.assert_allclose(found, features_of(images.astype(float), weights()["w"]), **CLOSE)
    record = load(f"onnx:{tmp_path}/net.onnx").record.preprocessing
    np.testing.assert_allclose(record.std, [1 / 255] * 3)


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE"])
@pytest.mark.parametrize("inside", [False, True])
def test_other_floats_are_taken(kind, inside, tmp_path):
    number = getattr(TensorProto, kind)
    arrays = weights()
    kernel = {"FLOAT16": np.float16, "DOUBLE": np.float64}.get(kind)
    if inside or kernel is None:
        # Only the input (or what follows it) is of that type.
        cast = node("Cast", ["data"], ["real"], to=TensorProto.FLOAT)
        rest = [*body(), *classifier()]
        rest[0].input[0] = "real"
        model = make([cast, *rest], arrays, kind=number)
    else:
        model = make(
            [*body(), *classifier()], {n: v.astype(kernel) for n, v in arrays.items()}, kind=number
        )
        model.graph.output[0].type.tensor_type.elem_type = number
    found = rows(save(tmp_path / "net.onnx", model))
    exact = {n: v.astype(kernel).astype(float) for n, v in arrays.items()} if kernel else arrays
    np.testing.assert_allclose(found, expected(some_images(), exact), rtol=2e-3, atol=1e-4)
    if kind == "FLOAT16" and not inside:
        np.testing.assert_allclose(found, expected(some_images(), exact), **CLOSE)


def test_numbers_that_are_no_pixels_are_refused(tmp_path):
    for kind in (TensorProto.INT8, TensorProto.BOOL, TensorProto.STRING):
        cast = node("Cast", ["data"], ["real"], to=TensorProto.FLOAT)
        rest = [*body(), *classifier()]
        rest[0].input[0] = "real"
        spec = save(tmp_path / "net.onnx", make([cast, *rest], weights(), kind=kind))
        with pytest.raises(BackboneError, match="numbers, which are no pixels"):
            load(spec)


def test_bgr_is_heeded(tmp_path):
    record = {"input_space": "BGR", "input_range": [0, 255], "mean": [104, 117, 128]}
    spec = save(tmp_path / "net.onnx", plain(), **record, std=[1, 2, 4])
    images = some_images()
    scaled = (images[..., ::-1] - np.array([104, 117, 128])) / [1, 2, 4]
    np.testing.assert_allclose(rows(spec), features_of(scaled, weights()["w"]), **CLOSE)
    other = save(tmp_path / "other.onnx", plain())
    assert load(spec).record.preprocessing != load(other).record.preprocessing


def test_images_with_channels_last_are_taken(tmp_path):
    rest = [node("Transpose", ["data"], ["first"], perm=[0, 3, 1, 2]), *body(), *classifier()]
    rest[1].input[0] = "first"
    spec = save(tmp_path / "net.onnx", make(rest, weights(), shape=["N", SIDE, SIDE, 3]))
    np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("target", [[0, -1], [0, WIDTH]])
def test_graphs_for_one_number_of_images_take_any(batch, target, tmp_path):
    nodes = body()
    nodes[-1] = node("Reshape", ["p", "shape"], ["f"])
    shape = np.array([batch, target[1]])
    model = make([*nodes, *classifier()], weights() | {"shape": shape})
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = batch
    spec = save(tmp_path / "net.onnx", model)
    for count in (1, 3, 8):
        images = some_images(count)
        np.testing.assert_allclose(rows(spec, images), expected(images), **CLOSE)


@pytest.mark.parametrize("tried", [False, True], ids=["at once", "in a child first"])
def test_what_cannot_be_divided_says_what_to_do_and_it_works(tried, tmp_path, image_folder):
    nodes = body()
    if tried:  # What such an operator costs is not known.
        nodes[1:1] = [node("IsInf", ["c"], ["i"]), node("Where", ["i", "c", "c"], ["c2"])]
        nodes[3].input[0] = "c2"
    nodes[-1] = node("Reshape", ["p", "shape"], ["f0"])
    # All images in one row, and back: no shape of it begins with their number.
    nodes += [node("Reshape", ["f0", "back"], ["f"])]
    shapes = {"shape": np.array([1, 8 * WIDTH]), "back": np.array([8, WIDTH])}
    model = make([*nodes, *classifier()], weights() | shapes)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 8
    spec = save(tmp_path / "net.onnx", model)
    for engine, size in (("openvino", 8), ("openvino", 16), ("onnxruntime", 16)):
        with pytest.raises(BackboneError, match="exported for batches of 8 images") as told:
            load(spec, engine=engine).start("cpu", size)
        assert "--engine onnxruntime --batch-size 8" in told.value.hint
    images = some_images(8)
    found = load(spec, engine="onnxruntime").start("cpu", 8).run(images)
    np.testing.assert_allclose(found, expected(images), **CLOSE)
    # With the proof, and images that fill no batch.
    options = jobs.ExtractOptions(engine="onnxruntime", batch_size=8)
    report = jobs.extract(image_folder, tmp_path / "cache", [spec], options)
    assert report.sets[0]["relative_error"] < 1e-5
    heads = jobs.TrainOptions(heads=["ridge"], folds=3)
    jobs.train(tmp_path / "cache", image_folder, tmp_path / "run", heads)
    with pytest.raises(RunError, match="takes 8 images at a time.* a bundle takes any number"):
        jobs.bundle(tmp_path / "run", tmp_path / "bundle.onnx")


def test_a_classifier_that_is_asked_several_times_with_dropout_is_one(tmp_path):
    """Multi-sample dropout, which does nothing where no network is trained."""
    nodes = [*body()]
    for number in range(4):
        nodes += [node("Dropout", ["f"], [f"d{number}"])]
        nodes += [node("Gemm", [f"d{number}", "k", "b"], [f"l{number}"])]
    nodes += [node("Mean", [f"l{number}" for number in range(4)], ["out"])]
    spec = save(tmp_path / "net.onnx", make(nodes, weights()))
    np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)


@pytest.mark.parametrize("record", [{}, {"num_classes": CLASSES + 2}])
def test_a_classifier_in_parts_is_one(record, tmp_path):
    nodes = [*body(), node("Gemm", ["f", "k", "b"], ["a"]), node("MatMul", ["f", "k2"], ["z"])]
    nodes += [node("Concat", ["a", "z"], ["out"], axis=1)]
    more = {"k2": np.random.default_rng(2).normal(size=(WIDTH, 2)).astype(np.float32)}
    model = make(nodes, weights() | more, outputs={"out": ["N", CLASSES + 2]})
    spec = save(tmp_path / "net.onnx", model, **record)
    np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)
    with pytest.raises(BackboneError, match="says num_classes 5, but"):
        load(save(tmp_path / "net.onnx", model, num_classes=5))


@pytest.mark.parametrize("together", ["Add", "Concat", "Mean"])
def test_classifiers_whose_answers_are_put_together_are_named(together, tmp_path):
    """As distilled networks have two."""
    rng, about = np.random.default_rng(2), {"axis": 1} if together == "Concat" else {}
    arrays = weights() | {"k2": rng.normal(size=(WIDTH, CLASSES)).astype(np.float32)}
    heads = [
        *classifier(),
        node("Gemm", ["f2", "k2"], ["out2"]),
        node(together, ["out", "out2"], ["both"], **about),
        node("Softmax", ["both"], ["p2"], axis=1),
    ]
    other = [node("GlobalMaxPool", ["r"], ["q"]), node("Flatten", ["q"], ["f2"], axis=1)]
    model = make([*body(), *other, *heads], arrays, outputs={"p2": ["N", "M"]})
    with pytest.raises(BackboneError, match="2 classifiers, which read different") as told:
        load(save(tmp_path / "two.onnx", model))
    assert re.findall(r"--layer (\S+) \(5 numbers", told.value.hint) == ["f", "f2"]
    heads[1].input[0] = "f"
    model = make([*body(), *heads], arrays, outputs={"p2": ["N", "M"]})
    np.testing.assert_allclose(
        rows(save(tmp_path / "one.onnx", model)), expected(some_images()), **CLOSE
    )


def test_a_layer_that_is_offered_can_be_taken_where_its_shape_is_not_known(tmp_path):
    rng = np.random.default_rng(2)
    arrays = weights() | {"all": np.ones(WIDTH, bool)}
    arrays["k2"] = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    nodes = [
        *body(),
        node("Compress", ["f", "all"], ["g"], axis=1),
        node("Neg", ["g"], ["g2"]),
        node("Gemm", ["g", "k", "b"], ["one"]),
        node("Gemm", ["g2", "k2"], ["two"], transB=1),
        node("Add", ["one", "two"], ["out"]),
    ]
    spec = save(tmp_path / "net.onnx", make(nodes, arrays))
    with pytest.raises(BackboneError, match="2 classifiers") as told:
        load(spec)
    for layer, sign in zip(re.findall(r"--layer (\S+)", told.value.hint), (1, -1)):
        found = rows(spec, layer=layer)
        np.testing.assert_allclose(found, sign * expected(some_images()), **CLOSE)


def test_answers_that_exports_for_applications_make_are_behind_the_classifier(tmp_path):
    nodes = [*body(), *classifier(), node("Softmax", ["out"], ["shares"], axis=1)]
    named = {"domain": "ai.onnx.ml", "classlabels_int64s": list(range(CLASSES))}
    nodes += [
        node("ZipMap", ["shares"], ["loss"], **named),
        node("ArgMax", ["out"], ["best"], axis=1, keepdims=0),
        node("TopK", ["shares", "three"], ["values", "places"]),
    ]
    model = make(nodes, weights() | {"three": np.array([3], np.int64)}, outputs={})
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
    maps = helper.make_value_info("loss", helper.make_sequence_type_proto(kind))
    best = helper.make_tensor_value_info("best", TensorProto.INT64, ["N"])
    places = helper.make_tensor_value_info("places", TensorProto.INT64, ["N", 3])
    for number, output in enumerate((maps, best, places)):
        del model.graph.output[:]
        model.graph.output.append(output)
        spec = save(tmp_path / f"{number}.onnx", model)
        np.testing.assert_allclose(rows(spec), expected(some_images()), **CLOSE)


def test_what_the_hub_squashes_can_be_cropped_as_the_error_says(tmp_path, image_folder):
    hub = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "resample": 2,
           "size": {"height": SIDE, "width": SIDE}, "do_rescale": True, "do_normalize": True,
           "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(hub))
    (tmp_path / "net.onnx").write_bytes(plain().SerializeToString())
    spec = f"onnx:{tmp_path / 'net.onnx'}"
    with pytest.raises(BackboneError, match="crop_mode squash") as told:
        jobs.extract(image_folder, tmp_path / "cache", [spec])
    assert "write crop_mode center and all else that the record says into one of" in told.value.hint
    save(tmp_path / "net.onnx", plain(), crop_mode="center", mean=[0.5] * 3, std=[0.5] * 3)
    assert jobs.extract(image_folder, tmp_path / "cache", [spec]).computed


def test_a_network_that_was_trained_on_squashed_images_is_not_cropped(tmp_path, image_folder):
    spec = save(tmp_path / "net.onnx", plain(), crop_mode="squash")
    with pytest.raises(BackboneError, match=r"(?s)crop_mode squash.*--fit squash"):
        jobs.extract(image_folder, tmp_path / "cache", [spec])
    assert not (tmp_path / "cache").exists()
    assert RECORD["crop_pct"] == 1.0
