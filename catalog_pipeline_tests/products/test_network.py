"""The network under a store's client: what a store can do to it, and what is said of it then."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from catalog_pipeline.products.answers import StoreUnavailableError, Trouble
from catalog_pipeline.products.http import StoreClient
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
