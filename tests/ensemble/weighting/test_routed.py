"""Weights of their own for groups of images: where they help, where they do not, few rows."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from blending import blend_run
from scipy.optimize import minimize

from icecore.core.errors import RunError
from icecore.ensemble import Blender, BlendOptions, Chooser, load_saved
from icecore.ensemble.metrics import log_loss
from icecore.ensemble.report.text import result_text
from icecore.ensemble.weighting.routed import routed_weights, true_probability
from icecore.runs import ProbabilityTable, open_run, write_probabilities


def made(builders, rows, seed=0, experts=True, share=0.5):
    """Two models, each good at one group (or alike); routes that are nearly sure."""
    rng = np.random.default_rng(seed)
    y, group = rng.integers(4, size=rows), (rng.uniform(size=rows) < share).astype(int)
    good = np.where(group == np.arange(2)[:, None], 2.0, 0.2) if experts else np.ones((2, rows))
    logits = good[:, :, None] * 1.5 * np.eye(4)[y] + rng.normal(size=(2, rows, 4))
    routes = builders.softmax(4 * np.eye(2)[group] + rng.normal(size=(rows, 2)))
    return builders.softmax(logits), y, routes


def test_models_that_know_one_group_each_are_told_apart(builders):
    probabilities, y, routes = made(builders, 2300)
    chooser = Chooser(Blender()).fit(probabilities[:, :300], y[:300], routes=routes[:300])
    recipe, fresh, true = chooser.recipes_["recommended"], probabilities[:, 300:], y[300:]
    assert recipe.routed[1, 1] > 0.9
    assert recipe.routed[0, 0] > 0.9
    assert chooser.reason_.routing_gain > 0.1
    ours = log_loss(true, recipe.apply(fresh, routes[300:]))
    assert ours < log_loss(true, recipe.apply(fresh)) - 0.1
    plain = dataclasses.replace(recipe, calibration=None).apply(fresh, routes[300:])
    np.testing.assert_allclose(
        plain, np.einsum("ng,gm,mnc->nc", routes[300:], recipe.routed, fresh)
    )


def test_where_groups_do_not_matter_nothing_is_lost(builders):
    lost = []
    for seed in range(8):
        probabilities, y, routes = made(builders, 2200, seed, experts=False)
        chooser = Chooser(Blender()).fit(probabilities[:, :200], y[:200], routes=routes[:200])
        recipe, fresh, true = chooser.recipes_["recommended"], probabilities[:, 200:], y[200:]
        plain = Chooser(Blender()).fit(probabilities[:, :200], y[:200]).recipes_["recommended"]
        lost.append(
            log_loss(true, recipe.apply(fresh, routes[200:])) - log_loss(true, plain.apply(fresh))
        )
    assert max(lost) < 0.01
    assert np.mean(lost) < 0.002


def test_a_group_has_weights_of_its_own_as_far_as_its_rows_go(builders):
    common = np.full(2, 0.5)
    away = []
    for rows in (3, 20, 200, 2000):
        probabilities, y, routes = made(builders, rows, share=1.0)
        true = probabilities[:, np.arange(rows), y].T
        own = routed_weights(true, routes, common, 100)
        np.testing.assert_allclose(own.sum(axis=1), 1)
        away.append(own[1, 1] - 0.5)
    assert 0 < away[0] < 0.03
    assert away[-1] > 0.4
    assert away == sorted(away)
    np.testing.assert_array_equal(routed_weights(true, routes, common, np.inf), [common, common])


def test_the_weights_are_the_optimum_that_a_general_solver_finds(builders):
    probabilities, y, routes = made(builders, 150)
    probabilities = np.concatenate([probabilities, probabilities[:1] ** 0.5])
    true, common = probabilities[:, np.arange(150), y].T, np.array([0.5, 0.3, 0.2])

    def objective(flat):
        weights = builders.softmax(flat.reshape(2, 3))
        prior = 30 * (common * np.log(weights)).sum()
        return -np.log(true_probability(true, routes, weights)).sum() - prior

    best = minimize(objective, np.zeros(6), options={"gtol": 1e-6})
    ours = routed_weights(true, routes, common, 30)
    assert objective(np.log(ours).ravel()) == pytest.approx(best.fun, abs=1e-3)
    np.testing.assert_allclose(ours, builders.softmax(best.x.reshape(2, 3)), atol=0.003)


@pytest.mark.parametrize(
    "options", [{"mean": "geometric"}, {"groups": "0,1"}, {"upper": 0.8}, {"metric": "accuracy"}]
)
def test_other_kinds_of_blends_have_one_set_of_weights(builders, options):
    probabilities, y, routes = made(builders, 200)
    chooser = Chooser(Blender(BlendOptions(**options))).fit(probabilities, y, routes=routes)
    assert chooser.recipes_["recommended"].routed is None
    assert chooser.reason_.routing_gain is None


@pytest.fixture
def routed_run(run):
    """A run in which the last model is of no use but to one group, which is told apart."""
    first = open_run(run).probabilities("label", "mlp-one")
    labels = {one.id: one.label for one in open_run(run).samples()}
    y = np.array([first.classes.index(labels[identity]) for identity in first.ids])
    group = np.arange(len(y)) % 2
    rng = np.random.default_rng(0)
    for model, of_group in (("mlp-one", 0), ("noise", 1)):
        sure = np.where(group == of_group, 0.99, 0.25)[:, None]
        table = np.where(np.eye(4)[y] > 0, sure, (1 - sure) / 3) + rng.uniform(0, 0.01, (len(y), 4))
        table = dataclasses.replace(first, probabilities=table / table.sum(axis=1, keepdims=True))
        path = run / "label" / "probabilities" / f"{model}.npz"
        write_probabilities(path, dataclasses.replace(table, model=model))
    routes = np.eye(2)[group] * 0.9 + 0.05
    table = ProbabilityTable(first.ids, ("laid", "worn"), routes, first.splits, "mlp-two")
    write_probabilities(run / "label" / "routes.npz", table)
    return run


def test_the_weights_of_groups_are_saved_read_and_told(routed_run):
    result = blend_run(routed_run)
    (task,) = result.tasks
    assert task.group_weights["laid"]["mlp-one"] > task.weights["mlp-one"] + 0.1
    assert task.group_weights["worn"]["noise"] > task.weights["noise"] + 0.1
    assert "weights of their own for groups of images" in task.recommendation
    saved = load_saved(routed_run).tasks["label"]
    assert saved.router == "mlp-two"
    assert "mlp-two" in saved.needed
    tables = dict(zip(task.data.models, task.data.probabilities))
    needed = {model: tables[model] for model in saved.needed}
    found = saved.combine(needed, task.data.routes_of())
    np.testing.assert_allclose(found, task.table(), atol=1e-12)
    text = result_text(result, details=True)
    assert "each group has weights of its own, which gain +" in text
    assert "weights for worn: " in text
    page = (routed_run / "report.html").read_text(encoding="utf-8")
    assert "These weights are common to all images; those of each group, which count" in page
    # What fresh rows bring is told with these weights.
    assert task.scores["recommended"]["test"]["log_loss"] < task.scores["tuned"]["test"]["log_loss"]


def test_routes_that_do_not_fit_are_refused(routed_run):
    path = routed_run / "label" / "routes.npz"
    table = open_run(routed_run).routes("label")
    write_probabilities(path, dataclasses.replace(table, model="nobody"))
    with pytest.raises(RunError, match="'nobody', which is no model of label"):
        blend_run(routed_run)
    short = {"ids": table.ids[1:], "splits": table.splits[1:]}
    short["probabilities"] = table.probabilities[1:]
    write_probabilities(path, dataclasses.replace(table, **short))
    with pytest.raises(RunError, match="lacks 1 row, images/000.jpg for one"):
        blend_run(routed_run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"router": "nobody"}, "'nobody' cannot tell groups"),
        ({"weights": {}}, "cannot tell groups"),
        ({"weights": {"laid": {"mlp-one": 1.0}}}, "name different models"),
        ({"weights": {"laid": {"mlp-one": 2.0}}}, "have the sum 2"),
        ({"weights": [1]}, "not an object"),
    ],
)
def test_weights_of_groups_that_no_blend_writes_are_refused(routed_run, change, words):
    blend_run(routed_run)
    content = json.loads((routed_run / "blend.json").read_text())
    content["tasks"][0]["answers"]["recommended"]["routed"] |= change
    (routed_run / "blend.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=words):
        load_saved(routed_run)


def test_the_router_must_tell_all_groups(routed_run):
    (task,) = blend_run(routed_run).tasks
    saved = load_saved(routed_run).tasks["label"]
    tables = dict(zip(task.data.models, task.data.probabilities))
    for routes in (None, np.ones((len(task.data.ids), 3)) / 3):
        with pytest.raises(RunError, match="does not tell the 2 groups"):
            saved.combine(tables, routes)
