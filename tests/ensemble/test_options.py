"""Class groups, budgets and stacking, alone and through a run."""

import json
import warnings

import numpy as np
import pytest
from blending import blend_run

from icecore.core.errors import ProbabilityError, RunError
from icecore.ensemble import Blender, BlendOptions, Stacker, load_saved, parse_groups, result_text
from icecore.ensemble.metrics import METRICS, log_loss
from icecore.ensemble.report.page import render_report
from icecore.ensemble.weighting.groups import combine_groups, group_weights
from icecore.runs import read_probabilities


def test_groups_by_name():
    classes = ("a", "b", "c", "d")
    assert parse_groups("a, c;d", classes).tolist() == [0, 2, 0, 1]
    assert parse_groups("cafe\u0301;b", ("b", "caf\u00e9")).tolist() == [1, 0]
    assert parse_groups("each", classes).tolist() == [0, 1, 2, 3]
    assert parse_groups("a,b,c,d", classes).tolist() == [0] * 4
    with pytest.raises(ProbabilityError, match=r"unknown classes \(x\) or one twice \(a\)"):
        parse_groups("a,x;a", classes)


def test_group_weights_are_no_worse_than_shared_ones_and_help_specialists(builders):
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=400)
    # One model tells classes 0 and 1 apart, the other 2 and 3.
    first = builders.softmax(
        np.eye(4)[y] * np.where(y < 2, 3, 0.3)[:, None] + rng.normal(size=(400, 4))
    )
    second = builders.softmax(
        np.eye(4)[y] * np.where(y < 2, 0.3, 3)[:, None] + rng.normal(size=(400, 4))
    )
    both = np.stack([first, second])
    shared = Blender().fit(both, y)
    grouped = Blender(BlendOptions(groups="0,1;2,3")).fit(both, y)
    assert grouped.score_ < shared.score_ - 0.02
    assert grouped.certificate_ is None
    weights = grouped.recipe_.group_weights
    assert weights.sum(axis=1) == pytest.approx([1, 1])
    assert weights[0, 0] > weights[1, 0]


def test_group_gradients_reach_a_stationary_point(builders):
    probabilities, y = builders.probabilities(3, 200)
    groups = np.array([0, 0, 1, 1])
    best = group_weights(probabilities, y, groups, np.full(3, 1 / 3))
    reached = log_loss(y, combine_groups(probabilities, best, groups))
    rng = np.random.default_rng(0)
    for _ in range(100):
        near = np.abs(best + 0.01 * rng.normal(size=best.shape))
        near /= near.sum(axis=1, keepdims=True)
        assert log_loss(y, combine_groups(probabilities, near, groups)) >= reached - 1e-7


def test_one_group_is_the_plain_average(builders):
    probabilities, _ = builders.probabilities(3, 100)
    weights = np.array([[0.2, 0.3, 0.5]])
    table = combine_groups(probabilities, weights, np.zeros(4, dtype=int))
    assert table == pytest.approx(np.tensordot(weights[0], probabilities, axes=1))


def test_a_budget_leaves_weight_to_the_best_subset_only(builders):
    probabilities, y = builders.probabilities(5, 150)
    blender = Blender(BlendOptions(backbones_max=2)).fit(probabilities, y)
    assert (blender.weights_ > 0).sum() <= 2
    assert blender.method_ == "convex optimum of the best networks within the budget"
    for metric in ("accuracy", "map"):
        limited = Blender(BlendOptions(metric, backbones_max=2)).fit(probabilities, y)
        assert (limited.weights_ > 0).sum() <= 2


def test_group_options_are_checked(builders):
    with pytest.raises(ProbabilityError, match="groups go with log_loss"):
        BlendOptions("accuracy", groups="each")
    with pytest.raises(ProbabilityError, match=r"unknown classes \(7\)"):
        Blender(BlendOptions(groups="0,7")).fit(*builders.probabilities(2, 30))


@pytest.mark.parametrize("kind", ["logistic", "lightgbm"])
def test_stackers_learn_and_survive_missing_classes(builders, kind):
    probabilities, y = builders.probabilities(3, 200, quality=[1, 1, 1])
    y = np.where(y == 3, 0, y)
    stacker = Stacker(kind).fit(probabilities, y)
    table = stacker.predict_proba(probabilities)
    assert np.allclose(table.sum(axis=1), 1)
    assert not table[:, 3].any()
    assert log_loss(y, table) < min(log_loss(y, p) for p in probabilities)
    only = Stacker(kind).fit(probabilities, np.zeros_like(y)).predict_proba(probabilities)
    assert only[:, 0].min() == 1


def test_an_unknown_stacker(builders):
    with pytest.raises(ProbabilityError, match="unknown stacking 'forest'"):
        Stacker("forest").fit(*builders.probabilities(2, 20))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"calibrate": False},
        {"groups": "dress,hat;skirt"},
        {"groups": "each"},
        {"mean": "geometric"},
        {"mean": "geometric", "backbones_max": 1},
    ],
)
@pytest.mark.parametrize("answer", ["recommended", "clean", "given", "tuned", "average"])
def test_what_is_saved_predicts_the_same(run, options, answer):
    result = blend_run(run, BlendOptions(honest=False, **options))
    saved = load_saved(run, answer).tasks["label"]
    tables = {
        model: read_probabilities(run / f"label/probabilities/{model}.npz").probabilities
        for model in saved.needed
    }
    assert saved.combine(tables) == pytest.approx(result.tasks[0].table(answer), abs=1e-9)
    if "backbones_max" in options:
        assert set(saved.needed) in ({"mlp-one", "noise"}, {"mlp-one"}, {"noise"}, {"mlp-two"})


def test_a_run_shows_the_front_and_keeps_to_budgets(run, tmp_path):
    costs = tmp_path / "costs.json"
    sizes = {"mlp-one": 100, "mlp-two": 80, "logistic-all": 500, "noise": 1}
    costs.write_text(json.dumps({"backbones": {m: {"size_bytes": s} for m, s in sizes.items()}}))
    (task,) = blend_run(run, BlendOptions(costs=costs, max_size=200, honest=False)).to_json()[
        "tasks"
    ]
    for answer in task["answers"].values():
        used = [model for model, weight in answer["weights"].items() if weight > 0]
        assert sum(sizes[model] for model in used) <= 200
    assert set(task["pareto"]) == {"networks", "size"}
    front = task["pareto"]["size"]
    assert [point["cost"] for point in front] == sorted(point["cost"] for point in front)
    assert all(sum(sizes[m] for m in point["models"]) == point["cost"] for point in front)
    with pytest.raises(ProbabilityError, match="the latency of 4 parts is not known"):
        blend_run(run, BlendOptions(costs=costs, max_latency=5))


@pytest.mark.parametrize("kind", ["logistic", "lightgbm"])
def test_stacking_says_nothing_of_few_rows_of_many_classes(kind):
    many = np.random.default_rng(0).dirichlet(np.ones(20), (2, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        Stacker(kind).fit(many, np.arange(30) % 20)


def test_stacking_is_compared_on_request(run):
    result = blend_run(run, BlendOptions(stacking=["logistic"]), write=False)
    (task,) = result.to_json()["tasks"]
    assert "stacking, logistic" in task["estimate"]["scores"]
    assert "\nstacking, logistic: log-loss " in result_text(result)


@pytest.mark.parametrize("metric", ["macro_f1", "brier"])
def test_what_is_tuned_for_is_shown(run, metric):
    result = blend_run(run, BlendOptions(metric=metric), write=False)
    value = result.tasks[0].scores["tuned"]["tuning"][metric]
    (tuned,) = [line for line in result_text(result).splitlines() if line.startswith("tuned av")]
    assert tuned.split()[5] == f"{value:.4f}"
    assert METRICS[metric].title in result_text(result).splitlines()[1]
    shown = (*result.tasks[0].models.values(), *result.tasks[0].scores.values())
    best = (min if metric == "brier" else max)(one["tuning"][metric] for one in shown)
    assert f'<td class="best">{best:.4f}</td>' in render_report(result)


def test_names_that_lead_elsewhere_are_refused(run):
    about = json.loads((run / "run.json").read_text())
    about["tasks"]["label"]["folder"] = "../../elsewhere"
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(
        RunError,
        match=r"label has a name that is none for a file or folder: ../../else",
    ):
        blend_run(run)


def test_shared_weights_minimise_the_mean_of_the_tasks(tmp_path, builders):
    from scipy.optimize import minimize

    run = builders.run(tmp_path / "run", tasks=("sleeve", "skirt"))
    first, second = blend_run(run, BlendOptions(share=True)).tasks
    weights = first.weights_of("tuned")
    assert second.weights_of("tuned") == pytest.approx(weights, abs=1e-6)
    assert first.estimate.rows == 40
    assert first.certificate <= 1e-8
    assert "shared by all tasks" in first.method

    def loss(weights):
        total = 0
        for task in (first, second):
            rows = task.data.rows("validation")
            mixed = np.tensordot(weights, task.data.probabilities[:, rows], axes=1)
            total += log_loss(task.data.y[rows], mixed) / 2
        return total

    found = minimize(
        loss,
        np.full(4, 0.25),
        method="SLSQP",
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert loss(np.array(list(weights.values()))) <= found.fun + 1e-8
    assert load_saved(run, "tuned").tasks["skirt"].weights == pytest.approx(weights, abs=1e-6)


def test_shared_weights_refuse_what_does_not_go_with_them(tmp_path, builders):
    with pytest.raises(ProbabilityError, match=r"log_loss and the arithmetic .* without budgets"):
        BlendOptions("accuracy", share=True, backbones_max=2)
    run = builders.run(tmp_path / "run", tasks=("sleeve", "skirt"))
    about = json.loads((run / "run.json").read_text())
    del about["tasks"]["skirt"]["models"][0]
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(ProbabilityError, match="do not have the same models"):
        blend_run(run, BlendOptions(share=True))


def test_a_metric_of_ones_own_goes_all_the_way(run):
    def share_of_hats(y, probabilities):
        return float(np.mean(probabilities.argmax(axis=1)[y == 1] == 1))

    about = json.loads((run / "run.json").read_text())
    del about["tasks"]["label"]["models"][3:]
    (run / "run.json").write_text(json.dumps(about))
    result = blend_run(run, BlendOptions(share_of_hats))
    assert result.metric == "share_of_hats"
    assert "share_of_hats" in result.tasks[0].estimate.scores["tuned"]
    assert load_saved(run).tasks["label"].weights == result.tasks[0].weights


def test_the_text_says_what_the_certificate_is_about(run):
    plain = result_text(blend_run(run, BlendOptions(honest=False), write=False), details=True)
    # The recommended ones may be others.
    assert "\ntuned weights, for log-loss, arithmetic mean: convex optimum, certificate" in plain
    assert "no weights have a lower log-loss" in plain
    options = BlendOptions(l2=0.1, honest=False)
    pulled = result_text(blend_run(run, options, write=False), details=True)
    assert "no weights of that kind have a lower log-loss plus pull" in pulled
