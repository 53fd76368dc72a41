"""One limit over all that a request connects, sends and receives."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import pytest

from catalog_pipeline.network.deadlines import DeadlineBackend, deadline
from catalog_pipeline.network.guard import SocketOption

OPTIONS = [(6, 1, 1)]
TLS = ssl.create_default_context()


class Recorder(httpcore.NetworkBackend, httpcore.NetworkStream):
    """Stands in for sockets: remembers every call, and has all the time of the world."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        self.calls.append(("tcp", timeout, host, port, local_address, socket_options))
        return self

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        self.calls.append(("unix", timeout, path, socket_options))
        return self

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.calls.append(("read", timeout, max_bytes))
        return b"read"

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.calls.append(("write", timeout, buffer))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self.calls.append(("tls", timeout, ssl_context, server_hostname))
        return self

    def close(self) -> None:
        self.calls.append(("close", None))

    def get_extra_info(self, info: str) -> Any:
        return f"about {info}"


Do = Callable[[DeadlineBackend, float | None], object]


def connected(backend: DeadlineBackend) -> httpcore.NetworkStream:
    """A stream that was connected before any deadline."""
    return backend.connect_tcp("shop.example", 443)


def secured(backend: DeadlineBackend) -> httpcore.NetworkStream:
    return connected(backend).start_tls(TLS)


ACTS: dict[str, tuple[Do, tuple[Any, ...], type[Exception]]] = {
    "tcp": (
        lambda backend, left: backend.connect_tcp("shop.example", 443, left, "::1", OPTIONS),
        ("shop.example", 443, "::1", OPTIONS),
        httpcore.ConnectTimeout,
    ),
    "unix": (
        lambda backend, left: backend.connect_unix_socket("/run/shop", left, OPTIONS),
        ("/run/shop", OPTIONS),
        httpcore.ConnectTimeout,
    ),
    "read": (
        lambda backend, left: connected(backend).read(5, left),
        (5,),
        httpcore.ReadTimeout,
    ),
    "write": (
        lambda backend, left: connected(backend).write(b"GET", left),
        (b"GET",),
        httpcore.WriteTimeout,
    ),
    "tls": (
        lambda backend, left: connected(backend).start_tls(TLS, "shop.example", left),
        (TLS, "shop.example"),
        httpcore.ConnectTimeout,
    ),
}
each_act = pytest.mark.parametrize("act", ACTS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the monotonic clock says, in its one place."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@each_act
@pytest.mark.parametrize("timeout", [None, 7.0])
def test_without_a_deadline_everything_is_passed_on_as_it_is(
    act: str, timeout: float | None
) -> None:
    do, arguments, _ = ACTS[act]
    inner = Recorder()
    do(DeadlineBackend(inner), timeout)
    assert inner.calls[-1] == (act, timeout, *arguments)


@each_act
def test_a_deadline_cuts_what_may_take_longer(act: str, clock: list[float]) -> None:
    do, arguments, _ = ACTS[act]
    inner = Recorder()
    backend = DeadlineBackend(inner)
    with deadline(10.0):
        clock[0] += 6.0
        for timeout, allowed in ((None, 4.0), (7.0, 4.0), (3.0, 3.0)):
            do(backend, timeout)
            assert inner.calls[-1] == (act, allowed, *arguments)
        with deadline(1.0):
            do(backend, 7.0)
            assert inner.calls[-1][1] == 1.0
        do(backend, 7.0)
        assert inner.calls[-1][1] == 4.0
    do(backend, 7.0)
    assert inner.calls[-1][1] == 7.0


@each_act
@pytest.mark.parametrize("late", [0.0, 5.0])
def test_nothing_begins_when_the_time_is_over(act: str, late: float, clock: list[float]) -> None:
    do, _, expired = ACTS[act]
    inner = Recorder()
    backend = DeadlineBackend(inner)
    stream = connected(backend)
    inner.calls.clear()
    later: dict[str, Callable[[], object]] = {
        "read": lambda: stream.read(5, 7.0),
        "write": lambda: stream.write(b"GET", 7.0),
        "tls": lambda: stream.start_tls(TLS, "shop.example", 7.0),
    }
    with deadline(10.0):
        clock[0] += 10.0 + late
        with pytest.raises(expired, match=r"^the time for the whole request is over$") as found:
            later.get(act, lambda: do(backend, 7.0))()
    assert type(found.value) is expired
    assert inner.calls == []


@pytest.mark.parametrize("opened", [connected, secured])
def test_what_takes_no_time_is_passed_on(
    opened: Callable[[DeadlineBackend], httpcore.NetworkStream], clock: list[float]
) -> None:
    inner = Recorder()
    stream = opened(DeadlineBackend(inner))
    with deadline(1.0):
        assert stream.read(3) == b"read"
        assert inner.calls[-1][1] == 1.0
        clock[0] += 5.0
        assert stream.get_extra_info("socket") == "about socket"
        stream.close()
    assert inner.calls[-1] == ("close", None)


def test_a_connection_over_a_socket_file_heeds_it_too(clock: list[float]) -> None:
    stream = DeadlineBackend(Recorder()).connect_unix_socket("/run/shop")
    with deadline(1.0):
        clock[0] += 1.0
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1)


def test_a_deadline_is_that_of_its_thread(clock: list[float]) -> None:
    inner = Recorder()
    stream = connected(DeadlineBackend(inner))
    with deadline(1.0):
        clock[0] += 5.0
        thread = threading.Thread(target=stream.read, args=(1, 7.0))
        thread.start()
        thread.join()
    assert inner.calls[-1] == ("read", 7.0, 1)


def test_a_deadline_ends_with_its_block_whatever_ended_it() -> None:
    inner = Recorder()
    with pytest.raises(ZeroDivisionError), deadline(1.0):
        raise ZeroDivisionError
    connected(DeadlineBackend(inner)).read(1)
    assert inner.calls[-1] == ("read", None, 1)
