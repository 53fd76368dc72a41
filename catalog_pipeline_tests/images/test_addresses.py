"""The guard: what it calls public, and that nothing else is ever dialled."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.images.addresses import (
    AddressRefusedError,
    GuardedBackend,
    UnknownHostError,
    is_public,
)

# Written independently of the guard's own list: RFC 6890, 5771, 1112, 7526 and vendors' notes.
INSIDE_IPV4 = (
    ("0.0.0.0", 8),
    ("10.0.0.0", 8),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("172.16.0.0", 12),
    ("192.0.0.0", 24),
    ("192.0.2.0", 24),
    ("192.88.99.0", 24),
    ("192.168.0.0", 16),
    ("198.18.0.0", 15),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("224.0.0.0", 4),
    ("240.0.0.0", 4),
    ("168.63.129.16", 32),
)
INSIDE_IPV6 = (
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)


def is_inside(address: IPv4Address) -> bool:
    return any(
        int(address) >> (32 - bits) == int(IPv4Address(base)) >> (32 - bits)
        for base, bits in INSIDE_IPV4
    )


inside_ipv4 = st.sampled_from(INSIDE_IPV4).flatmap(
    lambda pair: st.ip_addresses(network=IPv4Network(f"{pair[0]}/{pair[1]}"))
)
outside_ipv4: st.SearchStrategy[IPv4Address] = (
    st.integers(0, 2**32 - 1).map(IPv4Address).filter(lambda address: not is_inside(address))
)


def embeddings(address: IPv4Address) -> list[IPv6Address]:
    """Every known way to carry an IPv4 address inside an IPv6 one that hosts understand."""
    value = int(address)
    global_prefix = int(IPv6Address("2a00:1450:4001::"))
    return [
        IPv6Address((0xFFFF << 32) | value),
        IPv6Address(int(IPv6Address("64:ff9b::")) | value),
        IPv6Address(global_prefix | (0x5EFE << 32) | value),
        IPv6Address(global_prefix | (0x0200_5EFE << 32) | value),
    ]


@given(inside_ipv4)
def test_no_address_of_the_inside_is_public_however_it_is_embedded(address: IPv4Address) -> None:
    assert not is_public(address)
    assert not is_public(str(address))
    for embedded in embeddings(address):
        assert not is_public(embedded), embedded


@given(outside_ipv4)
def test_every_other_ipv4_address_is_public_and_stays_so_when_mapped(address: IPv4Address) -> None:
    assert is_public(address)
    assert address.is_global
    for embedded in embeddings(address):
        assert is_public(embedded), embedded


@given(st.ip_addresses(v=4))
def test_tunnels_and_compatible_forms_are_refused_whatever_they_carry(
    address: IPv4Address,
) -> None:
    value = int(address)
    assert not is_public(IPv6Address(value))
    assert not is_public(IPv6Address((0x2002 << 112) | (value << 80)))
    assert not is_public(IPv6Address((0x2001 << 112) | (value ^ 0xFFFF_FFFF)))


@given(st.sampled_from(INSIDE_IPV6).flatmap(lambda n: st.ip_addresses(network=IPv6Network(n))))
def test_no_special_range_of_ipv6_is_public(address: IPv6Address) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=6))
def test_what_is_public_is_global_unicast(address: IPv6Address) -> None:
    if is_public(address) and address.ipv4_mapped is None:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_private
        assert address.sixtofour is None
        assert address.teredo is None


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "142.250.74.46", "2606:4700:4700::1111", "2a00:1450:4001:81b::2003"],
)
def test_addresses_of_real_servers_are_public(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize("text", ["", "localhost", "0x7f.1", "2130706433", "2a00::1%eth0", "::1%1"])
def test_text_that_is_no_canonical_address_is_not_public(text: str) -> None:
    assert not is_public(text)


class Canary:
    """A listener on every loopback address that counts who comes."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        self.visits = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self.server.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()

    def close(self) -> None:
        # On Linux a thread inside accept is woken by shutdown, not by close.
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.thread.join()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    found = Canary()
    yield found
    found.close()


def spellings(address: IPv4Address) -> list[str]:
    a, b, c, d = address.packed
    return [
        str(address),
        str(int(address)),
        hex(int(address)),
        f"0{int(address):o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{b}.{c * 256 + d}",
        f"{a}.{(b << 16) + (c << 8) + d}",
        f"::ffff:{address}",
        f"::ffff:{a:02x}{b:02x}:{c:02x}{d:02x}",
    ]


@settings(deadline=None, max_examples=60)
@given(address=st.ip_addresses(network=IPv4Network("127.0.0.0/8")))
def test_no_spelling_of_loopback_reaches_a_listener(canary: Canary, address: IPv4Address) -> None:
    guard = GuardedBackend({canary.port})
    for host in spellings(address):
        with pytest.raises((AddressRefusedError, UnknownHostError)):
            guard.connect_tcp(host, canary.port, timeout=1.0)
    assert canary.visits == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", "::1", "::", "127.1"])
def test_no_name_of_this_machine_reaches_a_listener(canary: Canary, host: str) -> None:
    with pytest.raises((AddressRefusedError, UnknownHostError)):
        GuardedBackend({canary.port}).connect_tcp(host, canary.port, timeout=1.0)
    assert canary.visits == 0


def test_one_private_address_among_public_ones_refuses_the_name(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("1.1.1.1", "127.0.0.1"))
    with pytest.raises(AddressRefusedError, match=r"shop\.example"):
        GuardedBackend({canary.port}).connect_tcp("shop.example", canary.port, timeout=1.0)
    assert canary.visits == 0


def test_dials_what_it_judged_without_a_second_resolution(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved: list[object] = []
    dialled: list[object] = []

    def resolve(host: object, *_: object, **__: object) -> object:
        resolved.append(host)
        # A name that leads somewhere else each time it is asked.
        return answers("1.1.1.1" if len(resolved) == 1 else "127.0.0.1")()

    def dial(address: tuple[object, int], *_: object, **__: object) -> object:
        dialled.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", dial)
    with pytest.raises(httpcore.ConnectError):
        GuardedBackend({canary.port}).connect_tcp("shop.example", canary.port, timeout=1.0)
    assert resolved == [b"shop.example"]
    assert dialled == ["1.1.1.1"]


def test_the_next_address_is_tried_when_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.2", "127.0.0.1"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        guard = GuardedBackend({port}, allow_private=True)
        stream = guard.connect_tcp("shop.example", port, timeout=2.0)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
        stream.close()


@pytest.mark.parametrize("allow_private", [False, True])
def test_only_the_allowed_ports_are_dialled(canary: Canary, *, allow_private: bool) -> None:
    guard = GuardedBackend({80, 443}, allow_private=allow_private)
    with pytest.raises(AddressRefusedError) as refusal:
        guard.connect_tcp("127.0.0.1", canary.port, timeout=1.0)
    assert refusal.value.port == canary.port


def test_socket_files_are_never_dialled() -> None:
    with pytest.raises(AddressRefusedError):
        GuardedBackend({80}, allow_private=True).connect_unix_socket("/run/docker.sock")


@pytest.mark.parametrize("host", ["", "a" * 300, "a..b", "bücher.example", "x" * 64 + ".example"])
def test_what_is_no_name_is_an_unknown_host(host: str) -> None:
    with pytest.raises((UnknownHostError, AddressRefusedError, httpcore.ConnectError)):
        GuardedBackend({80}).connect_tcp(host, 80, timeout=1.0)


def answers(*addresses: str) -> Callable[..., object]:
    """A resolver that knows one shop, and numeric addresses as the real one does."""
    real = socket.getaddrinfo

    def resolve(host: object = b"shop.example", *arguments: Any, **options: Any) -> object:
        if host != b"shop.example":
            return real(str(host), *arguments, **options)
        return [
            (
                socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, 80),
            )
            for address in addresses
        ]

    return resolve
