"""What each kind of walk asks a store for, and when, and what it proves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.products.answers import StoreRefusedError
from catalog_pipeline.products.archive import Archive, ArchivedWalk
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.listing import StoreMisbehavedError
from catalog_pipeline.products.models import sighting
from catalog_pipeline.products.source import Page, Sighting, WalkOrder
from catalog_pipeline.products.walk import WalkReport, walk_store
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline_tests.products.walks import some
from catalog_pipeline_tests.products.wordpress import (
    FakeTime,
    FakeWoo,
    page_of,
    product,
    reply,
    store,
)

WATERMARK = datetime(2026, 7, 1, 12, 0, 30, 500_000, tzinfo=UTC)


class Known:
    """What is stored, from a list of products."""

    def __init__(self, records: Sequence[Any]) -> None:
        found = (sighting(record) for record in records)
        self.stored = {one.external_id: one for one in found if one is not None}

    def sightings(self, ids: Sequence[str]) -> Mapping[str, Sighting]:
        return {one: self.stored[one] for one in ids if one in self.stored}

    def ids(self) -> Iterator[str]:
        return iter(self.stored)


def walk(archive: Archive, woo: FakeWoo, order: WalkOrder, **settings: Any) -> WalkReport:
    config = store(**settings)
    fake = FakeTime()
    with StoreClient(config, transport=woo.transport, sleep=fake.sleep, clock=fake.clock) as client:
        return walk_store(WooCommerceSource(config, client), archive, config, order)


def pages(archive: Archive) -> list[tuple[str, bytes]]:
    """The newest walk's pages by what they hold."""
    found = newest(archive).pages()
    return [(path.rsplit("/", 1)[1].split("-")[0], body) for path, body in found]


def newest(archive: Archive) -> ArchivedWalk:
    walk = archive.open("atelier", archive.walk_ids("atelier")[-1])
    assert walk is not None
    return walk


def queries(woo: FakeWoo) -> list[dict[str, str]]:
    return [dict(r.url.params) for r in woo.requests if r.url.path.endswith("/products")]


@pytest.mark.usefixtures("far_from_greenwich")
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-5))])
def test_an_incremental_walk_asks_in_plain_utc_with_an_overlap(
    archive: Archive, zone: timezone
) -> None:
    old = product(1, date_modified_gmt="2026-07-01T11:55:30")
    new = product(2, date_modified_gmt="2026-07-01T11:55:31")
    woo = FakeWoo([old, new])
    order = WalkOrder("incremental", since=WATERMARK.astimezone(zone))
    report = walk(archive, woo, order)
    assert (report.kind, report.products, report.complete) == ("incremental", 1, True)
    for query in queries(woo):
        assert query["modified_after"] == "2026-07-01T11:55:30"
        assert query["dates_are_gmt"] == "true"
        assert (query["status"], query["orderby"], query["order"]) == ("any", "id", "asc")
    begin = newest(archive).begin
    assert begin.since == WATERMARK


def test_a_sweep_asks_again_only_for_what_changed_since_the_walk_of_changes_before_it(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, later = "2026-07-02T00:00:00", "2026-07-02T00:00:05"
    old = [product(number) for number in range(1, 6)]
    woo = FakeWoo([*old[:2], *(one | {"date_modified_gmt": fresh} for one in old[2:])])
    config, fake = store(), FakeTime()

    def by_id() -> list[str]:
        return [query["include"] for query in queries(woo) if "include" in query]

    with StoreClient(config, transport=woo.transport, sleep=fake.sleep, clock=fake.clock) as client:
        source = WooCommerceSource(config, client)
        changed = WalkOrder("incremental", since=WATERMARK)
        sweep = WalkOrder("sweep", known=Known(old))
        assert walk_store(source, archive, config, changed).products == 3
        assert walk_store(source, archive, config, sweep).complete
        assert by_id() == []
        woo.products[3]["date_modified_gmt"] = later
        assert walk_store(source, archive, config, sweep).complete
        assert by_id() == ["4"]
    # Another run knows what is stored, and that alone.
    assert walk(archive, woo, sweep).complete
    assert by_id() == ["4", "3,4,5"]
    # However much changed, little of it is remembered.
    monkeypatch.setattr("catalog_pipeline.products.woocommerce_walk._MOST_REMEMBERED", 2)
    with StoreClient(config, transport=woo.transport, sleep=fake.sleep, clock=fake.clock) as client:
        source = WooCommerceSource(config, client)
        walk_store(source, archive, config, changed)
        walk_store(source, archive, config, sweep)
        assert by_id() == ["4", "3,4,5", "5"]
        woo.products[1]["date_modified_gmt"] = fresh
        walk_store(source, archive, config, changed)
        walk_store(source, archive, config, sweep)
    assert by_id() == ["4", "3,4,5", "5", "2,5"]


def test_an_incremental_walk_over_products_edited_meanwhile_is_complete(archive: Archive) -> None:
    fresh = "2026-07-02T00:00:00"
    woo = FakeWoo([product(n, date_modified_gmt=fresh) for n in range(1, 251)])

    def grow(request: httpx.Request) -> None:
        if request.url.params.get("page") == "2":
            woo.products = [product(n, date_modified_gmt=fresh) for n in range(-9, 251)]

    woo.override = grow
    report = walk(archive, woo, WalkOrder("incremental", since=WATERMARK))
    # The new ones came in before what was read; their dates are later than this walk's clock.
    assert (report.complete, report.readings) == (True, 1)


def test_an_incremental_walk_that_lost_products_is_read_again(archive: Archive) -> None:
    fresh = "2026-07-02T00:00:00"
    woo = FakeWoo([product(n, date_modified_gmt=fresh) for n in range(1, 251)])

    def shrink(request: httpx.Request) -> None:
        if request.url.params.get("page") == "2":
            woo.products = woo.products[-240:]

    woo.override = shrink
    report = walk(archive, woo, WalkOrder("incremental", since=WATERMARK))
    assert (report.complete, report.readings) == (True, 2)


def test_a_sweep_of_what_is_known_reads_ids_alone(archive: Archive) -> None:
    woo = FakeWoo(some(250))
    report = walk(archive, woo, WalkOrder("sweep", known=Known(some(250))))
    assert (report.products, report.complete, report.pages) == (250, True, 3)
    assert {kind for kind, _body in pages(archive)} == {"ids"}
    assert all("include" not in query for query in queries(woo))
    listing = queries(woo)[1]
    assert listing["_fields"] == "id,status,date_modified_gmt"
    assert listing["status"] == "any"


def test_a_sweep_fetches_what_is_new_changed_or_set_back(archive: Archive) -> None:
    stored = some(250)
    shown = some(251)
    shown[9] = product(10, date_modified_gmt="2026-07-02T00:00:00")
    shown[19] = product(20, date_modified_gmt="2020-07-02T00:00:00")
    shown[29] = product(30, status="private")
    shown[39] = product(40, date_modified_gmt=None)
    woo = FakeWoo(shown)
    report = walk(archive, woo, WalkOrder("sweep", known=Known(stored)))
    assert (report.products, report.complete) == (251, True)
    (asked,) = [query["include"] for query in queries(woo) if "include" in query]
    assert asked == "10,20,30,40,251"
    # Five of them were read twice: as they are listed, and whole.
    assert report.records == 251 + 5
    assert [kind for kind, _body in pages(archive)] == ["ids"] * 3 + ["products"]


def test_a_sweep_of_an_unknown_store_fetches_all_of_it_by_id(archive: Archive) -> None:
    woo = FakeWoo(some(250))
    report = walk(archive, woo, WalkOrder("sweep"))
    assert (report.products, report.complete) == (250, True)
    asked = [request for request in woo.requests if "include" in request.url.params]
    assert len(asked) == 3
    assert max(len(str(request.url)) for request in asked) < 8_000


@pytest.mark.parametrize("kind", ["full", "sweep"])
def test_what_is_missing_is_asked_for_by_id_before_it_counts_as_gone(
    archive: Archive, kind: Any
) -> None:
    woo = FakeWoo(some(200))
    woo.trash = [product(201, status="trash")]
    report = walk(archive, woo, WalkOrder(kind, known=Known(some(203))))
    assert (report.products, report.complete) == (200, True)
    by_id = [query for query in queries(woo) if "include" in query]
    assert [(query["status"], query["include"]) for query in by_id] == [
        ("any", "201,202,203"),
        ("trash", "201,202,203"),
    ]
    # Whole, should the store show them after all; of what is in its trash only that it is there.
    assert [query.get("_fields") for query in by_id] == [None, "id,status,date_modified_gmt"]
    trash = [body for found, body in pages(archive) if found == "trash"]
    assert len(trash) == 1
    assert b'"id": 201' in trash[0]


@pytest.mark.parametrize("kind", ["full", "sweep"])
def test_a_gap_is_filled_by_id(archive: Archive, kind: Any) -> None:
    """A page that leaves out known products although the store can show them."""
    woo = FakeWoo(some(250))

    def leave_out(request: httpx.Request) -> httpx.Response | None:
        params = request.url.params
        if params.get("page") != "2" or "include" in params:
            return None
        return reply(some(190)[100:], headers={"X-WP-Total": "250", "X-WP-TotalPages": "3"})

    woo.override = leave_out
    report = walk(archive, woo, WalkOrder(kind, known=Known(some(250))))
    assert (report.products, report.complete, report.readings) == (250, True, 1)
    assert (report.duplicates, report.unshown) == (0, 0)


def test_a_gap_of_a_later_reading_is_filled_by_id(archive: Archive) -> None:
    """The first one, in which the total falls, leaves nothing to be asked for."""
    woo = FakeWoo(some(260))

    def leave_out(request: httpx.Request) -> httpx.Response | None:
        params = request.url.params
        if params.get("page") != "2" or "include" in params:
            return None
        woo.products, woo.unreadable = some(250), {220}
        return reply(some(190)[100:], headers={"X-WP-Total": "250", "X-WP-TotalPages": "3"})

    woo.override = leave_out
    report = walk(archive, woo, WalkOrder("full", known=Known(some(250))))
    assert (report.products, report.complete, report.readings) == (250, True, 2)
    manifest = newest(archive).manifest
    assert manifest is not None
    assert (manifest.unshown, manifest.unshown_ids) == (1, ("220",))


def test_what_was_found_by_id_counts_in_every_reading(archive: Archive) -> None:
    """Stored products are told from those that nobody ever saw, which cost a second reading."""
    woo = FakeWoo(some(250))
    woo.unreadable = {120, 121, 130, 220, 221}

    def leave_out(request: httpx.Request) -> httpx.Response | None:
        params = request.url.params
        if params.get("page") != "1" or "include" in params or params["per_page"] == "1":
            return None
        return reply(some(90), headers={"X-WP-Total": "250", "X-WP-TotalPages": "3"})

    woo.override = leave_out
    stored = [*some(219), *some(400)[221:]]
    report = walk(archive, woo, WalkOrder("full", known=Known(stored)))
    assert (report.complete, report.readings, report.unshown) == (True, 2, 5)
    manifest = newest(archive).manifest
    assert manifest is not None
    assert manifest.unshown_ids == ("120", "121", "130")


def test_what_the_store_counts_and_never_shows_is_not_gone(archive: Archive) -> None:
    woo = FakeWoo(some(250))
    woo.unreadable = {120, 121, 130}
    report = walk(archive, woo, WalkOrder("sweep", known=Known(some(260))))
    assert (report.complete, report.readings, report.unshown) == (True, 1, 3)
    manifest = newest(archive).manifest
    assert manifest is not None
    assert manifest.unshown_ids == ("120", "121", "130")
    hidden, *each = [query for query in queries(woo) if "include" in query][:-1]
    assert len(hidden["include"].split(",")) == len(each) == 13
    # Only whether it is counted matters, and whole products cost the store much.
    assert {(query["status"], query["_fields"]) for query in each} == {("any", "id")}


def test_without_totals_by_id_nothing_is_proved(archive: Archive) -> None:
    woo = FakeWoo(some(20))
    woo.override = lambda request: (
        reply([], headers={"X-WP-Total": "none"}) if "include" in request.url.params else None
    )
    report = walk(archive, woo, WalkOrder("sweep", known=Known(some(21))))
    assert not report.complete
    assert report.reason == "the store announces no totals where products are asked for by id"


def test_a_product_that_is_counted_among_others_and_not_alone_is_not_gone(archive: Archive) -> None:
    woo = FakeWoo(some(20))
    woo.unreadable = {10}
    woo.override = lambda request: (
        reply([])
        if request.url.params.get("include") == "10" and "_fields" in request.url.params
        else None
    )
    report = walk(archive, woo, WalkOrder("sweep", known=Known(some(21))))
    assert not report.complete
    assert report.reason == "the store announces no totals where products are asked for by id"


def test_a_cache_that_ignores_what_is_asked_for_by_id_is_recognised(archive: Archive) -> None:
    woo = FakeWoo(some(20))
    woo.override = lambda request: (
        reply(some(20), headers={"X-WP-Total": "20", "X-WP-TotalPages": "1"})
        if "include" in request.url.params
        else None
    )
    asked = "store atelier: asked for 1 products by id, it shows 20 others"
    cached = "caches answers and ignores the query; exclude /wp-json/ from that cache"
    with pytest.raises(StoreMisbehavedError, match=f"{asked}: .* {cached}"):
        walk(archive, woo, WalkOrder("full", known=Known(some(21)[20:])))
    assert not newest(archive).complete


def test_an_unfinished_sweep_still_fetches_what_it_found(archive: Archive) -> None:
    woo = FakeWoo(some(150))
    woo.headers = {"X-WP-Total": "120", "X-WP-TotalPages": "2"}
    stored = [*some(149), product(151)]
    report = walk(archive, woo, WalkOrder("sweep", known=Known(stored)))
    assert report.reason == "the store announces 120 products and showed 150"
    # It proves nothing of the one that is missing, so nobody asks where that went.
    assert [query["include"] for query in queries(woo) if "include" in query] == ["150"]


def test_one_product(archive: Archive) -> None:
    woo = FakeWoo(some(150))
    report = walk(archive, woo, WalkOrder("product", product="77"))
    assert (report.kind, report.products, report.complete) == ("product", 1, False)
    assert report.reason == "one product was asked for, which proves nothing of the others"
    assert newest(archive).begin.product == "77"
    report = walk(archive, woo, WalkOrder("product", product="151"))
    assert (report.products, report.pages) == (0, 0)
    assert report.reason == "product 151 was asked for, and the store does not have it"
    woo.trash = [product(151, status="trash")]
    report = walk(archive, woo, WalkOrder("product", product="151"))
    assert [kind for kind, _body in pages(archive)] == ["trash"]
    assert report.reason == "product 151 was asked for, and the store has it in its trash"


@pytest.mark.parametrize("wrong", ["0", "-1", "007", "7,8", "x", " 7", "1e3", "7.0"])
def test_what_is_no_id_is_not_asked_for(archive: Archive, wrong: str) -> None:
    woo = FakeWoo(some(10))
    with pytest.raises(PermanentError, match="whole number above 0"):
        walk(archive, woo, WalkOrder("product", product=wrong))
    assert woo.requests == []


# --- pages side by side -------------------------------------------------------------------------


def test_two_pages_are_read_at_once() -> None:
    """Both requests must be under way before either is answered, or this times out."""
    woo = FakeWoo(some(200))
    both = threading.Barrier(2, timeout=20)

    def meet(request: httpx.Request) -> None:
        if page_of(request):
            both.wait()

    woo.override = meet
    config = store()
    with StoreClient(config, transport=woo.transport) as client:
        pages: Iterator[Page] = WooCommerceSource(config, client).start_walk(WalkOrder()).pages()
        assert [len(page.ids) for page in pages] == [100, 100]


def test_a_store_that_says_429_is_asked_for_one_page_after_the_other() -> None:
    woo = FakeWoo(some(1_200))
    busy = [reply({}, 429)]
    told: list[tuple[str, int]] = []

    def handle(request: httpx.Request) -> httpx.Response | None:
        number = page_of(request)
        if number is not None:
            told.append(("asked", number))
        return busy.pop() if number == 1 and busy else None

    woo.override = handle
    config, fake = store(connections=4), FakeTime()
    with StoreClient(config, transport=woo.transport, sleep=fake.sleep, clock=fake.clock) as client:
        walk = WooCommerceSource(config, client).start_walk(WalkOrder())
        for number, _page in enumerate(walk.pages(), 1):
            told.append(("taken", number))
    # The first four were under way by then.
    later = [(step, number) for step, number in told if number > 4]
    assert later == [(step, number) for number in range(5, 13) for step in ("asked", "taken")]


def test_a_refusal_ends_what_was_asked_for_ahead(archive: Archive) -> None:
    woo = FakeWoo(some(200))
    both, waits = threading.Barrier(2, timeout=20), threading.Event()
    asked: list[int] = []

    def handle(request: httpx.Request) -> httpx.Response | None:
        number = page_of(request)
        if number is None:
            return None
        asked.append(number)
        if len(asked) <= 2:
            both.wait()
        if number == 2:
            return reply({}, 503, {"Retry-After": "60"})
        assert waits.wait(20)
        return reply({"code": "woocommerce_rest_cannot_view", "message": "Sorry."}, 401)

    def sleep(_seconds: float) -> None:
        waits.set()
        time.sleep(0.01)

    woo.override = handle
    config = store()
    with StoreClient(config, transport=woo.transport, sleep=sleep) as client:
        with pytest.raises(StoreRefusedError, match="cannot_view"):
            walk_store(WooCommerceSource(config, client), archive, config)
    assert sorted(asked) == [1, 2]
