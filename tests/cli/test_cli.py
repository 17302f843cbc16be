"""The command line as a user meets it: status, one line, what to do, nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from command import icecore
from packages import skip_without
from PIL import Image

from icecore.cli.cache import cache as cache_group
from icecore.cli.main import cli
from icecore.heads import MLPClassifier
from icecore.runs import open_run

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 50)}


def write_photos(root, counts, seed=0, size=(48, 40)):
    """Write pictures whose class is their main colour: ``{split: images of each class}``."""
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        for label, colour in COLOURS.items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.normal(0, 70, (*size, 3)) + np.array(colour)
                Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(
        tmp_path_factory.mktemp("data") / "photos", {"train": 20, "validation": 8, "test": 6}
    )


@pytest.fixture(scope="module")
def nets(tmp_path_factory, write_tiny_onnx):
    folder = tmp_path_factory.mktemp("nets")
    return [write_tiny_onnx(folder / f"net{seed}.onnx", seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def work(tmp_path_factory, photos, nets):
    """A cache, a run and its blend, made from the command line."""
    folder = tmp_path_factory.mktemp("work")
    specs = [part for net in nets for part in ("-b", f"onnx:{net}")]
    for arguments in (
        ["extract", photos, "-o", folder / "cache", *specs],
        ["train", folder / "cache", "--data", photos, "-o", folder / "run"],
        ["blend", folder / "run"],
    ):
        assert icecore(*arguments)[0] == 0
    return folder


def refused(*arguments):
    """Run a command that must fail with one line and a hint; return the error output."""
    status, _, err = icecore(*arguments)
    assert status == 1, err
    assert "Traceback" not in err
    lines = err.strip().splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) >= 2 or lines[0].endswith(")"), "the error says what to do"
    return err


# The three jobs


def test_a_look_changes_nothing_on_the_disk(work, tmp_path):
    run = shutil.copytree(work / "run", tmp_path / "run")
    before = _tree(run)
    status, out, _ = icecore("blend", run, "--json", "--answer", "average")
    assert (status, json.loads(out)["files"]) == (0, [])
    assert icecore("blend", run, "--no-save", "-q", "--answer", "average")[0] == 0
    assert _tree(run) == before
    names = [str(run / "report.html"), str(run / "blend.json")]
    out = icecore("blend", run, "--json", "--save", "--answer", "average")[1]
    assert json.loads(out)["files"] == names
    assert json.loads((run / "blend.json").read_text())["answer"] == "average"
    out = icecore("blend", run)[1]
    assert out.splitlines()[-1] == f"written: {', '.join(names)}"
    assert json.loads((run / "blend.json").read_text())["answer"] == "recommended"
    assert "not where" in refused("blend", run, "--sample", tmp_path / "s.csv")


def test_the_three_jobs_give_a_blend_that_can_be_read(work):
    status, out, _ = icecore("blend", work / "run", "--json")
    assert status == 0
    (task,) = json.loads(out)["tasks"]
    assert task["task"] == "label"
    for answer in task["answers"].values():
        assert set(answer["weights"]) == set(task["models"])
        assert sum(answer["weights"].values()) == pytest.approx(1)
    for scores in (*task["scores"].values(), *task["models"].values()):
        for rows in ("tuning", "test"):
            assert {"log_loss", "accuracy", "map"} <= set(scores[rows])
    best = min(scores["tuning"]["log_loss"] for scores in task["models"].values())
    tuned, average = (task["scores"][name]["tuning"]["log_loss"] for name in ("tuned", "average"))
    assert tuned <= min(best, average) + 1e-9
    assert (work / "run" / "report.html").stat().st_size > 1000


def test_predict_answers_for_new_images(work, tmp_path):
    fresh = write_photos(tmp_path / "fresh", {"": 3}, seed=7)
    (fresh / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    status, out, err = icecore("predict", work / "run", fresh, "-o", tmp_path / "answers.csv")
    assert status == 3, err
    assert "broken.png: " in err
    rows = list(csv.DictReader(open(tmp_path / "answers.csv")))
    assert len(rows) == 10
    by_id = {row["id"]: row for row in rows}
    assert by_id["broken.png"]["label"] == ""
    right = 0
    for identity, row in by_id.items():
        if identity != "broken.png":
            numbers = {label: float(row[label]) for label in COLOURS}
            assert sum(numbers.values()) == pytest.approx(1, abs=1e-5)
            assert row["label"] == max(numbers, key=numbers.get)
            right += row["label"] == identity.split("/")[0]
    assert right >= 7, "colours are easy"


def test_predict_and_audit_pass_nothing_over_in_silence(work, photos, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(next(photos.rglob("0.png")), new / "1.png")
    (new / "2.jpg_large").write_bytes(b"")
    Image.new("RGB", (40, 40), (1, 2, 3)).save(new / "unknown.png")
    status, _, err = icecore("predict", work / "run", new, "-o", tmp_path / "o.csv", "-q")
    assert (status, err) == (0, "note: 1 file was passed over: .jpg_large 1\n")
    status, out, _ = icecore("predict", work / "run", new, "-o", tmp_path / "o.csv", "-q", "--json")
    assert json.loads(out)["images"] == 2
    assert "manifest" not in json.loads(out)
    table = tmp_path / "table.csv"
    table.write_text("path\nnew/1.png\nnew/1.png,x\n")
    given = ("predict", work / "run", table, "-o", tmp_path / "o.csv", "-q", "--skip-bad-rows")
    status, _, err = icecore(*given)
    assert status == 0
    assert "left out: " in err
    status, out, _ = icecore("audit", work / "cache", "--data", photos / "test", "--new", new, "-q")
    assert status == 0
    assert "1 file was passed over: .jpg_large 1" in out
    assert "1 image is left out: it has no features" in out


def test_predict_agrees_with_what_training_stored(work, photos, tmp_path):
    """The same test images, through files on the one hand and `predict` on the other."""
    from icecore.ensemble import load_saved
    from icecore.runs import read_probabilities

    icecore("predict", work / "run", photos / "test", "-o", tmp_path / "a.csv")
    answers = {"test/" + row["id"]: row for row in csv.DictReader(open(tmp_path / "a.csv"))}
    blend = load_saved(work / "run").tasks["label"]
    tables = {
        name: read_probabilities(work / "run" / "label" / "probabilities" / f"{name}.npz")
        for name in blend.needed
    }
    classes, tests = None, []
    for table in tables.values():
        classes, tests = table.classes, [i for i, s in enumerate(table.splits) if s == "test"]
        ids = [table.ids[i] for i in tests]
    expected = blend.combine({name: t.probabilities[tests] for name, t in tables.items()})
    found = [[float(answers[identity][name]) for name in classes] for identity in ids]
    assert len(ids) == 18
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_training_where_the_images_are_not(work, photos, tmp_path):
    away = tmp_path / "laptop"
    shutil.copytree(work / "cache", away)
    table = next((away / "manifests").glob("*.csv"))
    table.write_text(table.read_text().replace(str(photos), "/not/here"))
    status, out, err = icecore("train", away, "--data", table, "-o", tmp_path / "run")
    assert status == 0, err
    for name in ("mlp-all", "logistic-all"):
        one, two = (
            np.load(run / "label" / "probabilities" / f"{name}.npz")["probabilities"]
            for run in (work / "run", tmp_path / "run")
        )
        np.testing.assert_array_equal(one, two)


def test_train_options(work, photos, tmp_path):
    skip_without("lightgbm")
    status, out, _ = icecore(
        "train", work / "cache", "--data", photos, "-o", tmp_path / "run", "--seed", 3,
        "--head", "logistic", "--head", "lightgbm", "--features", "net1+net2", "--features", "net2",
    )  # fmt: skip
    assert status == 0
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["seed"] == 3
    assert len(about["tasks"]["label"]["models"]) == 4
    assert refused("train", work / "cache", "--data", photos, "-o", tmp_path / "run")
    again = ("train", work / "cache", "--data", photos, "-o", tmp_path / "run", "--overwrite")
    assert icecore(*again, "--head", "logistic", "--features", "net1")[0] == 0


def test_manifest_shows_and_writes_the_table(photos, tmp_path):
    status, out, _ = icecore("manifest", photos, "-o", tmp_path / "t.csv", "--json")
    assert status == 0
    assert [(row["split"], row["images"]) for row in json.loads(out)["summary"]] == [
        ("train", 60), ("validation", 24), ("test", 18),
    ]  # fmt: skip
    assert icecore("manifest", tmp_path / "t.csv", "--json")[1] == out


def test_manifest_names_the_classes_and_what_was_passed_over(tmp_path):
    root = write_photos(tmp_path / "p", {"": 2})
    shutil.copytree(root / "red", root / "Red\x1b[2J ")
    (root / "red" / "x.cr2").write_bytes(b"")
    status, out, err = icecore("manifest", root)
    assert status == 0
    assert "label: Red\\x1b[2J (2), blue (2), green (2), red (2)" in out
    assert "1 file was passed over: .cr2 1" in out
    assert "\x1b" not in out + err
    content = json.loads(icecore("manifest", root, "--json")[1])
    assert content["passed_over"] == {".cr2": ["red/x.cr2"]}
    assert len(content["classes"]["label"]) == 4
    (tmp_path / "t.csv").write_text("path,label\np/red/0.png,red\nq/red/0.png,red\n")
    note = "1 image file is not there, or no file: "
    assert note + str(tmp_path / "q/red/0.png") in icecore("manifest", tmp_path / "t.csv")[2]
    status, _, err = icecore("manifest", root / "red" / "0.png")
    assert (status, "is a PNG image, not a table" in err) == (1, True)


def test_a_messy_table_is_read_by_every_command_or_made_clean(photos, nets, tmp_path):
    root = shutil.copytree(photos, tmp_path / "photos")
    images = sorted((root / "train").rglob("*.png"))
    rows = [f"{n},{path},{path.parent.name},{n % 2}" for n, path in enumerate(images)]
    rows[4] = rows[4].replace(f",{images[4].parent.name},", ',"red,')
    (tmp_path / "messy.csv").write_text("\n".join(["n,File,Breed,Size", *rows]) + "\n")
    columns = ("--path-column", "file", "--label-column", "breed")
    clean = (*columns, "-o", tmp_path / "clean.csv")
    assert "line 6 opens a quote" in refused("manifest", tmp_path / "messy.csv", *clean)
    status, out, err = icecore("manifest", tmp_path / "messy.csv", *clean, "--skip-bad-rows")
    assert status == 0
    assert "label: blue (19), green (20), red (20)" in out
    assert "warning: left out: 1 line of" in err
    assert icecore("manifest", tmp_path / "clean.csv")[0] == 0
    both = (*columns, "--label-column", "size", "--skip-bad-rows")
    extract = ("extract", tmp_path / "messy.csv", "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}")
    assert icecore(*extract, *both)[0] == 0
    train = ("train", tmp_path / "c", "--data", tmp_path / "messy.csv", "-o", tmp_path / "run")
    status, out, err = icecore(*train, *both, "--head", "ridge", "--json")
    assert (status, [task["task"] for task in json.loads(out)["tasks"]]) == (0, ["Breed", "Size"])
    assert "warning: left out: 1 line of" in err
    predict = ("predict", tmp_path / "run", tmp_path / "messy.csv", "-o", tmp_path / "a.csv")
    assert icecore(*predict, *both)[0] == 0
    assert len(list(csv.reader((tmp_path / "a.csv").open()))) == len(rows)


def test_cache_commands(work, tmp_path):
    status, out, _ = icecore("cache", "ls", work / "cache", "--json")
    assert [(one["rows"], one["dim"]) for one in json.loads(out)["sets"]] == [(102, 6), (102, 6)]
    assert "net1.onnx" in icecore("cache", "ls", work / "cache")[1]
    shown = json.loads(icecore("cache", "show", work / "cache", "net1", "--json")[1])
    assert shown["sets"][0]["record"]["backbone"]["preprocessing"]["crop_pct"] == 0.875
    assert icecore("cache", "verify", work / "cache")[0] == 0
    shown = icecore("cache", "show", work / "cache", "--diff", "net1", "net2")
    assert "weights_digest" in shown[1]
    status, out, _ = icecore(
        "cache", "export", work / "cache", "net1", "net2", "-o", tmp_path / "x.npz"
    )
    with np.load(tmp_path / "x.npz") as arrays:
        assert any(arrays[name].shape == (102, 12) for name in arrays.files)
    copy = tmp_path / "copy"
    assert icecore("cache", "merge", copy, work / "cache")[0] == 0
    assert icecore("cache", "compact", copy)[0] == 0
    assert "nothing was removed" in icecore("cache", "prune", copy, "--drop", "net1")[1]
    assert len(json.loads(icecore("cache", "ls", copy, "--json")[1])["sets"]) == 2
    assert icecore("cache", "prune", copy, "--drop", "net1", "--yes")[0] == 0
    assert len(json.loads(icecore("cache", "ls", copy, "--json")[1])["sets"]) == 1


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", None])
def test_pruning_keeps_rows_of_images_that_are_damaged_at_present(tmp_path, photos, nets, content):
    folder = shutil.copytree(photos, tmp_path / "photos")
    icecore("extract", folder, "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}", "-q")
    victim = next(folder.rglob("*.png"))
    victim.write_bytes(victim.read_bytes()[:-40] if content is None else content)
    status, _, said = icecore("cache", "prune", tmp_path / "c", "--keep", folder, "--yes")
    assert status == 1
    assert "1 image of" in said
    assert victim.name in said


def test_pruning_forgets_unreadable_images_that_are_gone(tmp_path, photos, nets):
    folder = shutil.copytree(photos, tmp_path / "photos")
    broken = [path.parent / f"broken{i}.jpg" for i, path in enumerate(folder.rglob("*.png"))][:2]
    assert len(broken) == 2
    for path in broken:
        path.write_text("no image")
    icecore("extract", folder, "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}", "-q")
    shown = lambda: json.loads(icecore("cache", "show", tmp_path / "c", "--json")[1])  # noqa: E731
    assert len(shown()["failures"]) == 2
    broken[0].unlink()
    icecore("cache", "prune", tmp_path / "c", "--keep", folder)
    assert len(shown()["failures"]) == 2
    assert icecore("cache", "prune", tmp_path / "c", "--keep", folder, "--yes")[0] == 0
    assert [one["path"] for one in shown()["failures"]] == [str(broken[1])]
    assert icecore("cache", "verify", tmp_path / "c")[0] == 0


def test_only_answers_for_each_image_end_with_3(tmp_path, photos, nets):
    folder = shutil.copytree(photos, tmp_path / "photos")
    (folder / "train/red/broken.png").write_bytes(b"<html>")
    cache, run = tmp_path / "c", tmp_path / "run"
    status, _, err = icecore("extract", folder, "-o", cache, "-b", f"onnx:{nets[0]}", "-q")
    assert status == 3
    assert "train/red/broken.png" in err
    # What is made of many images leaves it out, says so, and is done.
    status, said, err = icecore("train", cache, "--data", folder, "-o", run, "--head", "ridge")
    assert status == 0, err
    assert "1 image was left out, unreadable or without features: train/red/broken.png" in said
    status, said, _ = icecore("audit", cache, "--data", folder)
    assert status == 0
    assert "1 image is left out: it has no features" in said
    status, said, _ = icecore("cache", "export", cache, "net1", "-o", tmp_path / "all.npz")
    assert status == 0
    out = ("-o", tmp_path / "x.npz", "--data", folder)
    status, said, _ = icecore("cache", "export", cache, "net1", *out)
    assert status == 3
    assert "without features" in said
    assert "train/red/broken.png" in said
    assert json.loads(icecore("cache", "export", cache, "net1", *out, "--json")[1])[
        "without_rows"
    ] == ["train/red/broken.png"]


def test_plain_hdf5_tools_can_read_the_index(work):
    import h5py

    indexes = sorted((work / "cache").glob("*/index.h5"))
    assert len(indexes) == 2
    with h5py.File(indexes[0]) as file:
        assert file["features"].shape == (102, 6)
        assert np.isfinite(file["features"][:]).all()
    if shutil.which("h5ls"):
        listed = subprocess.run(["h5ls", indexes[0]], capture_output=True, text=True, check=True)
        assert "features" in listed.stdout


# Bad input: one line, what to do, nothing half-written


def test_an_empty_folder(tmp_path, nets):
    (tmp_path / "empty").mkdir()
    err = refused("extract", tmp_path / "empty", "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}")
    assert "no images in" in err
    assert not (tmp_path / "c").exists()


def test_a_missing_file(tmp_path, nets, photos):
    (tmp_path / "t.csv").write_text(f"path,label\n{photos}/train/red/0.png,red\ngone.png,red\n")
    err = refused("extract", tmp_path / "t.csv", "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}")
    assert "1 of 2 image files" in err
    assert "gone.png" in err
    assert not (tmp_path / "c").exists()


def test_a_label_without_images_and_an_image_without_a_label(tmp_path, nets):
    root = write_photos(tmp_path / "p", {"": 2})
    (root / "yellow").mkdir()
    shutil.copy(root / "red" / "0.png", root / "loose.png")
    # A folder of images needs no labels until something is trained on them.
    status, _, err = icecore("extract", root, "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}")
    assert status == 0
    assert "warning: the images are taken without labels: " in err
    for text in (err, refused("train", tmp_path / "c", "--data", root, "-o", tmp_path / "run")):
        assert "1 class folder without images (yellow)" in text
        assert "1 image outside any class folder (loose.png)" in text


def test_one_class_only(tmp_path, nets):
    root = write_photos(tmp_path / "p", {"": 4})
    for label in ("blue", "green"):
        shutil.rmtree(root / label)
    assert icecore("extract", root, "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}")[0] == 0
    err = refused("train", tmp_path / "c", "--data", root, "-o", tmp_path / "run")
    assert "one class" in err or "single class" in err
    assert sorted(os.listdir(tmp_path)) == ["c", "p"]


def test_classes_in_test_that_train_lacks(tmp_path, nets):
    root = write_photos(tmp_path / "p", {"train": 6, "validation": 4, "test": 3})
    (root / "test" / "red").rename(root / "test" / "yellow")
    assert icecore("extract", root, "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}")[0] == 0
    arguments = ("train", tmp_path / "c", "--data", root, "-o", tmp_path / "run")
    err = refused(*arguments)
    assert "3 test images (yellow)" in err
    assert "--min-class-count 1" in err
    assert not (tmp_path / "run").exists()
    status, _, err = icecore(*arguments, "--min-class-count", 1)
    assert status == 0
    assert "yellow" in err


def test_unequal_ids_between_probability_files(tmp_path):
    (tmp_path / "a.csv").write_text("id,x,y\n1,0.5,0.5\n2,0.1,0.9\n3,0.3,0.7\n")
    (tmp_path / "b.csv").write_text("id,x,y\n1,0.5,0.5\n2,0.1,0.9\n4,0.3,0.7\n")
    (tmp_path / "labels.csv").write_text("id,label\n1,x\n2,y\n3,y\n4,y\n")
    err = refused(
        "blend", tmp_path / "a.csv", tmp_path / "b.csv", "--labels", tmp_path / "labels.csv"
    )
    assert "3" in err
    assert "4" in err
    assert refused("blend", tmp_path / "a.csv", tmp_path / "b.csv").count("--labels") >= 1


def test_a_cache_made_with_other_weights(tmp_path, photos, write_tiny_onnx):
    net = write_tiny_onnx(tmp_path / "net.onnx", seed=1)
    assert icecore("extract", photos, "-o", tmp_path / "c", "-b", f"onnx:{net}")[0] == 0
    before = _tree(tmp_path / "c")
    write_tiny_onnx(net, seed=2)
    err = refused("extract", photos, "-o", tmp_path / "c", "-b", f"onnx:{net}")
    assert "weights_digest" in err
    assert _tree(tmp_path / "c") == before


def test_a_run_of_other_weights_does_not_predict(tmp_path, photos, write_tiny_onnx):
    net = write_tiny_onnx(tmp_path / "net.onnx", seed=1)
    icecore("extract", photos, "-o", tmp_path / "c", "-b", f"onnx:{net}")
    icecore("train", tmp_path / "c", "--data", photos, "-o", tmp_path / "run", "--head", "ridge")
    write_tiny_onnx(net, seed=2)
    err = refused("predict", tmp_path / "run", photos / "test", "-o", tmp_path / "answers.csv")
    assert "weights_digest" in err
    assert not (tmp_path / "answers.csv").exists()


def test_a_shard_cut_short_is_named_and_computed_again(tmp_path, photos, nets):
    arguments = ("extract", photos, "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}", "--json")
    icecore(*arguments)
    shard = next((tmp_path / "c").glob("*/shards/*.h5"))
    shard.write_bytes(shard.read_bytes()[:1000])
    err = refused("train", tmp_path / "c", "--data", photos, "-o", tmp_path / "run")
    assert shard.name in err
    assert not (tmp_path / "run").exists()
    status, out, _ = icecore("cache", "verify", tmp_path / "c")
    assert status == 1
    assert re.search(rf"{shard.name}: .*\(\d+ rows: [0-9a-f]{{12}}, [0-9a-f]{{12}}, ", out)
    status, out, _ = icecore("cache", "repair", tmp_path / "c", "--dry-run")
    assert out.startswith("nothing was changed; ")
    assert shard.name in out
    status, out, _ = icecore(*arguments)
    assert status == 0
    report = json.loads(out)
    assert report["computed"] > 0
    assert shard.name in report["repaired"][0]
    assert (
        icecore(
            "train", tmp_path / "c", "--data", photos, "-o", tmp_path / "run", "--head", "ridge"
        )[0]
        == 0
    )


def test_an_extraction_says_what_it_mended(tmp_path, photos, nets):
    arguments = ("extract", photos, "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}", "-q")
    assert "damage" not in icecore(*arguments)[2]
    folder = next((tmp_path / "c").glob("*/record.json")).parent
    shard = next((folder / "shards").iterdir())
    content = bytearray(shard.read_bytes())
    with h5py.File(shard) as file:
        content[file["features"].id.get_offset()] ^= 1
    shard.write_bytes(content)
    (folder / "record.json").write_text("{")
    status, _, err = icecore(*arguments)
    assert status == 0
    assert "the cache was damaged" in err
    assert re.search(rf"{folder.name}/record.json: it .*; restored from shard", err)
    assert re.search(rf"{shard.name}: 1 of \d+ rows do not match .* rows rescued", err)
    assert "damage" not in icecore(*arguments)[2]


def test_a_prediction_says_what_it_mended(work, tmp_path, photos):
    arguments = ("predict", work / "run", photos / "test", "-o", tmp_path / "a.csv", "-q")
    arguments += ("--cache", tmp_path / "c")
    assert "damage" not in icecore(*arguments)[2]
    shard = next((tmp_path / "c").glob("*/shards/*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    status, _, err = icecore(*arguments)
    assert (status, "the cache was damaged" in err, shard.name in err) == (0, True, True)
    assert "damage" not in icecore(*arguments)[2]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk, photos, nets):
    (small_disk / "filler").write_bytes(b"\0" * 230_000)
    cache = small_disk / "sub" / "cache"
    err = refused("extract", photos, "-o", cache, "-b", f"onnx:{nets[0]}")
    assert "no room left" in err
    assert "free some space" in err
    assert "what was finished before is kept" in err
    assert not list(small_disk.rglob("*.tmp*"))
    (small_disk / "filler").unlink()
    assert icecore("extract", photos, "-o", cache, "-b", f"onnx:{nets[0]}")[0] == 0


def test_a_full_disk_under_a_run_that_is_trained(small_disk, work, photos):
    """Nothing of it is kept, nor the folders that were to be its own."""
    (small_disk / "filler").write_bytes(b"\0" * 230_000)
    err = refused("train", work / "cache", "--data", photos, "-o", small_disk / "run", "-q")
    assert "no room left on the disk while writing" in err
    assert "\n  free some space there, and run the same command again\n" in err
    assert os.listdir(small_disk) == ["filler"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_an_output_without_room_is_to_be_sent_elsewhere(tmp_path, photos):
    # The same command again would be refused where it has written a run.
    command = [sys.executable, "-m", "icecore", "manifest", photos, "-o", tmp_path / "m.csv"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the output: No space left on device\n  send it to a")
    assert (tmp_path / "m.csv").exists()


def test_a_lack_of_memory_advises_what_the_command_has(tmp_path, work, photos, monkeypatch):
    # Settings that would take as much are refused before.
    monkeypatch.setattr(MLPClassifier, "_fit", lambda *given: np.empty(2**50))
    given = ("train", work / "cache", "--data", photos, "-o", tmp_path / "r", "-q")
    err = refused(*given, "--head", "mlp")
    assert err.startswith("error: the system gives no more memory or threads: ")
    assert err.endswith("\n  free some memory, or raise the limit (ulimit -v, -d, -u)\n")


def test_unknown_names(tmp_path, work, photos):
    err = refused("extract", photos, "-o", tmp_path / "c", "-b", "gluon:inceptonv3")
    assert "did you mean inceptionv3" in err
    err = refused(
        "train", work / "cache", "--data", photos, "-o", tmp_path / "r", "--features", "x"
    )
    assert "net1.onnx" in err
    err = refused("train", work / "cache", "--data", photos, "-o", tmp_path / "r", "--head", "svm")
    assert "mlp" in err
    assert "log_loss" in refused("blend", work / "run", "--metric", "f7")
    assert "not a feature cache" in refused("cache", "ls", photos)
    assert "run.json" in refused("blend", photos)
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path, work, photos, nets):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    net = ("-b", f"onnx:{nets[0]}")
    assert "Not a directory" in refused("extract", photos, "-o", tmp_path / "file" / "c", *net)
    assert "folder" in refused("manifest", photos, "-o", tmp_path / "folder")
    assert "is a folder" in refused("bundle", work / "run", "-o", tmp_path / "folder")
    assert "is a folder" in refused("predict", work / "run", photos, "-o", tmp_path / "folder")
    assert "not there" in refused("blend", tmp_path / "nothing")
    assert "full" in refused("manifest", photos, "-o", "/dev/full/x.csv")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_overwriting_a_run_takes_nothing_else_along(tmp_path, work, photos, monkeypatch):
    shutil.copytree(work / "run", tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("precious")
    arguments = ("train", work / "cache", "--data", photos, "--head", "logistic", "--overwrite")
    assert "notes.txt" in refused(*arguments, "-o", tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "precious"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "the folder you are in" in refused(*arguments, "-o", ".")


def test_a_damaged_run_is_overwritten_in_one_step(tmp_path, work, photos):
    shutil.copytree(work / "run", run := tmp_path / "run")
    arguments = ("train", work / "cache", "--data", photos, "--head", "ridge", "-o", run, "-q")
    (run / "run.json").write_text('{"format": 1, "tas')
    (run / "mine").mkdir()
    (run / "mine" / "notes.txt").write_text("precious")
    said = refused(*arguments, "--overwrite")
    assert "mine" in said
    assert "label" not in said.split("more than a run")[1].splitlines()[0]
    shutil.rmtree(run / "mine")
    assert "--overwrite" in refused(*arguments)
    status, _, said = icecore(*arguments, "--overwrite")
    assert status == 0, said
    assert open_run(run).tasks


def test_tables_of_the_same_name_do_not_replace_each_other(tmp_path, photos, nets):
    for number, label in enumerate(("red", "blue")):
        folder = tmp_path / str(number)
        folder.mkdir()
        lines = "".join(f"{photos}/train/{label}/{n}.png,{label}\n" for n in range(3))
        (folder / "t.csv").write_text("path,label\n" + lines)
        for _ in range(2):
            arguments = ("extract", folder / "t.csv", "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}")
            status, _, said = icecore(*arguments)
            other = f"/t-2.csv; t.csv there is of {tmp_path}/0/t.csv" in said.replace("\n  ", " ")
            assert (status, other) == (0, number == 1), said
    tables = sorted((tmp_path / "c" / "manifests").glob("*.csv"))
    assert [path.name for path in tables] == ["t-2.csv", "t.csv"]
    assert "blue" in tables[0].read_text()
    assert "red" in tables[1].read_text()


def test_a_plus_in_the_name_of_a_network(tmp_path, photos, write_tiny_onnx):
    net = write_tiny_onnx(tmp_path / "a+b.onnx", seed=3)
    icecore("extract", photos, "-o", tmp_path / "c", "-b", f"onnx:{net}")
    status, _, err = icecore(
        "train", tmp_path / "c", "--data", photos, "-o", tmp_path / "run",
        "--features", "onnx:a+b.onnx", "--head", "logistic",
    )  # fmt: skip
    assert status == 0, err


def test_wrong_usage_has_status_2():
    assert icecore("extract")[0] == 2
    assert icecore("nonsense")[0] == 2
    assert icecore("cache", "nonsense")[0] == 2


def test_random_weights_are_never_silent(tmp_path, photos):
    pytest.importorskip("onnxruntime", reason="runs a Gluon network")
    if not _has_mxnet():
        pytest.skip("Gluon networks need MXNet")
    arguments = ("-b", "gluon:squeezenet1.1@64", "--weights", "random:0")
    status, out, err = icecore("extract", photos, "-o", tmp_path / "c", *arguments)
    assert status == 0, err
    assert "random:0" in out
    assert "RANDOM weights" in err
    assert "RANDOM weights" in icecore("cache", "ls", tmp_path / "c")[2]
    icecore("train", tmp_path / "c", "--data", photos, "-o", tmp_path / "run", "--head", "ridge")
    icecore("blend", tmp_path / "run")
    assert "RANDOM WEIGHTS" in (tmp_path / "run" / "report.html").read_text().upper()


def test_interrupting_keeps_what_is_done(tmp_path, photos, nets, monkeypatch):
    from icecore.features.images.decode import ImageFile

    plain, seen = ImageFile.decode, []

    def decode_then_interrupt(*given):
        seen.append(1)
        if len(seen) == 60:
            raise KeyboardInterrupt
        return plain(*given)

    monkeypatch.setattr(ImageFile, "decode", decode_then_interrupt)
    arguments = ("extract", photos, "-o", tmp_path / "c", "-b", f"onnx:{nets[0]}", "--json")
    status, _, err = icecore(*arguments)
    assert status == 130
    assert "what was finished is kept" in err
    monkeypatch.undo()
    rest = json.loads(icecore(*arguments)[1])["computed"]
    assert 0 < rest < 102


@pytest.mark.parametrize("kept", [True, False])
def test_interrupting_says_what_is_true_of_the_command(tmp_path, work, photos, monkeypatch, kept):
    """Without a cache the rows go with the command."""
    from icecore.features.images.decode import ImageFile

    def interrupt(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile, "decode", interrupt)
    cache = ("--cache", tmp_path / "c") if kept else ()
    arguments = ("predict", work / "run", photos / "test", "-o", tmp_path / "a.csv", "-q", *cache)
    status, _, err = icecore(*arguments)
    what = "what was finished is kept, and the same command continues from there"
    said = what if kept else "no file is left half-written"
    assert (status, err) == (130, f"interrupted; {said}\n")


# Help


def _commands():
    for name, command in {**cli.commands, "cache": cache_group}.items():
        yield (name,), command
        for inner, one in getattr(command, "commands", {}).items():
            yield (name, inner), one


@pytest.mark.parametrize(("path", "command"), list(_commands()), ids=lambda v: "")
def test_every_command_and_option_has_help_and_an_example(path, command):
    assert command.help
    if not hasattr(command, "commands"):
        assert f"icecore {' '.join(path)}" in command.help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{path} {parameter.name}"


def test_the_installed_command_runs():
    done = subprocess.run(
        [sys.executable, "-c", "from icecore.cli import main; main(['--version'])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("icecore, version ")


def _has_mxnet() -> bool:
    import importlib.util

    return importlib.util.find_spec("mxnet") is not None


def _tree(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.parent.name != "digests"
    }


def test_options_of_a_detector_need_one(work, tmp_path):
    for command in (("extract", work, "-b", "onnx:x.onnx"), ("predict", work, work)):
        for option in (("class", "dog"), ("box", "largest"), ("threshold", "0.5")):
            given = (*command, "-o", tmp_path / "new", f"--detect-{option[0]}", option[1])
            status, _, err = icecore(*given)
            assert status == 2
            assert f"--detect-{option[0]} needs --detector" in err


def test_a_run_of_which_files_are_gone_or_swapped_says_which(tmp_path, work, photos):
    shutil.copytree(work / "run", run := tmp_path / "run")
    first, second, *_ = sorted((run / "label" / "probabilities").iterdir())
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    said = refused("blend", run)
    assert f"is of '{second.stem}', not of '{first.stem}'" in said
    first.unlink()
    said = refused("blend", run)
    assert "lacks probability files" in said
    assert "restore it" in said
    first.write_bytes(kept)
    (run / "samples.csv").unlink()
    for command in (("blend", run), ("predict", run, photos, "-o", tmp_path / "a.csv")):
        said = refused(*command)
        assert "samples.csv is not there" in said
        assert "restore it, or train again" in said
