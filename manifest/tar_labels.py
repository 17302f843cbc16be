"""What the files in a WebDataset tar are: images, labels of these, and what is neither."""

import re
from collections import Counter

from ..core.errors import FileFormatError, counted, enumerate_some
from ..core.json_files import parse_json
from ..core.tar_files import Member
from .listing import HIDDEN, ending_of, is_image_name, system_folder
from .names import class_name
from .table import LARGEST_IMAGE_FILE

# Texts are up to 64 KiB, of which a label is little.
LARGEST_LABEL = 2**16
EMPTY = "an empty image"
_TEXTS = ("cls", "json", "txt")
_OF_LABELS = _TEXTS[:2]
_LABEL_FIELDS = ("label", "cls", "class", "class_name", "category")
# Fewer images may have texts of their own and still be classes.
_FEW_IMAGES = 20


class TarLabels:
    """The labels of the images in one tar, by their keys: the name up to its first dot."""

    def __init__(self) -> None:
        # By ending and key.
        self._texts: dict[str, dict[str, str]] = {ending: {} for ending in _TEXTS}
        self._twice: dict[str, None] = {}
        # Why a text is no label, by its file's name.
        self._unread: dict[str, dict[str, str]] = {ending: {} for ending in _TEXTS}

    def is_label(self, member: Member) -> bool:
        """Tell whether a file is one that may hold a label."""
        return _key(member.name)[1] in _TEXTS and not _unseen(member.name)

    def add(self, member: Member, content: bytes) -> None:
        """Keep the label in a file."""
        key, ending = _key(member.name)
        found, text = self._texts[ending], ""
        try:
            if member.size > LARGEST_LABEL:
                raise ValueError(f"has {member.size} bytes, more than {LARGEST_LABEL}")
            text = _of_json(content) if ending == "json" else _plain(content)
        except ValueError as error:
            self._unread[ending][member.name] = str(error)
        if found.setdefault(key, text) != text:
            self._twice[member.name] = None
            found[key] = ""

    def of(self, names: list[str], tar: str) -> tuple[list[str], list[str]]:
        """Return the label of each image by its name in the tar, and what is to be said."""
        warnings = []
        keys = [_key(name)[0] for name in names]
        # Plain texts count where nothing else names classes.
        ending = next((one for one, found in self._texts.items() if any(found.values())), "")
        labels = self._texts.get(ending, {})
        # Captions are no labels, and need not be.
        looked = (ending,) if ending else _OF_LABELS
        unread = {name: why for one in looked for name, why in self._unread[one].items()}
        if unread:
            named = enumerate_some(f"{name} {why}" for name, why in unread.items())
            what = counted(len(unread), "text")
            warnings.append(f"{what} in {tar} cannot be read ({named}): not labels")
        if labels and len(names) > _FEW_IMAGES and len(set(labels.values())) > len(names) // 2:
            labels = {}
            warnings.append(f"the texts in {tar} differ from image to image: not labels")
        if self._twice:
            named = enumerate_some(self._twice)
            warnings.append(f"files of one name in {tar} say other labels ({named}): not labels")
        several = [key for key, count in Counter(keys).items() if count > 1 and labels.get(key)]
        if several:
            what = counted(len(several), "key has", "keys have")
            warnings.append(
                f"{what} several images in {tar}, and all are of its class (masks, too, if there "
                f"are any): {enumerate_some(several)}"
            )
        images = set(keys)
        if lone := [key for key, label in labels.items() if label and key not in images]:
            what = counted(len(lone), "label")
            warnings.append(f"{what} in {tar} without an image: {enumerate_some(lone)}")
        return [labels.get(key, "") for key in keys], warnings


def no_use(member: Member) -> str:
    """Say why a member of a tar is no image; empty if it is one."""
    if why := _unseen(member.name):
        return why
    if not is_image_name(member.name):
        return ending_of(member.name)
    if member.size > LARGEST_IMAGE_FILE:
        return "a larger image than can be"
    return "" if member.size else EMPTY


def _unseen(name: str) -> str:
    """Say why a file is passed over in folders, too: macOS puts its own beside every file."""
    parts = name.removeprefix("./").split("/")
    hidden = any(part.startswith(".") and part != ".." for part in parts)
    return HIDDEN if hidden else system_folder(parts[:-1])


def _key(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    key, _, ending = file.partition(".")
    return folder + slash + key, ending.lower()


def _plain(content: bytes) -> str:
    """Return the label that a text is; a `ValueError` says why it is none."""
    try:
        name = class_name(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError("is no text in UTF-8") from error
    if re.search(r"[\n\r\0]", name):
        raise ValueError("has several lines" if "\0" not in name else "has the character NUL")
    return name


def _of_json(content: bytes) -> str:
    try:
        fields = parse_json(content, "", kind=object)
    except FileFormatError as error:
        raise ValueError(error.message.strip()) from error
    values = [fields.get(name) for name in _LABEL_FIELDS] if isinstance(fields, dict) else [fields]
    given = [one for one in values if one is not None]
    label = next((one for one in given if isinstance(one, (str, int, float))), "")
    if given and label == "" and not isinstance(given[0], str):
        raise ValueError(f"has {str(given[0])[:40]} where one label would be")
    return _plain(str(label).encode("utf-8", "replace"))
