"""`stores check`: each way in which a store cannot be read has its own sentence."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import httpx
import pytest

from catalog_pipeline.products.check import CheckResult, Finding, check_store
from catalog_pipeline_tests.products.wordpress import (
    BASIC_CANARIES,
    FakeWoo,
    Handler,
    product,
    recorded,
    reply,
    store,
)

WORDPRESS_PAGE = b"<html><head><title>Shop</title></head><body>/wp-content/x.css</body></html>"
OTHER_PAGE = b"<html><head><title>Welcome to nginx!</title></head></html>"


def check(handler: Handler) -> CheckResult:
    transport = httpx.MockTransport(handler)
    result = check_store(store(), transport=transport, sleep=lambda _seconds: None)
    assert "\n" not in result.sentence
    assert result.sentence.endswith(".")
    assert not [key for key in BASIC_CANARIES if key in json.dumps(str(result))]
    return result


def raising(error: Exception, cause: Exception | None = None) -> Handler:
    def handle(_request: httpx.Request) -> httpx.Response:
        raise error from cause

    return handle


def page(status: int, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=body, headers={"Content-Type": "text/html", **named})


def test_a_store_that_works() -> None:
    result = check(FakeWoo([product(1), product(2)], currency="DKK"))
    assert result.ok
    assert result.finding is Finding.WORKS
    assert result.sentence == "https://shop.example.com works: 2 products, prices in DKK."
    assert result.facts == {"products": 2, "currency": "DKK"}


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("auth_wrong_secret", Finding.WRONG_SECRET),
        ("auth_unknown_key", Finding.WRONG_KEY),
        ("auth_none", Finding.WRONG_KEY),
        ("auth_key_of_customer_products", Finding.MISSING_RIGHT),
        ("auth_readonly_post", Finding.MISSING_RIGHT),
        ("err_no_route", Finding.NO_WOOCOMMERCE),
        ("err_wrong_path_404_html", Finding.CLOSED_API),
        ("err_home_html", Finding.PLAIN_PERMALINKS),
    ],
)
def test_what_a_real_server_said(shared_data: Path, name: str, finding: Finding) -> None:
    result = check(lambda _request: recorded(shared_data, name))
    assert not result.ok
    assert result.finding is finding


@pytest.mark.parametrize(
    ("answer", "finding", "words"),
    [
        (
            reply({"code": "rest_not_logged_in", "message": "Only for members."}, 401),
            Finding.CLOSED_API,
            "rest_not_logged_in: Only for members.",
        ),
        (
            reply({"code": "rest_forbidden", "message": "No."}, 403),
            Finding.CLOSED_API,
            "must let /wp-json/wc/v3/ through",
        ),
        (page(404, OTHER_PAGE), Finding.NOT_WORDPRESS, "no WordPress"),
        (page(200, OTHER_PAGE), Finding.NOT_WORDPRESS, "Welcome to nginx!"),
        (page(200, WORDPRESS_PAGE), Finding.PLAIN_PERMALINKS, "'Plain'"),
        (page(301, b"", Location="/"), Finding.PLAIN_PERMALINKS, "'Plain'"),
        (
            page(301, b"", Location="https://www.shop.example/wp-json/wc/v3/products?per_page=1"),
            Finding.MOVED,
            "redirects to https://www.shop.example;",
        ),
        (page(302, b"", Location="https://login.example/"), Finding.MOVED, "login.example"),
        (page(403, OTHER_PAGE, Server="cloudflare"), Finding.FIREWALL, "403 from cloudflare"),
        (page(401, OTHER_PAGE), Finding.CLOSED_API, "a password of its own"),
        (page(455, b""), Finding.FIREWALL, "status 455"),
        (page(406, b"Not Acceptable"), Finding.FIREWALL, "User-Agent"),
        (page(503, OTHER_PAGE, cf_mitigated="challenge"), Finding.FIREWALL, "503"),
        (reply({}, 429), Finding.THROTTLED, "429"),
        (page(500, b"There has been a critical error"), Finding.SERVER_ERROR, "critical error"),
        (reply({"code": "x", "message": "y"}), Finding.UNUSABLE_ANSWER, "x: y"),
    ],
    ids=lambda value: value.value if isinstance(value, Finding) else "",
)
def test_what_else_is_seen(answer: httpx.Response, finding: Finding, words: str) -> None:
    result = check(lambda _request: answer)
    assert result.finding is finding
    assert words in result.sentence
    assert not result.ok


def test_a_block_is_reported_fit_to_be_forwarded() -> None:
    result = check(lambda _request: page(403, OTHER_PAGE, Server="cloudflare"))
    assert result.facts["status"] == 403
    assert result.facts["server"] == "cloudflare"
    assert str(result.facts["user_agent"]).startswith("catalog-pipeline/")
    assert "T" in str(result.facts["time"])


@pytest.mark.parametrize(
    ("handler", "finding"),
    [
        (raising(httpx.ConnectTimeout("x")), Finding.UNREACHABLE),
        (raising(httpx.ReadError("reset")), Finding.UNREACHABLE),
        (raising(httpx.ConnectError("x"), ConnectionRefusedError()), Finding.WRONG_URL),
        (raising(UnicodeError("label too long")), Finding.WRONG_URL),
        (raising(httpx.InvalidURL("x")), Finding.WRONG_URL),
        (raising(httpx.ConnectError("x"), ssl.SSLCertVerificationError()), Finding.CERTIFICATE),
    ],
)
def test_broken_networks(handler: Handler, finding: Finding) -> None:
    assert check(handler).finding is finding


def test_a_key_that_may_not_see_the_currency() -> None:
    woo = FakeWoo([product(1)])
    woo.override = lambda request: (
        None
        if request.url.path.endswith("/products")
        else reply({"code": "woocommerce_rest_cannot_view", "message": "Sorry."}, 403)
    )
    result = check(woo)
    assert result.finding is Finding.MISSING_RIGHT
    assert "Shop manager" in result.sentence


def test_a_key_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANARY_KEY")
    result = check(FakeWoo([]))
    assert result.finding is Finding.MISSING_SECRET
    assert "CANARY_KEY" in result.sentence
