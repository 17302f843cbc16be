"""The cache's door: a folder of feature sets."""

import json
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from ..core.arguments import typed
from ..core.errors import CacheError, DamagedCacheError, FingerprintError, counted, enumerate_some
from ..core.files import flush_folder
from ..core.stores import is_url
from .cache_folder import (
    FAILURES,
    FAILURES_NAME,
    MARKER,
    MARKER_NAME,
    check_free,
    check_marker,
    create_set,
    load_set,
    named_folder,
    read_failures,
    set_folders,
    write_part,
)
from .check import check_set
from .featureset import FeatureSet
from .format.disk import remove_leftovers, require_own
from .format.header import SetHeader
from .mend import repair_json, repair_set, restore_record
from .names import match_rank
from .record import differences
from .sharing.claim_files import remove_dead
from .sharing.claims import Claims, ClaimsOfProcess, lock
from .sharing.share import USUAL_LISTS, Lists, MoreKeys, share

CLAIMS_NAME = "claims"
# The part of a record that says what a name stands for.
_BACKBONE = "backbone"


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

    @typed
    def __init__(self, path: str | os.PathLike) -> None:
        self.path = named_folder(path)
        self._sets: dict[str, FeatureSet] = {}
        self._mended: list[str] = []
        check_marker(self.path)

    @classmethod
    @typed
    def create(cls, path: str | os.PathLike) -> Self:
        """Open the cache at `path`; make it if there is none, mend its marker if need be.

        Raises
        ------
        CacheError
            The folder holds something else.
        """
        if is_url(path):
            raise CacheError(
                f"{os.fspath(path)} is a URL, and a cache is a folder",
                "name its folder, or copy it to one with `icecore cache pull`",
            )
        path = named_folder(path)
        if not os.path.lexists(path / MARKER_NAME):
            check_free(path)
            path.mkdir(parents=True, exist_ok=True)
            write_part(path / MARKER_NAME, MARKER)
            flush_folder(path.parent)
        require_own(path)
        for folder in (path.resolve(), *path.glob("*/"), *path.glob("*/shards/")):
            remove_leftovers(folder)
        remove_dead(path / CLAIMS_NAME)
        mended = repair_json(path / MARKER_NAME, MARKER) if set_folders(path) else []
        cache = cls(path)
        cache._mended = mended
        return cache

    def __getstate__(self) -> dict:
        return {"path": self.path}

    def __setstate__(self, state: dict) -> None:
        type(self).__init__(self, **state)

    def __repr__(self) -> str:
        return f"FeatureCache({str(self.path)!r})"

    @property
    def address(self) -> str:
        """The same cache as it is named from everywhere."""
        return os.path.abspath(self.path)

    def sets(self) -> list[FeatureSet]:
        """Return all feature sets, sorted by name and fingerprint.

        Raises
        ------
        DamagedCacheError
            A set's record cannot be read.
        """
        folders = set_folders(self.path)
        self._sets = {f.name: self._sets.get(f.name) or self._load(f) for f in folders}
        return sorted(self._sets.values(), key=lambda one: (one.name, one.fingerprint))

    @typed
    def find(self, name: str) -> FeatureSet:
        """Return the one feature set that `name` names.

        Parameters
        ----------
        name : str
            A set's name (``gluon:inceptionv3``), or what `names` says is as good; any of
            them with ``#`` and the first digits of a fingerprint.

        Raises
        ------
        CacheError
            None has that name, or several have.
        """
        sets = self.sets()
        rated = [(match_rank(name, one.name, one.fingerprint), one) for one in sets]
        best = max((rate for rate, _ in rated), default=0)
        named = [one for rate, one in rated if best and rate == best]
        if len(named) == 1:
            return named[0]
        if named:
            lines = enumerate_some(_choices(named), 10)
            raise CacheError(
                f"{name!r} names {counted(len(named), 'feature set')} in {self.path}: {lines}",
                f'choose one by its fingerprint: "{named[0].name}#{named[0].fingerprint[:12]}"',
            )
        there = enumerate_some([one.name for one in sets], 10) or "none at all"
        raise CacheError(
            f"no feature set {name!r} in {self.path}; it holds {there}",
            ", or ".join(_ways_to(name.partition("#")[0], bool(sets))),
        )

    @typed
    def ids(self, name: str) -> list[str]:
        """Return the keys of all rows of a feature set, sorted."""
        return self.find(name).keys()

    @typed
    def find_all(self, names: Sequence[str]) -> list[FeatureSet]:
        """Return the feature sets that stand side by side under these names.

        Raises
        ------
        CacheError
            None is named, one is named twice, or a name is none, see `find`.
        """
        sets = [self.find(name) for name in names]
        if not sets:
            raise CacheError("no feature set was named", "give the name of at least one")
        if len({one.fingerprint for one in sets}) < len(sets):
            raise CacheError(
                f"a feature set is named twice: {enumerate_some(names)}",
                "its columns would count twice; name each once",
            )
        return sets

    @typed
    def matrix(self, names: str | Sequence[str], keys: Sequence[str]) -> np.ndarray:
        """Return the features of `keys`, of several sets side by side.

        Parameters
        ----------
        names : str or sequence of str
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
        sets = self.find_all([names] if isinstance(names, str) else names)
        ends = np.cumsum([one.dim for one in sets]).tolist()
        out = np.empty((len(keys), ends[-1]), np.float32)
        for one, end in zip(sets, ends, strict=True):
            one.matrix(keys, out[:, end - one.dim : end])
        return out

    def open_set(
        self,
        record: Mapping,
        name: str,
        width: int,
        views: Sequence[str] = ("center",),
        dtype: str = "float16",
    ) -> FeatureSet:
        """Find or make the feature set with exactly this record, ready to append to.

        What is there is read and checked once; damaged files are moved aside, their sound
        rows kept, and `FeatureSet.warnings` says so.

        Parameters
        ----------
        record : mapping
            Plain JSON: everything that makes the rows what they are. The set's fingerprint
            is the SHA-256 of it. Sets of one name must not differ in nothing but its
            ``backbone``: that would be one network under two sets of weights.
        name : str
            What users call the set: ``gluon:inceptionv3``.
        width : int
            Numbers in one view of a row.
        views : sequence of str
            Names of the views, which lie one after the other in a row.
        dtype : {"float16", "float32", "bfloat16"}
            How the numbers are stored.

        Raises
        ------
        FingerprintError
            The cache has this set with other rows, or this name for something else; the
            fields are named.
        CacheError
            The set cannot be made like this.
        """
        return self.open_as(SetHeader(record, name, width, views, dtype))

    def open_as(self, header: SetHeader) -> FeatureSet:
        """Find or make the feature set that a header describes, see `open_set`."""
        restored = [*self._mended, *self._mend_failures()]
        restored += [line for f in set_folders(self.path) for line in restore_record(f)[1]]
        sets = self.sets()
        one = next((one for one in sets if one.fingerprint == header.fingerprint), None)
        if one is None:
            self.refuse_contradictions(header, [one.header for one in sets])
            one = self._sets[header.folder_name] = self._load(create_set(self.path, header))
        if one.header != header:
            ours, theirs = header.as_dict(), one.header.as_dict()
            raise FingerprintError(
                f"{one.name} in {self.path} has the same record and another shape: "
                + _told_apart(differences(ours, theirs)),
                "extract into another cache folder",
            )
        one.warnings = restored + self._mend(one)
        return one

    def _mend_failures(self) -> list[str]:
        try:
            self.failures()
            return []
        except DamagedCacheError:
            with lock(self.path / CLAIMS_NAME, "failures"):
                return repair_json(self.path / FAILURES_NAME, FAILURES)

    def _mend(self, one: FeatureSet) -> list[str]:
        """Put damage right before writing, so that only what is lost is computed again."""
        _, problems = check_set(one)
        if all(problem.harmless for problem in problems):
            if any(problem.kind == "index" for problem in problems):
                one.write_index()
            return []
        with lock(self.path / CLAIMS_NAME, "maintenance"):
            return repair_set(one)[0]

    def refuse_contradictions(self, header: SetHeader, others: Iterable[SetHeader]) -> None:
        """Raise FingerprintError if `header` is one of `others`, but with another backbone.

        Sets of one name that differ in anything else stand side by side.
        """
        for other in others:
            fields = differences(header.record, other.record)
            if other.name != header.name or not fields:
                continue
            if all(field.split(".")[0] == _BACKBONE for field, _, _ in fields):
                raise FingerprintError(
                    f"{self.path} holds features of {header.name} that were made differently: "
                    + _told_apart(fields),
                    "extract into another cache folder, or use what these were made with",
                )

    def share(
        self,
        sets: Sequence[FeatureSet],
        keys: Sequence[str] | MoreKeys,
        lists: Lists = USUAL_LISTS,
        lot_of: Mapping[str, str] | None = None,
    ) -> Generator[list[str], None, None]:
        """Yield batches of keys to compute, shared out among all processes at work here.

        Each batch holds keys that lack a row in one of `sets` and that no other process
        is computing; append the rows of a batch before asking for the next. With `lists.ahead`
        they may come that many batches later, and an empty batch asks for all rows that
        are still to come. The claims of a process that dies are taken over. Keys for which
        `lot_of` has the same word are dealt out together. `keys` may be a function that gives
        more of them, told whether to wait for some, and None at the end.
        """
        yield from share(self.claims(), sets, keys, lists, lot_of)

    def _load(self, folder: Path) -> FeatureSet:
        return load_set(folder)

    def claims(self) -> ClaimsOfProcess:
        """Begin to hold claims that all processes at this cache heed."""
        return Claims(self.path / CLAIMS_NAME)

    def exchange_digests(self) -> None:
        """Share with other machines what was read; in a folder they see it anyway."""

    def failures(self) -> list[dict]:
        """Return the images that could not be read: id, path, digest, reason."""
        try:
            return read_failures(self.path / FAILURES_NAME)
        except FileNotFoundError:
            return []

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
        write_part(self.path / FAILURES_NAME, {"failures": content})


def _ways_to(asked: str, holds_sets: bool) -> list[str]:
    """Say how to get a set that a cache lacks: a short name finds sets, and no networks."""
    ways = ["name one it has"] * holds_sets
    if ":" in asked:
        ways.append(f"run `icecore extract` with `-b {asked}` into it")
    elif asked or not holds_sets:
        ways.append("run `icecore extract` into it; `icecore backbones` lists what its -b takes")
    return ways


def _choices(sets: Sequence[FeatureSet]) -> list[str]:
    """Tell sets of one name apart by what differs in their records."""
    first = sets[0].record
    fields = {n for one in sets[1:] for n, _, _ in differences(first, one.record)}
    lines = []
    for one in sets:
        told = {name: value for name, value, _ in differences(one.record, {}) if name in fields}
        details = ", ".join(f"{name} {_brief(told[name])}" for name in sorted(told))
        lines.append(f"#{one.fingerprint[:12]} ({one.name}{'; ' if details else ''}{details})")
    return lines


def _told_apart(fields: Iterable[tuple[str, object, object]]) -> str:
    return "; ".join(
        f"{name} is {_brief(theirs)} there and {_brief(ours)} here" for name, ours, theirs in fields
    )


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 64 else f"{text[:61]}..."
