"""The schema, its migrations, the types and the bulk roads, on both databases."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import StatementError

import catalog_pipeline.catalog
from catalog_pipeline.catalog.bulk import insert_missing, upsert
from catalog_pipeline.catalog.database import SCHEMA_VERSION, Database, SchemaError
from catalog_pipeline.catalog.schema import embeddings, metadata, products, walks
from catalog_pipeline.errors import ServiceUnavailableError

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def product_row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "product_id": uuid4(),
        "store_id": "atelier",
        "external_id": "1",
        "sku": None,
        "title": "Striped blue dress",
        "description": "Long — and “quoted”, \\N and \t tabs\nlines",
        "price": Decimal("129.90"),
        "currency": "EUR",
        "image_url": None,
        "product_url": None,
        "type": "simple",
        "status": "publish",
        "visibility": "visible",
        "categories": [{"name": "Ünïcode"}],
        "tags": [],
        "in_stock": True,
        "on_sale": False,
        "created_at": NOW,
        "updated_at": None,
        "content_hash": "a" * 32,
        "walk_id": "w1",
        "first_walk_id": "w1",
        "left_out_by": None,
        "removed_by": None,
        "removed_in": None,
    }
    return row | changes


def test_the_migrations_lead_to_the_schema_in_code(any_database: Database) -> None:
    with any_database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_schema_version_is_the_newest_migration() -> None:
    config = Config()
    folder = Path(catalog_pipeline.catalog.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_VERSION


def test_whoever_comes_first_at_once_all_see_one_deployment(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"

    def come(_: int) -> UUID:
        found = Database(url)
        try:
            found.migrate()
            return found.deployment_id()
        finally:
            found.dispose()

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(come, range(6)))) == 1


def test_migrating_down_and_up_again_works_with_data_in_it(any_database: Database) -> None:
    with any_database.write() as connection:
        upsert(connection, products, [product_row()])
    any_database.downgrade("base")
    with any_database.read() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    any_database.migrate()
    with any_database.read() as connection:
        assert connection.execute(select(products)).all() == []


def test_migrating_twice_keeps_the_deployment_id(any_database: Database) -> None:
    before = any_database.deployment_id()
    any_database.migrate()
    assert any_database.deployment_id() == before


def test_a_database_of_a_newer_version_is_refused(any_database: Database) -> None:
    with any_database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="upgrade catalog-pipeline"):
        any_database.migrate()


def test_bulk_upsert_keeps_every_value_exactly(any_database: Database) -> None:
    rows = [
        product_row(),
        product_row(external_id="2", price=Decimal("0.10"), sku="A\\B\"'", in_stock=False),
        product_row(external_id="3", price=None, created_at=None, title="日本語 🎽"),
    ]
    with any_database.write() as connection:
        upsert(connection, products, rows)
    with any_database.read() as connection:
        found = connection.execute(select(products).order_by(products.c.external_id)).mappings()
        assert [dict(row) for row in found] == rows


def test_bulk_upsert_overwrites_by_key_and_insert_missing_does_not(any_database: Database) -> None:
    row = product_row()
    with any_database.write() as connection:
        upsert(connection, products, [row, product_row(external_id="2")])
        upsert(connection, products, [row | {"title": "Plain red dress"}])
        first = {"image_sha256": "a" * 64, "model_version": "m", "part": "p1", "row": 0}
        insert_missing(connection, embeddings, [first])
        insert_missing(connection, embeddings, [first | {"part": "p2"}])
    with any_database.read() as connection:
        titles = connection.scalars(select(products.c.title).order_by(products.c.external_id))
        assert titles.all() == ["Plain red dress", "Striped blue dress"]
        assert connection.scalars(select(embeddings.c.part)).all() == ["p1"]


def test_an_empty_batch_is_no_statement(any_database: Database) -> None:
    with any_database.write() as connection:
        upsert(connection, products, [])


def test_datetimes_come_back_in_utc_and_naive_ones_are_refused(any_database: Database) -> None:
    def row(clock: datetime) -> dict[str, Any]:
        return {
            "store_id": "atelier",
            "walk_id": "w",
            "kind": "full",
            "complete": True,
            "server_clock": clock,
            "currency": None,
            "announced": 1,
            "seen": 1,
            "processed_at": NOW,
        }

    elsewhere = NOW.astimezone(timezone(timedelta(hours=-5)))
    with any_database.write() as connection:
        connection.execute(walks.insert(), row(elsewhere))
    with any_database.read() as connection:
        found = connection.scalar(select(walks.c.server_clock))
    assert found is not None
    assert found == NOW
    assert found.tzinfo is UTC
    with pytest.raises(StatementError, match="no time zone"), any_database.write() as connection:
        connection.execute(walks.insert(), row(NOW.replace(tzinfo=None)))


def test_a_failed_transaction_leaves_nothing(any_database: Database) -> None:
    with pytest.raises(RuntimeError), any_database.write() as connection:
        upsert(connection, products, [product_row()])
        raise RuntimeError
    with any_database.read() as connection:
        assert connection.execute(select(products)).all() == []


def _write_rows(url: str, store: str) -> None:
    database = Database(url)
    for number in range(20):
        with database.write() as connection:
            connection.execute(select(products.c.product_id)).all()
            upsert(connection, products, [product_row(store_id=store, external_id=str(number))])


def test_processes_on_sqlite_wait_for_each_other(database: Database, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_rows, args=(url, f"s{n}")) for n in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with database.read() as connection:
        assert len(connection.execute(select(products.c.product_id)).all()) == 40


def test_reading_goes_on_while_another_connection_writes(any_database: Database) -> None:
    with any_database.write() as writing:
        upsert(writing, products, [product_row()])
        found: list[int] = []

        def look() -> None:
            with any_database.read() as reading:
                found.append(len(reading.execute(select(products)).all()))

        reader = threading.Thread(target=look)
        reader.start()
        reader.join(10)
        assert found == [0]


def test_an_unreachable_database_is_its_own_kind_of_error(tmp_path: Path) -> None:
    nowhere = Database("postgresql+psycopg://reader:canary-secret@127.0.0.1:9/none")
    with pytest.raises(ServiceUnavailableError) as caught:
        nowhere.migrate()
    assert "canary-secret" not in str(caught.value)
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(ServiceUnavailableError):
        Database(f"sqlite:///{tmp_path / 'folder.sqlite'}").migrate()
