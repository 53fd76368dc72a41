"""One store's API: what is sent, what is retried, what is refused, and that no key gets out."""

from __future__ import annotations

import base64
import gzip
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.products.answers import (
    StoreRefusedError,
    StoreUnavailableError,
    Trouble,
)
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.stores import MissingSecretError
from catalog_pipeline_tests.products.wordpress import (
    KEY,
    SECRET,
    client_of,
    recorded,
    reply,
    scripted,
    store,
)

BASIC = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()


def test_keys_travel_in_the_authorization_header_alone() -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return reply([])

    with client_of(handle, headers={"X-Shop": "a"}) as client:
        client.get("/wp-json/wc/v3/products", {"page": 1}, expect=list)
    (request,) = asked
    assert request.headers["authorization"] == f"Basic {BASIC}"
    assert str(request.url) == "https://shop.example.com/wp-json/wc/v3/products?page=1"
    assert request.headers["x-shop"] == "a"
    assert request.headers.get_list("user-agent") == [client.user_agent]
    assert client.user_agent.startswith("catalog-pipeline/")
    assert request.method == "GET"
    assert request.headers["accept"] == "application/json"
    assert request.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(("patience", "connect", "read"), [(None, 10, 60), (30, 10, 15), (6, 3, 3)])
def test_no_part_of_a_request_takes_all_of_its_time(
    patience: float | None, connect: float, read: float
) -> None:
    allowed: list[dict[str, float | None]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        allowed.append(request.extensions["timeout"])
        return reply([])

    with StoreClient(store(), transport=httpx.MockTransport(handle), patience=patience) as client:
        client.get("/x", expect=list)
    # However many connections there are, a thread has its slot before it asks for one.
    assert allowed == [{"connect": connect, "read": read, "write": read, "pool": None}]


def test_closing_twice_is_harmless() -> None:
    with client_of(scripted(reply([]))) as client:
        client.get("/x", expect=list)
        client.close()
        client.close()


def test_a_stores_own_user_agent_is_used() -> None:
    with client_of(scripted(reply([])), user_agent="Shop/1") as client:
        assert client.user_agent == "Shop/1"


@pytest.mark.parametrize("echo", [KEY, SECRET, BASIC])
def test_no_key_gets_out(echo: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers: list[httpx.Response | Exception] = [
        reply({"code": f"x{echo}", "message": f"you sent {echo}"}, 401),
        reply({"code": "x", "message": f"you sent {echo}"}, 500),
        reply({"code": "x", "message": "y" * 290 + echo}, 403),
        httpx.Response(200, content=f"<html><title>{echo}</title>".encode()),
        httpx.Response(302, headers={"Location": f"https://x.example/?k={echo}"}),
        httpx.ReadError(f"while sending {echo}"),
        httpx.InvalidURL(f"bad {echo}"),
    ]
    told = []
    for answer in answers:
        with (
            client_of(scripted(answer)) as client,
            pytest.raises((StoreRefusedError, StoreUnavailableError)) as found,
        ):
            client.get("/x", expect=list)
        error = found.value
        assert isinstance(error, (StoreRefusedError, StoreUnavailableError))
        told += [str(error), repr(error), repr(error.facts), repr(client), repr(error.__cause__)]
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__
    for text in [*told, caplog.text]:
        assert echo not in text
        assert echo[:8] not in text


@pytest.mark.parametrize("name", ["KEY", "SECRET"])
def test_a_missing_key_is_found_only_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(f"CANARY_{name}")
    with (
        client_of(scripted(reply([]))) as client,
        pytest.raises(MissingSecretError, match=f"consumer_{name.lower()}: .*CANARY_{name}"),
    ):
        client.get("/x", expect=list)


def test_a_wrong_certificate_file_is_named(tmp_path: Path) -> None:
    for name, content in (("absent.pem", None), ("junk.pem", "nonsense")):
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        with (
            StoreClient(store(ca_file=path)) as client,
            pytest.raises(ConfigurationError, match=name),
        ):
            client.get("/x", expect=list)


def test_recorded_refusals_carry_code_and_message(shared_data: Path) -> None:
    for name, code in (
        ("auth_wrong_secret", "woocommerce_rest_authentication_error"),
        ("auth_unknown_key", "woocommerce_rest_cannot_view"),
        ("auth_key_of_customer_products", "woocommerce_rest_cannot_view"),
        ("err_no_route", "rest_no_route"),
        ("products_orderby_bad", "rest_invalid_param"),
    ):
        with (
            client_of(scripted(recorded(shared_data, name))) as client,
            pytest.raises(StoreRefusedError) as found,
        ):
            client.get("/x", expect=list)
        assert found.value.facts.code == code
        assert found.value.facts.message


@pytest.fixture
def fast_client(httpserver: HTTPServer) -> Iterator[StoreClient]:
    """Over a real socket, with waits too short to be noticed."""
    settings = store(url=httpserver.url_for("").rstrip("/"), allow_private_addresses=True)
    with StoreClient(settings, retry_waits=(0.001, 0.001)) as client:
        yield client


def test_over_a_real_connection(httpserver: HTTPServer, fast_client: StoreClient) -> None:
    packed = gzip.compress(b'[{"id": 1}]')
    httpserver.expect_request("/p").respond_with_data(packed, headers={"Content-Encoding": "gzip"})
    answer = fast_client.get("/p", expect=list)
    assert answer.body == b'[{"id": 1}]'
    assert fast_client.counters()["bytes"] == len(packed)


def test_a_reset_in_the_middle_is_tried_again(
    httpserver: HTTPServer, fast_client: StoreClient
) -> None:
    calls = 0

    def handle(_request: Request) -> Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            # Announces more than it sends, so that the connection ends too early.
            return Response(b'[{"id"', headers={"Content-Length": "100"})
        return Response(b'[{"id": 1}]')

    httpserver.expect_request("/p").respond_with_handler(handle)
    assert fast_client.get("/p", expect=list).data == [{"id": 1}]
    assert calls == 2


def test_broken_networks_are_told_apart() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    cases = {
        f"http://127.0.0.1:{port}": Trouble.CONNECTION_REFUSED,
        "https://no-such-host.invalid": Trouble.DNS,
        f"https://{'a' * 64}.example": Trouble.DNS,
    }
    for url, trouble in cases.items():
        settings = store(url=url, allow_private_addresses=True)
        with (
            StoreClient(settings, retry_waits=()) as client,
            pytest.raises(StoreUnavailableError) as found,
        ):
            client.get("/x", expect=list)
        assert found.value.trouble is trouble
        assert settings.url in str(found.value)


def test_a_private_authority_is_trusted_only_through_its_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with HTTPServer(host="localhost", ssl_context=context) as server:
        server.expect_request("/p").respond_with_data("[1]")
        url = f"https://localhost:{server.port}"
        private = store(url=url, allow_private_addresses=True)
        trusting = private.model_copy(update={"ca_file": ca_file})
        with StoreClient(trusting, retry_waits=()) as client:
            assert client.get("/p", expect=list).data == [1]
        with (
            StoreClient(private, retry_waits=()) as client,
            pytest.raises(StoreRefusedError, match="certificate is not valid") as found,
        ):
            client.get("/p", expect=list)
    assert found.value.trouble is Trouble.TLS
