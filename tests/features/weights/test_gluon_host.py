from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from icecore.core.errors import WeightsError
from icecore.features.weights import gluon_host as gluon_download
from icecore.features.weights.gluon_host import BLOCK, download_gluon, gluon_url

PARAMETERS = np.random.default_rng(0).bytes(3_000_000)  # does not compress
SHA1 = hashlib.sha1(PARAMETERS).hexdigest()


def archive(member="net-1234.params", content=PARAMETERS):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        bundle.writestr(member, content)
    return file.getvalue()


class Host:
    """Serves one archive; each answer may be cut after some bytes, or be a status instead."""

    def __init__(self):
        self.content, self.cuts, self.statuses = archive(), [], []
        self.ranges: list[str] = []
        self.logins: list[str | None] = []
        self.honours_ranges = True


@pytest.fixture
def host(monkeypatch):
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range", "")
            host.ranges.append(wanted)
            host.logins.append(self.headers.get("Authorization"))
            if host.statuses:
                self.send_error(host.statuses.pop(0))
                return
            match = re.fullmatch(r"bytes=(\d+)-", wanted) if host.honours_ranges else None
            start = int(match[1]) if match else 0
            if start >= len(host.content):
                self.send_error(416)
                return
            self.send_response(206 if match else 200)
            if match:
                last = len(host.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(host.content)}")
            self.send_header("Content-Length", str(len(host.content) - start))
            self.end_headers()
            cut = host.cuts.pop(0) if host.cuts else None
            self.wfile.write(host.content[start : None if cut is None else start + cut])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MXNET_GLUON_REPO", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(gluon_download, "PAUSE", 0.01)
    yield host
    server.shutdown()


def test_a_cut_connection_is_resumed_where_it_was_cut(host, tmp_path):
    host.cuts = [16 * BLOCK, 8 * BLOCK + 5, 10 * BLOCK]
    seen = []
    download_gluon("net-1234", SHA1, tmp_path / "net.params", lambda *now: seen.append(now))
    assert (tmp_path / "net.params").read_bytes() == PARAMETERS
    assert host.ranges == ["", *(f"bytes={n * BLOCK}-" for n in (16, 24, 34))]
    assert seen[-1] == (len(host.content), len(host.content))
    assert [now for now, _ in seen] == sorted(now for now, _ in seen)
    assert [path.name for path in tmp_path.iterdir()] == ["net.params"]


def test_a_later_run_goes_on_where_the_first_was_given_up(host, tmp_path):
    host.cuts = [20 * BLOCK, 0, 0]
    with pytest.raises(WeightsError, match=r"net-1234.zip: .*"):
        download_gluon("net-1234", SHA1, tmp_path / "net.params")
    assert (tmp_path / ".net-1234.zip.part").stat().st_size == 20 * BLOCK
    assert not (tmp_path / "net.params").exists()
    host.ranges.clear()
    download_gluon("net-1234", SHA1, tmp_path / "net.params")
    assert host.ranges == [f"bytes={20 * BLOCK}-"]
    assert (tmp_path / "net.params").read_bytes() == PARAMETERS


def test_a_host_that_cannot_resume_sends_it_again(host, tmp_path):
    host.cuts, host.honours_ranges = [1_000_000], False
    download_gluon("net-1234", SHA1, tmp_path / "net.params")
    assert (tmp_path / "net.params").read_bytes() == PARAMETERS


def test_a_part_that_does_not_fit_is_thrown_away(host, tmp_path):
    (tmp_path / ".net-1234.zip.part").write_bytes(b"x" * (len(host.content) + 5))
    download_gluon("net-1234", SHA1, tmp_path / "net.params")
    assert host.ranges == [f"bytes={len(host.content) + 5}-", ""]
    assert (tmp_path / "net.params").read_bytes() == PARAMETERS


def test_a_name_and_password_are_sent_and_shown_nowhere(host, tmp_path, monkeypatch):
    plain = os.environ["MXNET_GLUON_REPO"]
    monkeypatch.setenv("MXNET_GLUON_REPO", plain.replace("//", "//me:s%40cret@"))
    download_gluon("net-1234", SHA1, tmp_path / "net.params")
    assert host.logins == ["Basic " + base64.b64encode(b"me:s@cret").decode()]
    assert gluon_url("net-1234") == f"{plain}/gluon/models/net-1234.zip"
    host.statuses = [404]
    with pytest.raises(WeightsError) as caught:
        download_gluon("net-1234", SHA1, tmp_path / "other.params")
    assert "cret" not in str(caught.value)


def test_a_passing_failure_is_tried_again_and_a_lasting_one_is_not(host, tmp_path):
    host.statuses = [503, 500]
    download_gluon("net-1234", SHA1, tmp_path / "net.params")
    assert len(host.ranges) == 3
    host.ranges.clear()
    host.statuses = [404]
    with pytest.raises(WeightsError, match=r"net-1234.zip: 404"):
        download_gluon("net-1234", SHA1, tmp_path / "other.params")
    assert len(host.ranges) == 1
    host.ranges.clear()
    host.statuses = [503] * 10
    with pytest.raises(WeightsError, match=r"net-1234.zip: 503"):
        download_gluon("net-1234", SHA1, tmp_path / "other.params")
    assert len(host.ranges) == gluon_download.ATTEMPTS
    assert [path.name for path in tmp_path.iterdir()] == ["net.params"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (archive(content=b"other"), "its SHA-1 is"),
        (archive(member="evil/../net-1234.params"), "not a Gluon weights archive"),
        (b"<html>moved</html>", "not a Gluon weights archive"),
        (archive()[:1_000_000] + b"\0" * 1_000_000 + archive()[2_000_000:], r"net-1234.zip: "),
    ],
)
def test_wrong_bytes_leave_nothing(host, tmp_path, content, reason):
    host.content = content
    with pytest.raises(WeightsError, match=reason):
        download_gluon("net-1234", SHA1, tmp_path / "net.params")
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_cut(host, tmp_path, monkeypatch):
    monkeypatch.setattr(gluon_download, "LARGEST_PARAMETERS", 1_000_000)
    with pytest.raises(WeightsError, match="no file of network weights"):
        download_gluon("net-1234", SHA1, tmp_path / "net.params")
    assert list(tmp_path.iterdir()) == []
