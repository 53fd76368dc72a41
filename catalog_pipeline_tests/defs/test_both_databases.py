"""The whole job on PostgreSQL ends as it does on SQLite, through edits and removals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import psycopg
import pytest
from sqlalchemy import Table, make_url, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    images,
    points,
    product_images,
    products,
    quarantine,
)
from catalog_pipeline.definitions import defs
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline_tests.deployment import Deployment, sample_deployment

pytestmark = pytest.mark.end_to_end

STORE = "nordhavn"
TABLES = (
    *(products, product_images, quarantine, image_attempts),
    *(images, image_verdicts, embeddings, points),
)
INCIDENTAL = {
    *("walk_id", "first_walk_id", "removed_in", "part", "row", "vector_digest"),
    *("quarantined_at", "attempted_at", "next_attempt_at", "measured_at", "judged_at"),
}
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    name = f"job_{uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
    url = make_url(postgresql_server).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


def sync(walk: str) -> None:
    job = defs.resolve_job_def("sync_store")
    config = QUIET | {"ops": {"raw_products": {"config": {"walk": walk}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(STORES, [STORE])
        assert job.execute_in_process(
            instance=instance, partition_key=STORE, run_config=config
        ).success


def contents(database: Database) -> dict[str, list[dict[str, Any]]]:
    def rows(table: Table) -> list[dict[str, Any]]:
        names = [column.name for column in table.columns if column.name not in INCIDENTAL]
        with database.read() as connection:
            found = connection.execute(select(*(table.c[name] for name in names))).mappings()
            return sorted((dict(row) for row in found), key=repr)

    return {table.name: rows(table) for table in TABLES}


def edited(deployment: Deployment) -> Callable[[], None]:
    """Edits, a text that databases dislike, a new product and a few removals."""
    shop = deployment.stores.stores[STORE]
    first, second, third, *_ = shop.product_ids("publish")

    def edit() -> None:
        shop.edit(first, price="19.95", regular_price="19.95")
        shop.edit(second, name="nul \x00 and a lone surrogate \ud800 in a name")
        shop.delete(third)
        shop.add(name="One more")

    return edit


@pytest.mark.timeout(180)
def test_the_job_ends_alike_on_both_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgresql_url: str
) -> None:
    with sample_deployment(tmp_path, products_per_store=30) as deployment:
        for name, value in deployment.environ.items():
            monkeypatch.setenv(name, value)
        folders = {"sqlite": tmp_path / "a", "postgresql": tmp_path / "b"}
        urls = {"sqlite": f"sqlite:///{tmp_path / 'a.sqlite'}", "postgresql": postgresql_url}
        edit = edited(deployment)
        for step in ("full", "nightly"):
            for engine, url in urls.items():
                monkeypatch.setenv("CATALOG_DATABASE_URL", url)
                monkeypatch.setenv("CATALOG_DATA_DIR", str(folders[engine]))
                sync(step)
            if step == "full":
                edit()
        opened = {engine: Database(url) for engine, url in urls.items()}
        found = {engine: contents(database) for engine, database in opened.items()}
        for database in opened.values():
            database.dispose()
    assert len(found["sqlite"]["points"]) > 10
    assert any(row["removed_by"] == "absent" for row in found["sqlite"]["products"])
    assert any("\ufffd" in row["title"] for row in found["sqlite"]["products"])
    for table, rows in found["sqlite"].items():
        assert found["postgresql"][table] == rows, table
