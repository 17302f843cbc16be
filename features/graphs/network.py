"""An ONNX graph with everything that its features depend on."""

import dataclasses
import hashlib
from pathlib import Path

from ...core.errors import BackboneError, counted
from ..records.record import BackboneRecord
from .parameters import FilledGraph


@dataclasses.dataclass(frozen=True)
class GraphNetwork:
    """A backbone as an ONNX graph, ready for an engine.

    Attributes
    ----------
    graph : Path, bytes or FilledGraph
        ``images`` uint8 (N, R, R, 3) to ``features`` float32 (N, D); a file, its content, or a
        graph with its weights beside it.
    source : str
        What to give as a spec to get this very backbone again.
    layer : str
        Which layer the features are of, and why, where that was found out from the graph.
    license : str
        Of the weights, as their publisher names it; empty where it is not known.
    batch : int or None
        The one number of images that the graph can take; None for any.
    mixing : str or None
        The operator that is not known to keep the images of a batch apart (`why_not_apart`): such
        a network is given one image at a time. Empty if all are known to; None if nobody looked.
    """

    record: BackboneRecord
    graph: Path | bytes | FilledGraph
    origin: str = ""
    source: str = ""
    layer: str = ""
    batch: int | None = None
    license: str = ""
    mixing: str | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the graph with its weights."""
        if isinstance(self.graph, Path):
            return self.graph.stat().st_size
        return len(self.graph) if isinstance(self.graph, bytes) else self.graph.size_bytes

    def require_batches_of(self, count: int) -> None:
        """Raise `BackboneError` where the graph cannot take `count` images at a time."""
        if self.batch not in (None, count):
            raise BackboneError(
                f"{self.record.spec} was exported for batches of {counted(self.batch, 'image')} "
                "and cannot be divided",
                f"give --engine onnxruntime --batch-size {self.batch}, or export it with a batch "
                "of any size (dynamic_axes, dynamic_shapes)",
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the graph and its weights."""
        if isinstance(self.graph, FilledGraph):
            return self.graph.digest
        return hashlib.sha256(self.content()).hexdigest()

    def content(self) -> bytes:
        """Return the graph's bytes, as they are in a file."""
        if isinstance(self.graph, Path):
            return self.graph.read_bytes()
        return self.graph if isinstance(self.graph, bytes) else self.graph.content()

    def outline(self) -> bytes:
        """Return a graph that has the same operators and shapes, and need not have weights."""
        return self.graph.bare if isinstance(self.graph, FilledGraph) else self.content()
