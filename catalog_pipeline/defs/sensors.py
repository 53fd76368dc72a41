"""Sensors: partitions kept equal to `stores.yaml`, stores polled for changes, runs recorded.

What is due and what an answer means is decided in `products/polling.py`; here that meets Dagster.
A sensor gives one reason and starts nothing while a service that every run needs is away.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import RootModel, ValidationError
from sqlalchemy import Connection

from catalog_pipeline.catalog.circuits import Circuit, read_circuits
from catalog_pipeline.catalog.lease import Held, held_stores
from catalog_pipeline.catalog.syncs import standing_failures
from catalog_pipeline.defs.automation import carry_out, sync_prices, sync_request, sync_store
from catalog_pipeline.defs.backlog import Backlogs, decided
from catalog_pipeline.defs.partitions import STORES, stores_partitions
from catalog_pipeline.defs.resources import DatabaseResource, FilesResource, VectorIndexResource
from catalog_pipeline.defs.run_records import settle
from catalog_pipeline.defs.runs import (
    end_dead_runs,
    hand_out_free_slots,
    stores_with_unfinished_runs,
)
from catalog_pipeline.defs.services import Ready, make_ready, reach_database
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.products.circuit import (
    asked_again_at,
    describe,
    open_circuits,
    record_answers,
)
from catalog_pipeline.products.polling import (
    MOST_REQUESTS,
    PollCursor,
    Waiting,
    back_off,
    decide,
    due_stores,
    first_syncs,
    is_news,
)
from catalog_pipeline.products.probe import known_products, probe_all, probe_store
from catalog_pipeline.products.timetable import read_watermarks

# Dagster cuts an evaluation at 60 s; what follows the probes needs its share.
DEADLINE_SECONDS = 40.0
_COUNTING_SECONDS = 5.0
_MOST_NAMED = 20

Result = dg.SensorResult | dg.SkipReason


@dg.sensor(
    job=sync_store,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Keeps the partitions equal to stores.yaml and asks for the first sync of a new store. A "
        "store that is inactive or paused keeps its data; one that was removed from the file is "
        "named here and keeps it too, until `catalog stores empty`."
    ),
)
def keep_stores(
    context: dg.SensorEvaluationContext,
    database: DatabaseResource,
    files: FilesResource,
    vector_index: VectorIndexResource,
) -> Result:
    """Compare the file in force with the partition set."""
    try:
        return _keep_stores(context, make_ready(database, files, vector_index))
    except CatalogError as error:
        return dg.SkipReason(str(error))


@dg.sensor(
    jobs=[sync_store, sync_prices, carry_out],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Asks each store that is due (poll_every) with one cheap request what changed, and asks "
        "for a run where it shows a product version that is not stored: for sync_prices while "
        "another run embeds, or where more than 100 pictures are owed, and for sync_store else. A "
        "store that changed during a run of its own is asked again as soon as that is over. Where "
        "nothing changed and a run left pictures owed, or failed ones are due again, sync_store "
        "goes on with them, one store at a time. What people decided (an override that is new, "
        "withdrawn or at its end, an approval) is taken to the collection by carry_out, which asks "
        "no store, so that one that is down, paused or inactive holds up no recall. The log says "
        "what was chosen and why."
    ),
)
def poll_stores(
    context: dg.SensorEvaluationContext,
    database: DatabaseResource,
    files: FilesResource,
    vector_index: VectorIndexResource,
) -> Result:
    """Probe what is due, as far as the deadline allows, and choose the job for each store.

    Whatever the light job leaves is owed by the records of what is done, so that any whole run does
    it; the backlog's run only sees to it that one comes before the night.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        return _poll_stores(context, make_ready(database, files, vector_index), deadline)
    except CatalogError as error:
        return dg.SkipReason(str(error))


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Keeps the table of syncs in step with Dagster's runs, ends dead ones, and hands a free "
        "slot of a pool to a step that waits for one in vain."
    ),
)
def record_runs(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SkipReason:
    """Bring the record of runs up to date; never asks for a run."""
    for pool in hand_out_free_slots(context.instance):
        context.log.warning("pool %s: a free slot was handed to a step that waited in vain", pool)
    try:
        catalog = reach_database(database)
        _end_dead_runs(context, held_stores(catalog))
        written = settle(context.instance, catalog)
    except CatalogError as error:
        # A process of this machine can be looked at without the database.
        _end_dead_runs(context, None)
        return dg.SkipReason(str(error))
    return dg.SkipReason(f"{written} records written")


def _end_dead_runs(context: dg.SensorEvaluationContext, held: Mapping[str, Held] | None) -> None:
    for run_id, reason in end_dead_runs(context.instance, held).items():
        context.log.warning("run %s: %s", run_id, reason)


def _keep_stores(context: dg.SensorEvaluationContext, ready: Ready) -> Result:
    now = datetime.now(UTC)
    listed = ready.stores.file.stores
    partitions = context.instance.get_dynamic_partitions(STORES)
    new = [store for store in listed if store not in set(partitions)]
    removed = [store for store in partitions if store not in listed]
    with ready.database.read() as connection:
        watermarks = read_watermarks(connection)
        left_alone = open_circuits(read_circuits(connection), now)
    polled = ready.polled(now)
    never_synced = [store for store in polled if store not in watermarks]
    wanted, asked = first_syncs(
        [store for store in never_synced if store not in left_alone],
        _Asked.read(context.cursor),
        stores_with_unfinished_runs(context.instance),
        now,
    )
    lines = [ready.stores.problem] if ready.stores.problem else []
    if removed:
        lines.append(
            f"no longer in {ready.stores.file.path}, kept until emptied with `catalog stores "
            f"empty STORE`: {_named(removed)}"
        )
    if resting := [store for store in listed if store not in polled]:
        lines.append(f"inactive or paused, not polled: {_named(resting)}")
    lines += _left_alone(left_alone, never_synced)
    if new:
        context.log.info("new: %s", _named(new))
    return dg.SensorResult(
        run_requests=[sync_request(store, "first", now.isoformat()) for store in wanted],
        skip_reason=_skip(context, lines, wanted, "the partitions are those of the file"),
        cursor=_Asked(asked).model_dump_json(),
        dynamic_partitions_requests=[stores_partitions.build_add_request(new)] if new else [],
    )


def _poll_stores(context: dg.SensorEvaluationContext, ready: Ready, deadline: float) -> Result:
    now = datetime.now(UTC)
    polled = ready.polled(now)
    partitions = set(context.instance.get_dynamic_partitions(STORES))
    with ready.database.read() as connection:
        watermarks = read_watermarks(connection)
        circuits = read_circuits(connection)
    left_alone = open_circuits(circuits, now)
    # A store that was never walked to the end is owed its first sync, not an incremental one.
    regular = {
        store: every
        for store, every in ready.intervals(now).items()
        if store in watermarks and store in partitions
    }
    intervals = {store: every for store, every in regular.items() if store not in left_alone}
    cursor = PollCursor.read(context.cursor)
    due = due_stores(intervals, cursor, now, stores_with_unfinished_runs(context.instance))
    answers = probe_all(
        due, lambda store: probe_store(polled[store], watermarks[store]), deadline=deadline
    )
    failed = record_answers(ready.database, answers, circuits)
    with ready.database.read() as connection:
        known = known_products(connection, answers)
        changed = [
            answer.store_id
            for answer in answers
            if answer.store_id in known and is_news(answer, known[answer.store_id])
        ]
        # Where the walk is what fails, the store's circuit says when it is tried again.
        resting = _resting(
            connection, [store for store in changed if store not in circuits], intervals
        )
    # Asked after the probes: a run may have begun meanwhile.
    unfinished = stores_with_unfinished_runs(context.instance)
    decision = decide(
        due,
        answers,
        known,
        unfinished,
        now,
        resting=resting,
        held=cursor.held,
        unanswered={store: at for store, at in cursor.unanswered.items() if store in regular},
    )
    with ready.database.read() as connection:
        backlogs = Backlogs(
            context.instance, connection, polled, now, time.monotonic() + _COUNTING_SECONDS
        )
        chosen = backlogs.choose(decision.requests)
        if len(chosen) < MOST_REQUESTS:
            # No store is asked for it, so those that are not read are no exception.
            kept = ready.stores.file.stores.keys() & watermarks.keys() & partitions
            free = kept - {*unfinished, *decision.requests}
            chosen += decided(context.instance, ready.database, free, now)
        silent = {answer.store_id for answer in answers if answer.problem is not None}
        taken = {*unfinished, *circuits, *silent, *changed, *decision.cursor.late}
        taken.update(choice.store_id for choice in chosen)
        idle = [store for store in intervals if store not in taken]
        resting = _resting(connection, sorted(backlogs.failed() & set(idle)), intervals)
        idle = [store for store in idle if store not in resting or resting[store] <= now]
        if len(chosen) < MOST_REQUESTS:
            chosen += backlogs.go_on(idle, [answer.store_id for answer in answers])
    for choice in chosen:
        context.log.info("%s: asked for %s", choice.why, choice.kind)
    opened = open_circuits(failed, now).values()
    lines = [
        *decision.lines,
        *(describe(circuit, now) for circuit in opened),
        *_left_alone(left_alone, regular),
    ]
    return dg.SensorResult(
        run_requests=[
            sync_request(choice.store_id, choice.kind, now.isoformat()) for choice in chosen
        ],
        skip_reason=_skip(context, lines, chosen, f"{len(answers)} stores asked, no change"),
        cursor=decision.cursor.model_dump_json(),
    )


def _resting(
    connection: Connection, stores: Sequence[str], intervals: Mapping[str, timedelta]
) -> dict[str, datetime]:
    """Until when stores whose last runs failed are left alone: only a change elsewhere helps."""
    found = {}
    for store in stores:
        if failed := standing_failures(connection, store):
            ended = failed[0].completed_at or failed[0].updated_at
            found[store] = ended + back_off(intervals[store], len(failed))
    return found


def _left_alone(left_alone: Mapping[str, Circuit], stores: Collection[str]) -> list[str]:
    """One line for those of the stores that are left alone, and so are not asked."""
    named = [
        f"{store} until {until:%Y-%m-%d %H:%M} UTC"
        for store, circuit in left_alone.items()
        if store in stores and (until := asked_again_at(circuit)) is not None
    ]
    if not named:
        return []
    return [f"left alone after repeated failures (see `catalog status`): {_named(named)}"]


class _Asked(RootModel[dict[str, Waiting]]):
    """The first syncs that were asked for, as `keep_stores` remembers them."""

    @classmethod
    def read(cls, text: str | None) -> dict[str, Waiting]:
        """What an earlier tick left; an unreadable cursor counts as none."""
        try:
            return dict(cls.model_validate_json(text).root) if text else {}
        except ValidationError:
            return {}


def _skip(
    context: dg.SensorEvaluationContext,
    lines: Sequence[str],
    requests: Sequence[object],
    otherwise: str,
) -> str | None:
    """Make of the lines the reason to skip, or log them where that cannot hold them."""
    if requests or len(lines) > _MOST_NAMED:
        for line in lines:
            context.log.warning(line)
    if requests:
        return None
    shown = [*lines[:_MOST_NAMED], *(["… (more in the log)"] if len(lines) > _MOST_NAMED else [])]
    return "\n".join(shown) or otherwise


def _named(stores: Sequence[str]) -> str:
    more = len(stores) - _MOST_NAMED
    return ", ".join(stores[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


SENSORS = [keep_stores, poll_stores, record_runs]
