"""The network under a store's client: what a store can do to it, and what is said of it then."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress

import httpx
import pytest

from catalog_pipeline.network.guard import PortRefusedError
from catalog_pipeline.network.resolver import UnknownHostError
from catalog_pipeline.products.answers import StoreUnavailableError, Trouble
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.network import diagnose, store_client
from catalog_pipeline_tests.products.wordpress import store


def test_a_header_that_drips_for_ever_costs_the_time_of_one_attempt() -> None:
    stopped = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not stopped.wait(0.02):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        config = store(
            url=f"http://127.0.0.1:{server.getsockname()[1]}", allow_private_addresses=True
        )
        began = time.monotonic()
        with StoreClient(config, retry_waits=(), patience=0.5) as client:
            with pytest.raises(StoreUnavailableError) as found:
                client.get("/p", expect=list)
        stopped.set()
        thread.join()
    assert found.value.trouble is Trouble.TIMEOUT
    assert 0.4 < time.monotonic() - began < 5


def test_a_resolver_that_hangs_costs_the_time_of_one_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hung = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> object:
        hung.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "at last")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    began = time.monotonic()
    with StoreClient(store(), retry_waits=(), patience=0.4) as client:
        with pytest.raises(StoreUnavailableError) as found:
            client.get("/p", expect=list)
    hung.set()
    assert found.value.trouble is Trouble.TIMEOUT
    assert time.monotonic() - began < 5


def caused(cause: BaseException, *, explicitly: bool = True) -> Exception:
    """An error of a library's, as it comes of another one or amid it."""
    found = httpx.ConnectError("outer")
    if explicitly:
        found.__cause__ = cause
    else:
        found.__context__ = cause
    return found


UNKNOWN = (Trouble.DNS, "this host name is not known")
REFUSED = (Trouble.CONNECTION_REFUSED, "nothing answers there (connection refused)")


@pytest.mark.parametrize(
    ("cause", "found"),
    [
        (UnknownHostError("x"), UNKNOWN),
        (socket.gaierror(-2, "x"), UNKNOWN),
        (UnicodeError("label too long"), UNKNOWN),
        (ConnectionRefusedError(111, "x"), REFUSED),
        (
            ssl.SSLCertVerificationError("self-signed"),
            (Trouble.TLS, "the certificate is not valid (('self-signed',))"),
        ),
        (
            ConnectionResetError(104, "x"),
            (Trouble.BROKEN, "the connection broke (ConnectError: outer)"),
        ),
    ],
)
def test_what_broke_is_told_by_the_root_of_it(
    cause: BaseException, found: tuple[Trouble, str]
) -> None:
    assert diagnose(caused(cause)) == diagnose(caused(cause, explicitly=False)) == found
    nested = caused(caused(cause))
    assert diagnose(nested) == found


def test_the_clients_headers_are_its_own_and_the_stores_but_never_its_key() -> None:
    config = store(headers={"X-Door": "open"}, user_agent="somebody/1.0")
    with store_client(config, "a2V5", None, 8.0) as client:
        sent = dict(client.headers)
        timeout = client.timeout
    assert sent == {
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "authorization": "Basic a2V5",
        "connection": "keep-alive",
        "user-agent": "somebody/1.0",
        "x-door": "open",
    }
    assert (timeout.connect, timeout.read, timeout.write, timeout.pool) == (4.0, 4.0, 4.0, None)
    assert not client.follow_redirects
    assert not client.trust_env
    with store_client(store(), "a2V5", None, 600.0) as patient:
        timeout = patient.timeout
    assert (timeout.connect, timeout.read, timeout.write, timeout.pool) == (10.0, 60.0, 60.0, None)


def test_only_the_port_of_the_stores_own_address_is_dialled() -> None:
    config = store(url="http://127.0.0.1:9", allow_private_addresses=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with store_client(config, "a2V5", None, 2.0) as client:
            with pytest.raises(PortRefusedError):
                client.get(f"http://127.0.0.1:{port}/")
        other.settimeout(0)
        with pytest.raises(BlockingIOError):
            other.accept()
