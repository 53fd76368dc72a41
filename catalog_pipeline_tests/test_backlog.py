"""What a store is still owed, who waits for it, and whether one more run would do any of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from catalog_pipeline.backlog import (
    MANY,
    count_pictures,
    may_have_left,
    stores_with_due_attempts,
    why_light,
)
from catalog_pipeline.catalog import bulk
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import image_attempts, models
from catalog_pipeline.catalog.syncs import Sync
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.vectors.shop import MODEL, MOMENT, Shop, store_config

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NO_PICTURES: dict[str, dict[str, int | float]] = {"products": {"new": 3}, "qdrant_points": {}}


def run(
    status: str = "success", *, pictures: bool = True, **counts: dict[str, int | float]
) -> Sync:
    done = {"product_images": {}, "image_embeddings": {}, **counts} if pictures else NO_PICTURES
    return Sync("r", "s", "job", "hand", status, "full", done, None, 0, NOW, NOW, NOW)


@pytest.fixture
def shop(any_database: Database, tmp_path: Path) -> Iterator[Shop]:
    client = QdrantClient(":memory:")
    yield Shop(any_database, DataFolder(str(tmp_path / "data")), ServerIndex(client))
    client.close()


@pytest.mark.parametrize(
    ("pictures", "last", "limit", "is_light"),
    [
        (0, None, None, False),
        (MANY, None, None, False),
        (MANY + 1, None, None, True),
        (MANY + 1, run(), None, True),
        (MANY + 1, run(pictures=False), None, False),
        (100 * MANY, run(), MANY, False),
        (100 * MANY, run(), MANY + 1, True),
    ],
)
def test_prices_go_ahead_of_many_pictures_and_take_turns_with_them(
    pictures: int, last: Sync | None, limit: int | None, is_light: bool
) -> None:
    why = why_light(pictures, last, limit=limit, embedding_is_busy=False)
    assert (why is not None) is is_light
    assert why_light(pictures, last, limit=limit, embedding_is_busy=True) is not None


@pytest.mark.parametrize(
    ("last", "left"),
    [
        (run(), False),
        (run(pictures=False), True),
        (run("failure"), True),
        (run("canceled", pictures=False), False),
        (run(product_images={"left": 5, "fetched": 2}), True),
        (run(product_images={"left": 5, "unchanged": 2}), True),
        (run(image_embeddings={"left": 5, "embedded": 2}), True),
        (run(product_images={"left": 5, "fetched": 0}), False),
        (run(image_embeddings={"left": 0, "embedded": 9}), False),
    ],
)
def test_a_run_goes_on_only_where_one_more_would_do_something(last: Sync, left: bool) -> None:
    assert may_have_left(last) is left


def test_pictures_are_counted_by_what_is_recorded(shop: Shop) -> None:
    config = store_config(shop.store_id)

    def counted() -> int:
        with shop.database.read() as connection:
            return count_pictures(connection, config, NOW)

    shop.product(1)
    assert counted() == 1, "never asked for"
    shop.add(2)
    settle(shop, 2)
    assert counted() == 2, "no model has embedded anything yet"
    row = {column.name: getattr(MODEL, column.name, MOMENT) for column in models.c}
    with shop.database.write() as connection:
        bulk.upsert(connection, models, [row | {"created_at": MOMENT}])
    assert counted() == 1


def test_a_failed_picture_is_due_at_its_own_time_while_it_is_wanted(shop: Shop) -> None:
    shop.product(1)
    settle(shop, 1, outcome="failed", next_attempt_at=NOW)
    settle(shop, 2, outcome="gone", next_attempt_at=NOW - timedelta(days=9))
    stores = [store_config(shop.store_id), store_config("other")]

    def due(now: datetime) -> set[str]:
        with shop.database.read() as connection:
            return stores_with_due_attempts(connection, stores, now)

    assert due(NOW - timedelta(seconds=1)) == set(), "nobody asks again for what nobody wants"
    assert due(NOW) == {shop.store_id}


def settle(shop: Shop, number: int, **columns: Any) -> None:
    row = {
        "store_id": shop.store_id,
        "url": shop.url(number),
        "outcome": "fetched",
        "failures": 0,
        "image_id": "1",
        "modified_at": None,
        "attempted_at": MOMENT,
    }
    with shop.database.write() as connection:
        bulk.upsert(connection, image_attempts, [row | columns])
