"""What a foreign graph takes as its input, and how it is made to take any number of images."""

import dataclasses

import numpy as np

from ...core.errors import BackboneError
from .onnx_graph import constant_tensors, require_one_input
from .values import constants_of, infer_shapes
from .walk import find_all

_INTEGERS = ("UINT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64")
_BEFORE_THE_TURN = frozenset("Add Cast Div Identity Mul Sub".split())
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype"})


@dataclasses.dataclass(frozen=True)
class PixelInput:
    """The images that a graph takes.

    Attributes
    ----------
    takes_pixels : bool
        Whether it takes integers: pixels of 0 to 255, which it prepares itself.
    channels_last : bool
        Whether its images are (N, R, R, 3).
    batch : int or None
        How many images it was exported for; None for any number.
    """

    takes_pixels: bool
    channels_last: bool
    batch: int | None


def read_input(onnx, model, side: int, name: str) -> PixelInput:
    """Find out what images a graph takes.

    Raises
    ------
    BackboneError
        It takes something else than square images of three channels.
    """
    require_one_input(model, name)
    kind = model.graph.input[0].type.tensor_type
    numbers = onnx.TensorProto.DataType.Name(kind.elem_type)
    if numbers not in (*_INTEGERS, "FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"):
        raise BackboneError(
            f"{name} takes {numbers} numbers, which are no pixels",
            "export it for float32 images, or for uint8 ones if it prepares them itself",
        )
    shape = [extent.dim_value for extent in kind.shape.dim]
    if len(shape) == 4 and shape[1] == shape[3] == 0 and puts_channels_first(model.graph):
        kind.shape.dim[3].dim_value = shape[3] = 3
    last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
    wanted = [0, side, side, 3] if last else [0, 3, side, side]
    if kind.HasField("shape") and (
        len(shape) != 4 or any(n not in (0, m) for n, m in zip(shape[1:], wanted[1:]))
    ):
        raise BackboneError(
            f"{name} takes inputs of shape {shape} (0 stands for any), not [N, 3, {side}, {side}] "
            f"or [N, {side}, {side}, 3]",
            _hint(shape, 3 if last else 1),
        )
    return PixelInput(numbers in _INTEGERS, last, shape[0] or None if shape else None)


def puts_channels_first(graph) -> bool:
    """Tell whether a graph turns its images so, as no graph does that takes channels first."""
    images = {graph.input[0].name}
    for node in graph.node:
        if not node.input or node.input[0] not in images:
            continue
        if node.op_type == "Transpose":
            return any(a.name == "perm" and list(a.ints) == [0, 3, 1, 2] for a in node.attribute)
        if node.op_type in _BEFORE_THE_TURN:
            images.update(node.output)
    return False


def _hint(shape: list[int], channels: int) -> str:
    """Say what to do about a shape: of that a record says how large images are, no more."""
    sides = [extent for at, extent in enumerate(shape[1:], 1) if at != channels]
    if len(shape) != 4 or shape[channels] not in (0, 3) or len({*sides} - {0}) > 1:
        return "take another network, or export this one for square images of three channels"
    return "correct input_size in the JSON record beside it, or leave @RESOLUTION away"


def compute_in_float32(onnx, model) -> bool:
    """Turn every other floating-point number of a graph into a float32, in place.

    Weights of half precision stay exactly what they are. What is computed is the same in all
    engines, of which few compute in the others; the precision to compute in is asked for
    elsewhere.

    Returns
    -------
    bool
        Whether there were any.
    """
    kinds = onnx.TensorProto
    others = {kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE}
    single, changed = kinds.FLOAT, False
    for tensor in [found.message for found in find_all(model, "TensorProto")]:
        if tensor.data_type in others:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
            changed = True
    for found in find_all(model, "NodeProto"):
        for attribute in found.message.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in others:
                attribute.i, changed = single, True
    for found in find_all(model, "Tensor"):
        if found.message.elem_type in others:
            found.message.elem_type, changed = single, True
    return changed


def free_batch(onnx, model, side: int) -> bool:
    """Let a graph that was exported for one number of images take any, in place.

    Constant shapes that begin with that number begin with that of the images instead. Where
    this does not do, the graph stays what it was.

    Returns
    -------
    bool
        Whether shape inference shows that it takes other numbers now.
    """
    extents = model.graph.input[0].type.tensor_type.shape.dim
    if len(extents) != 4 or not extents[0].dim_value:
        return True
    batch, freed = extents[0].dim_value, onnx.ModelProto()
    freed.CopyFrom(model)
    del freed.graph.value_info[:]
    reshaped = _free_shapes(onnx, freed.graph, batch)
    first = freed.graph.input[0].type.tensor_type.shape.dim[0]
    for output in freed.graph.output:
        output.type.tensor_type.ClearField("shape")
    for images in (batch, batch + 1, 1):
        first.dim_value = images
        if not _all_have(onnx, freed, images, side, reshaped):
            return False
    first.ClearField("dim_value")
    first.dim_param = "N"
    model.CopyFrom(freed)
    return True


def _free_shapes(onnx, graph, batch: int) -> set[str]:
    """Let constant shapes that begin with a batch keep the first extent, and name what has it."""
    constants, fixed, reshaped = constant_tensors(graph), constants_of(graph), set()
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants or node.input[0] in fixed:
            continue
        wanted = onnx.numpy_helper.to_array(constants[node.input[1]])
        exact = [a for a in node.attribute if a.name == "allowzero" and a.i]
        if wanted.ndim == 1 and wanted.size > 1 and wanted[0] == batch:
            if exact and 0 in wanted:
                continue
            for attribute in exact:  # PyTorch writes it by default, and means no 0 by it.
                node.attribute.remove(attribute)
            wanted = np.concatenate([[0], wanted[1:]]).astype(np.int64)
            node.input[1] = f"icecore_shape_{number}"
            graph.initializer.append(onnx.numpy_helper.from_array(wanted, node.input[1]))
            reshaped.add(node.input[0])
    return reshaped


def _all_have(onnx, model, images: int, side: int, values: set[str]) -> bool:
    """Tell whether every output, and each of some values, has a row for each image."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for extent in sized.graph.input[0].type.tensor_type.shape.dim[1:]:
        extent.dim_value = extent.dim_value or side
    try:
        inferred = infer_shapes(onnx, sized, strict=True)
    except Exception:  # Its exceptions share no base.
        return False
    graph, first = inferred.graph, {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        first[value.name] = [extent.dim_value for extent in value.type.tensor_type.shape.dim][:1]
    wanted = values | {output.name for output in graph.output}
    return all(first.get(name) == [images] for name in wanted)
