"""Old walks leave the archive, as long as the rows can still be built from what stays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import walks
from catalog_pipeline.products.archive import Archive, walk_started_at


@dataclass(frozen=True)
class PruneReport:
    """How many walks of a store went and stayed; `oldest` is the first that stayed."""

    removed: int
    kept: int
    oldest: str | None


def prune_archive(
    lease: StoreLease, archive: Archive, *, days: int, now: datetime | None = None
) -> PruneReport:
    """Remove a store's walks that are older than so many days.

    Whatever their age, the newest complete full walk that rows were made of stays, and all that
    came after it; without one, all of them stay. So no walk goes that is not processed yet.

    Args:
        lease: the store; nobody replays it meanwhile.
        archive: the walks.
        days: CATALOG_ARCHIVE_DAYS.
        now: for tests.

    Raises:
        ArchiveError: the records of a walk are damaged.
    """
    store_id = lease.store_id
    before = (now or datetime.now(UTC)) - timedelta(days=days)
    ids = archive.walk_ids(store_id)
    with lease.database.read() as connection:
        processed = set(
            connection.scalars(select(walks.c.walk_id).where(walks.c.store_id == store_id))
        )
    newest_first = (found for found in reversed(ids) if found in processed)
    opened = (archive.open(store_id, found) for found in newest_first)
    anchor = next((walk.walk_id for walk in opened if walk and walk.is_complete_full), None)
    removed = 0
    for walk_id in ids:
        if anchor is None or walk_id >= anchor or walk_started_at(walk_id) >= before:
            break
        archive.remove(store_id, walk_id)
        removed += 1
    return PruneReport(removed, len(ids) - removed, next(iter(ids[removed:]), None))
