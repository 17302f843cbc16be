"""What an extraction did."""

import dataclasses

from ...core.summary import summary
from ...manifest import Manifest


@dataclasses.dataclass(frozen=True)
class Failure:
    """An image that could not be used, and why."""

    id: str
    path: str
    digest: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ExtractReport:
    """What a run of `extract` did.

    Attributes
    ----------
    images : int
        Images in the manifest.
    unique : int
        Different images among them.
    computed : int
        Images that were decoded in this run.
    rows : int
        Rows written, over all backbones.
    failures : list of Failure
        Images without a row.
    sets : list of dict
        spec, fingerprint, dim, rows, engine, compute_precision, relative_error (that was
        measured of the engine; None where it did not run), instead_of (why another engine or
        precision was taken than the fastest), weights and their origin, and
        which layer the features are of, where that was found out from a graph.
    seconds, decoding_share, computing_share : float
        Duration from the first image to the last row on the disk; shares of it that the
        decoders and engines were busy.
    digesting_seconds, starting_seconds : float
        Time before that, for the files' digests, and to load and start the backbones.
    random_weights : bool
        Whether any backbone has random weights.
    manifest : Manifest
        With digests.
    boxed : int
        Images of which only a box was used.
    several_pages : list of str
        Ids of TIFF files, computed in this run, of whose pages the first was taken.
    boxes : str
        The table that the boxes are in; empty if there is none.
    repaired : list of str
        Damage that was found in the cache, and what was done about it.
    notes : list of str
        What a user should know of how the engines ran.
    """

    images: int
    unique: int
    computed: int
    rows: int
    failures: list[Failure]
    sets: list[dict]
    seconds: float
    digesting_seconds: float
    starting_seconds: float
    decoding_share: float
    computing_share: float
    random_weights: bool
    manifest: Manifest
    boxed: int = 0
    several_pages: list[str] = dataclasses.field(default_factory=list)
    boxes: str = ""
    repaired: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    __repr__ = summary
