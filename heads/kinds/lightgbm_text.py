"""LightGBM's model.txt, looked through before LightGBM reads it.

Its parser trusts what it reads: a number that does not fit the others ends the process. So the
trees are read here first, strictly, and nothing but what was understood is handed on.
"""

import re

import numpy as np

_MOST_FEATURES, _MOST_CLASSES, _MOST_LEAVES = 2**20, 2**16, 2**16
# What is looked through within half a minute: 200 rounds of 1,300 classes, of 15 leaves each.
MOST_TREES, _MOST_LEAVES_IN_ALL = 2**18, 2**22
# The sum over all trees must be finite.
_LARGEST_LEAF = 1e15
_NUMBERS = re.compile(r"[-+.0-9eE ]*")
_OBJECTIVES = re.compile(r"binary sigmoid:1|multiclass num_class:(\d{1,6})")
_INFO = re.compile(r"none|\[[-+.0-9eE]+:[-+.0-9eE]+\]")
# Importances, parameters, and what pandas had: LightGBM keeps these as texts.
_TAIL = re.compile(
    r"|feature_importances:|Column_\d+=\d+|parameters:|\[\w+: [\w.+,:/ -]*\]|end of parameters|"
    r"pandas_categorical:null",
    re.ASCII,
)
_HEADER = frozenset(
    "version num_class num_tree_per_iteration label_index max_feature_idx objective "
    "feature_names feature_infos tree_sizes".split()
)
_TREE_END = "\n\n\n"
# What is handed on in place of the tail: no answer depends on it, and LightGBM looks for the ends
# of a line of parameters without asking whether it has any.
_END = "end of trees\n"
_NO_TAIL = f"{_END}\npandas_categorical:null\n"
# Arrays of a tree: one number for each split, and one for each leaf.
_OF_SPLITS = ("split_feature", "split_gain", "threshold", "decision_type", "left_child")
_OF_SPLITS += ("right_child", "internal_value", "internal_weight", "internal_count")
_OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
_SINGLE = ("num_leaves", "num_cat", "is_linear", "shrinkage")
_WHOLE = frozenset(
    "split_feature decision_type left_child right_child internal_count leaf_count".split()
)


def checked_model(text: str) -> str:
    """Return a model every line of which was understood, without what no answer depends on.

    Parameters
    ----------
    text : str
        Content of a ``model.txt``, without categorical features and linear leaves, which
        icecore does not train.

    Raises
    ------
    ValueError
        Something is missing, does not fit the rest, or is no finite number; the text says what.
    """
    head, gap, rest = text.partition("\n\n")
    trees, end, tail = rest.partition(_END)
    if not head.startswith("tree\n") or not gap or not end or not text.isascii():
        raise ValueError("it is not a model of LightGBM, or is cut short")
    header = _fields(head.removeprefix("tree\n"), _HEADER, "the header")
    features, sizes = _check_header(header)
    at = leaves = 0
    for number, size in enumerate(sizes):
        block = trees[at : at + size]
        title = f"Tree={number}\n"
        # LightGBM ends at a blank line more or less.
        lines = block.removesuffix(_TREE_END)
        if len(block) != size or not block.startswith(title) or lines == block:
            raise ValueError(f"tree {number} is not where tree_sizes says")
        leaves += _check_tree(lines.removeprefix(title), features, f"tree {number}")
        if leaves > _MOST_LEAVES_IN_ALL:
            raise ValueError(f"its trees have more than {_MOST_LEAVES_IN_ALL} leaves")
        at += size
    if trees[at:]:
        raise ValueError("there is more than the trees that tree_sizes names")
    strange = next((line for line in tail.split("\n") if not _TAIL.fullmatch(line)), None)
    if strange is not None:
        raise ValueError(f"behind the trees it has the line '{strange[:60]}'")
    return f"{head}{gap}{trees}{_NO_TAIL}"


def _fields(text: str, known: frozenset[str], where: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if not equals or name not in known or name in fields:
            raise ValueError(f"{where} has the line '{line[:60]}'")
        fields[name] = value
    missing = known - set(fields)
    if missing:
        raise ValueError(f"{where} has no {', '.join(sorted(missing))}")
    return fields


def _check_header(header: dict[str, str]) -> tuple[int, list[int]]:
    """Return the number of features, and the sizes of the trees."""
    if header["version"] != "v4":
        raise ValueError(f"it is of version '{header['version'][:20]}', not v4")
    classes = _count(header["num_class"], 1, _MOST_CLASSES, "num_class")
    objective = _OBJECTIVES.fullmatch(header["objective"])
    if objective is None or (objective[1] or "1") != str(classes):
        raise ValueError(f"objective is '{header['objective'][:60]}'")
    if header["num_tree_per_iteration"] != header["num_class"]:
        raise ValueError("num_tree_per_iteration is not num_class")
    _count(header["label_index"], 0, 0, "label_index")
    features = 1 + _count(header["max_feature_idx"], 0, _MOST_FEATURES, "max_feature_idx")
    infos = header["feature_infos"].split(" ")
    if len(header["feature_names"].split(" ")) != features or len(infos) != features:
        raise ValueError(f"feature_names or feature_infos are not {features}")
    if not all(map(_INFO.fullmatch, infos)):
        raise ValueError("feature_infos are not ranges of numbers")
    sizes = _numbers(header["tree_sizes"], None, True, "tree_sizes").tolist()
    if not sizes or min(sizes) < 1 or len(sizes) % classes:
        raise ValueError("tree_sizes are not those of whole rounds")
    if len(sizes) > MOST_TREES:
        raise ValueError(f"it has {len(sizes)} trees, more than {MOST_TREES}")
    return features, sizes


def _check_tree(text: str, features: int, where: str) -> int:
    """Return how many leaves the tree has."""
    known = frozenset((*_OF_SPLITS, *_OF_LEAVES, *_SINGLE))
    fields = _fields(text, known, where)
    leaves = _count(fields["num_leaves"], 1, _MOST_LEAVES, f"num_leaves of {where}")
    for name in ("num_cat", "is_linear"):
        _count(fields[name], 0, 0, f"{name} of {where}")
    _numbers(fields["shrinkage"], 1, False, f"shrinkage of {where}")
    found = {}
    for name in (*_OF_SPLITS, *_OF_LEAVES):
        count = leaves if name in _OF_LEAVES else leaves - 1
        # Of a tree without splits the weight of its leaf is not written.
        if name == "leaf_weight" and leaves == 1 and not fields[name]:
            count = 0
        found[name] = _numbers(fields[name], count, name in _WHOLE, f"{name} of {where}")
    if np.abs(found["leaf_value"]).max() > _LARGEST_LEAF:
        raise ValueError(f"leaf_value of {where} goes beyond {_LARGEST_LEAF:.0e}")
    if leaves > 1:
        _check_splits(found, leaves, features, where)
    return leaves


def _check_splits(found: dict[str, np.ndarray], leaves: int, features: int, where: str) -> None:
    split = found["split_feature"]
    if split.min() < 0 or split.max() >= features:
        raise ValueError(f"{where} splits by a feature that there is not")
    kinds = found["decision_type"]
    if kinds.min() < 0 or kinds.max() > 15 or (kinds & 1).any():
        raise ValueError(f"{where} has a split of another kind than by numbers")
    children = np.concatenate([found["left_child"], found["right_child"]])
    # Every leaf (-1 and below) and every split but the first has one parent, which stands
    # before it, so no way through the tree has a circle.
    if not np.array_equal(np.sort(children), np.concatenate(
        [np.arange(-leaves, 0), np.arange(1, leaves - 1)]
    )):  # fmt: skip
        raise ValueError(f"the splits of {where} are no tree")
    parents = np.tile(np.arange(leaves - 1), 2)
    if ((children >= 0) & (children <= parents)).any():
        raise ValueError(f"the splits of {where} go in a circle")


def _count(text: str, least: int, most: int, name: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
        raise ValueError(f"{name} is '{text[:20]}', not a number from {least} to {most}")
    return int(text)


def _numbers(text: str, count: int | None, whole: bool, name: str) -> np.ndarray:
    """Read numbers with single spaces between; all are finite."""
    parts = text.split(" ") if text else []
    if not _NUMBERS.fullmatch(text) or (count is not None and len(parts) != count):
        wanted = "" if count is None else f"{count} "
        raise ValueError(f"{name} are not {wanted}numbers")
    try:
        values = np.array(parts, np.int64 if whole else np.float64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} are not numbers") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{name} are not finite")
    return values
