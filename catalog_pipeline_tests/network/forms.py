"""IANA's registries as the tests see them, and every way to write an address down.

Written out from the registries of special-purpose addresses, of multicast and of global unicast,
and from what RFC 4291, 4380, 5214, 6052 and 3056 say about IPv4 inside IPv6: it shares nothing with
the guard, which is judged by it.
"""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

# Network, and whether the registry says "globally reachable"; multicast and clouds' services added.
IPV4_REGISTRY = (
    ("0.0.0.0/8", False),  # "this network"
    ("0.0.0.0/32", False),
    ("10.0.0.0/8", False),
    ("100.64.0.0/10", False),
    ("100.100.100.200/32", False),
    ("127.0.0.0/8", False),
    ("168.63.129.16/32", False),
    ("169.254.0.0/16", False),
    ("172.16.0.0/12", False),
    ("192.0.0.0/24", False),
    ("192.0.0.0/29", False),
    ("192.0.0.8/32", False),
    ("192.0.0.9/32", True),
    ("192.0.0.10/32", True),
    ("192.0.0.170/32", False),
    ("192.0.0.171/32", False),
    ("192.0.2.0/24", False),
    ("192.31.196.0/24", True),
    ("192.52.193.0/24", True),
    ("192.88.99.0/24", False),  # deprecated relays of 6to4
    ("192.168.0.0/16", False),
    ("192.175.48.0/24", True),
    ("198.18.0.0/15", False),
    ("198.51.100.0/24", False),
    ("203.0.113.0/24", False),
    ("224.0.0.0/4", False),
    ("240.0.0.0/4", False),
    ("255.255.255.255/32", False),
)
IPV6_REGISTRY = (
    ("::/128", False),
    ("::1/128", False),
    ("::/96", False),  # IPv4-compatible
    ("::ffff:0:0:0/96", False),  # IPv4-translated
    ("64:ff9b:1::/48", False),
    ("100::/64", False),
    ("100:0:0:1::/64", False),
    ("2001::/23", False),
    ("2001::/32", False),  # Teredo
    ("2001:1::1/128", True),
    ("2001:1::2/128", True),
    ("2001:1::3/128", True),
    ("2001:2::/48", False),
    ("2001:3::/32", True),
    ("2001:4:112::/48", True),
    ("2001:10::/28", False),
    ("2001:20::/28", True),
    ("2001:30::/28", True),
    ("2001:db8::/32", False),
    ("2002::/16", False),  # 6to4
    ("2620:4f:8000::/48", True),
    ("3fff::/20", False),
    ("5f00::/16", False),
    ("fc00::/7", False),
    ("fe80::/10", False),
    ("fec0::/10", False),
    ("ff00::/8", False),
)
# Reachable by the registry, but services of the network itself: no shop is there.
NO_SHOP = (
    "192.0.0.9/32",
    "192.0.0.10/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
)
GLOBAL_UNICAST = "2000::/3"
# What `allow_private_addresses` is for.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8")
PRIVATE_IPV6 = ("::1/128", "fc00::/7")
METADATA = (
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:a9fe:a9fe::1",
    "fd00:42::42",
    "fd00:100::100:200",
    "fe80::a9fe:a9fe",
)

Address = IPv4Address | IPv6Address


def within(address: Address, network: str) -> bool:
    """Whether the first bits are those of the network."""
    base, _, length = network.partition("/")
    parsed = IPv6Address(base) if ":" in base else IPv4Address(base)
    shift = parsed.max_prefixlen - int(length)
    return parsed.version == address.version and int(address) >> shift == int(parsed) >> shift


def is_reachable(address: Address) -> bool:
    """What the most specific entry of the registries says, whatever the address carries."""
    registry = IPV4_REGISTRY if address.version == 4 else IPV6_REGISTRY
    found = [entry for entry in registry if within(address, entry[0])]
    if found:
        return max(found, key=lambda entry: int(entry[0].partition("/")[2]))[1]
    return address.version == 4 or within(address, GLOBAL_UNICAST)


def carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that hosts and gateways send to instead, where there is one."""
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if number >> 32 in (0xFFFF, 0x0064_FF9B << 64):
        return last
    # The universal and the group bit do not matter to ISATAP.
    if (number >> 32) & 0xFDFF_FFFF == 0x0000_5EFE:
        return last
    return None


def may_be_dialled(address: Address) -> bool:
    """The oracle: globally reachable unicast all the way down, and no service of the network."""
    inner = carried(address) if isinstance(address, IPv6Address) else None
    if inner is not None and not may_be_dialled(inner):
        return False
    if isinstance(address, IPv6Address) and int(address) >> 32 in (0xFFFF, 0x0064_FF9B << 64):
        return True
    return is_reachable(address) and not any(within(address, network) for network in NO_SHOP)


def embeddings(address: IPv4Address) -> list[IPv6Address]:
    """Every standard way to carry an IPv4 address inside an IPv6 one."""
    number = int(address)
    shop = int(IPv6Address("2a00:1450:4001::"))
    return [
        IPv6Address(number),
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0xFFFF << 48) | number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address(int(IPv6Address("64:ff9b:1::")) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address((0x2001 << 112) | (number << 64)),
        IPv6Address((0x2001 << 112) | (number ^ 0xFFFF_FFFF)),
        IPv6Address(shop | (0x5EFE << 32) | number),
        IPv6Address(shop | (0x0200_5EFE << 32) | number),
        IPv6Address((0xFE80 << 112) | (0x5EFE << 32) | number),
    ]


def _near(network: str) -> st.SearchStrategy[int]:
    """Numbers around both ends of a network, and inside it."""
    parsed = IPv6Network(network) if ":" in network else IPv4Network(network)
    first, last = int(parsed[0]), int(parsed[-1])
    top = 2**parsed.max_prefixlen - 1
    return st.one_of(
        st.integers(max(0, first - 2), min(top, first + 2)),
        st.integers(max(0, last - 2), min(top, last + 2)),
        st.integers(first, last),
    )


ipv4: st.SearchStrategy[IPv4Address] = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from([network for network, _ in IPV4_REGISTRY]).flatmap(_near),
).map(IPv4Address)
ipv6: st.SearchStrategy[IPv6Address] = st.one_of(
    st.integers(0, 2**128 - 1).map(IPv6Address),
    st.integers(2**125, 2**126 - 1).map(IPv6Address),
    st.sampled_from([network for network, _ in IPV6_REGISTRY]).flatmap(_near).map(IPv6Address),
    ipv4.flatmap(lambda address: st.sampled_from(embeddings(address))),
)
inside: st.SearchStrategy[Address] = st.one_of(ipv4, ipv6).filter(
    lambda address: not may_be_dialled(address)
)
loopback: st.SearchStrategy[Address] = st.one_of(
    st.just(IPv4Address("127.0.0.1")),
    st.just(IPv6Address("::1")),
    st.just(IPv4Address("0.0.0.0")),
    st.just(IPv6Address("::")),
    st.just(IPv6Address("::ffff:127.0.0.1")),
    st.just(IPv6Address("::ffff:0.0.0.0")),
    st.ip_addresses(network=IPv4Network("127.0.0.0/8")),
)


def spelled(address: Address, choose: random.Random) -> str:
    """One of the ways in which resolvers and URLs take an address; without brackets."""
    return _ipv4_text(address, choose) if address.version == 4 else _ipv6_text(address, choose)


def _ipv4_text(address: Address, choose: random.Random) -> str:
    """One to four numbers, the last one filling what is left, each in any radix."""
    packed = list(address.packed)
    parts = choose.randint(1, 4)
    numbers = [*packed[: parts - 1], int.from_bytes(bytes(packed[parts - 1 :]), "big")]
    return ".".join(_number(number, choose) for number in numbers)


def _number(number: int, choose: random.Random) -> str:
    zeros = "0" * choose.choice([0, 0, 1, 12])
    return choose.choice(
        [str(number), f"0{zeros}{number:o}", f"0x{zeros}{number:x}", f"0X{zeros}{number:X}"]
    )


def _ipv6_text(address: Address, choose: random.Random) -> str:
    groups = address.exploded.split(":")
    tail = str(IPv4Address(int(address) & 0xFFFF_FFFF))
    text = choose.choice(
        [
            address.compressed,
            address.exploded,
            ":".join(group.lstrip("0") or "0" for group in groups),
            ":".join([*groups[:6], tail]),
        ]
    )
    zone = choose.choice(["", "", "", "%lo", "%1"])
    return choose.choice([text, text.upper()]) + zone
