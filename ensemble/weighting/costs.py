"""Where the prices of models come from: a run's backbone records, or a table of one's own."""

import dataclasses
import os

from ...core.errors import ProbabilityError
from ...core.json_fields import JsonFields
from ...core.json_files import read_json
from .subsets import Costs


def read_costs(path: str | os.PathLike) -> Costs:
    """Read a JSON table of prices.

    Parameters
    ----------
    path : path-like
        ``{"backbones": {"<name>": {"size_bytes": 1e8, "latency_ms": 30}}, "models":
        {"<model>": ["<name>", ...]}}``. A model that is not listed is a part of its own.
    """
    hint = (
        'it is JSON: {"backbones": {"name": {"size_bytes": 1e8, "latency_ms": 30}}, '
        '"models": {"model": ["name"]}}'
    )
    content = read_json(path, ProbabilityError, hint)
    table = JsonFields(content, f"the cost table {path}", ProbabilityError, hint)
    records = []
    for name, prices in table.parts("backbones"):
        known = [cost for cost in ("size_bytes", "latency_ms") if prices.has(cost)]
        records.append({"spec": name, **{cost: prices.number(cost, 0) for cost in known}})
    models = table.part("models") if table.has("models") else None
    needs = {model: models.texts(model) for model in models.content} if models else {}
    return _costs(records, needs)


def run_costs(about: dict, task: str) -> Costs:
    """Take prices from ``run.json``: ``backbones`` with their records, ``features`` of a task.

    A backbone's ``size_bytes`` and ``latency_ms`` may stand in its entry or in the record
    of the backbone inside. What is not recorded is simply not known; a limit on it is then
    refused. Feature sets of equal weights are of one network.
    """
    records, network = [], {}
    for entry in about.get("backbones", []):
        if isinstance(entry, dict):
            record = entry.get("record") or {}
            inner = record.get("backbone") or {} if isinstance(record, dict) else {}
            # A task's features name feature sets by fingerprint.
            name = str(entry.get("fingerprint") or entry.get("spec"))
            records.append({**inner, **entry, "spec": name})
            network[name] = str(inner.get("weights_digest") or entry.get("spec"))
    features = about.get("tasks", {}).get(task, {}).get("features", {})
    needs = {model: list(parts) for model, parts in features.items()}
    return dataclasses.replace(_costs(records, needs), network=network)


def _costs(records: list[dict], needs: dict[str, list[str]]) -> Costs:
    def prices(name: str) -> dict[str, float]:
        return {
            str(record["spec"]): float(record[name])
            for record in records
            if record.get(name) is not None and record.get("spec")
        }

    return Costs(needs, prices("size_bytes"), prices("latency_ms"))
