"""Which addresses a stranger's name may lead to, by what IANA keeps them for.

Pure arithmetic on parsed addresses. Resolving names and dialling are `resolver.py` and `guard.py`.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# `ipaddress.is_global` passes multicast and 6to4, and differs between Python versions: the ranges
# are those of IANA's registries of special-purpose addresses.
_IPV4_PRIVATE = tuple(
    IPv4Network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared between a provider and its customers; overlay networks use it
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
    )
)
_IPV4_NEVER = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
        # Look public or private, but are metadata services inside Azure and Alibaba Cloud. Oracle's
        # older one, 192.0.0.192, lies in a range above.
        "168.63.129.16/32",
        "100.100.100.200/32",
    )
)
_IPV6_PRIVATE = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
# All that IANA has opened for global unicast; what is neither there nor private is never dialled.
_IPV6_UNICAST = IPv6Network("2000::/3")
_IPV6_NEVER = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address behind anybody's relay
        "3fff::/20",
        # Services of clouds to their machines, amid what private networks use: Amazon's and
        # Google's have blocks of their own, those of Oracle, Akamai, Scaleway and Alibaba an
        # address each.
        "fd00:ec2::/32",
        "fd20:ce::/32",
        "fd00:c1::a9fe:a9fe/128",
        "fd00:a9fe:a9fe::1/128",
        "fd00:42::42/128",
        "fd00:100::100:200/128",
    )
)
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
# Interface identifiers of ISATAP, which carry an IPv4 address in their lower half.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


class Reach(Enum):
    """Who may lead to an address."""

    # Globally routable unicast: anybody.
    PUBLIC = "public"
    # Loopback and private networks: a store that may by its configuration.
    PRIVATE = "private"
    # Link-local, multicast, reserved, tunnels, the metadata services of clouds: nobody.
    NEVER = "never"


def reach(address: str | IPv4Address | IPv6Address) -> Reach:
    """Judge an address, by the IPv4 address inside it where there is one.

    Args:
        address: parsed, or in the canonical text of `getaddrinfo`; any other text is refused.
    """
    if isinstance(address, str):
        try:
            address = ip_address(address)
        except ValueError:
            return Reach.NEVER
    return _ipv4_reach(address) if isinstance(address, IPv4Address) else _ipv6_reach(address)


def _ipv4_reach(address: IPv4Address) -> Reach:
    if any(address in network for network in _IPV4_NEVER):
        return Reach.NEVER
    if any(address in network for network in _IPV4_PRIVATE):
        return Reach.PRIVATE
    return Reach.PUBLIC


def _ipv6_reach(address: IPv6Address) -> Reach:
    if address.scope_id is not None:
        return Reach.NEVER
    inner = _ipv4_reach(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address in _IPV4_MAPPED:
        # To the kernel the very same address.
        return inner
    is_carrier = address in _NAT64 or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
    if is_carrier and inner is not Reach.PUBLIC:
        return Reach.NEVER
    if any(address in network for network in _IPV6_NEVER):
        return Reach.NEVER
    if any(address in network for network in _IPV6_PRIVATE):
        return Reach.PRIVATE
    return Reach.PUBLIC if address in _IPV6_UNICAST or address in _NAT64 else Reach.NEVER
