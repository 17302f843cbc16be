"""Give everything in a graph other names, so that names of our own can join it."""

from .onnx_graph import load_onnx
from .walk import find_all


def add_prefix_graph(graph, prefix: str) -> None:
    """Put `prefix` before every name in `graph`, bodies of nodes included.

    onnx's own function renames weights after it has gone through the bodies of Loop, Scan
    and If (since 1.19), which then refer to names that are gone; so it is told of them first.

    Parameters
    ----------
    graph : onnx.GraphProto
        Changed in place.
    """
    names: dict = {}
    for found in find_all(graph, "GraphProto"):
        own = [tensor.name for tensor in found.message.initializer]
        own += [tensor.values.name for tensor in found.message.sparse_initializer]
        names.update((name, prefix + name) for name in own if name)
    load_onnx().compose.add_prefix_graph(graph, prefix, inplace=True, name_map=names)


def add_prefix(model, prefix: str) -> None:
    """Put `prefix` before every name in `model`, its functions' included, in place."""
    add_prefix_graph(model.graph, prefix)
    kept = ("nodes", "edges", "inputs", "outputs", "initializers", "value_infos")
    load_onnx().compose.add_prefix(
        model,
        prefix,
        **{f"rename_{name}": False for name in kept},
        rename_functions=True,
        inplace=True,
    )
