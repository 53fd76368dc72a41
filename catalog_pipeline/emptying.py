"""Takes everything of one store out: its points, its archive, its rows, in this order.

The one place that removes without a walk and without the removal guard, so it asks for the number
of points that the person saw. Pictures and vectors belong to no store; `prune.py` takes those that
nothing refers to any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection, delete, func, select

from catalog_pipeline.catalog.audit import AuditEntry, record
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import (
    audit,
    leases,
    metadata,
    points,
    product_overrides,
    products,
)
from catalog_pipeline.errors import PermanentError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.index import OwnershipError, PointFilter, VectorIndex

# What outlives a store: who holds it now, and who decided what.
_KEPT = {leases.name, audit.name}


class EmptyingRefusedError(PermanentError):
    """The number that was named is not the number of points that would go."""


@dataclass(frozen=True)
class EmptyReport:
    """What went, by table; `points` counts those taken out of collections."""

    store_id: str
    points: int
    rows: dict[str, int]


def count_points(connection: Connection, store_id: str) -> int:
    """The points on record of a store, in every collection."""
    of_store = select(func.count()).select_from(points).where(points.c.store_id == store_id)
    return connection.scalar(of_store) or 0


def empty_store(
    lease: StoreLease,
    files: DataFolder,
    index: VectorIndex,
    *,
    named: int,
    deployment_id: UUID,
    who: str,
    reason: str,
) -> EmptyReport:
    """Remove all that is kept of the lease's store.

    Cut off anywhere, it can be run again; points whose records are gone first are found in the
    collection itself.

    Args:
        lease: the right to write the store.
        files: the data folder, with the store's archive.
        index: where its points are.
        named: the number of points that the person saw.
        deployment_id: this database's own.
        who: decided it.
        reason: why.

    Raises:
        EmptyingRefusedError: another number of points is on record.
        OwnershipError: a collection belongs to another deployment; nothing was removed.
        ServiceUnavailableError: Qdrant or the database cannot be reached.
    """
    store_id = lease.store_id
    with lease.database.read() as connection:
        held = count_points(connection, store_id)
        collections = connection.scalars(
            select(points.c.collection).where(points.c.store_id == store_id).distinct()
        ).all()
    if held != named:
        raise EmptyingRefusedError(
            f"store {store_id} has {held} points on record, and {named} were named; look again, "
            f"then name {held}"
        )
    for collection in collections:
        info = index.info(collection)
        if info is not None and info.owner != deployment_id:
            raise OwnershipError(
                f"collection {collection} belongs to another deployment; its points stay"
            )
    removed = sum(_take_points(lease, index, collection) for collection in collections)
    files.remove(f"archive/{store_id}")
    return EmptyReport(store_id, removed, _take_rows(lease, removed, who=who, reason=reason))


def _take_points(lease: StoreLease, index: VectorIndex, collection: str) -> int:
    if index.info(collection) is None:
        return 0
    where = PointFilter(stores=(lease.store_id,))
    removed = 0
    with index.session(collection) as opened:
        for page in list(opened.ids(where)):
            lease.check()
            opened.delete(page)
            removed += len(page)
    return removed


def _take_rows(lease: StoreLease, removed: int, *, who: str, reason: str) -> dict[str, int]:
    store_id = lease.store_id
    rows = {}
    with lease.write() as connection:
        own = select(products.c.product_id).where(products.c.store_id == store_id)
        connection.execute(delete(product_overrides).where(product_overrides.c.product_id.in_(own)))
        for table in reversed(metadata.sorted_tables):
            if "store_id" in table.c and table.name not in _KEPT:
                done = connection.execute(delete(table).where(table.c.store_id == store_id))
                rows[table.name] = done.rowcount
        entry = AuditEntry(
            at=datetime.now(UTC),
            who=who,
            action="store.empty",
            store_id=store_id,
            subject=store_id,
            reason=reason,
            details={"points": removed},
        )
        record(connection, entry)
    return {name: count for name, count in rows.items() if count}
