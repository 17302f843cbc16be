"""A process that computes the images it is given, again and again, into a shared cache."""

import dataclasses
import os
from collections.abc import Sequence

from ...cache import writable_cache
from ...core.errors import FingerprintError, enumerate_some
from ...manifest import Sample
from ..images.libraries import load_decoders
from ..records.spec import BackboneSpec
from .options import ExtractOptions
from .pipeline import Pipeline
from .progress import ProgressListener, Stopwatch
from .report import Failure
from .starting import load_parts, started


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What became of some images.

    Attributes
    ----------
    computed : int
        Images that were decoded.
    rows : int
        Rows written.
    had : int
        Images whose rows were there already.
    repaired : list of str
        As in `ExtractReport`.
    """

    computed: int
    rows: int
    had: int
    failures: list[Failure]
    several_pages: list[str]
    repaired: list[str]


class ExtractWorker:
    """Backbones that are started once and compute whatever they are given.

    Parameters
    ----------
    cache : path-like
        A cache that is there, in a store or on a disk that all workers share.
    fingerprints : sequence of str
        Of the feature sets that rows shall go to.

    Raises
    ------
    FingerprintError
        This machine would make other rows than those.
    """

    def __init__(
        self,
        cache: str | os.PathLike,
        backbones: Sequence[str | BackboneSpec],
        options: ExtractOptions,
        fingerprints: Sequence[str],
    ) -> None:
        load_decoders()
        self._store, self._options = writable_cache(cache, options.only_writer), options
        self._parts = [started(part, options) for part in load_parts(backbones, options)]
        found = [part.record.fingerprint for part in self._parts]
        if found != list(fingerprints):
            others = [
                part.record.backbone.spec
                for part, wanted in zip(self._parts, fingerprints, strict=True)
                if part.record.fingerprint != wanted
            ]
            raise FingerprintError(
                f"this machine makes other rows than the others: {enumerate_some(others)}",
                "give all machines the same versions and processors, or leave this one out",
            )
        for part in self._parts:
            part.open(self._store)
            part.indexes = False  # whoever shares out the images does that once, at the end

    def run(self, samples: Sequence[Sample]) -> Receipt:
        """Compute the rows of some images that the cache lacks.

        Parameters
        ----------
        samples : sequence of Sample
            With digests.
        """
        unique: dict[str, list[Sample]] = {}
        for sample in samples:
            unique.setdefault(sample.digest, []).append(sample)
        job = Pipeline(self._parts, self._options, Stopwatch(ProgressListener()), dealt=True)
        todo = job.lacking(list(unique))
        if todo:
            job.run(self._store, unique, todo)
        repaired = [line for part in self._parts for line in part.rows.warnings]
        return Receipt(
            job.computed,
            job.rows,
            len(unique) - len(todo),
            job.failures,
            job.several_pages,
            list(dict.fromkeys(repaired)),
        )
