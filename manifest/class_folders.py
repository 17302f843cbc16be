"""The layout ``root[/split]/class/image``."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable

from ..core.errors import ManifestError, counted, enumerate_some, escaped
from .layout import LabelledFiles, Layout
from .listing import AGAIN, CACHE, HIDDEN, RUN, Listing
from .names import class_name
from .table import DEFAULT_TASK, IMAGE_SUFFIXES, Sample, split_name

# A folder of a split in words that are not followed: train2017, test1, seg_pred, train_images.
_SPLIT = re.compile(
    r"(?:(?:[0-9]+|[a-z]|my|split)[ =_.-]+|(?:seg|images?|imgs?)[ _.-]*)?"
    r"(?:tr|te|trn|tst|train(?:ing)?|test(?:s|ing)?|val(?:id(?:ation|ate)?)?|dev|holdout"
    r"|pred(?:ict(?:ion)?s?)?|eval(?:uation)?)"
    r"[ _.-]*(?:set|data|split|full|images?|imgs?|photos?|pictures?)?"
    r"(?:[ _.-]*[0-9]*|[ _.-]+[a-z])",
    re.IGNORECASE,
)
# What people and programs call the folders that hold one kind of files, or one part of them.
_PARTS = frozenset(
    "annotations crops data dataset dcim downloads image images img imgs jpeg jpegimages jpg label "
    "labels mask masks photo photos picture pictures png segmentationclass segmentationobject "
    "segmentations thumb thumbnails thumbs unclassified unknown unlabeled unlabelled "
    "unsorted".split()
)
_NUMBERED = re.compile(
    r"(?:.*[ _.-])?(?:batch|chunk|fold|images?|imgs?|part|photos|pictures|shard)[ _.-]*[0-9]+",
    re.IGNORECASE,
)
# Of cameras (100CANON), of Apple's and Google's exports of photographs.
_OF_CAMERAS = re.compile(r"[1-9]\d\d[A-Z_][A-Z0-9_]{4}|20\d{4}_[_a-z]|Photos from \d{4}")
# Tables that ask for answers.
_OF_ANSWERS = re.compile("submission|sample|test")
# How masks are called beside their images: benign (1)_mask_1.png, 0001_segmentation.png.
_MASK = re.compile(
    r"(.+?)[ _.-]+(?:masks?|seg(?:mentations?|ments)?|gt|ground[ _-]?truth|overlays?)[ _.-]*[0-9]*",
    re.IGNORECASE,
)
_ARRANGE = (
    "each image lies in the folder of its class, below train/, validation/ and test/ if there "
    "are splits; images without a label go to test/"
)

# What to do about files where there are no images, by why they are passed over.
_INSTEAD = (
    ({".zip", ".7z", ".rar", ".tgz", ".gz", ".bz2", ".xz"}, "; unpack the archives"),
    ({HIDDEN}, "; files and folders whose names begin with a point are passed over: rename them"),
    ({AGAIN}, "; a link that leads back to a folder above it is not followed"),
    ({CACHE, RUN}, "; a cache or a run of icecore is no data"),
)
# With labels, in an image folder of Hugging Face's: metadata.jsonl, say.
_TABLES = (".csv", ".jsonl", ".ndjson")


class ClassFolders(Layout):
    """A folder for each class, with split folders above them where there are splits.

    A ``test`` split may hold images without classes.
    """

    name = "class folders"

    def fits(self, listing: Listing) -> bool:
        """Every folder may be one of class folders."""
        return True

    def read(self, listing: Listing) -> LabelledFiles:
        """Read the samples; see `Layout.read`."""
        warnings: list[str] = []
        splits = _splits(listing, warnings)
        samples, bare = [], []
        classes: dict[str, list[str]] = defaultdict(list)
        for image in listing.images:
            parts = image.split("/")
            split = splits.get(parts[0], "") if splits else ""
            below = parts[1:] if splits else parts
            label = below[0] if len(below) > 1 else ""
            if label:
                classes[image[: -len("/".join(below[1:])) - 1]].append("/".join(below[1:]))
            elif split != "test":
                bare.append(image)
            path = f"{listing.root}/{image}"
            samples.append(Sample(image, path, split, DEFAULT_TASK, class_name(label)))
        _refuse_faults(listing, splits, classes, bare)
        _refuse_deep(listing, classes, warnings)
        _refuse_names_of_splits(listing, splits, classes)
        warnings += [*_named_as_parts(classes), *_named_as_masks(listing.images)]
        return LabelledFiles(samples, warnings=(*warnings, *_merged(classes)))


def _splits(listing: Listing, warnings: list[str]) -> dict[str, str]:
    """Return the split of each folder at the top; nothing where they are classes."""
    top = [name for name in listing.folders if "/" not in name]
    holding = {image.split("/")[0] for image in listing.images if "/" in image}
    named = {name: split_name(name) for name in top}
    splits = {name: split for name, split in named.items() if split}
    others = [name for name in holding if not named.get(name)]
    training = [name for name, split in splits.items() if split == "train"]
    if not splits or (others and not training):
        return {}
    deep = {image.split("/")[0] for image in listing.images if image.count("/") > 1}
    if others and not deep & set(training):
        # Photographs of trains: the folder holds images itself, as those beside it do.
        warnings.append(
            f"the folder {enumerate_some(training)} holds images itself, beside other class "
            "folders: it is taken for a class, not for a split"
        )
        return {}
    if bare := sorted(set(splits) - holding):
        warnings.append(f"no images in the folders of splits {enumerate_some(bare)}")
    if others:
        raise ManifestError(
            f"{listing.root} has split folders and others beside them: "
            f"{enumerate_some(sorted(others))}",
            "put every class folder into train/, validation/ or test/",
        )
    return splits


def _refuse_faults(listing: Listing, splits, classes, bare: list[str]) -> None:
    root = listing.root
    level = 1 if splits else 0
    wanted = [f for f in listing.folders if f.count("/") == level]
    if splits:
        wanted = [folder for folder in wanted if folder.split("/")[0] in splits]
    empty = [folder for folder in wanted if folder not in classes]
    if not listing.images:
        raise ManifestError(
            f"no images in {root}" + _what_is_there(listing, empty),
            f"images have the endings {', '.join(sorted(IMAGE_SUFFIXES))}"
            + "".join(
                text for kinds, text in _INSTEAD if kinds & {why for _, why in listing.others}
            ),
        )
    if bare and not classes:
        tables = [name for name, why in listing.others if why in _TABLES]
        beside = f" (for labels in {enumerate_some(tables, 3)}, that table)" if tables else ""
        raise ManifestError(
            f"{root} holds {counted(len(bare), 'image')} and no class folders, so there are no "
            f"labels ({enumerate_some(bare)})",
            f"{_ARRANGE}; or give a CSV with path,label{beside}, or call it labels.csv, with "
            "id,label, beside train/",
        )
    if not splits:
        _refuse_beside_table(listing, classes)
    found = []
    if empty:
        named = [folder + _why_empty(listing, folder) for folder in empty]
        what = counted(len(empty), "class folder")
        found.append(f"{what} without images ({enumerate_some(named)})")
    if bare:
        found.append(
            f"{counted(len(bare), 'image')} outside any class folder ({enumerate_some(bare)})"
        )
    nameless = [folder for folder in classes if not class_name(folder.rsplit("/", 1)[-1])]
    if nameless:
        found.append(f"{counted(len(nameless), 'class folder')} without a name")
    if found:
        hint = _ARRANGE
        if any(not _why_empty(listing, folder) for folder in empty):
            hint += "; remove empty class folders"
        if any(_why_empty(listing, folder) for folder in empty):
            hint += (
                "; boxes, masks and lists are not read: move folders that are no classes "
                "elsewhere, or give a CSV with path,label"
            )
        raise ManifestError(f"labels and images of {root} do not fit: {'; '.join(found)}", hint)


def _refuse_names_of_splits(listing: Listing, splits, classes) -> None:
    """Refuse class folders that are called as splits, and splits inside class folders."""
    beside = [name for name in classes if not splits and _SPLIT.fullmatch(name)]
    inside = {
        f"{name}/{one.split('/')[0]}"
        for name, images in classes.items()
        for one in images
        if "/" in one and _SPLIT.fullmatch(one.split("/")[0])
    }
    # Photographs of trains are a class, and of one kind of them.
    found = [n for n in [*beside, *sorted(inside)] if len(beside) > 1 or _word(n) != "train"]
    if found:
        raise ManifestError(
            f"{listing.root} has folders in the place of classes that are called as splits: "
            f"{enumerate_some(found)}",
            f"{_ARRANGE}; if one is a class, give it another name",
        )


def _word(folder: str) -> str:
    return _last(folder).lower()


def _named_as_parts(classes) -> list[str]:
    """Name the class folders that are called as the folders of a data set's files often are."""
    found = sorted({_last(name) for name in classes if _is_part(name)})
    if not found:
        return []
    what = "a class folder has a name" if len(found) == 1 else "class folders have names"
    return [
        f"{what} that folders of files often have: {enumerate_some(found)}; the labels may be "
        "somewhere else (a table: give it, with path,label)"
    ]


def _is_part(folder: str) -> bool:
    name = _last(folder)
    numbered = _NUMBERED.fullmatch(name) or _OF_CAMERAS.fullmatch(name)
    return _word(folder) in _PARTS or numbered is not None


def _last(folder: str) -> str:
    return folder.rpartition("/")[2]


def _refuse_beside_table(listing: Listing, classes) -> None:
    """Refuse one folder of images, or its parts, with a table beside, which holds their labels."""
    tables = [name for name, why in listing.others if why == ".csv" and "/" not in name]
    if tables and (len(classes) == 1 or all(map(_is_part, classes))):
        has = "one class folder" if len(classes) == 1 else "class folders that seem to be none"
        raise ManifestError(
            f"{listing.root} has {has} ({enumerate_some(classes)}) and "
            f"{enumerate_some(tables)} beside {'it' if len(classes) == 1 else 'them'}, so the "
            "labels seem to be in there",
            f"give the table itself ({listing.root}/{_likely(tables)}), with path,label; or put "
            "the images into one folder train and call the table labels.csv, with id,label",
        )


def _likely(tables: list[str]) -> str:
    """Return the table that speaks of training images, if its name tells."""
    others = [one for one in tables if not _OF_ANSWERS.search(one.lower())]
    return (others or tables)[0]


def _what_is_there(listing: Listing, empty: list[str]) -> str:
    endings = sorted({why for _, why in listing.others})
    if endings:
        return f", only {enumerate_some(endings)}"
    return f", only empty folders: {enumerate_some(empty)}" if empty else ""


def _why_empty(listing: Listing, folder: str) -> str:
    inside = [why for name, why in listing.others if name.startswith(f"{folder}/")]
    what = counted(len(inside), "other file")
    return f" with {what}: {', '.join(sorted(set(inside)))}" if inside else ""


def _refuse_deep(listing: Listing, classes: dict[str, list[str]], warnings: list[str]) -> None:
    """Refuse, or name, class folders that hold folders of images and no image themselves."""
    by_split: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        by_split[name.rpartition("/")[0]].append(name)
    below = {
        name: sorted({one.split("/")[0] for one in inside})
        for name, inside in classes.items()
        if all("/" in one for one in inside)
    }
    for names in by_split.values():
        if all(name in below for name in names) and _seem_no_classes(names, below):
            shown = [f"{name}/{below[name][0]}" for name in names]
            raise ManifestError(
                f"the class folders of {listing.root} hold no images but further folders "
                f"({enumerate_some(shown)}): the classes seem to lie deeper",
                "name the folders of splits train, validation and test with the class folders "
                "right in them, or give the folder that holds the class folders; where the folders "
                "around these are the classes, name each image in a table (path,label)",
            )
    mixed = {
        name: sorted({one.split("/")[0] for one in inside if "/" in one})
        for name, inside in classes.items()
        if name not in below and any("/" in one for one in inside)
    }
    if mixed:
        named = [f"{name} ({enumerate_some(inside, 3)})" for name, inside in mixed.items()]
        what = counted(len(mixed), "class folder holds", "class folders hold")
        warnings.append(
            f"{what} further folders beside images, and all are of its class: "
            f"{enumerate_some(named)}"
        )
    if below:
        named = [f"{name} ({enumerate_some(inside, 3)})" for name, inside in below.items()]
        what = counted(len(below), "class folder holds no image", "class folders hold no images")
        warnings.append(f"{what} directly, only folders of images: {enumerate_some(named)}")


def _named_as_masks(images: Iterable[str]) -> list[str]:
    """Name the images that are called as masks of others beside them: 1_mask.png of 1.png."""
    stems = {os.path.splitext(image)[0]: image for image in images}
    found = [
        image
        for stem, image in stems.items()
        if (match := _MASK.fullmatch(stem)) and match[1] in stems
    ]
    if not found:
        return []
    return [
        f"{counted(len(found), 'image is', 'images are')} called as masks of others "
        f"({enumerate_some(sorted(found))}), and count as images of their classes: move them "
        "elsewhere if they are masks"
    ]


def _seem_no_classes(names: list[str], below: dict[str, list[str]]) -> bool:
    """Tell folders of splits, or the one folder around all classes, from class folders."""
    inside = [name for several in names for name in below[several]]
    like_splits = any(_is_like_a_split(name.rpartition("/")[2]) for name in names)
    return len(names) == 1 or like_splits or len(set(inside)) < len(inside)


def _is_like_a_split(name: str) -> bool:
    words = re.split(r"[^a-z]+", name.lower())
    return any(split_name(word) or word in ("pred", "dev", "holdout", "eval") for word in words)


def _merged(classes: dict[str, list[str]]) -> list[str]:
    """Name the folders whose names are spelt differently and make one class."""
    spelt: dict[str, set[str]] = defaultdict(set)
    for folder in classes:
        raw = folder.rsplit("/", 1)[-1]
        spelt[class_name(raw)].add(raw)
    return [
        f"{len(raws)} folders are one class '{escaped(name)}', since their names differ only in "
        f"spaces around them or in the Unicode form: {', '.join(map(ascii, sorted(raws)))}"
        for name, raws in spelt.items()
        if len(raws) > 1
    ]
