"""Which addresses are public, held against IANA's registries over the whole space."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog_pipeline.network.addresses import Reach, reach
from catalog_pipeline_tests.network.forms import (
    METADATA,
    PRIVATE,
    PRIVATE_IPV6,
    Address,
    carried,
    embeddings,
    ipv4,
    ipv6,
    may_be_dialled,
    within,
)


@settings(max_examples=500)
@given(ipv4)
def test_an_ipv4_address_is_public_exactly_where_the_registries_say_so(
    address: IPv4Address,
) -> None:
    assert (reach(address) is Reach.PUBLIC) == may_be_dialled(address)


@settings(max_examples=700)
@given(ipv6)
def test_an_ipv6_address_is_public_exactly_where_the_registries_say_so(
    address: IPv6Address,
) -> None:
    assert (reach(address) is Reach.PUBLIC) == may_be_dialled(address)


@given(ipv4)
@example(IPv4Address("127.0.0.1"))
@example(IPv4Address("169.254.169.254"))
def test_an_address_of_the_inside_is_refused_in_every_embedding(address: IPv4Address) -> None:
    if not may_be_dialled(address):
        for embedded in embeddings(address):
            assert reach(embedded) is not Reach.PUBLIC, embedded


@given(st.one_of(ipv4, ipv6))
def test_what_is_public_is_so_to_python_too(address: Address) -> None:
    if reach(address) is Reach.PUBLIC:
        judged: Address = address
        if isinstance(address, IPv6Address) and (inner := carried(address)) is not None:
            judged = inner
        assert judged.is_global
        assert not judged.is_multicast


@settings(max_examples=300)
@given(st.one_of(ipv4, ipv6))
def test_a_store_can_be_allowed_private_networks_and_nothing_more(address: Address) -> None:
    if reach(address) is Reach.PRIVATE:
        inner = carried(address) if isinstance(address, IPv6Address) else None
        judged = inner or address
        assert any(within(judged, network) for network in (*PRIVATE, *PRIVATE_IPV6)), address


@pytest.mark.parametrize("network", [*PRIVATE, *PRIVATE_IPV6])
def test_private_networks_can_be_allowed(network: str) -> None:
    address = network.partition("/")[0]
    assert reach(address) is Reach.PRIVATE
    if "." in address:
        assert reach(f"::ffff:{address}") is Reach.PRIVATE


@pytest.mark.parametrize("address", METADATA)
def test_no_setting_opens_the_metadata_services_of_clouds(address: str) -> None:
    assert reach(address) is Reach.NEVER
    if isinstance(parsed := ip_address(address), IPv4Address):
        for embedded in embeddings(parsed):
            assert reach(embedded) is Reach.NEVER, embedded


@pytest.mark.parametrize(
    "address", ["fd00:c1::1", "fd00:a9fe:a9fe::2", "fd00:42::1", "fd00:100::1", "fd00::1"]
)
def test_a_private_network_that_looks_like_a_clouds_can_be_allowed(address: str) -> None:
    assert reach(address) is Reach.PRIVATE


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "142.250.74.46", "2606:4700:4700::1111", "2a00:1450:4001:81b::2003"],
)
def test_addresses_of_real_servers_are_public(text: str) -> None:
    assert reach(text) is Reach.PUBLIC


@pytest.mark.parametrize(
    "text", ["", "localhost", "0x7f.1", "2130706433", "2a00::1%eth0", "::1%1", "::ffff:1.1.1.1%lo"]
)
def test_text_that_is_no_canonical_address_is_refused(text: str) -> None:
    assert reach(text) is Reach.NEVER
