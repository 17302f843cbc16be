"""Google's store, as far as its XML API is asked for: what its documentation says of six requests.

Objects are created, read, listed and removed by their names; each has a generation, and a request
may name the one that it means (`x-goog-if-generation-match`, 0 where there is to be none).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
PAGE = 5


class _Google(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = self.headers.get("x-goog-if-generation-match")
        with self.server.lock:
            _, generation = self.server.objects.get(self.key, (b"", 0))
            if wanted is not None and int(wanted) != generation:
                return self.answer(412)
            self.server.objects[self.key] = content, next(self.server.generations)
            return self.answer(200)

    def do_HEAD(self):
        self.answer(200 if self.key in self.server.objects else 404)

    def do_GET(self):
        if not self.key:
            self.list()
        elif self.key not in self.server.objects:
            self.answer(404)
        else:
            self.answer(206 if "Range" in self.headers else 200)

    def do_DELETE(self):
        with self.server.lock:
            self.answer(204 if self.server.objects.pop(self.key, None) else 404)

    @property
    def key(self):
        return unquote(urlsplit(self.path).path.removeprefix("/bucket").lstrip("/"))

    def answer(self, status):
        content, generation = self.server.objects.get(self.key, (b"", 0))
        self.send_response(status)
        size = len(content)
        if status == 206:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            content = content[int(first) : int(last) + 1]
            span = f"bytes {first}-{int(first) + len(content) - 1}/{size}"
            self.send_header("Content-Range", span)
        if generation:
            self.send_header("ETag", etag(self.server.objects[self.key][0]))
            self.send_header("x-goog-generation", str(generation))
            self.send_header("Last-Modified", DATE)
        content = content if self.command in ("GET", "HEAD") else b""
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def list(self):
        asked = parse_qs(urlsplit(self.path).query)
        prefix, after = (asked.get(name, [""])[0] for name in ("prefix", "continuation-token"))
        names = [n for n in sorted(self.server.objects) if n.startswith(prefix) and n > after]
        entries = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.server.objects[name][0])}</Size>"
            f"<ETag>{escape(etag(self.server.objects[name][0]))}</ETag>"
            f"<Generation>{self.server.objects[name][1]}</Generation>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name in names[:PAGE]
        )
        more = len(names) > PAGE
        last = escape(names[PAGE - 1]) if more else ""
        token = f"<NextContinuationToken>{last}</NextContinuationToken>"
        body = (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token if more else ''}{entries}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def etag(content):
    return f'"{hashlib.md5(content).hexdigest()}"'


@contextlib.contextmanager
def google_store(folder):
    """Start it with an empty bucket; yields the bucket's URL. Credentials are put into a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Google)
    server.objects, server.lock, server.generations = {}, threading.Lock(), itertools.count(1001)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    account = folder / "account.json"
    fields = {"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": True}
    url = f"http://127.0.0.1:{server.server_port}"
    account.write_text(json.dumps({**fields, "gcs_base_url": url}))
    settings = {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_ALLOW_HTTP": "true"}
    os.environ.update(settings)
    try:
        yield "gs://bucket"
    finally:
        for name in settings:
            del os.environ[name]
        server.shutdown()
        server.server_close()
