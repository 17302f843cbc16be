"""The classes of the FashionAI attributes."""

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


def fashionai_classes(task: str, count: int) -> tuple[str, ...]:
    """Name the classes of a FashionAI attribute, in letter order.

    Attributes that the contest does not have are numbered from ``0``.
    """
    names = tuple(_FASHIONAI_CLASSES.get(task.removesuffix("_labels"), "").split(";"))
    return names if len(names) == count else tuple(str(index) for index in range(count))
