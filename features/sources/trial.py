"""The first run of a foreign graph whose cost cannot be told from its shapes.

``python -m icecore.features.sources.trial`` runs one image, or as many as the graph takes alone,
through the installed engines, in a process that may take no more than so much time and memory.
"""

import sys
from pathlib import Path

import numpy as np

from ...core.child import ChildError, Limits, answer_parent
from ...core.errors import BackboneError, IcecoreError
from ...core.imports import is_lack_of_memory
from ..engines.base import Setup
from ..engines.choose import ENGINES
from ..engines.torch import TorchEngine
from ..graphs.budget import is_of_known_cost
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import load_onnx
from ..graphs.questions import ask_once
from ..graphs.session import open_session
from ..graphs.steering import require_cost_of_no_image
from ..graphs.values import study
from ..images.preprocessing import Preprocessing
from ..records.record import BackboneRecord

# To start an engine takes one second of a processor. One image of the largest networks takes half
# of the most on a slow one; a graph of few bytes that takes so long goes round in circles.
LEAST_SECONDS, MOST_SECONDS, BYTES_A_SECOND = 8, 30, 32 * 2**20
SECONDS = 120.0
# Beside four times the graph, which each engine keeps in forms of its own.
MEMORY = 4 * 2**30


def require_bounded_run(network: GraphNetwork, model) -> None:
    """Run a graph once in a child process, where its cost is not known; remember that it went well.

    Parameters
    ----------
    model : onnx.ModelProto
        Its graph.

    Raises
    ------
    BackboneError
        One image takes too long or too much memory, the graph ends the process, or what it
        computes depends on what the image shows.
    """
    side = network.record.resolution
    if is_of_known_cost(model.graph, study(load_onnx(), model, side).shapes):
        return
    require_cost_of_no_image(model.graph, network.record.spec)
    content = network.content()
    # PyTorch takes no loops, so it costs what the others do; its start alone takes seconds.
    kinds = [kind for kind in ENGINES.values() if kind.runs_graphs and kind is not TorchEngine]
    engines = [kind for kind in kinds if kind.able("cpu")] or [TorchEngine]
    for kind in engines:
        try:
            how = [str(side), kind.name, str(network.batch or 1)]
            ask_once(__spec__.name, content, how, _limits(content))
        except ChildError as error:
            raise BackboneError(
                f"{network.record.spec}: one image {error} on {kind.name}",
                "such a graph is not run; take another network, or export this one again, without "
                "loops and without values that are made while it runs",
            ) from error


def _limits(content: bytes) -> Limits:
    processor = min(LEAST_SECONDS + len(content) // BYTES_A_SECOND, MOST_SECONDS)
    return Limits(processor, SECONDS, MEMORY + 4 * len(content))


def measure_width(model, side: int, name: str, batch: int | None) -> int:
    """Find out by a run in a child process how many numbers a graph gives for one image.

    Raises
    ------
    BackboneError
        The run takes too long or too much memory, or fails.
    """
    content, how = model.SerializeToString(), [str(side), "", str(batch or 1)]
    try:
        return int(ask_once(__spec__.name, content, how, _limits(content))["width"])
    except ChildError as error:
        raise BackboneError(
            f"{name}: one image {error} on onnxruntime",
            "name another layer with --layer, or take another network",
        ) from error


def _measure(path: str, images: np.ndarray) -> dict:
    session = open_session(path)
    (features,) = session.run(None, {session.get_inputs()[0].name: images})
    return {"width": int(features.shape[1])}


def _try(path: str, side: str, engine: str, count: str) -> dict:
    resolution, batch = int(side), int(count)
    images = np.zeros((batch, resolution, resolution, 3), np.uint8)
    if not engine:
        return _measure(path, images)
    how = Preprocessing(resolution, (0.0,) * 3, (1.0,) * 3, 1.0, "bilinear")
    (output,) = load_onnx().load(path, load_external_data=False).graph.output
    width = output.type.tensor_type.shape.dim[1].dim_value
    record = BackboneRecord("onnx:trial", "trial", "", None, width, how)
    try:
        network = GraphNetwork(record, Path(path), batch=batch if batch > 1 else None)
        ENGINES[engine](network, Setup("cpu", "f32", batch)).run(images)
    except IcecoreError as error:
        if is_lack_of_memory(error.__cause__ or error):
            raise MemoryError from error  # Where memory is not limited it would take all there is.
        # That it does not run there is found again, and said, when it is to run there.
    return {}


if __name__ == "__main__":
    answer_parent(sys.argv[1:], _try)
