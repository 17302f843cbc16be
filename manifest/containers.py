"""Images in containers: WebDataset tars, Parquet tables, MXNet record files.

Containers lie in a folder, a prefix of a store, or are named by a pattern; nothing is unpacked.
"""

import abc
import contextlib
import dataclasses
import hashlib
import itertools
import os
import re
import struct
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Self

from ..core.errors import (
    IcecoreError,
    ManifestError,
    counted,
    enumerate_some,
)
from ..core.parquet_files import ImageTable, read_table
from ..core.places import (
    bytes_place,
    facts_of,
    note_digest,
    open_container,
    row_place,
)
from ..core.record_files import Records
from ..core.stores import is_url
from ..core.tar_files import TarFiles
from .container_splits import speaks_of_several, splits_of
from .image_list import SUFFIX, label_text, list_lines, several_labels
from .layout import LabelledFiles, Layout
from .listing import Listing, passed_over_text
from .names import class_name, respelt_labels
from .table import DEFAULT_TASK, Manifest, Sample, split_name
from .tar_labels import EMPTY, LARGEST_LABEL, TarLabels, no_use
from .usable_names import require_usable_names

_BEFORE = "; what lies before that is used"
_OF_SPLITS = "; a column 'split' is one of texts: train, validation (val, valid) or test"
# As the Hugging Face hub and TensorFlow number the files of one table.
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.\w+)")
_MOST_AT_ONCE = 4
# Of a record, in 64 bits.
_LONGEST_NUMBER = 20


class _Container(Layout):
    """A folder of containers of one kind."""

    suffix: str
    # What else such files are called.
    endings: frozenset[str] = frozenset()

    def fits(self, listing: Listing) -> bool:
        """Look for containers where there are no image files."""
        return not listing.images and bool(self.names(listing))

    def read(self, listing: Listing) -> LabelledFiles:
        """Read the samples; see `Layout.read`."""
        names = self.names(listing)
        with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
            parts = pool.map(lambda one: self._part(listing, one), names)
            return self.join(listing, dict(zip(names, parts)))

    def join(self, listing: Listing, parts: Mapping[str, LabelledFiles]) -> LabelledFiles:
        """Put together what lies in each container, by its name.

        Raises
        ------
        ManifestError
            There are no images.
        """
        names = self.names(listing)
        found = LabelledFiles([], frozenset(names))
        warnings: list = []
        others: list = []
        bare: list[str] = []
        # Where each row says its own, the name is not asked.
        splits = splits_of(name for name in names if name in parts and _is_open(parts[name]))
        for name in names:
            if part := parts.get(name):
                split = splits.get(name, "")
                found.samples.extend(
                    one if one.split else dataclasses.replace(one, split=split)
                    for one in part.samples
                )
                warnings += part.warnings
                others += part.passed_over
                said = split or any(one.split for one in part.samples)
                bare += [name] * (name in splits and not said)
        if not found.samples:
            raise ManifestError(
                f"no images in {counted(len(names), f'{self.suffix} file')} of {listing.root}"
                + (f": {enumerate_some(warnings)}" if warnings else "")
                + (f"; {passed}" if (passed := passed_over_text(others)) else ""),
                f"look at them: they are read as {self.name}",
            )
        if bare and len({one.split for one in found.samples}) > 1:
            warnings.append(
                f"{enumerate_some(bare)}: no split in the name, so for training, beside others "
                "that say theirs (train, validation or test)"
            )
        elif several := [name for name in bare if speaks_of_several(name)]:
            warnings.append(
                f"{enumerate_some(several)}: several splits in one name, so none is taken from it, "
                "and the images are for training"
            )
        # Of many tables of one kind it is said once.
        warnings = list(dict.fromkeys([*_missing_parts(names), *warnings]))
        return dataclasses.replace(found, warnings=tuple(warnings), passed_over=tuple(others))

    def names(self, listing: Listing) -> list[str]:
        """Return the names of the containers in a listing."""
        return [name for name, kind in listing.others if kind in {self.suffix, *self.endings}]

    def _part(self, listing: Listing, name: str) -> LabelledFiles:
        container = f"{listing.root}/{name}"
        try:
            return self._read(container, name)
        except OSError as error:
            if isinstance(error, IcecoreError):
                raise
            raise ManifestError(
                f"{container} cannot be read: {error.strerror}", "check its permissions"
            ) from error

    @abc.abstractmethod
    def _read(self, container: str, name: str) -> LabelledFiles:
        """Read the samples of one container."""


# The images of a container as they come, each while the file stands where its bytes begin; and
# then what lies in it, with the labels, which may come last.
Scan = Generator[tuple[Sample, int], None, LabelledFiles]


class StreamedContainer(_Container):
    """A container that is read from its beginning to its end to know what lies in it."""

    def _read(self, container: str, name: str) -> LabelledFiles:
        with open_container(container, in_order=True) as file:
            scan = self.scan(container, name, file)
            while True:
                try:
                    sample, size = next(scan)
                except StopIteration as end:
                    return end.value
                if is_url(container):  # The bytes come past anyway.
                    note_digest(sample.path, hashlib.sha256(file.read(size)).hexdigest())

    @abc.abstractmethod
    def scan(self, container: str, name: str, file: BinaryIO) -> Scan:
        """Yield each image, and how many bytes it has."""

    def beside(self, container: str) -> str:
        """Tell apart what else a container was read with; empty for nothing."""
        return ""


class WebDataset(StreamedContainer):
    """Tars whose files of one key (the name up to its first dot) are a sample."""

    name, suffix = "WebDataset", ".tar"

    def scan(self, container: str, name: str, file: BinaryIO) -> Scan:
        """Yield the images; see `StreamedContainer.scan`."""
        labels = TarLabels()
        samples: list[Sample] = []
        others: list[tuple[str, str]] = []
        found = TarFiles(file, facts_of(container)[0])
        for member in found:
            if labels.is_label(member):
                labels.add(member, file.read(min(member.size, LARGEST_LABEL)))
            elif why := no_use(member):
                others.append((f"{name}/{member.name}", why))
            else:
                place = bytes_place(container, member.start, member.size)
                samples.append(Sample(f"{name}/{member.name}", place, task=DEFAULT_TASK))
                yield samples[-1], member.size
        fault = f"{container} {found.fault}" + _BEFORE * bool(samples)
        known, said = labels.of([one.id.removeprefix(f"{name}/") for one in samples], container)
        warnings = [fault, *said] if found.fault else said
        labelled = [dataclasses.replace(one, label=label) for one, label in zip(samples, known)]
        others = [*((f"{name}/{one}", why) for one, why in found.others), *others]
        return LabelledFiles(labelled, warnings=tuple(warnings), passed_over=tuple(others))


class ParquetTables(_Container):
    """Tables of images, as the Hugging Face hub has them."""

    name, suffix, endings = "Parquet", ".parquet", frozenset((".pq", ".parq"))

    def _read(self, container: str, name: str) -> LabelledFiles:
        table = read_table(container, open_container)
        rows = list(_rows(container, name, table))
        warnings = respelt_labels({label for label, _ in table.rows})
        if table.unused:
            named = enumerate_some(sorted(table.unused), 20)
            warnings.append(
                f"columns of Parquet tables that are not used: {named}"
                + _OF_SPLITS * ("split" in map(str.lower, table.unused))
            )
        return LabelledFiles(rows, warnings=tuple(warnings))


class RecordFiles(StreamedContainer):
    """MXNet's record files, with the names of a ``.lst`` beside them where there is one."""

    name, suffix = "RecordIO", ".rec"

    def scan(self, container: str, name: str, file: BinaryIO) -> Scan:
        """Yield the images; see `StreamedContainer.scan`."""
        names, told = _listed(os.path.splitext(container)[0] + SUFFIX)
        unlike: list[str] = []
        samples: list[Sample] = []
        others: list[tuple[str, str]] = []
        several, found = 0, Records(file, facts_of(container)[0])
        for record in found:
            several += len(record.labels) > 1
            if record.size <= 0:
                others.append((f"{name}/{record.number}", EMPTY))
                continue
            identity = f"{name}/{names.get(record.number, str(record.number))}"
            place = bytes_place(container, record.start, record.size)
            samples.append(Sample(identity, place, label=label_text(record.labels[0])))
            if told.get(record.number, samples[-1].label) != samples[-1].label:
                unlike.append(f"{identity} ({samples[-1].label} or {told[record.number]})")
            yield samples[-1], record.size
        if unlike:
            raise ManifestError(
                f"{container} and the {SUFFIX} beside it say unlike labels of "
                f"{counted(len(unlike), 'record')}: {enumerate_some(unlike)}",
                "make the record file from the list again, or move the list away if the record "
                "file is right",
            )
        warnings = []
        if found.fault:
            warnings.append(f"{container} {found.fault}" + _BEFORE * bool(samples))
        if several:
            warnings.append(several_labels(f"records of {container}", several))
        if found.split:
            warnings.append(
                f"{counted(found.split, 'record')} of {container} in several parts, as images are "
                "written that hold the format's own mark, left out: write these images anew (as "
                "PNG, say), and the record file"
            )
        return LabelledFiles(samples, warnings=tuple(warnings), passed_over=tuple(others))

    def beside(self, container: str) -> str:
        """Tell apart the lists that lie beside a record file."""
        path = os.path.splitext(container)[0] + SUFFIX
        if is_url(path) or not os.path.isfile(path):
            return ""
        return ":" + "-".join(map(str, facts_of(path)))


@dataclasses.dataclass(frozen=True)
class Unread:
    """Containers of which only the names are known: what lies in them is found as they are read.

    Parameters
    ----------
    layout : StreamedContainer
    listing : Listing
    source : str
        As of a `Manifest`.
    """

    layout: StreamedContainer
    listing: Listing
    source: str

    @property
    def names(self) -> list[str]:
        """The names of the containers, seen from where they lie."""
        return self.layout.names(self.listing)

    @property
    def containers(self) -> Manifest:
        """A table of the containers themselves, where the images are not known yet."""
        samples = tuple(Sample(name, self.place(name)) for name in self.names)
        return Manifest(samples, self.source)

    def only(self, names: Iterable[str]) -> Self:
        """Return the same of these containers alone."""
        others = tuple((name, self.layout.suffix) for name in names)
        return dataclasses.replace(self, listing=Listing(self.listing.root, (), others, ()))

    def place(self, name: str) -> str:
        """Return where a container is."""
        return f"{self.listing.root}/{name}"

    def manifest(self, parts: Mapping[str, LabelledFiles]) -> Manifest:
        """Make the table of samples of what lies in each container."""
        found = self.layout.join(self.listing, parts)
        manifest = dataclasses.replace(found.manifest(self.listing), source=self.source)
        require_usable_names(manifest)
        return manifest


CONTAINERS: tuple[_Container, ...] = (WebDataset(), ParquetTables(), RecordFiles())


def _is_open(part: LabelledFiles) -> bool:
    """Tell whether the split of samples is left to the name of their container."""
    return any(not one.split for one in part.samples)


def _missing_parts(names: Iterable[str]) -> Iterator[str]:
    """Say which parts are lacking, where names say how many there are.

    >>> list(_missing_parts(["a-00000-of-00003.parquet", "a-00002-of-00003.parquet"]))
    ['1 of the 3 parts of a-*-of-00003.parquet is not there: 00001']
    """
    series: dict[tuple[str, str, str], set[str]] = {}
    for name in names:
        if found := _PART.fullmatch(name):
            start, number, count, end = found.groups()
            series.setdefault((start, count, end), set()).add(number)
    for (start, count, end), there in series.items():
        every = (f"{number:0{len(count)}}" for number in range(int(count)))
        lacking = int(count) - sum(int(one) < int(count) for one in there)
        if lacking > 0:
            shown = ", ".join(itertools.islice((one for one in every if one not in there), 5))
            more = f" and {lacking - 5} more" if lacking > 5 else ""
            yield (
                f"{lacking} of the {int(count)} parts of {start}-*-of-{count}{end} "
                f"{'is' if lacking == 1 else 'are'} not there: {shown}{more}"
            )


def _rows(container: str, name: str, table: ImageTable) -> Iterator[Sample]:
    folder, _, _ = container.rpartition("/")
    splits = {text: split_name(text) if text else "" for text in {*table.splits}}
    if strange := [text for text, split in splits.items() if split is None]:
        raise ManifestError(
            f"the column 'split' of {container} has {enumerate_some(sorted(strange))}",
            "a split is train, validation (val, valid) or test: write one of them or nothing, or "
            "call the column otherwise",
        )
    for number, (label, path) in enumerate(table.rows):
        split = splits[table.splits[number]] if splits else ""
        place = row_place(container, number, table.column)
        if path is not None:
            place = f"{folder}/{path}"
            if path.startswith("/") or is_url(path) or ".." in path.split("/"):
                raise ManifestError(
                    f"{container} names an image outside its folder: {path}",
                    "put the images beside the table, or their bytes into it",
                )
        try:
            known = class_name(label)
        except ValueError as error:
            raise ManifestError(f"row {number} of {container} {error}", "shorten it") from error
        yield Sample(f"{name}/{number}", place, split or "", label=known)


def _listed(path: str) -> tuple[dict[int, str], dict[int, str]]:
    """Read ``number, labels, path`` lines, parted by tabs, where there is such a file.

    Returns
    -------
    names, labels : dict of int to str
        By the number of the record; a label that is no number is left out.

    Raises
    ------
    ManifestError
        Lines of one number say several things.
    """
    names, labels = {}, {}
    entries: dict[int, str] = {}
    twice: dict[str, None] = {}
    for line in list_lines(path) if not is_url(path) and os.path.isfile(path) else ():
        first, _, rest = line.strip().partition("\t")
        if first.isdecimal() and len(first) <= _LONGEST_NUMBER and rest:
            if entries.setdefault(int(first), rest) != rest:
                twice[first] = None
            label, *others = rest.split("\t")
            names[int(first)] = others[-1] if others else label
            # As a record has it, in float32.
            with contextlib.suppress(ValueError, OverflowError):
                if others:
                    (stored,) = struct.unpack("<f", struct.pack("<f", float(label)))
                    labels[int(first)] = label_text(stored)
    if twice:
        raise ManifestError(
            f"{path} says several things of {counted(len(twice), 'number')}: "
            f"{enumerate_some(twice)}",
            "make the record file and its list again: each record has a number of its own",
        )
    return names, labels
