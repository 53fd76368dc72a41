"""One store's API: what is sent, what is retried, what is refused, and that no key gets out."""

from __future__ import annotations

import base64
import gzip
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog_pipeline.errors import ConfigurationError, PermanentError, TransientError
from catalog_pipeline.network.retry_after import retry_after
from catalog_pipeline.products import http
from catalog_pipeline.products.answers import StoreRefusedError, StoreUnavailableError, Trouble
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.stores import MissingSecretError
from catalog_pipeline_tests.products.wordpress import (
    KEY,
    SECRET,
    FakeTime,
    Handler,
    recorded,
    reply,
    store,
)

BASIC = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
HTML = b"<!DOCTYPE html><html><head><title>Under maintenance</title></head></html>"


def client_of(handler: Handler, fake: FakeTime | None = None, **settings: Any) -> StoreClient:
    fake = fake or FakeTime()
    return StoreClient(
        store(**settings),
        transport=httpx.MockTransport(handler),
        sleep=fake.sleep,
        clock=fake.clock,
    )


def scripted(*answers: httpx.Response | Exception) -> Handler:
    """Gives one answer after the other, the last one for ever."""
    queue = list(answers)

    def handle(_request: httpx.Request) -> httpx.Response:
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle


def test_keys_travel_in_the_authorization_header_alone() -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return reply([])

    with client_of(handle, headers={"X-Shop": "a", "user-agent": "mine"}) as client:
        client.get("/wp-json/wc/v3/products", {"page": 1}, expect=list)
    (request,) = asked
    assert request.headers["authorization"] == f"Basic {BASIC}"
    assert str(request.url) == "https://shop.example.com/wp-json/wc/v3/products?page=1"
    assert request.headers["x-shop"] == "a"
    assert request.headers.get_list("user-agent") == [client.user_agent]
    assert client.user_agent.startswith("catalog-pipeline/")


def test_a_stores_own_user_agent_is_used() -> None:
    with client_of(scripted(reply([])), user_agent="Shop/1") as client:
        assert client.user_agent == "Shop/1"


@pytest.mark.parametrize(
    "first",
    [
        reply({}, 408),
        reply({}, 429),
        reply({}, 500),
        reply({}, 503),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("cut"),
        httpx.ConnectTimeout("slow"),
        httpx.Response(200, content=b"[{"),
        httpx.Response(200, content=b""),
        httpx.Response(200, content=HTML),
        httpx.Response(200, content=iter([b"nope"]), headers={"Content-Encoding": "gzip"}),
        httpx.Response(200, content=iter([b"x"]), headers={"Content-Encoding": "zstd"}),
        reply({"code": "internal", "message": "no"}),
    ],
    ids=repr,
)
def test_passing_trouble_is_tried_again(first: httpx.Response | Exception) -> None:
    fake = FakeTime()
    with client_of(scripted(first, reply([{"id": 1}])), fake) as client:
        assert client.get("/x", expect=list).data == [{"id": 1}]
        counters = client.counters()
    assert fake.slept == [1.0]
    assert (counters["requests"], counters["retries"]) == (2, 1)


def test_the_waits_grow_and_end() -> None:
    fake = FakeTime()
    with client_of(scripted(reply({"code": "oops", "message": "db"}, 500)), fake) as client:
        with pytest.raises(StoreUnavailableError, match=r"500 oops: db \(tried 5 times\)") as found:
            client.get("/x", expect=list)
        assert client.counters()["requests"] == 5
    assert fake.slept == [1.0, 2.0, 4.0, 8.0]
    assert isinstance(found.value, TransientError)
    assert found.value.trouble is Trouble.SERVER_ERROR


@pytest.mark.parametrize("status", [301, 302, 304, 400, 401, 403, 404, 405, 406, 414, 455])
def test_refusals_are_not_tried_again(status: int) -> None:
    fake = FakeTime()
    refusal = {"code": "rest_x", "message": "Sorry, <b>no</b>.", "data": {"status": status}}
    with client_of(scripted(reply(refusal, status)), fake) as client:
        with pytest.raises(StoreRefusedError) as found:
            client.get("/x", expect=list)
        assert client.counters()["requests"] == 1
    assert isinstance(found.value, PermanentError)
    facts = found.value.facts
    assert (facts.status, facts.code, facts.message) == (status, "rest_x", "Sorry, no.")
    assert str(status) in str(found.value)
    assert fake.slept == []


def test_redirects_are_never_followed() -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(301, headers={"Location": "https://elsewhere.example/wp-json/"})

    with client_of(handle) as client, pytest.raises(StoreRefusedError) as found:
        client.get("/x", expect=list)
    assert asked == ["shop.example.com"]
    assert found.value.trouble is Trouble.REDIRECTED
    assert "https://elsewhere.example/wp-json/" in str(found.value)


@pytest.mark.parametrize(
    ("header", "waited"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("9999", 120.0),
        ("Fri, 20 Nov 2026 06:00:09 GMT", 9.0),
        ("Fri, 20 Nov 2026 05:59:00 GMT", 1.0),
        ("0", 1.0),
        ("-5", 1.0),
        ("soon", 1.0),
        ("nan", 1.0),
        ("1e99", 1.0),
        ("", 1.0),
        ("9" * 400, 1.0),
    ],
)
def test_retry_after_is_obeyed_or_ignored(header: str, waited: float) -> None:
    fake = FakeTime()
    busy = reply({}, 429, {"Retry-After": header})
    with client_of(scripted(busy, reply([])), fake) as client:
        client.get("/x", expect=list)
        assert client.counters()["throttles"] == 1
    assert sum(fake.slept) == pytest.approx(waited)


@given(st.text(max_size=40))
def test_no_retry_after_is_harmful(header: str) -> None:
    seconds = retry_after(header, datetime(2026, 11, 20, tzinfo=UTC))
    assert seconds is None or 0 < seconds <= 120


def test_what_asks_for_a_pause_pauses_every_thread() -> None:
    fake = FakeTime()
    asked: list[float] = []

    def handle(_request: httpx.Request) -> httpx.Response:
        asked.append(fake.now)
        return reply([], 429, {"Retry-After": "30"}) if len(asked) == 1 else reply([])

    client = StoreClient(
        store(),
        transport=httpx.MockTransport(handle),
        retry_waits=(),
        sleep=fake.sleep,
        clock=fake.clock,
    )
    with client:
        with pytest.raises(StoreUnavailableError):
            client.get("/x", expect=list)
        client.get("/x", expect=list)
    assert asked[1] - asked[0] == pytest.approx(30)


def test_requests_are_spaced() -> None:
    fake = FakeTime()
    with client_of(scripted(reply([])), fake, requests_per_second=4) as client:
        for _ in range(5):
            client.get("/x", expect=list)
    assert fake.now - 1000 == pytest.approx(1.0)


def test_connections_are_limited_across_threads() -> None:
    lock = threading.Lock()
    active = highest = 0

    def handle(_request: httpx.Request) -> httpx.Response:
        nonlocal active, highest
        with lock:
            active += 1
            highest = max(highest, active)
        time.sleep(0.02)
        with lock:
            active -= 1
        return reply([])

    client = StoreClient(store(connections=2), transport=httpx.MockTransport(handle))
    with client:
        threads = [
            threading.Thread(target=client.get, args=("/x",), kwargs={"expect": list})
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.counters()["requests"] == 8
    assert highest == 2


def test_an_endless_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 100_000)
    served = 0

    def chunks() -> Iterator[bytes]:
        nonlocal served
        while True:
            served += 1
            yield b" " * 10_000

    with (
        client_of(lambda _request: httpx.Response(200, content=chunks())) as client,
        pytest.raises(StoreRefusedError, match="more than") as found,
    ):
        client.get("/x", expect=list)
    assert found.value.trouble is Trouble.TOO_LARGE
    assert served < 20


def test_a_dripping_body_ends() -> None:
    fake = FakeTime()

    def drip() -> Iterator[bytes]:
        while True:
            fake.now += 50
            yield b" "

    with (
        client_of(lambda _request: httpx.Response(200, content=drip()), fake) as client,
        pytest.raises(StoreUnavailableError) as found,
    ):
        client.get("/x", expect=list)
    assert found.value.trouble is Trouble.TIMEOUT


def test_what_came_instead_of_data_is_described() -> None:
    with (
        client_of(scripted(httpx.Response(200, content=HTML))) as client,
        pytest.raises(StoreUnavailableError) as found,
    ):
        client.get("/x", expect=list)
    assert "an HTML page titled 'Under maintenance' instead of data" in str(found.value)
    assert found.value.trouble is Trouble.NOT_JSON


@pytest.mark.parametrize(
    "prefix",
    [
        b"\xef\xbb\xbf",
        b"<br />\n<b>Notice</b>: Undefined index [foo] in <b>/var/x.php</b> on line 1<br />\n",
        b"Warning: {closure}() in /a[1].php\n",
        b"\r\n\r\n",
    ],
)
def test_json_behind_a_mark_or_notices_is_found(prefix: bytes) -> None:
    body = prefix + b'[{"id": 7}]'
    with client_of(scripted(httpx.Response(200, content=body))) as client:
        answer = client.get("/x", expect=list)
    assert answer.data == [{"id": 7}]
    assert answer.body == body


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


def test_a_missing_key_is_found_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANARY_SECRET")
    with (
        client_of(scripted(reply([]))) as client,
        pytest.raises(MissingSecretError, match="CANARY_SECRET"),
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
