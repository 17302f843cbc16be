"""Which networks timm knows, and where their weights are; nothing is loaded or asked for."""

import dataclasses
import fnmatch
import warnings

from ...core.errors import MissingDependencyError
from ...core.imports import load

HUB, NONE = "hub", "none"


@dataclasses.dataclass(frozen=True)
class TimmNetwork:
    """A network of timm.

    Attributes
    ----------
    spec : str
        What to give to ``--backbone``.
    weights_from : str
        ``hub``, or ``none``: timm names a file elsewhere that may run code, or no file.
    """

    spec: str
    weights_from: str


def load_timm():
    """Import timm without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load("timm")


def why_no_timm() -> str:
    """Say why timm's networks are not found; nothing where they are."""
    try:
        load_timm()
        return ""
    except MissingDependencyError as error:
        return error.message


def find_timm_networks(text: str) -> list[TimmNetwork]:
    """Return timm's pretrained networks of which `text` is a part of the name, or a pattern.

    Parameters
    ----------
    text : str
        A part of a name, a pattern with ``*`` and ``?``, either after ``timm:`` or not.
    """
    name = text.removeprefix("timm:")
    if ":" in name or why_no_timm():
        return []
    timm = load_timm()
    pattern = name if any(one in name for one in "*?[") else f"*{name}*"
    found = [one for one in timm.list_pretrained() if fnmatch.fnmatchcase(one, pattern)]
    return [TimmNetwork(f"timm:{one}", _from(timm, one)) for one in found]


def _from(timm, name: str) -> str:
    about = timm.get_pretrained_cfg(name)
    return HUB if about is not None and about.hf_hub_id else NONE
