"""One backbone's part of an extraction: its record, its engines, its rows."""

import dataclasses
import functools
import platform
import shlex
import sys
import time
from collections.abc import Sequence

import numpy as np

from ... import __version__
from ...cache import FeatureCache, FeatureSet
from ...core.errors import BackboneError
from ...core.files import sha256_bytes
from ..backbones import Backbone
from ..costs import network_cost
from ..engines.base import Engine, Setup
from ..engines.proof import Proof, prove_in_engine
from ..graphs.network import GraphNetwork
from ..records.feature_set import FeatureSetRecord
from ..weights.licenses import license_note
from .options import ExtractOptions

# Characters of the command line that are kept with the rows.
MOST_OF_COMMAND = 2000


@dataclasses.dataclass
class Part:
    """One backbone's part of an extraction.

    Attributes
    ----------
    engines : list of Engine
        One on each device, once they are started.
    opened : FeatureSet or None
        Where its rows go, once that is open: `rows`.
    proof : Proof or None
        That the engine computes what the graph says; None of engines that run no graphs.
    indexes : bool
        Whether the index is written when rows are: once in a while, not after each few.
    instead_of : str
        What was taken first and does not compute what the graph says.
    """

    backbone: Backbone
    record: FeatureSetRecord
    engines: list[Engine] = dataclasses.field(default_factory=list)
    opened: FeatureSet | None = None
    proof: Proof | None = None
    instead_of: str = ""
    indexes: bool = True

    def start(self, options: ExtractOptions, images: int = 0) -> None:
        """Start the backbone on every device, and see that it computes what its graph says.

        Parameters
        ----------
        images : int
            How many are to come.

        Raises
        ------
        ProofError
            It does not, in this precision.
        BackboneError
            It cannot be run, or its features are too small to be stored as is asked.
        """
        network, side = self.backbone.network, self.backbone.record.resolution
        engines = []
        for device in options.devices:
            engine = self.backbone.start(device, options.squares_at_once, images, options.cpus)
            graph = network if isinstance(network, GraphNetwork) else None
            # What does not run is to end the job here. A proof runs it, or has done so before;
            # but whether a device has the memory for a batch is not known from before.
            if graph is None or not engine.image_by_image:
                engine.run(np.zeros((options.squares_at_once, side, side, 3), np.uint8))
            if graph is not None:
                setup = Setup(device, self.record.compute, options.squares_at_once)
                self.proof = prove_in_engine(engine, graph, setup, options.accept_error)
            engines.append(engine)
        self._require_features()
        self.engines = engines

    def sample(self, options: ExtractOptions) -> str:
        """Return the digest of features of random images: other processors may give others.

        It is empty where engines are not started, and of GPUs, on which one and the same may
        choose another way each time.
        """
        if not self.engines or options.devices[0] != "cpu":
            return ""
        engine, side = self.engines[0], self.backbone.record.resolution
        count = 2 if engine.image_by_image else options.squares_at_once
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        return sha256_bytes(np.ascontiguousarray(engine.run(images)).tobytes())

    def _require_features(self) -> None:
        """Refuse features that are all 0, or that float16 rounds to a few steps or to zero."""
        least = float(np.finfo(np.float16).smallest_normal)
        largest = least if self.proof is None else self.proof.largest
        if largest == 0:
            raise BackboneError(
                f"{self.record.backbone.spec} gives nothing but zeros for random images",
                "check its weights: it has learnt nothing, or its layers switch each other off",
            )
        if self.record.precision == "float16" and largest < least:
            raise BackboneError(
                f"{self.record.backbone.spec} gives features that float16 cannot hold (up to "
                f"{largest:.3g} for random images)",
                "use --precision float32",
            )

    @property
    def rows(self) -> FeatureSet:
        """Where its rows go; `open` was called before."""
        assert self.opened is not None
        return self.opened

    def open(self, store: FeatureCache) -> None:
        """Open the feature set for writing."""
        made = self.record
        self.opened = store.open_set(
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
            **({"hardware": self.engines[0].hardware} if self.engines[0].hardware else {}),
            "compute_precision": self.record.compute,
            **self._proved(),
            "weights_origin": network.origin,
            **({"license": network.license} if network.license else {}),
            "source": network.source,
            "size_bytes": network.size_bytes,
            **self.cost,
            "icecore": __version__,
            "host": platform.node(),
            "command": shlex.join(sys.argv)[:MOST_OF_COMMAND],
            "started": utc_now(),
        }

    def _proved(self) -> dict:
        if self.proof is None:
            return {}
        return {"relative_error": self.proof.relative_error, "judge": self.proof.judge}

    @functools.cached_property
    def cost(self) -> dict[str, int]:
        """What one view of an image costs, as far as it is known; counting takes 40 ms."""
        found = network_cost(self.backbone.network)
        known = {} if found is None else dataclasses.asdict(found)
        return {name: value for name, value in known.items() if value is not None}

    def summary(self) -> dict:
        """Return what the report says of it."""
        return {
            "spec": self.rows.name,
            "fingerprint": self.rows.fingerprint,
            "dim": self.rows.dim,
            "rows": len(self.rows),
            "engine": self.backbone.engine,
            "compute_precision": self.record.compute,
            "relative_error": self.proof and self.proof.relative_error,
            "instead_of": self.instead_of,
            "weights": self.backbone.record.weights,
            "origin": self.backbone.network.origin,
            "layer": self.backbone.network.layer,
        }


def engine_notes(parts: Sequence[Part]) -> list[str]:
    """Return what a user should know of how networks run, and may do with them; each once."""
    notes = [note for part in parts for engine in part.engines for note in engine.notes]
    networks = [part.backbone.network for part in parts if part.engines]
    notes += filter(None, (license_note(one.record.spec, one.license) for one in networks))
    return list(dict.fromkeys(notes))


def utc_now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
