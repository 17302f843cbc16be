"""The recipes run, each from this checkout alone, on drawn pictures and a small network."""

from __future__ import annotations

import csv
import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from render_notebook import render
from repository import ROOT

import icecore
from icecore.core.stores import _store
from icecore.demo import draw

pytest.importorskip("PIL.Image", reason="draws pictures with Pillow")
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def garments(tmp_path_factory):
    """Return a drawn archive of 60 pictures."""
    return draw(60, 0, tmp_path_factory.mktemp("garments") / "data").root


@pytest.fixture
def networks(tmp_path, write_tiny_onnx):
    return [f"onnx:{write_tiny_onnx(tmp_path / f'net{n}.onnx', seed=n)}" for n in (1, 2, 3)]


def recipe(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return importlib.import_module(name)


def test_every_recipe_is_short_and_in_a_document():
    pages = "\n".join(p.read_text() for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.sh")]:
        if path.stem != "run_bundle":
            assert len(path.read_text().splitlines()) < 80, path.name
        assert path.name in pages, path.name


def test_kaggle_from_a_drawn_contest_to_its_file(networks, monkeypatch, tmp_path):
    example = recipe("kaggle_dog_breeds", monkeypatch, tmp_path)
    monkeypatch.setattr(example.draw_contest, "__defaults__", (60,))
    contest = example.draw_contest(tmp_path / "dogs")
    file = example.main(str(contest), *networks[:1])
    sample, rows = (list(csv.reader(p.open())) for p in (contest / "sample_submission.csv", file))
    assert rows[0] == sample[0]
    assert [row[0] for row in rows] == [row[0] for row in sample]
    assert np.allclose([sum(map(float, row[1:])) for row in rows[1:]], 1, atol=1e-3)


def test_feature_sets_are_joined_in_every_way(garments, networks, monkeypatch, tmp_path):
    cache = tmp_path / "cache"
    icecore.extract(garments, cache, networks[:2])
    example = recipe("joining_sets", monkeypatch, tmp_path)
    losses = example.main(str(cache), str(garments), "sleeve_length_labels")
    assert losses.keys() == example.ways([1]).keys()
    assert all(0 < loss < 3 for loss in losses.values())
    # A set whose numbers are a hundred times as large does not drown the other.
    rows = np.random.default_rng(0).random((50, 8)) * ([1] * 3 + [100] * 5)
    joined = example.ways([3, 5])["rows of each set of length 1"].fit_transform(rows)
    assert np.allclose(
        [np.linalg.norm(joined[:, :3], axis=1), np.linalg.norm(joined[:, 3:], axis=1)], 1
    )


@pytest.mark.slow
def test_fashionai_within_its_budget(garments, networks, monkeypatch, tmp_path):
    file = recipe("fashionai", monkeypatch, tmp_path).main(str(garments), *networks)
    questions = list(csv.reader((garments / "Tests" / "question.csv").open()))
    assert [row[:2] for row in csv.reader(file.open())] == [row[:2] for row in questions]
    answers = json.loads((tmp_path / "fashionai-run/run/blend.json").read_text())["tasks"]
    used = {m for t in answers for m, w in t["answers"]["recommended"]["weights"].items() if w}
    assert len({name.split("-", 1)[1] for name in used}) <= 2


def test_networks_are_compared_on_a_page(garments, networks, monkeypatch, tmp_path, capsys):
    page = recipe("compare_networks", monkeypatch, tmp_path).main(str(garments), *networks[:2])
    assert "<h1>Comparison of run</h1>" in page.read_text()
    assert "* best for its cost" in capsys.readouterr().out


def test_the_notebook_runs_and_shows_its_plots(garments, networks, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="the notebook plots with matplotlib")
    rows = [r for r in csv.reader((garments / "Annotations/label.csv").open()) if "sleeve" in r[1]]
    lines = [f"{garments / path},{letters.index('y')}" for path, _, letters in rows]
    (tmp_path / "photos.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    monkeypatch.setenv("PHOTOS", str(tmp_path / "photos.csv"))
    monkeypatch.setenv("NETWORKS", networks[0])
    page, found = render(EXAMPLES / "notebook.py")
    assert page.startswith("A notebook: features once, heads in seconds\n====")
    assert page.count("data:image/png;base64,") == 2
    assert "<td>kernel-" in page
    assert "noqa" not in page
    assert len(found["X"]) == len(found["y"]) > 0
    assert len(found["blend"].tasks) == 1


def test_slurm_jobs_fill_one_cache(garments, networks, tmp_path):
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "icecore"
    command.write_text(f"#!{sys.executable}\nfrom icecore.cli import main\nmain()\n")
    command.chmod(0o755)
    cache = tmp_path / "cache"
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    jobs = [
        subprocess.Popen(
            [shutil.which("bash"), EXAMPLES / "slurm.sh", garments, cache, *networks[:2]],
            env=os.environ | {"PATH": path, "SLURM_CPUS_PER_TASK": "1"},
            stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for job in jobs:
        _, said = job.communicate(timeout=120)
        # The demo's archive has a file that is cut short.
        assert job.returncode == 3, said
    rows = [len(one) for one in icecore.FeatureCache(cache).sets()]
    assert len(rows) == 2
    assert rows[0] == rows[1] > 50


@pytest.mark.slow
def test_ray_computes_the_rows(garments, networks, monkeypatch, tmp_path):
    pytest.importorskip("ray", reason="needs Ray")
    assert recipe("ray_cluster", monkeypatch, tmp_path).main(str(garments), networks[0]) > 50


def test_a_bucket_has_the_rows_of_a_folder(garments, networks, monkeypatch, tmp_path):
    for package in ("obstore", "boto3", "moto.server"):
        pytest.importorskip(package, reason="needs a store to try against")
    for name in ("ENDPOINT_URL", "ALLOW_HTTP", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "")  # What the recipe sets is taken back.
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("ICECORE_CACHES", str(tmp_path / "caches"))
    _store.cache_clear()
    try:
        assert recipe("bucket", monkeypatch, tmp_path).main(str(garments), networks[0]) > 50
    finally:
        _store.cache_clear()


@pytest.fixture
def server(garments, networks, tmp_path):
    onnx = tmp_path / "model.onnx"
    icecore.extract(garments, tmp_path / "cache", networks[:2])
    options = icecore.TrainOptions(heads=["ridge"], folds=3)
    icecore.train(tmp_path / "cache", garments, tmp_path / "run", options)
    icecore.bundle(tmp_path / "run", onnx)
    found = importlib.import_module("serve").serve(onnx, 0)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}/"
    found.shutdown()
    thread.join()
    found.server_close()


def test_a_server_answers_what_predict_does(server, garments, tmp_path):
    (tmp_path / "new").mkdir()
    images = sorted((garments / "Tests").rglob("*.jpg"))[:4]
    for image in images:
        shutil.copy(image, tmp_path / "new")
    icecore.predict(tmp_path / "run", tmp_path / "new", tmp_path / "answers.csv")
    answers = {row["id"]: row for row in csv.DictReader((tmp_path / "answers.csv").open())}
    for image in images:
        with urllib.request.urlopen(server, image.read_bytes()) as reply:
            found = json.load(reply)
        assert len(found) == 3
        for task, classes in found.items():
            for name, probability in classes.items():
                said = float(answers[image.name][f"{task}:{name}"])
                assert probability == pytest.approx(said, abs=2e-3)
    for body, status in ((b"no image", 400), (b"", 400)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(server, body)
        assert refused.value.code == status
        assert "no image" in json.load(refused.value)["error"]


@pytest.mark.parametrize(
    "name", ["fashionai", "joining_sets", "run_bundle", "scikit_learn", "serve"]
)
def test_an_example_says_how_it_is_used(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    file = str(EXAMPLES / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [file, "--help"])
    runpy.run_path(file, run_name="__main__")
    assert f"{name}.py" in capsys.readouterr().out
    if name != "fashionai":  # It draws an archive of its own.
        monkeypatch.setattr(sys, "argv", [file])
        with pytest.raises(SystemExit, match=f"python .*{name}.py"):
            runpy.run_path(file, run_name="__main__")
