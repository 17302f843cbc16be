"""How what a user writes names a feature set."""

import re
from pathlib import PurePath


def match_rank(asked: str, name: str, fingerprint: str) -> int:
    """Rate how well `asked` names a set: 0 not at all; higher is more exact.

    4 is the set's name itself (``onnx:models/lite0.onnx``), 3 the name of the file in it
    (``onnx:lite0.onnx``), 2 either without its resolution (``gluon:inceptionv3`` for
    ``gluon:inceptionv3@320``), and 1 what stands behind the colon, with or without the
    ending (``lite0``). Any of them may be followed by ``#`` and the first digits of the
    fingerprint, which must then be the set's.
    """
    asked, _, prefix = asked.partition("#")
    if prefix and not fingerprint.startswith(prefix.lower()):
        return 0
    if asked == name or (not asked and prefix):
        return 4
    source, base = _split(name)
    asked_source, asked_base = _split(asked)
    plain = base.partition("@")[0]
    if asked_source == source:
        return 3 if asked_base == base else 2 * (asked_base == plain)
    stem = PurePath(plain).stem if plain.endswith(_ENDINGS) else plain
    size = base.removeprefix(plain)
    return int(not asked_source and asked_base in {base, plain, stem, stem + size})


_ENDINGS = (".onnx", ".xml", ".params", ".json")


def _split(name: str) -> tuple[str, str]:
    """Return the source and the last part of the path."""
    source, _, path = name.rpartition(":")
    return source, re.split(r"[/\\]", path)[-1]
