"""Cut ONNX graphs where their features are: at the classifier, or at a named layer."""

import dataclasses
import math

from ...core.errors import BackboneError, counted
from ..records.layer import (
    BEFORE_CLASSIFIER,
    GEM_EPSILON,
    GEM_POWER,
    Layer,
    no_such_layer,
    nothing_to_pool,
)
from .budget import require_small_values
from .classifier import Classifier, feature_output, find_classifier
from .naming import add_prefix
from .onnx_graph import (
    FEATURES,
    THEIRS,
    NodeWriter,
    constant_tensors,
    drop_weights_from_inputs,
    load_onnx,
    plain_name,
    require_one_input,
)
from .values import LAST, Values, study
from .walk import read_inside

_PASSED_BEFORE_THE_POOL = frozenset("Flatten Squeeze Reshape Dropout Identity Cast".split())


@dataclasses.dataclass(frozen=True)
class TakenLayer:
    """What became the features.

    Attributes
    ----------
    width : int
        Length D of a feature row.
    text : str
        Which layer it is, and why.
    """

    width: int
    text: str


@dataclasses.dataclass(frozen=True)
class _Place:
    """A value of the graph, and where its channels are; no layout if it has no other axes."""

    value: str
    width: int
    layout: str | None
    text: str


def cut_classifier(
    model,
    name: str = "the model",
    layer: Layer = BEFORE_CLASSIFIER,
    resolution: int | None = None,
    classes: int | None = None,
    known: bool = False,
) -> TakenLayer:
    """Cut a graph, in place, at its classifier's data input, or at a named layer.

    Features that still have a height and width are pooled over them.

    Parameters
    ----------
    model : onnx.ModelProto
        Without local functions.
    layer : Layer
        Its name is that of a node or of a node's output.
    resolution : int, optional
        Side of the square input, where the graph leaves it open.
    classes : int, optional
        How many classes it is said to tell apart; 0 if it is no classifier.
    known : bool
        Whether it is known to end in a classifier, whatever it looks like.

    Returns
    -------
    TakenLayer
        The graph's only output is then ``features`` (N, D), float32.

    Raises
    ------
    BackboneError
        No such layer is there, it is not certain which layer is meant, there is nothing to
        pool, a value would be too large, or the graph has not exactly one image input.
    """
    onnx = load_onnx()
    require_one_input(model, name)
    # Our own names go into the graph: what is there gets others first.
    add_prefix(model, THEIRS)
    graph = model.graph
    values = study(onnx, model, resolution)
    require_small_values(graph, values.shapes, values.constants, name)
    if layer.name is not None:
        place = _place_of(graph, values, _named_output(graph, layer.name, name), layer, name)
    elif classes == 0:
        place = _place_of(graph, values, feature_output(graph, values, name), layer, name)
    else:
        place = _before(find_classifier(graph, values, name, classes, known))
    if place.width < 1 and layer.pool != "none":
        raise BackboneError(
            f"{name} ends in a classifier that reads no numbers: {place.text}",
            "export it again, or take another network",
        )
    if layer.pool != "avg":
        place = _map_to_pool(graph, values, layer, place, name)
    if layer.pool == "none":
        place = dataclasses.replace(place, width=math.prod(values.shapes[place.value][1:]))
    _end_at(onnx, graph, place, values, layer.pool)
    return TakenLayer(place.width, place.text)


def _end_at(onnx, graph, place: _Place, values: Values, pool: str) -> None:
    """Make the place, pooled, the graph's only output, and remove what it does not need."""
    write, features = NodeWriter(graph, "icecore_pool_"), place.value
    # Also where the type is not known: it costs nothing where it is float32 after all.
    if values.types.get(features) != onnx.TensorProto.FLOAT:
        features = write.node("Cast", features, to=onnx.TensorProto.FLOAT)
    if place.layout == LAST:
        axes = len(values.shapes[place.value])
        features = write.node("Transpose", features, perm=[0, axes - 1, *range(1, axes - 1)])
    if place.layout is not None:
        features = _pooled(write, features, pool)
    write.node("Flatten", features, output=FEATURES, axis=1)
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info(FEATURES, onnx.TensorProto.FLOAT, ["N", place.width])
    )
    _prune(graph)


def _before(classifier: Classifier) -> _Place:
    text = (
        f"{classifier.width} numbers of '{plain_name(classifier.features)}', which "
        f"{classifier.text} reads to tell {counted(classifier.classes, 'class', 'classes')} apart"
    )
    return _Place(classifier.features, classifier.width, classifier.layout, text)


def _place_of(graph, values: Values, features: str, layer: Layer, name: str) -> _Place:
    """Return the place of a value that was asked for, or that a record says are the features."""
    shape, layout = values.shapes.get(features, ()), None
    if len(shape) == 4:
        layout = values.layouts.get(features, "channels first")
    width = shape[-1 if layout == LAST else 1] if len(shape) in (2, 4) else 0
    if width < 1 and len(shape) != 4:
        width = _width_of_gemm(graph, values, features)
    if width < 1:
        raise nothing_to_pool(name, layer, shape)
    why = "as was asked" if layer.name else "the output, for the record says num_classes 0"
    text = f"{width} numbers of '{layer.name or plain_name(features)}', {why}"
    return _Place(features, width, layout, text)


def _width_of_gemm(graph, values: Values, features: str) -> int:
    """Return how many numbers a Gemm reads of a value, whose own shape may not be known."""
    for node in graph.node:
        flags = {a.name: a.i for a in node.attribute}
        weights = values.shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
        if node.op_type == "Gemm" and node.input[0] == features and len(weights) == 2:
            return 0 if flags.get("transA") else weights[flags.get("transB", 0)]
    return 0


def _named_output(graph, wanted: str, name: str) -> str:
    """Find a layer by the name of its node or of its output, as the file has it."""
    names: dict[str, str] = {}
    for node in graph.node:
        for one in (node.name, *node.output):
            names.setdefault(plain_name(one), one if one in node.output else node.output[0])
    if wanted not in names or not wanted:
        raise no_such_layer(name, wanted, [one for one in names if one])
    return names[wanted]


def _map_to_pool(graph, values: Values, layer: Layer, place: _Place, name: str) -> _Place:
    """Return the map that another pool than the average is to take."""
    shape = values.shapes.get(place.value, ())
    sides = shape[1:-1] if place.layout == LAST else shape[2:]
    if place.layout is not None and any(side != 1 for side in sides):
        return place
    before = _map_before(graph, values, place.value) if layer.name is None else None
    if before is None:
        raise nothing_to_pool(name, layer, shape)
    return dataclasses.replace(place, value=before, layout=values.layouts[before])


def _map_before(graph, values: Values, features: str) -> str | None:
    """Return the map that an average over height and width before `features` reads."""
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(features)
    while node is not None and node.op_type in _PASSED_BEFORE_THE_POOL:
        node = producers.get(node.input[0])
    if node is None or node.input[0] not in values.layouts:
        return None
    if node.op_type == "GlobalAveragePool":
        return node.input[0]
    if node.op_type == "ReduceMean":
        axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
        if axes is None and len(node.input) > 1:
            axes = _numbers(graph, node.input[1])
        last = values.layouts[node.input[0]] == LAST
        if axes is not None and sorted(n % 4 for n in axes) == ([1, 2] if last else [2, 3]):
            return node.input[0]
    return None


def _numbers(graph, name: str) -> list[int] | None:
    """Return the numbers of a constant, where it is an initializer or a Constant node."""
    tensor = constant_tensors(graph).get(name)
    return None if tensor is None else load_onnx().numpy_helper.to_array(tensor).ravel().tolist()


def _pooled(write: NodeWriter, features: str, pool: str) -> str:
    """Write what pools features (N, D, H, W) over height and width."""
    if pool == "none":
        return features
    if pool == "gem":
        cut = write.node("Max", features, write.constant(GEM_EPSILON))
        raised = write.node("Pow", cut, write.constant(GEM_POWER))
        mean = write.node("GlobalAveragePool", raised)
        return write.node("Pow", mean, write.constant(1 / GEM_POWER))
    kinds = {"avg": ["Average"], "max": ["Max"], "avgmax": ["Average", "Max"]}[pool]
    pooled = [write.node(f"Global{kind}Pool", features) for kind in kinds]
    return pooled[0] if len(pooled) == 1 else write.node("Mean", *pooled)


def _prune(graph) -> None:
    """Remove nodes and weights that the output does not need."""
    needed = {graph.output[0].name}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            needed.update(read_inside(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    for tensors in (graph.initializer, graph.sparse_initializer):
        wanted = [t for t in tensors if getattr(t, "values", t).name in needed]
        del tensors[:]
        tensors.extend(wanted)
    del graph.value_info[:]


def layers_of(model, resolution: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """List (name, operator, output shape for one image) of the layers that give features."""
    drop_weights_from_inputs(model)
    if len(model.graph.input) != 1:
        return []
    shapes = study(load_onnx(), model, resolution).shapes
    found = [
        (n.name or n.output[0], n.op_type, shapes.get(n.output[0], ()))
        for n in model.graph.node
        if n.op_type != "Constant"
    ]
    return [
        (name, kind, shape[1:])
        for name, kind, shape in found
        if len(shape) in (2, 4) and min(shape) > 0
    ]
