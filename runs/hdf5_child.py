"""HDF5 files of probabilities, read by another process.

The HDF5 library believes what a file says of its own insides: one that is damaged, or made for it,
ends the process, has it look for ever, or takes gigabytes. ``python -m icecore.runs.hdf5_child``
reads such a file within limits, and hands its arrays over as NPZ.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..core.child import ChildError, Limits, answer_parent, ask_child
from ..core.errors import IcecoreError, ProbabilityError, enumerate_some
from ..core.folders import scratch_folder
from ..core.hdf5_files import (
    UNUSABLE,
    open_hdf5,
    read_array,
    read_attribute,
    read_text,
    read_texts,
)
from ..core.hdf5_rules import most_unpacked
from ..core.npz_files import read_npz, write_npz
from ..core.regular_files import open_regular
from .table import as_texts

_ARRAYS, _LISTS = ("ids", "classes", "probabilities"), ("ids", "classes", "splits")
_WORDS = ("model", "task")
_AGAIN = "write the file again"
# To start takes less than a second of a processor, and a second unpacks at least so much.
_LEAST_SECONDS, _BYTES_A_SECOND, _SECONDS = 5, 16 * 2**20, 600.0
# Numbers of two bytes become ones of eight.
_MEMORY, _TIMES_UNPACKED = 2**30, 5


def read_hdf5(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Return the texts and the numbers of an HDF5 file of probabilities.

    Raises
    ------
    ProbabilityError
        It is none, or the library cannot read it within the limits.
    """
    with open_regular(path, 0) as file:
        most = most_unpacked(os.fstat(file.fileno()).st_size)
    limits = Limits(
        _LEAST_SECONDS + most // _BYTES_A_SECOND, _SECONDS, _MEMORY + _TIMES_UNPACKED * most
    )
    with scratch_folder() as folder:
        out = folder / "arrays.npz"
        try:
            answer = ask_child(__spec__.name, [str(path.absolute()), str(out)], limits)
        except ChildError as error:
            raise ProbabilityError(f"{path} {UNUSABLE}: reading it {error}", _AGAIN) from error
        if "error" in answer:
            message = answer["error"].replace(str(path.absolute()), str(path))
            raise ProbabilityError(message, answer["hint"])
        arrays = read_npz(out, ProbabilityError, _AGAIN)
    numbers = arrays.pop("probabilities")
    fields: dict[str, Any] = dict(answer)
    return fields | {name: _unpacked(arrays, name) for name in _LISTS if name in arrays}, numbers


def _answer(path: str, out: str) -> dict:
    try:
        words, arrays = _read(Path(path))
        write_npz(out, arrays)
    except (IcecoreError, OSError) as error:
        return {"error": getattr(error, "message", str(error)), "hint": getattr(error, "hint", "")}
    return words


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    with open_hdf5(path, ProbabilityError, _AGAIN) as file:
        missing = sorted(set(_ARRAYS) - set(file))
        if missing:
            raise ProbabilityError(
                f"{path} lacks {enumerate_some(missing)}; it has "
                + (enumerate_some(sorted(file)) or "nothing"),
                "the arrays ids, classes and probabilities are needed",
            )
        # icecore writes attributes; arrays, as in an NPZ, are what others write.
        words = {name: read_text(file, name) for name in _WORDS if name in file}
        words |= {name: str(read_attribute(file, name)) for name in _WORDS if name in file.attrs}
        arrays: dict[str, np.ndarray] = {}
        for name in _LISTS:
            if name in file:
                arrays |= _packed(name, _texts(file, name))
        kind = _kind(file, "probabilities")
        if kind not in "fiu":
            raise ValueError("'probabilities' are no numbers")
        numbers = read_array(file, "probabilities", 2, kind).astype(np.float64)
    return words, {**arrays, "probabilities": numbers}


def _kind(file, name: str) -> str:
    # A group has no type.
    return getattr(file[name], "dtype", np.dtype(object)).kind


def _texts(file, name: str) -> tuple[str, ...]:
    kind = _kind(file, name)
    numbers = name == "ids" and kind in "iu"
    return as_texts(
        name, read_array(file, name, 1, kind).tolist() if numbers else read_texts(file, name)
    )


def _packed(name: str, texts: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Put texts end to end: as an array of texts all would take the room of the longest."""
    content = np.frombuffer("".join(texts).encode(), np.uint8)
    return {name: content, f"{name} lengths": np.array([len(text) for text in texts], np.int64)}


def _unpacked(arrays: dict[str, np.ndarray], name: str) -> tuple[str, ...]:
    text = arrays[name].tobytes().decode()
    ends = np.cumsum(arrays[f"{name} lengths"]).tolist()
    return tuple(text[start:end] for start, end in zip([0, *ends], ends))


if __name__ == "__main__":
    answer_parent(sys.argv[1:], _answer)
