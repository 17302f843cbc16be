"""A process that computes the images it is given, again and again, into a shared cache."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from ...cache import writable_cache
from ...core.errors import FingerprintError, enumerate_some
from ...core.places import AtHand
from ...manifest import Digesting, Manifest, Sample, StreamDigesting, Unread
from ..gluon.network import GluonBackbone
from ..graphs.network import GraphNetwork
from ..images.libraries import load_decoders
from ..records.spec import OF_FILES, BackboneSpec
from .arrivals import Arrivals, NextArrivals
from .options import ExtractOptions
from .part import Part, engine_notes
from .pipeline import Pipeline
from .progress import ProgressListener, Stopwatch
from .report import Failure
from .starting import started, take_parts


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
        Of containers what `StreamDigesting` says of them, by name.
    notes : list of str
        What a user should know of how it was computed.
    """

    computed: int
    rows: int
    had: int
    failures: list[Failure]
    several_pages: list[str]
    digests: dict[str, str]
    unreadable: dict[str, str]
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class WorkerPlan:
    """What every process needs to start.

    Attributes
    ----------
    cache : str
        Absolute path or URL, in a store or on a disk that all share.
    networks : tuple of (BackboneSpec, GraphNetwork or None)
        With their weights, so that no other machine needs the files, or asks a hub for them. Those
        that MXNet itself runs are loaded where they run.
    fingerprints : tuple of str
        Of the feature sets that rows shall go to.
    multiply_adds : int
        Of all networks, for all views of an image; 0 if that is not known.
    unread : Unread or None
        Where images without a digest are containers instead: what they are, and where.
    samples : tuple of str
        What `Part.sample` says of each network here; nothing if rows need not be the same bytes.
    """

    cache: str
    networks: tuple[tuple[BackboneSpec, GraphNetwork | None], ...]
    options: ExtractOptions
    fingerprints: tuple[str, ...]
    multiply_adds: int = 0
    unread: Unread | None = None
    samples: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        parts: Sequence[Part],
        cache: str,
        options: ExtractOptions,
        unread: Unread | None = None,
    ) -> Self:
        """Describe what this process has loaded so that another one loads the same."""
        assert options.cluster is not None
        weights = None if options.weights_dir is None else os.path.abspath(options.weights_dir)
        return cls(
            cache,
            tuple((_spec_anywhere(part), _whole(part.backbone.network)) for part in parts),
            dataclasses.replace(
                options,
                cluster=None,
                weights_dir=weights,
                workers=options.cluster.cpus,
                cpus=options.cluster.cpus,
            ),
            tuple(part.record.fingerprint for part in parts),
            len(options.made_views) * sum(part.cost.get("multiply_adds", 0) for part in parts),
            unread and unread.only([]),
            # Whoever accepts an error accepts other last bits, too.
            tuple(part.sample(options) for part in parts) if options.accept_error is None else (),
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
        self._parts = [started(part, options) for part in take_parts(plan.networks, options)]
        self._require_same_rows(plan)
        for part in self._parts:
            part.open(self._store)
            part.indexes = False  # whoever shares out the images does that once, at the end

    def _require_same_rows(self, plan: WorkerPlan) -> None:
        """See that rows of this machine are those of the one that shares the images out."""
        others = [
            part.record.backbone.spec
            for part, wanted in zip(self._parts, plan.fingerprints, strict=True)
            if part.record.fingerprint != wanted
        ]
        if others:
            raise FingerprintError(
                f"this machine makes other rows than the others: {enumerate_some(others)}",
                "give all machines the same versions and processors, or leave this one out",
            )
        others = [
            f"{part.record.backbone.spec} with {part.engines[0].title} {part.engines[0].version}"
            for part, wanted in zip(self._parts, plan.samples)
            if wanted and part.sample(self._options) != wanted
        ]
        if others:
            raise FingerprintError(
                "this machine makes rows with other last bits than the one where the command was "
                f"typed, by its processor or its engine: {enumerate_some(others)}",
                "give all machines, that one too, processors and packages of one kind; or take the "
                "rows as they are with --accept-error 1e-4 (0.02 in half precision)",
            )

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
        job = self._pipeline(at_hand, dealt=True)
        todo = job.lacking(list(unique))
        if todo:
            job.run(self._store, unique, todo)
        return _receipt(job, len(unique) - len(todo), digests, unreadable)

    def stream(self, unread: Unread, most: int) -> Iterator[Receipt]:
        """Read containers once, and compute the rows of their images that the cache lacks.

        There is a receipt for each `most` images, which are the same if the containers are read
        again, and one at the end that says what lies in them.
        """
        at_hand = AtHand()
        digesting = StreamDigesting(unread, at_hand=at_hand, dealt=True)
        with contextlib.closing(Arrivals(digesting, at_hand)) as arrivals:
            some = NextArrivals(arrivals, most)
            while some.begin():
                job = self._pipeline(at_hand)
                job.run(self._store, some.unique, [], some)
                yield _receipt(job, len(some.unique) - job.computed - job.unreadable, {}, {})
        yield _receipt(self._pipeline(at_hand), 0, digesting.digests, digesting.unreadable)

    def _pipeline(self, at_hand: AtHand, dealt: bool = False) -> Pipeline:
        watch = Stopwatch(ProgressListener())
        return Pipeline(self._parts, self._options, watch, dealt=dealt, at_hand=at_hand)


def _receipt(
    job: Pipeline, had: int, digests: dict[str, str], unreadable: dict[str, str]
) -> Receipt:
    notes = engine_notes(job.parts)
    return Receipt(
        job.computed, job.rows, had, job.failures, job.several_pages, digests, unreadable, notes
    )


def _whole(network: GraphNetwork | GluonBackbone) -> GraphNetwork | None:
    """Return a network with all of its content, to be sent; None if it is no graph."""
    if not isinstance(network, GraphNetwork):
        return None
    if isinstance(network.graph, Path):
        return dataclasses.replace(network, graph=network.content())
    return network


def _spec_anywhere(part: Part) -> BackboneSpec:
    """Return a spec that means the same in another working directory."""
    spec = BackboneSpec.parse(part.backbone.network.source or part.record.backbone.spec)
    if spec.source in OF_FILES:
        spec = dataclasses.replace(spec, name=os.path.abspath(spec.name))
    return dataclasses.replace(spec, layer=part.backbone.layer)
