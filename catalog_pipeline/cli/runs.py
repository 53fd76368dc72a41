"""Runs of `sync_store` started from a terminal, on the same instance that the UI shows.

With a live daemon a run is handed to the queue, as if the UI had launched it; without one it is
executed here. What is printed while it runs is decided in `follow.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from catalog_pipeline.defs.runs import end_dead_runs, executed_here
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.instance import ensure_workspace

JOB = "sync_store"
Watch = Callable[[str, threading.Event], None]

_QUEUE_DAEMON = "QUEUED_RUN_COORDINATOR"
# Daemons beat every 30 seconds.
_HEARTBEAT_SECONDS = 45
_WAITING = {DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED}


class LaunchError(CatalogError):
    """The run could not be handed to the queue."""


def has_live_daemon(instance: DagsterInstance) -> bool:
    """Whether a daemon that launches queued runs was heard of within its heartbeat.

    Dagster itself calls a daemon healthy for half an hour after its last sign of life; a terminal
    must not wait that long for one that was stopped.
    """
    heartbeat = instance.get_daemon_heartbeats().get(_QUEUE_DAEMON)
    return heartbeat is not None and time.time() - heartbeat.timestamp < _HEARTBEAT_SECONDS


def execute(
    instance: DagsterInstance,
    definitions: Callable[[], dg.Definitions],
    store_id: str,
    run_config: Mapping[str, Any],
    watch: Watch,
) -> DagsterRun:
    """Run `sync_store` for one store to its end, whichever way, and return the finished run.

    Args:
        instance: where the run is recorded.
        definitions: gives the code location; called only when the run is executed here.
        store_id: the partition.
        run_config: of the job.
        watch: called with the run's id and an event; returns when the run is over or, if the event
            is set, as soon as it has shown everything.
    """
    end_dead_runs(instance)
    run_id = _queued(instance, store_id, run_config) if has_live_daemon(instance) else None
    if run_id is not None:
        watch(run_id, threading.Event())
    else:
        run_id = _executed_here(instance, definitions, store_id, run_config, watch)
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise LaunchError(f"run {run_id} of store {store_id} is not on the instance")
    return run


def _executed_here(
    instance: DagsterInstance,
    definitions: Callable[[], dg.Definitions],
    store_id: str,
    run_config: Mapping[str, Any],
    watch: Watch,
) -> str:
    run_id = str(uuid4())
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(run_id, over), name="watch", daemon=True)
    watcher.start()
    try:
        definitions().resolve_job_def(JOB).execute_in_process(
            instance=instance,
            run_id=run_id,
            partition_key=store_id,
            run_config=_quiet(run_config),
            tags=executed_here(run_id),
            raise_on_error=False,
        )
    finally:
        over.set()
        watcher.join()
    return run_id


def _queued(instance: DagsterInstance, store_id: str, run_config: Mapping[str, Any]) -> str | None:
    """Queue the run and see it leave the queue; None when the daemon falls silent before that."""
    run_id = str(uuid4())
    _submit(instance, run_id, store_id, run_config)
    while (run := instance.get_run_by_id(run_id)) is None or run.status in _WAITING:
        if not has_live_daemon(instance):
            if run is not None:
                instance.report_run_canceled(run, message="No daemon took the run.")
            return None
        time.sleep(1)
    return run_id


def _quiet(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Dagster's own console log would stand between the lines of ours; the event log has it all."""
    return {**run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def _submit(
    instance: DagsterInstance, run_id: str, store_id: str, run_config: Mapping[str, Any]
) -> None:
    command = [
        *(str(Path(sys.executable).with_name("dagster")), "job", "launch"),
        *("--workspace", str(ensure_workspace(Path(instance.root_directory)))),
        *("--job", JOB, "--run-id", run_id),
        *("--tags", json.dumps({"dagster/partition": store_id})),
        *("--config-json", json.dumps(run_config)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LaunchError(f"the run could not be queued: {done.stderr.strip().splitlines()[-1:]}")
