"""What a store last showed is read from the archive: its products, and nothing else's ids."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.seen import last_walk_with, newest_complete_ids
from catalog_pipeline.products.source import WalkOrder
from catalog_pipeline.products.walk import walk_store
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline_tests.products.walks import CLOCK, archived, some
from catalog_pipeline_tests.products.wordpress import product, store

VARIATION = {"id": 901, "status": "publish", "image": None}


def test_nothing_is_known_of_a_store_that_no_walk_saw_whole(archive: Archive) -> None:
    assert newest_complete_ids(archive, store()) is None
    archived(archive, some(2), complete=False)
    archived(archive, some(2), manifest=False)
    archived(archive, some(2), kind="incremental")
    assert newest_complete_ids(archive, store()) is None


def test_the_newest_walk_that_saw_all_speaks(archive: Archive) -> None:
    archived(archive, some(3))
    swept = archived(archive, [product(2)], kind="sweep", swept=some(2))
    archived(archive, some(5), kind="incremental", clock=CLOCK + timedelta(hours=1))
    archived(archive, some(1), complete=False)
    assert newest_complete_ids(archive, store()) == (swept, frozenset({"1", "2"}))


def test_variations_are_no_products(archive: Archive) -> None:
    variable = product(1, type="variable")
    walk = archived(archive, [variable], variations={1: [VARIATION]}, images="all")
    assert newest_complete_ids(archive, store(images="all")) == (walk, frozenset({"1"}))
    assert last_walk_with(archive, store(images="all"), "901") is None


def test_what_is_in_the_trash_is_not_in_the_store(archive: Archive) -> None:
    full = archived(archive, [*some(3), product(4, status="trash")])
    assert newest_complete_ids(archive, store()) == (full, frozenset({"1", "2", "3"}))
    # Trashed between the list and the look into the trash.
    sweep = archived(archive, [], kind="sweep", swept=some(3), trash=[product(3), product(4)])
    assert newest_complete_ids(archive, store()) == (sweep, frozenset({"1", "2"}))
    last = {number: last_walk_with(archive, store(), number) for number in "1234"}
    assert last == {"1": sweep, "2": sweep, "3": full, "4": None}


def test_a_product_that_the_store_counts_and_does_not_show_is_there(archive: Archive) -> None:
    walk = archived(archive, some(2), unshown_ids=("7",))
    assert newest_complete_ids(archive, store()) == (walk, frozenset({"1", "2", "7"}))
    assert last_walk_with(archive, store(), "7") == walk


def test_the_last_walk_that_saw_a_product_may_be_of_any_kind(archive: Archive) -> None:
    archived(archive, some(3))
    changed = archived(archive, [product(3)], kind="incremental")
    cut_off = archived(archive, [product(2)], manifest=False)
    swept = archived(archive, [], kind="sweep", swept=[product(1)])
    last = {number: last_walk_with(archive, store(), number) for number in "1239"}
    assert last == {"1": swept, "2": cut_off, "3": changed, "9": None}


def test_a_store_of_variable_products_is_seen_as_it_is(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SampleStores(products_per_store=40) as samples:
        monkeypatch.setenv("CANARY_KEY", samples.key)
        monkeypatch.setenv("CANARY_SECRET", samples.secret)
        store_id, shop = next(iter(samples.stores.items()))
        config = store(id=store_id, url=shop.url, allow_private_addresses=True, images="all")
        with StoreClient(config) as client:
            source = WooCommerceSource(config, client)
            walk = walk_store(source, archive, config, order=WalkOrder(images="all"))
        assert any(shop.variations(number) for number in shop.product_ids())
        offered = frozenset(str(number) for number in shop.product_ids())
    assert newest_complete_ids(archive, config) == (walk.walk_id, offered)
