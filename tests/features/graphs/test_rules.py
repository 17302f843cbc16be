"""Rules of onnx that a graph's own numbers break: each is refused by name, whatever the engine."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx_files import body, make, save, weights
from packages import needs

from icecore.core.errors import BackboneError
from icecore.features.backbones import load_backbone
from icecore.features.engines.translation.translate import translate
from icecore.features.graphs import rules
from icecore.features.graphs.budget import is_of_known_cost
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources import onnx_file
from icecore.features.weights.request import WeightsRequest

pytestmark = needs("onnx", "onnxruntime")

node = helper.make_node
TEN, TABLE = np.arange(10, dtype=np.float32), np.ones((4, 10), np.float32)


def on_constants(kind: str, *numbers, of=TEN, opset: int = 13, outputs: int = 1, **settings):
    """Put an operator on constants, and its numbers' mean into the features."""
    names = [f"n{place}" for place in range(len(numbers))]
    made = ["made", *[f"made{n}" for n in range(1, outputs)]]
    nodes = [*body(), node(kind, ["of", *names], made, name="it", **settings)]
    nodes += [node("ReduceMean", ["made"], ["mean"], keepdims=0), node("Add", ["f", "mean"], ["h"])]
    nodes += [node("Gemm", ["h", "k", "b"], ["out"])]
    given = {name: np.asarray(one) for name, one in zip(names, numbers)}
    return make(nodes, weights() | given | {"of": of}, opset=opset)


def on_features(kind: str, *numbers, opset: int = 13, width: int = 5, **settings):
    """Put an operator between the features and the classifier."""
    names = [f"n{place}" for place in range(len(numbers))]
    nodes = [*body(), node(kind, ["f", *names], ["h"], name="it", **settings)]
    nodes += [node("Gemm", ["h", "k", "b"], ["out"])]
    given = {name: np.asarray(one) for name, one in zip(names, numbers)}
    kernel = np.ones((width, 7), np.float32)
    return make(nodes, weights() | given | {"k": kernel}, opset=opset)


def on_map(kind: str, *numbers, opset: int = 13, **settings):
    """Put an operator between the map and its mean."""
    names = [f"n{place}" for place in range(len(numbers))]
    nodes = [*body()[:2], node(kind, ["r", *names], ["m"], name="it", **settings)]
    nodes += [node("GlobalAveragePool", ["m"], ["p"]), node("Flatten", ["p"], ["f"], axis=1)]
    nodes += [node("Gemm", ["f", "k", "b"], ["out"])]
    given = {name: np.asarray(one) for name, one in zip(names, numbers)}
    return make(nodes, weights() | given, opset=opset)


ONES, ROWS = np.ones(3, np.float32), np.ones((2, 10), np.float32)
BROKEN = {
    "Gather above": (on_constants("Gather", [0, 10]), "Gather 'it' takes number 10 of an axis"),
    "Gather below": (on_constants("Gather", [0, -11]), "takes number -11 of an axis of 10"),
    "Gather of features": (on_features("Gather", [0, 1, 2, 3, 5], axis=1), "takes number 5 of an"),
    "GatherElements": (on_constants("GatherElements", [3, 10]), "takes number 10 of an axis of 10"),
    "GatherND": (on_constants("GatherND", [[0, 1], [3, 10]], of=TABLE), "takes number 10 of an"),
    "GatherND, deep": (on_constants("GatherND", [[0, 1, 2]], of=TABLE), "3 numbers in 2|breaks"),
    "ScatterElements": (on_constants("ScatterElements", [0, 1, 10], ONES), "takes number 10 of an"),
    "ScatterElements, shape": (on_constants("ScatterElements", [0, 1], ONES), r"\[3\] where \[2\]"),
    "ScatterND": (on_constants("ScatterND", [[0], [4]], ROWS, of=TABLE), "takes number 4 of an"),
    "ScatterND, shape": (on_constants("ScatterND", [[0], [1], [2]], ROWS, of=TABLE), r"\[3, 10\]"),
    "Expand": (on_constants("Expand", [-1, 10]), "Expand 'it' has a negative extent|Incompatible"),
    "Tile": (on_constants("Tile", [1, -1], of=TABLE), "Tile 'it' .*negative"),
    "Tile of few": (on_features("Tile", [1]), "Tile 'it' breaks a rule of ONNX: 'Repeats'"),
    "Slice, twice": (on_features("Slice", [0, 1], [9, 9], [1, 1]), "Slice 'it' breaks a rule"),
    "Slice, lists": (on_features("Slice", [0], [9], [1, 0]), "Slice 'it' breaks a rule"),
    "Slice, step": (on_features("Slice", [0], [9], [1], [0]), "Slice 'it' breaks a rule"),
    "Split": (on_features("Split", [4], axis=1, width=4), "Split 'it' breaks a rule"),
    "Split of constants": (on_constants("Split", [11, -1], outputs=2), r"parts of \[11, -1\] of"),
    "Pad of few": (on_features("Pad", [1, 1]), "Pad 'it' breaks a rule of ONNX: Pads"),
    "Pad cuts": (on_map("Pad", [0, 0, -17, 0, 0, 0, 0, 0]), "cuts 17 off an axis of 16|breaks a"),
    "Pad reflects": (on_map("Pad", [0, 0, 16, 0] + [0] * 4, mode="reflect"), "reflects 16 numbers"),
    "Reshape": (on_features("Reshape", [-2, 5]), "Reshape 'it' breaks a rule of ONNX: Invalid"),
    "Transpose": (on_features("Transpose", perm=[0, 0]), "Transpose 'it' breaks a rule"),
    "Conv, channels": (on_map("Conv", np.ones((5, 4, 3, 3), np.float32)), "for 5 channels"),
    "Conv, bias": (on_map("Conv", np.ones((5, 5, 3, 3), np.float32), ONES), r"bias of shape \[3\]"),
    "Conv, kernel": (on_map("Conv", np.ones((5, 5, 17, 1), np.float32)), r"covers \[17, 1\] of"),
    "BatchNormalization": (on_map("BatchNormalization", *[ONES] * 4), r"has \[3\] numbers for"),
    "AveragePool": (
        on_map("AveragePool", kernel_shape=[2, 2], pads=[3] * 4),
        r"pads \[3, 3, 3, 3\] for a kernel of \[2, 2\]",
    ),
    "LpNormalization": (on_features("LpNormalization", p=3), "is of order 3, not 1 or 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_onnx_forbids_is_refused_before_any_engine_has_it(tmp_path, name):
    model, said = BROKEN[name]
    spec = BackboneSpec.parse(save(tmp_path / "net.onnx", model))
    with pytest.raises(BackboneError, match=said) as refused:
        load_backbone(spec, "auto", WeightsRequest())
    assert refused.value.hint == rules.HINT


@needs("torch")
@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_pytorch_gives_no_rows_of_it_where_no_look_told(tmp_path, monkeypatch, name):
    """Numbers that a graph computes are known there alone."""
    import torch

    model, _ = BROKEN[name]
    monkeypatch.setattr(onnx_file, "require_rules", lambda *given: None)
    spec = BackboneSpec.parse(save(tmp_path / "net.onnx", model))
    with pytest.raises(BackboneError):
        network = load_backbone(spec, "torch", WeightsRequest()).network
        translate(torch, network.content(), (1, 16, 16, 3))


SOUND = {
    "the last number": on_constants("Gather", [9, -10]),
    "a cut beyond the end": on_features("Slice", [-100], [100], [1]),
    "backwards": on_features("Slice", [4], [-100], [1], [-1]),
    "a pad that cuts": on_map("Pad", [0, 0, -1, -1, 0, 0, -1, -1]),
    "a reflected edge": on_map("Pad", [0, 0, 15, 15] + [0] * 4, mode="reflect"),
    "a kernel as large": on_map(
        "Conv", np.ones((5, 1, 16, 8), np.float32), group=5, dilations=[1, 2]
    ),
    "padded by itself": on_map("Conv", np.ones((5, 5, 20, 20), np.float32), auto_pad="SAME_UPPER"),
    "puts rows": on_constants("ScatterND", [[0], [-4]], ROWS, of=TABLE),
    "an operator that onnx lacks": on_map("Gelu", domain="com.microsoft"),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_onnx_allows_is_taken(tmp_path, name):
    model = SOUND[name]
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    spec = BackboneSpec.parse(save(tmp_path / "net.onnx", model))
    assert load_backbone(spec, "onnxruntime", WeightsRequest()).start("cpu").record.num_features


def test_a_branch_that_never_runs_may_break_them(tmp_path):
    """PyTorch's exporter writes such branches: there, what is squeezed has another shape."""

    def branch(*nodes):
        value = helper.make_tensor_value_info("y", 1, None)
        return helper.make_graph(list(nodes), "branch", [], [value])

    squeezed = branch(node("Squeeze", ["f", "one"], ["y"]))
    chosen = node("If", ["yes"], ["h"], then_branch=branch(node("Identity", ["f"], ["y"])),
                  else_branch=squeezed)  # fmt: skip
    nodes = [*body(), chosen, node("Gemm", ["h", "k", "b"], ["out"])]
    given = {"yes": np.array(True), "one": np.array([1])}
    spec = BackboneSpec.parse(save(tmp_path / "net.onnx", make(nodes, weights() | given)))
    load_backbone(spec, "onnxruntime", WeightsRequest())


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        (["N", 1, 16, 16], "square images of three channels"),
        (["N", 4, 16, 16], "square images of three channels"),
        (["N", 3, 16, 24], "square images of three channels"),
        ([3, 16, 16], "square images of three channels"),
        (["N", 3, 24, 24], "correct input_size"),
        (["N", 24, 24, 3], "correct input_size"),
    ],
)
def test_a_record_is_to_be_corrected_only_where_that_helps(tmp_path, shape, hint):
    nodes = [*body(), node("Gemm", ["f", "k", "b"], ["out"])]
    spec = BackboneSpec.parse(save(tmp_path / "net.onnx", make(nodes, weights(), shape=shape)))
    with pytest.raises(BackboneError, match="takes inputs of shape") as refused:
        load_backbone(spec, "auto", WeightsRequest())
    assert hint in refused.value.hint


def test_cubic_resizing_counts_as_what_it_costs():
    sides = np.array([1, 1, 100, 100], np.float32)
    shapes = {"f": (1, 5, 16, 16), "m": (1, 5, 1600, 1600), "n0": (4,)}
    linear, cubic = (
        is_of_known_cost(
            helper.make_graph(
                [node("Resize", ["f", "", "n0"], ["m"], mode=mode)] * 60,
                "g", [], [], [numpy_helper.from_array(sides, "n0")],
            ),
            shapes,
        )
        for mode in ("linear", "cubic")
    )  # fmt: skip
    assert linear
    assert not cubic


def test_an_equation_of_more_letters_than_axes_does_not_end_the_process(tmp_path):
    """onnx 1.18 looks for the axis in the input, and there is none."""
    spec = BackboneSpec.parse(
        save(tmp_path / "net.onnx", on_features("Einsum", equation="ncz->nc"))
    )
    with pytest.raises(BackboneError, match="ends the process|Einsum 'it'"):
        load_backbone(spec, "onnxruntime", WeightsRequest()).start("cpu")


def test_a_kernel_that_is_computed_does_not_end_the_process(tmp_path):
    nodes = [*body(), node("Conv", ["f", "r"], ["h"]), node("Gemm", ["h", "k", "b"], ["out"])]
    spec = BackboneSpec.parse(save(tmp_path / "net.onnx", make(nodes, weights())))
    with pytest.raises(BackboneError):
        load_backbone(spec, "onnxruntime", WeightsRequest()).start("cpu")
