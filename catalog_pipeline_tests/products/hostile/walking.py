"""Walking a shop on loopback into a real database, and looking at what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import (
    product_images,
    products,
    quarantine,
    removal_waits,
    store_states,
)
from catalog_pipeline.products.archive import Archive, WalkManifest
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.known import StoredProducts
from catalog_pipeline.products.source import WalkOrder
from catalog_pipeline.products.sync import ProductsReport, sync_products
from catalog_pipeline.products.walk import WalkReport, walk_store
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.products.hostile.server import HostileStore
from catalog_pipeline_tests.products.walks import archived
from catalog_pipeline_tests.products.wordpress import FakeTime, store


@dataclass
class Room:
    """A catalogue, its archive, and the stores in them."""

    database: Database
    archive: Archive
    stores: int = 0

    def new_store(self, shop: HostileStore, **settings: Any) -> StoreConfig:
        """A store that nothing is known of yet."""
        self.stores += 1
        return store(
            id=f"store-{self.stores}", url=shop.url, allow_private_addresses=True, **settings
        )

    def stock(self, config: StoreConfig, records: Sequence[Any]) -> None:
        """Rows of a store from an undisturbed walk."""
        archived(self.archive, list(records), store_id=config.id)
        assert self.sync(config).live == len(records)

    def walk(self, config: StoreConfig, fake: FakeTime) -> WalkReport:
        """A full walk; waits move the clock and take no time."""
        known = StoredProducts(self.database, config.id)
        with StoreClient(config, sleep=fake.sleep, clock=fake.clock) as client:
            source = WooCommerceSource(config, client)
            return walk_store(source, self.archive, config, WalkOrder(known=known))

    def sync(self, config: StoreConfig) -> ProductsReport:
        """Process what is owed."""
        with hold_store(self.database, config.id, "run") as lease:
            return sync_products(lease, self.archive, config)

    def manifest(self, config: StoreConfig) -> WalkManifest:
        """Of the store's newest walk."""
        walk = self.archive.open(config.id, self.archive.walk_ids(config.id)[-1])
        assert walk is not None
        assert walk.manifest is not None
        return walk.manifest

    def rows(self, config: StoreConfig, table: Table) -> list[dict[str, Any]]:
        """The store's rows of a table, in the order of their key."""
        statement = select(table).where(table.c.store_id == config.id).order_by(*table.primary_key)
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def state(self, config: StoreConfig) -> dict[str, list[dict[str, Any]]]:
        """All that a walk which proves nothing must leave as it is."""
        tables = (products, product_images, quarantine, removal_waits, store_states)
        return {table.name: self.rows(config, table) for table in tables}
