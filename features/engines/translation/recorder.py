"""Records what is done to images as a graph of PyTorch calls, and knows each value's shape."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


class RefusedError(Exception):
    """Something in a graph that is not translated; its text is part of a message."""


@dataclasses.dataclass(frozen=True)
class Live:
    """A value that depends on the images.

    Attributes
    ----------
    node : torch.fx.Node
        What computes it.
    meta : torch.Tensor
        Its shape and type, without numbers.
    """

    node: Any
    meta: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents, with that of the batch."""
        return tuple(self.meta.shape)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return self.meta.ndim

    @property
    def is_real(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.meta.dtype.is_floating_point


@dataclasses.dataclass(frozen=True)
class Operation:
    """One node of the ONNX graph, with what goes into it.

    Attributes
    ----------
    kind : str
        Its operator.
    inputs : tuple of Live, ndarray or None
        An array is known before the images are; None was left away.
    outputs : int
        How many are wanted.
    """

    kind: str
    inputs: tuple
    attributes: dict
    outputs: int
    opset: int

    def input(self, number: int):
        """Return an input, or None where it was left away."""
        return self.inputs[number] if number < len(self.inputs) else None

    def known(self, number: int, attribute: str | None = None) -> Any:
        """Return an input that must not depend on the images, None where it was left away.

        Older opsets had an attribute.
        """
        value = self.input(number)
        if isinstance(value, Live):
            raise RefusedError(f"whose input {number} depends on the image")
        if value is None and attribute in self.attributes:
            return np.asarray(self.attributes[attribute])
        return value

    def integers(self, number: int, attribute: str | None = None) -> Any:
        """Return `known` as a list of integers."""
        value = self.known(number, attribute)
        return None if value is None else [int(one) for one in np.ravel(value)]

    def axis(self, default: int, rank: int) -> int:
        """Return the attribute ``axis``, counted from the front."""
        return int(self.attributes.get("axis", default)) % rank


class Recorder:
    """Records calls of PyTorch's functions.

    Parameters
    ----------
    torch : module
    narrow : torch.dtype or None
        Floating-point type from the first layer with weights on; None leaves float32.
    """

    def __init__(self, torch, narrow=None) -> None:
        self.torch, self.functional = torch, torch.nn.functional
        self._narrow = narrow
        self._graph, self._root = torch.fx.Graph(), torch.nn.Module()
        self._constants: dict[tuple, Live] = {}
        # Arrays that are constants, so that no other one gets the identity of one of them.
        self._arrays: list[np.ndarray] = []
        self._values: dict[object, Live] = {}
        # Those whose output has but one reader.
        self.convolutions: dict[object, Operation] = {}

    def images(self, shape: Sequence[int]) -> Live:
        """Return the input, uint8."""
        meta = self.torch.empty(tuple(shape), dtype=self.torch.uint8, device="meta")
        return self._keep(self._graph.placeholder("images"), meta)

    def _keep(self, node, meta) -> Live:
        self._values[node] = live = Live(node, meta)
        return live

    def value_of(self, node) -> Live | None:
        """Return the value that a node computes."""
        return self._values.get(node)

    def convolution_of(self, value: Live) -> Operation | None:
        """Return the convolution that gives a value, if nothing else reads it."""
        return self.convolutions.get(value.node)

    def __call__(self, function, *arguments, **named) -> Live:
        """Record a call of `function`, a function of PyTorch or a method's name."""
        swap = self.torch.fx.node.map_aggregate

        def metas(of):
            return swap(of, lambda one: one.meta if isinstance(one, Live) else one)

        def nodes(of):
            return swap(of, lambda one: one.node if isinstance(one, Live) else one)

        if isinstance(function, str):
            meta = getattr(arguments[0].meta, function)(*metas(arguments[1:]), **named)
            node = self._graph.call_method(function, nodes(arguments), named)
        else:
            meta = function(*metas(arguments), **metas(named))
            node = self._graph.call_function(function, nodes(arguments), nodes(named))
        return self._keep(node, meta)

    def tensor(self, value, dtype=None) -> Live:
        """Return a value as a tensor; an array becomes a constant of the type that is given."""
        if isinstance(value, Live):
            return self.cast(value, dtype) if dtype is not None else value
        key = (id(value), dtype)
        if key not in self._constants:
            array = np.array(value, order="C")  # A copy: PyTorch wants to own what it may change.
            tensor = self.torch.from_numpy(array)
            tensor = tensor.to(
                dtype or (self.torch.float32 if tensor.is_floating_point() else tensor.dtype)
            )
            if tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=self.torch.channels_last)
            name = f"constant_{len(self._constants)}"
            self._root.register_buffer(name, tensor, persistent=False)
            self._constants[key] = self._keep(self._graph.get_attr(name), tensor.to("meta"))
            self._arrays.append(value)
        return self._constants[key]

    def cast(self, value: Live, dtype) -> Live:
        """Return a value in another type."""
        return value if value.meta.dtype == dtype else self("to", value, dtype)

    def narrowed(self, value: Live) -> Live:
        """Return a value in the type that layers with weights compute in."""
        return self.cast(value, self._narrow) if self._narrow and value.is_real else value

    def as_float(self, value: Live) -> Live:
        """Return a value as what stands for float32: what is narrow already remains so."""
        return value if value.is_real else self.cast(value, self.torch.float32)

    def alike(self, *values) -> list:
        """Give several values one type: that of the images' values among them.

        An array of one number becomes a number, which has no type of its own.
        """
        live = [one for one in values if isinstance(one, Live)]
        kinds = [one.meta.dtype for one in live]
        kind = self._narrow if self._narrow in kinds else kinds[0]
        rank = max(one.rank for one in live)
        return [
            one.item()
            if not isinstance(one, Live) and one.size == 1 and one.ndim <= rank
            else self.tensor(one, kind)
            for one in values
        ]

    def reshaped(self, value: Live, shape: Sequence[int]) -> Live:
        """Return a value in another shape."""
        shape = tuple(int(extent) for extent in shape)
        if -1 in shape:
            rest = math.prod(extent for extent in shape if extent != -1)
            whole = math.prod(value.shape)
            shape = tuple(whole // max(rest, 1) if one == -1 else one for one in shape)
        if math.prod(shape) != math.prod(value.shape):
            raise RefusedError(f"that turns {value.shape} into {shape}")
        return value if shape == value.shape else self(self.torch.reshape, value, shape)

    def module(self, output: Live):
        """Return what was recorded as a module from the images to `output`, float32."""
        self._graph.output(self.cast(output, self.torch.float32).node)
        self._graph.eliminate_dead_code()
        module = self.torch.fx.GraphModule(self._root, self._graph)
        # As any module is called: what fails is said by whoever calls it, not printed as well.
        type(module).__call__ = self.torch.nn.Module.__call__
        module.features_shape = output.shape
        return module.eval().requires_grad_(False)
