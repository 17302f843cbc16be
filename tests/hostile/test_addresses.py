"""Addresses that a run or a cache of a stranger names: nothing is fetched from there."""

from __future__ import annotations

import http.server
import json
import shutil
import threading

import pytest
from two_colours import draw_two_colours

from icecore.cli import main
from icecore.core.files import sha256_file


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_onnx):
    folder = tmp_path_factory.mktemp("addresses")
    photos, cache = str(draw_two_colours(folder / "photos")), str(folder / "cache")
    main(["extract", photos, "-o", cache, "-b", f"onnx:{tiny_onnx}", "-q"])
    main(["train", cache, "--data", photos, "-o", str(folder / "run"), "--head", "ridge", "-q"])
    return folder


@pytest.fixture
def place(made, tmp_path):
    """The run and the cache, which name a server in place of the folder; and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("run", "cache"):
        shutil.copytree(made / name, tmp_path / name)
    address = f"http://127.0.0.1:{server.server_port}"
    about = json.loads((tmp_path / "run/run.json").read_text())
    known = sha256_file(tmp_path / "run/samples.csv")
    for table in (tmp_path / "run/samples.csv", tmp_path / "cache/manifests/photos.csv"):
        table.write_text(table.read_text().replace(str(made / "photos"), address))
    text = json.dumps(about).replace(known, sha256_file(tmp_path / "run/samples.csv"))
    text = text.replace(str(made / "cache"), str(tmp_path / "cache"))
    (tmp_path / "run/run.json").write_text(text)
    yield tmp_path, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("source", ["run", "cache"])
def test_an_audit_fetches_nothing_that_nobody_named(place, source, capsys):
    folder, asked = place
    main(["audit", str(folder / source), "--report", str(folder / "a.html"), "-q"])
    assert asked == []
    said = capsys.readouterr().out
    assert "16 images lie at addresses that" in said
    assert "(--data)" in said


@pytest.mark.parametrize(
    "command",
    ["blend run --report r.html", "compare run -o c.html", "export run --to fiftyone -o out"],
)
def test_pages_and_exports_fetch_nothing(place, command, monkeypatch):
    folder, asked = place
    monkeypatch.chdir(folder)
    main(command.split())
    assert asked == []


def test_the_data_that_a_user_names_are_fetched(place):
    pytest.importorskip("obstore")
    folder, asked = place
    data = str(folder / "cache/manifests/photos.csv")
    main(["audit", str(folder / "cache"), "--data", data, "-q"])
    assert asked
