"""Which walks a run makes, and when a change of currency stops it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import products, store_states, variation_images
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.reading import (
    CurrencyChangedError,
    ReadRequest,
    ReadState,
    WalkChoice,
    lacks_variations,
    plan_walks,
    read_store,
)
from catalog_pipeline.products.source import NothingKnown
from catalog_pipeline.products.walk import WalkReport
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline_tests.products.walks import CLOCK, archived, rows, some, sync
from catalog_pipeline_tests.products.wordpress import FakeTime, FakeWoo, product, reply, store

SEEN_BEFORE = ReadState(CLOCK, "EUR", "EUR")
NEVER_SEEN = ReadState()


def kinds(request: ReadRequest, state: ReadState, currency: str = "EUR") -> list[str]:
    return [order.kind for order in plan_walks(request, state, currency, NothingKnown())]


@pytest.mark.parametrize(
    ("walk", "planned"),
    [
        ("auto", ["incremental"]),
        ("incremental", ["incremental"]),
        ("full", ["full"]),
        ("sweep", ["sweep"]),
        ("nightly", ["incremental", "sweep"]),
    ],
)
def test_what_is_walked(walk: WalkChoice, planned: list[str]) -> None:
    assert kinds(ReadRequest(walk), SEEN_BEFORE) == planned
    # A store that was never read whole is, whatever was asked for; and so is one whose rows are in
    # another currency.
    assert kinds(ReadRequest(walk), NEVER_SEEN) == ["full"]
    assert kinds(ReadRequest(walk), SEEN_BEFORE, "DKK") == ["full"]


def test_a_sample_and_one_product() -> None:
    assert kinds(ReadRequest(sample=5), SEEN_BEFORE) == ["full"]
    assert kinds(ReadRequest(product="5"), SEEN_BEFORE) == ["product"]
    assert kinds(ReadRequest(product="5"), NEVER_SEEN) == ["product"]
    with pytest.raises(ValueError, match="exclude each other"):
        ReadRequest(sample=5, product="5")


def read(
    database: Database, archive: Archive, woo: FakeWoo, confirm: str | None = None, **settings: Any
) -> WalkReport:
    config = store(**settings)
    fake = FakeTime()
    with StoreClient(config, transport=woo.transport, sleep=fake.sleep, clock=fake.clock) as client:
        return read_store(
            database,
            WooCommerceSource(config, client),
            archive,
            config,
            ReadRequest(confirm_currency=confirm),
        )


def test_another_currency_stops_the_walk_until_it_is_confirmed(
    database: Database, archive: Archive
) -> None:
    woo = FakeWoo(some(3))
    assert read(database, archive, woo).kind == "full"
    sync(database, archive)
    woo.currency = "DKK"
    with pytest.raises(CurrencyChangedError, match="in DKK now, and were in EUR"):
        read(database, archive, woo)
    with pytest.raises(CurrencyChangedError):
        read(database, archive, woo, confirm="SEK")
    assert len(archive.walk_ids("atelier")) == 1
    report = read(database, archive, woo, confirm="DKK")
    assert (report.kind, report.currency) == ("full", "DKK")
    sync(database, archive)
    assert {row["currency"] for row in rows(database, products)} == {"DKK"}
    assert read(database, archive, woo).kind == "incremental"


def test_the_stores_file_confirms_a_currency(database: Database, archive: Archive) -> None:
    woo = FakeWoo(some(3))
    read(database, archive, woo)
    sync(database, archive)
    assert read(database, archive, woo, currency="SEK").currency == "SEK"
    assert sync(database, archive).changed == 3


def test_a_confirmed_currency_stays_confirmed_until_all_rows_are_in_it(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(3))
    sync(database, archive)
    archived(archive, some(2), currency="DKK", complete=False)
    sync(database, archive)
    (state,) = rows(database, store_states)
    assert state["currency"] == "EUR"
    woo = FakeWoo(some(3), currency="DKK")
    assert read(database, archive, woo).kind == "full"


def test_a_store_that_wants_variations_from_now_on_is_read_whole_once(
    database: Database, archive: Archive
) -> None:
    woo = FakeWoo([product(1), product(2, type="variable")])
    main = store()

    def pictures(request: httpx.Request) -> httpx.Response | None:
        image = {"id": 7, "src": "https://shop.example.com/7.jpg"}
        asks = request.url.path.endswith("/products/2/variations")
        return reply([{"id": 20, "status": "publish", "image": image}]) if asks else None

    woo.override = pictures
    for images, kind in (("main", "full"), ("main", "incremental"), ("gallery", "incremental")):
        assert read(database, archive, woo, images=images).kind == kind
        sync(database, archive)
    assert lacks_variations(archive, store(images="all"))
    assert not lacks_variations(archive, store(images="gallery"))
    archived(archive, woo.products[:1], images="all", complete=False)
    assert read(database, archive, woo, images="all").kind == "full"
    sync(database, archive)
    (row,) = rows(database, variation_images)
    assert row["variation_id"] == "20"
    assert read(database, archive, woo, images="all").kind == "incremental"
    # While it wants none, what changes about variations is not read.
    assert read(database, archive, woo, images="main").kind == "incremental"
    assert read(database, archive, woo, images="all").kind == "full"
    assert not lacks_variations(archive, main)


@pytest.mark.parametrize("walk", ["auto", "incremental", "sweep", "nightly"])
def test_what_a_setting_asks_for_is_read_whole_but_for_one_product(walk: WalkChoice) -> None:
    def planned(request: ReadRequest) -> list[tuple[str, str | None]]:
        orders = plan_walks(request, SEEN_BEFORE, "EUR", NothingKnown(), images="all", whole=True)
        return [(order.kind, order.images) for order in orders]

    assert planned(ReadRequest(walk)) == [("full", "all")]
    assert planned(ReadRequest(walk, product="5")) == [("product", "all")]
    assert planned(ReadRequest(walk, sample=5)) == [("full", "all")]


@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_the_watermark_is_the_servers_clock_at_the_start(
    database: Database, archive: Archive, kind: Any
) -> None:
    archived(archive, some(3))
    sync(database, archive)
    later = CLOCK + timedelta(hours=3)
    archived(archive, some(3, date_modified_gmt="2099-01-01T00:00:00"), kind=kind, clock=later)
    assert sync(database, archive).watermark == later.isoformat()


def test_a_sweep_moves_no_watermark(database: Database, archive: Archive) -> None:
    archived(archive, some(3))
    archived(archive, [], kind="sweep", swept=some(3), clock=CLOCK + timedelta(hours=3))
    report = sync(database, archive)
    assert (report.walks, report.watermark) == (2, CLOCK.isoformat())


def test_a_clock_that_is_not_the_servers_is_trusted_less(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(3), clock_is_the_servers=False)
    watermark = sync(database, archive).watermark
    assert watermark == datetime(2026, 11, 19, 6, tzinfo=UTC).isoformat()
