"""Who decided what about the catalogue, when and why: a record that only grows.

Each entry is written in the transaction of the decision itself, so that neither exists without the
other. What a decision does belongs to whoever carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, select

from catalog_pipeline.catalog.bulk import insert_missing
from catalog_pipeline.catalog.schema import audit


@dataclass(frozen=True)
class AuditEntry:
    """One decision; `store_id` is None for one that concerns all stores."""

    at: datetime
    who: str
    action: str
    store_id: str | None
    subject: str
    reason: str | None
    details: Mapping[str, Any]


def record(connection: Connection, entry: AuditEntry) -> None:
    """Write an entry.

    Args:
        connection: in the write transaction of the decision.
        entry: what was decided.
    """
    row = {name: getattr(entry, name) for name in AuditEntry.__dataclass_fields__}
    insert_missing(connection, audit, [row | {"audit_id": uuid4(), "details": dict(entry.details)}])


def entries(
    connection: Connection, *, subject: str | None = None, limit: int = 100
) -> list[AuditEntry]:
    """The last decisions, newest first; those on one subject if it is given."""
    columns = [audit.c[name] for name in AuditEntry.__dataclass_fields__]
    statement = select(*columns).order_by(audit.c.at.desc(), audit.c.audit_id).limit(limit)
    if subject is not None:
        statement = statement.where(audit.c.subject == subject)
    return [AuditEntry(*row) for row in connection.execute(statement)]
