"""The table of samples that belongs to a cache."""

import contextlib
import dataclasses
import errno
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from .. import manifest as manifests
from ..cache import (
    SOURCES_NAME,
    TABLES_NAME,
    FeatureCache,
    FeatureSet,
    names_beside,
    no_rows,
    require_own_folder,
)
from ..core.errors import CacheError, ManifestError, counted, enumerate_some
from ..core.files import publish, publish_bytes, publish_json, sha256_file
from ..core.folders import replacing_folder
from ..core.places import absolute
from ..core.regular_files import read_regular
from ..core.stores import is_url
from ..manifest import Manifest, Sample, apply_boxes, digest_manifest, parse_box

# The digests of the tables there as they were written, and where those go that a user changed.
_WRITTEN, _EDITED = "written.json", "edited"
_LONGEST_STEM = 50
# A folder of this name beside a table has the learnt region that found its boxes.
REGIONS_BESIDE = ".regions"
# The same in a run.
REGIONS_OF_A_RUN = "regions"
_REGION_SUFFIXES, _MOST_FILES, _LARGEST_FILE = (".json", ".npz"), 4, 2**28


def keep_manifest(cache: Path, data: str, report, regions: Path | None = None) -> None:
    """Write the table to ``CACHE/manifests``, under a name that no other data set has.

    The learnt region that the boxes were found with, if any, is kept beside it. A table there
    that is not as it was written, such as one with labels filled in by hand, is moved aside
    first, and a note of the report says where it is; so does one of a table with a number.
    """
    folder = cache / TABLES_NAME
    # They were when the job began.
    require_own_folder(cache, folder)
    stem = _stem(data)
    # Another data set of the same name gets a number.
    names = kept_names(folder)
    numbered = (stem if n == 1 else f"{stem}-{n}" for n in itertools.count(1))
    known = (name for name, source in names.items() if data and source == data)
    name = next(n for n in itertools.chain(known, numbered) if names.get(n, data) == data)
    try:
        if edited := _write_table(folder / f"{name}.csv", report.manifest):
            report.notes.append(
                f"{folder / f'{name}.csv'} may have been changed by hand: it was moved to {edited} "
                "and written anew; if it has your labels, give that to `icecore train --data`"
            )
        publish_json(folder / SOURCES_NAME, names | {name: data})
        if name != stem and stem in names:
            report.notes.append(
                f"the table of these samples is {folder / f'{name}.csv'}; {stem}.csv there is of "
                f"{names[stem] or 'samples made by hand'}"
            )
        _keep_regions(folder / f"{name}{REGIONS_BESIDE}", regions)
    except OSError as error:
        # A cache that cannot be written may still be complete.
        if report.computed or error.errno not in (errno.EROFS, errno.EACCES):
            raise


def _write_table(path: Path, manifest: Manifest) -> Path | None:
    """Write a table; return where one went that was no longer as it was written."""
    digests, edited = names_beside(path.parent / _WRITTEN), None
    with publish(path) as temporary:
        manifest.write(temporary)
        new = sha256_file(temporary)
        # Nothing is known of tables that were written before there was such a file.
        if path.is_file() and sha256_file(path) not in (new, digests.get(path.stem)):
            edited = set_aside(path, _EDITED)
    publish_json(path.parent / _WRITTEN, digests | {path.stem: new})
    return edited


def set_aside(path: Path, name: str) -> Path:
    """Move what is kept in a folder to one called `name` in it, and return where it went.

    It replaces nothing that was moved there before: it may hold a user's labels.
    """
    aside = path.parent / name
    require_own_folder(path.parent.parent, path.parent, aside)
    aside.mkdir(exist_ok=True)
    names = (path.stem + (f"-{n}" if n > 1 else "") + path.suffix for n in itertools.count(1))
    target = next(aside / name for name in names if not os.path.lexists(aside / name))
    # Another process may do so at the same time; one of the two moves it.
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, target)
    return target


def _stem(data: str) -> str:
    """Return a name for the table of some data, without what no file's name should have."""
    last = data.rstrip("/").rpartition("/")[2]
    stem = last if os.path.isdir(data) else os.path.splitext(last)[0] or last or "by-hand"
    if is_url(data) or "{" in last:
        stem = re.sub(r"[^\w.-]+", "_", stem).strip("_.")
    # Names with a dot in front are of unfinished files, and a system takes 255 bytes.
    return stem.lstrip(".")[:_LONGEST_STEM] or "data"


def _keep_regions(target: Path, regions: Path | None) -> None:
    if regions is None:
        shutil.rmtree(target, ignore_errors=True)
    else:
        copy_regions(regions, target)


def copy_regions(source: Path, target: Path) -> None:
    """Copy the files of a learnt region; they are checked when they are read."""
    files = [path for path in sorted(source.iterdir()) if path.suffix in _REGION_SUFFIXES]
    with replacing_folder(target, lambda: None) as folder:
        for path in files[:_MOST_FILES]:
            publish_bytes(folder / path.name, read_regular(path, _LARGEST_FILE))


def kept_regions(store: FeatureCache, data: str | os.PathLike | Manifest) -> Path | None:
    """Return the learnt region by which the boxes of `data` were found at its last extraction."""
    source = source_of(data)
    if os.path.dirname(source) == os.path.abspath(store.path / TABLES_NAME):
        name = Path(source).stem
    else:
        name = _name_of(store, source)
    folder = store.path / TABLES_NAME / f"{name}{REGIONS_BESIDE}"
    return folder if name and folder.is_dir() else None


def _name_of(store: FeatureCache, data: str) -> str | None:
    names = kept_names(store.path / TABLES_NAME)
    return next((n for n, source in names.items() if source == data), None) if data else None


def kept_names(folder: Path) -> dict[str, str]:
    """Return which data set each table in ``CACHE/manifests`` is of."""
    return names_beside(folder / SOURCES_NAME)


def kept_tables(store: FeatureCache) -> list[Path]:
    """Return the tables of the images that were extracted into a cache."""
    # That of a name comes before those that were pulled beside it, which begin with the name.
    return sorted((store.path / TABLES_NAME).glob("*.csv"), key=lambda path: path.stem)


def read_kept_table(path: Path) -> Manifest:
    """Read a table that a cache keeps of the images that were extracted.

    Raises
    ------
    ManifestError
        It is damaged; the next extraction of these images writes it anew.
    """
    try:
        return manifests.read(path, labels_required=False)
    except ManifestError as error:
        raise ManifestError(
            error.message,
            "the cache keeps it of what was extracted: run the same `icecore extract` as before, "
            "which writes it anew, or remove it",
        ) from error


def source_of(data: str | os.PathLike | Manifest) -> str:
    """Return the folder, file or URL that data came from, absolute; nothing if it was made by hand.

    What is of no place is not of the folder where the program happens to run.
    """
    if isinstance(data, Manifest) and not data.source:
        return ""
    return absolute(data.source if isinstance(data, Manifest) else data)


def as_extracted(store: FeatureCache, data, *, labels_required: bool = True) -> Manifest:
    """Read `data`, with the boxes that its last extraction into the cache was given.

    Raises
    ------
    ManifestError
        It gives boxes itself, and other ones than it was extracted with.
    """
    manifest = data
    if not isinstance(data, Manifest):
        memory = store.path / "digests"
        manifest = manifests.read_remembered(data, memory, labels_required=labels_required)
    folder = store.path / TABLES_NAME
    name = _name_of(store, source_of(data))
    if name is None or not (folder / f"{name}.csv").is_file():
        return manifest
    kept = read_kept_table(folder / f"{name}.csv").images
    own = {i: one.box for i, one in manifest.images.items() if i in kept}
    other = [
        f"{i} ({box}; {kept[i].box or 'whole'})"
        for i, box in own.items()
        if box not in ("", kept[i].box)
    ]
    if other:
        raise ManifestError(
            f"{counted(len(other), 'image')} of {manifest.source} have other boxes now than at the "
            f"last extraction into {store.path}: {enumerate_some(other)}",
            "run `icecore extract` on it again; or name what was extracted: "
            f"{folder / f'{name}.csv'}",
        )
    return apply_boxes(manifest, {i: parse_box(kept[i].box) for i in own if kept[i].box})


def digested(store: FeatureCache, manifest: Manifest) -> Manifest:
    """Return a table with the digests of its images, which the cache remembers.

    Those that cannot be read have none, and are named in a warning with the reason.
    """
    report = digest_manifest(manifest, store.path / "digests")
    if report.unreadable:
        named = enumerate_some(f"{one} ({why})" for one, why in report.unreadable.items())
        what = counted(len(report.unreadable), "image")
        told = (*report.manifest.warnings, f"{what} of {manifest.source} cannot be read: {named}")
        return dataclasses.replace(report.manifest, warnings=told)
    return report.manifest


def keys_in_all(sets: Sequence[FeatureSet]) -> set[str]:
    """Return the keys that have a row in every one of some feature sets."""
    return set.intersection(*(set(one.keys()) for one in sets)) if sets else set()


def no_features(samples: Iterable[Sample], source: object, store: FeatureCache) -> CacheError:
    """Say that images of some data have no rows in a cache, and why as far as it knows."""
    digests = {one.digest for one in samples}
    return no_rows(
        f"no image of {source} has features in {store.path}",
        [one for one in store.failures() if one["digest"] in digests],
        "run `icecore extract` on them into this cache",
    )
