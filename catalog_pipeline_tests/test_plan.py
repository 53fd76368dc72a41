"""A plan tells what the sync then does, by whatever decides it anew, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from qdrant_client import QdrantClient
from sqlalchemy import select

from catalog_pipeline.catalog import bulk
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.removal_approvals import approve_products, record_approval
from catalog_pipeline.catalog.schema import (
    image_attempts,
    image_verdicts,
    images,
    products,
    removal_approvals,
    removal_waits,
)
from catalog_pipeline.cli.main import main
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, write_stores_file
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.images.measure import Measurements
from catalog_pipeline.images.records import image_row
from catalog_pipeline.images.sync import sync_images
from catalog_pipeline.plan import Plan, plan
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.test_gate_preview import GOOD
from catalog_pipeline_tests.vectors.shop import MODEL, MOMENT, Shop, sha_of, store_config

SALE = [{"name": "Sale", "slug": "sale"}]


@pytest.fixture
def shop(any_database: Database, tmp_path: Path) -> Iterator[Shop]:
    client = QdrantClient(":memory:")
    yield Shop(any_database, DataFolder(str(tmp_path / "data")), ServerIndex(client))
    client.close()


def settled(shop: Shop, *numbers: int, **columns: Any) -> None:
    """Products of which nothing is owed."""
    shop.add(*numbers, **columns)
    rows = [
        {
            "store_id": shop.store_id,
            "url": shop.url(number),
            "outcome": "fetched",
            "image_sha256": sha_of(f"atelier-{number}"),
            "image_id": "1",
            "failures": 0,
            "attempted_at": MOMENT,
        }
        for number in numbers
    ]
    with shop.database.write() as connection:
        bulk.upsert(connection, image_attempts, rows)
    decided(shop)
    shop.sync()


def decided(shop: Shop, **keys: Any) -> None:
    """The products stage, with these settings."""
    with shop.lease() as lease:
        sync_products(lease, Archive(shop.files), store_config(shop.store_id, **keys))


def planned(shop: Shop, **keys: Any) -> Plan:
    return plan(
        shop.database,
        store_config(shop.store_id, **keys),
        model_version=MODEL.model_version,
        collection=shop.collection,
    )


def on_record(shop: Shop) -> list[Any]:
    tables = (products, image_verdicts, removal_approvals, removal_waits)
    with shop.database.read() as connection:
        return [
            connection.execute(select(table).order_by(*table.primary_key)).all() for table in tables
        ]


def test_products_that_new_rules_leave_out_are_removals(shop: Shop) -> None:
    settled(shop, *range(1, 21))
    settled(shop, *range(21, 26), categories=SALE)
    shop.change(25, title="Renamed")
    before = on_record(shop)
    rules = {"exclude": {"category": ["sale"]}}
    # A database may keep to how it understood a statement at first.
    for _ in range(8):
        as_it_is = planned(shop)
        assert (as_it_is.remove, as_it_is.refresh) == ({}, 1)
    for _ in range(8):
        found = planned(shop, **rules)
        assert (found.remove, found.refresh, found.removals_wait) == ({"left_out": 5}, 0, False)
        assert planned(shop) == as_it_is
    everything = planned(shop, exclude={"category": ["sale", "dresses"]})
    assert (everything.remove, everything.removals_wait) == ({"left_out": 25}, True)
    assert on_record(shop) == before
    decided(shop, **rules)
    assert shop.sync().deleted == found.remove


def test_products_that_new_rules_let_in_are_fetched_or_loaded(shop: Shop) -> None:
    settled(shop, 1, 2, 3)
    shop.change(3, categories=SALE)
    shop.product(4, categories=SALE)
    rules = {"exclude": {"category": ["sale"]}}
    decided(shop, **rules)
    assert shop.sync().deleted == {"left_out": 1}
    assert (planned(shop, **rules).fetch, planned(shop, **rules).load) == (0, 0)
    found = planned(shop)
    assert (found.fetch, found.load, found.remove) == (1, 1, {})
    decided(shop)
    assert (shop.sync().upserted, planned(shop).fetch) == (1, 1)


def waits(shop: Shop, numbers: range) -> None:
    rows = [
        {
            "product_id": shop.id(number),
            "store_id": shop.store_id,
            "reason": "absent",
            "walk_id": "w5",
        }
        for number in numbers
    ]
    with shop.database.write() as connection:
        bulk.upsert(connection, removal_waits, rows)


def test_removals_that_a_person_approved_are_part_of_it(shop: Shop) -> None:
    settled(shop, *range(1, 31))
    waits(shop, range(1, 16))
    assert planned(shop).remove == {}
    approve_products(shop.database, shop.store_id, 15, who="kim", reason="the sale is over")
    before = on_record(shop)
    found = planned(shop)
    assert (found.remove, found.removals_wait) == ({"removed": 15}, False)
    assert on_record(shop) == before
    decided(shop)
    again = planned(shop)
    assert (again.remove, again.removals_wait) == ({"removed": 15}, False)
    assert shop.sync().deleted == {"removed": 15}


def test_an_approval_of_another_number_lets_nothing_go(shop: Shop) -> None:
    settled(shop, *range(1, 31))
    waits(shop, range(1, 16))
    approve_products(shop.database, shop.store_id, 15, who="kim", reason="the sale is over")
    waits(shop, range(16, 18))
    assert planned(shop).remove == {}
    decided(shop)
    assert shop.sync().deleted == {}


@pytest.mark.parametrize(("count", "wait"), [(15, False), (14, True)])
def test_points_wait_unless_their_number_is_approved(shop: Shop, count: int, wait: bool) -> None:
    settled(shop, *range(1, 31))
    for number in range(1, 16):
        shop.change(number, removed_by="absent")
    assert planned(shop).removals_wait
    with shop.database.write() as connection:
        record_approval(
            connection, "atelier", "points", count, waiting=count, who="kim", reason="sale"
        )
    found = planned(shop)
    assert (found.remove, found.removals_wait) == ({"removed": 15}, wait)
    assert planned(shop) == found
    assert (shop.sync().deleted == {}) is wait


def judged(shop: Shop, **keys: Any) -> None:
    """The images stage, with these settings and no download."""
    with shop.lease() as lease:
        store = store_config(shop.store_id, **keys)
        report = sync_images(lease, shop.files, store, decoder=Decoder(workers=1))
    assert report.requests == 0


def test_a_new_gate_is_foreseen(shop: Shop) -> None:
    settled(shop, 1, 2, 3)
    rows = [
        image_row(sha_of(f"atelier-{number}"), Measurements(**(GOOD | {"width": width})))
        for number, width in ((1, 250), (2, 400), (3, 400))
    ]
    with shop.database.write() as connection:
        bulk.upsert(connection, images, rows)
    judged(shop)
    shop.sync()
    before = on_record(shop)
    strict = {"quality": {"min_side": 300}}
    found = planned(shop, **strict)
    assert (found.judge, found.remove, planned(shop).remove) == (3, {"image_rejected": 1}, {})
    assert on_record(shop) == before
    judged(shop, **strict)
    assert shop.sync().deleted == found.remove
    assert (planned(shop, **strict).load, planned(shop).load) == (0, 1)
    judged(shop)
    assert shop.sync().upserted == 1


def test_the_command_leaves_runs_and_their_records_alone(tmp_path: Path) -> None:
    write_stores_file(tmp_path / "stores.yaml", "http://127.0.0.1:9")
    environ = {
        "CATALOG_DATA_DIR": str(tmp_path),
        "CATALOG_STORES_FILE": str(tmp_path / "stores.yaml"),
        "CATALOG_MODEL": DEMO_MODEL,
        KEY_VARIABLE: "ck_x",
        SECRET_VARIABLE: "cs_x",
        "DAGSTER_HOME": None,
    }
    called = CliRunner().invoke(main, ["plan", "--json"], env=environ)
    assert called.exit_code == 0, called.output
    assert json.loads(called.stdout)["stores"]
    assert not (tmp_path / "dagster").exists(), "Dagster was asked for its runs"
