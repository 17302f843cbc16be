"""Questions about a graph that a process of its own has to answer; what it said is remembered."""

import contextlib
from collections.abc import Sequence

from ... import __version__
from ...core.child import Limits, ask_child
from ...core.errors import IcecoreError
from ...core.files import publish_json, sha256_bytes
from ...core.folders import scratch_folder
from ...core.json_files import read_json
from .store import graph_folder, graph_key


def ask_once(module: str, content: bytes, arguments: Sequence[str], limits: Limits) -> dict:
    """Ask `module` in a child, as `ask_child` does, about a graph that it is given as a file.

    Raises
    ------
    ChildError
        It gave no answer; that is not remembered.
    """
    parts = {"graph": sha256_bytes(content), "asked": [module, *arguments], "icecore": __version__}
    note = graph_folder() / f"asked-{graph_key(parts)[:32]}.json"
    with contextlib.suppress(IcecoreError):
        if isinstance(known := read_json(note).get("answer"), dict):
            return known
    with scratch_folder() as folder:
        temporary = folder / "graph.onnx"
        temporary.write_bytes(content)
        answer = ask_child(module, [str(temporary), *arguments], limits)
    with contextlib.suppress(OSError):  # Where nothing can be kept it is asked each time.
        publish_json(note, parts | {"answer": answer})
    return answer
