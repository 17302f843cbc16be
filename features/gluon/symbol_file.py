"""Read MXNet's ``-symbol.json`` files from strangers.

MXNet's own parser trusts the indices in a file and knows operators that run
code. Here the graph is checked first: its size, that inputs come before what
reads them, that every operator is one which can be written as ONNX; and only
what was checked is handed on.
"""

import ast
import os
from pathlib import Path
from typing import Any

from ...core.errors import BackboneError, MissingFileError, enumerate_some
from ...core.json_files import read_json
from .operators import OPERATORS

LARGEST_FILE = 32 * 2**20
_MOST_NODES, _LONGEST_TEXT = 100_000, 4096
# Operators with more outputs than one; all others are read at their first.
_OUTPUTS = {"BatchNorm": 3, "LayerNorm": 3, "GroupNorm": 3, "Dropout": 2}
_SPLITS = ("SliceChannel", "split")
_KNOWN = frozenset({"null", "heads", *OPERATORS})


def read_symbol(path: Path) -> list[dict]:
    """Read and check a graph.

    Returns
    -------
    list of dict
        Its nodes: ``op``, ``name``, ``attrs`` (str to str) and ``inputs``; the last entry
        has the op ``heads`` and the graph's outputs as its inputs.

    Raises
    ------
    MissingFileError, BackboneError
        All faults are named at once.
    """
    if not os.path.lexists(path):
        raise MissingFileError(
            f"{path} is not there", "give PREFIX of PREFIX-symbol.json and PREFIX-0000.params"
        )
    hint = "export the network again; a symbol file holds no weights and is small"
    content = read_json(path, BackboneError, hint, kind=object, most=LARGEST_FILE)
    faults, nodes = _checked(content)
    unknown = _unknown_operators(nodes)
    if unknown and not faults:
        raise BackboneError(
            f"{path} has operators that icecore does not know: {enumerate_some(unknown)}",
            "icecore knows those of the classifiers of both Gluon zoos. Export the part of the "
            "network before them alone (HybridBlock.export), or turn the network into ONNX "
            "(mxnet.onnx.export_model) and use onnx:FILE",
        )
    if faults:
        raise BackboneError(
            f"{path} is not a usable MXNet symbol: {enumerate_some(faults)}",
            "export the network again with HybridBlock.export",
        )
    return nodes


def _checked(content: object) -> tuple[list[str], list[dict]]:
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list):
        return ["it has no list of nodes"], []
    raw = content["nodes"]
    if not 0 < len(raw) <= _MOST_NODES:
        return [f"it has {len(raw)} nodes"], []
    faults: list[str] = []
    nodes: list[dict] = []
    for index, one in enumerate(raw):
        node: Any = _node(one)
        if node is None:
            faults.append(f"node {index} is malformed")
            node = {"op": "null", "name": f"malformed{index}", "attrs": {}, "inputs": []}
        elif not all(_is_place(place, nodes) for place in node["inputs"]):
            faults.append(f"node {index} ('{node['name'][:40]}') reads what is not there")
        nodes.append(node)
    heads = content.get("heads")
    heads = heads if isinstance(heads, list) else []
    if not heads or not all(_is_list_of_ints(h) and _is_place(h[:2], nodes) for h in heads):
        faults.append("its outputs are not there")
    names = [node["name"] for node in nodes]
    if len(set(names)) != len(names):
        faults.append("two nodes have the same name")
    nodes.append({"op": "heads", "name": "", "attrs": {}, "inputs": [h[:2] for h in heads]})
    return faults, nodes


def _unknown_operators(nodes: list[dict]) -> list[str]:
    """Describe the operators that cannot be written as ONNX, each once."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        if node["op"] not in _KNOWN:
            found.setdefault(node["op"], []).append(node["name"])
    return [
        f"'{op[:40]}' of '{names[0][:40]}'" + (f" and {len(names) - 1} more" * (len(names) > 1))
        for op, names in found.items()
    ]


def _node(one: Any) -> dict | None:
    if not isinstance(one, dict):
        return None
    attributes = one.get("attrs") or one.get("attr") or one.get("param") or {}
    name, operator = one.get("name"), one.get("op")
    inputs: Any = one.get("inputs")
    sound = (
        isinstance(operator, str)
        and isinstance(name, str)
        and 0 < len(name) <= _LONGEST_TEXT
        and "\0" not in name
        and isinstance(attributes, dict)
        and all(
            isinstance(text, str) and len(text) <= _LONGEST_TEXT and "\0" not in text
            for text in attributes.values()
        )
        and isinstance(inputs, list)
        and all(_is_list_of_ints(place) for place in inputs)
        and (operator != "null") == bool(inputs)
    )
    if not sound:
        return None
    # Attributes in double underscores direct MXNet's executor (devices, shapes); a graph
    # of features needs none, and shapes come from the weights.
    kept = {key: text for key, text in attributes.items() if not key.startswith("__")}
    return {"op": operator, "name": name, "attrs": kept, "inputs": [p[:2] for p in inputs]}


def _is_list_of_ints(value: object) -> bool:
    return (
        isinstance(value, list)
        and 2 <= len(value) <= 3
        and all(isinstance(n, int) and not isinstance(n, bool) for n in value)
    )


def _is_place(place: list[int], nodes: list[dict]) -> bool:
    index, output = place
    if not 0 <= index < len(nodes):
        return False
    node = nodes[index]
    outputs = _OUTPUTS.get(node["op"], 1)
    if node["op"] in _SPLITS:
        try:
            outputs = int(ast.literal_eval(node["attrs"].get("num_outputs", "1")))
        except (ValueError, SyntaxError, TypeError):
            outputs = 0
    return 0 <= output < outputs
