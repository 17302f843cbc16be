"""Write an ONNX graph node by node, its parameters by name and shape alone."""

import ast
import dataclasses
from typing import Any

import numpy as np

from ..graphs.onnx_graph import load_onnx

OPSET = 13
_IR_VERSION = 8


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a network, without its values.

    Attributes
    ----------
    name : str
        Its structural name, as Gluon saves it (``features.0.weight``).
    internal : str
        MXNet's own name of it, without the network's prefix; the name in old files.
    aliases : tuple of str
        Further structural names, under which files may have it too.
    """

    name: str
    internal: str
    shape: tuple[int, ...]
    aliases: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SymbolNode:
    """A node of an MXNet symbol.

    Attributes
    ----------
    inputs : list of str
        Names of the values that it reads.
    """

    op: str
    name: str
    attrs: dict[str, str]
    inputs: list[str]

    def text(self, key: str, default: str | None = None) -> str:
        """Return a setting; `ValueError` if it is not there and has no default."""
        found = self.attrs.get(key, default)
        if found is None:
            raise ValueError(f"{key} is missing")
        return found

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a setting that is true or false."""
        return self.attrs.get(key, str(default)) in ("True", "1")

    def number(self, key: str, default: float | None = None) -> float:
        """Return a setting that is a number."""
        return float(self.text(key, None if default is None else repr(default)))

    def numbers(self, key: str, default: tuple = ()) -> tuple:
        """Return a setting that is a tuple of numbers, or a single one; None may be among them."""
        found = ast.literal_eval(self.attrs.get(key, repr(default)))
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    def outputs(self, count: int) -> list[str]:
        """Name the values that it writes."""
        return [output_name(self.name, number) for number in range(count)]


def output_name(node: str, number: int) -> str:
    """Name an output of a node; the first is called like the node."""
    return node if number == 0 else f"{node}_output{number}"


class GraphWriter:
    """Collects the nodes and constants of an ONNX graph.

    Notes
    -----
    A parameter is an initializer that has a shape and no data; the node that is named like
    an MXNet node computes its value, and what it needs besides has numbered names.
    """

    def __init__(self) -> None:
        self._onnx = load_onnx()
        self._nodes: list = []
        self._constants: dict[tuple, Any] = {}
        self._ones: set[str] = set()
        self._ranks: dict[str, int] = {}

    def node(
        self, kind: str, inputs: list[str], *outputs: str, rank: int | None = None, **settings
    ) -> str:
        """Add a node and return the name of its first output; one is made up if none is given.

        Its outputs have the rank of its first input if no other is given.
        """
        names = outputs or (f"icecore/{len(self._nodes)}",)
        self._ranks |= dict.fromkeys(names, self.rank(inputs[0]) if rank is None else rank)
        made = self._onnx.NodeProto(
            op_type=kind, input=list(inputs), output=names, name=outputs[0] if outputs else ""
        )
        for key, value in settings.items():
            made.attribute.append(self._attribute(key, value))
        self._nodes.append(made)
        return names[0]

    def rank(self, value: str) -> int:
        """Return the number of axes of a value; images have four."""
        return self._ranks.get(value, 4)

    def constant(self, values: np.ndarray | np.generic) -> str:
        """Return the name of a constant; equal ones are kept once."""
        array = np.asarray(values)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"icecore/constant{len(self._constants)}"
            self._constants[key] = self._onnx.numpy_helper.from_array(array, name)
        return self._constants[key].name

    def fix_to_one(self, parameter: str) -> None:
        """Let a parameter be 1, whatever is stored for it."""
        self._ones.add(parameter)

    def model(self, parameters: list[Parameter], data: str, output: str):
        """Return the graph from the images ``data`` (N, 3, H, W) to a value.

        Returns
        -------
        onnx.ModelProto
        """
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        images = helper.make_tensor_value_info(data, kind, ["N", 3, "H", "W"])
        result = helper.make_tensor_value_info(output, kind, None)
        tensors = [self._tensor(one) for one in parameters]
        graph = helper.make_graph(
            self._nodes, "icecore", [images], [result], [*tensors, *self._constants.values()]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = _IR_VERSION
        model.producer_name = "icecore"
        return model

    def _tensor(self, parameter: Parameter):
        if parameter.name in self._ones:
            tensor = self._onnx.numpy_helper.from_array(
                np.ones(parameter.shape, np.float32), parameter.name
            )
        else:
            tensor = self._onnx.TensorProto(
                name=parameter.name,
                dims=parameter.shape,
                data_type=self._onnx.TensorProto.FLOAT,
            )
        tensor.doc_string = " ".join((parameter.internal, *parameter.aliases))
        return tensor

    def _attribute(self, key: str, value):
        if isinstance(value, np.ndarray):
            value = self._onnx.numpy_helper.from_array(value)
        return self._onnx.helper.make_attribute(key, value)
