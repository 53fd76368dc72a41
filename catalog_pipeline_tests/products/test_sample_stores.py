"""The room against the sample stores: a real HTTP server that answers as WooCommerce does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.check import Finding, check_store
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline.products.walk import walk_store
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.products.wordpress import store


@pytest.fixture(scope="module")
def samples() -> Iterator[SampleStores]:
    with SampleStores(products_per_store=120) as opened:
        yield opened


@pytest.fixture
def config(samples: SampleStores, monkeypatch: pytest.MonkeyPatch) -> StoreConfig:
    """The first sample store."""
    monkeypatch.setenv("CANARY_KEY", samples.key)
    monkeypatch.setenv("CANARY_SECRET", samples.secret)
    store_id, found = next(iter(samples.stores.items()))
    return store(id=store_id, url=found.url, allow_private_addresses=True)


def test_a_sample_store_from_its_api_to_rows(
    samples: SampleStores, config: StoreConfig, archive: Archive, database: Database
) -> None:
    expected = len(samples.stores[config.id].product_ids())
    with StoreClient(config) as client:
        walked = walk_store(WooCommerceSource(config, client), archive, config)
    assert walked.complete, walked.reason
    assert walked.products == expected
    with hold_store(database, config.id, "run") as lease:
        report = sync_products(lease, archive, config)
    assert (report.seen, report.new + report.refused) == (expected, expected)
    assert report.live > 100
    assert report.currency == walked.currency


def test_checks_against_a_sample_store(
    samples: SampleStores, config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_store(config).finding is Finding.WORKS
    monkeypatch.setenv("CANARY_SECRET", "cs_wrong")
    assert check_store(config).finding is Finding.WRONG_SECRET
    monkeypatch.setenv("CANARY_KEY", "ck_wrong")
    assert check_store(config).finding is Finding.WRONG_KEY
    monkeypatch.setenv("CANARY_KEY", samples.limited_key.key)
    monkeypatch.setenv("CANARY_SECRET", samples.limited_key.secret)
    assert check_store(config).finding is Finding.MISSING_RIGHT
