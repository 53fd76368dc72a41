"""A world outside for tests: names with scripted answers, one server for every public address.

And a canary: who comes to it has passed the guard.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Any

from catalog_pipeline_tests.network.forms import Address, may_be_dialled

_real_getaddrinfo = socket.getaddrinfo
_real_create_connection = socket.create_connection


class Canary:
    """Listens at one port of both loopback addresses and counts who comes; answers nobody."""

    def __init__(self) -> None:
        first = socket.create_server(("127.0.0.1", 0))
        self.port: int = first.getsockname()[1]
        self._servers = [first]
        # A machine without IPv6 has one listener.
        with suppress(OSError):
            self._servers.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        for server in self._servers:
            server.setblocking(False)
        self._visits = 0

    @property
    def visits(self) -> int:
        """Connections so far; whoever connected waits in the listener's queue until now."""
        for server in self._servers:
            with suppress(BlockingIOError):
                while True:
                    server.accept()[0].close()
                    self._visits += 1
        return self._visits

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()


class Internet:
    """Stands in for `socket.getaddrinfo` and `socket.create_connection`; never leaves loopback.

    Connections to addresses that may be dialled lead to the server at `port`. Those to this machine
    are really made, so that the canary sees them; anywhere else nobody is.
    """

    def __init__(self, port: int = 9) -> None:
        self.port = port
        # Successive answers to a name, the last one for ever.
        self.names: dict[str, list[list[str]]] = {"localhost": [["127.0.0.1", "::1"]]}
        self.resolved: list[str] = []
        self.dialled: list[str] = []

    def getaddrinfo(self, host: bytes | str, port: int, *_: Any, **__: Any) -> list[Any]:
        """A known name's next answer; else an address in any spelling, as the C library reads it.

        Raises:
            socket.gaierror: it is neither.
        """
        name = (host.decode("ascii") if isinstance(host, bytes) else host).lower().rstrip(".")
        if name not in self.names:
            return list(
                _real_getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            )
        self.resolved.append(name)
        answers = self.names[name]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [entry(address, port) for address in addresses]

    def create_connection(
        self, address: tuple[str, int], timeout: float | None = None, **_: Any
    ) -> socket.socket:
        """Dial, and remember it."""
        self.dialled.append(address[0])
        found = ip_address(address[0])
        if may_be_dialled(found):
            address = ("127.0.0.1", self.port)
        elif not is_this_machine(found):
            raise ConnectionRefusedError("nobody is there")
        return _real_create_connection(address, timeout)


def is_this_machine(address: Address) -> bool:
    """Whether a connection to it stays here: loopback, and what Linux takes for it."""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (inner or address).is_loopback or (inner or address).is_unspecified


def entry(address: str, port: int) -> tuple[Any, ...]:
    """One element of an answer of `getaddrinfo`."""
    if ip_address(address).version == 6:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
