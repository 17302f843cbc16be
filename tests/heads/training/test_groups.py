"""Training with groups of images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from heads_support import go, make_cache, record, samples

from icecore.cache import FeatureCache
from icecore.core.errors import HeadError, RunError
from icecore.heads import load_head
from icecore.heads.folds import deal_folds
from icecore.heads.training import groups
from icecore.runs import open_run, write_probabilities

GROUPED = {"heads": ["kernel"], "settings": {"kernel": {"width": 1.0}}, "groups": True}


@pytest.fixture
def grouped():
    rows = samples(60) + samples(6, "test", prefix="t")
    kinds = ("worn", "laid out", "")
    return [dataclasses.replace(row, group=kinds[i % 3]) for i, row in enumerate(rows)]


def loss_of(task, model):
    return next(one.scores["log_loss"] for one in task.models if one.name == model)


def without_groups(cache, rows, folder, **options):
    """Return the log-loss of a grouped head that is one function for all groups."""
    heads = {"heads": ["kernel"], "settings": {"grouped": {"share": 1.0}}, "groups": True}
    (task,) = go(cache, rows, folder / "plain", **(heads | options)).tasks
    return loss_of(task, "grouped-all")


def test_a_run_has_a_head_that_knows_groups_and_says_what_it_brings(tmp_path, grouped):
    # Each third image has the same class and group here: the features tell both.
    cache = make_cache(tmp_path / "cache", grouped)
    result = go(cache, grouped, tmp_path / "run", **GROUPED)
    (task,) = result.tasks
    assert [model.name for model in task.models] == ["kernel-all", "grouped-all"]
    report = task.groups
    assert report["images"] == {"laid out": 20, "worn": 20}
    assert report["unknown"] == 20
    assert report["router"]["accuracy"] > 0.9
    gain = report["gain"]
    assert (gain["model"], gain["against"]) == ("grouped-all", groups.WITHOUT)
    expected = without_groups(cache, grouped, tmp_path) - loss_of(task, "grouped-all")
    assert gain["log_loss"] == pytest.approx(expected, abs=1e-6)
    assert gain["interval"][0] <= gain["log_loss"] <= gain["interval"][1]
    assert set(report["log_loss"]) == {"laid out", "worn"}
    head = load_head(tmp_path / "run" / "label" / "heads" / "grouped-all")
    assert head.members_.shape == (60, 2)
    run = open_run(tmp_path / "run")
    assert run.about["tasks"]["label"]["groups"] == report
    # How likely every row is of each group, by a router that did not see it.
    routes, model = run.routes("label"), run.probabilities("label", "grouped-all")
    assert (routes.ids, routes.splits) == (model.ids, model.splits)
    assert (routes.classes, routes.model) == (("laid out", "worn"), "grouped-all")
    known = np.array([i % 3 < 2 for i in range(60)])
    told = routes.probabilities[:60][known, [1, 0] * 20]
    assert -np.log(told).mean() == pytest.approx(report["router"]["log_loss"])
    keys = [row.digest for row in grouped[60:]]
    unseen = np.hstack([one.matrix(keys) for one in cache.sets()])
    np.testing.assert_allclose(routes.probabilities[60:], head.route(unseen), atol=1e-6)


def test_held_out_rows_are_compared_where_they_are_held_out(tmp_path, grouped):
    rows = [
        dataclasses.replace(r, split="validation" if i % 4 == 0 else "train")
        for i, r in enumerate(grouped[:60])
    ]
    cache = make_cache(tmp_path / "cache", rows)
    result = go(cache, rows, tmp_path / "run", validation="holdout", **GROUPED)
    (task,) = result.tasks
    plain = without_groups(cache, rows, tmp_path, validation="holdout")
    expected = plain - loss_of(task, "grouped-all")
    assert task.groups["gain"]["log_loss"] == pytest.approx(expected, abs=1e-6)
    routes = open_run(tmp_path / "run").routes("label")
    assert routes.ids == tuple(row.id for row in rows if row.split == "validation")


def test_boxes_of_one_photograph_are_routed_in_one_fold(tmp_path, grouped, monkeypatch):
    boxed = [
        dataclasses.replace(one, box=f"0 0 9 {n + 1}", file_digest=grouped[n // 2 * 2].digest)
        for n, one in enumerate(grouped)
    ]
    dealt = []

    def deal(keys, *rest):
        dealt.append(list(keys))
        return deal_folds(keys, *rest)

    monkeypatch.setattr(groups, "deal_folds", deal)
    go(make_cache(tmp_path / "cache", boxed), boxed, tmp_path / "run", **GROUPED)
    (keys,) = dealt
    assert set(keys) <= {one.file_digest for one in boxed}


def test_routes_are_those_that_training_wrote(tmp_path, grouped):
    """Without them a blend weighed all groups alike, and without a word."""
    cache = make_cache(tmp_path / "cache", grouped)
    go(cache, grouped, tmp_path / "run", **GROUPED)
    run = open_run(tmp_path / "run")
    table = run.routes("label")
    file = tmp_path / "run/label/routes.npz"
    write_probabilities(file, dataclasses.replace(table, probabilities=table.probabilities[::-1]))
    with pytest.raises(RunError, match="routes.npz: not what training wrote"):
        run.routes("label")
    file.unlink()
    with pytest.raises(RunError, match="routes.npz is not there, and run.json names it"):
        run.routes("label")


def test_changed_groups_train_again(tmp_path, grouped):
    cache = make_cache(tmp_path / "cache", grouped)
    go(cache, grouped, tmp_path / "run", **GROUPED)
    again = go(cache, grouped, tmp_path / "run", overwrite=True, **GROUPED)
    assert all(model.reused for model in again.tasks[0].models)
    other = [dataclasses.replace(grouped[0], group="laid out"), *grouped[1:]]
    changed = go(cache, other, tmp_path / "run", overwrite=True, **GROUPED)
    assert not any(model.reused for model in changed.tasks[0].models)


@pytest.mark.parametrize(
    ("group", "words"), [("", "have no groups"), ("worn", "have only the group 'worn'")]
)
def test_groups_that_are_not_there_are_asked_for(tmp_path, rows, cache, group, words):
    rows = [dataclasses.replace(row, group=group) for row in rows]
    with pytest.raises(HeadError, match=words) as error:
        go(cache, rows, tmp_path / "run", **GROUPED)
    assert "--group-labels" in str(error.value.hint) + error.value.message
    assert not (tmp_path / "run").exists()


def test_a_task_without_groups_is_trained_beside_one_that_has_some(tmp_path, grouped):
    plain = [
        dataclasses.replace(row, task="other", id="o" + row.id, group="") for row in grouped[:60]
    ]
    rows = [*grouped, *plain]
    cache = make_cache(tmp_path / "cache", rows)
    result = go(cache, rows, tmp_path / "run", **GROUPED)
    models = {task.task: [model.name for model in task.models] for task in result.tasks}
    assert models == {"label": ["kernel-all", "grouped-all"], "other": ["kernel-all"]}
    (other,) = (task for task in result.tasks if task.task == "other")
    assert other.groups is None
    assert "no two groups" in " ".join(other.warnings)


def test_small_and_odd_groups_train_all_the_same(tmp_path, rows, cache):
    """Five rows, one class alone, and a tenth of the images named: none is an error."""
    first = rows[0].label
    kinds = {
        "five rows": lambda i, row: "rare" if i < 5 else "usual",
        "one class": lambda i, row: "pure" if row.label == first else "mixed",
        "alike": lambda i, row: ("A", "a")[i % 2],
        "a tenth": lambda i, row: ("a", "b")[i % 20 == 0] if i % 10 == 0 else "",
    }
    said = (
        "follow what all groups have in common: rare (5 images)",
        "the group pure has no image of",
        "groups have names that look alike: 'A' and 'a'",
        "have no group: the features tell theirs",
    )
    for number, kind in enumerate(kinds.values()):
        own = [dataclasses.replace(row, group=kind(i, row)) for i, row in enumerate(rows)]
        (task,) = go(cache, own, tmp_path / f"run{number}", **GROUPED).tasks
        scores = {model.name: model.scores["log_loss"] for model in task.models}
        assert scores["grouped-all"] < scores["kernel-all"] + 0.1
        assert sum(task.groups["images"].values()) + task.groups["unknown"] == sum(
            one.split != "test" for one in own
        )
        assert said[number] in " ".join(task.warnings)


@pytest.mark.parametrize("head", ["kernel", "ridge"])
def test_groups_of_no_meaning_bring_nothing_whatever_other_heads_there_are(tmp_path, head):
    """A grouped head bends its boundary, and was told to gain by groups over one that does not."""
    rng = np.random.default_rng(4)
    points = rng.normal(size=(160, 2))
    inside = np.linalg.norm(points, axis=1) < 1.2
    coins = rng.integers(0, 2, 160)
    rows = [
        dataclasses.replace(row, label="in" if one else "out", group=("heads", "tails")[coin])
        for row, one, coin in zip(samples(160), inside.tolist(), coins.tolist())
    ]
    cache = FeatureCache.create(tmp_path / "cache")
    one = cache.open_set(record("one"), "gluon:one", 2)
    one.append([row.digest for row in rows], points.astype(np.float32))
    (task,) = go(cache, rows, tmp_path / "run", heads=[head], settings={}, groups=True).tasks
    assert task.groups["gain"]["interval"][0] <= 0
    assert abs(task.groups["gain"]["log_loss"]) < 0.1
