"""The record of every run of a store: what it was for, how it went, what it did.

How a run went is told by whoever runs it; here is only how that is kept and asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, select, tuple_, update

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.operations_schema import syncs
from catalog_pipeline.catalog.schema import store_states

_LOOKED_AT = 50
# Dagster's name for a run that was put together by hand, of whatever assets.
_OF_ANY_ASSETS = "__ASSET_JOB"
_STAGES = frozenset(
    {"raw_products", "products", "product_images", "image_embeddings", "qdrant_points"}
)
# Of each store, however old; more than any question needs, runs of one product among them.
_KEPT = 100
FINISHED = frozenset({"success", "failure", "canceled"})


@dataclass(frozen=True)
class Sync:
    """One run of one store.

    `counts` holds {asset: {count: number}}; `retries` are attempts beyond the first, of steps and
    of the run itself; `updated_at` is when the run's own record last changed.
    """

    run_id: str
    store_id: str
    job: str
    kind: str
    status: str
    walk_kind: str | None
    counts: Mapping[str, Mapping[str, int | float]]
    error: str | None
    retries: int
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in FINISHED

    @property
    def failed_stage(self) -> str | None:
        """The asset at which it failed, as far as its error tells."""
        return None if self.error is None else self.error.partition(":")[0]

    def makes_up_for(self, failed: Sync) -> bool:
        """Whether this run, the later one, went well with what the other failed at.

        One of a single product speaks for no other, and one of prices not for pictures.
        """
        if self.status != "success":
            return False
        if self.walk_kind == "product" and failed.walk_kind != "product":
            return False
        return (
            self.job == failed.job != _OF_ANY_ASSETS
            or failed.failed_stage in self.counts
            or self.counts.keys() >= _STAGES
        )


def record_syncs(connection: Connection, found: Sequence[Sync]) -> None:
    """Keep these records, in place of earlier ones of the same runs."""
    upsert(connection, syncs, [asdict(sync) for sync in found])


def newest_change(connection: Connection) -> datetime | None:
    """The latest `updated_at` on record."""
    found = connection.scalar(select(func.max(syncs.c.updated_at)))
    assert found is None or isinstance(found, datetime)
    return found


def unfinished_run_ids(connection: Connection) -> set[str]:
    """The runs that were not over when they were last looked at."""
    return set(connection.scalars(select(syncs.c.run_id).where(syncs.c.status.not_in(FINISHED))))


def finished_run_ids(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Which of these runs are on record as finished."""
    return set(
        connection.scalars(
            select(syncs.c.run_id).where(syncs.c.run_id.in_(run_ids), syncs.c.status.in_(FINISHED))
        )
    )


def forget_runs(connection: Connection, run_ids: Collection[str]) -> None:
    """Close the records of runs that went on when last seen and that nobody knows any more."""
    connection.execute(
        update(syncs)
        .where(syncs.c.run_id.in_(run_ids), syncs.c.status.not_in(FINISHED))
        .values(status="failure", error="Dagster no longer knows this run.")
    )


def drop_old_syncs(connection: Connection, before: datetime) -> int:
    """Drop records older than that, but for those that nothing newer stands for; tell how many.

    What goes on stays, and so do the newest of each store that anything here looks at.
    """
    rank = func.row_number().over(
        partition_by=syncs.c.store_id, order_by=(syncs.c.updated_at.desc(), syncs.c.run_id)
    )
    ranked = select(syncs.c.run_id, syncs.c.store_id, rank.label("rank")).subquery()
    newest = select(ranked.c.run_id, ranked.c.store_id).where(ranked.c.rank <= _KEPT)
    return connection.execute(
        delete(syncs).where(
            syncs.c.updated_at < before,
            syncs.c.status.in_(FINISHED),
            tuple_(syncs.c.run_id, syncs.c.store_id).not_in(newest),
        )
    ).rowcount


def standing_failures(connection: Connection, store_id: str) -> list[Sync]:
    """A store's latest runs that failed and that no later one made up for, the newest first."""
    good: list[Sync] = []
    failed: list[Sync] = []
    for sync in last_syncs(connection, store_id, _LOOKED_AT):
        if sync.status == "success":
            good.append(sync)
        elif sync.status == "failure" and not any(one.makes_up_for(sync) for one in good):
            failed.append(sync)
    return failed


def last_whole_syncs(connection: Connection) -> dict[str, Sync]:
    """The latest finished run of every store, those left out that were of one product."""
    latest = syncs.alias("latest")
    newest = (
        select(latest.c.run_id)
        .where(
            latest.c.store_id == store_states.c.store_id,
            latest.c.status.in_(FINISHED),
            latest.c.walk_kind.is_distinct_from("product"),
        )
        .order_by(latest.c.updated_at.desc(), latest.c.run_id)
        .limit(1)
        .correlate(store_states)
        .scalar_subquery()
    )
    # From the stores to their runs: thousands of runs of each are kept.
    rows = connection.execute(
        select(*(syncs.c[field.name] for field in fields(Sync)))
        .select_from(store_states)
        .join(syncs, and_(syncs.c.store_id == store_states.c.store_id, syncs.c.run_id == newest))
    )
    return {row.store_id: Sync(*row) for row in rows}


def last_syncs(connection: Connection, store_id: str, limit: int = 1) -> list[Sync]:
    """A store's latest runs, the newest first."""
    rows = connection.execute(
        select(*(syncs.c[field.name] for field in fields(Sync)))
        .where(syncs.c.store_id == store_id)
        .order_by(syncs.c.updated_at.desc(), syncs.c.run_id)
        .limit(limit)
    )
    return [Sync(*row) for row in rows]
