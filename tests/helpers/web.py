"""A web server that knows ranges of bytes, and counts what it is asked for."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Ranges(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(None)

    def answer(self, content):
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        start, stop = 0, size
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last) + 1, size)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if content is None:
            with self.server.lock:
                self.server.reads.append((self.path, start, stop))
            self.wfile.write(path.read_bytes()[start:stop])


@contextlib.contextmanager
def web_server(folder):
    """Serve a folder; yields a server with its `url`, and the `reads` that were asked for."""
    with serving(_Ranges, folder) as server:
        yield server


@contextlib.contextmanager
def serving(handler, folder):
    """Answer with `handler` what is asked of a folder; yields the server, with its `url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.folder, server.reads, server.lock = folder, [], threading.Lock()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
