"""What a graph's features are, by what computes in the plainest way."""

from collections.abc import Callable

import numpy as np

from ...core.errors import ProofError, first_line
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import load_onnx
from ..graphs.session import load_onnxruntime, open_session
from ..graphs.values import constants_of
from ..graphs.walk import read_inside
from .base import require_one_row_each
from .reference_judge import in_batches, reference_features

_FEW = 2**12
# It finds one scale for all images that it is given: networks of dynamic quantisation are made for
# one at a time, and get that.
_BY_THE_BATCH = "DynamicQuantizeLinear "


def judged(network: GraphNetwork, batches: list[np.ndarray]) -> tuple[str, list[np.ndarray]]:
    """Return what computes in the plainest way, and the features that it finds in each batch."""
    failures, content, only = [], network.content(), network.batch
    if (network.mixing or "").startswith(_BY_THE_BATCH):
        only = only or 1
    for judge in (_onnxruntime_judge, _one_by_one_judge, _reference_judge):
        try:
            name, found = judge(content, batches, only)
        except Exception as error:  # neither has a base for its exceptions
            failures.append(first_line(error))
            continue
        for rows, batch in zip(found, batches):
            require_one_row_each(rows.shape, len(batch), network.record)
        return name, found
    raise ProofError(
        f"{network.record.spec} cannot be proved: neither ONNX Runtime nor onnx's own evaluator "
        f"runs the graph ({'; '.join(dict.fromkeys(failures))})",
        "export the network again",
    )


def _onnxruntime_judge(
    content: bytes, batches: list[np.ndarray], only: int | None
) -> tuple[str, list[np.ndarray]]:
    run, judge = plain_run(content), f"ONNX Runtime {load_onnxruntime().__version__}"
    rows = [in_batches(run, batch, only or len(batch)) for batch in batches]
    return f"{judge}, unoptimized", rows


def _one_by_one_judge(
    content: bytes, batches: list[np.ndarray], only: int | None
) -> tuple[str, list[np.ndarray]]:
    # Of some graphs the batch is fixed inside, which engines bear in their own ways.
    return _onnxruntime_judge(content, batches, only or 1)


def _reference_judge(
    content: bytes, batches: list[np.ndarray], only: int | None
) -> tuple[str, list[np.ndarray]]:
    judge = f"the reference evaluator of onnx {load_onnx().__version__}"
    return judge, reference_features(content, batches, only or 1)


def plain_run(content: bytes) -> Callable[[list[str] | None, dict], list[np.ndarray]]:
    """Return what runs a graph in ONNX Runtime, which is to leave every operator as it is.

    What depends on no image is computed once: it may take as long as an image may.
    """
    model = load_onnx().load_from_string(content)
    try:
        fixed = _compute_constants(model)
        session = _plain_session(model.SerializeToString())
    except Exception:  # Some types of numbers do not leave ONNX Runtime; its errors share no base.
        fixed, session = {}, _plain_session(content)
    return lambda names, images: session.run(names, images | fixed)


def _compute_constants(model) -> dict[str, np.ndarray]:
    """Take out of a graph, in place, the nodes that depend on no image.

    What other nodes read of them is returned, to be given to the graph as inputs, or becomes a
    part of it: of few numbers some operators ask for that.
    """
    onnx, graph = load_onnx(), model.graph
    constants = constants_of(graph)
    nodes: dict[str, list] = {"given": [], "fixed": [], "moving": []}
    for node in graph.node:
        kind = "given" if node.op_type == "Constant" else "moving"
        nodes["fixed" if kind == "moving" and node.output[0] in constants else kind].append(node)
    if not nodes["fixed"]:
        return {}
    made = {name for node in nodes["fixed"] for name in node.output if name}
    read = {graph.output[0].name}.union(
        *({*one.input} | read_inside(one) for one in nodes["moving"])
    )
    wanted = sorted(made & read)
    needed = {name for node in nodes["fixed"] for name in node.input}
    weights = [one for one in graph.initializer if one.name in needed]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    part = onnx.helper.make_graph(
        nodes["given"] + nodes["fixed"], "constants", [], outputs, weights
    )
    alone = onnx.helper.make_model(
        part, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    values = dict(zip(wanted, _plain_session(alone.SerializeToString()).run(None, {})))
    del graph.node[:]
    graph.node.extend(nodes["given"] + nodes["moving"])
    few = {name: one for name, one in values.items() if one.size <= _FEW}
    graph.initializer.extend(onnx.numpy_helper.from_array(one, name) for name, one in few.items())
    many = {name: one for name, one in values.items() if name not in few}
    for name, one in many.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(one.dtype)
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, one.shape))
    return many


def _plain_session(content: bytes):
    level = load_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(content, graph_optimization_level=level)
