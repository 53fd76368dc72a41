"""Which walks a run makes, when another currency stops it, and what a walk settles at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import (
    products,
    quarantine,
    store_states,
    variation_images,
    walks,
)
from catalog_pipeline.products.archive import Archive, ArchiveError
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.reading import (
    CurrencyChangedError,
    ReadRequest,
    ReadState,
    WalkChoice,
    lacks_variations,
    plan_walks,
    read_state,
    read_store,
    together,
)
from catalog_pipeline.products.source import PROVING_KINDS, NothingKnown, Page, WalkOrder, WalkStart
from catalog_pipeline.products.sync import History, sync_products
from catalog_pipeline.products.walk import WalkReport
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline_tests.products.walks import CLOCK, archived, row_of, rows, some, sync
from catalog_pipeline_tests.products.wordpress import FakeTime, FakeWoo, product, reply, store

SEEN_BEFORE = ReadState(CLOCK, "EUR", "EUR")
NEVER_SEEN = ReadState()


def kinds(request: ReadRequest, state: ReadState, currency: str = "EUR") -> list[str]:
    known = NothingKnown()
    orders = plan_walks(request, state, currency, known)
    for order in orders:
        if order.kind in PROVING_KINDS:
            assert order.known is known, "or everything that is stored would count as gone"
    return [order.kind for order in orders]


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
    (order,) = plan_walks(ReadRequest(sample=5), SEEN_BEFORE, "EUR", NothingKnown())
    assert (order.kind, order.sample) == ("full", 5)
    assert kinds(ReadRequest(product="5"), SEEN_BEFORE) == ["product"]
    assert kinds(ReadRequest(product="5"), NEVER_SEEN) == ["product"]
    with pytest.raises(ValueError, match=r"^a sample and one product exclude each other$"):
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


def test_a_sweep_is_told_what_is_stored_of_its_store_and_tells_how_far_it_is(
    database: Database, archive: Archive
) -> None:
    woo, told, config, fake = FakeWoo(some(3)), list[tuple[int, int]](), store(), FakeTime()
    read(database, archive, woo)
    sync(database, archive)
    woo.requests.clear()
    with StoreClient(config, transport=woo.transport, sleep=fake.sleep, clock=fake.clock) as client:
        read_store(
            database,
            WooCommerceSource(config, client),
            archive,
            config,
            ReadRequest("sweep"),
            progress=lambda done, total: told.append((done, total)),
        )
    assert told[-1] == (3, 3)
    assert not [request for request in woo.requests if "include" in request.url.params]


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


def test_the_currency_is_that_of_the_stores_own_walks_that_told_one(
    database: Database, archive: Archive
) -> None:
    assert read_state(database, "atelier") == ReadState()
    archived(archive, some(1))
    later = {"kind": "incremental", "clock": CLOCK + timedelta(hours=1)}
    archived(archive, some(1), currency=None, **later)  # type: ignore[arg-type]
    sync(database, archive)
    archived(archive, some(1), currency="DKK", store_id="bottega")
    sync(database, archive, store(id="bottega"))
    assert read_state(database, "atelier") == ReadState(CLOCK + timedelta(hours=1), "EUR", "EUR")


def test_without_any_whole_walk_variations_are_lacking(archive: Archive) -> None:
    assert lacks_variations(archive, store(images="all"))
    archived(archive, some(1), images="all", complete=False)
    assert lacks_variations(archive, store(images="all"))


def test_several_walks_of_a_run_are_told_as_one() -> None:
    first = WalkReport(
        walk_id="1",
        kind="incremental",
        complete=False,
        reason="cut off",
        server_clock="06:00",
        watermark="05:00",
        currency="EUR",
        announced=3,
        pages=1,
        records=2,
        products=3,
        duplicates=4,
        unreadable_ids=5,
        readings=6,
        unshown=7,
        bytes=8,
        digest="a",
        news=12,
        requests=9,
        retries=10,
        throttles=11,
    )
    last = replace(
        first,
        walk_id="2",
        kind="sweep",
        complete=True,
        reason=None,
        server_clock="06:01",
        watermark=None,
        announced=100,
        products=99,
        digest="b",
    )
    assert together([last]) is last
    assert together([first, last]) == replace(
        last,
        kind="incremental + sweep",
        complete=False,
        reason="cut off",
        server_clock="06:00",
        watermark="05:00",
        pages=2,
        records=4,
        bytes=16,
        digest=together([first, last]).digest,
        news=24,
        requests=18,
        retries=20,
        throttles=22,
    )
    assert together([last, last]).reason is None
    assert together([first, replace(last, news=None)]).news is None
    assert together([first, first]).reason == "cut off; cut off"
    # Another page of either is another reading.
    readings = [(first, last), (first, first), (last, last)]
    assert len({together(list(reports)).digest for reports in readings}) == 3


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


def test_a_product_that_is_not_variable_any_more_has_no_variations(
    database: Database, archive: Archive
) -> None:
    shown = {"id": 20, "status": "publish", "image": {"id": 7, "src": "/7.jpg"}}
    archived(archive, [product(2, type="variable")], variations={2: [shown]}, images="all")
    sync(database, archive)
    assert len(rows(database, variation_images)) == 1
    archived(archive, [product(2)], images="all")
    sync(database, archive)
    assert rows(database, variation_images) == []


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


def test_a_sweep_that_misses_much_is_settled_and_can_be_settled_anew(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(40))
    sync(database, archive)
    clock = CLOCK + timedelta(hours=1)
    unreadable = {**product(1), "id": None}
    sweep = archived(
        archive,
        [],
        kind="sweep",
        swept=[*some(12), unreadable],
        # Whatever status is shown there.
        trash=[product(13)],
        unshown_ids=("14",),
        clock=clock,
    )
    gone = {"trash": 1, "absent": 26}
    assert sync(database, archive).waiting == gone
    (_, record) = rows(database, walks, "processed_at")
    assert record == {
        "store_id": "atelier",
        "walk_id": sweep,
        "kind": "sweep",
        "complete": True,
        "server_clock": clock,
        "currency": "EUR",
        "announced": 0,
        "seen": 13,
        "removed": 0,
        "waiting": 27,
    }
    archived(archive, [product(40)], kind="incremental", clock=clock)
    assert sync(database, archive).waiting == {"trash": 1, "absent": 25}
    (*_, record) = rows(database, walks)
    assert (record["kind"], record["removed"], record["waiting"]) == ("incremental", None, None)
    walk = archive.open("atelier", sweep)
    assert walk is not None
    with hold_store(database, "atelier", "run") as lease:
        report = sync_products(lease, archive, store(), history=History([walk], {sweep: True}))
    assert (report.removed, report.waiting, report.live) == (gone, {}, 13)
    assert row_of(database, 13)["removed_in"] == sweep


@pytest.mark.parametrize(("ended", "announced"), [(True, 2), (False, 3)])
def test_a_walk_is_recorded_with_what_the_store_announced_last(
    database: Database, archive: Archive, tmp_path: Path, ended: bool, announced: int
) -> None:
    walk_id = archived(archive, some(3), manifest=ended)
    archived(archive, some(3))
    if ended:
        manifest = tmp_path / "data/archive/atelier" / walk_id / "manifest.json"
        told = json.loads(manifest.read_text(encoding="utf-8"))
        manifest.write_text(json.dumps({**told, "announced_at_end": 2}), encoding="utf-8")
    sync(database, archive)
    assert [row["announced"] for row in rows(database, walks)] == [announced, 3]


def cut_off(archive: Archive, *pages: Page) -> None:
    """A walk without an end, and a newer one of nothing, so that it counts."""
    start = WalkStart(CLOCK, True, "EUR", None, None)
    writer = archive.begin("atelier", "woocommerce", WalkOrder(), start)
    for page in pages:
        writer.add(page)
    archived(archive, [], complete=False)


def test_pages_of_another_kind_are_passed_over(database: Database, archive: Archive) -> None:
    """As a later version may archive them."""
    body = json.dumps(some(1)).encode()
    cut_off(archive, Page(json.dumps([product(9)]).encode(), (), "notes"), Page(body, ()))
    report = sync(database, archive)
    assert (report.walks, report.seen, report.live) == (2, 1, 1)


def test_a_page_that_is_none_says_how_to_go_on(database: Database, archive: Archive) -> None:
    cut_off(archive, Page(b"<html>", ()))
    with pytest.raises(ArchiveError, match=r"; remove the walk's folder to go on without it$"):
        sync(database, archive)


def test_what_a_full_walk_shows_in_the_trash_is_removed(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(3))
    sync(database, archive)
    archived(archive, [*some(2), product(3, status="trash")])
    assert sync(database, archive).removed == {"trash": 1}


def test_refused_records_that_are_gone_are_forgotten_in_their_own_store(
    database: Database, archive: Archive
) -> None:
    def kept(store_id: str) -> list[str]:
        return [
            row["external_id"] for row in rows(database, quarantine) if row["store_id"] == store_id
        ]

    archived(archive, [product(1), *some(3, price="?")[1:], {"id": None}])
    sync(database, archive)
    archived(archive, some(2, price="?"), store_id="bottega")
    sync(database, archive, store(id="bottega"))
    stand_in, *named = kept("atelier")
    assert (stand_in[0], named) == ("#", ["2", "3"])
    # What has no id no sweep can miss.
    archived(archive, [], kind="sweep", swept=some(2))
    sync(database, archive)
    assert kept("atelier") == [stand_in, "2"]
    archived(archive, [product(1)])
    sync(database, archive)
    assert (kept("atelier"), kept("bottega")) == ([], ["1", "2"])
