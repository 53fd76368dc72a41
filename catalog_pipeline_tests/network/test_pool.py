"""The pool over which a store and its pictures are asked."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpcore
import httpx
import pytest
import trustme
from pytest_httpserver import HTTPServer

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.network.deadlines import deadline
from catalog_pipeline.network.guard import AddressRefusedError, PortRefusedError
from catalog_pipeline.network.pool import KEEP_ALIVE_SECONDS, guarded_pool, port_of
from catalog_pipeline.stores import StoreConfig


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[HTTPServer]:
    """A server whose certificate only `authority` vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with HTTPServer("localhost", 0, ssl_context=context) as server:
        server.expect_request("/").respond_with_data(b"welcome")
        yield server


def store(**keys: object) -> StoreConfig:
    values = {
        "id": "atelier",
        "url": "https://shop.example",
        "consumer_key": {"env": "KEY"},
        "consumer_secret": {"env": "SECRET"},
        "allow_private_addresses": True,
    }
    return StoreConfig.model_validate(values | keys)


def ask(config: StoreConfig, url: str, ports: set[int] | None = None) -> bytes:
    with guarded_pool(config, ports or {httpx.URL(url).port or 0}) as pool:
        return pool.request(b"GET", url).content


def test_it_trusts_the_usual_authorities_and_the_stores_own(
    secure: HTTPServer, authority: trustme.CA, tmp_path: Path
) -> None:
    url = secure.url_for("/")
    with pytest.raises(httpcore.ConnectError, match="certificate verify failed"):
        ask(store(), url)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    assert ask(store(ca_file=path), url) == b"welcome"
    # Of this store alone.
    with pytest.raises(httpcore.ConnectError, match="certificate verify failed"):
        ask(store(), url)


def test_the_environment_names_no_authority(
    secure: HTTPServer,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(str(path))
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    for config in (store(), store(ca_file=other)):
        with pytest.raises(httpcore.ConnectError, match="certificate verify failed"):
            ask(config, secure.url_for("/"))


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_file_of_no_certificates_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as found:
        guarded_pool(store(ca_file=path), {443})
    said = f"store atelier: ca_file {path} cannot be used as certificates: "
    assert str(found.value).startswith(said)
    assert len(str(found.value)) > len(said)


def test_it_is_guarded(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_data(b"welcome")
    url = httpserver.url_for("/")
    assert ask(store(), url) == b"welcome"
    with pytest.raises(PortRefusedError):
        ask(store(), url, {443})
    with pytest.raises(AddressRefusedError):
        ask(store(allow_private_addresses=False), url)


def test_it_heeds_deadlines(httpserver: HTTPServer) -> None:
    url = httpserver.url_for("/")
    with pytest.raises(httpcore.TimeoutException), deadline(0.0):
        ask(store(), url)


def test_no_proxy_is_asked(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    httpserver.expect_request("/").respond_with_data(b"welcome")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert ask(store(), httpserver.url_for("/")) == b"welcome"


class Keeping(BaseHTTPRequestHandler):
    """Keeps connections open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"welcome")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def keeping() -> Iterator[str]:
    """The address of a server that answers several connections at once, and keeps them."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Keeping) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def test_it_has_as_many_connections_as_the_store_allows(keeping: str) -> None:
    patience = {"timeout": {"pool": 0.1}}
    port = httpx.URL(keeping).port or 0
    with guarded_pool(store(connections=2), {port}) as pool, ExitStack() as held:
        for _ in range(2):
            held.enter_context(pool.stream(b"GET", keeping))
        with pytest.raises(httpcore.PoolTimeout):
            pool.request(b"GET", keeping, extensions=patience)


def test_it_keeps_every_connection_for_a_while(
    keeping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarded_pool(store(connections=2), {httpx.URL(keeping).port or 0}) as pool:
        with ExitStack() as held:
            for stream in [held.enter_context(pool.stream(b"GET", keeping)) for _ in range(2)]:
                stream.read()
        before = list(pool.connections)
        assert len(before) == 2
        assert pool.request(b"GET", keeping).content == b"welcome"
        assert list(pool.connections) == before
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + KEEP_ALIVE_SECONDS + 1)
        pool.request(b"GET", keeping)
        assert not any(one in before for one in pool.connections)


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://shop.example/a", 443),
        ("http://shop.example/a", 80),
        ("https://shop.example:8443/a", 8443),
        ("http://shop.example:443/a", 443),
    ],
)
def test_the_port_of_an_address_is_the_schemes_where_it_names_none(url: str, port: int) -> None:
    assert port_of(httpx.URL(url)) == port
