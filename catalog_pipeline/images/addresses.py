"""The guard in front of every connection to an address that a stranger chose.

It sits below TLS and HTTP, as the network backend of an httpcore pool: the name is resolved once,
every address of the answer is judged, and a judged address is the one dialled, so that no second
resolution can bring another one. Host and SNI stay those of the URL. What is fetched, and which
redirects are followed, is not decided here.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpcore

from catalog_pipeline.errors import PermanentError

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)

# IANA IPv4 Special-Purpose Address Registry, multicast and the reserved class E; written out
# because `ipaddress.is_global` passes multicast and differs between Python versions.
_IPV4_REFUSED = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Looks public, but is the metadata and DNS service inside every Azure network.
        "168.63.129.16/32",
    )
)
# All that IANA has opened for global unicast; everything else of IPv6 is refused unnamed.
_IPV6_UNICAST = IPv6Network("2000::/3")
_IPV6_REFUSED = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address behind anybody's relay
        "3fff::/20",
    )
)
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
# Interface identifiers of ISATAP, which carry an IPv4 address in their lower half.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


class AddressRefusedError(PermanentError):
    """The port is not allowed, or the name leads to an address that is not public."""

    def __init__(self, message: str, *, port: int | None = None) -> None:
        """`port` is the refused port, None when it was the address."""
        super().__init__(message)
        self.port = port


class UnknownHostError(httpcore.ConnectError):
    """The name has no address; a transport error like any other to httpcore."""


def is_public(address: str | IPv4Address | IPv6Address) -> bool:
    """Whether an address is globally routable unicast, judged by any IPv4 address inside it.

    Args:
        address: parsed, or in the canonical text of `getaddrinfo`; any other text is not public.
    """
    if isinstance(address, str):
        try:
            address = ip_address(address)
        except ValueError:
            return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _IPV4_REFUSED)
    if address.scope_id is not None:
        return False
    lower = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _IPV4_MAPPED or address in _NAT64:
        return is_public(lower)
    if address not in _IPV6_UNICAST or any(address in network for network in _IPV6_REFUSED):
        return False
    return (int(address) >> 32) & 0xFFFF_FFFF not in _ISATAP or is_public(lower)


class GuardedBackend(httpcore.NetworkBackend):
    """Dials allowed ports of public addresses and nothing else."""

    def __init__(self, ports: Iterable[int], *, allow_private: bool = False) -> None:
        """Guard by these ports; `allow_private` lets any address through, but no other port."""
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
            AddressRefusedError: the port is not allowed, or any of the addresses is not public.
            UnknownHostError: the name has no address.
            httpcore.ConnectError: none of the addresses took the connection.
            httpcore.ConnectTimeout: the time is over.
        """
        if port not in self._ports:
            raise AddressRefusedError(f"port {port} is not allowed for {host}", port=port)
        addresses = self._resolve(host, port)
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise AddressRefusedError(f"{host} leads to an address that is not public")
        options = list(socket_options or ())
        ends_at = None if timeout is None else time.monotonic() + timeout
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

    def _resolve(self, host: str, port: int) -> list[str]:
        try:
            # As bytes, so that Python's own IDNA codec, older than the web's, is left out.
            found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME:
                raise UnknownHostError(f"{host} is not known") from error
            raise httpcore.ConnectError(f"{host} cannot be resolved now") from error
        except ValueError as error:
            raise UnknownHostError(f"{host!r} is not a name") from error
        # In the resolver's order, which knows this machine's routes.
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))
