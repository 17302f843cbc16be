"""Views of memory, as PyTorch's exporter writes them, are followed; what reaches further is not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from icecore.features.graphs.apart import why_not_apart

CHANNELS, SIDE = 3, 4


def viewed(begin=0, by=1, stride=CHANNELS, within=(0, 1, 2), axes=(1, 2, 3), own=(1, -1, 1, 1)):
    """Take the means of each image out of those of the batch in a row, as `as_strided` does."""
    node = helper.make_node
    nodes = [
        node("Shape", ["data"], ["shape"]),
        node("Gather", ["shape", "zero"], ["count"]),
        node("GlobalAveragePool", ["data"], ["means"]),
        node("Reshape", ["means", "open"], ["row"]),
        node("Range", ["begin", "count", "by"], ["numbers"]),
        node("Mul", ["numbers", "stride"], ["starts"]),
        node("Unsqueeze", ["starts", "axes"], ["first"]),
        node("Add", ["first", "within"], ["places"]),
        node("Gather", ["row", "places"], ["viewed"], name="view"),
        node("Flatten", ["viewed"], ["f"]),
    ]
    arrays = {
        "zero": 0,
        "open": [-1],
        "begin": begin,
        "by": by,
        "stride": stride,
        "axes": axes,
        "within": np.reshape(within, own),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", CHANNELS, SIDE, SIDE])],
        [helper.make_tensor_value_info("f", TensorProto.FLOAT, ["N", "D"])],
        [numpy_helper.from_array(np.array(each, np.int64), name) for name, each in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(model)
    return model


def test_a_view_of_each_image_is_known_to_keep_images_apart():
    assert not why_not_apart(viewed())
    assert not why_not_apart(viewed(within=(2, 0), own=(1, 2, 1, 1)))
    assert not why_not_apart(viewed(axes=(1,), own=(1, 3)))


@pytest.mark.parametrize(
    "other",
    [
        {"begin": 1},
        {"by": 2},
        {"stride": 1},
        {"stride": CHANNELS + 1},
        {"within": (0, 1, CHANNELS)},
        {"within": (-1, 0, 1)},
        {"own": (-1, 1, 1, 1)},
        {"axes": (0,), "own": (1, 3)},
    ],
    ids=str,
)
def test_a_view_that_reaches_beyond_an_image_is_not(other):
    assert why_not_apart(viewed(**other))


def test_numbers_of_the_images_are_no_constants():
    """The sum over them hangs on how many there are, and so would each row."""
    model = viewed()
    nodes = [
        *list(model.graph.node)[:-4],
        helper.make_node("Cast", ["numbers"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["real"], ["sum"], keepdims=0),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Add", ["flat", "sum"], ["f"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert why_not_apart(model)
