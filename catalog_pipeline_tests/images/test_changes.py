"""What a change in the store, in the settings or in the gate makes the images stage do again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from pytest_httpserver import HTTPServer

from catalog_pipeline.catalog import audit
from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.schema import product_images, variation_images, walks
from catalog_pipeline.files import DataFolder
from catalog_pipeline_tests.images.conftest import MakeStore
from catalog_pipeline_tests.images.drawing import garment_bytes
from catalog_pipeline_tests.images.test_sync import Shop


@pytest.fixture
def shop(
    httpserver: HTTPServer, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    return Shop(httpserver, database, DataFolder(str(tmp_path_factory.mktemp("data"))))


def walked(shop: Shop, kind: str, *, complete: bool = True, ahead: timedelta = timedelta()) -> None:
    """A walk whose rows are committed a moment after all that was asked so far."""
    now = datetime.now(UTC) + ahead
    row = {
        "store_id": "atelier",
        "walk_id": f"{now:%Y%m%dT%H%M%S%f}",
        "kind": kind,
        "complete": complete,
        "server_clock": now,
        "seen": 1,
        "processed_at": now,
    }
    with shop.database.write() as connection:
        upsert(connection, walks, [row])


def test_a_full_walk_asks_again_and_a_304_costs_no_download(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1), "/b.jpg": garment_bytes(2)}
    shop.offers(shop.url("/a.jpg"), shop.url("/b.jpg"))
    walked(shop, "full")
    shop.sync(make_store())
    assert len(shop.requests) == 2
    for kind, complete in (("incremental", True), ("sweep", True), ("full", False)):
        walked(shop, kind, complete=complete)
        assert shop.sync(make_store()).requests == 0, f"{kind} {complete}"
    walked(shop, "full")
    report = shop.sync(make_store())
    assert (report.unchanged, report.fetched, report.bytes) == (2, 0, 0)
    assert shop.sync(make_store()).requests == 0
    # Of a clock that ran ahead, it would come after every look.
    walked(shop, "full", ahead=timedelta(days=365))
    assert shop.sync(make_store()).requests == 0


def test_a_file_replaced_under_its_url_is_found_by_the_next_full_walk(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    shop.sync(make_store())
    before = shop.accepted()
    shop.served["/a.jpg"] = garment_bytes(3)
    walked(shop, "full")
    report = shop.sync(make_store())
    assert (report.fetched, report.unchanged) == (1, 0)
    assert shop.accepted() != before
    # A file that cannot be read for now leaves the good one in its place.
    good = shop.accepted()
    shop.served["/a.jpg"] = 500
    walked(shop, "full")
    report = shop.sync(make_store())
    assert (report.stale, report.accepted) == (1, 1)
    assert shop.accepted() == good


def test_a_new_image_id_or_date_under_the_same_url_is_asked_for(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    shop.sync(make_store())
    shop.offers(shop.url("/a.jpg"), image_id="7")
    assert shop.sync(make_store()).unchanged == 1
    shop.offers(shop.url("/a.jpg"), image_id="7", modified_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert shop.sync(make_store()).unchanged == 1
    assert shop.sync(make_store()).requests == 0


def test_refetch_downloads_whatever_is_known(shop: Shop, make_store: MakeStore) -> None:
    shop.served = {"/a.jpg": garment_bytes(1), "/b.jpg": garment_bytes(2)}
    shop.offers(shop.url("/a.jpg"), shop.url("/b.jpg"))
    shop.sync(make_store())
    one = product_id("atelier", "1")
    report = shop.sync(make_store(), product_id=one, refetch=True)
    assert (report.fetched, report.unchanged, report.requests) == (1, 0, 1)
    # How the store stands is told of all of it.
    assert (report.wanted, report.accepted) == (2, 2)
    assert [request.path for request in shop.requests] == ["/b.jpg"]


def test_a_run_is_bounded_and_leaves_the_rest_owed(shop: Shop, make_store: MakeStore) -> None:
    shop.served = {f"/{number}.jpg": garment_bytes(number) for number in range(5)}
    shop.offers(*map(shop.url, shop.served))
    store = make_store(max_images_per_run=2)
    counts = [(report.fetched, report.left) for report in (shop.sync(store) for _ in range(4))]
    assert counts == [(2, 3), (2, 1), (1, 0), (0, 0)]


def test_gallery_and_variations_are_fetched_only_where_they_are_wanted(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {f"/{name}.jpg": garment_bytes(number) for number, name in enumerate("abc")}
    shop.offers(shop.url("/a.jpg"))
    identity = product_id("atelier", "0")
    other = {"product_id": identity, "store_id": "atelier", "image_id": "8"}
    with shop.database.write() as connection:
        upsert(connection, product_images, [other | {"position": 1, "url": shop.url("/b.jpg")}])
        varied = {"variation_id": "5", "image_id": "9", "url": shop.url("/c.jpg")}
        upsert(connection, variation_images, [other | varied])
    asked = []
    for images in ("main", "gallery", "all"):
        report = shop.sync(make_store(images=images))
        asked.append(([request.path for request in shop.requests], report.wanted))
    assert asked == [(["/a.jpg"], 1), (["/b.jpg"], 2), (["/c.jpg"], 3)]


def test_a_change_of_the_gate_is_on_record_with_what_changed(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    shop.sync(make_store())
    with shop.database.read() as connection:
        assert audit.entries(connection) == []
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=1), tick=True):
        for _ in range(2):
            shop.sync(make_store(quality={"min_side": 250}))
    with shop.database.read() as connection:
        (entry,) = audit.entries(connection)
    assert (entry.action, entry.who, entry.store_id) == ("gate", "stores.yaml", "atelier")
    assert entry.details == {"changed": {"min_side": [200, 250]}}
