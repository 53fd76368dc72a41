"""Variations come with their products where a store wants them, and keep in step with them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import variation_images
from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.source import WalkOrder
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline.products.walk import walk_store
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.products.wordpress import FakeWoo, product, reply, store


@pytest.fixture
def samples() -> Iterator[SampleStores]:
    with SampleStores(products_per_store=40) as opened:
        yield opened


@pytest.fixture
def config(samples: SampleStores, monkeypatch: pytest.MonkeyPatch) -> StoreConfig:
    monkeypatch.setenv("CANARY_KEY", samples.key)
    monkeypatch.setenv("CANARY_SECRET", samples.secret)
    store_id, found = next(iter(samples.stores.items()))
    return store(id=store_id, url=found.url, allow_private_addresses=True, images="all")


def synced(config: StoreConfig, archive: Archive, database: Database) -> dict[tuple[Any, str], Any]:
    with StoreClient(config) as client:
        walked = walk_store(WooCommerceSource(config, client), archive, config, order=WalkOrder())
    assert walked.complete, walked.reason
    with hold_store(database, config.id, "run") as lease:
        sync_products(lease, archive, config)
    with database.read() as connection:
        found = connection.execute(select(variation_images)).all()
    return {(row.product_id, row.variation_id): (row.image_id, row.url) for row in found}


def offered(samples: SampleStores, config: StoreConfig) -> dict[tuple[Any, str], Any]:
    """What the store's own answers say."""
    shop = samples.stores[config.id]
    return {
        (product_id(config.id, str(number)), str(variation["id"])): (
            str(image["id"]),
            image["src"],
        )
        for number in shop.product_ids()
        for variation in shop.variations(number)
        if isinstance(image := variation["image"], dict)
    }


def test_variations_follow_their_products_through_edits_and_removals(
    samples: SampleStores, config: StoreConfig, archive: Archive, database: Database
) -> None:
    shop = samples.stores[config.id]
    first = synced(config, archive, database)
    assert first == offered(samples, config)
    assert len(first) > 3
    variation = int(sorted(first)[0][1])
    shop.change_variation_picture(variation)
    second = synced(config, archive, database)
    assert second == offered(samples, config)
    assert sum(second[key] != first[key] for key in first) == 1
    owner = next(number for number in shop.product_ids() if shop.variations(number))
    shop.edit(owner, type="simple")
    third = synced(config, archive, database)
    assert not any(key[0] == product_id(config.id, str(owner)) for key in third)
    assert len(third) == len(second) - len(shop.variations(owner))


def test_a_store_that_wants_none_is_asked_for_none(
    samples: SampleStores, config: StoreConfig, archive: Archive, database: Database
) -> None:
    plain = config.model_copy(update={"images": "gallery"})
    assert synced(plain, archive, database) == {}
    walk = archive.open(config.id, archive.walk_ids(config.id)[-1])
    assert walk is not None
    assert not any(name.startswith("variations") for name in walk.page_files)


def walked(variations: list[int], hidden: set[int], told: str) -> list[tuple[str, list[int]]]:
    """The pages of variations that a walk archives, by name, with the ids on them.

    `hidden` are counted and not shown; `told` is what becomes of the totals.
    """
    woo = FakeWoo([product(9, type="variable")])

    def answer(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("/variations"):
            return None
        params = request.url.params
        size, page = int(params["per_page"]), int(params["page"])
        start = 0 if told == "page 1 for ever" else (page - 1) * size
        shown = [{"id": n} for n in variations[start : start + size] if n not in hidden]
        totals = {
            "X-WP-Total": str(len(variations)),
            "X-WP-TotalPages": str(-(-len(variations) // size)),
        }
        return reply(shown, headers={} if told == "nothing" else totals)

    woo.override = answer
    config = store(images="all")
    with StoreClient(config, transport=woo.transport) as client:
        pages = list(WooCommerceSource(config, client).start_walk(WalkOrder()).pages())
    return [
        (page.name, [record["id"] for record in json.loads(page.body)])
        for page in pages
        if page.name.startswith("variations")
    ]


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(0, 450),
    hidden=st.sets(st.integers(1, 450), max_size=3) | st.just(set(range(1, 301))),
    told=st.sampled_from(["the truth", "nothing", "page 1 for ever"]),
)
def test_only_what_was_all_read_is_called_whole(number: int, hidden: set[int], told: str) -> None:
    variations = list(range(1, number + 1))
    pages = walked(variations, hidden, told)
    seen = {found for _name, ids in pages for found in ids}

    ends = [place for place, (name, _ids) in enumerate(pages) if name == "variations-9"]
    if ends:
        assert ends == [len(pages) - 1]
        assert seen == set(variations)
    if told == "the truth":
        assert seen == set(variations) - hidden
        assert bool(ends) == (seen == set(variations))
    assert len(pages) <= number // 100 + 2


def test_what_was_not_all_shown_is_said_once_for_a_walk(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        walked([1, 2], {2}, "the truth")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "store atelier: the variations of 1 products were not all shown, so none that is stored "
        "of them was dropped: 9"
    )
