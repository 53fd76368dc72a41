"""Archived walks become rows: once, in order, whatever happens in between."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lease import LeaseLostError, StoreLease, hold_store
from catalog_pipeline.catalog.schema import (
    product_images,
    products,
    quarantine,
    store_states,
    walks,
)
from catalog_pipeline.products import models
from catalog_pipeline.products.archive import Archive, ArchiveError
from catalog_pipeline.products.source import Page, WalkOrder, WalkStart
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline_tests.products.walks import (
    CLOCK,
    archived,
    everything,
    row_of,
    rows,
    some,
    sync,
)
from catalog_pipeline_tests.products.wordpress import product, store


def test_a_first_walk(any_database: Database, archive: Archive) -> None:
    seen: list[tuple[int, int]] = []
    walk_id = archived(archive, [*some(1200), product(5000, status="draft")])
    with hold_store(any_database, "atelier", "run") as lease:
        report = sync_products(lease, archive, store(), progress=lambda *at: seen.append(at))
    assert (report.walks, report.seen, report.new) == (1, 1201, 1201)
    assert (report.changed, report.unchanged, report.refused) == (0, 0, 0)
    assert (report.live, report.left_out) == (1200, {"status:draft": 1})
    assert (report.currency, report.watermark) == ("EUR", CLOCK.isoformat())
    assert seen[-1] == (1201, 1201)
    assert len(seen) == 3
    row = row_of(any_database, 7)
    assert row["title"] == "Linen Shirt 7"
    assert row["price"] == Decimal("82.90")
    assert str(row["price"]) == "82.90"
    assert row["categories"] == [{"name": "Shirts & Tops", "slug": "shirts"}]
    assert row["created_at"] == datetime(2025, 10, 14, 18, tzinfo=UTC)
    assert row["image_url"] == "https://shop.example.com/wp-content/uploads/7.jpg"
    assert row["walk_id"] == row["first_walk_id"] == walk_id
    assert row["left_out_by"] is None
    assert len(rows(any_database, product_images)) == 1201
    (walk,) = rows(any_database, walks)
    assert (walk["walk_id"], walk["complete"], walk["seen"]) == (walk_id, True, 1201)


def test_a_page_of_more_records_than_a_batch_is_written_batch_by_batch(
    database: Database, archive: Archive
) -> None:
    """A store may have sent it before such answers were refused."""
    archived(archive, some(1300), per_page=1300)
    seen: list[int] = []
    with hold_store(database, "atelier", "run") as lease:
        report = sync_products(lease, archive, store(), progress=lambda at, _of: seen.append(at))
    assert (report.new, report.live) == (1300, 1300)
    assert seen == [500, 1000, 1300]


def test_an_unchanged_store_changes_nothing(any_database: Database, archive: Archive) -> None:
    archived(archive, some(300))
    sync(any_database, archive)
    before = rows(any_database, products), rows(any_database, product_images)
    archived(archive, some(300))
    report = sync(any_database, archive)
    assert (report.new, report.changed, report.unchanged) == (0, 0, 300)
    assert (rows(any_database, products), rows(any_database, product_images)) == before
    assert sync(any_database, archive).walks == 0


def test_only_what_changed_is_written(any_database: Database, archive: Archive) -> None:
    first = archived(archive, some(10))
    sync(any_database, archive)
    two = [{"id": 1, "src": "/a.jpg"}, {"id": 2, "src": "/b.jpg"}]
    changed = [*some(7), product(8, price="9.00"), product(9, images=[]), product(10, images=two)]
    second = archived(archive, changed)
    report = sync(any_database, archive)
    assert (report.new, report.changed, report.unchanged) == (0, 3, 7)
    assert row_of(any_database, 8)["price"] == Decimal("9.00")
    assert row_of(any_database, 8)["walk_id"] == second
    assert row_of(any_database, 8)["first_walk_id"] == first
    assert row_of(any_database, 7)["walk_id"] == first
    assert row_of(any_database, 9)["image_url"] is None
    images = rows(any_database, product_images)
    by_product = [row["product_id"] for row in images]
    assert by_product.count(product_id("atelier", "9")) == 0
    assert by_product.count(product_id("atelier", "10")) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "x"},
        {"price": "1"},
        {"price": "82.9"},
        {"sku": "x"},
        {"status": "draft"},
        {"on_sale": True},
        {"stock_status": "outofstock"},
        {"tags": []},
        {"date_modified_gmt": "2026-01-02T03:04:06"},
        {"images": [{"id": 1, "src": "https://shop.example.com/wp-content/uploads/1.jpg"}]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_change_counts(database: Database, archive: Archive, changes: dict[str, Any]) -> None:
    archived(archive, some(1))
    sync(database, archive)
    archived(archive, some(1, **changes))
    assert sync(database, archive).changed == 1


def test_another_currency_changes_every_row(database: Database, archive: Archive) -> None:
    archived(archive, some(3))
    sync(database, archive)
    archived(archive, some(3), currency="DKK")
    report = sync(database, archive)
    assert (report.changed, report.currency) == (3, "DKK")
    assert row_of(database, 1)["currency"] == "DKK"


def test_refused_records_wait_in_quarantine(any_database: Database, archive: Archive) -> None:
    archived(archive, some(3))
    sync(any_database, archive)
    bad = product(2, price="1,999", name="a\x00b\ud800c")
    second = archived(archive, [product(1), bad, {"id": None}, "x", product(3), None])
    report = sync(any_database, archive)
    assert (report.refused, report.unchanged, report.quarantined) == (4, 2, 4)
    assert report.quarantined_by_reason["record: is not an object"] == 2
    assert report.quarantined_examples["price: can be read in two ways"] == "2"
    assert (report.live, report.stale) == (3, 1)
    assert row_of(any_database, 2)["price"] == Decimal("82.90")
    kept = {row["external_id"]: row for row in rows(any_database, quarantine)}
    assert len(kept) == 4
    assert {kept[one]["raw"] for one in kept if one.startswith("#")} == {
        '{"id": null}',
        '"x"',
        "null",
    }
    assert json.loads(kept["2"]["raw"]) == bad
    assert kept["2"]["walk_id"] == second
    assert kept["2"]["validator"] == models.VALIDATOR
    (walk,) = [row for row in rows(any_database, walks) if row["walk_id"] == second]
    assert walk["seen"] == 3


def test_a_valid_version_ends_the_quarantine(database: Database, archive: Archive) -> None:
    archived(archive, [product(1, price="?"), product(2, price="?")])
    assert sync(database, archive).quarantined == 2
    archived(archive, [product(1)], complete=False)
    report = sync(database, archive)
    assert (report.quarantined, report.live) == (1, 1)


def test_a_complete_walk_forgets_refused_records_that_are_gone(
    database: Database, archive: Archive
) -> None:
    archived(archive, [product(1), product(2, price="?"), {"id": 0}])
    assert sync(database, archive).quarantined == 2
    archived(archive, [product(1)], complete=False)
    assert sync(database, archive).quarantined == 2
    archived(archive, [product(1)])
    assert sync(database, archive).quarantined == 0


def test_a_newer_validator_tries_again(
    database: Database, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = archived(archive, [product(1), *some(3, price="1,999")[1:], product(4, price="?")])
    assert sync(database, archive).quarantined == 3

    class Newer(models.WooCommerceParser):
        version = "woocommerce-test"

        def parse(self, record: Any) -> Any:
            if record.get("price") == "1,999":
                record = {**record, "price": "1999"}
            return super().parse(record)

    monkeypatch.setattr("catalog_pipeline.products.sync.WooCommerceParser", Newer)
    report = sync(database, archive)
    assert (report.walks, report.new, report.quarantined, report.live) == (0, 2, 1, 3)
    row = row_of(database, 2)
    assert (row["price"], row["currency"], row["walk_id"]) == (Decimal(1999), "EUR", first)
    (still,) = rows(database, quarantine)
    assert (still["external_id"], still["validator"]) == ("4", "woocommerce-test")
    assert sync(database, archive).refused == 0


def test_walks_go_in_order_and_never_back(database: Database, archive: Archive) -> None:
    for price in ("1", "2", "3"):
        archived(archive, some(1, price=price), clock=CLOCK + timedelta(hours=int(price)))
    report = sync(database, archive)
    assert report.walks == 3
    assert row_of(database, 1)["price"] == Decimal(3)
    assert report.watermark == (CLOCK + timedelta(hours=3)).isoformat()
    newest = archive.walk_ids("atelier")[-1]
    with database.write() as connection:
        connection.execute(walks.delete().where(walks.c.walk_id != newest))
    assert sync(database, archive).walks == 0
    assert row_of(database, 1)["price"] == Decimal(3)


def test_only_a_complete_walk_moves_the_watermark(database: Database, archive: Archive) -> None:
    archived(archive, some(2))
    sync(database, archive)
    archived(archive, some(5), complete=False, clock=CLOCK + timedelta(hours=1))
    report = sync(database, archive)
    assert (report.watermark, report.live) == (CLOCK.isoformat(), 5)
    walk_ids = {row["walk_id"]: row["complete"] for row in rows(database, walks)}
    assert sorted(walk_ids.values()) == [False, True]


def test_a_walk_without_an_end_counts_once_a_newer_one_is_there(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(5, name="cut off"), manifest=False)
    report = sync(database, archive)
    assert (report.walks, report.live, report.watermark) == (0, 0, None)
    archived(archive, some(2, name="whole"))
    report = sync(database, archive)
    assert (report.walks, report.live, report.removed) == (2, 2, {"absent": 3})
    assert row_of(database, 1)["title"] == "whole"
    assert row_of(database, 5)["title"] == "cut off"
    assert [row["complete"] for row in rows(database, walks)] == [False, True]


def test_what_an_unfinished_walk_holds_is_not_foretold(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(30), manifest=False)
    archived(archive, some(20))
    seen: list[tuple[int, int]] = []
    with hold_store(database, "atelier", "run") as lease:
        sync_products(lease, archive, store(), progress=lambda *at: seen.append(at))
    assert seen == [(30, 0), (50, 0)]


def test_the_later_of_two_with_one_id_counts(any_database: Database, archive: Archive) -> None:
    records = [product(1, name="a"), product(1, name="b"), product(2), product(2, price="?")]
    archived(archive, [*records, *some(600)[10:], product(1, name="c")])
    report = sync(any_database, archive)
    assert row_of(any_database, 1)["title"] == "c"
    assert report.quarantined == 1
    assert report.seen == 592


def test_a_removed_product_that_is_seen_again_lives(database: Database, archive: Archive) -> None:
    first = archived(archive, some(2))
    sync(database, archive)
    with database.write() as connection:
        connection.execute(
            update(products)
            .where(products.c.external_id == "1")
            .values(removed_by="absent", removed_in=first)
        )
    archived(archive, some(2))
    report = sync(database, archive)
    assert (report.changed, report.unchanged, report.live) == (1, 1, 2)
    row = row_of(database, 1)
    assert (row["removed_by"], row["removed_in"], row["first_walk_id"]) == (None, None, first)


def test_other_rules_decide_anew_without_a_walk(any_database: Database, archive: Archive) -> None:
    records = [*some(1500), product(2000, catalog_visibility="hidden"), product(2001, tags=[])]
    archived(archive, records)
    report = sync(any_database, archive)
    assert (report.live, report.left_out) == (1501, {"exclude.visibility:hidden": 1})
    before = rows(any_database, products, "left_out_by")
    report = sync(any_database, archive, store(exclude={"tag": ["new-in"]}))
    assert (report.walks, report.live) == (0, 1)
    assert report.left_out == {"exclude.tag:new-in": 1501}
    assert rows(any_database, products, "left_out_by") == before
    assert sync(any_database, archive).left_out == {"exclude.visibility:hidden": 1}


def test_counts_by_reason_and_by_rule_are_of_all_however_many_there_are(
    database: Database, archive: Archive
) -> None:
    refused = some(25, price="1,999")
    slugs = [f"t{number}" for number in range(25)]
    tagged = [
        product(100 + at, tags=[{"name": slug, "slug": slug}]) for at, slug in enumerate(slugs)
    ]
    archived(archive, refused + tagged)
    sync(database, archive)
    with database.write() as connection:
        # Reasons name fields and places in them, in any combination.
        connection.execute(
            update(quarantine).values(reason=quarantine.c.reason + quarantine.c.external_id)
        )

    report = sync(database, archive, store(exclude={"tag": slugs}))

    assert (report.quarantined, report.live) == (25, 0)
    assert len(report.quarantined_by_reason) == sum(report.quarantined_by_reason.values()) == 25
    assert report.left_out == {f"exclude.tag:{slug}": 1 for slug in slugs}
    assert set(report.quarantined_examples) < set(report.quarantined_by_reason)


def test_stores_do_not_touch_each_other(database: Database, archive: Archive) -> None:
    archived(archive, some(3))
    archived(archive, some(3, name="other"), store_id="bottega")
    sync(database, archive)
    before = everything(database)
    report = sync(database, archive, store(id="bottega", exclude={"tag": ["new-in"]}))
    assert (report.new, report.live) == (3, 0)
    after = everything(database)
    for name, kept in before.items():
        assert [row for row in after[name] if row["store_id"] == "atelier"] == kept


@pytest.mark.parametrize("damage", [b"junk", None])
def test_a_damaged_page_stops_the_stage_with_its_name(
    database: Database, archive: Archive, tmp_path: Path, damage: bytes | None
) -> None:
    walk_id = archived(archive, some(3))
    page = tmp_path / "data/archive/atelier" / walk_id / "products-000001.json.zst"
    if damage is None:
        archive_of = archive.begin(
            "atelier", "woocommerce", WalkOrder(), WalkStart(CLOCK, True, "EUR", 1, 1)
        )
        archive_of.add(Page(b"<html>", ()))
        other = tmp_path / "data/archive/atelier" / archive_of.begin.walk_id
        page.write_bytes((other / page.name).read_bytes())
    else:
        page.write_bytes(damage)
    with pytest.raises(ArchiveError, match=r"products-000001\.json\.zst"):
        sync(database, archive)
    assert rows(database, walks) == []


def test_an_unknown_source_is_named(database: Database, archive: Archive) -> None:
    start = WalkStart(CLOCK, True, None, 0, 0)
    archive.begin("atelier", "coco", WalkOrder(), start)
    archived(archive, [])
    with pytest.raises(ArchiveError, match="'coco'"):
        sync(database, archive)


def test_a_lost_lease_writes_nothing(database: Database, archive: Archive) -> None:
    archived(archive, some(3))
    with hold_store(database, "atelier", "one") as lease:
        with hold_store(database, "atelier", "one"):
            pass
        with pytest.raises(LeaseLostError):
            sync_products(lease, archive, store())
    assert rows(database, products) == []


class _Cut(Exception):  # noqa: N818
    """Ends the stage between two statements or transactions."""


@contextmanager
def cut_after(lease: StoreLease, writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this many transactions commit and break the next one at its end."""
    real = lease.write
    left = writes

    @contextmanager
    def write() -> Iterator[Connection]:
        nonlocal left
        with real() as connection:
            yield connection
            if left == 0:
                raise _Cut
            left -= 1

    with monkeypatch.context() as patch:
        patch.setattr(lease, "write", write)
        yield


def history() -> list[Callable[[Archive], str]]:
    """Three walks that add, change, break, mend and lose products."""
    chance = random.Random(7)

    def records(round_: int) -> list[Any]:
        found: list[Any] = []
        for number in range(1, 700):
            draw = chance.random()
            if draw < 0.05:
                found.append(product(number, price="?"))
            elif draw < 0.95:
                version = round_ if draw < 0.3 else 0
                found.append(
                    product(number, name=f"n{version}", status=("publish", "draft")[version % 2])
                )
        return [*found, {"id": None}]

    made = [records(round_) for round_ in range(3)]
    return [
        lambda archive: archived(archive, made[0]),
        lambda archive: archived(archive, made[1], manifest=False),
        lambda archive: archived(archive, made[2]),
    ]


def test_cut_off_anywhere_and_run_again_ends_in_the_same_rows(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in history():
        step(archive)
    whole = Database(f"sqlite:///{tmp_path / 'whole.sqlite'}")
    whole.migrate()
    expected_report = sync(whole, archive)
    expected = everything(whole)
    cuts = 0
    for writes in range(12):
        broken = Database(f"sqlite:///{tmp_path / f'cut{writes}.sqlite'}")
        broken.migrate()
        with hold_store(broken, "atelier", "run") as lease:
            try:
                with cut_after(lease, writes, monkeypatch):
                    sync_products(lease, archive, store())
            except _Cut:
                cuts += 1
        report = sync(broken, archive)
        assert everything(broken) == expected
        assert report.live == expected_report.live
        broken.dispose()
    whole.dispose()
    assert cuts == 10


def test_the_report_can_become_metadata(database: Database, archive: Archive) -> None:
    archived(archive, [*some(2), product(3, price="?")])
    report = asdict(sync(database, archive))
    assert json.loads(json.dumps(report)) == report


def test_ids_are_the_ones_that_never_change(database: Database, archive: Archive) -> None:
    archived(archive, [product(7, id="7")])
    sync(database, archive)
    with database.read() as connection:
        stored = connection.scalars(select(products.c.product_id)).one()
        assert stored == product_id("atelier", "7")
        assert connection.scalar(select(func.count()).select_from(store_states)) == 1


def test_quarantined_text_that_was_cut_waits_for_the_next_walk(
    database: Database, archive: Archive
) -> None:
    archived(archive, [product(1, price="?", note="x" * 1_100_000)])
    sync(database, archive)
    (row,) = rows(database, quarantine)
    assert len(row["raw"]) == 1_000_000
    with database.write() as connection:
        upsert(connection, quarantine, [{**row, "validator": "older"}])
    assert sync(database, archive).quarantined == 1
    archived(archive, [product(1)])
    assert sync(database, archive).quarantined == 0
