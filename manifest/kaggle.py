"""The layout of Kaggle's classification contests: a table of labels beside ``train/``."""

import unicodedata
from collections import defaultdict
from pathlib import Path

from ..core.csv_files import CsvTable, line_faults, read_csv
from ..core.errors import ManifestError, counted, enumerate_some, escaped
from .layout import LabelledFiles, Layout
from .listing import Listing
from .names import class_name
from .table import DEFAULT_TASK, Sample

_TABLES = ("labels.csv", "train.csv")
# Folders of training and of test images.
_FOLDERS = (("train", "test"), ("train_images", "test_images"))
# What `icecore blend -o` answers, row by row.
_SHEETS = ("sample_submission.csv", "samplesubmission.csv")
# A column called id beside one of images may be anything, such as whose picture it is.
_ID_COLUMNS = ("image_id", "image", "image_name", "filename", "file_name", "file", "path", "id")
_LABEL_COLUMNS = ("label", "class", "breed", "category", "target")


class Kaggle(Layout):
    """``labels.csv`` (``id,<label>``), the images in ``train/`` and, if there, ``test/``.

    Or ``train.csv``, ``train_images/`` and ``test_images/``. An id is a file's path below
    ``train/``, its name, or either without the ending.
    """

    name = "Kaggle"

    def fits(self, listing: Listing) -> bool:
        """Look for the table and the folder."""
        return _parts(listing) is not None

    def read(self, listing: Listing) -> LabelledFiles:
        """Read the samples; see `Layout.read`."""
        root = Path(listing.root)
        table_name, train, test = _parts(listing) or (_TABLES[0], *_FOLDERS[0])
        table = read_csv(root / table_name, ManifestError)
        training = [name for name in listing.images if name.startswith(f"{train}/")]
        known = _by_id(training, train)
        _require_header(table, known)
        id_at, label_at = _columns(table, known)
        labels = [(line.number, line.fields[id_at], line.fields[label_at]) for line in table.rows]
        faults = list(table.faults)
        samples, absent = [], []
        used: dict[str, int] = {}
        for number, identity, raw in labels:
            try:
                label = class_name(raw)
            except ValueError as error:
                faults.append((number, str(error)))
                continue
            found = next((files for names in known if (files := names.get(_form(identity)))), [])
            if not identity:
                faults.append((number, "has no id"))
            elif len(found) > 1:
                faults.append((number, f"'{identity}' may be {enumerate_some(found)}"))
            elif not found:
                absent.append(identity)
            elif found[0] in used:
                faults.append((number, f"repeats {found[0]} of line {used[found[0]]}"))
            else:
                used[found[0]] = number
                samples.append(_sample(root, found[0], "", label))
        if faults:
            hint = "name each image once, with its ending (and folder) where names repeat"
            raise line_faults(table.path, faults, ManifestError, hint)
        _refuse_unlike(table.path, train, absent, [name for name in training if name not in used])
        tests = [name for name in listing.images if name.startswith(f"{test}/")]
        samples += [_sample(root, name, "test", "") for name in tests]
        sheets = [name for name, _ in listing.others if name.lower() in _SHEETS]
        warnings = (
            *_taken_for_id(table, id_at, label_at),
            *_unused(table, (id_at, label_at)),
            *_contradicted(samples, table_name),
        )
        return LabelledFiles(samples, frozenset({table_name, *sheets}), warnings)


def _contradicted(samples: list[Sample], table: str) -> list[str]:
    """Say so where images lie in folders of other classes than the table says."""
    classes = {sample.label for sample in samples if sample.label}
    folders = ((sample, sample.id.split("/")[-2]) for sample in samples if sample.label)
    other = [sample.id for sample, folder in folders if folder in classes - {sample.label}]
    if not other:
        return []
    one, more = (
        "image lies in the folder of another class",
        "images lie in folders of other classes",
    )
    return [
        f"{counted(len(other), one, more)} than {table} says, which counts: {enumerate_some(other)}"
    ]


def _parts(listing: Listing) -> tuple[str, str, str] | None:
    """Return the table of labels, and the folders of training and test images."""
    tables = {name for name, _ in listing.others}
    for table in _TABLES:
        for train, test in _FOLDERS:
            if table not in tables or train not in listing.folders:
                continue
            # Beside class folders in train/, train.csv is a table of something else.
            flat = any(image.rpartition("/")[0] == train for image in listing.images)
            if flat or table == "labels.csv" or train != "train":
                return table, train, test
    return None


def _sample(root: Path, name: str, split: str, label: str) -> Sample:
    return Sample(name, f"{root}/{name}", split, DEFAULT_TASK, label)


def _by_id(images: list[str], folder: str) -> list[dict[str, list[str]]]:
    """Return the files by each name that an id may use, the most exact ones first."""
    by: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(4)]
    for image in images:
        below = image.removeprefix(f"{folder}/")
        name = below.rsplit("/", 1)[-1]
        for names, key in zip(by, (below, below.rpartition(".")[0], name, name.rpartition(".")[0])):
            names[_form(key)].append(image)
        by[0][_form(image)].append(image)
    return [dict(names) for names in by]


def _form(name: str) -> str:
    """Return the one Unicode form of a name: a Mac writes file names in another one than tables."""
    return unicodedata.normalize("NFC", name)


def _require_header(table: CsvTable, known: list[dict[str, list[str]]]) -> None:
    """Refuse a table whose first line is one of an image: it would be taken for a header."""
    plain = table.column(*_ID_COLUMNS, *_LABEL_COLUMNS) is None
    below = {field for line in table.rows for field in line.fields}
    cells = {cell for cell in table.header if cell not in below}
    if plain and any(_form(cell) in names for cell in cells for names in known):
        raise ManifestError(
            f"the first line of {table.path} names an image, and no columns: {table.header_text}",
            "put a header line above it: id,label",
        )


def _columns(table: CsvTable, known: list[dict[str, list[str]]]) -> tuple[int, int]:
    """Return the columns of ids and of labels."""
    id_at = _id_column(table, known)
    others = [index for index in range(len(table.header)) if index != id_at]
    label_at = table.column(*_LABEL_COLUMNS)
    if label_at in (None, id_at):
        if len(others) != 1:
            raise ManifestError(
                f"{table.path} has the columns {table.header_text}",
                f"give an id and a label; call the label {', '.join(_LABEL_COLUMNS)}; of a column "
                "of 0 and 1 for each class make one column 'label' of their names",
            )
        label_at = others[0]
    return id_at, label_at


def _id_column(table: CsvTable, known: list[dict[str, list[str]]]) -> int:
    """Return the first column that names images, those that are called so before others.

    Before an image's name may stand whose it is: ``patient_id,image,label``.
    """
    called = [at for name in _ID_COLUMNS if (at := table.column(name)) is not None]
    labels = {table.column(name) for name in _LABEL_COLUMNS}
    others = [at for at in range(len(table.header)) if at not in labels]
    for at in (*called, *others):
        named = {_form(line.fields[at]) for line in table.rows}
        if 2 * sum(any(one in names for names in known) for one in named) >= len(table.rows) > 0:
            return at
    return called[0] if called else 0


def _taken_for_id(table: CsvTable, id_at: int, label_at: int) -> tuple[str, ...]:
    """Say which columns count, where the one of ids is not called as such."""
    id_name, label = table.header[id_at], table.header[label_at]
    if id_name.lower() in _ID_COLUMNS:
        return ()
    return (
        f"the column '{escaped(id_name)}' of {table.path.name} is taken for the images' names, "
        f"and '{escaped(label)}' for their labels",
    )


def _unused(table: CsvTable, used: tuple[int, int]) -> tuple[str, ...]:
    extra = [name for at, name in enumerate(table.header) if at not in used and name]
    name = table.path.name
    return (f"columns of {name} that are not used: {enumerate_some(extra)}",) if extra else ()


def _loose(name: str) -> str:
    """Return a name without what programs change in it: ending, capitals, leading zeros."""
    return name.rpartition("/")[2].partition(".")[0].casefold().lstrip("0")


def _refuse_unlike(table: Path, folder: str, absent: list[str], bare: list[str]) -> None:
    if not absent and not bare:
        return
    short = [name.removeprefix(f"{folder}/") for name in bare]
    parts = [
        f"{counted(len(names), what)} without {lacking} ({enumerate_some(names)})"
        for what, lacking, names in (("label", "an image", absent), ("image", "a label", short))
        if names
    ]
    # Those of leading zeros that a program took for numbers, say, are both.
    files = {_loose(name): name for name in short}
    meant = [f"'{one}' may be '{files[_loose(one)]}'" for one in absent if _loose(one) in files]
    hints = [f"write the ids as the files are called: {enumerate_some(meant)}"] if meant else []
    hints += [f"restore the images, or take the lines out of {table.name}"] if absent else []
    hints += [f"give the images a line in {table.name}, or take them out"] if bare else []
    raise ManifestError(
        f"{table} and {table.parent}/{folder} do not fit: {', '.join(parts)}",
        f"{'; '.join(hints)}; an id is a file's name, with its ending or without",
    )
