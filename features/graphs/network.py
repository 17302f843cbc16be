"""An ONNX graph with everything that its features depend on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ...core.errors import BackboneError
from ..records.record import BackboneRecord

__all__ = ["GraphNetwork"]


@dataclasses.dataclass(frozen=True)
class GraphNetwork:
    """A backbone as an ONNX graph, ready for an engine.

    Attributes
    ----------
    record : BackboneRecord
    graph : Path or bytes
        ``images`` uint8 (N, R, R, 3) to ``features`` float32 (N, D); a file, or its content.
    origin : str
        Where the weights came from.
    source : str
        What to give as a spec to get this very backbone again.
    layer : str
        Which layer the features are of, and why, where that was found out from the graph.
    batch : int or None
        The one number of images that the graph can take; None for any.
    """

    record: BackboneRecord
    graph: Path | bytes
    origin: str = ""
    source: str = ""
    layer: str = ""
    batch: int | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the graph with its weights."""
        return self.graph.stat().st_size if isinstance(self.graph, Path) else len(self.graph)

    def require_batches_of(self, count: int) -> None:
        """Raise `BackboneError` where the graph cannot take `count` images at a time."""
        if self.batch not in (None, count):
            raise BackboneError(
                f"{self.record.spec} was exported for batches of {self.batch} images and cannot "
                "be divided",
                f"give --engine onnxruntime --batch-size {self.batch}, or export it with a batch "
                "of any size (dynamic_axes, dynamic_shapes)",
            )

    def content(self) -> bytes:
        """Return the graph's bytes."""
        return self.graph.read_bytes() if isinstance(self.graph, Path) else self.graph
