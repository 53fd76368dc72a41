"""What one store's API answers: bodies too long, too slow or packed, and what is no data at all."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.products import http
from catalog_pipeline.products.answers import (
    Facts,
    StoreRefusedError,
    StoreUnavailableError,
    Trouble,
)
from catalog_pipeline.products.bodies import TooManyValuesError, parse_json
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


@pytest.mark.parametrize("number", [100, 101, 70_000])
def test_more_records_than_were_asked_for_are_refused(number: int) -> None:
    with client_of(scripted(reply([{"id": one} for one in range(number)]))) as client:
        if number == 100:
            assert len(client.get("/x", {"per_page": 100}, expect=list).data) == 100
            return
        with pytest.raises(StoreRefusedError) as found:
            client.get("/x", {"per_page": 100}, expect=list)
    assert str(found.value) == (
        f"{SHOP}/x sent {number} records where 100 were asked for: something in front of the store "
        "caches answers and ignores the query; exclude /wp-json/ from that cache"
    )
    assert (found.value.trouble, found.value.facts.status) == (Trouble.TOO_LARGE, 200)
    assert client.counters()["retries"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * 600_000 + b"{}]",
        b"[" + b"[]," * 600_000 + b"[]]",
        b'{"a": [' + b'"",' * 1_100_000 + b"0]}",
        # What is text in it depends on where the JSON begins.
        b'Notice: "<br>' + b"[" + b"1," * 1_100_000 + b"1]",
        b'[" [' + b"1," * 1_100_000 + b"1]",
    ],
    ids=["objects", "lists", "texts", "behind a notice", "behind what begins a text"],
)
def test_json_that_would_fill_the_memory_is_not_read(body: bytes) -> None:
    tracemalloc.start()
    try:
        with (
            client_of(scripted(httpx.Response(200, content=body))) as client,
            pytest.raises(StoreRefusedError) as found,
        ):
            client.get("/x", expect=list)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()
    assert str(found.value) == f"{SHOP}/x sent more than 1000000 values in one answer"
    assert (found.value.trouble, found.value.facts.status) == (Trouble.TOO_LARGE, 200)


def test_an_error_page_full_of_values_is_an_error_like_any_other() -> None:
    body = b"[" + b"{}," * 600_000 + b"{}]"
    with (
        client_of(scripted(httpx.Response(503, content=body))) as client,
        pytest.raises(StoreUnavailableError, match="answered 503") as found,
    ):
        client.get("/x", expect=list)
    assert found.value.trouble is Trouble.SERVER_ERROR


def test_what_stands_in_texts_does_not_make_a_page_too_large() -> None:
    """Page builders keep a JSON of their own in a product's text."""
    record = {"id": 7, "meta_data": [{"key": "_built", "value": '{"a": ["\\\\", {}], ' * 400_000}]}
    with client_of(scripted(reply([record]))) as client:
        assert client.get("/x", {"per_page": 1}, expect=list).data == [record]


_JSON = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(value=_JSON, ascii_only=st.booleans())
def test_a_bound_on_values_refuses_only_what_has_more_and_changes_nothing_else(
    value: Any, ascii_only: bool
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    structure = _structure(value)
    assert parse_json(body, most_values=structure) == parse_json(body)
    if structure:
        with pytest.raises(TooManyValuesError):
            parse_json(body, most_values=structure - 1)


def _structure(value: Any) -> int:
    """Opening brackets and commas, those in texts left out."""
    if not isinstance(value, (dict, list)):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(len(inner) - 1, 0) + sum(map(_structure, inner))


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
