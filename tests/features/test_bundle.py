from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx_files import body, make, save, weights
from PIL import Image
from repository import ROOT

from icecore import features, jobs
from icecore.core.errors import BackboneError, FingerprintError, ProofError, RunError
from icecore.ensemble.saved import sealed
from icecore.features.backbones import load_backbone
from icecore.features.bundle import BundledHead, BundledTask, build_bundle
from icecore.features.images.decode import decode
from icecore.features.images.fit import fit_image
from icecore.features.records.spec import BackboneSpec
from icecore.features.weights.request import WeightsRequest

EXAMPLE = ROOT / "examples" / "run_bundle.py"


@pytest.fixture(scope="module")
def world(tmp_path_factory, write_tiny_onnx):
    """Photos, two networks of different resolution, a cache and a blended run."""
    folder = tmp_path_factory.mktemp("bundle")
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("validation", 10), ("test", 6)):
        for label, colour in (("a", (150, 90, 80)), ("b", (80, 90, 150)), ("c", (90, 150, 80))):
            (folder / "photos" / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = (rng.normal(0, 60, (50, 44, 3)) + colour).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / split / label / f"{number}.png")
    nets = [write_tiny_onnx(folder / f"net{side}.onnx", seed=side, side=side) for side in (32, 40)]
    specs = [f"onnx:{net}" for net in nets]
    jobs.extract(folder / "photos", folder / "cache", specs)
    jobs.train(folder / "cache", folder / "photos", folder / "run")
    jobs.blend([folder / "run"])
    return folder, nets


def squares_of(world):
    folder, nets = world
    paths = sorted((folder / "photos" / "test").glob("*/*.png"))
    squares = {}
    for net in nets:
        record = load_backbone(BackboneSpec.parse(f"onnx:{net}"), "auto", WeightsRequest()).record
        fitted = [
            fit_image(decode(path.read_bytes()), record.preprocessing, "crop") for path in paths
        ]
        squares[f"images_{record.resolution}"] = np.stack(fitted)
    return [f"{path.parent.name}/{path.name}" for path in paths], squares


@pytest.mark.parametrize("answer", ["recommended", "tuned", "average"])
def test_the_bundle_gives_what_predict_gives(world, tmp_path, answer):
    folder, _ = world
    note = jobs.bundle(folder / "run", tmp_path / "model.onnx", answer=answer)
    jobs.predict(
        folder / "run",
        folder / "photos" / "test",
        tmp_path / "a.csv",
        jobs.PredictOptions(answer=answer),
    )
    rows = {row["id"]: row for row in csv.DictReader(open(tmp_path / "a.csv"))}
    ids, squares = squares_of(world)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (found,) = session.run(["label"], squares)
    classes = note["outputs"]["label"]["classes"]
    expected = [[float(rows[identity][name]) for name in classes] for identity in ids]
    assert found.shape == (18, 3)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(found, axis=0).min() > 0.1, "the answers differ between images"


def test_the_bundle_rounds_features_as_the_cache_does(world, tmp_path):
    folder, nets = world
    photos = folder / "photos"
    jobs.extract(
        photos, tmp_path / "cache", [f"onnx:{nets[0]}"], jobs.ExtractOptions(precision="bfloat16")
    )
    jobs.train(tmp_path / "cache", photos, tmp_path / "run")
    jobs.blend([tmp_path / "run"])
    jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")
    jobs.predict(tmp_path / "run", photos / "test", tmp_path / "a.csv")
    rows = {row["id"]: row for row in csv.DictReader(open(tmp_path / "a.csv"))}
    ids, squares = squares_of(world)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (found,) = session.run(["label"], {session.get_inputs()[0].name: squares["images_32"]})
    expected = [[float(rows[identity][name]) for name in "abc"] for identity in ids]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_bundle_standardises_columns_for_a_kernel(world, tmp_path):
    folder, nets = world
    options = jobs.TrainOptions(heads=["kernel"], settings={"kernel": {"scaling": "standard"}})
    jobs.train(folder / "cache", folder / "photos", tmp_path / "run", options)
    jobs.blend([tmp_path / "run"])
    jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")
    jobs.predict(tmp_path / "run", folder / "photos" / "test", tmp_path / "a.csv")
    rows = {row["id"]: row for row in csv.DictReader(open(tmp_path / "a.csv"))}
    ids, squares = squares_of(world)
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(["label"], squares)
    expected = [[float(rows[identity][name]) for name in "abc"] for identity in ids]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(found, axis=0).min() > 0.1


def test_the_bundle_routes_between_groups_as_predict_does(world, tmp_path):
    folder, _ = world
    photos = folder / "photos"
    images = sorted(one.relative_to(photos).as_posix() for one in (photos / "train").rglob("*.png"))
    lines = [f"{name},{'left' if i % 2 else 'right'}" for i, name in enumerate(images)]
    (tmp_path / "groups.csv").write_text("\n".join(["id,group", *lines]) + "\n")
    options = jobs.TrainOptions(
        heads=["grouped"], groups=True, group_labels=tmp_path / "groups.csv"
    )
    jobs.train(folder / "cache", photos, tmp_path / "run", options)
    jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")
    jobs.predict(tmp_path / "run", photos / "test", tmp_path / "a.csv")
    rows = {row["id"]: row for row in csv.DictReader(open(tmp_path / "a.csv"))}
    ids, squares = squares_of(world)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (found,) = session.run(["label"], squares)
    expected = [[float(rows[identity][name]) for name in "abc"] for identity in ids]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_for_each_group_survive_in_predict_and_bundle(world, tmp_path):
    folder, _ = world
    photos = folder / "photos"
    images = sorted(one.relative_to(photos).as_posix() for one in (photos / "train").rglob("*.png"))
    lines = [f"{name},{'left' if '/a/' in name else 'right'}" for name in images]
    (tmp_path / "groups.csv").write_text("\n".join(["id,group", *lines]) + "\n")
    options = jobs.TrainOptions(
        heads=["grouped", "mlp"], groups=True, group_labels=tmp_path / "groups.csv"
    )
    jobs.train(folder / "cache", photos, tmp_path / "run", options)
    jobs.blend([tmp_path / "run"])
    content = json.loads((tmp_path / "run" / "blend.json").read_text())
    models = ("grouped-all", "mlp-all")
    entry = content["tasks"][0]["answers"]["recommended"]
    tables = []
    # All weight on one model in one group, on the other one in the other group.
    for left, right in ((1.0, 0.0), (1.0, 1.0), (0.0, 0.0)):
        weights = {"left": (left, 1 - left), "right": (right, 1 - right)}
        weights = {name: dict(zip(models, pair)) for name, pair in weights.items()}
        entry["routed"] = {"router": models[0], "weights": weights}
        (tmp_path / "run" / "blend.json").write_text(json.dumps(sealed(content)))
        note = jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")
        jobs.predict(tmp_path / "run", photos / "test", tmp_path / "a.csv")
        rows = {row["id"]: row for row in csv.DictReader(open(tmp_path / "a.csv"))}
        ids, squares = squares_of(world)
        session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
        (found,) = session.run(list(note["outputs"]), squares)
        expected = [[float(rows[identity][name]) for name in "abc"] for identity in ids]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        tables.append(found)
    # Of images of another kind, and of groups that the table alone knows, there is a line.
    (tmp_path / "new.csv").write_text(
        f"path,group\n{photos}/test/a/0.png,upside down\n{photos}/test/b/0.png,left\n"
    )
    notes = jobs.predict(tmp_path / "run", tmp_path / "new.csv", tmp_path / "b.csv").notes
    assert notes[0].endswith("and not upside down: the features tell which of them is likest")
    parted, first, second = tables
    left = [identity.startswith("a/") for identity in ids]
    for own, table in ((left, first), (np.invert(left), second)):
        assert np.abs(parted - table)[own].max() < np.abs(first - second)[own].max() / 2


def test_labels_and_preprocessing_stand_in_the_metadata(world, tmp_path):
    folder, _ = world
    jobs.bundle(folder / "run", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    note = json.loads(session.get_modelmeta().custom_metadata_map["icecore"])
    assert note["outputs"] == {"label": {"task": "label", "classes": ["a", "b", "c"]}}
    assert note["inputs"]["images_40"]["input_size"] == [3, 40, 40]
    assert {i.name: (i.type, i.shape[1:]) for i in session.get_inputs()} == {
        "images_32": ("tensor(uint8)", [32, 32, 3]),
        "images_40": ("tensor(uint8)", [40, 40, 3]),
    }


def test_the_example_runs_it_with_onnx_runtime_alone(world, tmp_path):
    folder, _ = world
    jobs.bundle(folder / "run", tmp_path / "model.onnx")
    image = folder / "photos" / "test" / "a" / "0.png"
    done = subprocess.run(
        [sys.executable, EXAMPLE, tmp_path / "model.onnx", image],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    task, label, probability = done.stdout.split()
    assert task == "label"
    assert label in "abc"
    assert 1 / 3 <= float(probability) <= 1
    assert "icecore." not in EXAMPLE.read_text()
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(image.read_bytes()[:300])
    other = tmp_path / "other.gif"
    Image.open(image).save(other)
    unread = [damaged, tmp_path / "none.png", other]
    done = subprocess.run(
        [sys.executable, EXAMPLE, tmp_path / "model.onnx", *unread, image],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()[1:3]) == (1, [task, label])
    named = [line.split(" could not be read: ")[0] for line in done.stderr.splitlines()]
    assert named == list(map(str, unread))


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_example_answers_what_predict_does(
    fit, interpolation, world, write_tiny_onnx, tmp_path
):
    """On pictures as telephones write them: lying on their side, large, transparent, grey, deep."""
    folder, _ = world
    net = write_tiny_onnx(tmp_path / "net.onnx", seed=5)
    record = json.loads(net.with_suffix(".json").read_text())
    net.with_suffix(".json").write_text(json.dumps(record | {"interpolation": interpolation}))
    options = jobs.ExtractOptions(fit=fit)
    jobs.extract(folder / "photos", tmp_path / "cache", [f"onnx:{net}"], options)
    jobs.train(
        tmp_path / "cache",
        folder / "photos",
        tmp_path / "run",
        jobs.TrainOptions(heads=["logistic"]),
    )
    jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")
    rng, new = np.random.default_rng(1), tmp_path / "new"
    new.mkdir()
    coarse = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(coarse.repeat(30, axis=0).repeat(41, axis=1))
    picture.save(new / "lying.jpg", exif=exif, quality=95)
    turned = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><tiff:Orientation>6</tiff:Orientation>"
    picture.save(new / "turned.jpg", xmp=turned, quality=95)
    picture.crop((0, 0, 5, 270)).save(new / "thin.jpg", quality=95)
    picture.convert("L").save(new / "grey.png")
    ink = np.dstack([np.asarray(picture), np.asarray(picture.convert("L")) // 2])
    Image.fromarray(ink, "CMYK").save(new / "print.jpg")
    sixteen = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(sixteen).save(new / "sixteen.png")
    alpha = Image.fromarray(rng.integers(0, 256, (270, 287), dtype=np.uint8))
    picture.putalpha(alpha)
    picture.save(new / "clear.png")
    Image.fromarray(coarse.repeat(200, axis=1)).save(new / "strip.png")
    Image.fromarray(coarse.repeat(300, axis=0).repeat(200, axis=1)).save(new / "large.png")
    jobs.predict(tmp_path / "run", new, tmp_path / "a.csv")
    rows = {row["id"]: row for row in csv.DictReader(open(tmp_path / "a.csv"))}
    done = subprocess.run(
        [sys.executable, EXAMPLE, tmp_path / "model.onnx", *sorted(new.iterdir())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == len(rows) == 9
    for path, _, label, probability in lines:
        row = rows[path.rsplit("/", 1)[-1]]
        assert abs(float(row[label]) - float(probability)) < 1e-4
        assert row["label"] == label


def test_a_bundle_that_answers_otherwise_gets_no_name(world, tmp_path, monkeypatch):
    folder, _ = world
    (tmp_path / "model.onnx").write_bytes(b"the one before")
    monkeypatch.setattr(features, "run_bundle", lambda content, images: {
        "label": np.full((len(images), 3), 1 / 3)
    })  # fmt: skip
    with pytest.raises(ProofError, match="differ from those of predict by"):
        jobs.bundle(folder / "run", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"the one before"


def test_graphs_with_local_functions_and_bodies_are_bundled(world, tmp_path):
    """What torch's newer exporter and onnxscript write."""
    folder, _ = world
    opset = [helper.make_opsetid("", 18)]
    function = helper.make_function(
        "local", "Block", ["x", "w"], ["y"],
        [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
         helper.make_node("Relu", ["c"], ["y"])], opset,
    )  # fmt: skip
    nodes = [helper.make_node("Block", ["data", "w"], ["r"], domain="local"), *body()[2:]]
    branch = helper.make_graph(
        [helper.make_node("Identity", ["f"], ["same"])], "branch", [],
        [helper.make_tensor_value_info("same", onnx.TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes += [helper.make_node("If", ["yes"], ["g"], then_branch=branch, else_branch=branch)]
    nodes += [helper.make_node("Gemm", ["g", "k", "b"], ["out"])]
    arrays = weights() | {"yes": np.array(True)}
    spec = save(tmp_path / "net.onnx", make(nodes, arrays, opset=18, functions=[function]))
    jobs.extract(folder / "photos", tmp_path / "cache", [spec])
    jobs.train(
        tmp_path / "cache",
        folder / "photos",
        tmp_path / "run",
        jobs.TrainOptions(heads=["logistic"]),
    )
    note = jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [one.name for one in session.get_outputs()] == list(note["outputs"])


def test_heads_that_are_no_matrices_are_refused_by_name(world, tmp_path):
    folder, _ = world
    jobs.train(
        folder / "cache", folder / "photos", tmp_path / "run", jobs.TrainOptions(heads=["lightgbm"])
    )
    with pytest.raises(RunError, match=r"(?s)lightgbm-.*kernel, grouped, mlp, logistic"):
        jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_heads_that_do_not_fit_their_features_are_refused(world, tmp_path):
    folder, _ = world
    shutil.copytree(folder / "run", tmp_path / "run")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    for prints in about["tasks"]["label"]["features"].values():
        prints.pop()
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"the head in .* takes \d+ numbers, and .* have"):
        jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")


def test_blends_that_are_no_sums_are_refused(world, tmp_path):
    folder, _ = world
    jobs.train(
        folder / "cache", folder / "photos", tmp_path / "run", jobs.TrainOptions(heads=["logistic"])
    )
    jobs.blend([tmp_path / "run"], options=jobs.BlendOptions(mean="geometric"))
    with pytest.raises(RunError, match="not a weighted sum"):
        jobs.bundle(tmp_path / "run", tmp_path / "model.onnx")


def test_other_weights_are_refused(world, tmp_path, write_tiny_onnx):
    folder, nets = world
    other = tmp_path / "weights"
    other.mkdir()
    for net, side in zip(nets, (32, 40)):
        write_tiny_onnx(other / net.name, seed=99, side=side)
    with pytest.raises(FingerprintError, match="weights_digest"):
        jobs.bundle(folder / "run", tmp_path / "model.onnx", weights_dir=other)


@pytest.mark.parametrize("older_first", [True, False])
def test_graphs_of_different_opsets_go_into_one(write_tiny_onnx, tmp_path, older_first):
    import onnx

    nets = [write_tiny_onnx(tmp_path / f"net{n}.onnx", seed=n) for n in (1, 2)]
    newer = nets[1 if older_first else 0]
    model = onnx.load(newer)
    model.opset_import[0].version = 17  # none of its operators changed since
    onnx.save(model, newer)
    backbones = [
        load_backbone(BackboneSpec.parse(f"onnx:{net}"), "onnxruntime", WeightsRequest())
        for net in nets
    ]
    rng = np.random.default_rng(0)
    matrix, bias = rng.normal(0, 1, (12, 3)), rng.normal(0, 1, 3)
    head = BundledHead(1.0, (0, 1), [(matrix, bias)], (0, 1, 2))
    task = BundledTask("label", ("a", "b", "c"), (head,), (0.5, 0.3))
    bundle = build_bundle(backbones, [task], "crop", "float32", {})
    assert [(one.domain, one.version) for one in bundle.opset_import] == [("", 17)]
    images = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    (found,) = onnxruntime.InferenceSession(bundle.SerializeToString()).run(
        None, {"images": images}
    )
    rows = np.concatenate([one.start("cpu", 5).run(images) for one in backbones], axis=1)
    # A temperature of a half squares the probabilities; three tenths go to all classes alike.
    expected = np.exp(2 * (rows @ matrix + bias))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, 0.7 * expected + 0.1, atol=1e-5)


def test_a_graph_that_cannot_follow_is_named(write_tiny_onnx, tmp_path):
    import onnx

    nets = [write_tiny_onnx(tmp_path / f"net{n}.onnx", seed=n) for n in (1, 2)]
    for net, version in zip(nets, (1, 2)):
        model = onnx.load(net)
        model.opset_import.append(onnx.helper.make_opsetid("com.example", version))
        onnx.save(model, net)
    backbones = [
        load_backbone(BackboneSpec.parse(f"onnx:{net}"), "onnxruntime", WeightsRequest())
        for net in nets
    ]
    head = BundledHead(1.0, (0, 1), [(np.eye(12, 3), np.zeros(3))], (0, 1, 2))
    task = BundledTask("label", ("a", "b", "c"), (head,))
    with pytest.raises(
        BackboneError, match=r"net1.*cannot be brought there.*com.example"
    ) as caught:
        build_bundle(backbones, [task], "crop", "float32", {})
    assert "export their graphs for one opset" in caught.value.hint


def test_a_network_that_is_another_one_now_is_named(world, tmp_path, write_tiny_onnx):
    # predict spoke of a cache that nobody had named, and told to extract once more.
    folder, nets = world
    for net, side in zip(nets, (32, 40)):
        write_tiny_onnx(tmp_path / net.name, seed=99, side=side)
    answers = tmp_path / "a.csv"
    for job in (
        lambda: jobs.predict(
            folder / "run",
            folder / "photos" / "test",
            answers,
            jobs.PredictOptions(weights_dir=tmp_path),
        ),
        lambda: jobs.bundle(folder / "run", tmp_path / "b.onnx", weights_dir=tmp_path),
    ):
        with pytest.raises(
            FingerprintError, match=r"differs in backbone\.weights_digest"
        ) as caught:
            job()
        assert "is not the backbone that the run was trained on" in caught.value.message
        assert "--weights-dir" in caught.value.hint
    assert not answers.exists()
