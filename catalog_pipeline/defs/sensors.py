"""Sensors: partitions kept equal to `stores.yaml`, stores polled for changes, runs recorded.

What is due and what an answer means is decided in `products/polling.py`; here that meets Dagster.
A sensor gives one reason and starts nothing while a service that every run needs is away.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import RootModel, ValidationError
from sqlalchemy import Connection

from catalog_pipeline.catalog.syncs import failures_in_a_row
from catalog_pipeline.defs.automation import sync_request, sync_store
from catalog_pipeline.defs.partitions import STORES, stores_partitions
from catalog_pipeline.defs.resources import DatabaseResource, FilesResource, VectorIndexResource
from catalog_pipeline.defs.run_records import settle
from catalog_pipeline.defs.runs import end_dead_runs, stores_with_unfinished_runs
from catalog_pipeline.defs.services import Ready, make_ready, reach_database
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.products.polling import (
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
    job=sync_store,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Asks each store that is due (poll_every) with one cheap request what changed, and asks "
        "for a run where it shows a product version that is not stored."
    ),
)
def poll_stores(
    context: dg.SensorEvaluationContext,
    database: DatabaseResource,
    files: FilesResource,
    vector_index: VectorIndexResource,
) -> Result:
    """Probe what is due, as far as the deadline allows."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        return _poll_stores(context, make_ready(database, files, vector_index), deadline)
    except CatalogError as error:
        return dg.SkipReason(str(error))


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps the table of syncs in step with Dagster's runs, and ends dead ones.",
)
def record_runs(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SkipReason:
    """Bring the record of runs up to date; never asks for a run."""
    ended = end_dead_runs(context.instance)
    for run_id in ended:
        context.log.warning("run %s was left behind by a command line that is gone", run_id)
    try:
        written = settle(context.instance, reach_database(database))
    except CatalogError as error:
        return dg.SkipReason(str(error))
    return dg.SkipReason(f"{written} records written")


def _keep_stores(context: dg.SensorEvaluationContext, ready: Ready) -> Result:
    now = datetime.now(UTC)
    listed = ready.stores.file.stores
    partitions = context.instance.get_dynamic_partitions(STORES)
    new = [store for store in listed if store not in set(partitions)]
    removed = [store for store in partitions if store not in listed]
    with ready.database.read() as connection:
        watermarks = read_watermarks(connection)
    polled = ready.polled(now)
    wanted, asked = first_syncs(
        [store for store in polled if store not in watermarks],
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
    # A store that was never walked to the end is owed its first sync, not an incremental one.
    intervals = {
        store: every
        for store, every in ready.intervals(now).items()
        if store in watermarks and store in partitions
    }
    cursor = PollCursor.read(context.cursor)
    due = due_stores(intervals, cursor, now)
    answers = probe_all(
        due, lambda store: probe_store(polled[store], watermarks[store]), deadline=deadline
    )
    with ready.database.read() as connection:
        known = known_products(connection, answers)
        changed = [
            answer.store_id
            for answer in answers
            if answer.store_id in known and is_news(answer, known[answer.store_id])
        ]
        resting = _resting(connection, changed, intervals)
    # Asked after the probes: a run may have begun meanwhile.
    unfinished = stores_with_unfinished_runs(context.instance) if answers else set()
    decision = decide(due, answers, known, unfinished, intervals, cursor, now, resting=resting)
    return dg.SensorResult(
        run_requests=[
            sync_request(store, "incremental", now.isoformat()) for store in decision.requests
        ],
        skip_reason=_skip(
            context, decision.lines, decision.requests, f"{len(answers)} stores asked, no change"
        ),
        cursor=decision.cursor.model_dump_json(),
    )


def _resting(
    connection: Connection, stores: Sequence[str], intervals: Mapping[str, timedelta]
) -> dict[str, datetime]:
    """Until when stores whose last runs failed are left alone: only a change elsewhere helps."""
    found = {}
    for store in stores:
        failures, ended = failures_in_a_row(connection, store)
        if ended is not None:
            found[store] = ended + back_off(intervals[store], failures)
    return found


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
    requests: Sequence[str],
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
