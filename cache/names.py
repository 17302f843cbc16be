"""How what a user writes names a feature set."""

from __future__ import annotations

import re
from pathlib import PurePath

__all__ = ["how_well_it_names"]


def how_well_it_names(wanted: str, name: str, fingerprint: str) -> int:
    """Rate how well `wanted` names a set: 0 not at all; higher is more exact.

    4 is the set's name itself (``onnx:models/lite0.onnx``), 3 the name of the file in it
    (``onnx:lite0.onnx``), 2 either without its resolution (``gluon:inceptionv3`` for
    ``gluon:inceptionv3@320``), and 1 what stands behind the colon, with or without the
    ending (``lite0``). Any of them may be followed by ``#`` and the first digits of the
    fingerprint, which must then be the set's.
    """
    wanted, _, prefix = wanted.partition("#")
    if prefix and not fingerprint.startswith(prefix.lower()):
        return 0
    if wanted == name or (not wanted and prefix):
        return 4
    source, base = _split(name)
    wanted_source, wanted_base = _split(wanted)
    plain = base.partition("@")[0]
    if wanted_source == source:
        return 3 if wanted_base == base else 2 * (wanted_base == plain)
    stem = PurePath(plain).stem if plain.endswith(_ENDINGS) else plain
    size = base.removeprefix(plain)
    return int(not wanted_source and wanted_base in {base, plain, stem, stem + size})


_ENDINGS = (".onnx", ".xml", ".params", ".json")


def _split(name: str) -> tuple[str, str]:
    """Return the source and the last part of the path."""
    source, _, path = name.rpartition(":")
    return source, re.split(r"[/\\]", path)[-1]
