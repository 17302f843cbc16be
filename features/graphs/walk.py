"""One walk over everything in an ONNX model, however deep it lies."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ...core.imports import load


class Found(NamedTuple):
    """A message inside a model, and where it stands.

    Attributes
    ----------
    place : str
        The nearest node or tensor with a name, for messages.
    main : bool
        Whether it is an initializer of the main graph.
    """

    message: Any
    place: str
    main: bool


def find_all(model, kind: str) -> Iterator[Found]:
    """Yield every message of a kind: in the main graph, bodies of nodes, functions, attributes.

    Parameters
    ----------
    model : onnx.ModelProto
    kind : str
        Name of the message's type, for instance ``TensorProto``.
    """
    yield from _search(model, kind, "the model", ())


def _search(message, kind: str, place: str, way: tuple[str, ...]) -> Iterator[Found]:
    name = message.DESCRIPTOR.name
    if name == "NodeProto":
        place = f"the node {message.op_type} '{message.name or ', '.join(message.output)}'"
    elif name == "FunctionProto":
        place = f"the function '{message.name}'"
    elif name == "TensorProto" and message.name:
        place = f"{place}, '{message.name}'" if way[:-1] != ("graph",) else f"'{message.name}'"
    if name == kind:
        yield Found(message, place, way == ("graph", "initializer"))
    if name == "TensorProto":
        return  # It holds numbers, and no message but where they are.
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        several = hasattr(value, "add") or hasattr(value, "append")
        for part in value if several else (value,):
            yield from _search(part, kind, place, (*way, field.name))


def bodies_of(node) -> list:
    """Return the graphs inside a node, as those of If, Loop and Scan."""
    single = [one.g for one in node.attribute if one.HasField("g")]
    return single + [graph for one in node.attribute for graph in one.graphs]


def read_inside(node) -> set[str]:
    """Return what the bodies of If, Loop and Scan read, of their own or from outside."""
    names: set[str] = set()
    for inner in bodies_of(node):
        for one in inner.node:
            names.update(one.input)
            names |= read_inside(one)
        names.update(value.name for value in inner.output)
    return names


def has_unknown_fields(model) -> bool:
    """Tell whether a model holds what this version of onnx has no name for."""
    unknown = load("google.protobuf.unknown_fields").UnknownFieldSet

    def search(message) -> bool:
        if len(unknown(message)):
            return True
        for field, value in message.ListFields():
            if field.message_type is not None:
                several = hasattr(value, "add") or hasattr(value, "append")
                if any(map(search, value if several else (value,))):
                    return True
        return False

    return search(model)
