"""Schedules: regular walks of every store, whatever the polling saw.

A schedule here ticks every few minutes and starts the stores whose moment has come, because a
thousand stores must not start at once. When a night begins is read from the settings at each tick,
so nothing is read at import; `products/timetable.py` decides who is owed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import dagster as dg
from dagster._utils.schedules import get_latest_completed_cron_tick, get_next_cron_tick

from catalog_pipeline.catalog.circuits import read_circuits
from catalog_pipeline.defs.automation import Kind, sync_request, sync_store
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.resources import DatabaseResource, FilesResource, VectorIndexResource
from catalog_pipeline.defs.run_records import KIND
from catalog_pipeline.defs.runs import stores_asked_since, stores_with_unfinished_runs
from catalog_pipeline.defs.services import Ready, make_ready
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.products.circuit import open_circuits
from catalog_pipeline.products.source import PROVING_KINDS
from catalog_pipeline.products.timetable import last_complete_walks, owed_walks, read_watermarks
from catalog_pipeline.settings import load_settings

# After the night of Saturday: a full walk asks most of a store.
WEEKLY_CRON = "0 4 * * sun"
_TICKS = "*/5 * * * *"
_NIGHT = timedelta(hours=1)
_WEEK_END = timedelta(hours=4)

Result = list[dg.RunRequest] | dg.SkipReason


@dg.schedule(
    job=sync_store,
    cron_schedule=_TICKS,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "At CATALOG_NIGHTLY_CRON in CATALOG_TIMEZONE, spread over an hour: an incremental walk and "
        "a sweep of every store. Looks every five minutes whose start has come, and makes up for "
        "a night that this machine slept through."
    ),
)
def nightly_walks(
    context: dg.ScheduleEvaluationContext,
    database: DatabaseResource,
    files: FilesResource,
    vector_index: VectorIndexResource,
) -> Result:
    """Start the stores that no walk has seen whole since the night began."""
    try:
        ready = make_ready(database, files, vector_index)
        night = _Round.at(context, load_settings().nightly_cron)
        owed = _owed(context, ready, night, "nightly", _NIGHT, PROVING_KINDS)
    except CatalogError as error:
        return dg.SkipReason(str(error))
    return [sync_request(store, "nightly", night.name) for store in owed] or night.nothing()


@dg.schedule(
    job=sync_store,
    cron_schedule=_TICKS,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "From Sunday 04:00 in CATALOG_TIMEZONE, spread over four hours: a full walk of every "
        "store, which also looks at pictures replaced under the same address."
    ),
)
def weekly_full_walks(
    context: dg.ScheduleEvaluationContext,
    database: DatabaseResource,
    files: FilesResource,
    vector_index: VectorIndexResource,
) -> Result:
    """Start the stores that were not read in full since the week began."""
    try:
        ready = make_ready(database, files, vector_index)
        week = _Round.at(context, WEEKLY_CRON)
        owed = _owed(context, ready, week, "full", _WEEK_END, {"full"})
    except CatalogError as error:
        return dg.SkipReason(str(error))
    return [sync_request(store, "full", week.name) for store in owed] or week.nothing()


@dataclass(frozen=True)
class _Round:
    """One night, or one week, as a tick finds it."""

    now: datetime
    begin: datetime
    following: str

    @classmethod
    def at(cls, context: dg.ScheduleEvaluationContext, cron: str) -> Self:
        """The round that began last before the tick, by a cron expression in the settings' zone.

        Raises:
            ConfigurationError: the settings are wrong.
        """
        zone = load_settings().timezone
        now = context.scheduled_execution_time.astimezone(UTC)
        begin = get_latest_completed_cron_tick(cron, now, zone).astimezone(UTC)
        return cls(now, begin, f"{get_next_cron_tick(cron, now, zone):%Y-%m-%d %H:%M} {zone}")

    @property
    def name(self) -> str:
        """Tells this round from every other."""
        return self.begin.isoformat()

    def nothing(self) -> dg.SkipReason:
        """Why there is nothing to do."""
        return dg.SkipReason(f"no store is owed this now; the next round begins {self.following}")


def _owed(
    context: dg.ScheduleEvaluationContext,
    ready: Ready,
    found: _Round,
    kind: Kind,
    window: timedelta,
    walk_kinds: Collection[str],
) -> Sequence[str]:
    """The stores to start, leaving out those that such a walk saw since the round began."""
    partitions = set(context.instance.get_dynamic_partitions(STORES))
    with ready.database.read() as connection:
        watermarks = read_watermarks(connection)
        walked = last_complete_walks(connection, walk_kinds)
        left_alone = open_circuits(read_circuits(connection), datetime.now(UTC))
    # A store that was never walked is owed its first sync, which a sensor asks for.
    regular = [
        store for store in ready.polled(found.now) if store in partitions and store in watermarks
    ]
    if held := [store for store in regular if store in left_alone]:
        context.log.info("left alone after repeated failures: %s", ", ".join(held))
    return owed_walks(
        [store for store in regular if store not in left_alone],
        walked,
        stores_asked_since(context.instance, KIND, kind, found.begin),
        stores_with_unfinished_runs(context.instance),
        begin=found.begin,
        now=found.now,
        window=window,
    )


SCHEDULES = [nightly_walks, weekly_full_walks]
