"""Walks put into the archive by hand, and the rows that become of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.removal_approvals import Approval
from catalog_pipeline.catalog.schema import (
    product_images,
    products,
    quarantine,
    removal_waits,
    store_states,
    variation_images,
    walks,
)
from catalog_pipeline.products.archive import Archive, WalkManifest
from catalog_pipeline.products.source import Page, WalkKind, WalkOrder, WalkStart
from catalog_pipeline.products.sync import ProductsReport, sync_products
from catalog_pipeline.stores import ImageChoice, StoreConfig
from catalog_pipeline_tests.products.wordpress import product, store

CLOCK = datetime(2026, 11, 20, 6, tzinfo=UTC)


def archived(
    archive: Archive,
    records: list[Any],
    *,
    complete: bool = True,
    manifest: bool = True,
    currency: str = "EUR",
    kind: WalkKind = "full",
    clock: datetime = CLOCK,
    store_id: str = "atelier",
    swept: Sequence[Any] = (),
    trash: Sequence[Any] = (),
    variations: Mapping[int, Sequence[Any]] | None = None,
    images: ImageChoice | None = None,
    unshown_ids: tuple[str, ...] = (),
    clock_is_the_servers: bool = True,
    per_page: int = 100,
) -> str:
    """A walk in the archive that brought these records.

    `swept` are products of which only a few fields were asked for, `trash` such of the trash;
    `variations` are by product, and `images` is the setting that the walk was made with.
    """
    start = WalkStart(clock, clock_is_the_servers, currency, len(records), None)
    since = clock if kind == "incremental" else None
    order = WalkOrder(kind, since=since, images=images)
    writer = archive.begin(store_id, "woocommerce", order, start)
    for name, found in (("ids", swept), ("products", records), ("trash", trash)):
        shown = found if name == "products" else [_sighting(record) for record in found]
        for first in range(0, len(shown), per_page):
            writer.add(Page(json.dumps(shown[first : first + per_page]).encode(), (), name))
    for number, shown in (variations or {}).items():
        writer.add(Page(json.dumps(shown).encode(), (), f"variations-{number}"))
    if manifest:
        writer.finish(
            WalkManifest(
                **writer.begin.model_dump(),
                finished_at=clock,
                complete=complete,
                reason=None if complete else "cut off",
                announced_at_end=len(records),
                pages=writer.pages,
                records=len(records),
                ids=len(records),
                duplicates=0,
                unreadable_ids=0,
                bytes=writer.bytes,
                requests=1,
                retries=0,
                throttles=0,
                unshown_ids=unshown_ids,
            )
        )
    return writer.begin.walk_id


def _sighting(record: Any) -> dict[str, Any]:
    return {name: record[name] for name in ("id", "status", "date_modified_gmt")}


def sync(
    database: Database,
    archive: Archive,
    config: StoreConfig | None = None,
    approval: Approval | None = None,
) -> ProductsReport:
    """Process what is owed."""
    config = config or store()
    with hold_store(database, config.id, "run") as lease:
        return sync_products(lease, archive, config, approval=approval)


def rows(database: Database, table: Table, *without: str) -> list[dict[str, Any]]:
    """A table's rows in the order of their key, some columns left out."""
    with database.read() as connection:
        found = connection.execute(select(table).order_by(*table.primary_key)).mappings().all()
    return [{k: v for k, v in row.items() if k not in without} for row in found]


def row_of(database: Database, number: int) -> dict[str, Any]:
    """A product's row."""
    wanted = product_id("atelier", str(number))
    (found,) = [row for row in rows(database, products) if row["product_id"] == wanted]
    return found


def some(count: int, **changes: Any) -> list[Any]:
    """Products 1 to `count`."""
    return [product(number, **changes) for number in range(1, count + 1)]


def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All rows of the room, without our own clocks."""
    return {
        "products": rows(database, products),
        "images": rows(database, product_images),
        "variations": rows(database, variation_images),
        "quarantine": rows(database, quarantine, "quarantined_at"),
        "walks": rows(database, walks, "processed_at"),
        "waits": rows(database, removal_waits),
        "states": rows(database, store_states),
    }
