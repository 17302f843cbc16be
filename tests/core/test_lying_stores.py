"""Stores that lie, repeat themselves or say nothing: one line each, and no waiting for ever."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from icecore.core import store_base, stores
from icecore.core.errors import MissingFileError, StoreError
from icecore.core.patience import patiently
from icecore.core.stores import store_of
from icecore.manifest import read

_ENTRY = (
    "<Key>{}</Key><Size>9</Size><ETag>1</ETag><LastModified>2026-01-01T00:00:00Z</LastModified>"
)
_MORE = "<IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken>"


class _Lying(BaseHTTPRequestHandler):
    """A store whose lists and objects are what a test says."""

    keys, more, size, head_size = (), False, 9, 9

    def do_GET(self):
        if "list-type" in self.path:
            entries = "".join(f"<Contents>{_ENTRY.format(key)}</Contents>" for key in self.keys)
            more = "<IsTruncated>false</IsTruncated>"
            if self.more:
                more = _MORE
            self._answer(f"<ListBucketResult>{more}{entries}</ListBucketResult>".encode())
        else:
            self._answer(b"x" * self.size)

    def do_HEAD(self):
        self._answer(b"x" * self.head_size)

    def _answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def lying(monkeypatch):
    """Return a function that starts such a store, and returns its bucket's URL."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    servers = []

    def start(kind=_Lying, **fields):
        kind = type("Lying", (kind,), fields) if fields else kind
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stores._store.cache_clear()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_SKIP_SIGNATURE": "true",
        }.items():
            monkeypatch.setenv(name, value)
        return f"s3://lying-{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    stores._store.cache_clear()


def listed(url):
    store, key = store_of(url)
    return list(store.list(key))


@pytest.mark.parametrize("fields", [{"keys": ["p/a.jpg"], "more": True}, {"keys": ["p/a.jpg"] * 2}])
def test_a_listing_that_goes_round_is_ended(fields, lying):
    with pytest.raises(StoreError, match="lists p/a.jpg twice"):
        listed(f"{lying(**fields)}/p")


@pytest.mark.timeout(60)
def test_pages_that_list_nothing_are_not_read_for_ever(lying, monkeypatch):
    monkeypatch.setattr(stores, "_PATIENCE_S", 0.5)
    with pytest.raises(StoreError, match="cannot be listed: nothing came for"):
        listed(f"{lying(more=True)}/p")


def test_more_objects_than_memory_holds_are_refused(lying, monkeypatch):
    monkeypatch.setattr(store_base, "_MOST_LISTED", 5)
    keys = [f"p/{number}.jpg" for number in range(6)]
    with pytest.raises(StoreError, match="lists more than 5 objects") as error:
        listed(f"{lying(keys=keys)}/p")
    assert "longer prefix" in error.value.hint


def test_names_longer_than_any_store_takes_are_named_in_short(lying, capfd):
    url = lying(keys=[f"p/{'k' * 100_000}.jpg"])
    with pytest.raises(StoreError, match=r"a name of 100006 characters: p/kkk") as error:
        listed(f"{url}/p")
    assert len(str(error.value)) < 400
    # The library panics at such a URL, with pages of its own on the terminal.
    with pytest.raises(StoreError, match="has 10001. characters"):
        store_of(f"{url}/{'k' * 100_000}")
    assert capfd.readouterr().err == ""


def test_where_nothing_lies_the_endpoint_may_be_wrong(lying):
    with pytest.raises(MissingFileError, match="nothing lies below s3://lying") as error:
        read(f"{lying()}/p", labels_required=False)
    assert "endpoint" in error.value.hint


def test_an_object_of_another_size_than_was_said(lying):
    store, key = store_of(f"{lying(size=7)}/a.jpg")
    with pytest.raises(StoreError, match="has 7 bytes, where 9 were said before"):
        store.read_all(key, 100)


class _Flooding(_Lying):
    """Sends a gigabyte where a few bytes of an object were asked for."""

    sent = 0

    def do_GET(self):
        self.send_response(206)
        self.send_header("Content-Length", str(2**30))
        self.send_header("Content-Range", "bytes 2-4/9")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(2**10):
                self.wfile.write(bytes(2**20))
                type(self).sent += 2**20


def test_no_more_is_taken_than_was_asked_for(lying):
    store, key = store_of(f"{lying(kind=_Flooding)}/a.jpg")
    with pytest.raises(StoreError, match="3 bytes were asked for, more came"):
        store.read(key, 2, 5)
    assert _Flooding.sent < 2**28


def test_a_claim_of_megabytes_is_not_read_whole(lying):
    store, key = store_of(f"{lying(size=2**24)}/claims/a")
    content, _ = store.current(key)
    assert content == b"x" * 2**16


def test_settings_of_the_environment_hold(lying, monkeypatch):
    url = lying(keys=["p/a"])
    assert [entry.key for entry in listed(f"{url}/p")] == ["p/a"]
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    stores._store.cache_clear()
    with pytest.raises(StoreError, match="cannot be listed"):
        listed(f"{url}/p")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_an_endpoint_that_is_no_url_is_named(lying, monkeypatch, capfd, name):
    url = lying(keys=["p/a"])
    monkeypatch.setenv(name, "localhost:9000")
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "false")
    stores._store.cache_clear()
    with pytest.raises(StoreError, match=f"{name} is 'localhost:9000', which is no URL"):
        listed(f"{url}/p")
    assert capfd.readouterr().err == ""
    monkeypatch.delenv("AWS_ENDPOINT") if name == "AWS_ENDPOINT" else lying(keys=["p/a"])
    stores._store.cache_clear()
    assert [entry.key for entry in listed(f"{url}/p")] == ["p/a"]


@pytest.mark.parametrize("prefix", ["a//b", "../b", "./b", "a\tb"])
def test_a_prefix_that_is_none_is_not_blamed_on_the_network(lying, prefix):
    with pytest.raises(StoreError, match="cannot be listed: .*parse path") as error:
        listed(f"{lying(keys=['p/a'])}/{prefix}")
    assert error.value.hint.startswith("between slashes stand names, which are not empty")


@pytest.mark.parametrize("code", [429, 503])
def test_a_store_that_is_asked_too_often_says_so(lying, monkeypatch, code):
    monkeypatch.setattr(stores, "_RETRIES", 1)

    class Busy(_Lying):
        def do_GET(self):
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with pytest.raises(StoreError, match="the store is asked too often, or is not ready") as error:
        listed(f"{lying(Busy)}/p")
    assert "wait some minutes" in error.value.hint


def test_what_comes_in_time_is_passed_on():
    assert list(patiently(range(5), 10)) == [0, 1, 2, 3, 4]

    def broken():
        yield 1
        raise KeyError("two")

    coming = patiently(broken(), 10)
    assert next(coming) == 1
    with pytest.raises(KeyError, match="two"):
        next(coming)
    with pytest.raises(TimeoutError, match="nothing came for 0 seconds"):
        next(patiently(iter(threading.Event().wait, None), 0.05))
