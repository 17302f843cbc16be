import dataclasses
import json
import shutil
import xml.etree.ElementTree

import numpy as np
import pytest
from heads_support import go, make_cache, samples

import icecore
from icecore import jobs
from icecore.core.errors import RunError
from icecore.manifest import read


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of two tasks whose labels of 3.jpg and 10.jpg are wrong in the first."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    keys = [f"{number:064x}" for number in range(60)]
    rows = np.eye(3)[np.arange(60) % 3] @ (4 * np.eye(3, 8)) + 0.3 * rng.normal(size=(60, 8))
    cache = icecore.FeatureCache.create(folder / "cache")
    cache.open_set({"backbone": {"spec": "onnx:a"}}, "onnx:a", 8).append(keys, rows)
    lines = ["id,path,split,task,label,digest"]
    for number, key in enumerate(keys):
        wrong = number in (3, 10)
        for task, names in (("sleeve", "abc"), ('skirt "<b>', "xyz")):
            label = names[(number + (wrong and task == "sleeve")) % 3]
            quoted = task.replace('"', '""')
            lines.append(f'{number}.jpg,photos/{number} é.jpg,train,"{quoted}",{label},{key}')
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    options = icecore.TrainOptions(folds=3, heads=["logistic"], settings={"logistic": {"C": 10.0}})
    icecore.train(folder / "cache", folder / "data.csv", folder / "run", options)
    icecore.blend([folder / "run"])
    return folder / "run"


def test_label_studio_gets_doubtful_labels_first_and_a_configuration(run, tmp_path):
    found = jobs.export_labels(run, "label-studio", tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert found["images"] == len(tasks) == 60
    assert found["doubtful"] == 2
    assert {one["data"]["id"] for one in tasks[:2]} == {"3.jpg", "10.jpg"}
    assert [one["data"]["doubtful"] for one in tasks[:3]] == ["sleeve", "sleeve", ""]
    (three,) = [one for one in tasks if one["data"]["id"] == "3.jpg"]
    assert three["data"]["image"] == "/data/local-files/?d=3%20%C3%A9.jpg"
    (given,), (said,) = three["annotations"], three["predictions"]
    assert [one["value"]["choices"] for one in given["result"]] == [["b"], ["x"]]
    assert [one["value"]["choices"] for one in said["result"]] == [["a"], ["x"]]
    root = xml.etree.ElementTree.parse(tmp_path / "tasks.xml").getroot()
    controls = {one.get("name"): [c.get("value") for c in one] for one in root.iter("Choices")}
    assert controls == {"sleeve": list("abc"), 'skirt "<b>': list("xyz")}
    assert {one["from_name"] for one in given["result"]} == set(controls)
    assert found["root"].endswith("photos")


def test_fiftyone_gets_files_labels_and_predictions(run, tmp_path):
    found = jobs.export_labels(run, "fiftyone", tmp_path / "out")
    names = ["data", "labels-0", "predictions-0", "labels-1", "predictions-1"]
    assert found["files"] == [str(tmp_path / "out" / f"{name}.json") for name in names]
    tables = [json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in names]
    where, labels, said = tables[:3]
    paths = {one.id: one.path for one in read(run / "samples.csv").images.values()}
    first = min(labels["labels"])
    about = labels["labels"][first]
    assert about["attributes"]["doubtful"]
    assert about["attributes"]["image_id"] in ("3.jpg", "10.jpg")
    assert where[first] == str(paths[about["attributes"]["image_id"]])
    assert said["labels"][first]["label"] != about["label"]
    assert said["labels"][first]["confidence"] > 0.5
    assert list(where) == list(labels["labels"]) == list(said["labels"])


def test_an_export_of_other_tasks_is_not_written_into(run, tmp_path):
    jobs.export_labels(run, "fiftyone", tmp_path)
    jobs.export_labels(run, "fiftyone", tmp_path)
    (tmp_path / "labels-2.json").write_text("{}")
    before = {one: one.stat().st_mtime_ns for one in tmp_path.iterdir()}
    with pytest.raises(RunError, match=r"holds the export of other tasks: labels-2.json"):
        jobs.export_labels(run, "fiftyone", tmp_path)
    assert {one: one.stat().st_mtime_ns for one in tmp_path.iterdir()} == before


def test_another_program_is_refused(run, tmp_path):
    with pytest.raises(RunError, match="no export to 'cvat'\n  choose fiftyone, label-studio"):
        jobs.export_labels(run, "cvat", tmp_path / "x")


def test_the_model_card_has_data_metrics_networks_and_escapes_names(run):
    text = jobs.model_card(run)
    assert '- **skirt "&lt;b&gt;**, 3 classes: x, y, z.' in text
    about = json.loads((run / "run.json").read_text())
    assert about["samples_sha256"] in text
    saved = json.loads((run / "blend.json").read_text())["tasks"][0]
    value = saved["estimate"]["scores"]["recommended"]["accuracy"]
    shown = f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    assert f"| sleeve | recommended | accuracy | {shown} | 60, nested cross-validation |" in text
    assert "| onnx:a |" in text
    assert "Intended use" in text
    about["backbones"][0]["license"] = "cc-by-nc-4.0"
    (run / "run.json").write_text(json.dumps(about))
    assert "cc-by-nc-4.0" in jobs.model_card(run)
    for line in text.splitlines():
        assert not line.startswith("|") or line.count("|") - line.count("\\|") == 6, line
    (run / "blend.json").rename(run / "kept")
    try:
        assert "Not blended" in jobs.model_card(run)
    finally:
        (run / "kept").rename(run / "blend.json")


def test_tasks_are_not_replaced_by_their_configuration_nor_a_run_by_them(run, tmp_path):
    with pytest.raises(RunError, match=r"t.xml is the name that the labelling configuration gets"):
        jobs.export_labels(run, "label-studio", tmp_path / "t.xml")
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunError, match=r"run.json is read by this command: the answer would rep"):
        jobs.export_labels(run, "label-studio", run / "run.json")


@pytest.mark.parametrize("name", ["run.json", "samples.csv", "blend.json"])
def test_answers_replace_nothing_that_they_come_from(run, name):
    before = (run / name).read_bytes()
    outputs = [{"out": run / name}, {"report": run / name}, {"markdown": run / name}]
    for output in outputs:
        with pytest.raises(RunError, match="is read by this command"):
            icecore.blend([run], outputs=jobs.BlendOutputs(**output))
    with pytest.raises(RunError, match="is read by this command"):
        jobs.predict(run, run.parent / "data.csv", run / name)
    with pytest.raises(RunError, match="is read by this command"):
        jobs.predict(run, run.parent / "data.csv", run.parent / "data.csv")
    assert (run / name).read_bytes() == before
    if name.endswith("json"):
        with pytest.raises(RunError, match="is read by this command"):
            jobs.compare([run], outs=[run / name])


def test_a_report_that_cannot_be_made_leaves_no_answers(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    content = json.loads((folder / "run.json").read_text())
    content["tasks"]["sleeve"]["groups"] = {"gain": 1}
    (folder / "run.json").write_text(json.dumps(content))
    before = (folder / "blend.json").read_bytes()
    with pytest.raises(RunError, match=r"run/run\.json: tasks: sleeve: groups has gain = 1"):
        icecore.blend([folder], outputs=jobs.BlendOutputs(out=tmp_path / "o.csv"))
    assert not (tmp_path / "o.csv").exists()
    assert (folder / "blend.json").read_bytes() == before


@pytest.mark.parametrize("name", ["a\x01b", "a\ufffe"])
def test_names_that_xml_cannot_hold_are_refused(tmp_path, name):
    rows = [dataclasses.replace(one, label=one.label.replace("hat", name)) for one in samples(30)]
    cache = make_cache(tmp_path / "cache", rows, names=("one",))
    go(cache, rows, tmp_path / "run", heads=["ridge"])
    with pytest.raises(RunError, match="names with characters that Label Studio's config"):
        jobs.export_labels(tmp_path / "run", "label-studio", tmp_path / "t.json")
    assert not (tmp_path / "t.json").exists()


@pytest.mark.parametrize("name", ["", ".", "folder"])
def test_tasks_are_not_written_to_a_folder(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="is a folder"):
        jobs.export_labels(run, "label-studio", name)
