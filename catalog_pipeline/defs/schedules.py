"""Schedules: regular walks of every store, whatever the polling saw.

A schedule here ticks every few minutes and starts the stores whose moment has come, because a
thousand stores must not start at once. When a night begins is read from the settings at each tick,
so nothing is read at import; `products/timetable.py` decides who is owed.

A schedule has one job, so each round has two of them: while a run embeds, whole runs would wait for
it and fill the queue, and the light job walks in their place. The backlog sees to the pictures.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus
from dagster._utils.schedules import get_latest_completed_cron_tick, get_next_cron_tick

from catalog_pipeline.catalog.circuits import read_circuits
from catalog_pipeline.defs.automation import Kind, sync_prices, sync_request, sync_store
from catalog_pipeline.defs.backlog import is_pool_busy
from catalog_pipeline.defs.embeddings import POOL
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.resources import DatabaseResource, FilesResource, VectorIndexResource
from catalog_pipeline.defs.runs import (
    PARTITION,
    stores_asked_since,
    stores_with_unfinished_runs,
)
from catalog_pipeline.defs.services import Ready, make_ready
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.products.circuit import open_circuits
from catalog_pipeline.products.source import PROVING_KINDS
from catalog_pipeline.products.timetable import (
    asked_again_at,
    last_complete_walks,
    owed_walks,
    read_watermarks,
)
from catalog_pipeline.settings import load_settings

# After the night of Saturday: a full walk asks most of a store.
WEEKLY_CRON = "0 4 * * sun"
# Names the round that a run belongs to, whichever job it is of.
ROUND = "catalog/round"
_TICKS = "*/5 * * * *"

Result = list[dg.RunRequest] | dg.SkipReason


@dataclass(frozen=True)
class _Rule:
    """What is owed to every store once in a round, and over how long the starts are spread."""

    kind: Kind
    cron: Callable[[], str]
    window: timedelta
    seen_by: Collection[str]


_NIGHT = _Rule("nightly", lambda: load_settings().nightly_cron, timedelta(hours=1), PROVING_KINDS)
_WEEK = _Rule("full", lambda: WEEKLY_CRON, timedelta(hours=4), {"full"})


def _schedule(name: str, rule: _Rule, *, light: bool, description: str) -> dg.ScheduleDefinition:
    """A schedule that asks for the stores that no such walk has seen whole since the round began.

    Args:
        name: the schedule's.
        rule: the round.
        light: it is the one that asks while another run embeds.
        description: for people.
    """

    @dg.schedule(
        name=name,
        job=sync_prices if light else sync_store,
        cron_schedule=_TICKS,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def tick(
        context: dg.ScheduleEvaluationContext,
        database: DatabaseResource,
        files: FilesResource,
        vector_index: VectorIndexResource,
    ) -> Result:
        try:
            ready = make_ready(database, files, vector_index)
            if is_pool_busy(context.instance, POOL) is not light:
                return dg.SkipReason(
                    "no run is embedding, so whole runs walk the stores"
                    if light
                    else "another run is embedding, so light runs walk the stores meanwhile"
                )
            found = _Round.at(context, rule)
            owed = _owed(context, ready, found)
        except CatalogError as error:
            return dg.SkipReason(str(error))
        return [
            sync_request(store, rule.kind, moment, light=light, tags={ROUND: found.name})
            for store, moment in owed
        ] or found.nothing()

    return tick


nightly_walks = _schedule(
    "nightly_walks",
    _NIGHT,
    light=False,
    description=(
        "At CATALOG_NIGHTLY_CRON in CATALOG_TIMEZONE, spread over an hour: an incremental walk and "
        "a sweep of every store. Looks every five minutes whose start has come, and makes up for "
        "a night that this machine slept through; a walk that failed is asked for again after "
        "pauses from half an hour to six hours."
    ),
)
nightly_light_walks = _schedule(
    "nightly_light_walks",
    _NIGHT,
    light=True,
    description=(
        "In the place of nightly_walks while another run embeds: the same walks, with prices and "
        "removals taken to the collection at once. Pictures follow when embedding is free."
    ),
)
weekly_full_walks = _schedule(
    "weekly_full_walks",
    _WEEK,
    light=False,
    description=(
        "From Sunday 04:00 in CATALOG_TIMEZONE, spread over four hours: a full walk of every "
        "store, which also looks at pictures replaced under the same address. One that failed is "
        "asked for again after pauses from half an hour to six hours."
    ),
)
weekly_light_walks = _schedule(
    "weekly_light_walks",
    _WEEK,
    light=True,
    description=(
        "In the place of weekly_full_walks while another run embeds: the same walks; pictures are "
        "looked at when embedding is free."
    ),
)


def round_at(cron: str, now: datetime) -> tuple[datetime, str]:
    """When the last round of a cron expression in the settings' zone began, and the next one will.

    Raises:
        ConfigurationError: the settings are wrong.
    """
    zone = load_settings().timezone
    begin = get_latest_completed_cron_tick(cron, now, zone).astimezone(UTC)
    return begin, f"{get_next_cron_tick(cron, now, zone):%Y-%m-%d %H:%M} {zone}"


@dataclass(frozen=True)
class _Round:
    """One night, or one week, as a tick finds it."""

    rule: _Rule
    now: datetime
    begin: datetime
    following: str

    @classmethod
    def at(cls, context: dg.ScheduleEvaluationContext, rule: _Rule) -> Self:
        """The round that began last before the tick, in the settings' zone.

        Raises:
            ConfigurationError: the settings are wrong.
        """
        now = context.scheduled_execution_time.astimezone(UTC)
        return cls(rule, now, *round_at(rule.cron(), now))

    @property
    def name(self) -> str:
        """Tells this round from every other."""
        return f"{self.rule.kind}/{self.begin.isoformat()}"

    def nothing(self) -> dg.SkipReason:
        """Why there is nothing to do."""
        return dg.SkipReason(f"no store is owed this now; the next round begins {self.following}")


def _owed(
    context: dg.ScheduleEvaluationContext, ready: Ready, found: _Round
) -> Sequence[tuple[str, str]]:
    """The stores to start, each with what tells this attempt at it from every other."""
    partitions = set(context.instance.get_dynamic_partitions(STORES))
    # A tick that is made up for has a moment of its own, long past.
    now = datetime.now(UTC)
    with ready.database.read() as connection:
        watermarks = read_watermarks(connection)
        walked = last_complete_walks(connection, found.rule.seen_by, now)
        left_alone = open_circuits(read_circuits(connection), now)
    # A store that was never walked is owed its first sync, which a sensor asks for.
    regular = [
        store for store in ready.polled(found.now) if store in partitions and store in watermarks
    ]
    if held := [store for store in regular if store in left_alone]:
        context.log.info("left alone after repeated failures: %s", ", ".join(held))
    asked = stores_asked_since(context.instance, ROUND, found.name, found.begin)
    missed = [store for store in asked if store not in walked or walked[store] < found.begin]
    tried = _tried(context.instance, found, missed)
    owed = owed_walks(
        [store for store in regular if store not in left_alone],
        walked,
        {store: attempts.again_at for store, attempts in tried.items()},
        stores_with_unfinished_runs(context.instance),
        begin=found.begin,
        now=found.now,
        window=found.rule.window,
    )
    return [(store, f"{found.name}/{tried[store].made if store in tried else 0}") for store in owed]


@dataclass(frozen=True)
class _Attempts:
    """How often a store was asked for in a round, and when it may be once more."""

    made: int
    again_at: datetime | None


def _tried(instance: DagsterInstance, found: _Round, stores: Iterable[str]) -> dict[str, _Attempts]:
    """What came of the requests of a round; only a failure is a reason for another one.

    A run that a person cancelled is theirs, and a walk that ended without having seen the whole
    store would hardly see it an hour later.
    """
    tried = {}
    for store in stores:
        records = instance.get_run_records(
            dg.RunsFilter(tags={ROUND: found.name, PARTITION: store}), order_by="update_timestamp"
        )
        last = records[0]
        has_failed = last.dagster_run.status == DagsterRunStatus.FAILURE
        ended_at = last.update_timestamp.astimezone(UTC)
        tried[store] = _Attempts(
            len(records), asked_again_at(ended_at, len(records)) if has_failed else None
        )
    return tried


SCHEDULES = [nightly_walks, nightly_light_walks, weekly_full_walks, weekly_light_walks]
