"""Derives the record of every run of a store from what Dagster itself keeps of it.

Dagster marks a run failed whose worker was killed, so a record taken from there is right when no
code of ours could write one. The table is `catalog/syncs.py`.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import (
    DagsterEventType,
    DagsterInstance,
    FloatMetadataValue,
    IntMetadataValue,
    RunRecord,
    RunsFilter,
    TableMetadataValue,
    TextMetadataValue,
)
from dagster._core.events.log import EventLogEntry

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.syncs import (
    FINISHED,
    Sync,
    finished_run_ids,
    forget_runs,
    last_syncs,
    newest_change,
    record_syncs,
    unfinished_run_ids,
)
from catalog_pipeline.defs.metadata import COUNT, REASON
from catalog_pipeline.defs.runs import PARTITION, why_failed

KIND = "catalog/kind"
BY_HAND = "hand"
_RETRY_NUMBER = "dagster/retry_number"
# On SQLite each finished run costs the opening of its own event log; the time is looked at between
# pages.
_PAGE = 25
# Two runs may change in the same moment, and clocks of workers differ a little.
_OVERLAP = timedelta(seconds=60)
# A run that was only created bears whole seconds, and a burst of them the same.
_RESOLUTION = timedelta(seconds=1)
_WHILE_A_RUN_WAITS = 5.0
_LONGEST_ERROR = 2_000
_SHOWN = 5
# The run that failed has all of it.
_SHOWN_OF_ERROR = 200
_TOLD_BY = {
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.STEP_UP_FOR_RETRY,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.RUN_FAILURE,
}


def settle(instance: DagsterInstance, database: Database, *, seconds: float = 30.0) -> int:
    """Bring the records in step with the instance; returns how many were written.

    Args:
        instance: what knows the runs.
        database: what keeps the records.
        seconds: stop after about this long; the next call goes on from there.

    Raises:
        ServiceUnavailableError: the database cannot be reached.
    """
    deadline = time.monotonic() + seconds
    with database.read() as connection:
        newest = newest_change(connection)
        open_ids = unfinished_run_ids(connection)
    written = _settle_open(instance, database, sorted(open_ids))
    since = None if newest is None else newest - _OVERLAP
    seen: set[str] = set()
    limit = _PAGE
    while time.monotonic() < deadline:
        page = instance.get_run_records(
            RunsFilter(updated_after=since),
            limit=limit,
            order_by="update_timestamp",
            ascending=True,
        )
        fresh = [record for record in page if record.dagster_run.run_id not in seen]
        written += _keep(instance, database, fresh)
        seen.update(record.dagster_run.run_id for record in fresh)
        if len(page) < limit:
            break
        if not fresh:
            limit *= 2
        since = page[-1].update_timestamp - _RESOLUTION
    return written


def sync_links(
    instance: DagsterInstance, database: Database, store_id: str, run_id: str
) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata that leads from a store's points to the run that made them and the runs before."""
    settle(instance, database, seconds=_WHILE_A_RUN_WAITS)
    with database.read() as connection:
        before = last_syncs(connection, store_id, _SHOWN)
    found: dict[str, dg.MetadataValue[Any]] = {"sync": dg.MetadataValue.dagster_run(run_id)}
    rows = [
        dg.TableRecord(
            {
                "run": sync.run_id[:8],
                "kind": sync.kind,
                "status": sync.status,
                "started": f"{sync.started_at:%Y-%m-%d %H:%M:%S}" if sync.started_at else "-",
                "error": (sync.error or "")[:_SHOWN_OF_ERROR],
            }
        )
        for sync in before
        if sync.run_id != run_id
    ]
    if rows:
        columns = [dg.TableColumn(name) for name in ("run", "kind", "status", "started", "error")]
        found["earlier_syncs"] = dg.MetadataValue.table(rows, dg.TableSchema(columns))
    return found


def _settle_open(instance: DagsterInstance, database: Database, run_ids: Sequence[str]) -> int:
    written = 0
    for start in range(0, len(run_ids), _PAGE):
        chunk = run_ids[start : start + _PAGE]
        found = instance.get_run_records(RunsFilter(run_ids=chunk))
        written += _keep(instance, database, found)
        gone = set(chunk) - {record.dagster_run.run_id for record in found}
        if gone:
            with database.write() as connection:
                forget_runs(connection, gone)
    return written


def _keep(instance: DagsterInstance, database: Database, records: Sequence[RunRecord]) -> int:
    of_stores = [record for record in records if PARTITION in record.dagster_run.tags]
    with database.read() as connection:
        done = finished_run_ids(connection, [record.dagster_run.run_id for record in of_stores])
    found = [
        _sync(instance, record) for record in of_stores if record.dagster_run.run_id not in done
    ]
    if found:
        with database.write() as connection:
            record_syncs(connection, found)
    return len(found)


def _sync(instance: DagsterInstance, record: RunRecord) -> Sync:
    run = record.dagster_run
    status = run.status.value.lower()
    # Only what is over is read in full: a run that goes on would be read again and again.
    events = _events(instance, run.run_id) if status in FINISHED else []
    counts: dict[str, dict[str, int | float]] = {}
    walk_kind = error = None
    retries = int(run.tags.get(_RETRY_NUMBER, "0"))
    for entry in events:
        event = entry.dagster_event
        assert event is not None
        if event.event_type == DagsterEventType.STEP_UP_FOR_RETRY:
            retries += 1
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            metadata = event.step_materialization_data.materialization.metadata
            name = event.asset_key.to_user_string()
            counts[name] = _counts(metadata)
            if name == "raw_products" and isinstance(
                kind := metadata.get("kind"), TextMetadataValue
            ):
                walk_kind = kind.text
        elif error is None:
            error = _error(entry)
    return Sync(
        run_id=run.run_id,
        store_id=run.tags[PARTITION],
        job=run.job_name,
        kind=run.tags.get(KIND, BY_HAND),
        status=status,
        walk_kind=walk_kind,
        counts=counts,
        error=error,
        retries=retries,
        started_at=_moment(record.start_time),
        completed_at=_moment(record.end_time),
        updated_at=record.update_timestamp.astimezone(UTC),
    )


def _events(instance: DagsterInstance, run_id: str) -> list[EventLogEntry]:
    entries: list[EventLogEntry] = []
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=_TOLD_BY)
        entries += [record.event_log_entry for record in page.records]
        if not page.has_more:
            return entries
        cursor = page.cursor


def _counts(metadata: Mapping[str, Any]) -> dict[str, int | float]:
    counts: dict[str, int | float] = {}
    for name, value in metadata.items():
        if name.startswith("dagster/"):
            continue
        if isinstance(value, IntMetadataValue | FloatMetadataValue) and value.value is not None:
            counts[name] = value.value
        elif isinstance(value, TableMetadataValue):
            for record in value.records:
                reason, count = record.data.get(REASON), record.data.get(COUNT)
                if isinstance(count, int):
                    counts[f"{name}: {reason}"] = count
    return counts


def _error(entry: EventLogEntry) -> str | None:
    event = entry.dagster_event
    assert event is not None
    text = event.message or "the run failed"
    if event.event_type == DagsterEventType.STEP_FAILURE:
        text = f"{event.step_key}: {why_failed(event)}"
    return text.strip()[:_LONGEST_ERROR].replace("\0", "")


def _moment(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
