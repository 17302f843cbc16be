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

from ...core.errors import IcecoreError, ProofError
from ...core.files import publish_json
from ...core.json_files import read_json
from ..graphs.network import GraphNetwork
from ..graphs.parameters import FilledGraph
from ..graphs.store import graph_folder, graph_key
from ..records.record import BackboneRecord
from .base import Engine, Setup
from .culprit import first_to_depend, first_to_differ
from .distances import (
    are_finite,
    distance,
    distance_of_plain_images,
    rounding_floor,
    worst_feature,
)
from .judge import judged
from .onnxruntime import OnnxRuntimeEngine
from .rounding import moved_by_rounding

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
_PROOF_FORMAT = 9


@dataclasses.dataclass(frozen=True)
class Proof:
    """That a graph was proved in an engine.

    Attributes
    ----------
    relative_error : float
        L2, over the features of random images; a tenth of that of one feature that is larger than
        rounding makes it, or that of a black or white image, where that is more.
    judge : str
        What it was compared with.
    largest : float
        Of the absolute values of these features; that of float32 where one is not finite.
    named : str, optional
        The operator at fault, as a refusal names it; None where it was not looked for.
    """

    relative_error: float
    judge: str
    largest: float
    named: str | None = None


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
        _keep(proof, path)
    if not proof.relative_error <= allowed:
        hint = _otherwise(setup)
        if proof.relative_error < WORST_ACCEPTABLE:
            hint += f"; or accept them with --accept-error {proof.relative_error * 1.1:.2g}"
        elif b"QuantizeLinear" in network.outline():
            hint += (
                ", or the network as it was before it was quantised: what each engine makes of "
                "its steps is too far apart"
            )
        if proof.named is None and setup.precision == "f32":  # Others move with every operator.
            images = random_images(network.record.resolution, DIFFERENT_IMAGES, seed=0)
            named = first_to_differ(engine, network, setup, images, allowed)
            proof = dataclasses.replace(proof, named=named)
            _keep(proof, path)
        raise ProofError(
            f"{network.record.spec}: {engine.name} {engine.version} computes features in "
            f"{setup.precision} that differ from those of {proof.judge} by "
            f"{proof.relative_error:.2g} (relative L2); {allowed:.2g} is allowed"
            f"{proof.named or ''}",
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
        "mixing": network.mixing,
        "batch": None if engine.image_by_image else setup.batch_size,
    }
    return graph_key(parts)


def _keep(proof: Proof, path: Path) -> None:
    with contextlib.suppress(OSError):  # Kept nowhere, it is proved again the next time.
        publish_json(path, dataclasses.asdict(proof))


def _kept_proof(path: Path) -> Proof | None:
    try:
        fields = read_json(path)
        named = fields["named"]
        return Proof(
            float(fields["relative_error"]),
            str(fields["judge"]),
            float(fields["largest"]),
            None if named is None else str(named),
        )
    except (OSError, IcecoreError, ValueError, KeyError, TypeError):
        return None  # There is none, or it is damaged: it is proved anew.


@dataclasses.dataclass(frozen=True)
class _Seen:
    """Rows of different images and of plain ones, as they should be and as an engine has them.

    Attributes
    ----------
    judge : str
    wanted, plainly : numpy.ndarray
        The judge's.
    rows, plain : numpy.ndarray
        The engine's; of the different images in turn.
    """

    judge: str
    wanted: np.ndarray
    plainly: np.ndarray
    rows: np.ndarray
    plain: np.ndarray


def _prove(engine: Engine, network: GraphNetwork, setup: Setup) -> Proof:
    different = random_images(network.record.resolution, DIFFERENT_IMAGES, seed=0)
    look = _see_few if network.mixing == "" else _see_beside_others
    seen = look(engine, network, different, setup)
    wanted, rows = seen.wanted, seen.rows
    expected = wanted[np.arange(len(rows)) % len(wanted)]
    finite, known = are_finite(rows), are_finite(expected)
    lost = (known & ~finite).any() or (are_finite(seen.plainly) & ~are_finite(seen.plain)).any()
    if lost or (finite & ~known).any():
        # Some engines make 0 of a NaN on the way; halves end at 65504.
        first, second = seen.judge, engine.name
        hint = "check the weights for NaN and infinite numbers"
        if lost:
            first, second, hint = engine.name, seen.judge, _otherwise(setup)
        raise ProofError(
            f"{network.record.spec}: {first} finds features that are not finite in "
            f"{setup.precision}, and {second} others",
            hint,
        )
    largest = np.abs(wanted).max() if np.isfinite(wanted).all() else np.finfo(np.float32).max
    error = _error(network, different, rows, expected, setup.precision)
    away = distance_of_plain_images(seen.plain, seen.plainly, wanted)
    if away > PLAIN_APART[setup.precision]:
        error = max(error, away)
    return Proof(error, seen.judge, float(largest))


def _see_few(engine: Engine, network: GraphNetwork, different: np.ndarray, setup: Setup) -> _Seen:
    """Look at a graph whose operators are known to keep images apart: an engine might not."""
    plain_images = np.stack([np.full_like(different[0], one) for one in _BESIDE])
    judge, (wanted, plainly) = judged(network, [different, plain_images])
    size = None if engine.image_by_image else setup.batch_size
    rows, again = (
        np.concatenate([engine.run(batch) for batch in _whole_batches(images, size)])
        for images in (np.concatenate([different, plain_images]), different[1::-1])
    )
    apart = distance(again, rows[1 - np.arange(len(again)) % 2])
    _require_apart(apart, 0.0, network, setup, different)
    count = len(different)
    return _Seen(judge, wanted, plainly, rows[:count], rows[count:][: len(plainly)])


def _whole_batches(images: np.ndarray, size: int | None) -> list[np.ndarray]:
    """Fill batches of a size with images, over and over; all are one batch if any size will do."""
    if size is None:
        return [images]
    count = -(-len(images) // size)
    return np.split(np.resize(images, (count * size, *images.shape[1:])), count)


def _see_beside_others(
    engine: Engine, network: GraphNetwork, different: np.ndarray, setup: Setup
) -> _Seen:
    """Look at images alone, among others, and beside what is brighter or darker than they are."""
    size = DIFFERENT_IMAGES if engine.image_by_image else setup.batch_size
    # A bright image beside a black one, and a dark one beside a white one.
    pairs = [np.stack([one, np.full_like(one, n)]) for one, n in zip(_subjects(different), _BESIDE)]
    # An engine that computes few images at a time hides what the graph does to several.
    judge, (expected, bright, dark, first, last, dark_alone) = judged(
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
    apart = distance(
        np.concatenate([engine.run(np.roll(batches[0], 1, axis=0)), *among]),
        np.concatenate([np.roll(rows[:size], 1, axis=0), rows[:1], likewise]),
    )
    mixed = distance(
        np.concatenate([first, first, last, dark_alone]),
        np.concatenate([expected[:1], bright[:1], expected[-1:], dark[:1]]),
    )
    _require_apart(apart, mixed, network, setup, different)
    plainly = np.concatenate([bright[1:], dark[1:]])
    return _Seen(judge, expected, plainly, rows, plain)


def _require_apart(
    apart: float, mixed: float, network: GraphNetwork, setup: Setup, different: np.ndarray
) -> None:
    """Raise `ProofError` where rows of one image are apart in the engine, or mixed by the graph."""
    if apart <= ROWS_APART[setup.precision] and mixed <= TOLERANCE:
        return
    pairs = [np.stack([one, np.full_like(one, n)]) for one, n in zip(_subjects(different), _BESIDE)]
    told = (first_to_depend(network, pair) for pair in (different[:2], *pairs))
    named = next(filter(None, told), "")
    raise ProofError(
        f"{network.record.spec}: the features of an image depend on what else is in its "
        f"batch, or are others each time (relative L2 {max(apart, mixed):.2g}){named}",
        "export the network again in inference mode; its operators must not mix images",
    )


def _error(
    network: GraphNetwork, images: np.ndarray, rows: np.ndarray, wanted: np.ndarray, precision: str
) -> float:
    """Return how far rows are from what is wanted of images, which come in turn.

    Where features may look wrong because they are small, rounding is measured.
    """
    allowed, error = ERROR_ALLOWED[precision], distance(rows, wanted)
    if error > allowed or worst_feature(rows, wanted) <= allowed:
        return error
    moved = moved_by_rounding(network, images, wanted[: len(images)], precision)
    if moved is None:
        return error
    moved *= np.sqrt(len(rows) / len(images))
    closely = distance(rows, wanted, rounding_floor(wanted, moved, allowed))
    return closely if closely > allowed else error


def _subjects(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return images[0], images[0] // 8


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
    error = distance(found, expected)
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
