"""Values that do not depend on the images, computed once by onnx's own evaluator."""

from collections.abc import Sequence

import numpy as np

from ...graphs.onnx_graph import load_evaluator, load_onnx


def evaluate(node, inputs: Sequence[np.ndarray | None], opset: int) -> list:
    """Return the outputs of a node whose inputs are all known."""
    onnx = load_onnx()
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    names = [f"i{number}" if one is not None else "" for number, one in enumerate(inputs)]
    del plain.input[:]
    plain.input.extend(names)
    wanted = [name for name in plain.output if name]
    kinds = [onnx.helper.make_opsetid("", opset)]
    graph = onnx.helper.make_graph(
        [plain],
        "one",
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in names if name],
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in wanted],
    )
    model = onnx.helper.make_model(graph, opset_imports=kinds)
    given = {name: one for name, one in zip(names, inputs) if one is not None}
    # Of whole numbers a division by 0 is nothing that ONNX defines; of others it is infinite.
    whole = all(np.issubdtype(one.dtype, np.integer) for one in given.values())
    with np.errstate(all="raise" if whole else "ignore"):
        found = iter(load_evaluator()(model).run(wanted, given))
    return [next(found) if name else None for name in plain.output]


def evaluate_kind(
    kind: str, inputs: Sequence[np.ndarray | None], attributes: dict, opset: int
) -> np.ndarray:
    """Return the first output of an operator with these attributes."""
    names = ["" if one is None else str(number) for number, one in enumerate(inputs)]
    node = load_onnx().helper.make_node(kind, names, ["out"], **attributes)
    return evaluate(node, inputs, opset)[0]
