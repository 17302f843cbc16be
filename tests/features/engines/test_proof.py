"""Every graph is proved in the engine and the precision that are to run it; rows are of images."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from icecore import manifest as manifests
from icecore.cache import FeatureCache
from icecore.core.child import ChildError
from icecore.core.errors import BackboneError, ProofError
from icecore.features import ExtractOptions, extract
from icecore.features.backbones import load_backbones
from icecore.features.engines import distances, judge, proof, reference_judge
from icecore.features.engines.base import Setup
from icecore.features.engines.choose import ENGINES
from icecore.features.engines.proof import prove_in_engine

SIDE = 16
RECORD = {
    "input_size": [3, SIDE, SIDE],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}
GRAPH_ENGINES = [name for name, kind in ENGINES.items() if kind.runs_graphs and not kind.by_name]


@pytest.fixture(autouse=True)
def graphs(tmp_path, monkeypatch):
    """Proofs of this test alone."""
    monkeypatch.setenv("ICECORE_GRAPHS", str(tmp_path / "graphs"))
    return tmp_path / "graphs"


def needs(name):
    if not ENGINES[name].able("cpu"):
        pytest.skip(f"{name} is not installed")


def write_network(path, nodes, opset=13, **weights):
    """Write conv -> `nodes` from "c" to "m" -> pool -> classifier, with a record beside it."""
    rng = np.random.default_rng(0)
    arrays = {
        "k": rng.normal(0, 0.3, (5, 3, 3, 3)),
        "w": rng.normal(0, 0.3, (5, 7)),
        **weights,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["data", "k"], ["c"], pads=[1] * 4),
            *nodes,
            helper.make_node("GlobalAveragePool", ["m"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"], axis=1),
            helper.make_node("MatMul", ["f", "w"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 7])],
        [
            numpy_helper.from_array(
                np.asarray(v, None if np.asarray(v).dtype in (bool, np.int64) else np.float32), n
            )
            for n, v in arrays.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, str(path))
    path.with_suffix(".json").write_text(json.dumps(RECORD))
    return path


def relu():
    return [helper.make_node("Relu", ["c"], ["m"])]


def norm(trained, opset):
    ones = {name: np.ones(5) for name in ("scale", "bias", "mean", "var")}
    outputs = ["m", "running_mean", "running_var"] if trained else ["m"]
    mode = {"training_mode": int(trained)} if opset >= 14 else {}
    inputs = ["c", "scale", "bias", "mean", "var"]
    return [helper.make_node("BatchNormalization", inputs, outputs, "bn", **mode)], ones


def backbone_of(path, engine="onnxruntime"):
    (backbone,) = load_backbones([f"onnx:{path}"], engine)
    return backbone


STILL_TRAINED = {
    "norm": (norm(True, 14), 14, "BatchNormalization 'bn' normalises by the batch"),
    "noise": (
        (
            [
                helper.make_node("RandomNormalLike", ["c"], ["n"], "noise"),
                helper.make_node("Add", ["c", "n"], ["m"]),
            ],
            {},
        ),
        13,
        "RandomNormalLike 'noise' draws random numbers",
    ),
    "dropout": (
        (
            [helper.make_node("Dropout", ["c", "ratio", "train"], ["m"], "drop")],
            {"ratio": np.float32(0.5), "train": np.array(True)},
        ),
        13,
        "Dropout 'drop' drops at random",
    ),
}


@pytest.mark.parametrize(
    ("how", "given"), [("Identity", True), ("Not", False), ("Cast", np.float32(1)), ("Less", 0)]
)
def test_dropout_that_is_switched_on_by_the_way_is_refused(how, given, tmp_path):
    about = {"to": TensorProto.BOOL} if how == "Cast" else {}
    switch = ["given", "given2"] if how == "Less" else ["given"]
    nodes = [
        helper.make_node(how, switch, ["on"], **about),
        helper.make_node("Dropout", ["c", "ratio", "on"], ["m"], "drop"),
    ]
    numbers = {"given": np.array(given), "ratio": np.float32(1e-6)}
    if how == "Less":
        numbers["given2"] = np.array(1)
    path = write_network(tmp_path / "net.onnx", nodes, **numbers)
    with pytest.raises(BackboneError, match="Dropout 'drop' drops at random"):
        backbone_of(path)
    off = {"Identity": False, "Not": True, "Cast": np.float32(0)}
    if how in off:
        numbers["given"] = np.array(off[how])
        backbone_of(write_network(tmp_path / "off.onnx", nodes, **numbers))


CHANGES_NOTHING = {
    "ratio 0": [helper.make_node("Dropout", ["c", "none", "train"], ["m"], "drop")],
    "ratio by the way": [
        helper.make_node("Cast", ["whole"], ["ratio"], to=TensorProto.FLOAT),
        helper.make_node("Dropout", ["c", "ratio", "train"], ["m"], "drop"),
    ],
}


@pytest.mark.parametrize("case", CHANGES_NOTHING)
@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_training_that_changes_nothing_is_no_training(case, engine, tmp_path):
    needs(engine)
    numbers = {"none": np.float32(0), "whole": np.array(0), "train": np.array(True)}
    path = write_network(tmp_path / "net.onnx", CHANGES_NOTHING[case], **numbers)
    plain = write_network(tmp_path / "plain.onnx", [helper.make_node("Identity", ["c"], ["m"])])
    images = proof.random_images(SIDE, 3, 1)
    rows = [backbone_of(one, engine).start("cpu", 2).run(images) for one in (path, plain)]
    np.testing.assert_allclose(*rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", STILL_TRAINED)
@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_a_graph_that_is_still_trained_is_refused_with_the_operators_name(case, engine, tmp_path):
    needs(engine)
    (nodes, weights), opset, said = STILL_TRAINED[case]
    path = write_network(tmp_path / "net.onnx", nodes, opset, **weights)
    with pytest.raises(BackboneError, match=rf"(?s){said}.*model\.eval\(\)"):
        backbone_of(path, engine)


def test_an_operator_in_the_body_of_an_if_is_found(tmp_path):
    like = helper.make_node("RandomUniformLike", ["c"], ["r"], "hidden")
    out = [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)]
    body = helper.make_graph([like], "body", [], out)
    nodes = [helper.make_node("If", ["yes"], ["m"], then_branch=body, else_branch=body)]
    path = write_network(tmp_path / "net.onnx", nodes, yes=np.array(True))
    with pytest.raises(BackboneError, match="RandomUniformLike 'hidden' draws random numbers"):
        backbone_of(path)


def test_a_graph_in_inference_mode_is_taken(tmp_path):
    nodes, weights = norm(False, 13)
    backbone_of(write_network(tmp_path / "net.onnx", nodes, 13, **weights))
    drop = [helper.make_node("Dropout", ["c", "ratio"], ["m"])]
    backbone_of(write_network(tmp_path / "drop.onnx", drop, ratio=np.float32(0.5)))


@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_weights_that_are_normalised_as_batches_are_in_training_are_taken(engine, tmp_path):
    """As NFNets and BiT do."""
    needs(engine)
    (nodes, weights), kernel = norm(True, 14), np.random.default_rng(1).normal(size=(5, 5, 1, 1))
    nodes[0].input[0], nodes[0].output[0] = "raw", "normalised"
    nodes.append(helper.make_node("Conv", ["c", "normalised"], ["m"]))
    path = write_network(tmp_path / "net.onnx", nodes, 14, raw=kernel, **weights)
    kernel = (kernel - kernel.mean(0)) / np.sqrt(kernel.var(0) + 1e-5) + weights["bias"][0]
    nodes = [helper.make_node("Conv", ["c", "plain"], ["m"])]
    plain = write_network(tmp_path / "plain.onnx", nodes, 14, plain=kernel)
    images = proof.random_images(SIDE, 3, 1)
    rows = [backbone_of(one, engine).start("cpu", 2).run(images) for one in (path, plain)]
    np.testing.assert_allclose(*rows, rtol=1e-4, atol=1e-5)


MIXING = {
    "mean": [
        helper.make_node("ReduceMean", ["c"], ["mean"], "over_the_batch", axes=[0]),
        helper.make_node("Sub", ["c", "mean"], ["m"]),
    ],
    # The first row is what it is alone, the others are not.
    "first": [
        helper.make_node("Slice", ["c", "begin", "end", "axis"], ["first"], "over_the_batch"),
        helper.make_node("Add", ["c", "first"], ["m"]),
    ],
    "sum": [helper.make_node("CumSum", ["c", "begin0"], ["m"], "over_the_batch")],
    # Every row changes alike with the size of the batch.
    "size": [
        helper.make_node("Shape", ["c"], ["shape"]),
        helper.make_node("Gather", ["shape", "begin0"], ["n"], axis=0),
        helper.make_node("Cast", ["n"], ["count"], "over_the_batch", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c", "count"], ["m"]),
    ],
    "softmax": [helper.make_node("Softmax", ["c"], ["m"], "over_the_batch", axis=0)],
}


@pytest.mark.parametrize("case", MIXING)
@pytest.mark.parametrize("engine", GRAPH_ENGINES)
def test_rows_that_depend_on_their_neighbours_are_refused(case, engine, tmp_path):
    needs(engine)
    numbers = {"begin": [0], "end": [1], "axis": [0], "begin0": 0}
    numbers = {name: np.array(values, np.int64) for name, values in numbers.items()}
    path = write_network(tmp_path / "net.onnx", MIXING[case], **numbers)
    backbone = backbone_of(path, engine)
    said = r"depend on what else is in its batch.*over_the_batch'"
    for batch_size in (1, 2, 16):
        started = backbone.start("cpu", batch_size)
        with pytest.raises(ProofError, match=said):
            prove_in_engine(started, backbone.network, Setup(batch_size=batch_size))


def _of_all(reduce, pixels, threshold):
    """Double the features where what is found in all images of a batch is above a threshold."""
    return [
        *([helper.make_node("ReduceMean", ["data"], ["all"], axes=[1, 2, 3])] * (not pixels)),
        helper.make_node(
            reduce, ["data" if pixels else "all"], ["one"], "over_the_batch", keepdims=0
        ),
        helper.make_node("Greater", ["one", threshold], ["so"]),
        helper.make_node("Mul", ["c", "two"], ["doubled"]),
        helper.make_node("Where", ["so", "doubled", "c"], ["m"]),
    ]


SELDOM = {
    "bright": _of_all("ReduceMax", False, "high"),
    "dark": _of_all("ReduceMin", False, "low"),
    "saturated": _of_all("ReduceMin", True, "lowest"),
    "clipped": [
        helper.make_node("ReduceMax", ["data"], ["most"], "over_the_batch", keepdims=0),
        helper.make_node("Min", ["most", "high"], ["one"]),
        helper.make_node("Mul", ["c", "one"], ["m"]),
    ],
    # Of one large feature the others are few bits.
    "beside a large one": [
        helper.make_node("ReduceMean", ["c"], ["mean"], "over_the_batch", axes=[0]),
        helper.make_node("Sub", ["c", "mean"], ["own"]),
        helper.make_node("Add", ["own", "large"], ["m"]),
    ],
    # Smooth parts of an image have no contrast: 0 / 0.
    "not finite": [
        helper.make_node("MaxPool", ["data"], ["most"], kernel_shape=[2, 2]),
        helper.make_node("Neg", ["data"], ["turned"]),
        helper.make_node("MaxPool", ["turned"], ["least"], kernel_shape=[2, 2]),
        helper.make_node("Add", ["most", "least"], ["contrast"]),
        helper.make_node("Div", ["contrast", "contrast"], ["ones"]),
        helper.make_node("ReduceMean", ["ones"], ["one"], axes=[1, 2, 3]),
        helper.make_node("ReduceMean", ["c"], ["mean"], "over_the_batch", axes=[0]),
        helper.make_node("Sub", ["c", "mean"], ["own"]),
        helper.make_node("Mul", ["own", "one"], ["m"]),
    ],
}


@pytest.mark.parametrize("case", SELDOM)
def test_rows_that_seldom_or_hardly_depend_on_their_neighbours_are_refused(case, tmp_path):
    large = np.zeros((1, 5, 1, 1))
    large[0, 2] = 1e6
    numbers = {"high": 1.2, "low": -1.2, "lowest": -1.99, "two": 2.0, "large": large}
    path = write_network(tmp_path / "net.onnx", SELDOM[case], **numbers)
    backbone = backbone_of(path)
    started = backbone.start("cpu", 4)
    with pytest.raises(ProofError, match=r"depend on what else is in its batch.*over_the_batch'"):
        prove_in_engine(started, backbone.network, Setup(batch_size=4))


def test_images_of_which_a_graph_makes_nan_do_not_hide_what_it_makes_of_others(tmp_path):
    nodes = [*SELDOM["not finite"][:6], helper.make_node("Mul", ["c", "one"], ["m"])]
    backbone = backbone_of(write_network(tmp_path / "net.onnx", nodes))
    found = prove_in_engine(backbone.start("cpu", 4), backbone.network, Setup(batch_size=4))
    assert found.relative_error < 1e-5
    wrong = wrong_engine(1.01)(backbone.network, Setup(batch_size=4))
    wrong.version = "wrong"
    with pytest.raises(ProofError, match=r"(?s)differ from those of ONNX Runtime"):
        prove_in_engine(wrong, backbone.network, Setup(batch_size=4))


def test_a_repeated_proof_is_looked_up_and_a_damaged_one_done_again(tmp_path, graphs, monkeypatch):
    backbone = backbone_of(write_network(tmp_path / "net.onnx", relu()))
    started, judged = backbone.start("cpu", 4), []
    plain = proof.judged
    monkeypatch.setattr(proof, "judged", lambda *given: judged.append(1) or plain(*given))
    first = prove_in_engine(started, backbone.network, Setup(batch_size=4))
    assert first == prove_in_engine(started, backbone.network, Setup(batch_size=4))
    assert first.relative_error < 1e-5
    assert "ONNX Runtime" in first.judge
    once = len(judged)
    (kept,) = (graphs / "proofs").iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    assert prove_in_engine(started, backbone.network, Setup(batch_size=4)) == first
    assert len(judged) == 2 * once
    # Another graph, version or precision has a proof of its own.
    other = backbone_of(write_network(tmp_path / "other.onnx", relu(), k=np.ones((5, 3, 3, 3))))
    prove_in_engine(other.start("cpu", 4), other.network, Setup(batch_size=4))
    monkeypatch.setattr(started, "version", "0.0")
    prove_in_engine(started, backbone.network, Setup(batch_size=4))
    assert len(judged) == 4 * once


def proved(backbone):
    return prove_in_engine(backbone.start("cpu", 4), backbone.network, Setup(batch_size=4))


def wrong_engine(factor):
    """An engine that computes a little too much."""
    kind = ENGINES["onnxruntime"]

    class Wrong(kind):
        def run(self, images):
            return super().run(images) * np.float32(factor)

    return Wrong


def test_an_engine_that_makes_numbers_of_nan_is_refused(tmp_path):
    needs("openvino")
    path = write_network(tmp_path / "net.onnx", relu(), k=np.full((5, 3, 3, 3), np.nan))
    backbone = backbone_of(path, "openvino")
    started = backbone.start("cpu", 4)
    with pytest.raises(ProofError, match=r"(?s)finds features that are not finite.*check the wei"):
        prove_in_engine(started, backbone.network, Setup(batch_size=4))


@pytest.mark.parametrize(
    ("precision", "remedy"), [("f32", "another --engine"), ("fp16", "--precision-compute f32")]
)
@pytest.mark.parametrize("made", [np.nan, np.inf])
def test_an_engine_that_makes_nan_or_infinite_numbers_is_refused(made, precision, remedy, tmp_path):
    """As fp16 does of features beyond 65504."""
    backbone = backbone_of(write_network(tmp_path / "net.onnx", relu()))
    wrong = wrong_engine(made)(backbone.network, Setup(batch_size=4))
    with pytest.raises(ProofError, match=rf"(?s)^onnx:net.onnx: onnxruntime finds.*use {remedy}"):
        prove_in_engine(wrong, backbone.network, Setup(precision=precision, batch_size=4))


@pytest.mark.parametrize("precision", ["f32", "bf16", "fp16"])
def test_an_error_above_the_bound_is_refused_unless_it_is_accepted(precision, tmp_path):
    backbone = backbone_of(write_network(tmp_path / "net.onnx", relu()))
    bound = proof.ERROR_ALLOWED[precision]
    setup = Setup(precision=precision, batch_size=4)
    wrong = wrong_engine(1 + 2 * bound)(backbone.network, Setup(batch_size=4))
    with pytest.raises(ProofError, match=r"(?s)differ from those of ONNX Runtime.*--accept-error"):
        prove_in_engine(wrong, backbone.network, setup)
    found = prove_in_engine(wrong, backbone.network, setup, allowed=3 * bound)
    assert found.relative_error == pytest.approx(2 * bound, rel=0.05)
    with pytest.raises(ProofError):
        prove_in_engine(wrong, backbone.network, setup, allowed=bound)


def test_the_measured_error_is_reported_and_kept_with_the_rows(image_folder, tmp_path):
    path = write_network(tmp_path / "net.onnx", relu())
    report = extract(manifests.read(image_folder), tmp_path / "c", [f"onnx:{path}"])
    (one,) = report.sets
    assert 0 <= one["relative_error"] < 1e-4
    (kept,) = FeatureCache(tmp_path / "c").sets()
    (shard,) = kept.provenances()
    assert shard["provenance"]["relative_error"] == one["relative_error"]
    assert "ONNX Runtime" in shard["provenance"]["judge"]
    again = extract(manifests.read(image_folder), tmp_path / "c", [f"onnx:{path}"])
    assert again.sets[0]["relative_error"] is None, "nothing was computed, nothing measured"


def test_an_engine_that_computes_wrongly_leaves_nothing_and_auto_takes_another(
    image_folder, tmp_path, monkeypatch
):
    needs("openvino")
    path = write_network(tmp_path / "net.onnx", relu())
    plain = ENGINES["openvino"].run
    monkeypatch.setattr(ENGINES["openvino"], "run", lambda self, x: plain(self, x) * 1.01)
    data, specs = manifests.read(image_folder), [f"onnx:{path}"]
    with pytest.raises(ProofError, match="openvino .* differ"):
        extract(data, tmp_path / "c", specs, ExtractOptions(engine="openvino"))
    assert not (tmp_path / "c").exists()
    report = extract(data, tmp_path / "c", specs)
    assert report.sets[0]["engine"] == "onnxruntime"
    assert "openvino" in report.sets[0]["instead_of"]
    assert report.rows == 6


@pytest.mark.parametrize(
    ("name", "operator"), [("softmax_op11", "Softmax"), ("resize_antialias18", "Resize")]
)
def test_graphs_that_openvino_reads_otherwise_are_refused_there(name, operator, faults):
    needs("openvino")
    folder = faults / "field" / "07-engines-disagree"
    backbone = backbone_of(folder / f"{name}.onnx", "openvino")
    said = rf"openvino .* differ from those of ONNX Runtime.*the first to differ is {operator} '"
    with pytest.raises(ProofError, match=said):
        prove_in_engine(backbone.start("cpu"), backbone.network, Setup())
    sound = dataclasses.replace(backbone, kind=ENGINES["onnxruntime"])
    assert prove_in_engine(sound.start("cpu"), sound.network, Setup()).relative_error < 1e-5


def test_the_batch_normalisation_from_the_field_is_refused(faults):
    path = faults / "field" / "06-batchnorm-in-training-mode" / "net.onnx"
    with pytest.raises(BackboneError, match=r"BatchNormalization 'bn' .*training mode"):
        backbone_of(path)


@pytest.mark.parametrize("large", [1, 2, 5, 45])
@pytest.mark.parametrize("factor", [1e4, 1e6])
def test_features_that_are_computed_otherwise_are_not_hidden_by_large_ones(large, factor, tmp_path):
    needs("openvino")
    nodes = [
        helper.make_node("LRN", ["c"], ["small"], size=1, alpha=0.3, beta=0.6, bias=1.2),
        helper.make_node("ReduceMax", ["c"], ["most"], axes=[1]),
        helper.make_node("Mul", ["most", "factors"], ["large"]),
        helper.make_node("Concat", ["small", "large"], ["m"], axis=1),
    ]
    rng = np.random.default_rng(0)
    numbers = {
        "factors": factor * rng.uniform(1, 2, (1, large, 1, 1)),
        "w": rng.normal(size=(5 + large, 7)),
    }
    path = write_network(tmp_path / "net.onnx", nodes, **numbers)
    said = "openvino .* computes features in f32 that differ.*the first to differ is LRN 'small'"
    with pytest.raises(ProofError, match=said):
        proved(backbone_of(path, "openvino"))
    assert proved(backbone_of(path)).relative_error < 1e-5


def test_features_that_are_small_by_rounding_alone_are_no_errors(tmp_path):
    """Sums that cancel, of which each engine keeps other last bits."""
    path = tmp_path / "net.onnx"
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(256, 256)))[0].astype(np.float32)
    there, back = turn[:, :, None, None], turn.T[:, :, None, None]
    nodes = [
        helper.make_node("Conv", ["c", "wide"], ["d"]),
        helper.make_node("Conv", ["d", "there"], ["e"]),
        helper.make_node("Conv", ["e", "back"], ["g"]),
        helper.make_node("Sub", ["g", "d"], ["rounded"]),
        helper.make_node("Concat", ["d", "rounded"], ["m"], axis=1),
    ]
    wide = rng.normal(size=(256, 5, 1, 1))
    numbers = {"wide": wide, "there": there, "back": back, "w": rng.normal(size=(512, 7))}
    write_network(path, nodes, **numbers)
    for name in GRAPH_ENGINES:
        needs(name)
        assert proved(backbone_of(path, name)).relative_error < 1e-4


def test_the_operator_that_differs_is_named_beside_branches_that_do_not(tmp_path, graphs):
    needs("openvino")
    nodes = [
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("LRN", ["r"], ["a"], "wrong", size=1, alpha=0.3, beta=0.6, bias=1.2),
        helper.make_node("Shape", ["c"], ["shape"]),
        *(
            helper.make_node("Tanh", [f"t{n}" if n else "c"], [f"t{n + 1}"], f"tanh{n}")
            for n in range(20)
        ),
        helper.make_node("Reshape", ["a", "shape"], ["again"]),
        helper.make_node("Add", ["t20", "again"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["m"]),
    ]
    path = write_network(tmp_path / "net.onnx", nodes)
    with pytest.raises(ProofError, match="is allowed; the first to differ is LRN 'wrong'"):
        proved(backbone_of(path, "openvino"))
    # The search took long: what it found is looked up.
    (kept,) = (graphs / "proofs").iterdir()
    kept.write_text(kept.read_text("utf-8").replace("LRN", "what was kept"), "utf-8")
    with pytest.raises(ProofError, match="the first to differ is what was kept 'wrong'"):
        proved(backbone_of(path, "openvino"))


def test_which_of_equal_numbers_is_taken_shows_in_images_of_one_colour(tmp_path):
    needs("openvino")
    places = np.random.default_rng(1).normal(size=(1, 5, SIDE, SIDE))
    nodes = [
        helper.make_node("Hardmax", ["c"], ["largest"]),
        helper.make_node("Mul", ["largest", "places"], ["m"]),
    ]
    path = write_network(tmp_path / "net.onnx", nodes, 11, places=places)
    with pytest.raises(ProofError, match=r"computes features in f32 that differ"):
        proved(backbone_of(path, "openvino"))
    assert proved(backbone_of(path)).relative_error == 0


def test_what_depends_on_no_image_is_computed_once_by_the_judge(tmp_path, monkeypatch):
    nodes = [
        helper.make_node("Expand", ["number", "shape"], ["large"]),
        helper.make_node("MatMul", ["large", "large"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["c", "mean"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "product"], ["m"]),
    ]
    shape = np.array([SIDE, SIDE], np.int64)
    path = write_network(tmp_path / "net.onnx", nodes, number=np.float32(0.5), shape=shape)
    backbone, opened = backbone_of(path), []
    plain = judge.open_session

    def note(content, **how):
        graph = onnx.load_from_string(content).graph
        opened.append(({node.op_type for node in graph.node}, [one.name for one in graph.input]))
        return plain(content, **how)

    monkeypatch.setattr(judge, "open_session", note)
    monkeypatch.setattr(judge, "_FEW", 64)
    assert proved(backbone).relative_error < 1e-5
    (constants, nothing), (others, images) = opened
    assert {"Expand", "MatMul", "ReduceMean"} <= constants
    assert "Conv" not in constants
    assert not nothing
    assert not {"Expand", "MatMul"} & others
    assert images == ["images", "net_product"], "the mean is of few numbers, and in the graph"


def test_onnxs_own_evaluator_judges_where_onnx_runtime_cannot(tmp_path, monkeypatch):
    backbone = backbone_of(write_network(tmp_path / "net.onnx", relu()))
    started = backbone.start("cpu", 4)

    def refuse(*given):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(judge, "plain_run", refuse)
    found = prove_in_engine(started, backbone.network, Setup(batch_size=4))
    assert found.judge.startswith("the reference evaluator of onnx")
    assert found.relative_error < 1e-5


def resized(sides):
    """Enlarge the map to a size with a batch of one, as exporters write it."""
    return [helper.make_node("Resize", ["c", "", "", "size"], ["m"], mode="linear")], {
        "size": np.array([1, 5, *sides])
    }


def test_a_size_that_is_fixed_for_one_image_is_judged_by_one_at_a_time(tmp_path, monkeypatch):
    """onnx's own evaluator was asked, which takes minutes for it."""
    needs("openvino")
    monkeypatch.setattr(judge, "reference_features", None)
    nodes, weights = resized((40, 40))
    backbone = backbone_of(write_network(tmp_path / "net.onnx", nodes, **weights), "openvino")
    found = prove_in_engine(backbone.start("cpu", 4), backbone.network, Setup(batch_size=4))
    assert found.judge.startswith("ONNX Runtime")
    assert found.relative_error < 1e-4


def test_onnxs_own_evaluator_takes_no_hours(monkeypatch):
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("Neg", ["state"], ["next"]),
        ],
        "body",
        [value("n", TensorProto.INT64, []), value("go", TensorProto.BOOL, []),
         value("state", TensorProto.FLOAT, None)],
        [value("goes", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Loop", ["times", "yes", "numbers"], ["features"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [value("images", TensorProto.UINT8, None)],
        [value("features", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.array(2**40), "times"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )
    content = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    ).SerializeToString()
    monkeypatch.setattr(reference_judge, "_PROCESSOR_SECONDS", 3)
    with pytest.raises(ChildError, match="takes more than 3 s of processor time"):
        reference_judge.reference_features(content, [np.zeros((1, 2, 2, 3), np.uint8)], 1)


def test_real_networks_are_proved_in_every_engine(models):
    for name in GRAPH_ENGINES:
        needs(name)
        backbone = backbone_of(models / "efficientnet_lite0.onnx", name)
        assert prove_in_engine(
            backbone.start("cpu", 4), backbone.network, Setup(batch_size=4)
        ).relative_error < 1e-4  # fmt: skip


def test_features_whose_squares_are_no_float32_are_compared_as_well(recwarn):
    usual = np.full((4, 3), 1e30, np.float32)
    black, wrong = np.full((1, 3), 2e30, np.float32), np.full((1, 3), -2e30, np.float32)
    assert distances.distance_of_plain_images(wrong, black, usual) == pytest.approx(2)
    far = np.full((4, 3), 3e38, np.float32)
    assert distances.distance(-far, far) == pytest.approx(2)
    assert not recwarn.list
