"""The job `export_labels`: a run for the programs in which people look at labels and mend them.

Both formats are JSON that the programs document: Label Studio's tasks with predictions, and
FiftyOne's ``FiftyOneImageClassificationDataset``, a table of files beside a table of labels.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from .. import auditing, runs
from ..auditing import TaskRows
from ..core.arguments import typed
from ..core.errors import RunError, enumerate_some
from ..core.files import publish_json, publish_text
from ..core.outputs import require_writable
from ..manifest import Sample
from .held_out import held_out_rows

LABEL_PROGRAMS = ("fiftyone", "label-studio")
_OF_FIFTYONE = re.compile(r"(labels|predictions)(-\d+)?\.json")
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@typed
def export_labels(run: str | os.PathLike, to: str, out: str | os.PathLike) -> dict:
    """Write the images of a run with labels and held-out predictions, doubtful labels first.

    Parameters
    ----------
    run : path-like
    to : {"fiftyone", "label-studio"}
    out : path-like
        A JSON file for Label Studio, beside which its labelling configuration goes; a folder for
        FiftyOne.

    Returns
    -------
    dict
        ``images``, ``doubtful`` (images), ``files`` that were written, and ``root``, the folder
        that Label Studio is to serve.

    Raises
    ------
    RunError, MissingFileError
        There is no such program, or the run cannot be read.
    """
    if to not in LABEL_PROGRAMS:
        raise RunError(f"there is no export to '{to}'", f"choose {', '.join(LABEL_PROGRAMS)}")
    if to == "label-studio" and Path(out).suffix.lower() == ".xml":
        raise RunError(
            f"{out} is the name that the labelling configuration gets, not the tasks",
            "name a file that ends in .json",
        )
    opened = runs.open_run(run)
    samples = opened.samples()
    images = list(samples.images.values())
    if to == "label-studio":
        outs = (out, Path(out).with_suffix(".xml") if Path(out).name else out)
        require_writable(outs, [run, *(one.path for one in images)])
    place = {one.id: row for row, one in enumerate(images)}
    tasks = [
        held_out_rows(opened, samples.select(name), name, place, len(images))
        for name in opened.tasks
    ]
    order, doubtful = _order(tasks, len(images))
    write = _write_label_studio if to == "label-studio" else _write_fiftyone
    files, root = write(Path(out), images, tasks, order, doubtful)
    return {
        "images": len(images),
        "doubtful": int(doubtful.any(axis=1).sum()),
        "files": [str(file) for file in files],
        "root": root,
    }


def _order(tasks: Sequence[TaskRows], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, doubtful ones first, then by the label's probability; and which are.

    Returns
    -------
    order : ndarray of int, shape (N,)
    doubtful : ndarray of bool, shape (N, number of tasks)
    """
    doubtful = np.zeros((count, len(tasks)), bool)
    least = np.full(count, np.inf)
    for number, task in enumerate(tasks):
        rows = task.judged
        if len(rows):
            y, table = task.y[rows], task.probabilities[rows]
            doubtful[rows[auditing.doubtful_labels(y, table).rows], number] = True
            least[rows] = np.minimum(least[rows], table[np.arange(len(rows)), y])
    return np.lexsort((least, ~doubtful.any(axis=1))), doubtful


def _write_label_studio(
    out: Path,
    images: Sequence[Sample],
    tasks: Sequence[TaskRows],
    order: np.ndarray,
    doubtful: np.ndarray,
) -> tuple[list[Path], str]:
    names = [name for one in tasks for name in (one.task, *one.classes)]
    if strange := [name for name in names if _NOT_IN_XML.search(name)]:
        raise RunError(
            f"names with characters that Label Studio's configuration, XML, cannot hold: "
            f"{enumerate_some(strange)}",
            "rename these classes and train again, or export them --to fiftyone",
        )
    local = [os.path.abspath(one.path) for one in images if "://" not in one.path]
    root = os.path.commonpath([os.path.dirname(path) for path in local]) if local else ""
    entries = []
    for row in order.tolist():
        image = images[row]
        given = [_choice(one.task, one.classes[one.y[row]]) for one in tasks if one.y[row] >= 0]
        said = [one for one in tasks if np.isfinite(one.probabilities[row, 0])]
        data = {
            "image": _address(image.path, root),
            "id": image.id,
            "split": image.split,
            "doubtful": ", ".join(one.task for one, flag in zip(tasks, doubtful[row]) if flag),
        }
        entry: dict = {"data": data, "annotations": [{"result": given}] if given else []}
        if said:
            best = [int(one.probabilities[row].argmax()) for one in said]
            pairs = list(zip(said, best))
            entry["predictions"] = [
                {
                    "model_version": "icecore",
                    "score": float(min(one.probabilities[row, b] for one, b in pairs)),
                    "result": [_choice(one.task, one.classes[b]) for one, b in pairs],
                }
            ]
        entries.append(entry)
    publish_json(out, entries)
    controls = "".join(
        f"  <Choices name={quoteattr(one.task)} toName='image'>\n"
        + "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in one.classes)
        + "  </Choices>\n"
        for one in tasks
    )
    config = out.with_suffix(".xml")
    text = f"<View>\n  <Image name='image' value='$image'/>\n{controls}</View>\n"
    publish_text(config, text)
    return [out, config], root


def _address(path: str, root: str) -> str:
    """Return how Label Studio finds an image: below its root of local files, or its own URL."""
    if "://" in path:
        return path
    return "/data/local-files/?d=" + quote(os.path.relpath(os.path.abspath(path), root))


def _choice(task: str, label: str) -> dict:
    return {
        "from_name": task,
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [label]},
    }


def _write_fiftyone(
    out: Path,
    images: Sequence[Sample],
    tasks: Sequence[TaskRows],
    order: np.ndarray,
    doubtful: np.ndarray,
) -> tuple[list[Path], str]:
    out.mkdir(parents=True, exist_ok=True)
    # Zeros before the number keep the order, whichever way a program sorts names.
    names = {row: f"{place:08d}" for place, row in enumerate(order.tolist())}
    where = {
        name: images[row].path if "://" in images[row].path else os.path.abspath(images[row].path)
        for row, name in names.items()
    }
    contents: dict[str, object] = {"data.json": where}
    for number, task in enumerate(tasks):
        truth, said = {}, {}
        for row, name in names.items():
            # FiftyOne has an `id` of its own.
            about = {"image_id": images[row].id, "split": images[row].split}
            if task.y[row] >= 0:
                attributes = about | {"doubtful": bool(doubtful[row, number])}
                truth[name] = {"label": task.classes[task.y[row]], "attributes": attributes}
            if np.isfinite(task.probabilities[row, 0]):
                best = int(task.probabilities[row].argmax())
                sure = float(task.probabilities[row, best])
                said[name] = {"label": task.classes[best], "confidence": sure}
        classes = list(task.classes)
        # Names of tasks are a stranger's; those of files are not.
        suffix = "" if len(tasks) == 1 else f"-{number}"
        contents[f"labels{suffix}.json"] = {"classes": classes, "labels": truth}
        contents[f"predictions{suffix}.json"] = {"classes": classes, "labels": said}
    older = {one.name for one in out.iterdir() if _OF_FIFTYONE.fullmatch(one.name)}
    if other := sorted(older - set(contents)):
        raise RunError(
            f"{out} holds the export of other tasks: {enumerate_some(other)}",
            "remove that export, or name a folder of its own",
        )
    for name, content in contents.items():
        publish_json(out / name, content)
    return [out / name for name in contents], ""
