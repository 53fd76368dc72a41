"""A collection whose database is gone, taken over by this one: only ever a person's decision."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from catalog_pipeline.catalog.audit import AuditEntry, record
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.errors import PermanentError
from catalog_pipeline.vectors.index import VectorIndex


def adopt_collection(
    database: Database, index: VectorIndex, collection: str, *, who: str, reason: str
) -> UUID | None:
    """Make a collection this database's own, and keep who decided so.

    From then on a sync brings it in step with this database: points that it does not know go, as
    far as the removal guard lets them.

    Returns:
        The deployment that it belonged to; None if it named none.

    Raises:
        PermanentError: there is no such collection, or it is this database's own already.
        ServiceUnavailableError: the database or Qdrant cannot be reached.
    """
    found = index.info(collection)
    if found is None:
        raise PermanentError(f"there is no collection {collection}")
    owner = database.deployment_id()
    if found.owner == owner:
        raise PermanentError(f"collection {collection} belongs to this database already")
    before = None if found.owner is None else str(found.owner)
    # The decision first: a collection that changed hands without a word would be the worse half.
    with database.write() as connection:
        record(
            connection,
            AuditEntry(
                at=datetime.now(UTC),
                who=who,
                action="collection.adopt",
                store_id=None,
                subject=collection,
                reason=reason,
                details={"from": before, "to": str(owner)},
            ),
        )
    index.adopt(collection, owner)
    return found.owner
