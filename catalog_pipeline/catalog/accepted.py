"""Which version of `stores.yaml` is in force: the file's, or the last one that was accepted.

A file that is wrong while somebody edits it must not stop every store, so each version that was
accepted is kept in the database. Reading and judging the file is `stores_file.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.operations_schema import accepted_stores
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.stores_file import StoresFile, parse_stores, read_stores_file


@dataclass(frozen=True)
class StoresInForce:
    """The stores to work with; `problem` says why they are not those of the file."""

    file: StoresFile
    problem: str | None = None


def stores_in_force(database: Database, path: Path) -> StoresInForce:
    """The stores of the file, kept as accepted; of the last accepted version if it is wrong.

    Raises:
        ConfigurationError: the file is wrong and no version of it was ever accepted.
        ServiceUnavailableError: the database cannot be reached.
    """
    with database.read() as connection:
        last = _last_accepted(connection)
    try:
        content = read_stores_file(path)
        found = _parsed(path, content)
    except ConfigurationError as error:
        if last is None:
            raise
        problem = (
            f"{path} is wrong, so the version accepted on {last.accepted_at:%Y-%m-%d %H:%M} UTC "
            f"stays in force:\n{error}"
        )
        return StoresInForce(_parsed(path, last.content.encode()), problem)
    if last is None or last.digest != found.digest:
        row = {
            "digest": found.digest,
            "content": content.decode("utf-8-sig"),
            "accepted_at": datetime.now(UTC),
        }
        with database.write() as connection:
            upsert(connection, accepted_stores, [row])
    return StoresInForce(found)


@lru_cache(maxsize=4)
def _parsed(path: Path, content: bytes) -> StoresFile:
    # Thousands of stores take a second, and the same file is asked for every few seconds.
    return parse_stores(path, content)


@dataclass(frozen=True)
class _Version:
    digest: str
    content: str
    accepted_at: datetime


def _last_accepted(connection: Connection) -> _Version | None:
    row = connection.execute(
        select(accepted_stores.c.digest, accepted_stores.c.content, accepted_stores.c.accepted_at)
        .order_by(accepted_stores.c.accepted_at.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _Version(*row)
