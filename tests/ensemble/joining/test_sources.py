"""Runs and files from elsewhere in one blend, and what is saved of it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from command import icecore

from icecore.core.errors import MissingFileError, ProbabilityError, RunError
from icecore.ensemble import BlendOptions, blend_sources, load_saved, save_blend
from icecore.manifest import read
from icecore.runs import ProbabilityTable, read_probabilities, write_probabilities

QUICK = BlendOptions(honest=False)


@pytest.fixture
def two_runs(tmp_path, builders):
    """Two runs of one data set, with heads of the same names and other probabilities."""
    whole, cut = (builders.run(tmp_path / name) for name in ("whole", "cut"))
    rng = np.random.default_rng(0)
    for path in (cut / "label/probabilities").iterdir():
        table = read_probabilities(path)
        noise = rng.dirichlet(np.ones(4), len(table.ids))
        order = rng.permutation(len(table.ids))
        mixed = (0.7 * table.probabilities + 0.3 * noise)[order]
        ids, splits = (tuple(values[i] for i in order) for values in (table.ids, table.splits))
        write_probabilities(
            path, ProbabilityTable(ids, table.classes, mixed, splits, table.model, table.task)
        )
    return whole, cut


def test_runs_are_joined_by_id_and_models_keep_readable_names(two_runs, builders):
    (task,) = blend_sources(two_runs, None, QUICK).tasks
    names = [f"{run}/{model}" for run in ("whole", "cut") for model in builders.models]
    assert list(task.data.models) == names
    tables = {
        name: read_probabilities(
            two_runs[index // 4] / f"label/probabilities/{name.split('/')[1]}.npz"
        )
        for index, name in enumerate(names)
    }
    for row, identity in enumerate(task.data.ids):
        for place, table in enumerate(tables.values()):
            expected = table.probabilities[table.ids.index(identity)]
            np.testing.assert_array_equal(task.data.probabilities[place, row], expected)


def test_a_file_may_call_images_by_their_names_alone(two_runs, tmp_path):
    table = read_probabilities(two_runs[0] / "label/probabilities/mlp-one.npz")
    assert table.ids[7] == "images/007.jpg"
    names = tuple(f"{number:03d}" for number in range(len(table.ids)))
    theirs = tmp_path / "theirs.npz"
    write_probabilities(theirs, replace(table, ids=names, model="theirs"))
    (task,) = blend_sources([two_runs[0], theirs], None, QUICK).tasks
    ours, last = task.data.models.index("mlp-one"), task.data.models.index("theirs")
    np.testing.assert_array_equal(task.data.probabilities[last], task.data.probabilities[ours])


def test_a_blend_of_runs_lies_in_the_first_and_knows_the_others(two_runs):
    whole, cut = two_runs
    result = blend_sources(two_runs, None, QUICK)
    assert not (whole / "blend.json").exists()
    assert save_blend(result, "average") == [whole / "report.html", whole / "blend.json"]
    assert not (cut / "blend.json").exists()
    saved = load_saved(whole)
    assert saved.answer == "average"
    assert {name: run.path.resolve() for name, run in saved.runs.items()} == {
        "whole": whole,
        "cut": cut,
    }
    assert set(saved.tasks["label"].weights.values()) == {0.125}
    assert saved.origin("label", "cut/noise") == ("cut", "noise")
    assert load_saved(whole, "tuned").tasks["label"].weights != saved.tasks["label"].weights
    # Runs that travel together find one another.
    moved = shutil.copytree(whole.parent, whole.parent.parent / f"{whole.parent.name}-moved")
    assert load_saved(moved / "whole").runs["cut"].path.resolve() == moved / "cut"
    shutil.rmtree(moved / "cut")
    with pytest.raises(MissingFileError, match="cut is not there"):
        load_saved(moved / "whole")
    shutil.rmtree(moved)
    path = cut / "label/probabilities/noise.npz"
    path.write_bytes((cut / "label/probabilities/mlp-one.npz").read_bytes())
    with pytest.raises(
        RunError, match=r"files have changed since: ../cut/label/probabilities/noise"
    ):
        load_saved(whole)


def test_predict_is_said_to_go_through_both_only_where_that_was_saved(two_runs):
    status, out, err = icecore("blend", *two_runs, "--no-save")
    assert status == 0, err
    assert "go through" not in out
    assert "go through" in icecore("blend", *two_runs)[1]


def test_copies_are_known_by_whole_images(two_runs):
    whole, cut = two_runs
    for folder, box in ((whole, ""), (cut, "1 1 9 9")):
        table = read(folder / "samples.csv", labels_required=False)
        digests = [f"{n // 2 if not box else n:064x}" for n in range(len(table))]
        rows = tuple(replace(s, digest=d, box=box) for s, d in zip(table, digests))
        replace(table, samples=rows).write(folder / "samples.csv")
    for order in (two_runs, two_runs[::-1]):
        (task,) = blend_sources(order, None, QUICK).tasks
        images = dict(zip(task.data.ids, task.data.images))
        assert len(set(images.values())) == 60
        assert images["images/000.jpg"] == images["images/001.jpg"]


def test_a_run_and_a_file_from_elsewhere(run, tmp_path, builders):
    table = read_probabilities(run / "label/probabilities/noise.npz")
    write_probabilities(
        tmp_path / "noise.csv", ProbabilityTable(table.ids, table.classes, table.probabilities)
    )
    write_probabilities(
        tmp_path / "team.csv", ProbabilityTable(table.ids, table.classes, table.probabilities)
    )
    result = blend_sources([run, tmp_path / "noise.csv", tmp_path / "team.csv"], None, QUICK)
    assert result.tasks[0].data.models == (*builders.models, "noise.csv", "team")
    save_blend(result)
    saved = load_saved(run)
    assert saved.origin("label", "team") is None
    assert saved.origin("label", "noise") == ("", "noise")


def test_a_blend_lies_in_its_first_run_alone(two_runs, tmp_path):
    save_blend(blend_sources(two_runs, None, QUICK))
    content = json.loads((two_runs[0] / "blend.json").read_text())
    content["runs"] = dict(reversed(content["runs"].items()))
    (two_runs[0] / "blend.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="does not name the run that it lies in first"):
        load_saved(two_runs[0])


def test_sources_that_do_not_belong_together(two_runs, tmp_path, builders):
    whole, cut = two_runs
    with pytest.raises(ProbabilityError, match="given twice"):
        blend_sources([whole, whole])
    with pytest.raises(RunError, match="a run has its own labels"):
        blend_sources([whole], whole / "samples.csv")
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(RunError, match=r"x\.npz is not a run: it has no run\.json"):
        blend_sources([tmp_path / "x.npz"], whole / "samples.csv")
    with pytest.raises(MissingFileError, match=r"a, .*b are not there"):
        blend_sources([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(RunError, match="no labels to tune on"):
        blend_sources([whole / "label/probabilities/noise.npz"])
    samples = (cut / "samples.csv").read_text().replace("hat", "skirt")
    (cut / "samples.csv").write_text(samples)
    with pytest.raises(
        ProbabilityError, match=r"the runs have other labels for \d+ rows: .* in cut"
    ):
        blend_sources(two_runs)


def test_budgets_count_networks_over_all_tasks_and_for_every_answer(tmp_path, builders):
    run = builders.run(tmp_path / "run", tasks=("sleeve", "skirt", "coat"))
    about = json.loads((run / "run.json").read_text())
    for entry, size in zip(about["backbones"], (5e6, 7e6)):
        entry["size_bytes"] = size
    (run / "run.json").write_text(json.dumps(about))
    prints = about["tasks"]["sleeve"]["features"]
    for options, most in (
        ({"backbones_max": 1}, 1),
        ({"max_size": "8MB"}, 1),
        ({"backbones_max": 2}, 2),
    ):
        for metric in ("log_loss", "accuracy"):
            result = blend_sources([run], None, BlendOptions(metric, honest=False, **options))
            for answer in ("recommended", "tuned", "average"):
                used = {
                    print_
                    for task in result.tasks
                    for model, weight in task.weights_of(answer).items()
                    if weight
                    for print_ in prints[model]
                }
                assert len(used) <= most
    with pytest.raises(
        ProbabilityError,
        match="fit the budget size <= 1e.06 .the least that a model takes is size 5e.06.",
    ):
        blend_sources([run], None, BlendOptions(max_size="1MB"))
