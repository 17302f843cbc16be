"""Turn an MXNet symbol into an ONNX graph without its weights; MXNet itself is not needed."""

from collections.abc import Mapping

from ..graphs.onnx_graph import load_onnx
from ..graphs.values import study
from .graph_writer import GraphWriter, Parameter, SymbolNode, output_name
from .operators import translate

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
    shapes = _shapes(model, side)
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


def kernels_too_large(model, side: int) -> list[str]:
    """Name the layers whose kernels do not fit their maps for images of this side.

    Engines may compute something even so.
    """
    shapes, found = _shapes(model, side), []
    for node in model.graph.node:
        settings = {a.name: list(a.ints) for a in node.attribute}
        kernel, data = settings.get("kernel_shape", []), shapes.get(node.input[0], ())
        pads, dilations = settings.get("pads", [0] * 4), settings.get("dilations", [1, 1])
        for axis, extent in enumerate(kernel):
            room = data[2 + axis] + pads[axis] + pads[2 + axis] if len(data) == 4 else 0
            if (extent - 1) * dilations[axis] + 1 > room:
                found.append(node.name)
                break
    return found


def parameters_that_do_not_fit(model, side: int) -> list[str]:
    """Describe the parameters whose shapes contradict what reaches their layers."""
    shapes, found = _shapes(model, side), []
    given = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        data = shapes.get(node.input[0], ())
        channels = data[1] if len(data) in (2, 4) else 0
        if not channels or node.op_type not in ("Conv", "Gemm", "BatchNormalization"):
            continue
        first = given.get(node.input[1], ())
        if node.op_type == "BatchNormalization":
            wanted = dict.fromkeys(node.input[1:], (channels,))
        else:
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            kernel = next((tuple(a.ints) for a in node.attribute if a.name == "kernel_shape"), ())
            wanted = {node.input[1]: (*first[:1], channels // groups, *kernel)}
            wanted |= dict.fromkeys(node.input[2:], first[:1])
        found += [
            f"{name} {given[name]} for {shape}"
            for name, shape in wanted.items()
            if name in given and given[name] != shape
        ]
    return found


def _shapes(model, side: int) -> Mapping[str, tuple[int, ...]]:
    return study(load_onnx(), model, side).shapes


def _make_global(node, shapes: Mapping[str, tuple[int, ...]]) -> None:
    pads = [n for a in node.attribute if a.name == "pads" for n in a.ints]
    # A pool that leaves a map of more than one place, or that counts a border, is none.
    if shapes.get(node.output[0], ())[2:] == (1, 1) and not any(pads):
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
