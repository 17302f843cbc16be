"""The classes of the FashionAI attributes, and the header that its tables may have."""

from collections.abc import Sequence

# The contest's attributes, classes in letter order.
_FASHIONAI_CLASSES = {
    "coat_length": "Invisible;High Waist;Regular;Long;Micro;Knee;Midi;Ankle&Floor",
    "collar_design": "Invisible;Shirt;Peter Pan;Puritan;Rib",
    "lapel_design": "Invisible;Notched;Collarless;Shawl;Plus Size Shawl",
    "neck_design": "Invisible;Turtle;Ruffle Semi-High;Low Turtle;Draped",
    "neckline_design": (
        "Invisible;Strapless;Deep V;Straight;V;Square;Off Shoulder;Round;Sweat Heart;One Shoulder"
    ),
    "pant_length": "Invisible;Short;Mid;3/4;Cropped;Full",
    "skirt_length": "Invisible;Short;Knee;Midi;Ankle;Floor",
    "sleeve_length": "Invisible;Sleeveless;Cup;Short;Elbow;3/4;Wrist;Long;Extra Long",
}

_FIRST_COLUMN = frozenset({"imagename", "image", "imageid", "imagepath", "id", "path", "file"})
_FIRST_COLUMN |= {"filename", "name"}


def fashionai_classes(task: str, count: int) -> tuple[str, ...]:
    """Name the classes of a FashionAI attribute, in letter order.

    Attributes that the contest does not have are numbered from ``0``.
    """
    names = tuple(_FASHIONAI_CLASSES.get(task.removesuffix("_labels"), "").split(";"))
    return names if len(names) == count else tuple(str(index) for index in range(count))


def is_fashionai_header(fields: Sequence[str]) -> bool:
    """Tell whether the first line of one of the contest's tables names its columns.

    Those of its second round do, the others do not.
    """
    return 2 <= len(fields) <= 3 and fields[0].lower().replace("_", "") in _FIRST_COLUMN


def letters_fault(task: str, label: str, letters: str, count: int) -> str:
    """Say what is wrong with the letters of a label in a task of `count` letters; empty if nothing.

    Letters name no classes, so labels beside them must be the names that their places have.
    """
    classes = fashionai_classes(task, count)
    if letters and (set(letters) - set("ymn") or letters.count("y") != 1 or len(letters) != count):
        return f"has the letters '{letters}'"
    if label not in classes:
        return f"has the label '{label}'"
    if letters and classes[letters.index("y")] != label:
        return f"has the label '{label}' and the letters '{letters}'"
    return ""
