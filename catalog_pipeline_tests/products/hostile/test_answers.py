"""Case and verdict for whole answers of a store: what it sends in place of the second page.

A case strikes in the middle of a walk of 102 stored products, of which the one on that page is
changed and one is no longer in the store. So a retried or read page shows as a changed row and a removed
product, and whatever proves nothing shows as nothing changed at all.
"""

# A case is one line.
# ruff: noqa: E501

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat

import httpx
import pytest

from catalog_pipeline.catalog.schema import products
from catalog_pipeline.errors import PermanentError, TransientError
from catalog_pipeline.products.answers import StoreUnavailableError, Trouble
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.woocommerce_walk import PRODUCTS
from catalog_pipeline_tests.products.hostile.server import HostileStore, Sent, sent
from catalog_pipeline_tests.products.hostile.walking import Room
from catalog_pipeline_tests.products.walks import some
from catalog_pipeline_tests.products.wordpress import (
    BASIC_CANARIES,
    NOW,
    FakeTime,
    page_of,
    product,
)

TOTALS = {"X-WP-Total": "101", "X-WP-TotalPages": "2", "Date": NOW}
STORED = some(102)
# What the store has by now: product 101 costs more and product 102 is gone.
NOW_THERE = [*some(100), product(101, price="99.00")]
PAGE = NOW_THERE[100:]
JSON_PAGE = json.dumps(PAGE).encode()
HTML_PAGE = b"<!DOCTYPE html><html><head><title>Briefly unavailable</title></head></html>"
REVOKED = b'{"code":"woocommerce_rest_cannot_view","message":"Sorry, you cannot list resources."}'
MANY = 10**6


@dataclass(frozen=True)
class Case:
    """What the store sends for its second page, how often, and what becomes of it.

    `verdict` is `read`, `retried`, `unproven` (the walk ends and proves nothing) or `failed` (it is
    cut off); `says` is what the walk says of the store then, `waited` the seconds between tries.
    """

    name: str
    answer: Sent | Callable[[], Sent]
    verdict: str
    says: str = ""
    times: int = 1
    waited: float | None = None
    kind: type[Exception] = TransientError


def page(**headers: str) -> Sent:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sent(200, JSON_PAGE, {**TOTALS, **named})


def body(content: bytes, content_type: str = "application/json") -> Sent:
    return sent(200, content, TOTALS, content_type=content_type)


def busy(**headers: str) -> Sent:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return sent(429, b"{}", {"Date": NOW, **named})


def chunked(parts: Iterator[bytes], *headers: str) -> Sent:
    def wire() -> Iterator[bytes]:
        lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers]
        yield "\r\n".join(lines).encode() + b"\r\n\r\n"
        for part in parts:
            yield b"%x\r\n%s\r\n" % (len(part), part)
        yield b"0\r\n\r\n"

    return Sent(wire())


def two_hundred_megabytes() -> Sent:
    return chunked(repeat(b'"' + b"x" * 999_997 + b'",', 200))


def gzip_bomb() -> Sent:
    bomb = gzip.compress(b"[" + b" " * 200_000_000, 1)
    return chunked(iter([bomb]), "Content-Encoding: gzip")


def error(code: str, message: str) -> bytes:
    return json.dumps({"code": code, "message": message, "data": None}).encode()


def raw(*parts: bytes, reset: bool = False) -> Sent:
    return Sent(parts, reset)


HEAD = b"HTTP/1.1 200 OK\r\nX-WP-Total: 101\r\nX-WP-TotalPages: 2\r\n"
IN_LATIN = json.dumps([{**one, "name": "Caf\u00e9"} for one in PAGE], ensure_ascii=False)
CASES = [
    # --- 429, and every shape of Retry-After ---
    Case("429 without Retry-After", busy(), "retried", waited=1),
    Case("429, seconds", busy(Retry_After="7"), "retried", waited=7),
    Case("429, a float", busy(Retry_After="1.5"), "retried", waited=1.5),
    Case("429, a date", busy(Retry_After="Fri, 20 Nov 2026 06:00:09 GMT"), "retried", waited=9),
    Case("429, a past date", busy(Retry_After="Fri, 20 Nov 2020 06:00:09 GMT"), "retried", waited=1),
    Case("429, a far date", busy(Retry_After="Fri, 20 Nov 2099 06:00:09 GMT"), "retried", waited=120),
    Case("429, past the end of time", busy(Retry_After="Fri, 31 Dec 9999 23:59:59 -2359"), "retried", waited=1),
    Case("429, negative", busy(Retry_After="-5"), "retried", waited=1),
    Case("429, zero", busy(Retry_After="0"), "retried", waited=1),
    Case("429, huge", busy(Retry_After="86400"), "retried", waited=120),
    Case("429, 400 digits", busy(Retry_After="9" * 400), "retried", waited=1),
    Case("429, nonsense", busy(Retry_After="soon, maybe"), "retried", waited=1),
    Case("429, not a number", busy(Retry_After="nan"), "retried", waited=1),
    Case("429, not ASCII", busy(Retry_After="\u00bd"), "retried", waited=1),
    Case("429, empty", busy(Retry_After=""), "retried", waited=1),
    Case("429, several", busy(Retry_After="3", retry_after="9", RETRY_AFTER="x"), "retried", waited=9),
    Case("429 again and again", busy(Retry_After="2"), "retried", times=4, waited=8),
    Case("429 for ever", busy(), "failed", "answered 429 with a JSON object (tried 5 times)", MANY),
    # --- server errors ---
    Case("500 once", sent(500, b""), "retried", waited=1),
    Case("a streak that ends", sent(502, HTML_PAGE), "retried", times=4, waited=15),
    Case("503 with Retry-After", sent(503, b"", {"Retry-After": "20"}), "retried", waited=20),
    Case("408", sent(408, b""), "retried", waited=1),
    Case("500 for ever", sent(500, error("internal_server_error", "There has been a <b>critical</b> error")), "failed", "answered 500 internal_server_error: There has been a critical error (tried 5 times)", MANY),
    Case("599 for ever", sent(599, b"\x00\xff\x1b[31m"), "failed", "answered 599 with text beginning", MANY),
    # --- 200 that is no answer ---
    Case("maintenance page once", body(HTML_PAGE, "text/html"), "retried"),
    Case("maintenance page for ever", body(HTML_PAGE, "text/html"), "failed", "answered 200 with an HTML page titled 'Briefly unavailable' instead of data", MANY),
    Case("error object", body(error("rest_db", "No connection")), "retried"),
    Case("error object for ever", body(error("rest_db", "No connection")), "failed", "answered 200 rest_db: No connection instead of data", MANY),
    Case("empty body", body(b""), "retried"),
    Case("empty body for ever", body(b" \n"), "failed", "answered 200 with an empty body instead of data", MANY),
    Case("204 for ever", raw(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), "failed", "answered 204 with an empty body instead of data", MANY),
    Case("206 with the page", sent(206, JSON_PAGE, TOTALS), "failed", "answered 206 with a JSON list instead of data", MANY),
    Case("a number for ever", body(b"0"), "failed", "answered 200 with a JSON int instead of data", MANY),
    Case("null for ever", body(b"null"), "failed", "answered 200 with text beginning 'null' instead of data", MANY),
    Case("cut JSON for ever", body(JSON_PAGE[:-9]), "failed", "JSON that is cut off or malformed instead of data", MANY),
    # --- JSON that something touched ---
    Case("byte order mark", body(b"\xef\xbb\xbf" + JSON_PAGE), "read"),
    Case("PHP notices", body(b"<br />\n<b>Notice</b>: Undefined index [a] in /x[1].php\n" + JSON_PAGE), "read"),
    Case("UTF-16", body(IN_LATIN.encode("utf-16"), "application/json; charset=utf-16"), "read"),
    Case("Latin-1, declared", body(IN_LATIN.encode("latin-1"), "application/json; charset=iso-8859-1"), "read"),
    Case("Latin-1, undeclared", body(IN_LATIN.encode("latin-1")), "read"),
    Case("an unknown charset", body(JSON_PAGE, "application/json; charset=klingon"), "read"),
    Case("HTML by its type", body(JSON_PAGE, "text/html"), "read"),
    Case("text after it", body(JSON_PAGE + b"<br>Warning: x"), "failed", "JSON that is cut off or malformed", MANY),
    Case("nested 150 deep", body(JSON_PAGE[:-2] + b',"meta_data":' + b"[" * 150 + b"]" * 150 + b"}]"), "read"),
    Case("nested 1,000 deep", body(JSON_PAGE[:-2] + b',"meta_data":' + b"[" * 1000 + b"]" * 1000 + b"}]"), "failed", "answered 200 with JSON that is nested too deeply to be read instead of data", MANY),
    Case("nested 100,000 deep", body(b"[" * 100_000 + b"]" * 100_000), "failed", "nested too deeply to be read", MANY),
    Case("an integer of 100,000 digits", body(JSON_PAGE[:-2] + b',"total_sales":' + b"9" * 100_000 + b"}]"), "read"),
    Case("101 products of 100", body(json.dumps(some(101)).encode()), "failed", "sent 101 records where 100 were asked for: something in front of the store caches", MANY, kind=PermanentError),
    Case("70,000 products of 100", body(json.dumps([{"id": n} for n in range(1, 70_001)]).encode()), "failed", "sent 70000 records where 100 were asked for", MANY, kind=PermanentError),
    Case("a million objects", body(b"[" + b"{}," * 10**6 + b"{}]"), "failed", "sent more than 1000000 values in one answer", MANY, kind=PermanentError),
    Case("200 MB", two_hundred_megabytes, "failed", "sent more than 64 MiB in one answer", MANY, kind=PermanentError),
    Case("200 MB of gzip in 200 kB", gzip_bomb, "failed", "sent more than 64 MiB in one answer", MANY, kind=PermanentError),
    # --- transports that break ---
    Case("reset before the head", raw(reset=True), "retried"),
    Case("reset in mid-body", raw(HEAD + b"Content-Length: 9999\r\n\r\n[{", reset=True), "retried"),
    Case("reset for ever", raw(HEAD + b"Content-Length: 9999\r\n\r\n[{", reset=True), "failed", "the connection broke", MANY),
    Case("longer than announced", sent(200, JSON_PAGE, TOTALS, length="50"), "retried"),
    Case("shorter than announced", sent(200, JSON_PAGE, TOTALS, length="9999999"), "retried"),
    Case("shorter for ever", sent(200, JSON_PAGE, TOTALS, length="9999999"), "failed", "the connection broke", MANY),
    Case("a negative length", sent(200, JSON_PAGE, TOTALS, length="-1"), "retried"),
    Case("two lengths", sent(200, JSON_PAGE, {**TOTALS, "Content-Length": "7"}), "retried"),
    Case("a chunk without end", raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n[{"), "retried"),
    Case("a chunk without size", raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n[{"), "retried"),
    Case("no HTTP", raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "retried"),
    Case("no HTTP for ever", raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "failed", "the connection broke", MANY),
    Case("endless headers", raw(HEAD + b"X-A: " + b"a" * 300_000 + b"\r\n\r\n"), "retried"),
    Case("gzip that is none", sent(200, JSON_PAGE, {**TOTALS, "Content-Encoding": "gzip"}), "retried"),
    Case("gzip that is none, for ever", sent(200, JSON_PAGE, {**TOTALS, "Content-Encoding": "gzip"}), "failed", "sent a body that cannot be unpacked", MANY),
    Case("brotli, unasked", sent(200, JSON_PAGE, {**TOTALS, "Content-Encoding": "br"}), "failed", "content encoding 'br' was not asked for", MANY),
    Case("a header in Latin-1", page(Server="caf\u00e9"), "read"),
    Case("an error with a header in Latin-1", sent(500, b"", {"Server": "caf\u00e9"}), "retried"),
    # --- refusals ---
    Case("key revoked in the middle", sent(401, REVOKED), "failed", "answered 401 woocommerce_rest_cannot_view: Sorry, you cannot list resources.", MANY, kind=PermanentError),
    Case("right lost in the middle", sent(403, REVOKED), "failed", "answered 403 woocommerce_rest_cannot_view", MANY, kind=PermanentError),
    Case("404 in the middle", sent(404, error("rest_no_route", "No route")), "failed", "answered 404 rest_no_route: No route", MANY, kind=PermanentError),
    Case("400", sent(400, error("rest_invalid_param", "page")), "failed", "answered 400 rest_invalid_param", MANY, kind=PermanentError),
    Case("414", sent(414, HTML_PAGE), "failed", "answered 414 with an HTML page", MANY, kind=PermanentError),
    Case("a redirect elsewhere", sent(302, b"", {"Location": "https://login.example/\u00fc"}), "failed", "a redirect to https://login.example/\u00fc; keys never follow one", MANY, kind=PermanentError),
    Case("a redirect to itself", sent(308, b"", {"Location": "/wp-json/wc/v3/products"}), "failed", "a redirect to /wp-json/wc/v3/products", MANY, kind=PermanentError),
    # --- totals that lie, on this page ---
    Case("no totals on a page", sent(200, JSON_PAGE, {"Date": NOW}), "read"),
    Case("totals not numbers", page(X_WP_Total="many", X_WP_TotalPages="1e3"), "read"),
    Case("negative totals", page(X_WP_Total="-1", X_WP_TotalPages="-1"), "read"),
    Case("a total that fell", page(X_WP_Total="50"), "unproven", "the total fell from 101 to 50", MANY),
    Case("a total that rises", page(X_WP_Total="300"), "unproven", "the total fell from 300 to 101", MANY),
]  # fmt: skip


def strikes(case: Case) -> Callable[[httpx.Request], Sent | None]:
    left, lock = [case.times], threading.Lock()

    def misbehave(request: httpx.Request) -> Sent | None:
        if page_of(request) != 2:
            return None
        with lock:
            left[0] -= 1
            if left[0] < 0:
                return None
        return case.answer if isinstance(case.answer, Sent) else case.answer()

    return misbehave


@pytest.fixture(scope="module")
def shop() -> Iterator[HostileStore]:
    with HostileStore(NOW_THERE).serving() as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_has_its_verdict(case: Case, shop: HostileStore, room: Room) -> None:
    config = room.new_store(shop)
    room.stock(config, STORED)
    before = room.state(config)
    shop.misbehave = strikes(case)
    fake = FakeTime()
    if case.verdict == "failed":
        with pytest.raises(case.kind) as found:
            room.walk(config, fake)
        assert case.says in str(found.value)
        assert shop.url in str(found.value)
        assert str(found.value).isprintable()
    else:
        report = room.walk(config, fake)
        assert (report.complete, report.retries > 0) == (
            case.verdict != "unproven",
            case.verdict == "retried",
        )
    manifest = room.manifest(config)
    assert manifest.complete is (case.verdict in ("read", "retried"))
    assert case.says in (manifest.reason or "")
    assert not [key for key in BASIC_CANARIES if key in str(manifest.reason)]
    if case.waited is not None:
        assert sum(fake.slept) == pytest.approx(case.waited, abs=0.5)
    room.sync(config)
    if case.verdict == "failed":
        assert room.state(config) == before
        return
    rows = {row["external_id"]: row for row in room.rows(config, products)}
    assert len(rows) == 102
    assert str(rows["101"]["price"]) == "99.00"
    gone = [row["external_id"] for row in rows.values() if row["removed_by"] is not None]
    assert gone == (["102"] if manifest.complete else [])


def test_an_answer_that_drips_ends(shop: HostileStore, room: Room) -> None:
    """In its head, where no single read is ever late, as in its body."""

    def drip() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            time.sleep(0.05)
            yield b"X-A: b\r\n"

    config = room.new_store(shop)
    shop.misbehave = lambda _request: Sent(drip())
    began = time.monotonic()
    with (
        StoreClient(config, retry_waits=(), patience=0.4) as client,
        pytest.raises(StoreUnavailableError, match="took too long") as found,
    ):
        client.get(PRODUCTS, expect=list)
    assert found.value.trouble is Trouble.TIMEOUT
    assert time.monotonic() - began < 10
