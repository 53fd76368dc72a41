"""What the products stage asks the archive and the database before, and counts after, its work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from sqlalchemy import Connection, func, select

from catalog_pipeline.catalog.schema import products, quarantine, store_states, walks
from catalog_pipeline.catalog.wanted import is_live
from catalog_pipeline.products.archive import Archive, ArchivedWalk

MOST_QUARANTINED = 0.05
# A plug-in's odd product or two are no trend, however small the store.
_FEWEST_QUARANTINED = 3
# That examples are looked up for.
_MOST_REASONS = 20
_MOST_EXAMPLES = 3


def owed_walks(connection: Connection, archive: Archive, store_id: str) -> list[ArchivedWalk]:
    """The archived walks that no row knows of yet, oldest first.

    Never one older than the newest that was processed: its rows would overwrite newer ones. A walk
    without an end counts only once a newer one has begun; until then it may still be under way.
    """
    newest = connection.scalar(
        select(func.max(walks.c.walk_id)).where(walks.c.store_id == store_id)
    )
    ids = [found for found in archive.walk_ids(store_id) if newest is None or found > newest]
    return ended_walks(archive, store_id, ids)


def ended_walks(archive: Archive, store_id: str, ids: list[str]) -> list[ArchivedWalk]:
    """Those of a store's newest walks that are over, oldest first."""
    return list(_ended(archive, store_id, ids))


def _ended(archive: Archive, store_id: str, ids: list[str]) -> Iterator[ArchivedWalk]:
    for walk_id, later in pairwise([*ids, None]):
        assert walk_id is not None
        walk = archive.open(store_id, walk_id)
        if walk is not None and (walk.manifest is not None or later is not None):
            yield walk


def quarantined_ids(connection: Connection, store_id: str) -> set[str]:
    """The ids of a store's records in quarantine."""
    return set(
        connection.scalars(
            select(quarantine.c.external_id).where(quarantine.c.store_id == store_id)
        )
    )


@dataclass(frozen=True)
class StoreCounts:
    """What a store's rows amount to; `stale` live ones stand in for a newer version, refused.

    Counts by rule and by reason add up to all of them; only the commonest have examples.
    """

    live: int
    stale: int
    left_out: dict[str, int]
    quarantined: int
    quarantined_by_reason: dict[str, int]
    quarantined_examples: dict[str, str]
    watermark: str | None
    currency: str | None

    @property
    def records(self) -> int:
        """What the store lists, as far as anything of it is here."""
        return self.live - self.stale + self.quarantined

    @property
    def are_many_quarantined(self) -> bool:
        """Whether more are in quarantine than a person should let pass."""
        return (
            self.quarantined >= _FEWEST_QUARANTINED
            and self.quarantined > MOST_QUARANTINED * self.records
        )


def count_store(connection: Connection, store_id: str) -> StoreCounts:
    """Count a store's rows by rule and its quarantine by reason, the most frequent first."""
    of_store = products.c.store_id == store_id
    size = func.count().label("size")
    left_out = connection.execute(
        select(products.c.left_out_by, size)
        .where(of_store, products.c.removed_by.is_(None), products.c.left_out_by.is_not(None))
        .group_by(products.c.left_out_by)
        .order_by(size.desc(), products.c.left_out_by)
    )
    in_quarantine = quarantine.c.store_id == store_id
    reasons = {
        row.reason: row.size
        for row in connection.execute(
            select(quarantine.c.reason, size)
            .where(in_quarantine)
            .group_by(quarantine.c.reason)
            .order_by(size.desc(), quarantine.c.reason)
        )
    }
    state = connection.execute(
        select(store_states.c.watermark, store_states.c.currency).where(
            store_states.c.store_id == store_id
        )
    ).one_or_none()
    refused = select(quarantine.c.external_id).where(in_quarantine)
    stale = select(func.count()).where(of_store, is_live(), products.c.external_id.in_(refused))
    return StoreCounts(
        live=connection.scalar(select(func.count()).where(of_store, is_live())) or 0,
        stale=connection.scalar(stale) or 0,
        left_out={row.left_out_by: row.size for row in left_out},
        quarantined=connection.scalar(select(func.count()).where(in_quarantine)) or 0,
        quarantined_by_reason=reasons,
        quarantined_examples={
            reason: _examples(connection, store_id, reason)
            for reason in islice(reasons, _MOST_REASONS)
        },
        watermark=state.watermark.isoformat() if state and state.watermark else None,
        currency=state.currency if state else None,
    )


def _examples(connection: Connection, store_id: str, reason: str) -> str:
    return ", ".join(
        connection.scalars(
            select(quarantine.c.external_id)
            .where(quarantine.c.store_id == store_id, quarantine.c.reason == reason)
            .order_by(quarantine.c.external_id)
            .limit(_MOST_EXAMPLES)
        )
    )
