"""The cache's door: a folder of feature sets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import CacheError, DamagedCacheError, FingerprintError, enumerate_some
from ..core.files import publish_json
from .check import check_set
from .featureset import FeatureSet, create_set, load_set
from .format.disk import flush_folder, remove_leftovers
from .format.shard import FORMAT, damaged
from .marker import (
    FAILURES,
    FAILURES_NAME,
    MARKER,
    MARKER_NAME,
    check_free,
    check_marker,
    set_folders,
)
from .mend import repair_json, repair_set, restore_record
from .record import (
    SIDE_BY_SIDE,
    check_record,
    differences,
    features_per_view,
    fingerprint,
    matches,
    spec_of,
)
from .sharing.claims import lock
from .sharing.share import share

__all__ = ["CLAIMS_NAME", "FeatureCache"]

CLAIMS_NAME = "claims"


class FeatureCache:
    """A folder of feature sets, opened for reading and adding.

    Parameters
    ----------
    path : path-like
        The folder. `FeatureCache.create` makes one.

    Raises
    ------
    MissingFileError
        There is no such folder.
    CacheError
        The folder is not a cache, or of a newer format.

    Examples
    --------
    >>> cache = FeatureCache("features")                          # doctest: +SKIP
    >>> X = cache.matrix(["gluon:inceptionv3"], cache.ids("gluon:inceptionv3"))
    ...                                                           # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._sets: dict[str, FeatureSet] = {}
        self._mended: list[str] = []
        check_marker(self.path)

    @classmethod
    def create(cls, path: str | os.PathLike) -> FeatureCache:
        """Open the cache at `path`; make it if there is none, mend its marker if need be.

        Raises
        ------
        CacheError
            The folder holds something else.
        """
        path = Path(path)
        if not (path / MARKER_NAME).exists():
            check_free(path)
            path.mkdir(parents=True, exist_ok=True)
            publish_json(path / MARKER_NAME, {**MARKER, "format": FORMAT})
            flush_folder(path.parent)
        mended = repair_json(path / MARKER_NAME, MARKER) if set_folders(path) else []
        cache = cls(path)
        cache._mended = mended
        return cache

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"FeatureCache({str(self.path)!r})"

    def sets(self) -> list[FeatureSet]:
        """Return all feature sets, sorted by spec and fingerprint.

        Raises
        ------
        DamagedCacheError
            A set's record cannot be read.
        """
        folders = set_folders(self.path)
        self._sets = {f.name: self._sets.get(f.name) or load_set(f) for f in folders}
        return sorted(self._sets.values(), key=lambda one: (one.spec, one.fingerprint))

    def find(self, spec: str) -> FeatureSet:
        """Return the one feature set that `spec` names.

        Parameters
        ----------
        spec : str
            A backbone's spec (``gluon:inceptionv3``); for a file also its base name
            (``onnx:model.onnx``); the bare stem where only one set has it; any of them
            with ``#`` and the first digits of a fingerprint.

        Raises
        ------
        CacheError
            None matches, or several do.
        """
        sets = self.sets()
        rated = [(matches(spec, one.record, one.fingerprint), one) for one in sets]
        best = max((rate for rate, _ in rated), default=0)
        found = [one for rate, one in rated if best and rate == best]
        if len(found) == 1:
            return found[0]
        if found:
            lines = enumerate_some([_choice(one) for one in found], 10)
            raise CacheError(
                f"{spec!r} names {len(found)} feature sets in {self.path}: {lines}",
                f'choose one by its fingerprint: "{found[0].spec}#{found[0].fingerprint[:12]}"',
            )
        there = enumerate_some([one.spec for one in sets], 10) or "none at all"
        raise CacheError(
            f"no feature set {spec!r} in {self.path}; it holds {there}",
            f"run `icecore extract` with `-b {name}` into it, or name one it has"
            if (name := spec.partition("#")[0])
            else "name one it has",
        )

    def ids(self, spec: str) -> list[str]:
        """Return the keys of all rows of a feature set, sorted."""
        return self.find(spec).keys()

    def matrix(self, specs: str | Sequence[str], keys: Sequence[str]) -> np.ndarray:
        """Return the features of `keys`, of several sets side by side.

        Parameters
        ----------
        specs : str or sequence of str
            Feature sets, in the order of their columns.
        keys : sequence of str
            Row keys, in the order of the rows; repeats allowed.

        Returns
        -------
        ndarray (N, sum of dim) float32
            Each number is copied into it once.

        Raises
        ------
        MissingRowsError
            Keys without a row in one of the sets.
        DamagedCacheError
            A row does not match its checksum.
        """
        sets = [self.find(spec) for spec in ([specs] if isinstance(specs, str) else specs)]
        if not sets:
            raise CacheError("no feature set was named", "give at least one backbone spec")
        ends = np.cumsum([one.dim for one in sets]).tolist()
        out = np.empty((len(keys), ends[-1]), np.float32)
        for one, end in zip(sets, ends, strict=True):
            one.matrix(keys, out[:, end - one.dim : end])
        return out

    def open_set(self, record: Mapping, dim: int) -> FeatureSet:
        """Find or make the feature set with exactly this record, ready to append to.

        What is there is read and checked once; damaged files are moved aside, their sound
        rows kept, and `FeatureSet.warnings` says so.

        Parameters
        ----------
        record : mapping
            Everything that makes the rows what they are: ``{"backbone": {"spec": ...,
            "weights_digest": ..., ...}, "fit": ..., "views": ..., "precision": ...,
            "layer": ...}``, plain JSON.
        dim : int
            Numbers in a row, of all views together.

        Raises
        ------
        FingerprintError
            The cache has the same backbone with another record; the fields are named.
        CacheError
            `dim` is not a multiple of the number of views.
        """
        record = check_record(record)
        features_per_view(record, dim)
        wanted = fingerprint(record)
        restored = [*self._mended, *self._mend_failures()]
        restored += [line for f in set_folders(self.path) for line in restore_record(f)[1]]
        sets = self.sets()
        found = next((one for one in sets if one.fingerprint == wanted), None)
        if found is None:
            self.refuse_contradictions(record, [one.record for one in sets])
            found = create_set(self.path, record, dim)
            flush_folder(found.folder)
            flush_folder(self.path)
            self._sets[found.folder.name] = found
        if found.dim != dim:
            raise FingerprintError(
                f"the feature set {found.spec} in {self.path} has rows of {found.dim} numbers, "
                f"not {dim}, though its record is the same",
                "the backbone's output changed: extract into another cache folder",
            )
        found.warnings = restored + self._mend(found)
        return found

    def _mend_failures(self) -> list[str]:
        try:
            self.failures()
            return []
        except DamagedCacheError:
            with lock(self.path / CLAIMS_NAME, "failures"):
                return repair_json(self.path / FAILURES_NAME, FAILURES)

    def _mend(self, one: FeatureSet) -> list[str]:
        """Put damage right before writing, so that only what is lost is computed again."""
        for folder in (one.folder, one.folder / "shards"):
            remove_leftovers(folder)
        _, problems = check_set(one)
        if all(problem.harmless for problem in problems):
            if any(problem.kind == "index" for problem in problems):
                one.write_index()
            return []
        with lock(self.path / CLAIMS_NAME, "maintenance"):
            return repair_set(one)[0]

    def refuse_contradictions(self, record: Mapping, others: Iterable[Mapping]) -> None:
        """Raise FingerprintError if `record` is one of `others` made differently."""
        for other in others:
            if spec_of(other) != spec_of(record):
                continue
            if any(other.get(name) != record.get(name) for name in SIDE_BY_SIDE):
                continue
            lines = [
                f"{name} is {_brief(theirs)} there and {_brief(ours)} here"
                for name, ours, theirs in differences(record, other)
            ]
            raise FingerprintError(
                f"{self.path} holds features of {spec_of(record)} that were made differently: "
                + "; ".join(lines),
                "extract into another cache folder, or use what these were made with",
            )

    def share(
        self, sets: Sequence[FeatureSet], keys: Sequence[str], most: int = 512, ahead: int = 0
    ) -> Iterator[list[str]]:
        """Yield batches of keys to compute, shared out among all processes at work here.

        Each batch holds keys that lack a row in one of `sets` and that no other process
        is computing; append the rows of a batch before asking for the next. With `ahead`
        they may come that many batches later, and an empty batch asks for all rows that
        are still to come. The claims of a process that dies are taken over.
        """
        yield from share(self.path / CLAIMS_NAME, sets, keys, most, ahead=ahead)

    def failures(self) -> list[dict]:
        """Return the images that could not be read: id, path, digest, reason."""
        path = self.path / FAILURES_NAME
        try:
            return list(json.loads(path.read_text("utf-8"))["failures"])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(path, f"not readable: {error}") from error

    def record_failures(self, failures: Iterable[Mapping]) -> None:
        """Add images that could not be read; one with the same id is replaced."""
        new = {one["id"]: dict(one) for one in failures}
        if new:
            with lock(self.path / CLAIMS_NAME, "failures"):
                self._publish_failures({one["id"]: one for one in self.failures()} | new)

    def clear_failures(self, ids: Iterable[str]) -> None:
        """Forget the failures of images that succeeded since."""
        gone = set(ids)
        if not any(one["id"] in gone for one in self.failures()):
            return
        with lock(self.path / CLAIMS_NAME, "failures"):
            self._publish_failures(
                {one["id"]: one for one in self.failures() if one["id"] not in gone}
            )

    def _publish_failures(self, by_id: Mapping[str, Mapping]) -> None:
        content = [by_id[id_] for id_ in sorted(by_id)]
        publish_json(self.path / FAILURES_NAME, {"format": FORMAT, "failures": content})

    def close(self) -> None:
        """Close open files; reading opens them again."""
        for one in self._sets.values():
            one.close()


def _choice(one: FeatureSet) -> str:
    record = one.record
    details = ", ".join(f"{name} {_brief(record[name])}" for name in SIDE_BY_SIDE if name in record)
    return f"#{one.fingerprint[:12]} ({one.spec}; {details})"


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 64 else f"{text[:61]}..."
