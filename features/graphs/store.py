"""Where exported graphs are kept, each with a note on what it is and how it was proved."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from ...core.errors import IcecoreError
from ...core.files import publish, publish_json, sha256_file
from ...core.folders import user_folder
from ...core.json_files import read_json
from ..records.record import BackboneRecord


def graph_folder() -> Path:
    """Return where exported graphs are kept: ``$ICECORE_GRAPHS`` or the user's cache folder."""
    return user_folder("graphs", "ICECORE_GRAPHS")


def graph_key(parts: dict) -> str:
    """Digest everything that a graph depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def kept_graph(path: Path, key: str) -> tuple[BackboneRecord, dict] | None:
    """Return the record and the note of a kept graph, or None if there is none that is whole."""
    try:
        note = read_json(path.with_suffix(".json"))
        if note["key"] == key and sha256_file(path) == note["sha256"]:
            return BackboneRecord.from_dict(note["record"]), note
    except (IcecoreError, OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # A damaged note is as good as none: the graph is exported and proved anew.
    return None


def keep_graph(
    path: Path,
    key: str,
    content: bytes,
    prove: Callable[[Path], float],
    record: BackboneRecord,
    **about: object,
) -> None:
    """Prove a graph and keep it; one that is not proved leaves nothing.

    Parameters
    ----------
    key : str
        From `graph_key`.
    prove : callable
        Takes the path of the graph, returns its error or raises.
    **about
        More for the note, JSON types.
    """
    with publish(path) as temporary:
        temporary.write_bytes(content)
        error = prove(temporary)
    note = {
        "key": key,
        "sha256": sha256_file(path),
        "relative_error": error,
        "record": record.as_dict(),
        **about,
    }
    publish_json(path.with_suffix(".json"), note)
