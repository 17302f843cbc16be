"""An ONNX graph with everything that its features depend on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

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
    """

    record: BackboneRecord
    graph: Path | bytes
    origin: str = ""
    source: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of the graph with its weights."""
        return self.graph.stat().st_size if isinstance(self.graph, Path) else len(self.graph)

    def content(self) -> bytes:
        """Return the graph's bytes."""
        return self.graph.read_bytes() if isinstance(self.graph, Path) else self.graph
