"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import DateTime, Dialect, Numeric, String, types
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import JSON, TypeEngine

# PostgreSQL compares and indexes JSON only as JSONB.
Json = JSON().with_variant(JSONB(), "postgresql")


def json_text(value: Any) -> str:
    """A value as JSON text, as both databases take it."""
    return orjson.dumps(value).decode()


def utc_text(value: datetime | None) -> str | None:
    """ISO 8601 text in UTC; orjson writes it in a sixth of the time that `isoformat` takes.

    Raises:
        ValueError: the datetime has no time zone.
    """
    return None if value is None else orjson.dumps(_in_utc(value))[1:-1].decode()


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return value.astimezone(UTC)


class UtcDateTime(types.TypeDecorator[datetime]):
    """An aware datetime in UTC; a naive one is refused rather than guessed at.

    SQLite holds ISO 8601 text, always with the offset +00:00: its order is the order of time, as
    "+" sorts before the "." of a fraction.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """`timestamptz` on PostgreSQL, text elsewhere."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(String(32))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert to UTC.

        Raises:
            ValueError: the datetime has no time zone.
        """
        if value is not None and dialect.name == "postgresql":
            return _in_utc(value)
        return utc_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """An aware datetime in UTC."""
        if value is None:
            return None
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.astimezone(UTC)


class ExactDecimal(types.TypeDecorator[Decimal]):
    """An exact decimal: `numeric` on PostgreSQL, text on SQLite."""

    impl = Numeric()
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """`numeric` without a fixed scale on PostgreSQL, text elsewhere."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric())
        return dialect.type_descriptor(String(64))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Text for SQLite, so that no float is ever in between."""
        if value is None or dialect.name == "postgresql":
            return value
        return str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """The decimal as it was stored, scale included."""
        return None if value is None else Decimal(value)
