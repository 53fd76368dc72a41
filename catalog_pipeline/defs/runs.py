"""What the Dagster instance says of the runs of stores, and help for those that are stuck or dead.

Starting runs does not belong here, nor what they did (`run_records.py`).
"""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime

from dagster import (
    DagsterEvent,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from catalog_pipeline.catalog.lease import Held
from catalog_pipeline.processes import is_running, this_process

# Names the process that executes a run, so that its death can be noticed.
EXECUTED_BY = "catalog/executed_by"
PARTITION = "dagster/partition"
EXECUTING = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
# For a run whose process cannot be looked at. It holds its store but for moments, for the half
# minute before it tries a lost service again, and while it waits for a slot of a pool.
SILENT_SECONDS = 300.0


def stores_with_unfinished_runs(instance: DagsterInstance) -> set[str]:
    """The stores that have a run which is queued or going on."""
    filters = RunsFilter(statuses=[*EXECUTING, DagsterRunStatus.QUEUED])
    return _stores(run.tags.get(PARTITION) for run in instance.get_runs(filters))


def stores_asked_since(
    instance: DagsterInstance, tag: str, value: str, since: datetime
) -> set[str]:
    """The stores for which a run with this tag was created since then, whatever became of it."""
    filters = RunsFilter(tags={tag: value}, created_after=since)
    return _stores(run.tags.get(PARTITION) for run in instance.get_runs(filters))


def executed_here(run_id: str) -> dict[str, str]:
    """The tags by which the death of a run that this process executes can be noticed.

    They name the run too: whoever runs it once more copies its tags.
    """
    return {EXECUTED_BY: f"{this_process()}|{run_id}"}


def hand_out_free_slots(instance: DagsterInstance) -> list[str]:
    """Hand free slots of pools to steps that wait in vain for one; returns these pools.

    Dagster looks whether a slot is free and then, in another transaction, has the step wait. One
    that was freed between the two is handed to nobody before the next step frees it again.
    """
    storage, handed = instance.event_log_storage, []
    if not isinstance(storage, SqlEventLogStorage):
        return []
    for pool in sorted(storage.get_concurrency_keys()):
        waiting = storage.get_concurrency_info(pool).pending_step_count
        if waiting and storage.has_unassigned_slots(pool):
            # Should it be handed out twice, the second claim finds no slot and goes on waiting.
            storage.assign_pending_steps([pool])
            handed.append(pool)
    return handed


def end_dead_runs(
    instance: DagsterInstance, held: Mapping[str, Held] | None = None
) -> dict[str, str]:
    """Mark runs failed whose process is gone, and free their slots.

    Dagster notices the death of a run's process only through the code server that started it. A
    command line has none, and a machine, a container or a code server may die with its runs: they
    would stay STARTED for a day, keep their pool slots and block the next run of their store.

    Args:
        instance: whose runs.
        held: who holds which store. Where given, a run whose process cannot be looked at from this
            machine is dead when it has not held its store for `SILENT_SECONDS`.

    Returns:
        Why, by run id.
    """
    ended = {}
    for record in instance.get_run_records(RunsFilter(statuses=EXECUTING)):
        reason = _why_dead(instance, record, held)
        # Asked again: a process that has just ended its run well is gone too.
        run = instance.get_run_by_id(record.dagster_run.run_id) if reason else None
        if reason is None or run is None or run.is_finished:
            continue
        instance.report_run_failed(run, message=reason)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended[run.run_id] = reason
    return ended


def why_failed(event: DagsterEvent) -> str:
    """What a failed step says: its own description, or its error with what it came from.

    A step that was tried again too often says only that; the reason is what its error came from.
    """
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description.strip()
    messages = []
    error = data.error
    while error is not None:
        messages.append(error.message.strip())
        error = error.cause
    return ": ".join(messages) or event.message or "the step failed"


def _why_dead(
    instance: DagsterInstance, record: RunRecord, held: Mapping[str, Held] | None
) -> str | None:
    run = record.dagster_run
    owner = _owner(run)
    running = is_running(owner) if owner else None
    if running is not None:
        return None if running else f"The process that executed this run is gone: {_named(owner)}."
    silent = _silent_seconds(record, held)
    if silent is None or silent < SILENT_SECONDS or _waits_for_a_slot(instance, run.run_id):
        return None
    by = f"the process that executed this run, {_named(owner)}," if owner else "this run"
    return f"Nothing was heard of {by} for {silent / 60:.0f} minutes."


def _owner(run: DagsterRun) -> str:
    process, _, run_id = run.tags.get(EXECUTED_BY, "").rpartition("|")
    return process if run_id == run.run_id else ""


def _named(owner: str) -> str:
    host, pid, _ = owner.split("|")
    return f"{pid} on {host}"


def _silent_seconds(record: RunRecord, held: Mapping[str, Held] | None) -> float | None:
    """Since when a run neither began nor held its store; None where nothing tells."""
    run = record.dagster_run
    store = run.tags.get(PARTITION)
    began = record.start_time
    if held is None or store is None or began is None or run.status != DagsterRunStatus.STARTED:
        return None
    silent = time.time() - began
    last = held.get(store)
    # Given back, the lease says when it was held last, though not by whom.
    if last is not None and last.run in (run.run_id, None):
        silent = min(silent, last.silent_seconds)
    return silent


def _waits_for_a_slot(instance: DagsterInstance, run_id: str) -> bool:
    """Whether a run is queued for a pool, or was given its slot so recently that it may not know.

    One that died in a pool's queue is found when its turn comes.
    """
    storage = instance.event_log_storage
    return any(
        step.run_id == run_id
        and (
            step.assigned_timestamp is None
            or time.time() - step.assigned_timestamp.timestamp() < SILENT_SECONDS
        )
        for pool in storage.get_concurrency_keys()
        for step in storage.get_concurrency_info(pool).pending_steps
    )


def _stores(found: Iterable[str | None]) -> set[str]:
    return {store for store in found if store is not None}
