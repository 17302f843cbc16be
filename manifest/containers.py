"""Images in containers: WebDataset tars, Parquet tables, MXNet record files.

Containers lie in a folder, a prefix of a store, or are named by a pattern; nothing is unpacked.
"""

import abc
import dataclasses
import hashlib
import math
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ..core.errors import (
    FileFormatError,
    IcecoreError,
    ManifestError,
    MissingFileError,
    enumerate_some,
)
from ..core.json_files import parse_json
from ..core.parquet_files import ImageTable, read_table
from ..core.places import (
    absolute,
    bytes_place,
    facts_of,
    is_there,
    note_digest,
    open_container,
    row_place,
)
from ..core.record_files import list_records
from ..core.stores import is_url
from ..core.tar_files import Member, list_members
from .layout import LabelledFiles, Layout
from .listing import Listing, ending_of, is_image_name
from .names import class_name
from .table import DEFAULT_TASK, LARGEST_IMAGE_FILE, Sample, split_name

_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_MOST_NAMED, _MOST_AT_ONCE = 10**5, 4
_LARGEST_LABEL = 2**16
_TEXTS = ("cls", "json", "txt")
_LABEL_FIELDS = ("label", "cls", "class", "class_name", "category")
# Fewer images may have texts of their own and still be classes.
_FEW_IMAGES = 20
_EMPTY = "an empty image"


class _Container(Layout):
    """A folder of containers of one kind."""

    suffix: str

    def fits(self, listing: Listing) -> bool:
        """Look for containers where there are no image files."""
        return not listing.images and bool(self._names(listing))

    def read(self, listing: Listing) -> LabelledFiles:
        """Read the samples; see `Layout.read`."""
        names = self._names(listing)
        found = LabelledFiles([], frozenset(names))
        samples = found.samples
        warnings: list = []
        others: list = []
        with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
            for name, part in zip(names, pool.map(lambda one: self._part(listing, one), names)):
                split = _split_of(name)
                samples += [dataclasses.replace(one, split=split) for one in part.samples]
                warnings += part.warnings
                others += part.passed_over
        if not samples:
            raise ManifestError(
                f"no images in the {len(names)} {self.suffix} files of {listing.root}"
                + (f": {enumerate_some(warnings)}" if warnings else ""),
                f"look at them: they are read as {self.name}",
            )
        return dataclasses.replace(found, warnings=tuple(warnings), passed_over=tuple(others))

    def _names(self, listing: Listing) -> list[str]:
        return [name for name, kind in listing.others if kind == self.suffix]

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


class WebDataset(_Container):
    """Tars whose files of one key (the name up to its first dot) are a sample."""

    name, suffix = "WebDataset", ".tar"

    def _read(self, container: str, name: str) -> LabelledFiles:
        texts: dict[str, dict[str, bytes]] = {}
        with open_container(container) as file:

            def visit(member: Member) -> None:
                key, ending = _key(member.name)
                if ending in _TEXTS:
                    texts.setdefault(key, {})[ending] = file.read(min(member.size, _LARGEST_LABEL))
                elif is_url(container) and _is_image(member):
                    # The bytes come past anyway.
                    digest = hashlib.sha256(file.read(member.size)).hexdigest()
                    note_digest(bytes_place(container, member.start, member.size), digest)

            found = list_members(file, facts_of(container)[0], visit)
        images = [member for member in found.files if _is_image(member)]
        labels = _labels(texts)
        samples = [
            Sample(
                f"{name}/{member.name}",
                bytes_place(container, member.start, member.size),
                task=DEFAULT_TASK,
                label=labels.get(_key(member.name)[0], ""),
            )
            for member in images
        ]
        warnings = []
        if found.fault:
            warnings.append(f"{container} {found.fault}; what lies before that is used")
        if labels and len(images) > _FEW_IMAGES and len(set(labels.values())) > len(images) // 2:
            samples = [dataclasses.replace(sample, label="") for sample in samples]
            warnings.append(f"the texts in {container} differ from image to image: not labels")
        others = [*found.others, *((one.name, why) for one in found.files if (why := _no_use(one)))]
        passed_over = tuple((f"{name}/{member}", why) for member, why in others)
        return LabelledFiles(samples, warnings=tuple(warnings), passed_over=passed_over)


class ParquetTables(_Container):
    """Tables of images, as the Hugging Face hub has them."""

    name, suffix = "Parquet", ".parquet"

    def _read(self, container: str, name: str) -> LabelledFiles:
        table = read_table(container, open_container)
        return LabelledFiles(list(_rows(container, name, table)))


class Records(_Container):
    """MXNet's record files, with the names of a ``.lst`` beside them where there is one."""

    name, suffix = "RecordIO", ".rec"

    def _read(self, container: str, name: str) -> LabelledFiles:
        with open_container(container) as file:
            records, split, fault = list_records(file, facts_of(container)[0])
        names = _lst_names(container.removesuffix(".rec") + ".lst")
        samples = [
            Sample(
                f"{name}/{names.get(record.number, str(record.number))}",
                bytes_place(container, record.start, record.size),
                label=_record_label(record.labels[0]),
            )
            for record in records
            if record.size > 0
        ]
        warnings = [f"{container} {fault}; what lies before that is used"] if fault else []
        if several := sum(len(record.labels) > 1 for record in records):
            warnings.append(
                f"{several} records of {container} have several labels: the first of each is "
                "taken, which in those for detection is no class"
            )
        others = [(f"{name}/{one.number}", _EMPTY) for one in records if not one.size]
        others += [(f"{name}: {split} records", "split records")] if split else []
        return LabelledFiles(samples, warnings=tuple(warnings), passed_over=tuple(others))


CONTAINERS: tuple[_Container, ...] = (WebDataset(), ParquetTables(), Records())
_SUFFIXES = tuple(one.suffix for one in CONTAINERS)


def named_containers(data: str) -> Listing | None:
    """Return the containers that a name or a pattern like ``{000..099}.tar`` stands for.

    Returns
    -------
    Listing or None
        None where no container is named.

    Raises
    ------
    MissingFileError
        Some of them are not there; they are named.
    """
    if not data.lower().endswith(_SUFFIXES) or (not is_url(data) and os.path.isdir(data)):
        return None
    places = [absolute(name) for name in _expanded(data)]
    absent = [place for place in places if not is_there(place)]
    if absent:
        raise MissingFileError(
            f"{len(absent)} of {len(places)} files of {data} are not there: "
            f"{enumerate_some(absent)}",
            "check the numbers in the pattern: {00000..00099} counts both ends",
        )
    # The first and the last of them in order differ most: the folder of both has all.
    root = os.path.commonprefix([min(places), max(places)]).rpartition("/")[0]  # noqa: RUF071
    others = [(place[len(root) + 1 :], os.path.splitext(place)[1].lower()) for place in places]
    return Listing(root, (), tuple(others), ())


def _expanded(pattern: str) -> list[str]:
    """Write out the first range of a pattern, and those behind it.

    >>> _expanded("a{08..10}.tar")
    ['a08.tar', 'a09.tar', 'a10.tar']
    """
    found = _RANGE.search(pattern)
    if not found:
        return [pattern]
    first, last = int(found[1]), int(found[2])
    if not 0 <= last - first < _MOST_NAMED:
        raise ManifestError(
            f"{pattern} stands for {last - first + 1} files", f"name 1 to {_MOST_NAMED}"
        )
    digits = len(found[1]) if found[1].startswith("0") else 1
    names = [f"{number:0{digits}}" for number in range(first, last + 1)]
    # What stands behind is written out once; a pattern of patterns is a product.
    behind = _expanded(pattern[found.end() :])
    if len(names) * len(behind) > _MOST_NAMED:
        raise ManifestError(f"{pattern} stands for too many files", f"name 1 to {_MOST_NAMED}")
    return [pattern[: found.start()] + name + rest for name in names for rest in behind]


def _split_of(name: str) -> str:
    """Return the split that a container's name speaks of, as ``train-00000-of-00004``."""
    words = re.split(r"[/_.\-]", name.rpartition(".")[0])
    return next((split for word in words if (split := split_name(word))), "")


def _key(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    key, _, ending = file.partition(".")
    return folder + slash + key, ending.lower()


def _is_image(member: Member) -> bool:
    return is_image_name(member.name) and 0 < member.size <= LARGEST_IMAGE_FILE


def _no_use(member: Member) -> str:
    """Say why a member of a tar is neither an image nor a text of one; empty if it is."""
    if _is_image(member) or _key(member.name)[1] in _TEXTS:
        return ""
    if not is_image_name(member.name):
        return ending_of(member.name)
    return "a larger image than can be" if member.size else _EMPTY


def _record_label(label: float) -> str:
    """Return the label of a record as a text; it is a float32, in which classes are whole."""
    if not math.isfinite(label):
        return ""
    return f"{label:.0f}" if label.is_integer() else f"{label:g}"


def _labels(texts: dict[str, dict[str, bytes]]) -> dict[str, str]:
    """Return the label of each key; plain texts count where nothing else names classes."""
    readers = (("cls", _plain), ("json", _of_json), ("txt", _plain))
    for ending, read in readers:
        found = {key: read(kinds[ending]) for key, kinds in texts.items() if ending in kinds}
        if any(found.values()):
            return found
    return {}


def _plain(content: bytes) -> str:
    try:
        name = class_name(content.decode("utf-8"))
    except ValueError:
        return ""  # A caption, or no text at all.
    return "" if re.search(r"[\n\r\0]", name) else name


def _of_json(content: bytes) -> str:
    try:
        fields = parse_json(content, "a sample", kind=object)
    except FileFormatError:
        return ""
    values = [fields.get(name) for name in _LABEL_FIELDS] if isinstance(fields, dict) else [fields]
    label = next((one for one in values if isinstance(one, (str, int))), "")
    return _plain(str(label).encode("utf-8", "replace"))


def _rows(container: str, name: str, table: ImageTable) -> Iterator[Sample]:
    folder, _, _ = container.rpartition("/")
    for number, (label, path) in enumerate(table.rows):
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
        yield Sample(f"{name}/{number}", place, label=known)


def _lst_names(path: str) -> dict[int, str]:
    """Read ``number, labels, path`` lines, parted by tabs; nothing where there is no such file."""
    if is_url(path) or not os.path.isfile(path):
        return {}
    names: dict[int, str] = {}
    with open_container(path) as file:
        for line in file:
            first, _, rest = line.decode("utf-8", "replace").strip().partition("\t")
            if first.isdecimal() and rest:
                names[int(first)] = rest.rpartition("\t")[2]
    return names
