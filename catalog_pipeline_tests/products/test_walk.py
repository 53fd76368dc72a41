"""A store walked into the archive, however the store behaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from catalog_pipeline.files import DataFolder
from catalog_pipeline.products import walk as walking
from catalog_pipeline.products.answers import StoreRefusedError, StoreUnavailableError
from catalog_pipeline.products.archive import Archive, ArchivedWalk
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.listing import StoreMisbehavedError
from catalog_pipeline.products.models import WooCommerceParser
from catalog_pipeline.products.source import WalkOrder
from catalog_pipeline.products.walk import WalkReport, walk_store
from catalog_pipeline.products.woocommerce import CurrencyUnknownError, WooCommerceSource
from catalog_pipeline_tests.products.wordpress import (
    BASIC_CANARIES,
    NOW,
    FakeTime,
    FakeWoo,
    page_of,
    product,
    reply,
    store,
)


def walk(archive: Archive, woo: FakeWoo, sample: int | None = None, **settings: Any) -> WalkReport:
    config = store(**settings)
    fake = FakeTime()
    with StoreClient(config, transport=woo.transport, sleep=fake.sleep, clock=fake.clock) as client:
        source = WooCommerceSource(config, client)
        return walk_store(source, archive, config, WalkOrder(sample=sample))


def newest(archive: Archive) -> ArchivedWalk:
    found = archive.open("atelier", archive.walk_ids("atelier")[-1])
    assert found is not None
    return found


def ids_of(archived: ArchivedWalk) -> list[str | None]:
    parser = WooCommerceParser("https://shop.example.com")
    return [
        parser.external_id(record)
        for _path, body in archived.pages()
        for record in parser.records(body)
    ]


def some(count: int) -> list[Any]:
    return [product(number) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("announced", "most"), [(250, 25 + 250 * 4), (None, 2000), (10**8, 2000)], ids=str
)
def test_a_walk_ends_before_it_fills_the_disk(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, announced: int | None, most: int
) -> None:
    """By what the announced products can take, and whatever is announced."""
    kibibyte = 1024
    totals = {} if announced is None else {"X-WP-Total": str(announced), "X-WP-TotalPages": "99"}
    monkeypatch.setattr(walking, "_BYTES_IN_ANY_CASE", 25 * kibibyte)
    monkeypatch.setattr(walking, "_BYTES_EACH", 4 * kibibyte)
    monkeypatch.setattr(walking, "_MOST_BYTES", 2000 * kibibyte)
    woo = FakeWoo([])

    def flood(request: httpx.Request) -> httpx.Response:
        first = 100 * (page_of(request) or 0)
        count = int(request.url.params["per_page"])
        found = [product(first + n, description="x" * 8 * kibibyte) for n in range(count)]
        return reply(found, headers=totals)

    woo.override = flood
    with pytest.raises(StoreMisbehavedError, match="the products that it announces can take"):
        walk(archive, woo, currency="EUR")
    manifest = newest(archive).manifest
    assert manifest is not None
    assert not manifest.complete
    assert "sent more than" in str(manifest.reason)
    assert 0 < manifest.bytes <= most * kibibyte


def test_a_whole_store(archive: Archive) -> None:
    woo = FakeWoo(some(250))
    seen: list[tuple[int, int]] = []
    config = store()
    with StoreClient(config, transport=woo.transport) as client:
        report = walk_store(
            WooCommerceSource(config, client),
            archive,
            config,
            progress=lambda done, total: seen.append((done, total)),
        )
    assert report.complete
    assert report.reason is None
    assert (report.pages, report.records, report.products) == (3, 250, 250)
    assert (report.announced, report.currency) == (250, "EUR")
    assert report.server_clock == "2026-11-20T06:00:00+00:00"
    assert report.requests == len(woo.requests) == 5
    assert seen == [(100, 250), (200, 250), (250, 250)]
    assert ids_of(newest(archive)) == [str(number) for number in range(1, 251)]
    manifest = newest(archive).manifest
    assert manifest is not None
    assert manifest.walk_id == report.walk_id
    for request in woo.requests:
        if page_of(request):
            query = dict(request.url.params)
            query.pop("page")
            expected = {"status": "any", "orderby": "id", "order": "asc", "per_page": "100"}
            assert query == expected


def test_an_empty_store_is_complete(archive: Archive) -> None:
    report = walk(archive, FakeWoo([]))
    assert report.complete
    assert (report.pages, report.products) == (1, 0)


def test_bodies_are_kept_as_they_came(archive: Archive) -> None:
    woo = FakeWoo(some(1))
    body = b"\xef\xbb\xbf<br>Notice [x]\n" + json.dumps(some(1)).encode()
    headers = {"X-WP-Total": "1", "X-WP-TotalPages": "1", "Date": NOW}
    woo.override = lambda request: (
        httpx.Response(200, content=body, headers=headers) if page_of(request) else None
    )
    assert walk(archive, woo).complete
    assert [found for _path, found in newest(archive).pages()] == [body]


def test_short_and_empty_pages_are_not_the_end(archive: Archive) -> None:
    woo = FakeWoo(some(400))

    def drop(request: httpx.Request) -> httpx.Response | None:
        number = page_of(request)
        kept = {1: some(400)[:90], 2: [], 3: some(400)[200:250]}
        if number not in kept:
            return None
        return reply(kept[number], headers={"X-WP-Total": "400", "X-WP-TotalPages": "4"})

    woo.override = drop
    report = walk(archive, woo)
    # A second reading agrees with the first: the store does not show more, whoever asks.
    assert (report.readings, report.pages, report.products) == (2, 8, 240)
    assert (report.complete, report.unshown) == (True, 160)


def test_readings_that_never_agree_prove_nothing(archive: Archive) -> None:
    woo = FakeWoo(some(250))
    hidden = iter(range(1, 100))

    def hide(request: httpx.Request) -> None:
        if page_of(request) == 1:
            woo.unreadable = {next(hidden)}

    woo.override = hide
    report = walk(archive, woo)
    assert (report.readings, report.products, report.complete) == (3, 250, False)
    assert report.reason == "the store announces 250 products and showed 249"
    assert report.unshown == 0


def test_a_sample_stops_early_and_proves_nothing(archive: Archive) -> None:
    for asked, got in ((1, 1), (7, 7), (100, 100), (150, 150), (250, 252), (1000, 300)):
        report = walk(archive, FakeWoo(some(300)), sample=asked)
        assert report.products == got
        assert not report.complete
        assert report.reason == f"a sample of {asked} products was asked for"


def test_a_growing_store_is_walked_to_its_new_end(archive: Archive) -> None:
    woo = FakeWoo(some(150))

    def grow(request: httpx.Request) -> None:
        if page_of(request) == 2:
            woo.products = some(230)

    woo.override = grow
    report = walk(archive, woo)
    assert report.complete
    assert (report.announced, report.products) == (230, 230)


def test_a_store_that_shrinks_meanwhile_is_read_again(archive: Archive) -> None:
    woo = FakeWoo(some(250))

    def shrink(request: httpx.Request) -> None:
        if page_of(request) == 2:
            woo.products = some(250)[10:]

    woo.override = shrink
    report = walk(archive, woo)
    assert (report.readings, report.complete, report.announced) == (2, True, 240)
    assert report.products == 250


def test_a_store_that_never_stops_shrinking_proves_nothing(archive: Archive) -> None:
    woo = FakeWoo(some(400))

    def shrink(request: httpx.Request) -> None:
        if page_of(request) == 2:
            woo.products = woo.products[10:]

    woo.override = shrink
    report = walk(archive, woo)
    assert (report.readings, report.complete) == (3, False)
    assert report.reason is not None
    assert "the total fell from 380 to 370" in report.reason


@pytest.mark.parametrize("total", ["", "many", "-1", "9" * 30])
def test_without_totals_nothing_is_proved(archive: Archive, total: str) -> None:
    woo = FakeWoo(some(230))
    woo.headers = {"X-WP-Total": total, "X-WP-TotalPages": total}
    report = walk(archive, woo)
    assert report.products == 230
    assert not report.complete
    assert report.reason == "the store announces no totals"


def test_a_shop_is_not_taken_for_empty_before_a_page_says_so(archive: Archive) -> None:
    woo = FakeWoo(some(150))
    woo.headers = {"X-WP-Total": "0", "X-WP-TotalPages": ""}
    report = walk(archive, woo)
    assert report.reason == "the store announces 0 products and showed 100"
    # The one page that a shop without products has, in each reading.
    assert [page_of(request) for request in woo.requests if page_of(request)] == [1, 1, 1]


def test_a_wrong_total_proves_nothing(archive: Archive) -> None:
    woo = FakeWoo(some(150))
    woo.headers = {"X-WP-Total": "120", "X-WP-TotalPages": "2"}
    report = walk(archive, woo)
    assert report.reason == "the store announces 120 products and showed 150"


def test_a_cache_that_ignores_the_query_is_recognised(archive: Archive) -> None:
    woo = FakeWoo(some(500))
    first = reply(some(100), headers={"X-WP-Total": "500", "X-WP-TotalPages": "5"})
    woo.override = lambda request: first if page_of(request) else None
    said = "store atelier: page 2 .* caches answers and ignores the query"
    with pytest.raises(StoreMisbehavedError, match=said):
        walk(archive, woo)
    archived = newest(archive)
    assert not archived.complete
    assert len(list(archived.pages())) == 1


def test_endless_pages_come_to_an_end(archive: Archive) -> None:
    woo = FakeWoo(some(100))

    def more(request: httpx.Request) -> httpx.Response | None:
        number = page_of(request)
        if number is None:
            return None
        found = [{"id": number * 10}]
        return reply(found, headers={"X-WP-Total": "100", "X-WP-TotalPages": str(number + 5)})

    woo.override = more
    with pytest.raises(StoreMisbehavedError, match="no end after 52 pages"):
        walk(archive, woo)
    woo.override = lambda request: (
        reply([], headers={"X-WP-TotalPages": "99999"}) if page_of(request) else None
    )
    with pytest.raises(StoreMisbehavedError, match="the last 50 of 50 pages brought no new"):
        walk(archive, woo)


def test_odd_ids_are_counted(archive: Archive) -> None:
    records = [product(1), product(1), {"id": "2"}, {"id": None}, {}, "x", None, {"id": 3}]
    report = walk(archive, FakeWoo(records))
    assert (report.readings, report.products) == (2, 3)
    assert (report.duplicates, report.unreadable_ids) == (1, 4)
    assert (report.complete, report.unshown) == (True, 5)


def test_an_error_on_the_way_is_written_down(archive: Archive) -> None:
    woo = FakeWoo(some(300))
    revoked = {"code": "woocommerce_rest_cannot_view", "message": "Sorry."}
    woo.override = lambda request: reply(revoked, 401) if page_of(request) == 2 else None
    with pytest.raises(StoreRefusedError):
        walk(archive, woo)
    manifest = newest(archive).manifest
    assert manifest is not None
    assert not manifest.complete
    assert manifest.reason is not None
    assert "woocommerce_rest_cannot_view" in manifest.reason
    assert (manifest.pages, manifest.ids) == (1, 100)


def test_a_foreign_error_is_named_without_its_text(archive: Archive) -> None:
    woo = FakeWoo(some(10))
    woo.override = lambda _request: None

    def fail(_done: int, _total: int) -> None:
        raise RuntimeError("holds something private")

    config = store()
    with (
        StoreClient(config, transport=woo.transport) as client,
        pytest.raises(RuntimeError),
    ):
        walk_store(WooCommerceSource(config, client), archive, config, progress=fail)
    manifest = newest(archive).manifest
    assert manifest is not None
    assert manifest.reason == "RuntimeError"


def test_a_full_disk_does_not_hide_the_error(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DataFolder.write

    def write(self: DataFolder, name: str, content: bytes) -> None:
        if not name.endswith("begin.json"):
            raise OSError(28, "No space left on device")
        real(self, name, content)

    monkeypatch.setattr(DataFolder, "write", write)
    with pytest.raises(OSError, match="No space left"):
        walk(archive, FakeWoo(some(10)))
    assert newest(archive).manifest is None


def test_nothing_is_archived_before_the_store_answers(archive: Archive) -> None:
    woo = FakeWoo(some(10))
    woo.override = lambda _request: reply({"code": "x", "message": "y"}, 500)
    with pytest.raises(StoreUnavailableError):
        walk(archive, woo)
    assert archive.walk_ids("atelier") == []


def test_retries_and_throttles_are_reported(archive: Archive) -> None:
    woo = FakeWoo(some(150))
    lock = threading.Lock()
    answers = {1: [reply({}, 429)], 2: [reply({}, 500), httpx.Response(200, content=b"<html>")]}

    def stumble(request: httpx.Request) -> httpx.Response | None:
        with lock:
            waiting = answers.get(page_of(request) or 0)
            return waiting.pop(0) if waiting else None

    woo.override = stumble
    report = walk(archive, woo)
    assert report.complete
    assert (report.retries, report.throttles) == (3, 1)


def test_without_a_date_our_own_clock_stands_in(archive: Archive) -> None:
    woo = FakeWoo(some(1))
    woo.headers = {"Date": "yesterday"}
    before = datetime.now(UTC)
    walk(archive, woo)
    begin = newest(archive).begin
    assert not begin.clock_is_the_servers
    assert before <= begin.server_clock <= datetime.now(UTC)


def test_a_clock_in_the_future_is_not_believed(archive: Archive) -> None:
    woo = FakeWoo(some(1))
    woo.headers = {"Date": "Fri, 20 Nov 2099 06:00:00 GMT"}
    walk(archive, woo)
    begin = newest(archive).begin
    assert not begin.clock_is_the_servers
    assert begin.server_clock <= datetime.now(UTC)


def deny_currency(paths: int) -> Any:
    def handle(request: httpx.Request) -> httpx.Response | None:
        denied = {"code": "woocommerce_rest_cannot_view", "message": "Sorry."}
        if request.url.path.endswith("/currencies/current"):
            return reply(denied, 403)
        if request.url.path.endswith("/woocommerce_currency"):
            return reply({"id": "x", "value": "JPY"}) if paths == 1 else reply(denied, 403)
        return None

    return handle


def test_the_currency_has_a_second_place(archive: Archive) -> None:
    woo = FakeWoo(some(1))
    woo.override = deny_currency(1)
    assert walk(archive, woo).currency == "JPY"


def test_an_unknown_currency_stops_the_walk_and_says_what_to_do(archive: Archive) -> None:
    woo = FakeWoo(some(1))
    woo.override = deny_currency(2)
    with pytest.raises(CurrencyUnknownError, match="set `currency:`"):
        walk(archive, woo)
    assert archive.walk_ids("atelier") == []


def test_a_configured_currency_is_not_asked_for(archive: Archive) -> None:
    woo = FakeWoo(some(1))
    assert walk(archive, woo, currency="DKK").currency == "DKK"
    assert not [request for request in woo.requests if "currenc" in request.url.path]


@pytest.mark.parametrize(
    "order",
    [
        {"sample": 0},
        {"kind": "sweep", "sample": 1},
        {"kind": "incremental"},
        {"since": datetime(2026, 11, 20, tzinfo=UTC)},
        {"kind": "product"},
        {"product": "1"},
    ],
)
def test_orders_that_contradict_themselves(order: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sample|watermark|names it"):
        WalkOrder(**order)


def test_no_key_is_in_the_archive(archive: Archive, tmp_path: Path) -> None:
    woo = FakeWoo(some(200))

    def echo(request: httpx.Request) -> httpx.Response | None:
        told = request.headers["authorization"]
        return reply({"code": "x", "message": told}, 403) if page_of(request) == 2 else None

    woo.override = echo
    with pytest.raises(StoreRefusedError):
        walk(archive, woo)
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert not [key for key in BASIC_CANARIES if key.encode() in path.read_bytes()]


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.source import Page, WalkOrder, WalkStart
start = WalkStart(datetime.now(UTC), True, "EUR", 2, 2)
writer = Archive(DataFolder(sys.argv[1])).begin("atelier", "woocommerce", WalkOrder(), start)
writer.add(Page(b"[]", ()))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_walk_leaves_what_it_had_and_no_manifest(archive: Archive, tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, folder], check=False, env={**os.environ}, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL
    archived = newest(archive)
    assert archived.manifest is None
    assert [body for _path, body in archived.pages()] == [b"[]"]
