"""The guard: one resolution, every address of it judged, a judged one dialled."""

from __future__ import annotations

import random
import socket
import time
from typing import Any

import httpcore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog_pipeline.network.guard import (
    AddressRefusedError,
    GuardedBackend,
    GuardError,
    PortRefusedError,
)
from catalog_pipeline.network.resolver import UnknownHostError
from catalog_pipeline_tests.network.forms import Address, inside, spelled
from catalog_pipeline_tests.network.internet import Canary, Internet

many = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@many
@given(address=inside, choose=st.randoms(use_true_random=False))
def test_no_spelling_of_an_address_inside_is_dialled(
    canary: Canary, internet: Internet, address: Address, choose: random.Random
) -> None:
    guard = GuardedBackend({canary.port})
    host = spelled(address, choose)
    with pytest.raises((AddressRefusedError, UnknownHostError)):
        guard.connect_tcp(host, canary.port, timeout=1.0)
    assert internet.dialled == []
    assert canary.visits == 0


@many
@given(
    private=inside,
    public=st.lists(st.sampled_from(["1.1.1.1", "2606:4700:4700::1111"])),
    at=st.data(),
)
def test_one_address_inside_refuses_the_whole_answer(
    canary: Canary, internet: Internet, private: Address, public: list[str], at: st.DataObject
) -> None:
    answer = list(public)
    answer.insert(at.draw(st.integers(0, len(public))), str(private))
    internet.names["shop.example"] = [answer]
    with pytest.raises(AddressRefusedError, match=r"^shop\.example leads to"):
        GuardedBackend({canary.port}).connect_tcp("shop.example", canary.port, timeout=1.0)
    assert internet.dialled == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", "::1", "::", "127.1"])
def test_no_name_of_this_machine_reaches_a_listener(canary: Canary, host: str) -> None:
    with pytest.raises((AddressRefusedError, UnknownHostError)):
        GuardedBackend({canary.port}).connect_tcp(host, canary.port, timeout=1.0)
    assert canary.visits == 0


def test_the_canary_sees_whom_nothing_holds_back(internet: Internet) -> None:
    canary = Canary()
    guard = GuardedBackend({canary.port}, allow_private=True)
    for host in ("0x7f.1", "localhost", "::ffff:7f00:1"):
        guard.connect_tcp(host, canary.port, timeout=2.0).close()
    assert canary.visits == 3
    canary.close()
    assert internet.dialled == ["127.0.0.1", "127.0.0.1", "::ffff:127.0.0.1"]


def test_a_refusal_says_what_to_do(internet: Internet) -> None:
    internet.names |= {"shop.example": [["10.0.0.5"]], "meta.example": [["169.254.169.254"]]}
    with pytest.raises(AddressRefusedError, match="allow_private_addresses: true") as refusal:
        GuardedBackend({80}).connect_tcp("shop.example", 80, timeout=1.0)
    assert refusal.value.is_private
    for allowed in (False, True):
        guard = GuardedBackend({80}, allow_private=allowed)
        with pytest.raises(AddressRefusedError, match=r"169\.254\.169\.254") as refusal:
            guard.connect_tcp("meta.example", 80, timeout=1.0)
        assert not refusal.value.is_private
        assert "allow_private" not in str(refusal.value)


def test_dials_what_it_judged_without_a_second_resolution(
    canary: Canary, internet: Internet
) -> None:
    # A name that leads somewhere else each time it is asked.
    internet.names["shop.example"] = [["1.1.1.1"], ["127.0.0.1"]]
    guard = GuardedBackend({canary.port})
    with pytest.raises(httpcore.ConnectError):
        guard.connect_tcp("shop.example", canary.port, timeout=1.0)
    assert (internet.resolved, internet.dialled) == (["shop.example"], ["1.1.1.1"])
    with pytest.raises(AddressRefusedError):
        guard.connect_tcp("shop.example", canary.port, timeout=1.0)
    assert canary.visits == 0


def test_the_next_address_is_tried_when_one_does_not_answer(internet: Internet) -> None:
    internet.names["shop.example"] = [["127.0.0.2", "127.0.0.1"]]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        guard = GuardedBackend({port}, allow_private=True)
        stream = guard.connect_tcp("shop.example", port, timeout=2.0)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        stream.close()


def test_all_addresses_share_one_time(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    internet.names["shop.example"] = [["1.1.1.1", "1.0.0.1", "8.8.8.8"]]
    shares: list[float] = []

    def dial(_address: object, timeout: float, **_: object) -> socket.socket:
        shares.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", dial)
    with pytest.raises(httpcore.ConnectTimeout):
        GuardedBackend({80}).connect_tcp("shop.example", 80, timeout=3.0)
    assert shares == pytest.approx([1.0, 1.5, 3.0], abs=0.2)


def test_the_guard_costs_less_than_a_millisecond_of_a_processor(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet.names["shop.example"] = [["1.1.1.1", "1.0.0.1", "2606:4700::1111", "2606:4700::1001"]]
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: socket.socket())
    guard = GuardedBackend({443})
    plain = httpcore.SyncBackend()
    spent = []
    for backend in (plain, guard):
        began = time.process_time()
        for _ in range(200):
            backend.connect_tcp("shop.example", 443, timeout=5.0).close()
        spent.append((time.process_time() - began) / 200)
    assert len(internet.resolved) == 200
    assert spent[1] - spent[0] < 0.001


@pytest.mark.parametrize("allow_private", [False, True])
def test_only_the_allowed_ports_are_dialled(
    canary: Canary, internet: Internet, *, allow_private: bool
) -> None:
    guard = GuardedBackend({80, 443}, allow_private=allow_private)
    with pytest.raises(PortRefusedError) as refusal:
        guard.connect_tcp("localhost", canary.port, timeout=1.0)
    assert refusal.value.port == canary.port
    assert internet.resolved == []


def test_socket_files_are_never_dialled() -> None:
    with pytest.raises(GuardError):
        GuardedBackend({80}, allow_private=True).connect_unix_socket("/run/docker.sock")


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What httpcore's own backend is asked for; nobody ever answers."""
    asked: list[tuple[Any, ...]] = []

    def connect_tcp(_backend: httpcore.SyncBackend, *given: Any) -> httpcore.NetworkStream:
        asked.append(given)
        raise httpcore.ConnectError("nobody is there")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    return asked


def test_what_httpcore_asks_for_is_passed_on_with_every_address(
    internet: Internet, dialled: list[tuple[Any, ...]]
) -> None:
    internet.names["shop.example"] = [["1.1.1.1", "1.0.0.1"]]
    option = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with pytest.raises(httpcore.ConnectError, match="nobody is there"):
        GuardedBackend({80}).connect_tcp(
            "shop.example", 80, None, local_address="192.0.2.7", socket_options=iter([option])
        )
    assert dialled == [
        ("1.1.1.1", 80, None, "192.0.2.7", [option]),
        ("1.0.0.1", 80, None, "192.0.2.7", [option]),
    ]


def test_the_look_up_has_the_port_and_the_time_of_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports: list[int] = []

    def getaddrinfo(_host: bytes, port: int, *_: object, **__: object) -> list[Any]:
        ports.append(port)
        time.sleep(0.5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    began = time.monotonic()
    with pytest.raises(httpcore.ConnectTimeout, match=r"shop\.example took too long to resolve"):
        GuardedBackend({8443}).connect_tcp("shop.example", 8443, timeout=0.05)
    assert time.monotonic() - began < 0.45
    assert ports == [8443]


def test_nothing_is_dialled_once_the_look_up_took_all_the_time(
    monkeypatch: pytest.MonkeyPatch, dialled: list[tuple[Any, ...]]
) -> None:
    def resolve(*_: object) -> list[str]:
        time.sleep(0.02)
        return ["1.1.1.1"]

    monkeypatch.setattr("catalog_pipeline.network.guard.resolve", resolve)
    with pytest.raises(httpcore.ConnectTimeout, match=r"shop\.example took too long to resolve"):
        GuardedBackend({80}).connect_tcp("shop.example", 80, timeout=0.01)
    assert dialled == []


def test_refusals_say_what_is_refused(internet: Internet) -> None:
    internet.names["shop.example"] = [["10.0.0.5"]]
    guard = GuardedBackend({80})
    with pytest.raises(PortRefusedError, match=r"^port 81 is not allowed for shop\.example$"):
        guard.connect_tcp("shop.example", 81)
    with pytest.raises(AddressRefusedError, match=r"^socket files are never dialled$"):
        guard.connect_unix_socket("/run/docker.sock")
    with pytest.raises(AddressRefusedError) as refusal:
        guard.connect_tcp("shop.example", 80)
    assert str(refusal.value) == (
        "shop.example leads to 10.0.0.5, an address inside a private network, which only a store "
        "with allow_private_addresses: true may lead to"
    )
