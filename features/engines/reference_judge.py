"""Features by onnx's reference evaluator, in a process of its own.

It computes in Python, some operators number by number: hours, for what an engine does in seconds.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...core.child import Limits, answer_parent, ask_child
from ...core.errors import ProofError, first_line
from ...core.folders import scratch_folder
from ...core.npz_files import read_npz, write_npz
from ..graphs.onnx_graph import FEATURES, IMAGES, load_evaluator, load_onnx

_PROCESSOR_SECONDS, _SECONDS = 60, 180.0
# Beside four times the graph.
_MEMORY = 8 * 2**30


def reference_features(content: bytes, batches: list[np.ndarray], size: int) -> list[np.ndarray]:
    """Return the features of batches, `size` images at a time.

    Raises
    ------
    ChildError
        It takes too long, or too much memory.
    ProofError
        The evaluator cannot run the graph.
    """
    with scratch_folder() as folder:
        graph, images, out = (folder / name for name in ("graph.onnx", "images.npz", "out.npz"))
        graph.write_bytes(content)
        write_npz(images, {str(number): batch for number, batch in enumerate(batches)})
        limits = Limits(_PROCESSOR_SECONDS, _SECONDS, _MEMORY + 4 * len(content))
        answer = ask_child(__spec__.name, [*map(str, (graph, images, out)), str(size)], limits)
        if "error" in answer:
            raise ProofError(answer["error"])
        found = read_npz(out)
    return [found[str(number)] for number in range(len(batches))]


def in_batches(run: Callable, images: np.ndarray, size: int) -> np.ndarray:
    """Return the features of images, `size` at a time."""
    rows = [
        run([FEATURES], {IMAGES: np.resize(part, (size, *part.shape[1:]))})[0]
        for part in (images[start : start + size] for start in range(0, len(images), size))
    ]
    return np.concatenate(rows)[: len(images)]


def _answer(graph: str, images: str, out: str, size: str) -> dict:
    given = read_npz(images)
    # It computes in NumPy, which prints what it thinks of means of nothing.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run = load_evaluator()(load_onnx().load_from_string(Path(graph).read_bytes())).run
            found = {name: in_batches(run, batch, int(size)) for name, batch in given.items()}
        except MemoryError:
            raise
        except Exception as error:  # It has no base for its exceptions.
            return {"error": first_line(error)}
    write_npz(out, found)
    return {}


if __name__ == "__main__":
    answer_parent(sys.argv[1:], _answer)
