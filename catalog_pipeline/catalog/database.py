"""Connections to SQLite or PostgreSQL, and the schema's migration to the version of this code.

Queries belong to the rooms that ask them. The difference between the two databases ends here and
in `bulk.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from catalog_pipeline.catalog.schema import deployment
from catalog_pipeline.catalog.types import json_text
from catalog_pipeline.errors import CatalogError, ServiceUnavailableError, first_line

# The newest migration; a test holds that it is the head of `migrations/versions`.
SCHEMA_VERSION = "0008"
_WRITES = "catalog_writes"
# Waiting for another process's transaction is normal; none of ours lasts anywhere near this.
_LOCK_WAIT_SECONDS = 60
_CONNECT_SECONDS = 10
_MIGRATION_LOCK = 0x0CA7A106


class SchemaError(CatalogError):
    """The database's schema is not one that this code can work with."""


class Database:
    """A pool of connections; safe to share between threads, never between processes."""

    def __init__(self, url: str) -> None:
        """Prepare the pool; nothing is opened until the first connection is asked for."""
        parsed = make_url(url)
        self._engine = _sqlite_engine(parsed) if _is_sqlite(parsed) else _postgresql_engine(parsed)
        self._name = parsed.render_as_string(hide_password=True)

    def __repr__(self) -> str:
        return f"Database({self._name})"

    @property
    def is_postgresql(self) -> bool:
        """Whether this is PostgreSQL rather than SQLite."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in one read transaction.

        Raises:
            ServiceUnavailableError: the database cannot be reached or was lost.
        """
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in one transaction, committed at the end unless an error passes through.

        On SQLite the write lock is taken at once: a transaction that begins by reading and then
        writes would fail instead of waiting when another process wrote in between.

        Raises:
            ServiceUnavailableError: the database cannot be reached or was lost.
        """
        writing = self._engine.execution_options(**{_WRITES: True})
        with self._translated(), writing.begin() as connection:
            yield connection

    def now(self, connection: Connection) -> datetime:
        """The database's clock, which all machines of a deployment share."""
        if not self.is_postgresql:
            return datetime.now(UTC)
        moment = connection.scalar(select(func.clock_timestamp()))
        assert isinstance(moment, datetime)
        return moment.astimezone(UTC)

    def deployment_id(self) -> UUID:
        """The id that every collection of this database carries, made with the schema."""
        with self.read() as connection:
            found = connection.scalars(select(deployment.c.deployment_id)).one()
        assert isinstance(found, UUID)
        return found

    def schema_version(self) -> str | None:
        """The migration that the database stands at, or None for an empty one."""
        with self.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return None if found is None else str(found)

    def migrate(self) -> None:
        """Bring the schema to this code's version; cheap when it already is.

        Raises:
            SchemaError: the database was migrated by a newer version of this code.
            ServiceUnavailableError: the database cannot be reached.
        """
        found = self.schema_version()
        if found == SCHEMA_VERSION:
            return
        if found is not None and found > SCHEMA_VERSION:
            raise SchemaError(
                f"{self._name} has schema {found}, this code knows {SCHEMA_VERSION}: "
                "upgrade catalog-pipeline, or restore the database from before the upgrade"
            )
        self._run_migrations("upgrade", "head", then=_name_deployment)

    def downgrade(self, version: str) -> None:
        """Take the schema back to an earlier migration, or to "base"."""
        self._run_migrations("downgrade", version)

    def dispose(self) -> None:
        """Close the pool."""
        self._engine.dispose()

    def _run_migrations(
        self, direction: str, version: str, then: Callable[[Connection], None] | None = None
    ) -> None:
        # Alembic takes a quarter of a second to import, and almost no start needs it.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.write() as connection:
            if self.is_postgresql:
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            getattr(command, direction)(config, version)
            if then is not None:
                then(connection)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if _is_unavailable(error):
                raise ServiceUnavailableError(
                    f"{self._name} cannot be used now: {first_line(error.orig or error)}"
                ) from error
            raise


def _name_deployment(connection: Connection) -> None:
    """In the migration's transaction: whoever sees the schema sees whose it is."""
    if connection.scalar(select(deployment.c.key)) is None:
        connection.execute(
            deployment.insert(),
            {"key": 1, "deployment_id": uuid4(), "created_at": datetime.now(UTC)},
        )


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _is_unavailable(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        message = str(error.orig)
        return any(word in message for word in ("locked", "unable to open", "busy"))
    return True


def _postgresql_engine(url: URL) -> Engine:
    return create_engine(
        url,
        json_serializer=json_text,
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_SECONDS, "application_name": "catalog_pipeline"},
    )


def _sqlite_engine(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        json_serializer=json_text,
        json_deserializer=orjson.loads,
        connect_args={"timeout": _LOCK_WAIT_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own transaction handling would begin too late; see `_begin`.
        connection.isolation_level = None
        # A write-ahead log lets the UI and the command line read while a run writes.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # In KiB, for each connection of the pool; more makes no write faster, only memory fuller.
        connection.execute("PRAGMA cache_size = -4096")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
