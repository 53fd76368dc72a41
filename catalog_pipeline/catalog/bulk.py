"""Many rows at a time, by each database's fastest safe road.

SQLite: one prepared statement and `executemany`. PostgreSQL: binary COPY into a temporary table and
one merge, more than three times as fast as `executemany`. Both run in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import JSON, Boolean, Connection, Dialect, Table
from sqlalchemy.types import TypeEngine

from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.types import UtcDateTime, json_text, utc_text

Row = Mapping[str, Any]
_T = TypeVar("_T")
# SQLite takes 32,766 parameters in one statement, PostgreSQL 65,535.
_MOST_VALUES = 1_000


def portions(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Values in portions that one `IN` can take, whoever decides how many there are."""
    for start in range(0, len(values), _MOST_VALUES):
        yield values[start : start + _MOST_VALUES]


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
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, names))
    insert = f"INSERT INTO {quote(table.name)} ({columns})"
    conflict = _on_conflict(table, names, quote, overwrite=overwrite)
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(names))
        values = list(_driver_values(table, names, rows, connection.dialect))
        connection.exec_driver_sql(f"{insert} VALUES ({marks}) {conflict}", values)
        return
    staging = _stage(connection, table, names, rows)
    # Keys in one order, so that two stores that bring the same images cannot deadlock.
    keys = ", ".join(quote(column.name) for column in table.primary_key)
    connection.exec_driver_sql(
        f"{insert} SELECT {columns} FROM {staging} ORDER BY {keys} {conflict}"
    )


def _on_conflict(
    table: Table, names: list[str], quote: Callable[[str], str], *, overwrite: bool
) -> str:
    """The clause for rows whose key is there; both databases write it alike."""
    keys = [column.name for column in table.primary_key]
    changes = [f"{quote(name)} = excluded.{quote(name)}" for name in names if name not in keys]
    action = f"UPDATE SET {', '.join(changes)}" if overwrite and changes else "NOTHING"
    return f"ON CONFLICT ({', '.join(map(quote, keys))}) DO {action}"


def _stage(connection: Connection, table: Table, names: list[str], rows: Sequence[Row]) -> str:
    """COPY the rows into a temporary table of the session, empty again after each transaction.

    Returns its quoted name. Binary, because the server would otherwise spend a quarter of its time
    on finding the ends of fields.
    """
    from psycopg.types.json import set_json_dumps

    dialect = connection.dialect
    quote = dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, names))
    staging = quote(f"incoming_{table.name}_{digest(names)[:8]}")
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} ON COMMIT DELETE ROWS "
        f"AS SELECT {columns} FROM {quote(table.name)} WITH NO DATA"
    )
    # Of an earlier batch of the same transaction.
    connection.exec_driver_sql(f"DELETE FROM {staging}")
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        set_json_dumps(json_text, cursor)
        with cursor.copy(f"COPY {staging} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            # Without its length: `varchar(63)` is `varchar` to the driver.
            copy.set_types(
                [table.c[name].type.compile(dialect).lower().partition("(")[0] for name in names]
            )
            for row in map(_values_of(names), rows):
                copy.write_row(row)
    return staging


def _driver_values(
    table: Table, names: list[str], rows: Sequence[Row], dialect: Dialect
) -> Iterable[tuple[Any, ...]]:
    """Rows as tuples of what SQLite's driver takes, converted column by column."""
    columns = zip(*map(_values_of(names), rows), strict=True)
    converted: list[Iterable[Any]] = []
    for name, column in zip(names, columns, strict=True):
        convert = _converter(table.c[name].type, dialect)
        converted.append(column if convert is None else map(convert, column))
    return zip(*converted, strict=True)


def _values_of(names: list[str]) -> Callable[[Row], tuple[Any, ...]]:
    """The values of a row in the order of these names."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: (row[names[0]],)


def _converter(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(kind, JSON):
        return json_text
    if isinstance(kind, UtcDateTime):
        return utc_text
    if isinstance(kind, Boolean):
        return None
    return kind.dialect_impl(dialect).bind_processor(dialect)
