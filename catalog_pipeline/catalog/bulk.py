"""Many rows at a time, by each database's fastest safe road.

SQLite: one prepared statement and `executemany`. PostgreSQL: COPY into a temporary table and one
merge, about three times as fast as `executemany`. Both run in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from catalog_pipeline.catalog.identity import digest

Row = Mapping[str, Any]


def upsert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, or overwrite the given columns of those whose primary key is there.

    Args:
        connection: in a write transaction.
        table: the target.
        rows: all with the same keys, the primary key's among them; no key twice.
    """
    _merge(connection, table, rows, overwrite=True)


def insert_missing(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows whose primary key is not there yet; the others stay as they are."""
    _merge(connection, table, rows, overwrite=False)


def _merge(connection: Connection, table: Table, rows: Sequence[Row], *, overwrite: bool) -> None:
    if not rows:
        return
    names = [column.name for column in table.columns if column.name in rows[0]]
    values = _driver_values(table, names, rows, connection.dialect)
    if connection.dialect.name == "postgresql":
        _copy_and_merge(connection, table, names, values, overwrite=overwrite)
        return
    statement = _on_conflict(sqlite.insert(table), table, names, overwrite=overwrite)
    connection.exec_driver_sql(
        str(statement.compile(dialect=connection.dialect, column_keys=names)), list(values)
    )


def _on_conflict(statement: Any, table: Table, names: list[str], *, overwrite: bool) -> Insert:
    keys = [column.name for column in table.primary_key]
    others = [name for name in names if name not in keys]
    if overwrite and others:
        changes = {name: statement.excluded[name] for name in others}
        merged: Insert = statement.on_conflict_do_update(index_elements=keys, set_=changes)
    else:
        merged = statement.on_conflict_do_nothing(index_elements=keys)
    return merged


def _copy_and_merge(
    connection: Connection,
    table: Table,
    names: list[str],
    values: Iterable[tuple[Any, ...]],
    *,
    overwrite: bool,
) -> None:
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(quote(name) for name in names)
    staging = quote(f"incoming_{table.name}_{digest(names)[:8]}")
    target = quote(table.name)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} ON COMMIT DELETE ROWS "
        f"AS SELECT {columns} FROM {target} WITH NO DATA"
    )
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        cursor.execute(f"TRUNCATE {staging}")
        with cursor.copy(f"COPY {staging} ({columns}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)
    # Keys in one order, so that two stores that bring the same images cannot deadlock.
    keys = ", ".join(quote(column.name) for column in table.primary_key)
    source = f"SELECT {columns} FROM {staging} ORDER BY {keys}"
    clause = str(
        _on_conflict(postgresql.insert(table), table, names, overwrite=overwrite).compile(
            dialect=connection.dialect, column_keys=names
        )
    )
    conflict = clause[clause.index("ON CONFLICT") :]
    connection.exec_driver_sql(f"INSERT INTO {target} ({columns}) {source} {conflict}")


def _driver_values(
    table: Table, names: list[str], rows: Sequence[Row], dialect: Dialect
) -> Iterable[tuple[Any, ...]]:
    """Rows as tuples of what the driver takes; each column's conversion is looked up once."""
    converters: list[Callable[[Any], Any] | None] = [
        table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names
    ]
    columns: list[Iterable[Any]] = []
    for name, convert in zip(names, converters, strict=True):
        column = [row[name] for row in rows]
        columns.append(column if convert is None else map(convert, column))
    return zip(*columns, strict=True)
