"""Turn an MXNet symbol into an ONNX graph without its weights; MXNet itself is not needed."""

from __future__ import annotations

from ..graphs.onnx_graph import load_onnx
from .graph_writer import GraphWriter, Parameter, SymbolNode, output_name
from .operators import translate

__all__ = ["make_last_pool_global", "symbol_to_onnx"]

_PASSED = frozenset("Flatten Identity Reshape Squeeze Softmax LogSoftmax Relu Sigmoid".split())


def symbol_to_onnx(graph: dict, parameters: dict[str, Parameter], prefix: str = ""):
    """Turn a graph, as ``-symbol.json`` has it, into an ONNX model up to its first output.

    Parameters
    ----------
    graph : dict
        With ``nodes`` (``op``, ``name``, ``attrs``, ``inputs``) and ``heads``.
    parameters : dict of str to Parameter
        By MXNet's name of the variable. They are listed in this order, those too that the
        output does not need.
    prefix : str
        Left out where a node's name begins with it.

    Returns
    -------
    onnx.ModelProto
        From ``data`` (N, 3, H, W) to the output. Parameters have no values, but for those
        that MXNet takes for 1.

    Raises
    ------
    BackboneError
        A node has no translation.
    """
    writer, nodes = GraphWriter(), graph["nodes"]
    names = _value_names(nodes, parameters, prefix)
    needed = _needed(nodes, graph["heads"][0][0])
    for index, node in enumerate(nodes):
        if node["op"] == "null" or index not in needed:
            continue
        inputs = [output_name(names[place[0]], place[1]) for place in node["inputs"]]
        translate(writer, SymbolNode(node["op"], names[index], node.get("attrs", {}), inputs))
    output = output_name(names[graph["heads"][0][0]], graph["heads"][0][1])
    return writer.model(list(parameters.values()), "data", output)


def make_last_pool_global(model, side: int) -> None:
    """Let average pools at the end that cover the whole map cover it at every size, in place.

    Parameters
    ----------
    model : onnx.ModelProto
        Ends in a classifier, or in the features before it.
    side : int
        Of the images that the network is made for; there nothing changes.
    """
    onnx = load_onnx()
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for number, extent in zip((0, 2, 3), (1, side, side)):
        sized.graph.input[0].type.tensor_type.shape.dim[number].dim_value = extent
    inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    producers = {output: node for node in model.graph.node for output in node.output}
    node, behind_classifier = producers.get(model.graph.output[0].name), True
    while node is not None:
        if node.op_type == "AveragePool":
            _make_global(node, shapes)
        elif node.op_type in ("Gemm", "Conv") and behind_classifier:
            behind_classifier = False
        elif node.op_type not in _PASSED:
            return
        node = producers.get(node.input[0])


def _make_global(node, shapes: dict[str, list[int]]) -> None:
    pads = [n for a in node.attribute if a.name == "pads" for n in a.ints]
    # A pool that leaves a map of more than one place, or that counts a border, is none.
    if shapes.get(node.output[0], ())[2:] == [1, 1] and not any(pads):
        node.op_type = "GlobalAveragePool"
        del node.attribute[:]


def _value_names(nodes: list[dict], parameters: dict, prefix: str) -> list[str]:
    names: list[str] = []
    times: dict[str, int] = {}
    for node in nodes:
        if node["op"] == "null":
            known = parameters.get(node["name"])
            names.append(known.name if known else node["name"])
            continue
        # Of some networks several nodes have one name.
        name = node["name"].removeprefix(prefix)
        times[name] = times.get(name, 0) + 1
        names.append(name if times[name] == 1 else f"{name}:{times[name]}")
    return names


def _needed(nodes: list[dict], head: int) -> set[int]:
    needed, waiting = set(), [head]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            waiting += [place[0] for place in nodes[index]["inputs"]]
    return needed
