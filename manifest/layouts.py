"""Read whatever image classification data users bring into one `icecore.manifest.Manifest`.

A file is a table or an image; a folder is of the first layout that fits it.
"""

import dataclasses
import os
from pathlib import Path

from ..core.arguments import typed
from ..core.content import describe_content
from ..core.errors import IcecoreError, ManifestError, MissingFileError
from ..core.places import absolute
from ..core.regular_files import open_regular
from ..core.stores import is_url, look_anew
from .class_folders import ClassFolders
from .container_splits import splits_of
from .containers import CONTAINERS, StreamedContainer, Unread
from .csv_table import TableOptions, read_table
from .fashionai import FashionAI
from .image_list import SUFFIX, read_image_list
from .kaggle import Kaggle
from .layout import Layout
from .listing import Listing, is_image_name, list_files, list_objects
from .named_containers import container_by_content, named_containers
from .table import IMAGE_SUFFIXES, Manifest, Sample
from .unlabelled import require_labels
from .usable_names import require_usable_names

LAYOUTS: tuple[Layout, ...] = (FashionAI(), Kaggle(), *CONTAINERS, ClassFolders())
UNLABELLED = "the images are taken without labels"
# Those whose tables are read as files are not looked for in stores.
LAYOUTS_OF_STORES: tuple[Layout, ...] = (*CONTAINERS, ClassFolders())


@typed
def read(
    data: str | os.PathLike, *, labels_required: bool = True, table: TableOptions | None = None
) -> Manifest:
    """Read whatever the user brought into one table.

    Parameters
    ----------
    data : path-like
        A folder of class folders, with ``train/``, ``validation/`` (also ``val``,
        ``valid``) and ``test/`` above them where they are; a CSV with
        ``path,label[,split]`` or one written by `Manifest.write`; a FashionAI
        root; a Kaggle folder with ``labels.csv`` and ``train/``; a ``.lst`` of MXNet;
        WebDataset tars, Parquet tables or MXNet record files: one, several by a pattern
        (``{000..099}.tar``), or a folder of them. A URL (``s3://bucket/photos``) may stand for
        a folder of class folders, and for everything of the last kind.
    labels_required : bool, default True
        Refuse images of the training and validation splits that have no label.
        With False any folder of images, or one image file, is accepted too; labels are
        taken where a layout fits.
    table : TableOptions, optional
        How a CSV is read.

    Returns
    -------
    Manifest
        Its `passed_over` and `warnings` say what was not used and what looks wrong.

    Raises
    ------
    MissingFileError
        `data` does not exist.
    ManifestError
        It holds no images, or labels and images do not fit together. Everything
        of one kind that is wrong is named at once.
    """
    listing = _listing_of(data)
    if listing is not None:
        return checked(_of_listing(listing, data, labels_required, table), labels_required)
    data = Path(os.path.abspath(data))
    if is_image_name(data.name) and not labels_required:
        manifest = Manifest((Sample(data.name, str(data), "test"),), str(data))
    elif data.suffix.lower() == SUFFIX:
        manifest = _no_table(read_image_list(data), table)
    else:
        _refuse_images(data)
        manifest = read_table(data, labels_required, table)
    return checked(manifest, labels_required)


def open_data(data: str | os.PathLike, *, labels_required: bool = False) -> Manifest | Unread:
    """Read whatever the user brought; of tars and record files only the names.

    Raises
    ------
    MissingFileError, ManifestError
        See `read`.
    """
    listing = _listing_of(data)
    if listing is not None:
        layout = _layout_of(listing)
        if isinstance(layout, StreamedContainer):
            splits_of(layout.names(listing))  # Refused before everything is read.
            return Unread(layout, listing, absolute(data))
        return checked(_of_listing(listing, data, labels_required, None), labels_required)
    return read(data, labels_required=labels_required)


def _listing_of(data: str | os.PathLike) -> Listing | None:
    """List a folder, a prefix of a store, or what a pattern names; None for one file."""
    look_anew()
    named = named_containers(os.fspath(data))
    if named is not None or is_url(data):
        return named or list_objects(os.fspath(data))
    if not os.path.exists(data):
        raise MissingFileError(
            f"{data} is not there", "check the path; it is taken from the folder you are in"
        )
    if os.path.isdir(data):
        return list_files(Path(os.path.abspath(data)))
    return None if is_image_name(os.fspath(data)) else container_by_content(data)


def _of_listing(
    listing: Listing, data: str | os.PathLike, labels_required: bool, table: TableOptions | None
) -> Manifest:
    manifest = _no_table(_read_listing(listing, labels_required), table)
    if is_url(data) or not os.path.isdir(data):
        manifest = dataclasses.replace(manifest, source=absolute(data))
    return manifest


def checked(manifest: Manifest, labels_required: bool) -> Manifest:
    """Refuse names that no table could hold, and images without labels where they are needed."""
    require_usable_names(manifest)
    if labels_required:
        require_labels(manifest)
    return manifest


def _layout_of(listing: Listing) -> Layout:
    layouts = LAYOUTS_OF_STORES if is_url(listing.root) else LAYOUTS
    return next(layout for layout in layouts if layout.fits(listing))


def _read_listing(listing: Listing, labels_required: bool) -> Manifest:
    layout = _layout_of(listing)
    try:
        return layout.read(listing).manifest(listing)
    except ManifestError as error:
        if labels_required or not listing.images:
            raise
        # A folder of images needs no labels; what hindered them is said.
        root = listing.root
        samples = tuple(Sample(name, f"{root}/{name}", "test") for name in listing.images)
        warning = f"{UNLABELLED}: {error.message}"
        return Manifest(samples, str(root), listing.others, (warning,))


def _no_table(manifest: Manifest, table: TableOptions | None) -> Manifest:
    """Say that options for tables have no effect on data that are none."""
    if table in (None, TableOptions()):
        return manifest
    text = f"{manifest.source} is no CSV: what was said of columns and lines has no effect"
    return dataclasses.replace(manifest, warnings=(*manifest.warnings, text))


def _refuse_images(data: Path) -> None:
    """Say what a file is that is no table."""
    try:
        with open_regular(data) as file:
            kind = describe_content(file.read(256))
    except IcecoreError as error:
        raise ManifestError(error.message, error.hint) from error
    if "image" in kind or "drawing" in kind:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        if is_image_name(data.name):
            hint = "give a folder of class folders, or a CSV with path,label"
        else:
            hint = f"convert or rename it: images have the endings {endings}"
        raise ManifestError(f"{data} is {kind}, not a table of samples", hint)
