"""The model card of a run: what a reader must know before using its answers."""

import json
import os
from pathlib import Path

from .. import __version__
from ..core.arguments import typed
from ..core.errors import RunError, counted
from ..core.json_fields import JsonFields
from ..core.json_files import read_json
from ..core.text import markdown, markdown_table
from ..ensemble import METRICS
from .trained import Trained, open_trained

_AGAIN = "run 'icecore blend' on this folder again"


@typed
def model_card(run: str | os.PathLike, answer: str | None = None) -> str:
    """Return the model card of a run as Markdown.

    Parameters
    ----------
    run : path-like
        Blended, so that there are metrics of the answer.
    answer : str, optional
        As for `predict`.

    Raises
    ------
    RunError, MissingFileError
        The run cannot be read.
    """
    trained = open_trained(run, answer)
    lines = ["---", "library_name: icecore", "pipeline_tag: image-classification", "---", ""]
    lines += [f"# {markdown(Path(run).resolve().name)}", ""]
    if any(part.run.random_weights for part in trained.runs):
        lines += ["**RANDOM WEIGHTS: the networks have learnt nothing. For trials only.**", ""]
    lines += ["Frozen networks give features, heads trained on them give probabilities, and "]
    lines[-1] += f"their weighted average is the answer. Made by icecore {__version__}."
    lines += ["", "## Intended use", "", "*For the author: what it is for, and what it is not "]
    lines[-1] += "for; who is concerned; where the images come from and under which terms.*"
    lines += ["", "## Answers", ""]
    for task, classes in trained.classes.items():
        names = ", ".join(markdown(name) for name in classes)
        used = trained.weights[task]
        parts = [f"{markdown(m)} {w:.3f}" for m, w in used.weights.items() if w]
        lines += [f"- **{markdown(task)}**, {len(classes)} classes: {names}."]
        lines[-1] += f" {used.answer[:1].upper()}{used.answer[1:]}: {', '.join(parts)}."
        for group, own in used.routed.items():
            parts = [f"{markdown(m)} {w:.3f}" for m, w in own.items() if w]
            lines[-1] += f" For images of the group {markdown(group)}: {', '.join(parts)}."
    return "\n".join([*lines, *_metrics(run, trained), *_data(trained), *_networks(trained)]) + "\n"


def _metrics(run: str | os.PathLike, trained: Trained) -> list[str]:
    """Return the scores on rows that no choice has seen, as the blend found them."""
    lines = ["", "## Metrics", ""]
    path = Path(run) / "blend.json"
    if not path.is_file():
        return [*lines, "Not blended: there is no estimate for this answer."]
    content = JsonFields(read_json(path, RunError, _AGAIN), str(path), RunError, _AGAIN)
    lines += [
        "On rows that no choice has seen, 95% bootstrap intervals over images in brackets.",
        "",
    ]
    lines += ["| task | answer | metric | value | rows |", "|---|---|---|---|---|"]
    for task in content.items("tasks"):
        if not task.content.get("estimate"):
            continue
        found = task.part("estimate")
        rows = f"{found.integer('rows', 0)}, {markdown(found.text('source'))}"
        for answer in ("recommended", "average"):
            for metric, score in found.part("scores").parts(answer):
                interval = f"{score.number('value'):.4f}"
                if score.content.get("low") is not None:
                    interval += f" [{score.number('low'):.4f}, {score.number('high'):.4f}]"
                name = markdown(task.text("task"))
                title = METRICS[metric].title if metric in METRICS else markdown(metric)
                lines.append(f"| {name} | {answer} | {title} | {interval} | {rows} |")
    return lines


def _data(trained: Trained) -> list[str]:
    lines = ["", "## Data", ""]
    for part in trained.runs:
        about = part.run.about
        failures, left_out = about.get("failures") or [], about.get("left_out") or []
        lines += [
            f"- Table of samples: SHA-256 `{markdown(str(about.get('samples_sha256')))}`, "
            f"seed {part.run.seed}. {counted(len(left_out), 'image')} had no features; "
            f"{len(failures)} could not be read."
        ]
        for name, task in part.run.tasks.items():
            rows = about["tasks"][name].get("rows", {})
            counts = ", ".join(f"{count} {split}" for split, count in rows.items())
            lines.append(f"- {markdown(name)}: {counts}; validated by {markdown(task.validation)}.")
    return lines


def _networks(trained: Trained) -> list[str]:
    lines = ["", "## Networks", ""]
    rows = []
    known = {one["fingerprint"]: one for part in trained.runs for one in part.run.backbones}
    for one in known.values():
        record = one["record"].get("backbone", {})
        size = json.dumps((record.get("preprocessing") or {}).get("input_size"))
        licence = one.get("license") or "not recorded: ask where the weights come from"
        # Where a file lay on one machine is nobody's business.
        source = one.get("source", "")
        source = Path(source).name if os.path.isabs(source.partition(":")[2]) else source
        rows.append((one["spec"], source, record.get("weights_digest", ""), licence, size))
    lines += markdown_table(["network", "weights", "SHA-256", "licence", "input"], rows)
    lines += ["Features are computed with these settings; other images need the same:", ""]
    shared = next(iter(known.values()))["record"]
    told = {k: shared.get(k) for k in ("fit", "views", "decoding", "layer", "pool", "precision")}
    return [*lines, *(f"- {name}: {markdown(_words(value))}" for name, value in told.items())]


def _words(value: object) -> str:
    """Say a setting of a record as its option is spelt."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "the default" if value is None else str(value)
