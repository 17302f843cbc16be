import dataclasses
import html.parser
import json
import re

import pytest
from blending import blend_run

from icecore.core.errors import RunError
from icecore.ensemble import BlendOptions, load_saved, result_text
from icecore.ensemble.report import page as report_module
from icecore.ensemble.report.confusions import Gallery
from icecore.ensemble.report.markdown import write_markdown
from icecore.ensemble.report.page import write_report
from icecore.pages import Pictures
from icecore.runs import read_probabilities, write_probabilities

HOSTILE = "<script>alert(1)</script>"


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def page_of(run, honest=False):
    blend_run(run, BlendOptions(honest=honest))
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_the_page_asks_for_nothing_outside(run):
    page = page_of(run)
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed"}
        for name in ("src", "href"):
            target = attributes.get(name, "")
            assert target.startswith(("data:", "#")) or not target, target
    text = (run / "report.html").read_text()
    assert "url(" not in text
    assert "@import" not in text


def test_it_says_what_there_is_to_say(run, builders):
    text = page_of(run, honest=True).text
    for words in [
        "On rows that no choice has seen",
        "recommended",
        *builders.models,
        *builders.classes,
        "plain average",
        "tuned average",
        "ertificate",
        "worst mistakes",
        "Confusion matrix",
        "run: icecore report",
        "seed of the training",
    ]:
        assert words in text
    assert "RANDOM WEIGHTS" not in text
    assert "Unreadable" not in text


def test_random_weights_and_unreadable_images_are_said_loudly(tmp_path, builders):
    run = builders.run(
        tmp_path / "run",
        random_weights=True,
        failures=[{"id": "images/bad.jpg", "reason": "cut short"}],
    )
    text = page_of(run).text
    assert "RANDOM WEIGHTS" in text
    assert "1 image could not be read" in text
    assert "images/bad.jpg: cut short" in text


def test_names_from_strangers_are_escaped(tmp_path, builders):
    run = builders.run(
        tmp_path / "run",
        backbones=[builders.backbone(name) | {"spec": HOSTILE} for name in ("one", "two")],
        failures=[{"id": HOSTILE, "reason": HOSTILE}],
    )
    for path in (run / "label/probabilities").iterdir():
        table = read_probabilities(path)
        ids = tuple(i.replace("images", HOSTILE) for i in table.ids)
        classes = (HOSTILE, *table.classes[1:])
        write_probabilities(path, type(table)(ids, classes, table.probabilities, table.splits))
    about = json.loads((run / "run.json").read_text())
    about["tasks"]["label"]["classes"][0] = HOSTILE
    (run / "run.json").write_text(json.dumps(about))
    csv = (run / "samples.csv").read_text().replace("images/", f"{HOSTILE}/")
    (run / "samples.csv").write_text(csv.replace(",dress,", f",{HOSTILE},"))
    page = page_of(run)
    # The page's own script is the last thing in it, and the only one.
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert HOSTILE in page.text


def test_missing_images_are_said_one_by_one(run):
    assert "image is missing" in page_of(run).text


def test_thumbnails_are_inside_the_page(tmp_path, builders):
    pillow = pytest.importorskip("PIL.Image", reason="thumbnails need Pillow")
    run = builders.run(tmp_path / "run")
    (run / "images").mkdir()
    for number in range(120):
        picture = run / f"images/{number:03d}.jpg"
        pillow.new("RGB", (600, 300), (200, 30, 30)).save(picture)
    page = page_of(run)
    images = [a for tag, a in page.tags if tag == "img"]
    assert images
    assert all(a["src"].startswith("data:image/jpeg;base64,") for a in images)
    assert "image is missing" not in page.text


def test_without_pillow_the_page_says_so(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    text = page_of(run).text
    assert "Pictures are not shown: thumbnails need Pillow: pip install 'icecore[report]'" in text


def test_the_mistakes_shown_are_the_worst(run):
    result = blend_run(run, BlendOptions(honest=False))
    (task,) = result.tasks
    shown = report_module._task_view(Gallery(task, Pictures()), 0)["mistakes"]
    rows = task.data.rows("test")
    table = task.table()
    wrong = [r for r in rows if table[r].argmax() != task.data.y[r]]
    worst = sorted(table[r, task.data.y[r]] for r in wrong)[:12]
    assert [entry["true_probability"] for entry in shown] == pytest.approx(worst)
    assert all(entry["true"] != entry["predicted"] for entry in shown)


def test_the_confusion_matrix_counts_every_row(run):
    (task,) = blend_run(run, BlendOptions(honest=False)).tasks
    view = report_module._task_view(Gallery(task, Pictures()), 0)
    counts = [[cell["count"] for cell in line["cells"]] for line in view["confusion"]["lines"]]
    assert sum(map(sum, counts)) == 40
    right = sum(counts[i][i] for i in range(4))
    assert right / 40 == pytest.approx(task.scores["recommended"]["test"]["accuracy"])
    assert view["wrong"] == 40 - right


def test_several_tasks_have_a_summary_with_links(tmp_path, builders):
    page = page_of(builders.run(tmp_path / "run", tasks=("sleeve", "skirt")))
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    targets = {a.get("id") for _, a in page.tags}
    assert {"#task-0", "#task-1"} <= links
    assert all(link[1:] in targets for link in links)
    assert "Summary" in page.text


def test_confusions_lead_to_their_pictures(run):
    page = page_of(run)
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    targets = {f"#{a['id']}" for _, a in page.tags if "id" in a}
    assert links <= targets
    assert any(re.fullmatch(r"#task-0-\d+-\d+", link) for link in links)


def test_plots_stand_in_the_page(run):
    result = blend_run(run, BlendOptions(honest=False))
    text = page_of(run).text
    assert "Reliability" in text
    assert "Pareto front: log-loss against number of networks" in text
    assert "All weights of three models" not in text
    front = result.tasks[0].fronts["networks"]
    assert len(front) > 1
    assert f"{front[0].loss:.4f}" in text


def test_costs_that_leave_no_choice_are_not_shown(run, tmp_path):
    result = blend_run(run, BlendOptions(honest=False), write=False)
    assert any(len(front) > 1 for front in result.tasks[0].fronts.values())
    (task,) = result.tasks
    alone = {kind: front[:1] for kind, front in task.fronts.items()}
    result = dataclasses.replace(result, tasks=[dataclasses.replace(task, fronts=alone)])
    write_report(result, tmp_path / "r.html")
    write_markdown(result, tmp_path / "r.md")
    for name in ("r.html", "r.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "log-loss" in text
        assert not re.search("Pareto front|Least log-loss for a cost", text)


def test_three_models_have_a_triangle(run):
    about = json.loads((run / "run.json").read_text())
    del about["tasks"]["label"]["models"][3:]
    (run / "run.json").write_text(json.dumps(about))
    assert "All weights of three models" in page_of(run).text


def test_groups_are_shown(run):
    blend_run(run, BlendOptions(groups="dress,hat;skirt", honest=False))
    text = Page((run / "report.html").read_text()).text
    assert "dress, hat" in text
    assert "there is no proof that they are the best" in text


def test_equal_images_with_different_labels_are_listed(run):
    lines = (run / "samples.csv").read_text().splitlines()
    lines[1] = lines[1][: lines[1].rindex(",")] + "," + "ab" * 32
    lines[2] = lines[2][: lines[2].rindex(",")] + "," + "ab" * 32
    (run / "samples.csv").write_text("\n".join(lines) + "\n")
    text = page_of(run).text
    assert "1 group of images with equal content has different labels" in text
    assert "images/000.jpg is dress (validation); images/001.jpg is hat (validation)" in text


def test_a_run_with_one_model_has_a_page(run):
    about = json.loads((run / "run.json").read_text())
    del about["tasks"]["label"]["models"][1:]
    (run / "run.json").write_text(json.dumps(about))
    assert "There is one model only, mlp-one: its weight is 1" in page_of(run).text
    assert "Recommended: the only model, mlp-one" in page_of(run).text
    text = result_text(blend_run(run, write=False))
    assert "\nrecommended: the only model, mlp-one" in text
    assert "plain average" not in text.split("recommended: ")[0]
    assert load_saved(run).tasks["label"].answer == "the only model, mlp-one"


def test_the_page_can_be_made_of_an_estimate_without_intervals(run):
    result = blend_run(run, write=False)
    (task,) = result.tasks
    nan = float("nan")
    gap = dataclasses.replace(task.estimate.difference, low=nan, high=nan, p=nan)
    scores = {
        answer: {**of, "map": (0.9876, nan, nan)} for answer, of in task.estimate.scores.items()
    }
    estimate = dataclasses.replace(task.estimate, difference=gap, scores=scores)
    changed = dataclasses.replace(result, tasks=[dataclasses.replace(task, estimate=estimate)])
    page, text = Page(report_module.render_report(changed)).text, result_text(changed)
    assert "too many rows for an interval" in page
    assert "mAP 0.9876" in text
    assert "nan" not in text
    assert "0.9876" in page
    assert "[nan" not in page


GROUPS = {
    "images": {"worn": 40, HOSTILE: 38},
    "rows": {"worn": 20, HOSTILE: 19},
    "unknown": 2,
    "router": {"accuracy": 0.95, "accuracy_interval": [0.9, 0.99]},
    "gain": {"model": "three", "against": "four", "log_loss": 0.2, "interval": [0.1, 0.3]},
    "log_loss": {"worn": {"three": 0.5, "four": 0.7}, HOSTILE: {"three": 0.4, "four": 0.6}},
}


def told_of_groups(run, groups):
    path = run / "run.json"
    content = json.loads(path.read_text())
    content["tasks"]["label"]["groups"] = groups
    path.write_text(json.dumps(content))


def test_groups_have_a_section_that_says_what_they_bring(run):
    told_of_groups(run, GROUPS)
    page = page_of(run)
    assert "Groups of images" in page.text
    assert "Knowing the group helps beyond noise: three gains +0.2000" in page.text
    assert HOSTILE in page.text
    told_of_groups(run, GROUPS | {"gain": {**GROUPS["gain"], "interval": [-0.1, 0.3]}})
    assert "Knowing the group does not help beyond noise" in page_of(run).text


@pytest.mark.parametrize("groups", [{"gain": 3}, [1], GROUPS | {"images": {"worn": "many"}}])
def test_groups_that_no_training_writes_are_refused(run, groups):
    told_of_groups(run, groups)
    with pytest.raises(RunError, match=r"run/run\.json: tasks: label(:| has) groups"):
        page_of(run)


def test_the_licence_of_weights_is_named_where_it_is_known(run):
    path = run / "run.json"
    content = json.loads(path.read_text())
    content["backbones"][0]["license"] = "cc-by-nc-4.0"
    path.write_text(json.dumps(content))
    assert "(weights: cc-by-nc-4.0)" in page_of(run).text
