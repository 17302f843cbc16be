"""Readers of the layouts that image classification data comes in.

Each turns one layout into a `icecore.manifest.Manifest`. The FashionAI layout
is that of the 2018 attribute contest: ``Annotations/label.csv`` with rows
``image,attribute,letters`` and ``Tests/question.csv`` with the letters open.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..core.csv_files import read_csv_rows
from ..core.errors import ManifestError, MissingFileError, enumerate_some
from .fashionai import fashionai_classes
from .table import COLUMNS, DEFAULT_TASK, IMAGE_SUFFIXES, Manifest, Sample, split_name

__all__ = [
    "is_fashionai",
    "is_kaggle",
    "read_fashionai",
    "read_folder",
    "read_images",
    "read_kaggle",
    "read_table",
    "read",
]


def is_fashionai(root: Path) -> bool:
    """Tell whether `root` has the contest's ``Annotations`` or ``Tests`` tables."""
    return any((root / name).is_file() for name in ("Annotations/label.csv", "Tests/question.csv"))


def is_kaggle(root: Path) -> bool:
    """Tell whether `root` has ``labels.csv`` beside an image folder ``train``."""
    return (root / "labels.csv").is_file() and (root / "train").is_dir()


def read_folder(root: Path) -> Manifest:
    """Read ``root[/split]/class/image``; a ``test`` split may hold images without classes."""
    folders = sorted(entry for entry in _visible(root) if entry.is_dir())
    splits = {folder: split_name(folder.name) for folder in folders}
    if any(split == "train" for split in splits.values()) or (folders and all(splits.values())):
        strangers = [folder.name for folder, split in splits.items() if split is None]
        if strangers:
            raise ManifestError(
                f"{root} has split folders and others beside them: {enumerate_some(strangers)}",
                "put every class folder into train/, validation/ or test/",
            )
    else:
        splits = {root: ""}
    samples: list[Sample] = []
    empty: list[str] = []
    bare: list[str] = []
    for base, split in splits.items():
        for entry in sorted(_visible(base)):
            if entry.is_dir():
                images = sorted(_images_below(entry))
                if not images:
                    empty.append(_relative(entry, root))
                label = entry.name
            elif entry.suffix.lower() in IMAGE_SUFFIXES:
                images, label = [entry], ""
                if split != "test":
                    bare.append(_relative(entry, root))
            else:
                continue
            samples += [
                Sample(_relative(image, root), str(image), split or "", DEFAULT_TASK, label)
                for image in images
            ]
    _refuse_folder_faults(root, empty, bare)
    return Manifest(tuple(samples), str(root))


def read_images(path: Path) -> Manifest:
    """Read one image or every image below a folder, with no labels."""
    images = [path] if path.is_file() else sorted(_images_below(path))
    root = path.parent if path.is_file() else path
    samples = tuple(Sample(_relative(image, root), str(image), "test") for image in images)
    return Manifest(samples, str(path))


def read_table(path: Path, labels_required: bool = True) -> Manifest:
    """Read a CSV with ``path,label[,split]``, or a table that icecore wrote.

    Relative paths are taken from the table's own folder. Without `labels_required` a
    column ``path`` is enough.
    """
    rows = read_csv_rows(path)
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if "path" not in header:
        raise ManifestError(
            f"{path} has no column 'path'; its first line is: "
            f"{','.join(rows[0])[:200] if rows else ''}",
            "give the columns a header line: path,label or path,label,split; images have the "
            f"endings {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    unknown = [name for name in header if name not in COLUMNS]
    if ("label" not in header and labels_required) or unknown:
        raise ManifestError(
            f"{path} has the columns {','.join(header)}",
            f"'path' and 'label' are needed, and nothing but {', '.join(COLUMNS)} is known",
        )
    samples, faults = [], []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            faults.append(f"line {number} has {len(row)} fields, not {len(header)}")
            continue
        fields = {name: value.strip() for name, value in zip(header, row)}
        split = fields.get("split", "")
        canonical = split_name(split) if split else ""
        if not fields["path"]:
            faults.append(f"line {number} has no path")
        elif canonical is None:
            faults.append(f"line {number} has the split '{split}'")
        elif box_fault := _box_fault(fields.get("box", "")):
            faults.append(f"line {number}: {box_fault}")
        else:
            samples.append(_table_sample(fields, canonical, path.parent))
    if faults:
        raise ManifestError(
            f"{len(faults)} lines of {path} cannot be read: {enumerate_some(faults)}",
            "a split is train, validation (val, valid) or test; each line has as many fields "
            "as the header",
        )
    return Manifest(tuple(samples), str(path))


def read_fashionai(root: Path) -> Manifest:
    """Read a FashionAI root: labelled rows, and the questions as the ``test`` split.

    Where ``Tests/answer.csv`` exists it gives the questions' letters.
    """
    samples: list[Sample] = []
    faults: list[str] = []
    answers = {
        (image, task): letters
        for _, image, task, letters in _fashionai_rows(root / "Tests/answer.csv", faults)
    }
    for table, split in (("Annotations/label.csv", ""), ("Tests/question.csv", "test")):
        base = root if split == "" else _question_base(root)
        for number, image, task, letters in _fashionai_rows(root / table, faults):
            letters = answers.get((image, task), letters)
            letters = "" if letters.strip("?") == "" else letters
            if not letters and split == "":
                faults.append(f"{table} line {number} has no letters")
            elif letters and (set(letters) - set("ymn") or letters.count("y") != 1):
                faults.append(f"{table} line {number} has the letters '{letters}'")
            else:
                label = fashionai_classes(task, len(letters))[letters.index("y")] if letters else ""
                samples.append(Sample(image, str(base / image), split, task, label, letters))
    faults += _uneven_letters(samples)
    if faults:
        raise ManifestError(
            f"{len(faults)} faults in the tables of {root}: {enumerate_some(faults)}",
            "a line is image,attribute,letters with exactly one y and else m or n",
        )
    return Manifest(tuple(samples), str(root))


def read_kaggle(root: Path) -> Manifest:
    """Read ``labels.csv`` (``id,<anything>``) with ``train/<id>.jpg`` and, if there, ``test/``."""
    names = {image.stem: image for image in _images_below(root / "train")}
    samples, absent = [], []
    labelled = set()
    for row in read_csv_rows(root / "labels.csv")[1:]:
        identity, label = row[0].strip(), row[1].strip() if len(row) > 1 else ""
        image = names.get(identity)
        labelled.add(identity)
        if image is None:
            absent.append(identity)
        else:
            samples.append(Sample(_relative(image, root), str(image), "", DEFAULT_TASK, label))
    bare = sorted(set(names) - labelled)
    if absent or bare:
        raise ManifestError(
            f"{root}/labels.csv and {root}/train do not fit: {len(absent)} labels without an image"
            f" ({enumerate_some(absent)}), {len(bare)} images without a label"
            f" ({enumerate_some(bare)})",
            "restore the images, or take the lines out of labels.csv",
        )
    if (root / "test").is_dir():
        samples += [
            Sample(_relative(image, root), str(image), "test")
            for image in sorted(_images_below(root / "test"))
        ]
    return Manifest(tuple(samples), str(root))


def _box_fault(text: str) -> str | None:
    from .box import parse_box

    try:
        parse_box(text)
    except ValueError as error:
        return str(error)
    return None


def _table_sample(fields: dict[str, str], split: str, folder: Path) -> Sample:
    path = Path(fields["path"])
    located = path if path.is_absolute() else folder / path
    return Sample(
        id=fields.get("id") or path.as_posix(),
        path=str(located),
        split=split,
        task=fields.get("task") or DEFAULT_TASK,
        label=fields.get("label", ""),
        letters=fields.get("letters", ""),
        digest=fields.get("digest", ""),
        box=fields.get("box", ""),
    )


def _refuse_folder_faults(root: Path, empty: list[str], bare: list[str]) -> None:
    if empty and not bare and len(empty) == len([e for e in _visible(root) if e.is_dir()]):
        raise ManifestError(
            f"no images in {root}, only empty folders: {enumerate_some(empty)}",
            f"images have the endings {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    if empty or bare:
        found = []
        if empty:
            found.append(f"{len(empty)} class folders without images ({enumerate_some(empty)})")
        if bare:
            found.append(f"{len(bare)} images outside any class folder ({enumerate_some(bare)})")
        raise ManifestError(
            f"labels and images of {root} do not fit: {'; '.join(found)}",
            "each image lies in the folder of its class; images without a label go to test/; "
            "remove empty class folders",
        )


def _fashionai_rows(path: Path, faults: list[str]) -> list[tuple[int, str, str, str]]:
    if not path.is_file():
        return []
    rows = []
    for number, row in enumerate(read_csv_rows(path), start=1):
        if number == 1 and row[0].strip().lower() in ("imagename", "image", "image_name"):
            continue
        if len(row) < 2 or not row[0].strip():
            faults.append(f"{path.name} line {number} has {len(row)} fields")
            continue
        letters = row[2].strip() if len(row) > 2 else ""
        rows.append((number, row[0].strip(), row[1].strip(), letters))
    return rows


def _question_base(root: Path) -> Path:
    # The contest packed the questions' images below Tests/, others merged them.
    return root / "Tests" if (root / "Tests/Images").is_dir() else root


def _uneven_letters(samples: list[Sample]) -> list[str]:
    lengths: dict[str, set[int]] = {}
    for sample in samples:
        if sample.letters:
            lengths.setdefault(sample.task, set()).add(len(sample.letters))
    return [
        f"{task} has rows of {enumerate_some(sorted(found))} letters"
        for task, found in lengths.items()
        if len(found) > 1
    ]


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not _is_hidden(entry)]


def _is_hidden(entry: Path) -> bool:
    """Tell what is no data: hidden files, and caches and runs that were put beside the images."""
    own = ("icecore-cache.json", "run.json")
    if entry.name.startswith("."):
        return True
    return entry.is_dir() and any((entry / name).is_file() for name in own)


def _refuse_unreadable(error: OSError) -> None:
    raise ManifestError(
        f"the folder {error.filename} cannot be read: {error.strerror}", "check its permissions"
    ) from error


def _images_below(folder: Path) -> list[Path]:
    found = []
    seen: set[str] = set()
    for base, folders, names in os.walk(folder, onerror=_refuse_unreadable, followlinks=True):
        # Links may lead back to where they came from.
        if os.path.realpath(base) in seen:
            folders[:] = []
            continue
        seen.add(os.path.realpath(base))
        folders[:] = sorted(name for name in folders if not _is_hidden(Path(base, name)))
        found += [
            Path(base, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return found


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def read(data: str | os.PathLike, *, labels_required: bool = True) -> Manifest:
    """Read whatever the user brought into one table.

    Parameters
    ----------
    data : path-like
        A folder of class folders, with ``train/``, ``validation/`` (also ``val``,
        ``valid``) and ``test/`` above them where they are; a CSV with
        ``path,label[,split]`` or one written by `Manifest.write`; a FashionAI
        root; a Kaggle folder with ``labels.csv`` and ``train/``.
    labels_required : bool, default True
        Refuse images of the training and validation splits that have no label.
        With False any folder of images, or one image file, is accepted too.

    Returns
    -------
    Manifest

    Raises
    ------
    MissingFileError
        `data` does not exist.
    ManifestError
        It holds no images, or labels and images do not fit together. Everything
        of one kind that is wrong is named at once.
    """
    from . import layouts as sources

    data = Path(data)
    if not data.exists():
        raise MissingFileError(
            f"{data} is not there", "check the path; it is taken from the folder you are in"
        )
    data = Path(os.path.abspath(data))
    if data.is_file():
        if data.suffix.lower() in IMAGE_SUFFIXES and not labels_required:
            manifest = sources.read_images(data)
        else:
            manifest = sources.read_table(data, labels_required)
    elif sources.is_fashionai(data):
        manifest = sources.read_fashionai(data)
    elif sources.is_kaggle(data):
        manifest = sources.read_kaggle(data)
    elif labels_required:
        manifest = sources.read_folder(data)
    else:
        manifest = sources.read_images(data)
    _require_utf8_names(manifest)
    if labels_required:
        _require_labels(manifest)
    return manifest


def _require_utf8_names(manifest: Manifest) -> None:
    # Such names come from old archives; no table could hold them.
    bad = [s.path for s in manifest.images.values() if not _is_utf8(s.path)]
    if bad:
        raise ManifestError(
            f"{len(bad)} files of {manifest.source} have names that are not UTF-8: "
            f"{enumerate_some(map(ascii, bad))}",
            "rename them, for instance with convmv",
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _require_labels(manifest: Manifest) -> None:
    bare = [s.id for s in manifest if not s.label and s.split != "test"]
    if bare:
        raise ManifestError(
            f"{len(bare)} images of {manifest.source} have no label: {enumerate_some(bare)}",
            "label them, take them out, or give them the split 'test'",
        )
