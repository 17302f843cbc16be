"""The files of a saved head: ``head.json`` and ``weights.npz``."""

import functools
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import HeadError, MissingFileError, enumerate_some
from ..core.json_files import read_json
from ..core.npz_files import NpzEntry, read_npz

FORMAT = 1

LARGEST_JSON = 16 * 2**20

# Bounds what a stranger's file can make us allocate.
LARGEST_ARRAYS = 8 * 2**30


class HeadFiles:
    """Checked access to a saved head's folder.

    Raises
    ------
    MissingFileError
        There is no head.json.
    HeadError
        head.json is not what it should be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "head.json"
        if not os.path.lexists(path):
            raise MissingFileError(f"{path} is not there", "give the folder of a saved head")
        try:
            self.content: dict[str, Any] = read_json(path, HeadError, most=LARGEST_JSON)
        except HeadError as error:
            raise self.refuse(error.message) from error
        content = self.content
        version = self.field(content, "format", int)
        if version != FORMAT:
            raise self.refuse(f"head.json has format {version}; this icecore reads {FORMAT}")
        self.kind = self.field(content, "kind", str)
        self.settings = self.field(content, "settings", dict)
        self.fitted = self.field(content, "fitted", dict)
        self.features = self.field(content, "features", int)
        self.classes = self._classes()
        if not 1 <= self.features <= 2**24:
            raise self.refuse(f"head.json has {self.features} features")

    def refuse(self, what: str) -> HeadError:
        """Return the error that says what is wrong with this folder."""
        return HeadError(f"the head in {self.folder} cannot be used: {what}", "train it again")

    def field(self, content: Mapping[str, Any], name: str, kind: type) -> Any:
        """Return ``content[name]`` if it is a `kind`."""
        value = content.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.refuse(f"head.json has {name} = {value!r:.60}, not {kind.__name__}")
        return value

    def one_of(self, content: Mapping[str, Any], name: str, values: Sequence[str]) -> str:
        """Return ``content[name]`` if it is one of `values`."""
        value = self.field(content, name, str)
        if value not in values:
            raise self.refuse(f"head.json has {name} = {value!r:.60}, not {', '.join(values)}")
        return value

    def sets(self, content: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the widths of the feature sets, which sum to the number of features."""
        widths = self.field(content, "sets", list)
        whole = all(type(width) is int and width > 0 for width in widths)
        if not whole or sum(widths) != self.features:
            wanted = f"whole numbers of 1 or more that are {self.features} in all"
            raise self.refuse(f"head.json has sets = {widths!r:.60}, not {wanted}")
        return tuple(widths)

    def arrays(
        self, shapes: Mapping[str, tuple[int | None, ...]], half: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return the arrays of weights.npz: finite, of the `shapes` (None: any).

        They are float32, those that `half` names float16.
        """
        path = self.folder / "weights.npz"
        try:
            check = functools.partial(_unfit, shapes=shapes, half=half)
            found = read_npz(path, HeadError, check=check, most=LARGEST_ARRAYS)
        except (HeadError, MissingFileError) as error:
            raise self.refuse(error.message) from error
        for name, array in found.items():
            if not np.isfinite(array).all():
                raise self.refuse(f"{name} in weights.npz is not finite")
        return found

    def _classes(self) -> np.ndarray:
        names = self.field(self.content, "classes", list)
        kinds = {type(name) for name in names}
        if len(names) < 2 or len(kinds) != 1 or not kinds <= {str, int, float, bool}:
            raise self.refuse("its classes are not two or more names (or numbers)")
        try:
            classes = np.array(names)
        except (OverflowError, ValueError) as error:
            raise self.refuse(f"its classes are not usable: {error}") from error
        if classes.dtype.kind == "O":
            raise self.refuse("its classes are numbers that are too large")
        if len(np.unique(classes)) != len(names) or (np.unique(classes) != classes).any():
            raise self.refuse("its classes repeat or are not in order")
        return classes


def _unfit(
    entries: Mapping[str, NpzEntry],
    shapes: Mapping[str, tuple[int | None, ...]],
    half: Sequence[str],
) -> str:
    """Say what of the arrays that weights.npz declares is not as the head needs it."""
    if set(entries) != set(shapes):
        there, wanted = (enumerate_some(sorted(one)) or "nothing" for one in (entries, shapes))
        return f"has {there}, not {wanted}"
    for name, shape in shapes.items():
        have = entries[name]
        fits = len(have.shape) == len(shape) and all(
            want is None or want == length for want, length in zip(shape, have.shape)
        )
        wanted = "float16" if name in half else "float32"
        if have.dtype != wanted or not fits:
            return f"has {name} of {have}, not {wanted} {shape}"
    return ""


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON can hold them; a generator given as seed becomes null."""
    plain: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, (bool, str)) or value is None:
            plain[name] = value
        elif isinstance(value, numbers.Integral):
            plain[name] = int(value)
        elif isinstance(value, numbers.Real):
            plain[name] = float(value)
        elif isinstance(value, (list, tuple)):
            plain[name] = [int(number) for number in value]
        else:
            plain[name] = None
    return plain
