"""The guard in front of every connection to an address that a stranger chose.

It sits below TLS and HTTP, as the network backend of an httpcore pool: the name is resolved once,
every address of the answer is judged, and a judged address is the one dialled, so that no second
resolution can bring another one. Host and SNI stay those of the URL. What is fetched, and which
redirects are followed, is not decided here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import httpcore

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.network.addresses import Reach, reach
from catalog_pipeline.network.resolver import resolve

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


class GuardError(PermanentError):
    """A connection that is not made, whoever asks for it."""


class PortRefusedError(GuardError):
    """The port is not one of those that are allowed."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} is not allowed for {host}")
        self.port = port


class AddressRefusedError(GuardError):
    """The name leads to an address that it may not lead to."""

    def __init__(self, message: str, *, is_private: bool = False) -> None:
        """`is_private` says that `allow_private_addresses` would let it through."""
        super().__init__(message)
        self.is_private = is_private


class GuardedBackend(httpcore.NetworkBackend):
    """Dials allowed ports of public addresses and nothing else."""

    def __init__(self, ports: Iterable[int], *, allow_private: bool = False) -> None:
        """Guard by these ports; `allow_private` opens private networks too, but no other port."""
        self._ports = frozenset(ports)
        self._allow_private = allow_private
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve once, judge every address, dial them in turn within `timeout` seconds.

        Raises:
            PortRefusedError: the port is not allowed.
            AddressRefusedError: any one of the addresses may not be dialled.
            UnknownHostError: the name has no address.
            httpcore.ConnectError: none of the addresses took the connection.
            httpcore.ConnectTimeout: the time is over.
        """
        if port not in self._ports:
            raise PortRefusedError(host, port)
        ends_at = None if timeout is None else time.monotonic() + timeout
        addresses = resolve(host, port, timeout)
        self._judge(host, addresses)
        options = list(socket_options or ())
        failure: Exception | None = None
        for position, address in enumerate(addresses):
            share = None
            if ends_at is not None:
                share = (ends_at - time.monotonic()) / (len(addresses) - position)
                if share <= 0:
                    break
            try:
                return self._inner.connect_tcp(address, port, share, local_address, options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectTimeout(f"{host} took too long to resolve")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Never: a socket file is inside this machine."""
        raise AddressRefusedError("socket files are never dialled")

    def _judge(self, host: str, addresses: list[str]) -> None:
        found = {address: reach(address) for address in addresses}
        for address, whose in found.items():
            if whose is Reach.NEVER:
                raise AddressRefusedError(
                    f"{host} leads to {address}, an address that is never dialled"
                )
        for address, whose in found.items():
            if whose is Reach.PRIVATE and not self._allow_private:
                raise AddressRefusedError(
                    f"{host} leads to {address}, an address inside a private network, which only "
                    "a store with allow_private_addresses: true may lead to",
                    is_private=True,
                )
