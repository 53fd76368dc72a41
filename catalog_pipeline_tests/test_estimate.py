"""A full sync is reckoned from a sample: its shares and sizes, and the store's own total."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.rates import ASSUMED
from catalog_pipeline.catalog.schema import images
from catalog_pipeline.estimate import FullSync, estimate_full_sync
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive, ArchivedWalk, WalkManifest
from catalog_pipeline.products.source import Page, WalkOrder, WalkStart
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.vectors.shop import Shop, sha_of, store_config

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SIZE, DIMENSIONS = 100_000, 768


@pytest.fixture
def shop(any_database: Database, tmp_path: Path) -> Iterator[Shop]:
    client = QdrantClient(":memory:")
    yield Shop(any_database, DataFolder(str(tmp_path / "data")), ServerIndex(client))
    client.close()


def sampled(shop: Shop, *, announced: int | None, products: int) -> ArchivedWalk:
    """The archive of a walk that read so many of the products that are there, in ten seconds."""
    archive = Archive(shop.files)
    writer = archive.begin(
        shop.store_id,
        "woocommerce",
        WalkOrder(sample=max(products, 1)),
        WalkStart(NOW, True, "EUR", announced, None),
    )
    writer.add(Page(b"[]", tuple(str(number) for number in range(products))))
    begin = writer.begin.model_dump()
    writer.finish(
        WalkManifest(
            **begin,
            finished_at=begin["started_at"] + timedelta(seconds=10),
            complete=False,
            reason="a sample",
            announced_at_end=announced,
            pages=1,
            records=products,
            ids=products,
            duplicates=0,
            unreadable_ids=0,
            bytes=2,
            requests=1,
            retries=0,
            throttles=0,
        )
    )
    walk = archive.open(shop.store_id, writer.begin.walk_id)
    assert walk is not None
    return walk


def reckoned(
    shop: Shop, walk: ArchivedWalk, dimensions: int | None = DIMENSIONS
) -> FullSync | None:
    with shop.database.read() as connection:
        return estimate_full_sync(
            connection, store_config(shop.store_id), walk, dimensions=dimensions
        )


def weigh(shop: Shop, *numbers: int) -> None:
    rows = [
        {
            "image_sha256": sha_of(f"{shop.store_id}-{number}"),
            "bytes": SIZE,
            "measurements": {},
            "decoder": "1",
            "measured_at": NOW,
        }
        for number in numbers
    ]
    with shop.database.write() as connection:
        upsert(connection, images, rows)


def test_shares_of_the_sample_hold_for_the_store(shop: Shop) -> None:
    shop.add(1, 2)
    shop.product(3, left_out_by="status:draft")
    shop.product(4)
    shop.picture(4, sha_of("atelier-4"))
    shop.judge(sha_of("atelier-4"), accepted=False)
    weigh(shop, 1, 2, 4)
    found = reckoned(shop, sampled(shop, announced=4_000, products=4))
    assert found is not None
    assert (found.products, found.pictures, found.vectors) == (4_000, 3_000, 2_000)
    assert found.rates == ASSUMED
    walk, fetches = 10 * 1_000, ASSUMED.fetches.seconds(3_000)
    embeddings = ASSUMED.load_seconds + ASSUMED.embeddings.seconds(2_000)
    points = ASSUMED.points.seconds(3_000)
    assert found.seconds == pytest.approx(walk + fetches + embeddings + points, abs=0.1)
    least = 3_000 * SIZE + 2_000 * DIMENSIONS * 4
    assert found.bytes is not None
    assert least < found.bytes < 1.2 * least


def test_a_store_of_which_all_was_read_is_as_it_is(shop: Shop) -> None:
    shop.add(1, 2)
    weigh(shop, 1, 2)
    found = reckoned(shop, sampled(shop, announced=2, products=1))
    assert found is not None
    assert (found.products, found.pictures, found.vectors) == (2, 2, 2)


def test_without_a_model_all_is_reckoned_but_the_size(shop: Shop) -> None:
    shop.add(1, 2)
    weigh(shop, 1, 2)
    walk = sampled(shop, announced=2, products=1)
    known = reckoned(shop, walk)
    assert known is not None
    assert reckoned(shop, walk, dimensions=None) == replace(known, bytes=None)


@pytest.mark.parametrize(("announced", "products"), [(None, 4), (0, 0), (4_000, 0)])
def test_what_says_too_little_is_not_reckoned_from(
    shop: Shop, announced: int | None, products: int
) -> None:
    shop.add(1)
    assert reckoned(shop, sampled(shop, announced=announced, products=products)) is None
