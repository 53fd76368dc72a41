"""The stores that failed when they were last asked, kept where every process sees it.

A store that answers has no record. What counts as a failure, and what follows from how many, is
decided in `products/circuit.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Select, delete, select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.operations_schema import circuits

Asked = Literal["probe", "walk"]


@dataclass(frozen=True)
class Circuit:
    """A store's failures in a row.

    `failed` is "walk" if a walk is among them, `reason` what was said of the last; `opened_at` is
    None while the failures are too few to leave the store alone.
    """

    store_id: str
    failures: int
    failed: Asked
    reason: str
    failed_at: datetime
    opened_at: datetime | None


def read_circuits(connection: Connection) -> dict[str, Circuit]:
    """Every store that failed when it was last asked."""
    return {row.store_id: Circuit(*row) for row in connection.execute(_columns())}


def read_circuit(
    connection: Connection, store_id: str, *, for_update: bool = False
) -> Circuit | None:
    """One store's record; None for a store that answers.

    Args:
        connection: in a write transaction, if the record is to be changed.
        store_id: the store.
        for_update: keep others from changing it until the transaction ends.
    """
    found = _columns().where(circuits.c.store_id == store_id)
    row = connection.execute(found.with_for_update() if for_update else found).one_or_none()
    return None if row is None else Circuit(*row)


def keep_circuit(connection: Connection, circuit: Circuit) -> None:
    """Record a store's failures, in place of what was recorded before."""
    upsert(connection, circuits, [asdict(circuit)])


def forget_circuit(connection: Connection, store_id: str) -> None:
    """Record that the store answers."""
    connection.execute(delete(circuits).where(circuits.c.store_id == store_id))


def _columns() -> Select[Any]:
    return select(*(circuits.c[field.name] for field in fields(Circuit)))
