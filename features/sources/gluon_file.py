"""The source ``gluon-file:PREFIX``: a network that its user exported from Gluon or MXNet.

``HybridBlock.export(PREFIX)`` writes ``PREFIX-symbol.json`` and
``PREFIX-0000.params``; a JSON record beside them says how images are prepared.
"""

import dataclasses
import json
from pathlib import Path
from typing import Self

import numpy as np

from ...core.errors import (
    BackboneError,
    IcecoreError,
    MissingFileError,
    WeightsError,
    counted,
    enumerate_some,
    first_line,
    shortened,
)
from ..gluon.graph_writer import Parameter
from ..gluon.loader import load_mxnet
from ..gluon.network import GluonBackbone, values_of
from ..gluon.parameters import parameters_digest
from ..gluon.params_file import read_parameters
from ..gluon.symbol_file import read_symbol
from ..gluon.symbols import cut_symbol
from ..gluon.to_onnx import (
    kernels_too_large,
    make_last_pool_global,
    parameters_that_do_not_fit,
    symbol_to_onnx,
)
from ..graphs.apart import one_at_a_time, why_not_apart
from ..graphs.cutting import cut_classifier, layers_of
from ..graphs.first_steps import PREPARES, first_steps, require_unprepared
from ..graphs.inference import require_inferable
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import add_normalisation
from ..graphs.parameters import FilledGraph, parameters_of
from ..images.foreign_record import read_record, require_width
from ..images.preprocessing import Preprocessing
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest
from .base import LayerShape, Source

# Operators with weights, of which the first extent is what the graph says of its outputs.
_WITH_WIDTH, _WIDTHS = ("Convolution", "FullyConnected"), ("num_filter", "num_hidden")


class GluonFileSource(Source):
    """``gluon-file:PREFIX``: networks that their users exported."""

    name = "gluon-file"
    is_gluon = True

    def load_graph(self, spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
        """See `Source.load_graph`; the symbol is turned into ONNX, and MXNet is not needed."""
        network, side = _read(spec, request)
        network = _of_one_output(network, spec)
        model = _model(network, side)
        classes = network.fields.get("num_classes")
        taken = cut_classifier(model, spec.canonical, spec.layer, side, classes)
        digest = parameters_digest(parameters_of(model, network.values))
        record = _record(spec, network, taken.width, digest)
        steps = first_steps(model)
        add_normalisation(model, record.preprocessing)
        if network.fields.get(PREPARES) is not False:
            require_unprepared(steps, record.preprocessing, spec.canonical)
        filled = FilledGraph.of(model, network.values, digest)
        origin = str(network.files.params)
        mixing = why_not_apart(model)
        about = taken.text + one_at_a_time(mixing)
        return GraphNetwork(record, filled, origin, network.source(spec), about, mixing=mixing)

    def load_gluon(self, spec: BackboneSpec, request: WeightsRequest) -> GluonBackbone:
        """See `Source.load_gluon`."""
        mx, (network, side) = load_mxnet(), _read(spec, request)
        network = _of_one_output(network, spec)
        if network.fields["input_space"] != "RGB":
            raise BackboneError(
                f"{network.files.record} says input_space {network.fields['input_space']}; MXNet "
                "is given RGB",
                "use --engine auto, openvino or onnxruntime",
            )
        _model(network, side)  # MXNet's own parsers trust what they read
        symbol, width = cut_symbol(
            _symbol(network),
            spec.layer,
            side,
            native=network.native,
            classes=None,
            name=spec.canonical,
        )
        values = {name: mx.nd.array(array) for name, array in network.values.items()}
        parameters = values_of(symbol, values)
        digest = parameters_digest({name: one.asnumpy() for name, one in parameters.items()})
        record = _record(spec, network, width, digest)
        origin, source = str(network.files.params), network.source(spec)
        return GluonBackbone(record, symbol, parameters, origin, source=source)

    def layers(self, spec: BackboneSpec, request: WeightsRequest) -> list[LayerShape]:
        """See `Source.layers`."""
        network, side = _read(spec, request)
        found: dict[str, LayerShape] = {}
        for head in network.graph["heads"]:
            for layer in layers_of(_model(network.up_to(head), side), side):
                if "/" not in layer[0]:
                    found.setdefault(layer[0], layer)
        return list(found.values())


@dataclasses.dataclass(frozen=True)
class _Files:
    prefix: Path
    symbol: Path
    params: Path
    record: Path


@dataclasses.dataclass(frozen=True)
class _Network:
    """What the files say: nodes of the graph, values of its parameters, how images are prepared."""

    files: _Files
    graph: dict
    values: dict[str, np.ndarray]
    fields: dict

    @property
    def native(self) -> int:
        return self.fields["input_size"][1]

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {n: Parameter(n, n, array.shape) for n, array in self.values.items()}

    def up_to(self, head: list[int]) -> Self:
        """Return the network with this output alone."""
        return dataclasses.replace(self, graph=self.graph | {"heads": [head]})

    def source(self, spec: BackboneSpec) -> str:
        """Return the spec with which such a network is found from anywhere."""
        resolution = f"@{spec.resolution}" if spec.resolution else ""
        return f"gluon-file:{self.files.prefix.resolve()}{resolution}"


def _record(spec: BackboneSpec, network: _Network, width: int, digest: str) -> BackboneRecord:
    files, fields = network.files, network.fields
    if spec.layer.is_default:
        require_width(fields, files.record, width)
    return BackboneRecord(
        spec=spec.canonical,
        architecture=str(fields.get("architecture", files.prefix.name)),
        weights_digest=digest,
        random_seed=None,
        num_features=width,
        preprocessing=Preprocessing.from_dict(fields, spec.resolution),
    )


def _model(network: _Network, side: int):
    """Turn the graph into ONNX, for images of this side."""
    try:
        model = symbol_to_onnx(network.graph, network.parameters)
        require_inferable(model, side, str(network.files.symbol))
        _require_fitting(network, model)
        make_last_pool_global(model, network.native)
        for extent in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            extent.dim_value = side
        large = kernels_too_large(model, side)
    except IcecoreError:
        raise
    except Exception as error:  # a graph that contradicts itself can fail in any way
        raise BackboneError(
            f"{network.files.symbol} contradicts itself: {first_line(error)}",
            "export the network again with HybridBlock.export",
        ) from error
    if large:
        raise BackboneError(
            f"{network.files.symbol} cannot take images of {side} x {side} pixels",
            f"leave @{side} away: the network is made for {network.native} x {network.native}",
        )
    return model


def _locate(prefix: Path, request: WeightsRequest) -> _Files:
    prefix = request.located(prefix, lambda path: _symbol_of(path).is_file())
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


def _read(spec: BackboneSpec, request: WeightsRequest) -> tuple[_Network, int]:
    """Return what the files hold, and the side of the images that are asked for."""
    request.require_none_for(spec.canonical)
    files = _locate(Path(spec.name), request)
    fields = read_record(files.record)
    nodes = read_symbol(files.symbol)
    heads = nodes.pop()["inputs"]
    variables = {node["name"]: node for node in nodes if node["op"] == "null"}
    values = _values(files, variables)
    _name_input(files, variables, values)
    _require_stated_widths(files, nodes, values)
    outputs = [list(head) for head in dict.fromkeys(map(tuple, heads))]
    network = _Network(files, {"nodes": nodes, "heads": outputs}, values, fields)
    return network, spec.resolution or network.native


def _require_stated_widths(files: _Files, nodes: list[dict], values: dict) -> None:
    """Refuse weights of another number of outputs than the graph says; MXNet does, too."""
    faults = []
    for node in nodes:
        stated = next((node["attrs"][n] for n in _WIDTHS if n in node.get("attrs", {})), None)
        if node["op"] not in _WITH_WIDTH or stated is None:
            continue
        weights = nodes[node["inputs"][1][0]]["name"]
        found = values[weights].shape[0] if weights in values else stated
        # Python 2 wrote 64L.
        if stated.rstrip("L") != str(found):
            faults.append(f"{node['name']} has {found} outputs, not {shortened(stated, 40)}")
    if faults:
        raise WeightsError(
            f"{files.params} does not fit {files.symbol.name}: {enumerate_some(faults)}",
            "get the .params file of this very network",
        )


def _of_one_output(network: _Network, spec: BackboneSpec) -> _Network:
    """Return a network with the one output that its features are before, or are.

    Networks with classifiers at their sides, for training, were exported with all of them.
    """
    nodes, heads = network.graph["nodes"], network.graph["heads"]
    if len(heads) == 1:
        return network
    if spec.layer.name is None:
        names = [nodes[place]["name"] for place, _ in heads]
        raise BackboneError(
            f"{network.files.symbol} has {len(heads)} outputs: {enumerate_some(names)}",
            "name the layer that the features are: --layer NAME ('icecore backbones --layers "
            f"{spec.text}' lists them)",
        )
    named = [[place, 0] for place, node in enumerate(nodes) if node["name"] == spec.layer.name]
    return network.up_to((named or heads)[0])


def _values(files: _Files, variables: dict[str, dict]) -> dict[str, np.ndarray]:
    stored = read_parameters(files.params)
    # In the graph's order.
    names = [name for name in variables if name in stored]
    for name in names:
        if stored[name].dtype.kind != "f":
            raise WeightsError(
                f"{files.params}: '{name}' is of type {stored[name].dtype}, not a float",
                "quantised networks cannot be used: export the network before quantising it",
            )
    return {name: stored[name].astype(np.float32) for name in names}


def _symbol(network: _Network):
    """Return the graph as MXNet's symbol, its parameters' shapes written into it."""
    mx = load_mxnet()
    nodes = [
        node | {"inputs": [[*p, 0] for p in node["inputs"]]} for node in network.graph["nodes"]
    ]
    for node in nodes:
        if node["name"] in network.values:
            node["attrs"] = {"__shape__": str(network.values[node["name"]].shape)}
    # Old files list arguments; what MXNet needs of that follows from the nodes.
    arguments = [index for index, node in enumerate(nodes) if node["op"] == "null"]
    heads = [[*head, 0] for head in network.graph["heads"]]
    try:
        return mx.sym.load_json(
            json.dumps(
                {
                    "nodes": nodes,
                    "arg_nodes": arguments,
                    "heads": heads,
                    # Without it MXNet takes the graph for one of 2015, and says so.
                    "attrs": {"mxnet_version": ["int", 10901]},
                }
            )
        )
    except mx.MXNetError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BackboneError(
            f"{network.files.symbol}: MXNet refuses the graph: {lines[-1][:200]}",
            "export the network again with HybridBlock.export",
        ) from error


def _name_input(files: _Files, variables: dict[str, dict], values: dict) -> None:
    """Give the one variable without a value, where images go in, the name ``data``."""
    free = [n for n in variables if n not in values and not n.endswith("label")]
    if len(free) == 1:
        variables[free[0]]["name"] = "data"
    elif "data" in free:
        missing = [name for name in free if name != "data"]
        raise WeightsError(
            f"{files.params} lacks {counted(len(missing), 'array')} of the graph: "
            f"{enumerate_some(missing)}",
            "get the .params file of this very network",
        )
    else:
        raise BackboneError(
            f"{files.symbol} has {counted(len(free), 'input')} without weights: "
            f"{enumerate_some(free)}",
            "a backbone takes images, as 'data', and nothing else",
        )


def _require_fitting(network: _Network, model) -> None:
    """Raise where the weights or the size of the images contradict the graph."""
    files, native = network.files, network.native
    wrong = parameters_that_do_not_fit(model, native)
    if wrong:
        raise WeightsError(
            f"{files.params} does not fit {files.symbol.name} at {native} x {native} pixels; "
            f"shapes that differ: {enumerate_some(wrong)}",
            "get the .params file of this very network, and check input_size in "
            f"{files.record.name}",
        )
    large = kernels_too_large(model, native)
    if large:
        raise BackboneError(
            f"{files.symbol}: for images of {native} x {native} pixels the kernels of "
            f"{enumerate_some(large)} are larger than what reaches them",
            f"check input_size in {files.record.name}, or export the network again with "
            "HybridBlock.export",
        )
