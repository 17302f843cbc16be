"""One backbone's part of an extraction: its record, its engines, its rows."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import sys
import time

import numpy as np

from ... import __version__
from ...cache import FeatureCache, FeatureSet
from ..backbones import Backbone
from ..engines.base import Engine
from ..records.feature_set import FeatureSetRecord
from .options import ExtractOptions

__all__ = ["Part", "utc_now"]

# Characters of the command line that are kept with the rows.
MOST_OF_COMMAND = 2000


@dataclasses.dataclass
class Part:
    """One backbone's part of an extraction.

    Attributes
    ----------
    backbone : Backbone
    record : FeatureSetRecord
    engines : list of Engine
        One on each device, once they are started.
    rows : FeatureSet or None
        Where its rows go, once that is open.
    """

    backbone: Backbone
    record: FeatureSetRecord
    engines: list[Engine] = dataclasses.field(default_factory=list)
    rows: FeatureSet | None = None

    def start(self, options: ExtractOptions) -> None:
        """Start the backbone on every device, and see it compute a batch."""
        side = self.backbone.record.resolution
        engines = [self.backbone.start(device, options.batch_size) for device in options.devices]
        for engine in engines:
            engine.run(np.zeros((options.batch_size, side, side, 3), np.uint8))
        self.engines = engines

    def open(self, store: FeatureCache) -> None:
        """Open the feature set for writing."""
        made = self.record
        self.rows = store.open_set(
            made.as_dict(),
            made.backbone.spec,
            made.backbone.num_features,
            made.views.names,
            made.precision,
        )

    def provenance(self) -> dict:
        """Return what is kept with the rows, beside what made them what they are."""
        network = self.backbone.network
        return {
            "engine": self.backbone.engine,
            "engine_version": self.engines[0].version,
            "compute_precision": self.record.compute,
            "weights_origin": network.origin,
            "source": network.source,
            "size_bytes": network.size_bytes,
            "icecore": __version__,
            "host": platform.node(),
            "command": shlex.join(sys.argv)[:MOST_OF_COMMAND],
            "started": utc_now(),
        }

    def summary(self) -> dict:
        """Return what the report says of it."""
        return {
            "spec": self.rows.name,
            "fingerprint": self.rows.fingerprint,
            "dim": self.rows.dim,
            "rows": len(self.rows),
            "engine": self.backbone.engine,
            "compute_precision": self.record.compute,
            "weights": self.backbone.record.weights,
            "origin": self.backbone.network.origin,
            "layer": self.backbone.layer_text,
        }


def utc_now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
