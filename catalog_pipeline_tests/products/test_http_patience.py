"""Asking a store for what nobody waits for any more, and for longer than it may take."""

from __future__ import annotations

import threading

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog_pipeline.products.ahead import GivenUpError
from catalog_pipeline.products.answers import (
    Facts,
    StoreUnavailableError,
    Trouble,
)
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline_tests.products.wordpress import (
    SHOP,
    FakeTime,
    client_of,
    reply,
    scripted,
    store,
)


def test_what_nobody_waits_for_is_not_asked() -> None:
    given_up = threading.Event()
    given_up.set()
    with client_of(scripted(reply([]))) as client:
        with pytest.raises(GivenUpError):
            client.get("/x", expect=list, given_up=given_up)
        assert client.counters()["requests"] == 0


@pytest.mark.parametrize(
    ("answer", "pace"), [(reply([]), 0.1), (reply({}, 503), 1000)], ids=["its turn", "a retry"]
)
def test_a_wait_ends_soon_after_it_is_given_up(answer: httpx.Response, pace: float) -> None:
    fake, given_up = FakeTime(), threading.Event()

    def sleep(seconds: float) -> None:
        fake.sleep(seconds)
        given_up.set()

    client = StoreClient(
        store(requests_per_second=pace),
        transport=httpx.MockTransport(scripted(answer)),
        sleep=sleep,
        clock=fake.clock,
    )
    with client:
        with pytest.raises(GivenUpError):
            for _ in range(2):
                client.get("/x", expect=list, given_up=given_up)
        assert client.counters()["requests"] == 1
    assert fake.slept == [0.1]


def test_an_answer_that_is_given_up_is_not_read(httpserver: HTTPServer) -> None:
    given_up = threading.Event()

    def handle(_request: Request) -> Response:
        given_up.set()
        return Response(b"[]")

    httpserver.expect_request("/p").respond_with_handler(handle)
    settings = store(url=httpserver.url_for("").rstrip("/"), allow_private_addresses=True)
    with StoreClient(settings) as client, pytest.raises(GivenUpError):
        client.get("/p", expect=list, given_up=given_up)


def test_what_broke_because_it_was_given_up_is_no_failure() -> None:
    given_up = threading.Event()

    def handle(_request: httpx.Request) -> httpx.Response:
        given_up.set()
        raise httpx.ReadError("cut")

    transport = httpx.MockTransport(handle)
    with (
        StoreClient(store(), transport=transport, retry_waits=()) as client,
        pytest.raises(GivenUpError),
    ):
        client.get("/x", expect=list, given_up=given_up)


def test_a_store_may_take_its_pace_and_half_a_minute_for_each_request() -> None:
    fake = FakeTime()
    taken = iter([1_800.0 + 130, 141.0])

    def handle(_request: httpx.Request) -> httpx.Response:
        fake.now += next(taken)
        return reply([])

    client = StoreClient(
        store(requests_per_second=0.01),
        transport=httpx.MockTransport(handle),
        patience=10_000,
        sleep=fake.sleep,
        clock=fake.clock,
    )
    with client:
        client.get("/x", expect=list)
        client.get("/x", expect=list)
        said = f"{SHOP} is too slow to be read: 2 requests took 35 minutes; .* is kept$"
        with pytest.raises(StoreUnavailableError, match=said) as found:
            client.get("/x", expect=list)
    assert (found.value.trouble, found.value.facts) == (Trouble.TIMEOUT, Facts())
