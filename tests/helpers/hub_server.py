"""A local server in the place of the Hugging Face hub: the few routes that a download uses."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator


class Hub:
    """Files by ``owner/name`` and path; ``fault`` says what goes wrong.

    Faults: ``cut`` (the first answer to each GET ends after 1000 bytes), ``wrong bytes``,
    ``missing``. `asked` is the log of requests: method, path, Range header.
    """

    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fault = ""
        self.asked: list[tuple[str, str, str]] = []

    def put(self, repository: str, file: str, content: bytes) -> str:
        self.files[f"/{repository}/resolve/main/{file}"] = content
        return hashlib.sha256(content).hexdigest()


def _handler(hub: Hub):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            wanted = self.headers.get("Range", "")
            hub.asked.append((self.command, self.path, wanted))
            content = hub.files.get(self.path)
            if content is None or hub.fault == "missing":
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
            start = int(match[1]) if match else 0
            self.send_response(206 if match else 200)
            if match:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("X-Repo-Commit", hub.COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            if body:
                sent = content[start:]
                if hub.fault == "wrong bytes":
                    sent = sent[:-1] + bytes([sent[-1] ^ 1])
                if hub.fault == "cut" and not start:
                    sent = sent[:1000]
                    self.close_connection = True
                self.wfile.write(sent)

        def log_message(self, *args):
            pass

    return Handler


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Serve `hub`; yields its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
