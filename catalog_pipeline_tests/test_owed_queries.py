"""What the stages ask for each time they run grows with a store, and not with its square.

SQLite counts its own steps, so nothing here depends on how busy the machine is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import digest, product_id
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    images,
    points,
    product_images,
    products,
)
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings import owed as embedding_owed
from catalog_pipeline.files import DataFolder
from catalog_pipeline.health.vectors import new_vectors_are_sound
from catalog_pipeline.images import owed as image_owed
from catalog_pipeline.images.measure import DECODER
from catalog_pipeline.images.standing import standing
from catalog_pipeline.stores import ImageChoice, StoreConfig
from catalog_pipeline.vectors import owed as vector_owed
from catalog_pipeline_tests.rows import product_row

STORE, MODEL, COLLECTION, GATE = "atelier", "m-1", "products__m-1", "gate"
NOW = datetime(2026, 11, 20, tzinfo=UTC)
CONFIG = StoreConfig.model_validate(
    {
        "id": STORE,
        "url": "https://shop.example.com",
        "consumer_key": {"env": "KEY"},
        "consumer_secret": {"env": "SECRET"},
    }
)
FEW, MANY = 100, 800
# Of instructions of SQLite's machine.
STEP = 100
# Sorting costs a little more than its share.
MOST_GROWTH = 1.3


def rows_of(number: int) -> dict[str, dict[str, Any]]:
    """One product that went through all stages."""
    sha, url = digest(number) * 2, f"https://shop.example.com/{number}.jpg"
    key = product_id(STORE, str(number))
    of_image = {"store_id": STORE, "url": url, "image_id": str(number), "modified_at": None}
    return {
        "products": product_row(
            *(STORE, str(number)),
            price=Decimal("19.90"),
            image_url=url,
            content_hash=digest(number),
        ),
        "product_images": {**of_image, "product_id": key, "position": 0},
        "image_attempts": {
            **of_image,
            "outcome": "fetched",
            "image_sha256": sha,
            "failures": 0,
            "attempted_at": NOW,
        },
        "images": {
            "image_sha256": sha,
            "bytes": 1_000,
            "width": 800,
            "height": 800,
            "format": "JPEG",
            "decoder": DECODER,
            "measurements": {},
            "measured_at": NOW,
        },
        "image_verdicts": {
            "store_id": STORE,
            "image_sha256": sha,
            "gate_version": GATE,
            "accepted": True,
            "issues": [],
            "judged_at": NOW,
        },
        "embeddings": {
            "image_sha256": sha,
            "model_version": MODEL,
            "part": "p",
            "row": number,
        },
        "points": {
            "collection": COLLECTION,
            "point_id": key,
            "store_id": STORE,
            "product_id": key,
            "slot": "",
            "image_sha256": sha,
            "payload_hash": "",
        },
    }


TABLES = [products, product_images, image_attempts, images, image_verdicts, embeddings, points]


def fill(database: Database, first: int, last: int) -> None:
    made = [rows_of(number) for number in range(first, last)]
    with database.write() as connection:
        for table in TABLES:
            rows = [
                {name: value for name, value in rows[table.name].items() if name in table.c}
                for rows in made
            ]
            upsert(connection, table, rows)


def ask_all(database: Database, choice: ImageChoice) -> dict[str, Callable[[], Any]]:
    """Everything that a sync of an unchanged store asks, by name; each is answered `nothing`."""
    scope = Scope(STORE, choice)
    ask = image_owed.Ask(CONFIG, scope, NOW)
    store = CONFIG.model_copy(update={"images": choice})

    def read(query: Callable[[Connection], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with database.read() as connection:
                return query(connection)

        return run

    wanted = vector_owed.wanted_points(COLLECTION, scope, MODEL)
    unwanted = vector_owed.unwanted_points(COLLECTION, scope, MODEL)
    return {
        "fetches": lambda: list(image_owed.owed_fetches(database, ask)),
        "count of fetches": read(lambda connection: image_owed.count_fetches(connection, ask)),
        "measurements": lambda: list(image_owed.owed_measurements(database, CONFIG, scope)),
        "verdicts": lambda: list(image_owed.owed_verdicts(database, scope, GATE, frozenset())),
        "standing": read(lambda connection: standing(connection, scope).waiting),
        "embeddings": lambda: list(embedding_owed.owed_images(database, scope, MODEL)),
        "points": read(
            lambda connection: [
                row for row in connection.execute(wanted) if row.image_sha256 is None
            ]
        ),
        "new vectors": lambda: new_vectors_are_sound(
            database, DataFolder("memory://unread"), store, MODEL, COLLECTION
        ).counts["new vectors"],
        "unwanted points": read(lambda connection: connection.execute(unwanted).all()),
    }


@dataclass
class Work:
    """How many times SQLite took `STEP` steps, and its plan of each statement."""

    steps: int = 0
    plan: list[str] = field(default_factory=list)

    def before(self, _: Any, cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        assert isinstance(cursor.connection, sqlite3.Connection)
        explained = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        self.plan += [detail for *_ids, detail in explained]
        cursor.connection.set_progress_handler(self._step, STEP)

    def _step(self) -> int:
        self.steps += 1
        return 0


@contextmanager
def watching() -> Iterator[Work]:
    """What SQLite does in the block."""
    work = Work()
    event.listen(Engine, "before_cursor_execute", work.before)
    try:
        yield work
    finally:
        event.remove(Engine, "before_cursor_execute", work.before)


@pytest.mark.parametrize("choice", ["main", "gallery"])
def test_eight_times_the_products_are_eight_times_the_work(
    database: Database, choice: ImageChoice
) -> None:
    fill(database, 0, FEW)
    work: dict[str, list[int]] = {}
    for first, last in ((0, FEW), (FEW, MANY)):
        fill(database, first, last)
        for name, run in ask_all(database, choice).items():
            with watching() as watched:
                assert not run(), f"{name}: nothing is owed"
            work.setdefault(name, []).append(watched.steps)
    for name, (few, many) in work.items():
        assert few > 0, name
        assert many < few * (MANY / FEW) * MOST_GROWTH, f"{name}: {few} → {many}"


@pytest.mark.parametrize("choice", ["main", "gallery", "all"])
def test_every_table_is_asked_through_an_index(database: Database, choice: ImageChoice) -> None:
    """Other stores' rows, and rows once for each row of another table, are not even looked at."""
    fill(database, 0, FEW)
    with watching() as watched:
        for run in ask_all(database, choice).values():
            run()
    looked_at = {table.name for table in TABLES}
    assert [line for line in watched.plan if line.startswith("SEARCH product_images USING INDEX")]
    for line in watched.plan:
        how, name, *_ = [*line.split(), ""]
        assert not (how == "SCAN" and name in looked_at), line
