from __future__ import annotations

import importlib.util
import os

import pytest
from hub_server import Hub, serve

from icecore.core.errors import WeightsError
from icecore.features.weights.hub import hub_file, hub_url

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="it is what is tested"
)
CONTENT = bytes(range(256)) * 100
PLACE = ("owner/name", "folder/model.safetensors")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = Hub()
    hub.sha256 = hub.put(*PLACE, CONTENT)
    with serve(hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield hub


def kept(tmp_path):
    """Files in the library's cache that hold content, or part of it."""
    return [p for p in (tmp_path / "hf").rglob("*") if p.is_file() and p.stat().st_size > 1000]


def test_a_file_is_downloaded_once_with_commit_and_digest(hub):
    seen = []
    found = hub_file(*PLACE, lambda *now: seen.append(now))
    assert found.path.read_bytes() == CONTENT
    assert (found.revision, found.sha256) == (Hub.COMMIT, hub.sha256)
    assert found.text == f"hub owner/name@{Hub.COMMIT[:12]} folder/model.safetensors"
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    hub.asked.clear()
    assert hub_file(*PLACE) == found
    assert "GET" not in [method for method, path, _ in hub.asked if "resolve" in path]


def test_a_name_and_password_of_a_mirror_are_shown_nowhere(hub, monkeypatch):
    address = hub_url(*PLACE)
    monkeypatch.setenv("HF_ENDPOINT", os.environ["HF_ENDPOINT"].replace("//", "//me:s%40cret@"))
    assert hub_url(*PLACE) == address
    assert hub_file(*PLACE).path.read_bytes() == CONTENT
    with pytest.raises(WeightsError) as caught:
        hub_file("owner/name", "none.safetensors")
    assert "none.safetensors" in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_cut_connection_is_resumed(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    hub.fault = "cut"
    assert hub_file(*PLACE).path.read_bytes() == CONTENT
    ranges = [asked for method, path, asked in hub.asked if method == "GET" and "resolve" in path]
    assert ranges == ["", "bytes=1000-"]


def test_wrong_bytes_are_refused_and_not_kept(hub, tmp_path):
    hub.fault = "wrong bytes"
    with pytest.raises(WeightsError, match=rf"(?s)its SHA-256 is .*the hub says {hub.sha256}"):
        hub_file(*PLACE)
    assert kept(tmp_path) == []
    hub.fault = ""
    assert hub_file(*PLACE).path.read_bytes() == CONTENT


def test_a_file_that_was_damaged_on_the_disk_is_refused(hub, tmp_path):
    path = hub_file(*PLACE).path.resolve()
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match="its SHA-256 is"):
        hub_file(*PLACE)
    assert hub_file(*PLACE).path.read_bytes() == CONTENT


def test_a_missing_file_is_named_with_its_address(hub, tmp_path):
    hub.fault = "missing"
    with pytest.raises(WeightsError, match=rf"{hub_url(*PLACE)}: .*404"):
        hub_file(*PLACE)
    assert kept(tmp_path) == []


def test_without_a_way_to_the_hub_what_was_downloaded_will_do(hub, monkeypatch):
    found = hub_file(*PLACE)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hub_file(*PLACE).path == found.path
    pytest.importorskip("huggingface_hub.constants")  # They remember what they find at import.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub_file(*PLACE).path == found.path
    with pytest.raises(WeightsError, match=r"127.0.0.1:9/owner/other/resolve/main/f: "):
        hub_file("owner/other", "f")


def test_no_server_is_asked_when_offline(hub, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # The library remembers what it finds at import, as in a process that begins offline.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="LocalEntryNotFound"):
        hub_file(*PLACE)
    assert hub.asked == []
