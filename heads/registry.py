"""The heads by name: making one, saving is its own, loading one back."""

import json
import os
from pathlib import Path

from ..core.errors import HeadError
from .base import Head
from .kinds.external import ExternalHead
from .kinds.grouped import GroupedHead
from .kinds.kernel import KernelHead
from .kinds.lightgbm import LightGBMHead
from .kinds.logistic import LogisticHead
from .kinds.neighbours import NeighboursHead
from .kinds.ridge import RidgeHead
from .mlp.classifier import MLPClassifier
from .saved import HeadFiles

# Besides these, "module:Class" names any importable classifier.
HEAD_KINDS: dict[str, type[Head]] = {
    cls.kind: cls
    for cls in (
        KernelHead,
        GroupedHead,
        LogisticHead,
        MLPClassifier,
        LightGBMHead,
        RidgeHead,
        NeighboursHead,
    )
}
_LOADABLE = {**HEAD_KINDS, ExternalHead.kind: ExternalHead}


def make_head(kind: str, seed: int | None = None, **settings) -> Head:
    """Return an unfitted head.

    Parameters
    ----------
    kind : str
        A name in `HEAD_KINDS`, or ``module:Class``.
    seed : int, optional
        Its random_state.
    **settings
        Passed to its constructor.

    Raises
    ------
    HeadError
        No such kind, no such settings (all unknown ones are named), or settings out of range.
    """
    if ":" in kind:
        return ExternalHead(kind, json.dumps(settings), random_state=seed)
    _require_kind(kind)
    head = HEAD_KINDS[kind](random_state=seed)
    unknown = sorted(set(settings) - set(head.get_params()))
    if unknown:
        raise HeadError(
            f"the head '{kind}' has no setting {', '.join(unknown)}",
            f"it has {', '.join(sorted(head.get_params()))}",
        )
    head.set_params(**settings).check_settings()
    return head


def load_head(folder: str | os.PathLike) -> Head:
    """Load a head that `Head.save` wrote. Nothing in the files is executed.

    Raises
    ------
    MissingFileError
        There is no head in `folder`.
    HeadError
        A file is not what it should be; the message says what.
    """
    files = HeadFiles(Path(folder))
    if files.kind not in _LOADABLE:
        raise files.refuse(f"its kind is '{files.kind}', not {', '.join(_LOADABLE)}")
    cls = _LOADABLE[files.kind]
    unknown = sorted(set(files.settings) - set(cls().get_params()))
    if unknown:
        raise files.refuse(f"head.json has unknown settings: {', '.join(unknown)}")
    # JSON has no tuples.
    settings = {n: tuple(v) if isinstance(v, list) else v for n, v in files.settings.items()}
    head = cls(**settings)
    head.classes_ = files.classes
    head.n_features_in_ = files.features
    try:
        head.check_settings()
    except HeadError as error:
        raise files.refuse(error.message) from error
    try:
        head._restore(files.fitted, files)
    except TypeError as error:
        raise files.refuse(f"a setting has the wrong type ({error})") from error
    return head


def _require_kind(kind: str) -> None:
    if kind not in HEAD_KINDS:
        raise HeadError(
            f"there is no head '{kind}'",
            f"choose from {', '.join(HEAD_KINDS)}, or name a class as module:Class",
        )
