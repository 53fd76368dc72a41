"""Which job reads a change, where decisions are carried out, and which store's backlog goes on.

This is `backlog.py` asked by a sensor.

What the sensor does besides is in `sensors.py`.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from sqlalchemy import Connection

from catalog_pipeline.backlog import (
    count_pictures,
    may_have_left,
    owed_decisions,
    stores_with_due_attempts,
    why_light,
)
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.syncs import Sync, last_whole_syncs, standing_failures
from catalog_pipeline.defs.automation import DECISION, Kind, carry_out, sync_prices, sync_store
from catalog_pipeline.defs.embeddings import POOL
from catalog_pipeline.defs.run_records import KIND, settle
from catalog_pipeline.defs.runs import EXECUTING
from catalog_pipeline.products.polling import FIRST_WAIT, back_off
from catalog_pipeline.stores import StoreConfig

BACKLOG: Kind = "backlog"
# Embedding is done by one run at a time, and a slot of the queue has to stay free for changes.
_AT_A_TIME = 1
_UNFINISHED = [*EXECUTING, dg.DagsterRunStatus.QUEUED]
_SETTLING_SECONDS = 5.0
_CARRYING_OUT = frozenset({sync_store.name, sync_prices.name, carry_out.name})


@dataclass(frozen=True)
class Choice:
    """A run to ask for, and a line that says why it is this one."""

    store_id: str
    kind: Kind
    why: str


class Backlogs:
    """What one tick of a sensor knows of the pictures that stores are owed."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        connection: Connection,
        stores: Mapping[str, StoreConfig],
        now: datetime,
        deadline: float,
    ) -> None:
        """Look up each store's last run, and whether embedding is free.

        Args:
            instance: that runs the stores.
            connection: to the catalogue.
            stores: those that may be asked for.
            now: the clock.
            deadline: by `time.monotonic`; from then on no pictures are counted.
        """
        self._deadline = deadline
        self._instance = instance
        self._connection = connection
        self._stores = stores
        self._now = now
        self._last: Mapping[str, Sync] = last_whole_syncs(connection)
        self._is_busy = is_pool_busy(instance, POOL)

    def choose(self, changed: Sequence[str]) -> list[Choice]:
        """The job for each store that has changed."""
        return [self._choice(store_id) for store_id in changed]

    def go_on(self, idle: Collection[str], answered: Collection[str]) -> list[Choice]:
        """The store whose backlog goes on now, if embedding is free; who waited longest is first.

        Args:
            idle: stores that nothing else is asked for, and that have no unfinished run.
            answered: those that were asked in this tick: only their failed pictures are looked for.
        """
        backlogs = dg.RunsFilter(tags={KIND: BACKLOG}, statuses=_UNFINISHED)
        if self._is_busy or self._instance.get_runs_count(backlogs) >= _AT_A_TIME:
            return []
        left = {store for store in idle if store in self._last and may_have_left(self._last[store])}
        asked = [self._stores[store] for store in answered if store in idle]
        left |= stores_with_due_attempts(self._connection, asked, self._now)
        chosen: list[Choice] = []
        for store_id in sorted(left, key=self._since):
            if len(chosen) == _AT_A_TIME:
                break
            if pictures := self._count(store_id):
                why = f"{store_id}: nothing changed, {pictures:,} pictures are owed"
                chosen.append(Choice(store_id, BACKLOG, why))
        return chosen

    def failed(self) -> set[str]:
        """The stores whose last run failed."""
        return {store for store, last in self._last.items() if last.status == "failure"}

    def _choice(self, store_id: str) -> Choice:
        why = why_light(
            self._count(store_id),
            self._last.get(store_id),
            limit=self._stores[store_id].max_images_per_run,
            embedding_is_busy=self._is_busy,
        )
        if why is None:
            return Choice(store_id, "incremental", f"{store_id}: has changed")
        return Choice(store_id, "prices", f"{store_id}: has changed; prices go ahead, since {why}")

    def _count(self, store_id: str) -> int:
        if time.monotonic() > self._deadline:
            return 0
        return count_pictures(self._connection, self._stores[store_id], self._now)

    def _since(self, store_id: str) -> tuple[datetime, str]:
        last = self._last.get(store_id)
        return (self._now if last is None else last.updated_at, store_id)


def is_pool_busy(instance: dg.DagsterInstance, pool: str) -> bool:
    """Whether a step that needs the pool would have to wait."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return False
    found = storage.get_concurrency_info(pool)
    taken = len(found.claimed_slots)
    return taken > 0 and taken >= found.slot_count


def decided(
    instance: dg.DagsterInstance, database: Database, stores: Collection[str], now: datetime
) -> list[Choice]:
    """The store in which people's decisions are carried out now; who waited longest is first.

    Neither a walk that fails nor one that embeds stands in the way, only a run of this same kind.

    Args:
        instance: that runs the stores.
        database: the catalogue.
        stores: those that nothing else is asked for, and that have no unfinished run.
        now: the clock.
    """
    going_on = dg.RunsFilter(job_name=carry_out.name, statuses=_UNFINISHED)
    if instance.get_runs_count(going_on) >= _AT_A_TIME or not _owed(database, stores, now):
        return []
    # The run that carried it out may be over and not on record yet.
    settle(instance, database, seconds=_SETTLING_SECONDS)
    owed = _owed(database, stores, now)
    chosen = sorted(owed, key=lambda store: (owed[store], store))[:_AT_A_TIME]
    return [
        Choice(store, DECISION, f"{store}: decided over at {owed[store]:%Y-%m-%d %H:%M:%S} UTC")
        for store in chosen
    ]


def _owed(database: Database, stores: Collection[str], now: datetime) -> dict[str, datetime]:
    """The stores in which a decision waits, but for those where carrying it out failed just now."""
    with database.read() as connection:
        owed = owed_decisions(connection, stores, _CARRYING_OUT, now)
        return {
            store: at
            for store, at in owed.items()
            if _tried_again_at(connection, store, now) <= now
        }


def _tried_again_at(connection: Connection, store_id: str, now: datetime) -> datetime:
    failed = [one for one in standing_failures(connection, store_id) if one.job == carry_out.name]
    if not failed:
        return now
    ended = failed[0].completed_at or failed[0].updated_at
    return ended + back_off(FIRST_WAIT, len(failed))
