"""Look-ups end in time, however long the system's resolver takes."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import httpcore
import pytest

from catalog_pipeline.network import resolver
from catalog_pipeline.network.resolver import UnknownHostError, resolve
from catalog_pipeline_tests.network.internet import Internet, entry


def resolver_threads() -> int:
    return sum(thread.name == "resolver" for thread in threading.enumerate())


def test_the_resolvers_order_is_kept_and_nothing_comes_twice(internet: Internet) -> None:
    internet.names["shop.example"] = [["2606:4700:4700::1111", "1.1.1.1", "1.1.1.1"]]
    assert resolve("shop.example", 443, 1.0) == ["2606:4700:4700::1111", "1.1.1.1"]


def test_a_hung_resolver_costs_its_time_and_a_bounded_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hung = threading.Event()

    def getaddrinfo(host: bytes, port: int, *_: Any, **__: Any) -> list[Any]:
        hung.wait(30)
        return [entry("1.1.1.1", port)]

    monkeypatch.setattr(resolver, "_free", threading.BoundedSemaphore(3))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    before = resolver_threads()
    began = time.monotonic()
    for number in range(6):
        with pytest.raises(httpcore.ConnectTimeout, match=f"shop{number}.example took too long"):
            resolve(f"shop{number}.example", 443, 0.05)
    assert time.monotonic() - began < 3
    assert resolver_threads() - before == 3
    # What was left behind ends by itself, and makes room again.
    hung.set()
    assert resolve("shop.example", 443, 5.0) == ["1.1.1.1"]
    deadline = time.monotonic() + 5
    while resolver_threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert resolver_threads() == before


@pytest.mark.parametrize(
    ("code", "kind"),
    [(socket.EAI_NONAME, UnknownHostError), (socket.EAI_AGAIN, httpcore.ConnectError)],
)
def test_a_name_without_an_address_is_told_from_a_resolver_that_is_down(
    monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(code, "said the resolver")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(httpcore.ConnectError, match=r"shop\.example") as found:
        resolve("shop.example", 443, 1.0)
    assert type(found.value) is kind
    assert isinstance(found.value.__cause__, socket.gaierror)


@pytest.mark.parametrize(
    "host", ["", "a" * 300, "a..b", "x" * 64 + ".example", "a\0b", "bücher.example", "\ud800"]
)
def test_what_is_no_name_is_an_unknown_host(host: str) -> None:
    with pytest.raises(httpcore.ConnectError):
        resolve(host, 80, 1.0)


def test_a_look_up_asks_for_streams_in_a_thread_that_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def getaddrinfo(*given: Any, **named: Any) -> list[Any]:
        asked.append((given, named, threading.current_thread().daemon))
        return [entry("1.1.1.1", 443)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert resolve("shop.example", 443, 1.0) == ["1.1.1.1"]
    assert asked == [((b"shop.example", 443), {"type": socket.SOCK_STREAM}, True)]


def test_a_machine_without_threads_says_so_and_keeps_its_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    room = threading.BoundedSemaphore(1)
    monkeypatch.setattr(resolver, "_free", room)
    monkeypatch.setattr(threading.Thread, "start", start)
    message = r"^shop\.example cannot be resolved now: can't start new thread$"
    with pytest.raises(httpcore.ConnectError, match=message):
        resolve("shop.example", 443, 1.0)
    assert room.acquire(blocking=False)


def test_what_is_no_name_is_shown_as_it_is() -> None:
    with pytest.raises(UnknownHostError, match=r"^'bücher\.example' is not a name$"):
        resolve("bücher.example", 80, 1.0)
