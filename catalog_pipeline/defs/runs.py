"""What the Dagster instance says of the runs of stores, and the end of runs that have died.

Starting runs does not belong here, nor what they did (`run_records.py`).
"""

from collections.abc import Iterable
from datetime import datetime

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from catalog_pipeline.processes import is_running

# Names the process that executes a run by itself, so that its death can be noticed.
EXECUTED_BY = "catalog/executed_by"
PARTITION = "dagster/partition"
EXECUTING = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


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


def end_dead_runs(instance: DagsterInstance) -> list[str]:
    """Mark runs failed whose command line was killed, and free their slots; returns their ids.

    A run executed by a command line has no worker that the daemon watches: killed, it would stay
    STARTED for ever, keep its pool slots and block the next run of its store.
    """
    ended = []
    for run in instance.get_runs(RunsFilter(statuses=EXECUTING)):
        owner = run.tags.get(EXECUTED_BY)
        if owner is None or is_running(owner) is not False:
            continue
        instance.report_run_failed(run, message="The command line that executed this run is gone.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    return ended


def _stores(found: Iterable[str | None]) -> set[str]:
    return {store for store in found if store is not None}
