"""Training with Ray: the bytes of the run are those of one process."""

from __future__ import annotations

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
from heads_support import QUICK, go

from icecore.core.errors import HeadError, MissingDependencyError
from icecore.heads import TrainOptions
from icecore.heads.rows import Rows

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed")
HEADS = ["kernel", "logistic", "mlp", "ridge", "neighbours", "lightgbm"]


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes; the head has no processors."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def content(run):
    """Return the files of a run; of run.json what is not a time."""
    files = {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name != "run.json"
    }
    about = json.loads((run / "run.json").read_text())
    for task in about["tasks"].values():
        del task["seconds"]
    return files, about


def two_tasks(rows):
    other = [dataclasses.replace(one, task="other", label=one.label[:1]) for one in rows]
    return [*rows, *other]


@needs_ray
@pytest.mark.timeout(300)
@pytest.mark.parametrize("options", [{"features": ["each", "all"]}, {"validation": "holdout"}])
def test_the_run_is_that_of_one_process(nodes, cache, rows, tmp_path, options):
    both, events = two_tasks(rows), []
    given = {"heads": HEADS, **options}
    go(cache, both, tmp_path / "one", **given)
    result = go(cache, both, tmp_path / "many", ray="auto", progress=events.append, **given)
    ours, theirs = content(tmp_path / "many"), content(tmp_path / "one")
    assert ours[0].keys() == theirs[0].keys()
    assert [name for name in ours[0] if ours[0][name] != theirs[0][name]] == []
    assert ours[1] == theirs[1]
    assert len(result.tasks) == 2
    assert [(one.step, one.done) for one in events] == [
        ("done", number + 1) for number in range(events[-1].total)
    ]
    # What one process fitted is not fitted again by many.
    again = go(cache, both, tmp_path / "one", ray="auto", overwrite=True, **given)
    assert all(model.reused for task in again.tasks for model in task.models)


@needs_ray
@pytest.mark.timeout(300)
def test_what_a_fit_refuses_is_said_in_its_own_words(nodes, cache, rows, tmp_path):
    settings = {"mlp": {**QUICK["mlp"], "width": -3}}
    said = []
    for ray in (None, "auto"):
        with pytest.raises(HeadError) as error:
            go(cache, rows, tmp_path / "run", heads=["mlp"], settings=settings, ray=ray)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_is_said_what_to_install(cache, rows, tmp_path):
    with pytest.raises(MissingDependencyError, match="ray") as error:
        go(cache, rows, tmp_path / "run", ray="local")
    assert "icecore[ray]" in error.value.hint


def test_a_time_for_the_search_is_refused():
    with pytest.raises(HeadError, match="search_seconds with ray"):
        TrainOptions(search=3, search_seconds=2.0, ray="local")


def test_rows_travel_without_what_was_derived():
    features = np.zeros((2, 3), np.float16)
    one = Rows(features, np.eye(2, dtype=np.float32), np.ones(2), np.array(["a", "b"]), (3,))
    one.derived("sum", lambda own: own.features.sum())
    kind, values = one.__reduce__()
    assert kind is Rows
    assert values[0] is features
    assert not kind(*values)._memory


@needs_ray
@pytest.mark.timeout(300)
def test_an_interruption_keeps_what_was_finished(nodes, cache, rows, tmp_path):
    def stop(event):
        raise KeyboardInterrupt

    result = go(cache, two_tasks(rows), tmp_path / "run", heads=HEADS, ray="auto", progress=stop)
    assert result.interrupted
    assert [model.name for task in result.tasks for model in task.models] == ["kernel-all"]


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_that_dies_costs_nothing(nodes, cache, rows, tmp_path):
    added = nodes.add_node(num_cpus=2)

    def kill(event):
        if event.done == 2:
            nodes.remove_node(added, allow_graceful=False)

    given = {"heads": HEADS, "features": ["each", "all"]}
    go(cache, rows, tmp_path / "one", **given)
    go(cache, rows, tmp_path / "many", ray="auto", progress=kill, **given)
    assert content(tmp_path / "many") == content(tmp_path / "one")
