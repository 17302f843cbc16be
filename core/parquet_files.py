"""Images in the rows of Parquet tables, read a row group at a time.

The layout is Hugging Face's: a column of structs of ``bytes`` and ``path``, or of plain bytes,
and labels as numbers whose names stand in the schema's metadata, or as text.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from .errors import FileFormatError, enumerate_some
from .imports import load
from .json_files import parse_json
from .once_cache import OnceCache
from .parquet_open import is_lacking, open_parquet, saying
from .regular_files import size_text
from .text import repeated

# Of one column; pictures fill it fast, and all of it is in memory.
_LARGEST_GROUP = 2**30
_MOST_LABELS = 10**6
# Rows without content take no bytes at all, and one text may stand in all of them.
_MOST_ROWS, _LONGEST_TEXT = 10**7, 2**12
# All labels and paths of a table; equal ones are mostly written once.
_LARGEST_TEXTS, _ROWS_AT_ONCE = 2**28, 2**13
# Bytes of a row, on average, below which there may be no images.
_LEAST_OF_IMAGE = 2**12
_LABELS = ("label", "labels", "class", "category", "target")
_TABLES, _GROUPS = OnceCache(64), OnceCache(32)
Opener = Callable[[str], BinaryIO]


@dataclasses.dataclass(frozen=True)
class ImageTable:
    """What a table of images holds.

    Attributes
    ----------
    column : str
        Where the images are.
    rows : list of (str, str or None)
        The label of each row, and the path of its image where the table has no bytes of it.
    labelled : bool
        Whether there is a column of labels.
    unused : tuple of str
        Columns that are neither images nor labels, nor say the split.
    splits : list of str
        What the column ``split`` says of each row; empty if there is no such column of texts.
    """

    column: str
    rows: list[tuple[str, str | None]]
    labelled: bool
    unused: tuple[str, ...] = ()
    splits: list[str] = dataclasses.field(default_factory=list)


def load_parquet():
    """Import pyarrow's reader, or say what to install."""
    return load("pyarrow", "pyarrow.parquet")


def read_table(place: str, opened: Opener) -> ImageTable:
    """Read everything of a table but its images.

    Parameters
    ----------
    opened : callable
        Opens a place.

    Raises
    ------
    FileFormatError
        It is no table of images.
    """
    arrow = load_parquet()
    with saying(arrow, place), opened(place) as file:
        table = open_parquet(arrow, place, file)
        schema = table.schema_arrow
        count = table.metadata.num_rows
        groups = range(table.num_row_groups)
        if max(count, sum(table.metadata.row_group(n).num_rows for n in groups)) > _MOST_ROWS:
            raise FileFormatError(
                f"{place} has {count:,} rows, more than {_MOST_ROWS:,}",
                "write it as several tables",
            )
        if twice := repeated(schema.names):
            raise FileFormatError(
                f"{place} has columns of one name: {enumerate_some(twice)}",
                "give every column a name of its own",
            )
        column, label = _image_column(arrow, schema, place), _label_column(arrow, schema, place)
        split = _split_column(arrow, schema, label)
        if columns := [one for one in (label, split) if one]:
            # Equal texts are read once.
            known = table.metadata
            table = arrow.parquet.ParquetFile(file, metadata=known, read_dictionary=columns)
        names = _class_names(arrow, schema, label)
        if twice := repeated(names):
            raise FileFormatError(
                f"{place} has several classes of one name: {enumerate_some(twice)}",
                "mend the names in its schema, or write the labels as text",
            )
        try:
            rows = _all_rows(arrow, place, table, column, label, names)
            splits = _texts(place, table, split)
        except (arrow.ArrowException, OSError) as error:
            if not is_lacking(error):
                raise
            # Of texts that are packed in some ways it makes no dictionary.
            table = arrow.parquet.ParquetFile(file, metadata=table.metadata)
            rows = _all_rows(arrow, place, table, column, label, names)
            splits = _texts(place, table, split)
    # The index of pandas is no column of its own.
    unused = [
        name
        for name in schema.names
        if name not in (column, label, split) and not name.startswith("__index_level_")
    ]
    return ImageTable(column, rows, label is not None, tuple(unused), splits)


def _label_column(arrow, schema, place: str) -> str | None:
    by_name = {name.lower(): name for name in reversed(schema.names)}
    label = next((by_name[name] for name in _LABELS if name in by_name), None)
    if label and arrow.types.is_nested(kind := schema.field(label).type):
        raise FileFormatError(
            f"{place} has a column '{label}' of {str(kind)[:80]}",
            "a label is one text or number in each row",
        )
    return label


def _split_column(arrow, schema, label: str | None) -> str | None:
    """Return the column of texts that says of which split a row is."""
    name = next((one for one in schema.names if one.lower() == "split" and one != label), None)
    kind = schema.field(name).type if name else arrow.null()
    if arrow.types.is_dictionary(kind):
        kind = kind.value_type
    return name if arrow.types.is_string(kind) or arrow.types.is_large_string(kind) else None


def _texts(place: str, table, column: str | None) -> list[str]:
    """Return the texts of a column; nothing if there is none."""
    found: list[str] = []
    size = 0
    for batch in table.iter_batches(_ROWS_AT_ONCE, columns=[column]) if column else ():
        some = [one or "" for one in _values(batch.column(column))]
        size += sum(map(len, set(some)))
        _require_few_bytes(size, place)
        found += some
    return found


def _all_rows(
    arrow, place: str, table, column: str, label: str | None, names: list[str]
) -> list[tuple[str, str | None]]:
    rows: list[tuple[str, str | None]] = []
    size = 0
    for number in range(table.num_row_groups):
        columns = [label] if label else []
        # Where all rows have a path and no bytes, the images are files beside the table.
        if _has_no_bytes(arrow, table, number, column):
            columns.append(f"{column}.path")
        some = list(_rows(place, table, number, columns, label, names))
        size += sum(map(len, {one for one, _ in some})) + sum(len(one or "") for _, one in some)
        _require_few_bytes(size, place)
        rows += some
    return rows


def _image_column(arrow, schema, place: str) -> str:
    """Return the column of images: ``image`` or ``img``, or the only one of such a type."""
    found = [field.name for field in schema if _is_image(arrow, field.type)]
    for name in ("image", "img", "jpg", *found[: len(found) == 1]):
        if name in found:
            return name
    shown = [f"{field.name} ({str(field.type)[:80]})" for field in schema]
    raise FileFormatError(
        f"{place} has no column of images; it has {', '.join(shown[:20])}",
        "images are a column of binary, or of a struct of bytes and path, and called image if "
        "there are more; paths alone stand in a CSV with path,label",
    )


def _is_image(arrow, kind) -> bool:
    if arrow.types.is_struct(kind):
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        kind = fields.get("bytes", arrow.null())
        # Where all are paths, pandas leaves no type to the bytes.
        if "bytes" in fields and arrow.types.is_null(kind):
            return arrow.types.is_string(fields.get("path", kind))
    return arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)


def _class_names(arrow, schema, label: str | None) -> list[str]:
    """Return the names of numbered classes, as ``datasets`` keeps them in the metadata."""
    metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        names = parse_json(metadata, "the schema")["info"]["features"][label]["names"]
    except (FileFormatError, KeyError, TypeError):
        return []
    return [str(name) for name in names[:_MOST_LABELS]] if isinstance(names, list) else []


def _require_few_bytes(size: int, place: str) -> None:
    if size > _LARGEST_TEXTS:
        raise FileFormatError(
            f"{place} has {size_text(size)} of labels and paths, more than "
            f"{size_text(_LARGEST_TEXTS)}",
            "write it as several tables, or its labels as numbers or a dictionary",
        )


def _rows(
    place: str, table, number: int, columns: list[str], label: str | None, names: list[str]
) -> Iterator:
    """Yield label and path of the rows of a group, without the images' bytes."""
    if not columns:
        yield from [("", None)] * table.metadata.row_group(number).num_rows
        return
    size = 0
    for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=[number], columns=columns):
        count = batch.num_rows
        labels = _values(batch.column(label)) if label else [None] * count
        beside = [name for name in batch.schema.names if name != label]
        paths = _paths(batch.column(beside[0])) if beside else [None] * count
        # What the file says of its sizes need not be so.
        size += sum(map(len, filter(None, paths))) + sum(len(str(one)) for one in {*labels})
        _require_few_bytes(size, place)
        for one, path in zip(labels, paths):
            known = isinstance(one, int) and 0 <= one < len(names)
            # Minus one is the label of images that have none.
            bare = one is None or (names and one == -1)
            if names and isinstance(one, int) and not known and not bare:
                raise FileFormatError(
                    f"{place} has the label {one}, and names for {len(names)} classes",
                    "mend the names in its schema, or write the labels as text",
                )
            yield ("" if bare else names[one] if known else str(one)), path


def _paths(column) -> list[str | None]:
    """Return the paths in a column of structs."""
    found = [one and one.get("path") for one in column.to_pylist()]
    if any(one is not None and not isinstance(one, str) for one in found):
        raise ValueError("the paths of its images are no texts")
    return found


def _values(column) -> list:
    """Return the values of a column; equal texts of a dictionary are one object."""
    if not hasattr(column, "indices"):
        return [_value(one) for one in column.to_pylist()]
    known = column.dictionary.to_pylist()
    longest = max((len(str(one)) for one in known), default=0)
    if longest > _LONGEST_TEXT:
        raise ValueError(f"a label has {longest:,} characters, more than {_LONGEST_TEXT:,}")
    known = [_value(one) for one in known]
    return [None if i is None else known[i] for i in column.indices.to_pylist()]


def _value(value: object) -> int | str | None:
    """Return a label as a whole number or a text; None where there is none, or NaN."""
    if isinstance(value, bytes):
        # Spark writes texts so.
        return value.decode("utf-8")
    if value is None or value != value:
        return None
    return value if isinstance(value, int) else str(value)


def _has_no_bytes(arrow, table, number: int, column: str) -> bool:
    """Tell whether no row of a group has the bytes of its image.

    What the file says of a column is not asked for: pyarrow ends the process where that is damaged.
    """
    about = table.metadata.row_group(number)
    if not arrow.types.is_struct(table.schema_arrow.field(column).type):
        return False
    if not 0 <= about.total_byte_size <= _LEAST_OF_IMAGE * about.num_rows:
        return False
    groups = table.iter_batches(_ROWS_AT_ONCE, row_groups=[number], columns=[f"{column}.bytes"])
    return all(one.column(0).field("bytes").null_count == one.num_rows for one in groups)


def read_field(
    place: str, row: int, column: str, opened: Opener, most: int, facts: Sequence[int] = ()
) -> bytes:
    """Return the image's bytes in a row of a table; the row group is kept for the next ones.

    Parameters
    ----------
    facts : sequence of int
        What changes when the table does: what was kept of another one is of no use.

    Raises
    ------
    FileFormatError
        The table cannot be read, the image is larger than `most`, or the row has none.
    """
    arrow = load_parquet()
    table = place, *facts
    metadata = _TABLES.get(table, lambda: _metadata(arrow, place, opened))
    number, first = 0, 0
    while number < metadata.num_row_groups and row >= first + metadata.row_group(number).num_rows:
        first += metadata.row_group(number).num_rows
        number += 1
    if number == metadata.num_row_groups:
        raise FileFormatError(f"{place} has no row {row}", "it changed while the job was running")
    values = _GROUPS.get(
        (table, number, column),
        lambda: _read_group(arrow, place, opened, metadata, (number, column)),
    )
    value = values[row - first]
    if not value.is_valid:
        raise FileFormatError(
            f"row {row} of {place} has no bytes of an image", "leave it out, or put them in"
        )
    content = value.as_buffer()
    if content.size > most:
        raise FileFormatError(
            f"row {row} of {place} has {size_text(content.size)}, more than {size_text(most)}"
        )
    return content.to_pybytes()


def _metadata(arrow, place: str, opened: Opener):
    with saying(arrow, place), opened(place) as file:
        return arrow.parquet.ParquetFile(file).metadata


def _read_group(arrow, place: str, opened: Opener, metadata, group: tuple[int, str]):
    """Return the images of a column in a row group, as an Arrow array of bytes."""
    number, column = group
    with saying(arrow, place), opened(place) as file:
        table = arrow.parquet.ParquetFile(file, metadata=metadata)
        _require_small_group(table.metadata.row_group(number).total_byte_size, place)
        # Equal images are written once, and what the file says of its sizes need not be so:
        # row by row no more is unpacked than one image above the bound.
        rows, size = [], 0
        for batch in table.iter_batches(1, row_groups=[number], columns=[column]):
            size += batch.nbytes
            _require_small_group(size, place)
            rows.append(batch.column(column))
        values = arrow.concat_arrays(rows)
    return values.field("bytes") if arrow.types.is_struct(values.type) else values


def _require_small_group(size: int, place: str) -> None:
    if size > _LARGEST_GROUP:
        raise FileFormatError(
            f"a row group of {place} has more than {size_text(_LARGEST_GROUP)} of images",
            "write the table again with fewer rows in a group",
        )
