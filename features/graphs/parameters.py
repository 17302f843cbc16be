"""Graphs whose parameters stand elsewhere: which they need, and how they are filled in."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Self

import numpy as np

from .onnx_graph import load_onnx, plain_name

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


@dataclasses.dataclass(frozen=True, eq=False)
class FilledGraph:
    """A graph and, beside it, the values of its parameters, as they were read.

    Attributes
    ----------
    bare : bytes
        ONNX. Its parameters have shapes and no data.
    values : mapping of str to ndarray of float32
        Of exactly these parameters, by the names that they have in `bare`.
    weights : str
        The digest of the values.

    Notes
    -----
    An engine that takes the values where they lie starts in half the time: a large network is
    a quarter of a gigabyte, and each copy of it takes as long as reading it.
    """

    bare: bytes
    values: Mapping[str, np.ndarray]
    weights: str

    @classmethod
    def of(cls, model, values: Mapping[str, np.ndarray], weights: str) -> Self:
        """Take a model without its parameters' values, and these by the names before a cut.

        What is proved must have the digest of the `weights`.
        """
        taken = {}
        for tensor in model.graph.initializer:
            name = plain_name(tensor.name)
            if name in values and not tensor.HasField("raw_data"):
                taken[tensor.name] = np.ascontiguousarray(values[name], "<f4")
        return cls(model.SerializeToString(), taken, weights)

    @property
    def digest(self) -> str:
        """SHA-256 of the graph and of its weights' digest."""
        return hashlib.sha256(self.bare + self.weights.encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of the graph with its weights."""
        return len(self.bare) + sum(array.nbytes for array in self.values.values())

    def content(self) -> bytes:
        """Return the graph as a file's bytes, its parameters with their values.

        Protobuf merges messages that follow each other. So the graph is written without its
        parameters, and they behind it straight from the arrays.
        """
        model = load_onnx().load_from_string(self.bare)
        parameters = list(model.graph.initializer)
        del model.graph.initializer[:]
        tensors: list[bytes | memoryview] = []
        for tensor in parameters:
            content: list[bytes | memoryview] = [tensor.SerializeToString()]
            if tensor.name in self.values:
                raw = self.values[tensor.name].data.cast("B")
                content += [_field(_RAW_DATA, raw.nbytes), raw]
            tensors += [_field(_INITIALIZER, sum(map(len, content))), *content]
        size = sum(map(len, tensors))
        return b"".join([model.SerializeToString(), _field(_GRAPH, size), *tensors])

    def with_inputs(self) -> bytes:
        """Return the bare graph with its parameters as inputs, to be given where they lie."""
        onnx = load_onnx()
        model = onnx.load_from_string(self.bare)
        kept = []
        for tensor in model.graph.initializer:
            if tensor.name in self.values:
                value = onnx.helper.make_tensor_value_info(
                    tensor.name, tensor.data_type, tensor.dims
                )
                model.graph.input.append(value)
            else:
                kept.append(tensor)
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        return model.SerializeToString()


def _field(number: int, length: int) -> bytes:
    """Return what goes before a field of that many bytes in a protobuf message."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
