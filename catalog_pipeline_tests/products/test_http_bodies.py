"""What one store's API answers: bodies too long, too slow or packed, and what is no data at all."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx
import pytest

from catalog_pipeline.products import http
from catalog_pipeline.products.answers import (
    Facts,
    StoreRefusedError,
    StoreUnavailableError,
    Trouble,
)
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline_tests.products.wordpress import (
    HTML,
    KEY,
    SHOP,
    FakeTime,
    client_of,
    reply,
    scripted,
    store,
)


def test_an_endless_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 3 * 2**20)
    served = 0

    def chunks() -> Iterator[bytes]:
        nonlocal served
        while True:
            served += 1
            yield b" " * 100_000

    with (
        client_of(lambda _request: httpx.Response(200, content=chunks())) as client,
        pytest.raises(StoreRefusedError, match=f"{SHOP}/x sent more than 3 MiB") as found,
    ):
        client.get("/x", expect=list)
    assert (found.value.trouble, found.value.facts.status) == (Trouble.TOO_LARGE, 200)
    assert served < 40


def test_a_body_of_the_largest_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1_000)
    body = b"[" + b" " * 998 + b"]"
    pieces = httpx.Response(200, content=iter([body[:1], body[1:999], body[999:]]))
    with client_of(scripted(pieces)) as client:
        assert client.get("/x", expect=list).body == body


def test_a_dripping_body_ends() -> None:
    fake = FakeTime()

    def drip() -> Iterator[bytes]:
        while True:
            fake.now += 50
            yield b" "

    with (
        StoreClient(
            store(),
            transport=httpx.MockTransport(lambda _request: httpx.Response(200, content=drip())),
            retry_waits=(),
            patience=120,
            sleep=fake.sleep,
            clock=fake.clock,
        ) as client,
        pytest.raises(StoreUnavailableError, match="not all there after 120 s") as found,
    ):
        client.get("/x", expect=list)
    assert found.value.trouble is Trouble.TIMEOUT
    assert fake.now == 1000 + 150


@pytest.mark.parametrize("coding", ["gzip, gzip", "z" * 99])
def test_a_coding_that_could_hide_gigabytes_is_not_unpacked(coding: str) -> None:
    packed = gzip.compress(gzip.compress(b"[]"))
    with (
        client_of(
            lambda _request: httpx.Response(
                200, content=iter([packed]), headers={"Content-Encoding": coding}
            )
        ) as client,
        pytest.raises(StoreUnavailableError, match=f"{SHOP}/x: .*'{coding[:40]}'") as found,
    ):
        client.get("/x", expect=list)
    assert (found.value.trouble, found.value.facts) == (Trouble.BROKEN, Facts())


@pytest.mark.parametrize(
    ("body", "trouble", "described"),
    [
        (HTML, Trouble.NOT_JSON, "with an HTML page titled 'Under maintenance'"),
        (b"[" * 100_000, Trouble.NOT_JSON, "with JSON that is nested too deeply to be read"),
        (b'{"id": 1}', Trouble.UNEXPECTED_JSON, "with a JSON object"),
        (b'{"code": "oops", "message": "db"}', Trouble.UNEXPECTED_JSON, "oops: db"),
    ],
    ids=["page", "deep", "object", "error"],
)
def test_what_came_instead_of_data_is_described(
    body: bytes, trouble: Trouble, described: str
) -> None:
    with (
        client_of(scripted(httpx.Response(200, content=body))) as client,
        pytest.raises(StoreUnavailableError) as found,
    ):
        client.get("/x", expect=list)
    assert f"{SHOP}/x answered 200 {described} instead of data" in str(found.value)
    assert (found.value.trouble, found.value.facts.status) == (trouble, 200)


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
    given = httpx.Response(200, content=body, headers={"X-WP-Total": "7"})
    with client_of(scripted(given)) as client:
        answer = client.get("/x", expect=list)
    assert answer.data == [{"id": 7}]
    assert answer.body == body
    assert answer.number("x-wp-total") == 7


def test_an_answer_that_repeats_a_key_is_used_without_it() -> None:
    with client_of(scripted(reply([{"sku": KEY}], headers={"X-WP-Total": "1"}))) as client:
        answer = client.get("/x", expect=list)
    assert answer.data == [{"sku": "[secret]"}]
    assert answer.number("x-wp-total") == 1
