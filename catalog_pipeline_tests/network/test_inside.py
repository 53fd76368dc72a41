"""No store steers the pipeline inside: not by its pictures, its redirects, its API or its DNS.

The whole way is taken, from a URL to the socket; a canary on loopback sees no one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog_pipeline.errors import CatalogError
from catalog_pipeline.images.download import (
    FORBIDDEN_ADDRESS,
    MAX_REDIRECTS,
    PRIVATE_ADDRESS,
    Downloader,
)
from catalog_pipeline.products.answers import StoreRefusedError, StoreUnavailableError, Trouble
from catalog_pipeline.products.check import Finding, check_store
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.network.forms import METADATA, Address, inside, loopback, spelled
from catalog_pipeline_tests.network.internet import Canary, Internet

KEY, SECRET = "ck_canary_0c1e", "cs_canary_77aa"
targets = st.one_of(loopback, inside)
many = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    monkeypatch.setenv("SHOP_SECRET", SECRET)


@pytest.fixture
def shop(httpserver: HTTPServer, internet: Internet) -> Iterator[HTTPServer]:
    """The server of shop.example, at a public address of the world outside."""
    internet.port = httpserver.port
    internet.names["shop.example"] = [["1.1.1.1"]]
    yield httpserver
    assert all(address == "1.1.1.1" for address in internet.dialled), internet.dialled


def store(**settings: Any) -> StoreConfig:
    return StoreConfig.model_validate(
        {
            "id": "shop",
            "url": "https://shop.example",
            "consumer_key": {"env": "SHOP_KEY"},
            "consumer_secret": {"env": "SHOP_SECRET"},
            "requests_per_second": 1000,
            **settings,
        }
    )


def netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@many
@given(target=targets, choose=st.randoms(use_true_random=False))
def test_no_picture_is_fetched_from_inside(
    canary: Canary, internet: Internet, target: Address, choose: random.Random
) -> None:
    url = f"http://{netloc(spelled(target, choose), canary.port)}/a.jpg"
    with Downloader(store(image_ports=[canary.port]), sleep=lambda _: None) as downloader:
        found = downloader.fetch(url)
    assert found.outcome in ("refused", "failed")
    assert found.reason in (PRIVATE_ADDRESS, FORBIDDEN_ADDRESS, "unknown host", "unusable URL")
    assert internet.dialled == []
    assert canary.visits == 0


@many
@given(target=targets, choose=st.randoms(use_true_random=False), hops=st.integers(0, 2))
def test_no_redirect_leads_inside(
    canary: Canary, shop: HTTPServer, target: Address, choose: random.Random, hops: int
) -> None:
    places = [f"/{hop}.jpg" for hop in range(1, hops + 1)]
    places.append(f"http://{netloc(spelled(target, choose), canary.port)}/a.jpg")
    shop.clear()
    for hop, place in enumerate(places):
        shop.expect_request(f"/{hop}.jpg").respond_with_data(
            b"", status=choose.choice([301, 302, 303, 307, 308]), headers={"Location": place}
        )
    ports = [shop.port, canary.port]
    with Downloader(store(image_ports=ports), sleep=lambda _: None) as downloader:
        found = downloader.fetch(f"http://shop.example:{shop.port}/0.jpg")
    assert found.outcome in ("refused", "failed")
    assert len(shop.log) == hops + 1
    assert canary.visits == 0


@many
@given(target=targets, choose=st.randoms(use_true_random=False))
def test_no_api_is_asked_inside(
    canary: Canary, internet: Internet, target: Address, choose: random.Random
) -> None:
    host = spelled(target, choose)
    try:
        settings = store(url=f"https://{netloc(host, canary.port)}")
    except ValueError:
        # `stores.yaml` does not take such an address at all.
        return
    with StoreClient(settings, retry_waits=()) as client:
        with pytest.raises(CatalogError) as found:
            client.get("/wp-json/wc/v3/products", expect=list)
    assert isinstance(found.value, (StoreRefusedError, StoreUnavailableError))
    assert found.value.trouble in (Trouble.GUARDED, Trouble.DNS, Trouble.BAD_ADDRESS)
    assert internet.dialled == []
    assert canary.visits == 0


@many
@given(target=targets, beside=st.lists(st.sampled_from(["1.1.1.1", "2606:4700::1111"])))
def test_no_name_leads_inside(
    canary: Canary, internet: Internet, target: Address, beside: list[str]
) -> None:
    internet.names["shop.example"] = [[*beside, str(target)]]
    config = store(url=f"https://shop.example:{canary.port}", image_ports=[canary.port])
    with Downloader(config, sleep=lambda _: None) as downloader:
        found = downloader.fetch("/a.jpg")
    assert (found.outcome, found.reason) in (
        ("refused", PRIVATE_ADDRESS),
        ("refused", FORBIDDEN_ADDRESS),
    )
    with StoreClient(config, retry_waits=()) as client:
        with pytest.raises(StoreRefusedError, match=r"shop\.example leads to") as refusal:
            client.get("/wp-json/wc/v3/products", expect=list)
    assert refusal.value.trouble is Trouble.GUARDED
    assert internet.dialled == []
    assert canary.visits == 0


def test_a_name_that_moves_inside_between_two_connections_is_refused(
    canary: Canary, shop: HTTPServer, internet: Internet
) -> None:
    shop.expect_request("/a.jpg").respond_with_data(b"\xff\xd8\xff")
    internet.names["shop.example"] = [["1.1.1.1"], ["127.0.0.1"]]
    ports = [shop.port, canary.port]
    with Downloader(store(image_ports=ports), sleep=lambda _: None) as downloader:
        first = downloader.fetch(f"http://shop.example:{shop.port}/a.jpg")
        second = downloader.fetch(f"http://shop.example:{canary.port}/a.jpg")
    assert (first.outcome, second.reason) == ("fetched", PRIVATE_ADDRESS)
    assert internet.resolved == ["shop.example"] * 2
    assert canary.visits == 0


def test_host_and_server_stay_those_of_the_url(shop: HTTPServer) -> None:
    shop.expect_request("/a.jpg").respond_with_data(b"\xff\xd8\xff")
    with Downloader(store(image_ports=[shop.port])) as downloader:
        downloader.fetch(f"http://shop.example:{shop.port}/a.jpg")
    assert shop.log[0][0].headers["Host"] == f"shop.example:{shop.port}"


def test_at_most_three_redirects_are_followed(shop: HTTPServer) -> None:
    def on(request: Request) -> Response:
        return Response(b"", 302, headers={"Location": f"{request.path}x"})

    shop.expect_request("/a").respond_with_handler(on)
    for times in range(1, 9):
        shop.expect_request("/a" + "x" * times).respond_with_handler(on)
    with Downloader(store(image_ports=[shop.port])) as downloader:
        found = downloader.fetch(f"http://shop.example:{shop.port}/a")
    assert (found.outcome, found.reason) == ("refused", "too many redirects")
    assert len(shop.log) == 1 + MAX_REDIRECTS == 4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_keys_follow_no_redirect(canary: Canary, httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/p").respond_with_data(
        b"", status=status, headers={"Location": f"http://127.0.0.1:{canary.port}/p"}
    )
    # Private addresses are allowed, so that nothing but the rule itself is in the way.
    private = store(url=httpserver.url_for("").rstrip("/"), allow_private_addresses=True)
    with StoreClient(private, retry_waits=()) as client:
        with pytest.raises(StoreRefusedError, match="keys never follow") as found:
            client.get("/p", expect=list)
    assert found.value.trouble is Trouble.REDIRECTED
    assert ["Authorization" in request.headers for request, _ in httpserver.log] == [True]
    assert canary.visits == 0


@pytest.mark.parametrize("address", METADATA)
def test_a_store_on_a_private_network_reaches_no_metadata_service(
    internet: Internet, address: str
) -> None:
    private = store(allow_private_addresses=True)
    host = f"[{address}]" if ":" in address else address
    with Downloader(private, sleep=lambda _: None) as downloader:
        found = downloader.fetch(f"http://{host}/latest/meta-data/")
        mapped = f"[::ffff:{address}]"
        if isinstance(ip_address(address), IPv4Address):
            assert downloader.fetch(f"http://{mapped}/a.jpg") == found
    assert (found.outcome, found.reason) == ("refused", FORBIDDEN_ADDRESS)
    assert internet.dialled == []


def test_a_check_says_what_would_open_the_way(internet: Internet) -> None:
    internet.names["shop.example"] = [["10.1.2.3"]]
    result = check_store(store())
    assert result.finding is Finding.REFUSED_ADDRESS
    assert "shop.example leads to 10.1.2.3" in result.sentence
    assert "allow_private_addresses: true" in result.sentence
    assert KEY not in str(result)
    assert SECRET not in str(result)


def test_proxies_of_the_environment_see_nothing(
    canary: Canary, shop: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
        monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{canary.port}")
    shop.expect_request("/a.jpg").respond_with_data(b"\xff\xd8\xff")
    with Downloader(store(image_ports=[shop.port])) as downloader:
        assert downloader.fetch(f"http://shop.example:{shop.port}/a.jpg").outcome == "fetched"
    with StoreClient(store(url=f"https://shop.example:{shop.port}"), retry_waits=()) as client:
        # A server without TLS answers nobody who asks for it, but it was the one that was asked.
        with pytest.raises(StoreUnavailableError):
            client.get("/p", expect=list)
    assert canary.visits == 0


def test_the_canary_is_seen_when_a_store_may(internet: Internet) -> None:
    canary = Canary()
    private = store(allow_private_addresses=True, url=f"http://127.0.0.1:{canary.port}")
    with Downloader(private, sleep=lambda _: None, total_seconds=0.1) as downloader:
        downloader.fetch(f"http://0x7f.1:{canary.port}/a.jpg")
    before = canary.visits
    assert before > 0
    with StoreClient(private, retry_waits=(), patience=0.2) as client:
        with pytest.raises(StoreUnavailableError):
            client.get("/p", expect=list)
    assert canary.visits == before + 1
    canary.close()
