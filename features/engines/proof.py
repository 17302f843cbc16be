"""Whether a graph computes what it says, in the engine and the precision that are to run it.

A wrong graph is silent: it gives features that look like features, and so does an engine
that reads an operator in its own way. So a graph is compared with the framework that it
came from, and once more in each engine before its first use there, on random images.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...core.errors import IcecoreError, ProofError, first_line
from ...core.files import publish_json
from ...core.json_files import read_json
from ..graphs.determined import operator_text
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import FEATURES, IMAGES, load_evaluator, load_onnx
from ..graphs.parameters import FilledGraph
from ..graphs.session import load_onnxruntime, open_session
from ..graphs.store import graph_folder, graph_key
from ..records.record import BackboneRecord
from .base import Engine, Setup
from .onnxruntime import OnnxRuntimeEngine

TOLERANCE = 1e-4
# Relative L2 error of the features, by what the engine computes in.
ERROR_ALLOWED = {"f32": TOLERANCE, "tf32": 2e-2, "bf16": 2e-2, "fp16": 2e-2}
# Nobody is advised to accept more.
WORST_ACCEPTABLE = 0.2
# How far two rows of one image may be apart, relatively: not at all, but for the last bits.
ROWS_APART = {"f32": 1e-5, "tf32": 1e-3, "bf16": 1e-2, "fp16": 1e-3}
# How far a row of a black or white image may be from the judge's, for the size of usual rows.
PLAIN_APART = {"f32": 2e-2, "tf32": 2e-2, "bf16": 0.2, "fp16": 0.2}
# Below this the features hardly depend on the image, and agreement would prove nothing.
LEAST_SPREAD = 1e-3
DIFFERENT_IMAGES = 4
# What decides by a whole batch need not show among images that are alike in what it looks at.
_BESIDE = (0, 255)
# Raise it when a proof of before would no longer do.
_PROOF_FORMAT = 7


@dataclasses.dataclass(frozen=True)
class Proof:
    """That a graph was proved in an engine.

    Attributes
    ----------
    relative_error : float
        L2, over the features of random images; a tenth of that of one feature, or that of a black
        or white image if it is beyond rounding, where that is more.
    judge : str
        What it was compared with.
    largest : float
        Of the absolute values of these features; that of float32 where one is not finite.
    """

    relative_error: float
    judge: str
    largest: float


def prove_in_engine(
    engine: Engine, network: GraphNetwork, setup: Setup, allowed: float | None = None
) -> Proof:
    """See that an engine computes a graph's features, and each row from its image alone.

    The judge is ONNX Runtime on the CPU, in float32 and without its optimizations. The same
    image is computed alone, twice, in a batch of others, and at another place of it. What was
    found is kept for this graph, engine and precision, and looked up the next time.

    Parameters
    ----------
    engine : Engine
        Started with `network` and `setup`.
    allowed : float, optional
        The largest relative error that is accepted; that of `ERROR_ALLOWED` if None.

    Raises
    ------
    ProofError
        The rows of one image differ, or the error is larger than allowed.
    """
    allowed = ERROR_ALLOWED[setup.precision] if allowed is None else allowed
    path = graph_folder() / "proofs" / f"{_proof_key(engine, network, setup)}.json"
    proof = _kept_proof(path)
    if proof is None:
        proof = _prove(engine, network, setup)
        with contextlib.suppress(OSError):  # Kept nowhere, it is proved again the next time.
            publish_json(path, dataclasses.asdict(proof))
    if not proof.relative_error <= allowed:
        hint = _otherwise(setup)
        if proof.relative_error < WORST_ACCEPTABLE:
            hint += f"; or accept them with --accept-error {proof.relative_error * 1.1:.2g}"
        raise ProofError(
            f"{network.record.spec}: {engine.name} {engine.version} computes features in "
            f"{setup.precision} that differ from those of {proof.judge} by "
            f"{proof.relative_error:.2g} (relative L2); {allowed:.2g} is allowed",
            hint,
        )
    return proof


def _otherwise(setup: Setup) -> str:
    return f"use {'another --engine' if setup.precision == 'f32' else '--precision-compute f32'}"


def _proof_key(engine: Engine, network: GraphNetwork, setup: Setup) -> str:
    parts = {
        "format": _PROOF_FORMAT,
        "graph": network.digest,
        "engine": engine.name,
        "version": engine.version,
        "device": setup.device.partition(":")[0],
        "hardware": engine.hardware,
        "precision": setup.precision,
        # Where a batch is computed as a whole, its size decides which kernels do it.
        "batch": None if engine.image_by_image else setup.batch_size,
    }
    return graph_key(parts)


def _kept_proof(path: Path) -> Proof | None:
    try:
        fields = read_json(path)
        return Proof(
            float(fields["relative_error"]), str(fields["judge"]), float(fields["largest"])
        )
    except (OSError, IcecoreError, ValueError, KeyError, TypeError):
        return None  # There is none, or it is damaged: it is proved anew.


def _prove(engine: Engine, network: GraphNetwork, setup: Setup) -> Proof:
    size = setup.batch_size
    different = random_images(network.record.resolution, DIFFERENT_IMAGES, seed=0)
    # A bright image beside a black one, and a dark one beside a white one.
    pairs = [np.stack([one, np.full_like(one, n)]) for one, n in zip(_subjects(different), _BESIDE)]
    # An engine that computes few images at a time hides what the graph does to several.
    judge, (expected, bright, dark, first, last, dark_alone) = _judged(
        network, [different, *pairs, different[:1], different[-1:], pairs[1][:1]]
    )
    # Whole batches, in which each image comes at least once.
    places = np.arange(max(size, -(-DIFFERENT_IMAGES // size) * size)) % DIFFERENT_IMAGES
    batches = np.split(different[places], len(places) // size)
    rows = np.concatenate([engine.run(batch) for batch in batches])
    fill = [0] + [1] * ((2 if engine.image_by_image else size) - 1)
    among = [engine.run(pair[fill])[:1] for pair in pairs]
    plain = np.concatenate([engine.run(pair[np.ones_like(fill)])[:1] for pair in pairs])
    likewise = engine.run(pairs[1][np.zeros_like(fill)])[:1]
    apart = _apart(
        np.concatenate([engine.run(np.roll(batches[0], 1, axis=0)), *among]),
        np.concatenate([np.roll(rows[:size], 1, axis=0), rows[:1], likewise]),
    )
    mixed = _apart(
        np.concatenate([first, first, last, dark_alone]),
        np.concatenate([expected[:1], bright[:1], expected[-1:], dark[:1]]),
    )
    if not (apart <= ROWS_APART[setup.precision] and mixed <= TOLERANCE):
        told = (_first_to_depend(network, pair) for pair in (different[:2], *pairs))
        named = next(filter(None, told), "")
        raise ProofError(
            f"{network.record.spec}: the features of an image depend on what else is in its "
            f"batch, or are others each time (relative L2 {max(apart, mixed):.2g}){named}",
            "export the network again in inference mode; its operators must not mix images",
        )
    plainly = np.concatenate([bright[1:], dark[1:]])
    finite, wanted = _are_finite(rows), _are_finite(expected)[places]
    lost = (wanted & ~finite).any() or (_are_finite(plainly) & ~_are_finite(plain)).any()
    if lost or (finite & ~wanted).any():
        # Some engines make 0 of a NaN on the way; halves end at 65504.
        first, second, hint = judge, engine.name, "check the weights for NaN and infinite numbers"
        if lost:
            first, second, hint = engine.name, judge, _otherwise(setup)
        raise ProofError(
            f"{network.record.spec}: {first} finds features that are not finite in "
            f"{setup.precision}, and {second} others",
            hint,
        )
    largest = np.abs(expected).max() if np.isfinite(expected).all() else np.finfo(np.float32).max
    error = _apart(rows, expected[places])
    away = _apart_in_plain_images(plain, plainly, expected)
    if away > PLAIN_APART[setup.precision]:
        error = max(error, away)
    return Proof(error, judge, float(largest))


def _apart_in_plain_images(found: np.ndarray, wanted: np.ndarray, usual: np.ndarray) -> float:
    """Return how far features of images of one colour are apart, for the size of usual ones.

    Where all pixels are alike, an engine may take another of several numbers that are equal. All
    else is rounding, and these features may be nothing but that.
    """
    told, both = _are_finite(wanted), np.concatenate([wanted, usual])
    away = np.linalg.norm(found[told] - wanted[told], axis=1).max(initial=0)
    size = np.linalg.norm(both[_are_finite(both)], axis=1).max(initial=0)
    return float(away / size if size else away)


def _subjects(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return images[0], images[0] // 8


def _judged(network: GraphNetwork, batches: list[np.ndarray]) -> tuple[str, list[np.ndarray]]:
    """Return what computes in the plainest way, and the features that it finds in each batch."""
    failures, content = [], network.content()
    for judge in (_onnxruntime_judge, _reference_judge):
        try:
            return judge(content, batches, network.batch)
        except Exception as error:  # neither has a base for its exceptions
            failures.append(first_line(error))
    raise ProofError(
        f"{network.record.spec} cannot be proved: neither ONNX Runtime nor onnx's own evaluator "
        f"runs the graph ({'; '.join(failures)})",
        "export the network again",
    )


def _onnxruntime_judge(
    content: bytes, batches: list[np.ndarray], only: int | None
) -> tuple[str, list[np.ndarray]]:
    run, judge = _plain_session(content).run, f"ONNX Runtime {load_onnxruntime().__version__}"
    rows = [_in_batches(run, batch, only or len(batch)) for batch in batches]
    return f"{judge}, unoptimized", rows


def _reference_judge(
    content: bytes, batches: list[np.ndarray], only: int | None
) -> tuple[str, list[np.ndarray]]:
    onnx = load_onnx()
    run = load_evaluator()(onnx.load_from_string(content)).run
    judge = f"the reference evaluator of onnx {onnx.__version__}"
    return judge, [_in_batches(run, batch, only or 1) for batch in batches]


def _in_batches(run: Callable, images: np.ndarray, size: int) -> np.ndarray:
    """Return the features of images, `size` at a time."""
    rows = [
        run([FEATURES], {IMAGES: np.resize(part, (size, *part.shape[1:]))})[0]
        for part in (images[start : start + size] for start in range(0, len(images), size))
    ]
    return np.concatenate(rows)[: len(images)]


def _plain_session(content: bytes):
    level = load_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    return open_session(content, graph_optimization_level=level)


def _first_to_depend(network: GraphNetwork, images: np.ndarray) -> str:
    """Name the first operator whose output for two images is not that for each of them."""
    onnx = load_onnx()
    model = onnx.load_from_string(network.content())
    nodes = {name: node for node in model.graph.node for name in node.output[:1]}
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in nodes)
    try:
        session = _plain_session(model.SerializeToString())
        both, first, second = (session.run(None, {IMAGES: images[of]}) for of in ([0, 1], [0], [1]))
    except Exception:  # its exceptions share no base; then the name remains unknown
        return ""
    for node, *found in zip(nodes.values(), both, first, second):
        together, *single = map(np.atleast_1d, found)
        expected = np.concatenate(single)
        if together.dtype.kind == "f" and together.shape == single[0].shape:
            together = np.concatenate([together] * 2)  # It has no place for several images.
        if together.shape == expected.shape and not _are_close(together, expected):
            return f"; the first to differ is {operator_text(node)}"
    return ""


def _are_close(a: np.ndarray, b: np.ndarray) -> bool:
    return np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)


def _are_finite(rows: np.ndarray) -> np.ndarray:
    return np.isfinite(rows).all(axis=1)


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    """Return how far rows that should be equal are apart: relatively, of all or of one feature.

    A few large features hide what becomes of the others. Of one alone the last bits count for
    more, so a tenth of its distance is taken, and one that is smaller than most is not looked at
    more closely than these.
    """
    told = _are_finite(expected)
    away, size = (
        np.linalg.norm(rows.astype(np.float64), axis=0)
        for rows in (found[told] - expected[told], expected[told])
    )
    if not size.any():
        return float(away.max(initial=0))
    usual = np.quantile(size[size > 0], 0.9, method="lower")
    return max(_relative(found, expected), float((away / np.maximum(size, usual)).max()) / 10)


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the relative L2 error; of rows that should not be finite, nothing is told."""
    told = _are_finite(expected)
    size = float(np.linalg.norm(expected[told].astype(np.float64)))
    away = float(np.linalg.norm(found[told].astype(np.float64) - expected[told]))
    return away / size if size else away


def prove_graph(
    record: BackboneRecord,
    graph: Path | bytes | FilledGraph,
    reference: Callable[[np.ndarray], np.ndarray],
    name: str,
    hint: str,
    seed: int | None = None,
) -> float:
    """Compare a graph, as ONNX Runtime runs it, with its reference.

    Parameters
    ----------
    reference : callable
        Turns uint8 images (N, R, R, 3) into features (N, D).
    name : str
        What the reference is, for messages.
    hint : str
        What to do if they differ.
    seed : int, optional
        Of the images; drawn anew if None.

    Returns
    -------
    float
        Relative L2 error over all features.

    Raises
    ------
    ProofError
        The error is 1e-4 or more, or the features do not depend on the image.
    """
    images = random_images(record.resolution, DIFFERENT_IMAGES, seed)
    expected = reference(images)
    found = OnnxRuntimeEngine(GraphNetwork(record, graph), Setup(batch_size=1)).run(images)
    spread = np.linalg.norm(expected - expected.mean(axis=0)) / np.linalg.norm(expected)
    if not np.isfinite(expected).all() or not spread >= LEAST_SPREAD:
        raise ProofError(
            f"{record.spec}: {name}'s own features are not finite or hardly depend on the "
            f"image (relative spread {spread:.1e}), so the export cannot be proved",
            "check the weights file",
        )
    error = _relative(found, expected)
    if not error < TOLERANCE:
        raise ProofError(
            f"{record.spec}: the exported graph differs from {name} by {error:.2e} "
            f"(relative L2), {TOLERANCE:.0e} is allowed",
            hint,
        )
    return error


def random_images(side: int, count: int, seed: int | None) -> np.ndarray:
    """Draw images: smooth and rough, dark and bright, for noise averages out in deep networks."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    zoom = -(-side // 5)
    images = coarse.repeat(zoom, axis=1).repeat(zoom, axis=2)[:, :side, :side]
    images[::2] ^= rng.integers(0, 64, images[::2].shape, dtype=np.uint8)
    return images
