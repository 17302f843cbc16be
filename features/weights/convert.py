"""Turn weights of other formats into the parameters of a Gluon network.

Every tensor must find its parameter and every parameter its tensor, with the
same shape; all that do not are named at once. What an ONNX file holds can be
run as it is, so there the conversion is proved before it is kept.
"""

import re
from pathlib import Path

import numpy as np

from ...core.errors import (
    BackboneError,
    ProofError,
    WeightsError,
    counted,
    enumerate_some,
    first_line,
)
from ...core.imports import load
from ...core.regular_files import require_regular, size_text
from ..gluon.library import NetworkGraph
from ..gluon.params_file import read_parameters
from ..gluon.zoo import native_preprocessing
from ..graphs.budget import require_small_values
from ..graphs.formats import other_format_of_weights
from ..graphs.inference import require_inferable
from ..graphs.onnx_graph import drop_weights_from_inputs, load_onnx
from ..graphs.parameters import FilledGraph
from ..graphs.reading import read_graph
from ..graphs.session import open_session
from ..graphs.values import study
from ..graphs.walk import bodies_of
from .torch_legacy import read_legacy_torch
from .torch_names import FAMILIES, IGNORED

TOLERANCE = 1e-4
LARGEST_FILE = 4 * 2**30
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.")


def from_params(path: Path, target: NetworkGraph) -> dict[str, np.ndarray]:
    """Read the parameters from a ``.params`` file, under structural or MXNet's own names.

    Raises
    ------
    WeightsError
        The file is damaged or belongs to another network.
    """
    arrays = read_parameters(path)
    if not set(arrays) & set(target.shapes):
        arrays = _by_structure(arrays, target)
    for one in target.parameters:
        for alias in one.aliases:
            if alias in arrays:
                arrays.setdefault(one.name, arrays.pop(alias))
    return _fitted(arrays, target, str(path))


def from_legacy_torch(path: Path, target: NetworkGraph) -> dict[str, np.ndarray]:
    """Read the parameters from a ``.pth`` file of EfficientNet-Lite, whose order is Gluon's.

    Raises
    ------
    WeightsError
        The file is damaged or belongs to another network.
    """
    tensors = read_legacy_torch(path)
    kept = [name for name in tensors if not IGNORED.fullmatch(name)]
    ours = dict(zip(kept, target.shapes))
    return _fitted({ours.get(n, n): tensors[n] for n in kept}, target, str(path), ours)


def from_torch(
    tensors: dict[str, np.ndarray], naming: str, target: NetworkGraph, mean, std, where: str
) -> dict[str, np.ndarray]:
    """Rename timm's tensors to Gluon's parameters.

    Parameters
    ----------
    tensors : dict of str to ndarray
    naming : str
        One of `icecore.features.weights.torch_names.FAMILIES`.
    mean, std : sequence of 3 floats
        The normalisation that the tensors' network expects. If Gluon's differs, the
        difference goes into the first convolution and what follows it.

    Raises
    ------
    WeightsError
        Names or shapes do not fit.
    """
    kept = {}
    for name, tensor in tensors.items():
        if not IGNORED.fullmatch(name):
            kept[_OLD_DENSENET.sub(r"\1\2.", name)] = tensor
    theirs = FAMILIES[naming](list(target.shapes))
    ours = dict(zip(theirs, target.shapes))
    arrays = _fitted({ours.get(n, n): v for n, v in kept.items()}, target, where, ours)
    ours = native_preprocessing(*reversed(target.spec.split(":")))
    if (tuple(mean), tuple(std)) != (ours.mean, ours.std):
        _fold_normalisation(arrays, target, mean, std)
    return arrays


def from_onnx(path: Path, target: NetworkGraph) -> tuple[dict[str, np.ndarray], float]:
    """Take the parameters out of a classifier that MXNet exported to ONNX, and prove them.

    Returns
    -------
    arrays : dict of str to ndarray
    error : float
        Relative L2 between the file's own outputs and the network's.

    Raises
    ------
    BackboneError, WeightsError
        The file is damaged, or holds another network.
    ProofError
        The network computes something else than the file.
    """
    onnx = load_onnx()
    model = read_graph(path).model
    try:
        values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    except Exception as error:  # sizes that do not fit the bytes raise many kinds
        raise WeightsError(
            f"{path} has a tensor that cannot be read: {str(error)[:200]}", "get the file again"
        ) from error
    by_name = _by_structure(values, target)
    if not set(target.shapes) <= set(by_name):
        by_name = _matched_by_layer(model, values, target) or by_name
    extra = set(by_name) - set(target.shapes)
    # Exporters keep shapes for Reshape, and the like, among the weights.
    for name in [n for n in extra if by_name[n].dtype != np.float32 or by_name[n].ndim == 0]:
        del by_name[name]
    arrays = _fitted(by_name, target, str(path))
    _require_small_run(model, target, path)
    return arrays, _prove(model, arrays, target, path)


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file.

    Raises
    ------
    WeightsError
        It is damaged, too large, or holds types that Gluon's networks do not have.
    """
    safetensors = load("safetensors", "safetensors.numpy")
    about = path.stat()
    require_regular(path, about.st_mode)
    if (size := about.st_size) > LARGEST_FILE:
        raise WeightsError(
            f"{path} has {size_text(size)}, and weights have {size_text(LARGEST_FILE)} at most",
            "check that it is the file that was meant",
        )
    try:
        # The library checks the header against the file's length; it runs no code.
        return safetensors.numpy.load_file(path)
    except (TypeError, AttributeError) as error:  # NumPy has no such numbers
        raise WeightsError(
            f"{path} holds numbers of a type that Gluon's networks do not have: "
            f"{first_line(error)}",
            "save it with float32 weights: safetensors.torch.save_file({name: tensor.float() ...})",
        ) from error
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        kind, hint = other_format_of_weights(path)
        raise WeightsError(
            f"{path} is not a whole safetensors file: "
            + (f"it is {kind}" if kind else first_line(error)),
            hint,
        ) from error


def _fitted(arrays: dict, target: NetworkGraph, where: str, names=None) -> dict[str, np.ndarray]:
    """Check that arrays and parameters are one to one, and bring them into Gluon's order."""
    shapes = target.shapes
    shown = {ours: theirs for theirs, ours in (names or {}).items()}
    faults = [f"{shown.get(n, n)} is missing" for n in shapes if n not in arrays]
    faults += [f"{shown.get(n, n)} has no place" for n in arrays if n not in shapes]
    faults += [
        f"{shown.get(n, n)} is {tuple(arrays[n].shape)}, not {shape}"
        for n, shape in shapes.items()
        if n in arrays and tuple(arrays[n].shape) != shape
    ]
    faults += [
        f"{shown.get(n, n)} holds {arrays[n].dtype}, not numbers that are finite"
        for n in shapes
        if n in arrays and not (arrays[n].dtype.kind == "f" and np.isfinite(arrays[n]).all())
    ]
    if faults:
        raise WeightsError(
            f"{where} does not hold the weights of {target.spec}: "
            f"{counted(len(faults), 'tensor does', 'tensors do')} not fit: "
            f"{enumerate_some(faults, 8)}",
            "get the file of this very network, or name the right one: icecore weights import "
            "FILE --as NETWORK",
        )
    return {n: np.ascontiguousarray(arrays[n], np.float32) for n in target.shapes}


def _by_structure(arrays: dict[str, np.ndarray], target: NetworkGraph) -> dict[str, np.ndarray]:
    """Give arrays that have MXNet's own names, with any prefix, the structural ones."""
    names = {one.internal: one.name for one in target.parameters}
    common = _common_prefix(list(arrays), list(names))
    return {names.get(name.removeprefix(common), name): array for name, array in arrays.items()}


def _common_prefix(theirs: list[str], ours: list[str]) -> str:
    """Find what their names have in front of ours, as ``resnetv27_`` of a later network."""
    known = set(ours)
    candidates = ["", *sorted({name.partition("_")[0] + "_" for name in theirs if "_" in name})]
    return max(candidates, key=lambda one: sum(n.removeprefix(one) in known for n in theirs))


_LAYERS = ("Conv", "Gemm", "BatchNormalization")


def _matched_by_layer(model, values: dict, target: NetworkGraph) -> dict[str, np.ndarray] | None:
    """Match layers by their turn, for files whose tensors have other names."""
    ours, theirs = (
        [n for n in m.graph.node if n.op_type in _LAYERS] for m in (target.model, model)
    )
    if [n.op_type for n in ours] != [n.op_type for n in theirs]:
        return None
    found = {}
    for own, other in zip(ours, theirs):
        for name, their_name in zip(own.input[1:], other.input[1:]):
            if name in target.shapes and their_name in values:
                found[name] = values[their_name]
    return found


def _fold_normalisation(arrays: dict, target: NetworkGraph, mean, std) -> None:
    """Put the difference between two normalisations into the first layer, in place.

    With x = (p - m) / s and x' = (p - m') / s', x' = a x + b per channel. A convolution
    without padding turns that into scaled weights and a constant, which the batch
    normalisation behind it takes off its mean.
    """
    ours = native_preprocessing(*reversed(target.spec.split(":")))
    scale = np.asarray(ours.std, np.float64) / np.asarray(std, np.float64)
    shift = (np.asarray(ours.mean, np.float64) - np.asarray(mean, np.float64)) / std
    first = next(node for node in target.model.graph.node if node.op_type == "Conv")
    names = list(target.shapes)
    weight, running_mean = names[0], next(n for n in names if n.endswith("running_mean"))
    if any(n for a in first.attribute if a.name == "pads" for n in a.ints):
        raise WeightsError(
            f"{target.spec}: its first layer has a border, so another normalisation cannot be "
            "put into it",
            "get weights that were trained with Gluon's normalisation",
        )
    old = arrays[weight].astype(np.float64)
    constant = np.einsum("oihw,i->o", old, shift)
    arrays[weight] = (old * scale[None, :, None, None]).astype(np.float32)
    arrays[running_mean] = (arrays[running_mean] - constant).astype(np.float32)


def _require_small_run(model, target: NetworkGraph, path: Path) -> None:
    """Refuse a stranger's graph that holds the weights, and steps of any length or size."""
    found = {node.op_type for node in model.graph.node if bodies_of(node)}
    if found:
        raise BackboneError(
            f"{path} has the weights of {target.spec}, and operators that may take any time: "
            f"{enumerate_some(sorted(found))}",
            "get the file of this very network",
        )
    side = native_preprocessing(*reversed(target.spec.split(":"))).resolution
    require_inferable(model, side, str(path))
    drop_weights_from_inputs(model)
    values = study(load_onnx(), model, side)
    require_small_values(model.graph, values.shapes, values.constants, str(path))


def _prove(model, arrays: dict, target: NetworkGraph, path: Path) -> float:
    """Compare the file with the network that got its weights; ONNX Runtime runs both."""
    side = native_preprocessing(*reversed(target.spec.split(":"))).resolution
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(2, 3, 8, 8)).repeat(-(-side // 8), 2).repeat(-(-side // 8), 3)
    batch = coarse[:, :, :side, :side].astype(np.float32)
    own = FilledGraph.of(target.sized(side), arrays, "").content()
    _fix_gammas(model, target)
    try:
        found, expected = _run(model.SerializeToString(), batch), _run(own, batch)
        error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    except Exception as failure:  # ONNX Runtime's exceptions share no base of their own
        raise BackboneError(
            f"{path} cannot be run, so its weights cannot be proved: {str(failure)[:200]}",
            "get the file again",
        ) from failure
    if not error < TOLERANCE:
        raise ProofError(
            f"{path} and {target.spec} with its weights differ by {error:.2e} (relative L2 of the "
            f"outputs), {TOLERANCE:.0e} is allowed",
            "the file holds another network; name the right one: icecore weights import FILE "
            "--as NETWORK",
        )
    return error


def _run(model: bytes, batch: np.ndarray) -> np.ndarray:
    session = open_session(model)
    entry = session.get_inputs()[0].name
    # Files of 2018 are made for one image at a time.
    rows = [session.run(None, {entry: one[None]})[0] for one in batch]
    return np.concatenate(rows).reshape(len(batch), -1)


def _fix_gammas(model, target: NetworkGraph) -> None:
    """Set to 1, in place, each gamma that MXNet fixes; its exporter kept what was stored."""
    onnx = load_onnx()
    fixed = {t.name for t in target.model.graph.initializer if t.doc_string and t.raw_data}
    ours, theirs = (
        [n for n in m.graph.node if n.op_type == "BatchNormalization"]
        for m in (target.model, model)
    )
    tensors = {t.name: t for t in model.graph.initializer}
    for own, other in zip(ours, theirs):
        tensor = tensors.get(other.input[1])
        if own.input[1] in fixed and tensor is not None:
            ones = np.ones(tuple(tensor.dims), np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(ones, tensor.name))
