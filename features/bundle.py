"""One ONNX graph that does all a run does: backbones, heads, weights.

Fitted uint8 squares go in, the probabilities of each task come out. Heads are
given as chains of matrices, so that this module needs to know no head.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.errors import BackboneError, first_line
from .backbones import Backbone
from .engines.onnxruntime import OnnxRuntimeEngine
from .engines.proof import prove_graph
from .graphs.naming import add_prefix_graph
from .graphs.network import GraphNetwork
from .graphs.onnx_graph import FEATURES, IMAGES, NodeWriter, load_onnx
from .graphs.session import open_session
from .images.fit import fit_image
from .images.libraries import load_pillow
from .images.preprocessing import Preprocessing

_TRIAL_IMAGES = 4


_Kernel = tuple[np.ndarray, np.ndarray, np.ndarray, float, tuple[np.ndarray, np.ndarray] | None]


@dataclasses.dataclass(frozen=True)
class BundledHead:
    """A head as matrices: ReLU between them, softmax at the end.

    Attributes
    ----------
    weight : float or tuple of float
        In the average; for each group of images where the task has a router.
    backbones : tuple of int
        Whose features it takes, side by side in this order.
    layers : sequence of (ndarray (inputs, outputs), ndarray (outputs,))
    columns : tuple of int
        Column of the task's classes for each of the head's classes.
    widths : tuple of int
        How many features each backbone has, where they are to be power-scaled: divided by the
        sum of their absolute values, and the signed square roots taken, in float16. Else empty.
    kernel : tuple or None
        Directions (inputs, r), rows (M, r), squares (M,), gamma, and shift and factor of the inputs
        or None: of inputs x, less the shift and times the factor, the layers take
        ``exp(-gamma * (|x|^2 + squares - 2 x @ directions @ rows.T))``.
    route : (ndarray (inputs, G), ndarray (G,)) or None
        A layer with softmax after it that gives probabilities of groups. Then `layers` has one
        for each group, and the answer is the sum of theirs, weighed by these probabilities.
    """

    weight: float | tuple[float, ...]
    backbones: tuple[int, ...]
    layers: Sequence[tuple[np.ndarray, np.ndarray]]
    columns: tuple[int, ...]
    widths: tuple[int, ...] = ()
    kernel: _Kernel | None = None
    route: tuple[np.ndarray, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class BundledTask:
    """A task.

    Attributes
    ----------
    name : str
    classes : tuple of str
        In the order of the output's columns.
    heads : tuple of BundledHead
    calibration : (float, float) or None
        Temperature T and share e: the average p becomes ``(1 - e) * softmax(log(p) / T) + e / C``.
    router : int or None
        Which head's `route` weighs the weights that heads have for each group.
    """

    name: str
    classes: tuple[str, ...]
    heads: tuple[BundledHead, ...]
    calibration: tuple[float, float] | None = None
    router: int | None = None


def build_bundle(
    backbones: Sequence[Backbone],
    tasks: Sequence[BundledTask],
    fit: str,
    precision: str,
    about: dict,
):
    """Join everything into one model.

    Parameters
    ----------
    backbones : sequence of Backbone
        On the engine ``onnxruntime``.
    tasks : sequence of BundledTask
    fit : str
        How images are fitted, for the metadata.
    precision : {"float16", "float32", "bfloat16"}
        To which features are rounded, as they were in the cache.
    about : dict
        Further metadata.

    Returns
    -------
    onnx.ModelProto
        Inputs: ``images``, or ``images_<side>`` where backbones want different squares;
        uint8 (N, side, side, 3). Outputs: the probabilities of each task, float32 (N, C).
        Labels and preprocessing stand as JSON in the metadata under ``icecore``.
    """
    onnx = load_onnx()
    merged = onnx.GraphProto(name="icecore_bundle")
    inputs = _input_names([one.record.preprocessing.of_squares(fit) for one in backbones])
    used = sorted({index for task in tasks for head in task.heads for index in head.backbones})
    models = [onnx.load_from_string(backbones[index].graph()) for index in used]
    versions = _newest_versions(models)
    for name, side in {inputs[i]: backbones[i].record.resolution for i in used}.items():
        shape = ["N", side, side, 3]
        merged.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape))
    for index, model in zip(used, models):
        model = _renewed(onnx, model, versions, backbones[index].record)
        _add_backbone(onnx, merged, model, index, inputs[index], precision)
    outputs = {}
    for number, task in enumerate(tasks):
        output = re.sub(r"\W", "_", task.name) or f"task_{number}"
        output = output if output not in outputs else f"{output}_{number}"
        outputs[output] = {"task": task.name, "classes": list(task.classes)}
        _add_task(onnx, merged, task, number, output)
    opsets = [onnx.helper.make_opsetid(d, v) for d, v in versions.items()]
    model = onnx.helper.make_model(merged, opset_imports=opsets)
    model.ir_version = max(8, *(one.ir_version for one in models))
    model.producer_name = "icecore"
    squares = {
        inputs[index]: {**_about(backbones[index].record.preprocessing), "fit": fit}
        for index in used
    }
    note = {"inputs": squares, "outputs": outputs, **about}
    onnx.helper.set_model_props(model, {"icecore": json.dumps(note, ensure_ascii=False)})
    onnx.checker.check_model(model)
    return model


def run_bundle(content: bytes, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Classify images with a bundle, from its file and what stands in it alone.

    Parameters
    ----------
    content : bytes
        The file.
    images : sequence of ndarray of uint8, shape (height, width, 3)
        RGB.

    Returns
    -------
    dict of str to ndarray of float32, shape (len(images), C)
        The probabilities of each task.

    Raises
    ------
    BackboneError
        ONNX Runtime does not load it.
    """
    try:
        session = open_session(content)
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise BackboneError(
            f"the bundle cannot be loaded: {first_line(error)}",
            "export the backbones' graphs again, without operators of other domains",
        ) from error
    note = json.loads(session.get_modelmeta().custom_metadata_map["icecore"])
    squares = {}
    for name, how in note["inputs"].items():
        preprocessing = Preprocessing.from_dict({"std": [1.0] * 3, **how})
        squares[name] = np.stack([fit_image(image, preprocessing, how["fit"]) for image in images])
    found = session.run(list(note["outputs"]), squares)
    return {about["task"]: table for about, table in zip(note["outputs"].values(), found)}


def write_trial_images(folder: Path) -> list[np.ndarray]:
    """Write a few pictures of different sizes, smooth and rough, as PNG; return their pixels."""
    rng, images = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for number in range(_TRIAL_IMAGES):
        coarse = rng.integers(0, 256, (5 + number, 9 - number, 3), dtype=np.uint8)
        image = coarse.repeat(48, axis=0).repeat(40, axis=1)
        images.append(image ^ rng.integers(0, 32, image.shape, dtype=np.uint8))
        load_pillow().fromarray(images[-1]).save(folder / f"{number}.png")
    return images


def _input_names(squares: Sequence[Preprocessing]) -> list[str]:
    """Name the input of each backbone; those that take the same squares share one."""
    different = list(dict.fromkeys(squares))
    if len(different) == 1:
        return [IMAGES] * len(squares)
    sides = [how.resolution for how in different]
    names = {
        how: f"images_{how.resolution}" + (f"_{number}" if sides.count(how.resolution) > 1 else "")
        for number, how in enumerate(different)
    }
    return [names[how] for how in squares]


def _newest_versions(models) -> dict[str, int]:
    """Return the newest version of each operator set that a graph uses."""
    versions: dict[str, int] = {}
    for entry in (entry for model in models for entry in model.opset_import):
        versions[entry.domain] = max(entry.version, versions.get(entry.domain, 0))
    return versions


def _renewed(onnx, model, versions: dict[str, int], record):
    """Bring a graph to the operator sets of the newest one, and see that it computes the same.

    Raises
    ------
    BackboneError
        It cannot be brought there.
    ProofError
        Its features have changed.
    """
    own = {entry.domain: entry.version for entry in model.opset_import}
    older = [domain for domain, version in own.items() if version < versions[domain]]
    if not older:
        return model
    hint = "bundle these backbones in runs of their own, or export their graphs for one opset"
    try:
        if older != [""]:
            raise ValueError(f"no converter for the operators of {', '.join(filter(None, older))}")
        renewed = onnx.version_converter.convert_version(model, versions[""])
    except Exception as error:  # the converter's exceptions share no base
        raise BackboneError(
            f"{record.spec} has operators of opset {own.get('')}, another backbone has those of "
            f"{versions['']}, and it cannot be brought there: {first_line(error)}",
            hint,
        ) from error
    before = OnnxRuntimeEngine(GraphNetwork(record, model.SerializeToString())).run
    name = f"its graph of opset {own['']}"
    prove_graph(record, renewed.SerializeToString(), before, name, hint, seed=0)
    return renewed


def _add_backbone(onnx, merged, model, index: int, name: str, precision: str) -> None:
    prefix = f"b{index}_"
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    add_prefix_graph(graph, prefix)
    for node in graph.node:
        node.input[:] = [name if one == prefix + IMAGES else one for one in node.input]
    merged.node.extend(graph.node)
    merged.initializer.extend(graph.initializer)
    merged.sparse_initializer.extend(graph.sparse_initializer)
    write, features = NodeWriter(merged, prefix), prefix + FEATURES
    if precision != "float32":
        features = write.node("Cast", features, to=getattr(onnx.TensorProto, precision.upper()))
    write.node("Cast", features, output=f"features_{index}", to=onnx.TensorProto.FLOAT)


def _dense(write: NodeWriter, value: str, layer: tuple[np.ndarray, np.ndarray]) -> str:
    return write.node("Gemm", value, *map(write.constant, layer))


def _power_scaled(write: NodeWriter, tensor_proto, features: str, width: int) -> str:
    size = write.node("Abs", features)
    # A product sums rows in every operator set; ReduceSum has changed.
    total = write.node("MatMul", size, write.constant(np.ones((width, 1))))
    share = write.node("Div", size, write.node("Max", total, write.constant([1e-30])))
    signed = write.node("Mul", write.node("Sqrt", share), write.node("Sign", features))
    half = write.node("Cast", signed, to=tensor_proto.FLOAT16)
    return write.node("Cast", half, to=tensor_proto.FLOAT)


def _kernel(write: NodeWriter, value: str, kernel: _Kernel) -> str:
    directions, rows, squares, gamma, scaling = kernel
    if scaling:
        shift, factor = map(write.constant, scaling)
        value = write.node("Mul", write.node("Sub", value, shift), factor)
    inner = write.node(
        "Gemm",
        write.node("MatMul", value, write.constant(directions)),
        write.constant(rows),
        write.constant(-gamma * squares),
        alpha=float(2 * gamma),
        transB=1,
    )
    square = write.node("Mul", value, value)
    left = write.node("MatMul", square, write.constant(np.full((len(directions), 1), gamma)))
    return write.node("Exp", write.node("Sub", inner, left))


def _calibrated(
    write: NodeWriter, value: str, classes: int, temperature: float, share: float
) -> str:
    logs = write.node("Log", write.node("Max", value, write.constant([1e-15])))
    scaled = write.node("Mul", logs, write.constant([1 / temperature]))
    sharper = write.node("Softmax", scaled, axis=1)
    kept = write.node("Mul", sharper, write.constant([1 - share]))
    return write.node("Add", kept, write.constant([share / classes]))


def _chained(write: NodeWriter, value: str, head: BundledHead) -> str:
    for depth, layer in enumerate(head.layers):
        if depth:
            value = write.node("Relu", value)
        value = _dense(write, value, layer)
    return write.node("Softmax", value, axis=1)


def _routed(write: NodeWriter, value: str, routes: str, head: BundledHead) -> str:
    """Write the sum over groups of ``p(g | x) p(y | x, g)``."""
    parts = []
    for group, layer in enumerate(head.layers):
        column = np.eye(len(head.layers))[:, group : group + 1]
        route = write.node("MatMul", routes, write.constant(column))
        answer = write.node("Softmax", _dense(write, value, layer), axis=1)
        parts.append(write.node("Mul", answer, route))
    return write.node("Sum", *parts)


def _add_task(onnx, merged, task: BundledTask, number: int, output: str) -> None:
    weighted, shares = [], ""
    # The router first: what it says of an image weighs all heads.
    for position in sorted(range(len(task.heads)), key=lambda one: one != task.router):
        head = task.heads[position]
        write = NodeWriter(merged, f"t{number}_h{position}_")
        inputs = [f"features_{index}" for index in head.backbones]
        if head.widths:
            inputs = [
                _power_scaled(write, onnx.TensorProto, name, width)
                for name, width in zip(inputs, head.widths, strict=True)
            ]
        value = write.node("Concat", *inputs, axis=1)
        if head.kernel is not None:
            value = _kernel(write, value, head.kernel)
        if head.route is None:
            value = _chained(write, value, head)
        else:
            routes = write.node("Softmax", _dense(write, value, head.route), axis=1)
            shares = routes if position == task.router else shares
            value = _routed(write, value, routes, head)
        # Puts the head's classes into the task's columns, and weighs them.
        place = np.zeros((len(head.columns), len(task.classes)))
        single = isinstance(head.weight, float)
        place[np.arange(len(head.columns)), head.columns] = head.weight if single else 1
        value = write.node("MatMul", value, write.constant(place))
        if not single:
            column = write.constant(np.array(head.weight)[:, None])
            value = write.node("Mul", value, write.node("MatMul", shares, column))
        weighted.append(value)
    average = output if task.calibration is None else f"{output}_average"
    write = NodeWriter(merged, f"t{number}_")
    write.node("Sum", *weighted, output=average)
    if task.calibration is not None:
        calibrated = _calibrated(write, average, len(task.classes), *task.calibration)
        write.node("Identity", calibrated, output=output)
    merged.output.append(
        onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["N", len(task.classes)])
    )


def _about(how: Preprocessing) -> dict:
    fields = how.as_dict()
    del fields["std"]  # networks that take the same squares may have others
    return fields | {"layout": "NHWC, uint8, RGB; normalisation is in the graph"}
