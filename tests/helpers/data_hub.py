"""A local server in the place of the Hugging Face hub: what is asked of one data set's files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from web import serving

REPOSITORY = "me/photos"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(rf"/datasets/{REPOSITORY}/resolve/main/(.+)", path):
            self.file(self.server.folder / found[1])
        elif found := re.fullmatch(rf"/api/datasets/{REPOSITORY}/tree/main/(.+)", path):
            self.tree(self.server.folder / found[1])
        elif path == f"/api/datasets/{REPOSITORY}":
            self.tell({"id": REPOSITORY, "sha": COMMIT, "siblings": [], "tags": []})
        else:
            self.refuse("RepoNotFound")

    def tree(self, folder):
        if not folder.is_dir():
            self.refuse("EntryNotFound")
            return
        self.tell([self.about(path) for path in sorted(folder.rglob("*"))])

    def about(self, path):
        name = path.relative_to(self.server.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        digest = hashlib.sha1(path.read_bytes()).hexdigest()
        return {"type": "file", "path": name, "oid": digest, "size": path.stat().st_size}

    def file(self, path):
        content = path.read_bytes()
        start, stop = 0, len(content)
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last) + 1, stop)
        self.server.reads.append((path.name, start, stop))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(content[start:stop])

    def tell(self, fields, status=200, **headers):
        content = json.dumps(fields).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, code):
        self.tell({"error": code}, 404, X_Error_Code=code, X_Error_Message=code)


@contextlib.contextmanager
def data_hub(folder):
    """Serve a folder as a data set; yields a server with its `url` and the `reads` of files."""
    with serving(_Hub, folder) as server:
        yield server
