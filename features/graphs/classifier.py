"""Where the classifier of a graph begins: what is read before it are the features."""

import dataclasses
import math
from typing import Any

from ...core.errors import BackboneError, enumerate_some
from .onnx_graph import plain_name
from .values import FIRST, LAST, Values

_ACTIVATIONS = frozenset(
    "Relu LeakyRelu Elu Selu Celu PRelu Clip HardSigmoid HardSwish Gelu Mish Softplus Tanh "
    "ThresholdedRelu".split()
)
# What nobody does to features; of the last three, exports for applications make their answers.
_PROBABILITIES = frozenset("Softmax LogSoftmax Sigmoid ArgMax TopK ZipMap".split())
_PASSED = frozenset(
    "Identity Flatten Squeeze Unsqueeze Reshape Transpose Cast Dropout Add Sum Mean Concat Sub Mul "
    "Div QuantizeLinear DequantizeLinear GlobalAveragePool ReduceMean AveragePool".split()
)
# They may put the answers of several classifiers together.
_SUMS, _MOST_HEADS = frozenset({"Add", "Concat", "Mean", "Sum"}), 8
_POOLS = frozenset("GlobalAveragePool ReduceMean AveragePool".split())
_LAYERS = ("Gemm", "MatMul", "Conv")
# Extents of tokens, which have no height and width; as a named layer they are refused.
_SEQUENCE = 3
# Of answers they leave some away, as that for the background.
_CHOOSE = frozenset("Slice Gather Split".split())
# Their other inputs say how, not what.
_FIRST_INPUT = _CHOOSE | frozenset(
    "Reshape Squeeze Unsqueeze Clip QuantizeLinear DequantizeLinear".split()
)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """The layer that turns features into classes.

    Attributes
    ----------
    output : str
        The output of the graph that it leads to.
    width, classes : int
        Numbers that it reads and gives; 0 where the graph does not say.
    layout : str or None
        `FIRST` or `LAST` where the features still have a height and width (or tokens).
    doubt : str
        What speaks against it: what an activation follows, or a pool over places, but no softmax,
        may as well be the last layer of the features; and what answers for each place tells
        no images apart. Empty if nothing does.
    """

    node: Any
    output: str
    width: int
    classes: int
    layout: str | None
    doubt: str

    @property
    def features(self) -> str:
        """Name of the value that it reads."""
        return self.node.input[0]

    @property
    def text(self) -> str:
        """The layer in a few words."""
        name = self.node.name or self.node.output[0]
        return f"the {self.node.op_type} '{plain_name(name)}'"


def find_classifier(
    graph, values: Values, name: str, classes: int | None, known: bool = False
) -> Classifier:
    """Find the one classifier that the outputs of a graph lead back to.

    The way back leads through softmax, reshapes, pools and the like to the last Gemm, MatMul or
    Conv whose weights depend on constants alone.

    Parameters
    ----------
    graph : onnx.GraphProto
    classes : int or None
        How many classes the record beside the file states.
    known : bool
        Whether it is known that there is one.

    Raises
    ------
    BackboneError
        There is none, there are several, or it is not certain that it is one.
    """
    producers = {output: node for node in graph.node for output in node.output}
    found = _all_of(graph, producers, values, classes)
    certain = [one for one in found if not one.doubt] or found
    # Whatever they tell apart, classifiers that read the same need the same features.
    different: dict[str, Classifier] = {}
    for one in certain:
        features = _source(one.features, producers)
        if features not in different or one.classes == classes:
            different[features] = one
    if not different:
        raise _none(
            graph,
            values,
            name,
            "it has no classifier layer (Gemm, MatMul or 1 x 1 Conv of constant weights) at its end"
            + _end_of_the_way(graph, producers, values),
        )
    if len(different) > 1:
        raise _several(list(different.values()), name)
    (classifier,) = different.values()
    # One that is split up gives them in parts.
    together = sum(one.classes for one in certain)
    if classes is not None and classifier.classes not in (0, classes) and together != classes:
        raise BackboneError(
            f"{name}: its record says num_classes {classes}, but {classifier.text} gives "
            f"{classifier.classes} numbers",
            "correct num_classes, or name the layer to use with --layer",
        )
    if classifier.doubt and not known:
        raise _uncertain(classifier, name, values)
    return classifier


def feature_output(graph, values: Values, name: str) -> str:
    """Return the output that is the feature row of a graph whose record says that it tells nothing.

    Raises
    ------
    BackboneError
        It ends in a classifier all the same, or has not one output that is a row or a map.
    """
    says, producers = "its record says num_classes 0", {o: n for n in graph.node for o in n.output}
    sure = [one for one in _all_of(graph, producers, values, None) if not one.doubt]
    if sure:
        raise _none(
            graph, values, name, f"{says}, but it ends in {sure[0].text}, as classifiers do"
        )
    outputs = [one.name for one in graph.output]
    if len(outputs) != 1 or not _width(outputs[0], values):
        found = enumerate_some(
            f"'{plain_name(one)}' {list(values.shapes.get(one, ()))[1:] or 'of unknown shape'}"
            for one in outputs
        )
        raise _none(graph, values, name, f"{says}, and no one output is a row or a map: {found}")
    return outputs[0]


def _all_of(graph, producers: dict, values: Values, classes: int | None) -> list[Classifier]:
    return [
        one
        for output in graph.output
        for one in _follow(output.name, output.name, producers, values, classes)
    ]


def _source(value: str, producers: dict) -> str:
    """Return what a value is by another name: several answers are averaged with dropout before."""
    while (node := producers.get(value)) is not None and node.op_type in ("Identity", "Dropout"):
        value = node.input[0]
    return value


def _follow(
    output: str,
    value: str,
    producers: dict,
    values: Values,
    classes: int | None,
    behind: frozenset[str] = frozenset(),
) -> list[Classifier]:
    """Find the classifiers that a value on the way to an output leads back to.

    There are several where answers are put together, as those of distilled networks are; `behind`
    are the operators between there and the output.
    """
    node, passed = producers.get(value), set(behind)
    while node is not None and node.op_type not in _LAYERS:
        passed.add(node.op_type)
        if node.op_type in _CHOOSE:
            if not _are_rows(node.input[0], producers, values):
                return []
        elif node.op_type not in _PASSED | _ACTIVATIONS | _PROBABILITIES:
            return []
        data = _data(node, values)
        if node.op_type in _SUMS and 1 < len(data) <= _MOST_HEADS and not behind:
            heads = [
                _follow(output, one, producers, values, classes, frozenset(passed)) for one in data
            ]
            # What is uncertain as well is a sum within the features.
            sure = all(found and not found[0].doubt for found in heads)
            return [found[0] for found in heads] if sure else []
        node = producers.get(data[0]) if len(data) == 1 else None
    one = None if node is None else _classifier(node, output, passed, producers, values, classes)
    while one is not None and (node := _layer_of_logits(one, producers, values)) is not None:
        before = _classifier(node, output, passed, producers, values, classes)
        if before is None:
            break
        one = before
    return [] if one is None else [one]


def _are_rows(value: str, producers: dict, values: Values) -> bool:
    """Tell whether a value has one row for each image, and no places to choose from."""
    made_by = producers.get(value)
    rank = len(values.shapes.get(value, ()))
    return rank == 2 or (not rank and made_by is not None and made_by.op_type == "Gemm")


def _layer_of_logits(one: Classifier, producers: dict, values: Values):
    """Return the layer whose logits another one of as many numbers calibrates, if it does."""
    node = producers.get(one.features) if one.width == one.classes else None
    while node is not None and node.op_type in _PASSED - _POOLS:
        data = _data(node, values)
        node = producers.get(data[0]) if len(data) == 1 else None
    return node if node is not None and node.op_type in _LAYERS else None


def _classifier(node, output: str, passed: set[str], producers, values: Values, classes):
    if len(node.input) < 2 or node.input[1] not in values.constants:
        return None
    weights = values.shapes.get(node.input[1], ())
    attributes = {a.name: a for a in node.attribute}
    if node.op_type == "Conv":
        group = attributes["group"].i if "group" in attributes else 1
        # As a convolution a classifier looks at one place at a time, and at all channels.
        if len(weights) != 4 or weights[2:] != (1, 1) or group != 1:
            return None
        width, count, layout = weights[1], weights[0], FIRST
    elif len(weights) != 2 or ("transA" in attributes and attributes["transA"].i):
        return None
    else:
        turned = "transB" in attributes and attributes["transB"].i
        width, count = weights[::-1] if turned else weights
        # The last axis is the one that a product sums over.
        layout = LAST if len(values.shapes.get(node.input[0], ())) in (3, 4) else None
    if passed & _CHOOSE:
        count = (values.shapes.get(output) or (0,))[-1] or count
    doubt = ""
    places = values.shapes.get(node.output[0], ())
    places = places[2:] if layout == FIRST else places[1:-1]
    answered = values.shapes.get(output, ())[1:]
    # As they are, or in one row: as detectors give them, or a pool that leaves several.
    laid_out = not passed & _POOLS and any(extent > 1 for extent in places)
    laid_out |= bool(passed & _POOLS and answered) and math.prod(answered) > count
    if laid_out or sum(extent != 1 for extent in answered) > 1:
        doubt = "whose answer is no row of classes but a map, or a sequence"
    elif _gives_probabilities(producers.get(node.input[0]), producers, values):
        doubt = "which are probabilities themselves"
    elif not passed & _PROBABILITIES and (
        passed & _ACTIVATIONS or (passed & _POOLS and node.op_type == "Conv")
    ):
        # A convolution before the pool looks like the last one of the features.
        doubt = "and an activation or a pool"
    if classes is not None and classes == count:
        doubt = ""
    return Classifier(node, output, int(width), int(count), layout, doubt)


def _data(node, values: Values) -> list[str]:
    """Return what a node reads that depends on the image; of an addition, one side may not."""
    data = [one for one in node.input if one and one not in values.constants]
    return data[:1] if node.op_type in _FIRST_INPUT else data


def _gives_probabilities(node, producers: dict, values: Values) -> bool:
    """Tell whether a node's output comes from a softmax, and is no mean over places."""
    while node is not None and node.op_type in _PASSED - _POOLS:
        data = _data(node, values)
        node = producers.get(data[0]) if len(data) == 1 else None
    return node is not None and node.op_type in ("Softmax", "LogSoftmax")


def _end_of_the_way(graph, producers: dict, values: Values) -> str:
    """Name the operators at which the way back from the outputs ended."""
    ends = []
    for output in graph.output:
        node = producers.get(output.name)
        while node is not None and node.op_type in _PASSED | _ACTIVATIONS | _PROBABILITIES:
            data = _data(node, values)
            before = producers.get(data[0]) if len(data) == 1 else None
            if before is None:
                break
            node = before
        if node is not None:
            ends.append(f"{node.op_type} '{plain_name(node.name or node.output[0])}'")
    return f": the way back from the output ends at {enumerate_some(ends)}" if ends else ""


def _none(graph, values: Values, name: str, why: str) -> BackboneError:
    # Tokens, for instance, are neither a row nor a map.
    outputs = [
        f"--layer {plain_name(one.name)}"
        for one in graph.output
        if len(values.shapes.get(one.name, (0, 0))) in (2, 4)
    ]
    named = f"if the output is the feature row, name it: {enumerate_some(outputs)}; or "
    return BackboneError(
        f"{name}: {why}",
        f"{named if outputs else ''}give a classifier; 'icecore backbones --layers {name}' lists "
        "the layers",
    )


def _several(found: list[Classifier], name: str) -> BackboneError:
    lines = enumerate_some(
        f"--layer {plain_name(one.features)} ({one.width} numbers, before the output "
        f"'{plain_name(one.output)}')"
        for one in found
    )
    return BackboneError(
        f"{name} has {len(found)} classifiers, which read different features", f"choose: {lines}"
    )


def _width(value: str, values: Values) -> int:
    """Return how many numbers a value gives as a named layer; 0 where that is not known."""
    shape = values.shapes.get(value, ())
    if len(shape) not in (2, 4):
        return 0
    return shape[-1 if len(shape) == 2 or values.layouts.get(value) == LAST else 1]


def _uncertain(one: Classifier, name: str, values: Values) -> BackboneError:
    offered = [
        f"--layer {plain_name(value)} takes the {count} numbers {where} it"
        for value, count, where in (
            (one.output, _width(one.output, values) or one.classes, "after"),
            (one.features, _width(one.features, values) or one.width, "before"),
        )
        if len(values.shapes.get(value, ())) != _SEQUENCE
    ]
    named = f"name the layer: {', '.join(offered)}; or " if offered else ""
    return BackboneError(
        f"{name} ends in {one.text}, which makes {one.classes} numbers of {one.width}, "
        f"{one.doubt}: it may be the classifier, or the last layer of the features",
        f'{named}say in the JSON record that it is the classifier: "num_classes": {one.classes}',
    )
