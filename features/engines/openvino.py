"""OpenVINO: the fastest engine on CPUs, in float32, bfloat16 or float16."""

import contextlib
import functools
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from ...core.errors import BackboneError, first_line
from ...core.hardware import bfloat16_pays, cpu_facts
from ...core.imports import load
from ..graphs.network import GraphNetwork
from ..graphs.parameters import FilledGraph
from .base import AS_USUAL, Engine, GraphRefusedError, Setup, remedy, require_one_row_each
from .slots import Slot, Slots

_TYPES = {"f32": "f32", "bf16": "bf16", "fp16": "f16"}
_CAPABILITIES = {"BF16": "bf16", "FP16": "fp16"}


class _Request(Slot):
    """A request with its own memory for an image and for the features of one."""

    def __init__(self, request) -> None:
        self._request = request
        self._images = request.get_input_tensor(0).data
        self._features = request.get_output_tensor(0).data

    def submit(self, images: np.ndarray) -> None:
        """See `Slot.submit`."""
        self._images[:] = images
        self._request.start_async()

    def wait(self) -> np.ndarray:
        """See `Slot.wait`."""
        self._request.wait()
        return self._features


class OpenVinoEngine(Engine):
    """Runs a feature graph in OpenVINO on the CPU.

    Parameters
    ----------
    setup : Setup
        Its device is ``cpu``: OpenVINO's own GPUs are not used. Not more images than a usual
        batch has are computed at once. Features are float32, whatever it computes in.

    Notes
    -----
    The images of a batch are computed side by side, one on each processor,
    instead of one after the other on all of them. An image's activations then
    stay in the cache of its processor, no processor waits for another, and a
    row cannot depend on the batch that it came in. `run` may be called by
    several threads at once.
    """

    name = package = "openvino"
    title = "OpenVINO"
    image_by_image = True
    batches_at_once = 2

    def __init__(self, network: GraphNetwork, setup: Setup = AS_USUAL) -> None:
        if setup.device != "cpu":
            raise BackboneError(
                f"OpenVINO runs backbones on the CPU, not on '{setup.device}'",
                "use --device cpu, or --engine onnxruntime for NVIDIA's GPUs",
            )
        network.require_batches_of(1)
        openvino = load_openvino()
        self.version = openvino.__version__.split("-")[0]
        self.record = network.record
        compiled = self._compile(network.graph, setup)
        # Twice as many as are computed at once: a processor that is done early (others decode)
        # finds the next image waiting.
        count = 2 * int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        requests = [_Request(compiled.create_infer_request()) for _ in range(count)]
        self._slots = Slots(requests, 1, self.record.num_features)

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """See `Engine.precisions`."""
        if device != "cpu":
            return ()
        capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return order_precisions(capabilities, bfloat16_pays(cpu_facts()))

    def _compile(self, graph: Path | bytes | FilledGraph, setup: Setup):
        side, precision = self.record.resolution, setup.precision
        try:
            model = _read(graph)
            model.reshape([1, side, side, 3])
            shape = model.output(0).partial_shape
            rows = tuple(shape.to_shape()) if shape.is_static else str(shape)
            require_one_row_each(rows, 1, self.record)
            compiled = _core().compile_model(
                model,
                "CPU",
                {
                    "PERFORMANCE_HINT": "THROUGHPUT",
                    "NUM_STREAMS": str(min(setup.cpus, setup.batch_size)),
                    "INFERENCE_NUM_THREADS": setup.cpus,
                    # It ties threads to the first processors, and so would other processes.
                    "ENABLE_CPU_PINNING": setup.threads is None,
                    # Left to itself it takes bfloat16 wherever the processor has it.
                    "INFERENCE_PRECISION_HINT": _TYPES[precision],
                },
            )
        except RuntimeError as error:
            raise GraphRefusedError(
                f"{self.record.spec}: OpenVINO refuses the graph: {first_line(error)}",
                remedy(error, "export the network again, or try --engine onnxruntime"),
            ) from error
        found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if found != _TYPES[precision]:
            raise BackboneError(
                f"OpenVINO computes in {found} on this CPU, not in {precision}",
                "use --precision-compute f32",
            )
        return compiled

    def compute(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.compute`."""
        return self._slots.run(images)


def _read(graph: Path | bytes | FilledGraph):
    """Read a graph; weights that lie beside it are not copied."""
    if not isinstance(graph, FilledGraph):
        return _core().read_model(graph if isinstance(graph, bytes) else str(graph))
    constant = load_openvino().op.Constant
    model = _core().read_model(graph.with_inputs())
    for entry in model.get_parameters():
        values = graph.values.get(entry.get_friendly_name())
        if values is not None:
            values = np.require(values, requirements="W")  # what may not be written it refuses
            entry.output(0).replace(constant(values, shared_memory=True).output(0))
            model.remove_parameter(entry)
    return model


def load_openvino():
    """Import ``openvino``, or say what to install."""
    with _no_reports_home():
        return load("openvino")


@contextlib.contextmanager
def _no_reports_home() -> Iterator[None]:
    """Let OpenVINO find its package of usage statistics absent: it does without then.

    It would send a message to its makers from the user's machine, unasked.
    """
    name = "openvino_telemetry"
    if name in sys.modules or "openvino" in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


@functools.cache
def _core():
    return load_openvino().Core()


def order_precisions(capabilities: Collection[str], bfloat16_first: bool) -> tuple[str, ...]:
    """Order the precisions among OpenVINO's `capabilities` by speed.

    OpenVINO's float16 kernels convert to float32 and back; they gain nothing on a CPU.
    """
    order = ("bf16", "f32", "fp16") if bfloat16_first else ("f32", "bf16", "fp16")
    able = {_CAPABILITIES[name] for name in capabilities if name in _CAPABILITIES}
    return tuple(one for one in order if one in able or one == "f32")
