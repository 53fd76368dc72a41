"""A store that is edited between and during walks, and rows that end as the store does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import products, quarantine
from catalog_pipeline.catalog.wanted import is_live
from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.demo.store import WooStore
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.reading import ReadRequest, WalkChoice, read_store
from catalog_pipeline.products.sync import ProductsReport, sync_products
from catalog_pipeline.products.walk import WalkReport
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.products.wordpress import store as configured

SIZE = 130


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Iterator[SampleStores]:
    with SampleStores(products_per_store=SIZE) as opened:
        monkeypatch.setenv("CANARY_KEY", opened.key)
        monkeypatch.setenv("CANARY_SECRET", opened.secret)
        yield opened


class Catalogue:
    """A store's rows, and the walks that bring them, in a folder of their own."""

    def __init__(self, samples: SampleStores, folder: Path, **changes: Any) -> None:
        self.shop: WooStore = next(iter(samples.stores.values()))
        self.config: StoreConfig = configured(
            id=self.shop.id, url=self.shop.url, allow_private_addresses=True, **changes
        )
        self.archive = Archive(DataFolder(str(folder / "data")))
        self.database = Database(f"sqlite:///{folder / 'catalog.sqlite'}")
        self.database.migrate()

    def read(
        self,
        walk: WalkChoice = "auto",
        progress: Callable[[int, int], None] | None = None,
        **request: Any,
    ) -> WalkReport:
        with StoreClient(self.config) as client:
            return read_store(
                self.database,
                WooCommerceSource(self.config, client),
                self.archive,
                self.config,
                ReadRequest(walk, **request),
                progress=progress,
            )

    def process(self) -> ProductsReport:
        with hold_store(self.database, self.config.id, "run") as lease:
            return sync_products(lease, self.archive, self.config)

    def sync(self, walk: WalkChoice = "auto", **request: Any) -> ProductsReport:
        self.read(walk, **request)
        return self.process()

    def live(self) -> dict[str, str]:
        """The content of each live row, by its id in the store."""
        with self.database.read() as connection:
            found = connection.execute(
                select(products.c.external_id, products.c.content_hash).where(is_live())
            )
            return {row.external_id: row.content_hash for row in found}

    def refused(self) -> set[str]:
        with self.database.read() as connection:
            return set(connection.scalars(select(quarantine.c.external_id)))

    def removed(self) -> dict[str, str]:
        with self.database.read() as connection:
            found = connection.execute(
                select(products.c.external_id, products.c.removed_by).where(
                    products.c.removed_by.is_not(None)
                )
            )
            return {row.external_id: row.removed_by for row in found}


@pytest.fixture
def catalogue(samples: SampleStores, tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(samples, tmp_path)
    yield opened
    opened.database.dispose()


def fresh_copy(samples: SampleStores, folder: Path) -> dict[str, str]:
    """The live rows that a first sync makes of the store as it is now."""
    folder.mkdir()
    copy = Catalogue(samples, folder)
    copy.sync("full")
    copy.database.dispose()
    return copy.live()


def test_an_unchanged_store_is_cheap_and_changes_nothing(catalogue: Catalogue) -> None:
    first = catalogue.sync()
    assert first.new > 100
    catalogue.shop.clock.advance(minutes=30)
    before = catalogue.live()
    walked = catalogue.read("nightly")
    assert (walked.kind, walked.complete) == ("incremental + sweep", True)
    # Totals and a page of scheduled products, then totals and two pages of ids.
    assert walked.requests == 5
    report = catalogue.process()
    assert (report.walks, report.new, report.changed) == (2, 0, 0)
    assert (report.removed, report.waiting) == ({}, {})
    assert catalogue.live() == before


def test_an_incremental_walk_brings_what_changed_and_nothing_else(catalogue: Catalogue) -> None:
    catalogue.sync()
    shop = catalogue.shop
    shop.clock.advance(minutes=30)
    edited = shop.product_ids("publish")[3:8]
    for product in edited:
        shop.edit(product, regular_price="12.34", sale_price="")
    added = shop.add()
    # Products that are scheduled have dates in the future, so every walk brings them.
    scheduled = len(shop.product_ids("future"))
    walked = catalogue.read()
    assert (walked.kind, walked.complete) == ("incremental", True)
    assert walked.products == 6 + scheduled
    report = catalogue.process()
    assert (report.new, report.changed, report.unchanged) == (1, 5, scheduled)
    assert str(added) in catalogue.live()
    # What is read again because windows overlap is found unchanged.
    again = catalogue.sync()
    assert (again.seen, again.new, again.changed) == (6 + scheduled, 0, 0)


def test_a_night_reads_what_changed_once(catalogue: Catalogue) -> None:
    catalogue.sync()
    shop = catalogue.shop
    shop.clock.advance(minutes=30)
    for product in shop.product_ids("publish")[3:8]:
        shop.edit(product, regular_price="12.34", sale_price="")
    walked = catalogue.read("nightly")
    # Totals and a page of products, then totals and the pages of ids.
    assert walked.requests == 3 + math.ceil(walked.products / 100)
    report = catalogue.process()
    assert (report.changed, report.removed) == (5, {})


def test_a_scheduled_product_does_not_carry_the_watermark_away(catalogue: Catalogue) -> None:
    shop = catalogue.shop
    scheduled = shop.add(status="future", date_modified_gmt="2099-01-01T00:00:00")
    report = catalogue.sync()
    assert report.watermark is not None
    assert report.watermark < (shop.clock.now() + timedelta(seconds=2)).isoformat()
    shop.clock.advance(minutes=30)
    edited = shop.product_ids("publish")[0]
    shop.edit(edited, regular_price="1.00")
    assert catalogue.sync().changed == 1
    shop.delete(scheduled)


def test_a_sweep_finds_what_is_gone_and_why(catalogue: Catalogue) -> None:
    catalogue.sync()
    shop = catalogue.shop
    trashed, deleted, drafted = shop.product_ids("publish")[10:13]
    shop.trash(trashed)
    shop.delete(deleted)
    # A change that moves no date: only the status in the sweep shows it.
    shop.write(drafted, {"status": "draft"}, touch=False)
    shop.clock.advance(minutes=30)
    assert catalogue.sync("incremental").removed == {}
    report = catalogue.sync("sweep")
    assert report.removed == {"trash": 1, "absent": 1}
    assert catalogue.removed() == {str(trashed): "trash", str(deleted): "absent"}
    assert str(drafted) not in catalogue.live()
    shop.restore(trashed)
    shop.write(drafted, {"status": "publish"}, touch=False)
    report = catalogue.sync("nightly")
    assert (report.changed, report.removed) == (2, {})
    assert {str(trashed), str(drafted)} <= catalogue.live().keys()
    assert catalogue.removed() == {str(deleted): "absent"}


def test_a_product_removed_by_mistake_comes_back_though_its_date_is_old(
    catalogue: Catalogue,
) -> None:
    catalogue.sync()
    lost = catalogue.shop.product_ids("publish")[5]
    with catalogue.database.write() as connection:
        connection.execute(
            products.update()
            .where(products.c.external_id == str(lost))
            .values(removed_by="absent", removed_in="x")
        )
    catalogue.shop.clock.advance(minutes=30)
    assert catalogue.sync("sweep").changed == 1
    assert str(lost) in catalogue.live()


@pytest.mark.parametrize("kind", ["full", "sweep"])
def test_deleting_in_mid_walk_loses_no_live_product(
    samples: SampleStores, catalogue: Catalogue, tmp_path: Path, kind: WalkChoice
) -> None:
    catalogue.sync()
    shop = catalogue.shop
    victims = shop.product_ids("publish")[:5]

    def delete_some(done: int, _total: int) -> None:
        while victims and done >= 100:
            shop.delete(victims.pop())

    walked = catalogue.read(kind, progress=delete_some)
    assert (walked.complete, victims) == (True, [])
    catalogue.process()
    catalogue.shop.clock.advance(minutes=30)
    catalogue.sync("nightly")
    assert catalogue.live() == fresh_copy(samples, tmp_path / "fresh")


def test_one_product_alone(catalogue: Catalogue) -> None:
    catalogue.sync()
    shop = catalogue.shop
    one, other = shop.product_ids("publish")[:2]
    for product in (one, other):
        shop.write(product, {"regular_price": "7.77", "sale_price": ""}, touch=False)
    report = catalogue.sync(product=str(one))
    assert (report.seen, report.changed) == (1, 1)
    shop.trash(other)
    walked = catalogue.read(product=str(other))
    assert (walked.products, walked.complete) == (0, False)
    assert walked.reason == f"product {other} was asked for, and the store has it in its trash"
    report = catalogue.process()
    assert (report.removed, str(other) in catalogue.live()) == ({}, True)
    shop.restore(other)


OPERATIONS = st.one_of(
    st.tuples(st.just("walk"), st.sampled_from(["incremental", "sweep", "full", "nightly"])),
    st.tuples(st.just("walk amid edits"), st.sampled_from(["incremental", "sweep", "full"])),
    st.tuples(
        st.sampled_from(["edit", "break", "draft", "publish", "trash", "delete"]),
        st.integers(0, 60),
    ),
    st.tuples(st.sampled_from(["restore", "add", "read only"]), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([1, 90, 600])),
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(operations=st.lists(OPERATIONS, min_size=4, max_size=14))
def test_any_history_ends_as_the_store(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    with SampleStores(products_per_store=SIZE) as samples, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY_KEY", samples.key)
        patch.setenv("CANARY_SECRET", samples.secret)
        catalogue = Catalogue(samples, folder, max_removal_share=1.0)
        catalogue.sync()
        for name, what in operations:
            _perform(catalogue, name, what)
        catalogue.sync("nightly")
        refused = catalogue.refused()
        # A product whose newest version is refused keeps its last valid row; a first sync has none.
        live = {one: content for one, content in catalogue.live().items() if one not in refused}
        assert live == fresh_copy(samples, folder / "fresh")
        last = catalogue.sync("nightly")
        assert (last.new, last.changed, last.removed) == (0, 0, {})
        catalogue.database.dispose()


def _meddling(catalogue: Catalogue) -> Callable[[int, int], None]:
    """Somebody who edits, deletes and adds products while the first pages are read."""
    turns = iter(range(1, 4))

    def meddle(_done: int, _total: int) -> None:
        for number in turns:
            shop = catalogue.shop
            ids = shop.product_ids("publish")
            shop.delete(ids[number])
            shop.trash(ids[2 * number + 5])
            shop.edit(ids[-number], regular_price=f"{number}.50", sale_price="")
            shop.add()
            return

    return meddle


def _perform(catalogue: Catalogue, name: str, what: Any) -> None:
    shop = catalogue.shop
    if name == "walk":
        catalogue.sync(what)
    elif name == "walk amid edits":
        catalogue.read(what, progress=_meddling(catalogue))
        catalogue.process()
    elif name == "read only":
        catalogue.read()
    elif name == "wait":
        shop.clock.advance(seconds=what)
    elif name == "add":
        shop.add()
    elif name == "restore":
        for product in shop.product_ids("trash")[:3]:
            shop.restore(product)
    else:
        ids = shop.product_ids()
        _edit(shop, name, ids[what % len(ids)], price=f"{1 + what}.00")


def _edit(shop: WooStore, name: str, product: int, price: str) -> None:
    if name == "edit":
        shop.edit(product, regular_price=price, sale_price="")
    elif name == "break":
        shop.edit(product, price="1,999")
    elif name == "trash":
        shop.trash(product)
    elif name == "delete":
        shop.delete(product)
    else:
        shop.edit(product, status=name)
