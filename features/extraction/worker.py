"""A process that computes the images it is given, again and again, into a shared cache."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Self

from ...cache import writable_cache
from ...core.errors import FingerprintError, enumerate_some
from ...core.places import AtHand
from ...manifest import Digesting, Manifest, Sample
from ..images.libraries import load_decoders
from ..records.spec import OF_FILES, BackboneSpec
from .options import ExtractOptions
from .part import Part
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
    failures, several_pages : list
        As in `ExtractReport`.
    digests, unreadable : dict of str to str
        Of images that came without a digest: that of their files, or why there is none, by id.
    """

    computed: int
    rows: int
    had: int
    failures: list[Failure]
    several_pages: list[str]
    digests: dict[str, str]
    unreadable: dict[str, str]


@dataclasses.dataclass(frozen=True)
class WorkerPlan:
    """What every process needs to start.

    Attributes
    ----------
    cache : str
        Absolute path or URL, in a store or on a disk that all share.
    fingerprints : tuple of str
        Of the feature sets that rows shall go to.
    multiply_adds : int
        Of all networks, for all views of an image; 0 if that is not known.
    """

    cache: str
    backbones: tuple[str | BackboneSpec, ...]
    options: ExtractOptions
    fingerprints: tuple[str, ...]
    multiply_adds: int = 0

    @classmethod
    def of(cls, parts: Sequence[Part], cache: str, options: ExtractOptions) -> Self:
        """Describe what this process has loaded so that another one loads the same."""
        assert options.cluster is not None
        weights = None if options.weights_dir is None else os.path.abspath(options.weights_dir)
        return cls(
            cache,
            tuple(_spec_anywhere(part) for part in parts),
            dataclasses.replace(
                options, cluster=None, weights_dir=weights, workers=options.cluster.cpus
            ),
            tuple(part.record.fingerprint for part in parts),
            len(options.made_views) * sum(part.cost.get("multiply_adds", 0) for part in parts),
        )


class ExtractWorker:
    """Backbones that are started once and compute whatever they are given.

    Raises
    ------
    FingerprintError
        This machine would make other rows than those.
    """

    def __init__(self, plan: WorkerPlan) -> None:
        load_decoders()
        self._options = options = plan.options
        self._store = writable_cache(plan.cache, options.only_writer)
        self._parts = [started(part, options) for part in load_parts(plan.backbones, options)]
        found = [part.record.fingerprint for part in self._parts]
        if found != list(plan.fingerprints):
            others = [
                part.record.backbone.spec
                for part, wanted in zip(self._parts, plan.fingerprints, strict=True)
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
            The files of those without a digest are read for it.
        """
        at_hand, digests, unreadable = AtHand(), {}, {}
        keys = {sample.id: sample.digest for sample in samples}
        if unknown := tuple(sample for sample in samples if not sample.digest):
            digesting = Digesting(Manifest(unknown), workers=self._options.threads, at_hand=at_hand)
            keys |= digesting.known
            for some in digesting:
                keys |= some
            digests, unreadable = digesting.digests, digesting.unreadable
        unique: dict[str, list[Sample]] = {}
        for sample in samples:
            if key := keys[sample.id]:
                unique.setdefault(key, []).append(dataclasses.replace(sample, digest=key))
        watch = Stopwatch(ProgressListener())
        job = Pipeline(self._parts, self._options, watch, dealt=True, at_hand=at_hand)
        todo = job.lacking(list(unique))
        if todo:
            job.run(self._store, unique, todo)
        return Receipt(
            job.computed,
            job.rows,
            len(unique) - len(todo),
            job.failures,
            job.several_pages,
            digests,
            unreadable,
        )


def _spec_anywhere(part: Part) -> BackboneSpec:
    """Return a spec that means the same in another working directory."""
    spec = BackboneSpec.parse(part.backbone.network.source or part.record.backbone.spec)
    if spec.source in OF_FILES:
        spec = dataclasses.replace(spec, name=os.path.abspath(spec.name))
    return dataclasses.replace(spec, layer=part.backbone.layer)
