"""Which weights a user asks for, and the file that answers."""

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

from ...core.errors import BackboneError, WeightsError
from ...core.files import sha256_file
from ...core.regular_files import kind_of
from .file_memory import FileMemory


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

    def require_none_for(self, name: str) -> None:
        """Refuse random weights for a network whose files hold its own."""
        if self.random_seed is not None:
            raise BackboneError(
                f"{name} carries its own weights; {self.text} cannot apply",
                "leave --weights away, or extract this backbone in a run of its own",
            )

    def own_file(self, name: str) -> Path | None:
        """Return the file of a name in the user's folder, or None where there is none.

        Raises
        ------
        WeightsError
            There is something else of that name: whoever put it there means it to be used.
        """
        path = self.folder / name if self.folder else None
        if path is None or path.is_file():
            return path
        if what := what_is_there(path):
            raise WeightsError(
                f"{path} is {what}, and weights are regular files",
                "put the file itself there, or take that away",
            )
        return None

    def located(self, path: Path, is_there: Callable[[Path], bool] = Path.is_file) -> Path:
        """Return where a network's file is: of a bare name in the user's folder first.

        A path that leads through folders is taken as it is, where it leads to a file.
        """
        own = None if self.folder is None else self.folder / path.name
        if own is None or not is_there(own):
            return path
        return path if path.parent != Path(".") and is_there(path) else own

    @property
    def text(self) -> str:
        """``pretrained`` or ``random:SEED``."""
        return "pretrained" if self.random_seed is None else f"random:{self.random_seed}"


def what_is_there(path: Path) -> str:
    """Say what is at a path that leads to no regular file; empty if nothing is."""
    if not os.path.lexists(path):
        return ""
    return kind_of(path.stat().st_mode) if path.exists() else "a link to no file"


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A weights file and where it came from.

    Attributes
    ----------
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
        digest = FileMemory(self.path).recall("SHA-256", lambda: sha256_file(self.path))
        parts.append(f"SHA-256 {digest}")
        if self.passed:
            parts.append(f"looked before at {'; '.join(self.passed)}")
        return ", ".join(parts)
