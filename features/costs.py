"""What a backbone costs, from what is known of it without running it."""

from collections.abc import Mapping
from pathlib import Path

from ..core.errors import IcecoreError
from .gluon.library import network_graph
from .gluon.zoo import zoo
from .graphs.cost import GraphCost, graph_cost
from .graphs.cutting import cut_classifier
from .graphs.network import GraphNetwork
from .records.feature_set import FeatureSetRecord
from .records.spec import BackboneSpec
from .sources.registry import source_of
from .weights.request import WeightsRequest


def network_cost(network) -> GraphCost | None:
    """Count what a loaded network costs; None where it has no graph and no table knows it."""
    record = network.record
    if isinstance(network, GraphNetwork):
        try:
            return graph_cost(network.outline(), record.resolution)
        except Exception:  # protobuf and shape inference raise many kinds; a cost is not needed
            return None
    return _of_zoo(BackboneSpec.parse(record.spec), record.resolution)


def feature_set_cost(entry: Mapping) -> GraphCost | None:
    """Return the cost of a feature set of a run, for one view of an image.

    Parameters
    ----------
    entry : mapping
        Of ``backbones`` in ``run.json``. Where the extraction did not note the cost, it is
        looked up in the zoo's table, or counted from the ONNX file if that is still there.
    """
    parameters, work = entry.get("parameters"), entry.get("multiply_adds")
    if type(parameters) is int and (work is None or type(work) is int):
        return GraphCost(parameters, work)
    try:
        record = FeatureSetRecord.from_dict(entry["record"])
        spec = BackboneSpec.parse(str(entry.get("source") or entry["spec"]))
        plain = spec.source in ("gluon", "mxnet")
        if plain and record.layer.is_default:
            return _of_zoo(spec, record.backbone.resolution)
        if spec.source == "onnx" and Path(spec.name).is_file():
            network = source_of(spec).load_graph(spec, WeightsRequest())
            return network_cost(network)
    except (IcecoreError, KeyError, TypeError, ValueError):
        return None
    return None


def _of_zoo(spec: BackboneSpec, side: int) -> GraphCost | None:
    known = zoo().get((spec.source, spec.name))
    if known is None:
        return None
    if known.resolution == side:
        return GraphCost(known.parameters, known.multiply_adds)
    model = network_graph(spec.source, spec.name).sized(side)
    cut_classifier(model, spec.canonical, spec.layer, side, known=True)
    return graph_cost(model, side)
