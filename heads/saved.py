"""The files of a saved head: ``head.json`` and ``weights.npz``."""

from __future__ import annotations

import json
import numbers
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import HeadError, MissingFileError, enumerate_some
from ..core.files import publish

__all__ = ["FORMAT", "HeadFiles", "LARGEST_ARRAY", "LARGEST_JSON", "plain_settings", "write_arrays"]


FORMAT = 1

LARGEST_JSON = 16 * 2**20

# Bounds what a stranger's file can make us allocate: 2**31 float32 are 8 GiB.
LARGEST_ARRAY = 2**31


class HeadFiles:
    """Checked access to a saved head's folder.

    Parameters
    ----------
    folder : pathlib.Path

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
        if not path.is_file():
            raise MissingFileError(f"{path} is not there", "give the folder of a saved head")
        if path.stat().st_size > LARGEST_JSON:
            raise self.refuse("head.json is larger than 16 MiB")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise self.refuse(f"head.json is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise self.refuse("head.json is not a JSON object")
        self.content: dict[str, Any] = content
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

    def sets(self, content: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the widths of the feature sets, which sum to the number of features."""
        widths = self.field(content, "sets", list)
        whole = all(type(width) is int and width > 0 for width in widths)
        if not whole or sum(widths) != self.features:
            raise self.refuse(f"head.json has sets = {widths!r:.60}, not {self.features} in all")
        return tuple(widths)

    def arrays(
        self, shapes: Mapping[str, tuple[int | None, ...]], half: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return the arrays of weights.npz: finite, of the `shapes` (None: any).

        They are float32, those that `half` names float16.
        """
        path = self.folder / "weights.npz"
        if not path.is_file():
            raise self.refuse("weights.npz is not there")
        found: dict[str, np.ndarray] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > 4 * LARGEST_ARRAY:
                    raise self.refuse("weights.npz unpacks to more than 8 GiB")
            with np.load(path, allow_pickle=False) as stored:
                if set(stored.files) != set(shapes):
                    raise self.refuse(
                        f"weights.npz has {enumerate_some(sorted(stored.files))}, "
                        f"not {enumerate_some(sorted(shapes))}"
                    )
                for name in shapes:
                    found[name] = stored[name]
        except HeadError:
            raise
        # zipfile and numpy answer a damaged archive with many kinds of error.
        except Exception as error:
            raise self.refuse(f"weights.npz is not readable ({error})") from error
        for name, shape in shapes.items():
            array = found[name]
            fits = len(array.shape) == len(shape) and all(
                want is None or want == have for want, have in zip(shape, array.shape, strict=True)
            )
            wanted = "float16" if name in half else "float32"
            if array.dtype != wanted or not fits:
                raise self.refuse(
                    f"weights.npz has {name} of {array.dtype} {array.shape}, not {wanted} {shape}"
                )
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
        if len(np.unique(classes)) != len(names) or (np.unique(classes) != classes).any():
            raise self.refuse("its classes repeat or are not in order")
        return classes


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as NPZ, atomically.

    `numpy.savez` would pickle objects, and has no way to forbid it before NumPy 2.1.
    """
    with publish(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            # A fixed date makes equal arrays equal files.
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


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
