"""Graphs whose parameters stand elsewhere: which they need, and how they are filled in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .onnx_graph import load_onnx, plain_name

__all__ = ["filled_graph", "parameters_of"]

# Numbers of the fields of ModelProto, GraphProto and TensorProto.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def parameters_of(model, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parameters that a graph needs, by the names that they had before a cut.

    Parameters
    ----------
    model : onnx.ModelProto
        Of its initializers, those with a shape and no data are parameters; others among
        `values` keep the data that they have.
    values : mapping of str to ndarray of float32
        There may be more.
    """
    onnx, found = load_onnx(), {}
    for tensor in model.graph.initializer:
        name = plain_name(tensor.name)
        if name in values:
            is_set = tensor.HasField("raw_data")
            found[name] = onnx.numpy_helper.to_array(tensor) if is_set else values[name]
    return found


def filled_graph(model, values: Mapping[str, np.ndarray]) -> bytes:
    """Return a graph as a file's bytes, its parameters with the values of `parameters_of`.

    Notes
    -----
    Protobuf merges messages that follow each other. So the graph is written without its
    parameters, and they behind it straight from the arrays: a copy of them in the model
    and another on the way out would take most of a network's start.
    """
    bare = load_onnx().ModelProto()
    bare.CopyFrom(model)
    del bare.graph.initializer[:]
    tensors: list[bytes | memoryview] = []
    for tensor in model.graph.initializer:
        name = plain_name(tensor.name)
        content: list[bytes | memoryview] = [tensor.SerializeToString()]
        if name in values and not tensor.HasField("raw_data"):
            raw = np.ascontiguousarray(values[name], "<f4").data.cast("B")
            content += [_field(_RAW_DATA, raw.nbytes), raw]
        tensors += [_field(_INITIALIZER, sum(map(len, content))), *content]
    return b"".join([bare.SerializeToString(), _field(_GRAPH, sum(map(len, tensors))), *tensors])


def _field(number: int, length: int) -> bytes:
    """Return what goes before a field of that many bytes in a protobuf message."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
