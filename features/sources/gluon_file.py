"""The source ``gluon-file:PREFIX``: a network that its user exported from Gluon or MXNet.

``HybridBlock.export(PREFIX)`` writes ``PREFIX-symbol.json`` and
``PREFIX-0000.params``; a JSON record beside them says how images are prepared.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from ...core.errors import BackboneError, MissingFileError, WeightsError, enumerate_some
from ...core.files import sha256_file
from ..gluon.loader import load_mxnet
from ..gluon.network import GluonBackbone, digest_of, values_of
from ..gluon.params_file import read_params
from ..gluon.symbol_file import read_symbol
from ..gluon.symbols import cut_symbol, layer_shapes
from ..images.preprocessing import read_preprocessing
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest
from .base import LayerShape
from .gluon_export import ExportedSource, Identity

__all__ = ["GluonFileSource", "load_gluon_file"]


class GluonFileSource(ExportedSource):
    """``gluon-file:PREFIX``: networks that their users exported."""

    name = "gluon-file"

    def load_gluon(self, spec: BackboneSpec, request: WeightsRequest) -> GluonBackbone:
        """See `Source.load_gluon`."""
        return load_gluon_file(spec, request)

    def layers(self, spec: BackboneSpec, request: WeightsRequest) -> list[LayerShape]:
        """See `Source.layers`."""
        files = _locate(Path(spec.name), request.folder)
        native = read_preprocessing(files.record)["input_size"][1]
        return layer_shapes(_read(files, native)[0], spec.resolution or native)

    def identify(self, spec: BackboneSpec, request: WeightsRequest) -> Identity:
        """See `ExportedSource.identify`."""
        files = _locate(Path(spec.name), request.folder)
        parts = {
            "name": spec.canonical,
            "weights": sha256_file(files.params),
            "symbol": sha256_file(files.symbol),
            "preprocessing": read_preprocessing(files.record),
        }
        return Identity(parts, str(files.params), _findable(files, spec))


@dataclasses.dataclass(frozen=True)
class _Files:
    prefix: Path
    symbol: Path
    params: Path
    record: Path


def load_gluon_file(spec: BackboneSpec, request: WeightsRequest) -> GluonBackbone:
    """Read a network and its record, and cut it.

    Raises
    ------
    MissingFileError
        A file is not there.
    BackboneError, WeightsError
        The graph is none, the weights do not fit it, or the record contradicts it.
    """
    if request.random_seed is not None:
        raise BackboneError(
            f"{spec.canonical} carries its own weights; {request.text} cannot apply",
            "leave --weights away, or extract this backbone in a run of its own",
        )
    files = _locate(Path(spec.name), request.folder)
    fields = read_preprocessing(files.record)
    native = fields["input_size"][1]
    side = spec.resolution or native
    whole, values = _read(files, native)
    symbol, width = cut_symbol(
        whole, spec.layer, side, native=native, classes=None, name=spec.canonical
    )
    if spec.layer.is_default and fields.get("num_features", width) != width:
        raise BackboneError(
            f"{files.record} says {fields['num_features']} features, the graph has {width} before "
            "its classifier",
            "correct num_features, or check that the record belongs to this graph",
        )
    mx = load_mxnet()
    parameters = values_of(symbol, {name: mx.nd.array(array) for name, array in values.items()})
    record = BackboneRecord(
        spec=spec.canonical,
        architecture=str(fields.get("architecture", files.prefix.name)),
        weights_digest=digest_of(symbol, parameters),
        weights="pretrained",
        resolution=side,
        mean=tuple(map(float, fields["mean"])),
        std=tuple(map(float, fields["std"])),
        crop_pct=float(fields["crop_pct"]),
        interpolation=fields["interpolation"],
        num_features=width,
    )
    source = _findable(files, spec)
    return GluonBackbone(record, symbol, parameters, str(files.params), source=source)


def _findable(files: _Files, spec: BackboneSpec) -> str:
    """Return the spec with which such a network is found from anywhere."""
    resolution = f"@{spec.resolution}" if spec.resolution else ""
    return f"gluon-file:{files.prefix.resolve()}{resolution}"


def _locate(prefix: Path, folder: Path | None) -> _Files:
    if folder is not None and not _symbol_of(prefix).is_file():
        prefix = folder / prefix.name if _symbol_of(folder / prefix.name).is_file() else prefix
    symbol, record = _symbol_of(prefix), prefix.with_name(f"{prefix.name}.json")
    if not symbol.is_file():
        raise MissingFileError(
            f"{symbol} is not there",
            "give PREFIX of PREFIX-symbol.json and PREFIX-0000.params, which "
            "HybridBlock.export(PREFIX) writes",
        )
    candidates = [prefix.with_name(f"{prefix.name}{end}") for end in (".params", "-0000.params")]
    found = [path for path in candidates if path.is_file()]
    if not found:
        pattern = f"{prefix.name}-[0-9][0-9][0-9][0-9].params"
        found = sorted(path for path in prefix.parent.glob(pattern) if path.is_file())
        if len(found) > 1:
            raise MissingFileError(
                f"{prefix} has weights of {len(found)} epochs: "
                f"{enumerate_some(path.name for path in found)}",
                f"name the one to use {prefix.name}.params",
            )
    if not found:
        raise MissingFileError(
            f"{candidates[0]} and {candidates[1]} are not there",
            "put the network's weights beside its symbol",
        )
    return _Files(prefix, symbol, found[0], record)


def _symbol_of(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}-symbol.json")


def _read(files: _Files, native: int):
    """Return the symbol, its parameters' shapes written into it, and their values."""
    mx = load_mxnet()
    nodes = read_symbol(files.symbol)
    stored = {n.split(":", 1)[-1]: array for n, array in read_params(files.params).items()}
    heads = nodes.pop()["inputs"]
    variables = {node["name"]: node for node in nodes if node["op"] == "null"}
    values = {}
    for name in variables.keys() & stored.keys():
        if stored[name].dtype.kind != "f":
            raise WeightsError(
                f"{files.params}: '{name}' is of type {stored[name].dtype}, not a float",
                "quantised networks cannot be used: export the network before quantising it",
            )
        values[name] = stored[name].astype(np.float32)
    _name_input(files, variables, values)
    # Old files list arguments; what MXNet needs of that follows from the nodes.
    arguments = [index for index, node in enumerate(nodes) if node["op"] == "null"]
    graph = {"nodes": nodes, "arg_nodes": arguments, "heads": [[*head, 0] for head in heads[:1]]}
    for node in nodes:
        node["inputs"] = [[*place, 0] for place in node["inputs"]]
    try:
        bare = mx.sym.load_json(json.dumps(graph))
        _require_fitting(files, bare, values, native)
        for name, array in values.items():
            variables[name]["attrs"] = {"__shape__": str(array.shape)}
        return mx.sym.load_json(json.dumps(graph)), values
    except mx.MXNetError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BackboneError(
            f"{files.symbol}: MXNet refuses the graph for images of {native} x {native} pixels: "
            f"{lines[-1][:200]}",
            f"check input_size in {files.record.name}, or export the network again with "
            "HybridBlock.export",
        ) from error


def _name_input(files: _Files, variables: dict[str, dict], values: dict) -> None:
    """Give the one variable without a value, where images go in, the name ``data``."""
    free = [n for n in variables if n not in values and not n.endswith("label")]
    if len(free) == 1:
        variables[free[0]]["name"] = "data"
    elif "data" in free:
        missing = [name for name in free if name != "data"]
        raise WeightsError(
            f"{files.params} lacks {len(missing)} arrays of the graph: {enumerate_some(missing)}",
            "get the .params file of this very network",
        )
    else:
        raise BackboneError(
            f"{files.symbol} has {len(free)} inputs without weights: {enumerate_some(free)}",
            "a backbone takes images, as 'data', and nothing else",
        )


def _require_fitting(files: _Files, symbol, values: dict, native: int) -> None:
    """Compare the shapes of the weights with those that the graph asks for."""
    arguments, _, states = symbol.infer_shape_partial(data=(1, 3, native, native))
    wanted = dict(zip(symbol.list_arguments(), arguments))
    wanted |= dict(zip(symbol.list_auxiliary_states(), states))
    wrong = [
        f"{name} {values[name].shape} for {shape}"
        for name, shape in wanted.items()
        if name in values and shape and min(shape) > 0 and values[name].shape != tuple(shape)
    ]
    if wrong:
        raise WeightsError(
            f"{files.params} does not fit {files.symbol.name} at {native} x {native} pixels; "
            f"shapes that differ: {enumerate_some(wrong)}",
            "get the .params file of this very network, and check input_size in "
            f"{files.record.name}",
        )
