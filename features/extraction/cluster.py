"""An extraction on a Ray cluster: its processes compute, this one shares out and counts.

Paths and keys travel, pixels do not: every node sees the images and the cache under the same
paths. A tar or record file is given whole to one process, which reads it once. What is finished
is in immutable shards, and nothing else is a checkpoint: when a node dies, Ray gives its images
to another one, which computes what has no row yet.
"""

import contextlib
import dataclasses
import json
import logging
import platform
from collections.abc import Iterator, Sequence
from typing import Any

from ...core.errors import ClusterError, IcecoreError, counted, enumerate_some
from ...core.imports import load
from ...core.places import facts_of
from ...core.ray_cluster import joined
from ...manifest import USUAL_SIZE, Sample
from .options import ClusterOptions
from .report import Failure
from .worker import ExtractWorker, Receipt, WorkerPlan

# Of what a process is given at a time, which costs a tenth of a second beside its work: some ten
# seconds of it for a processor or a GPU, by what networks cost, so that receipts come soon.
FEWEST_AT_A_TIME, MOST_AT_A_TIME = 256, 4096
MULTIPLY_ADDS_OF_CPU, MULTIPLY_ADDS_OF_GPU = 4 * 10**11, 2 * 10**13
_LOOK = "check the paths and their permissions there"
_KEPT = "what was finished is kept, and the same command continues"


def run_on_cluster(
    cluster: ClusterOptions, plan: WorkerPlan, images: Sequence[Sequence[Sample]]
) -> Iterator[Receipt]:
    """Compute images; yield a receipt for each lot of them as they come.

    Parameters
    ----------
    images : sequence of sequence of Sample
        The samples of each image, which have its digest; or one without, where it is not known, or
        is a container (`WorkerPlan.unread`).

    Raises
    ------
    MissingDependencyError
        Ray is not installed.
    ClusterError
        The cluster is not there, has too few processors or GPUs, or did not do its work.
    """
    with joined(cluster.address, "ray.data") as ray:
        gpus = len([device for device in plan.options.devices if device.startswith("cuda")])
        most, notes = _room(ray, cluster, gpus)
        yield Receipt(0, 0, 0, [], [], {}, {}, notes)
        sizes = [_images_in(plan, samples[0]) for samples in images]
        together = _images_at_a_time(cluster, plan, sum(sizes))
        rows = [{"samples": _as_text(lot)} for lot in _lots(images, sizes, together)]
        with _quiet(ray):
            dealt = ray.data.from_items(rows, override_num_blocks=len(rows))
            receipts = dealt.map_batches(
                _Computing,
                # A node has one copy of the networks.
                fn_constructor_args=(ray.put(plan), together),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(min_size=cluster.least, max_size=most),
                num_cpus=cluster.cpus,
                num_gpus=gpus or None,
                batch_format="numpy",
            )
            for row in receipts.iter_rows():
                yield _receipt(row["receipt"])


def _lots(
    images: Sequence[Sequence[Sample]], sizes: Sequence[int], most: int
) -> Iterator[list[Sample]]:
    """Yield what is given to a process at a time: so many images, or containers of as many."""
    lot: list[Sample] = []
    held = 0
    for samples, size in zip(images, sizes):
        if held and held + size > most:
            yield lot
            lot, held = [], 0
        lot += samples
        held += size
    if lot:
        yield lot


def _images_in(plan: WorkerPlan, sample: Sample) -> int:
    """Return how many images a container has, as far as its size tells; of an image it is 1."""
    if plan.unread is None or sample.digest:
        return 1
    return max(1, facts_of(sample.path)[0] // USUAL_SIZE)


def _images_at_a_time(cluster: ClusterOptions, plan: WorkerPlan, images: int) -> int:
    on_gpus = plan.options.devices[0] != "cpu"
    work = MULTIPLY_ADDS_OF_GPU if on_gpus else MULTIPLY_ADDS_OF_CPU * cluster.cpus
    most = work // plan.multiply_adds if plan.multiply_adds else FEWEST_AT_A_TIME
    # Several lots for each process, so that the last ones end together.
    shares = -(-images // (4 * cluster.most))
    most = min(max(most, FEWEST_AT_A_TIME), MOST_AT_A_TIME)
    return min(most, max(plan.options.squares_at_once, shares))


class _Computing:
    """What each process of the cluster runs.

    What icecore refuses is a receipt, too: Ray would print a traceback, and start such a process
    again and again.
    """

    def __init__(self, plan: Any, most: int = FEWEST_AT_A_TIME) -> None:
        if not isinstance(plan, WorkerPlan):
            plan = load("ray").get(plan)
        self._unread, self._most = plan.unread, most
        self._worker: ExtractWorker | IcecoreError | OSError
        try:
            self._worker = ExtractWorker(plan)
        except (IcecoreError, OSError) as error:
            self._worker = error

    def __call__(self, batch: dict) -> Iterator[dict]:
        for text in batch["samples"]:
            samples = [Sample(**fields) for fields in json.loads(str(text))]
            try:
                for receipt in self._receipts(samples):
                    yield {"receipt": [json.dumps(dataclasses.asdict(receipt))]}
            except (IcecoreError, OSError) as error:
                # The system has no hints.
                said, hint = getattr(error, "message", str(error)), getattr(error, "hint", _LOOK)
                fields = {"ended": f"on {platform.node()}: {said}", "hint": hint}
                yield {"receipt": [json.dumps(fields)]}

    def _receipts(self, samples: list[Sample]) -> Iterator[Receipt]:
        if not isinstance(self._worker, ExtractWorker):
            raise self._worker
        if self._unread is None:
            yield self._worker.run(samples)
            return
        if images := [one for one in samples if one.digest]:
            yield self._worker.run(images)
        if containers := [one.id for one in samples if not one.digest]:
            yield from self._worker.stream(self._unread.only(containers), self._most)


@contextlib.contextmanager
def _quiet(ray) -> Iterator[None]:
    """Leave the display of progress, and the terminal, to icecore."""
    context = ray.data.DataContext.get_current()
    settings = {
        "enable_progress_bars": False,
        # On a busy machine a process may end before it begins. What icecore refuses is a receipt.
        "max_consecutive_actor_init_deaths": 3,
        # A receipt is to come when it is written, not when there are many.
        "target_max_block_size": 1,
    }
    # Older versions do not know all of them.
    before = {name: getattr(context, name) for name in settings if hasattr(context, name)}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _set_all(context, {name: settings[name] for name in before})
    try:
        yield
    finally:
        _set_all(context, before)


def _set_all(context, settings: dict) -> None:
    for name, value in settings.items():
        setattr(context, name, value)


def _room(ray, cluster: ClusterOptions, gpus: int) -> tuple[int, list[str]]:
    """Return how many workers there may be, and what is to be said of their number.

    Raises
    ------
    ClusterError
        They would be waited for in vain: Ray holds back work that no node can take.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needs = {name: count for name, count in (("CPU", cluster.cpus), ("GPU", gpus)) if count}
    fit = sum(_workers_on(node, needs) for node in nodes)
    if fit < cluster.least:
        wanted = " and ".join(f"{count} {name}" for name, count in needs.items())
        there = " and ".join(
            f"{name} {enumerate_some([str(int(node.get(name, 0))) for node in nodes])}"
            for name in needs
        )
        raise ClusterError(
            f"the Ray cluster is too small: {counted(cluster.least, 'worker')} with {wanted} each "
            f"do not fit on its nodes, which have {there}; {fit} do",
            "ask for fewer --ray-workers or --ray-cpus, or add nodes",
        )
    # Ray's own processes need some, too.
    free = sum(_workers_on({**one, "CPU": one.get("CPU", 0) - 1}, needs) for one in nodes)
    notes = _too_full(cluster, free) + ([] if gpus else _too_empty(cluster, nodes))
    if cluster.address == "local":
        return min(cluster.most, max(cluster.least, free)), notes
    return cluster.most, notes


def _workers_on(node: dict, needs: dict[str, int]) -> int:
    return max(0, min(int(node.get(name, 0) // count) for name, count in needs.items()))


def _too_empty(cluster: ClusterOptions, nodes: Sequence[dict]) -> list[str]:
    """Say that most processors have nothing to do."""
    there = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    used = cluster.most * cluster.cpus
    if 2 * used >= sum(there) - len(there):
        return []
    return [
        f"the workers compute on {used} of {sum(there)} processors: "
        f"--ray-cpus {max(1, min(there) - 1)} lets each take a node but for one of them"
    ]


def _too_full(cluster: ClusterOptions, free: int) -> list[str]:
    """Say that Ray is left no processor, if it could be."""
    if cluster.least <= free or cluster.least * cluster.cpus == 1:
        return []
    remedy = f"--ray-workers {free}" if free else f"--ray-cpus {max(1, cluster.cpus - 1)}"
    return [f"the workers take all processors, and Ray needs some itself: {remedy} leaves one free"]


def _as_text(samples: Sequence[Sample]) -> str:
    fields = ("id", "path", "digest", "box")
    return json.dumps([{name: getattr(one, name) for name in fields} for one in samples])


def _receipt(text: str) -> Receipt:
    try:
        fields = json.loads(text)
        if "ended" not in fields:
            fields["failures"] = [Failure(**one) for one in fields["failures"]]
            return Receipt(**fields)
        ended, hint = fields["ended"], fields["hint"] or "mend the cause"
    except (ValueError, TypeError, KeyError) as error:
        raise ClusterError(
            f"a process of the Ray job sent a receipt that cannot be read ({error})",
            f"give all nodes the same version of icecore; {_KEPT}",
        ) from error
    raise ClusterError(f"the Ray job ended early {ended}", f"{hint}; {_KEPT}")
