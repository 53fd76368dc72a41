"""Runs started from a terminal: executed here, queued for a daemon, and left behind by the dead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from catalog_pipeline.cli.runs import has_live_daemon, register_partitions
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.runs import EXECUTED_BY, end_dead_runs


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def started(instance: DagsterInstance, owner: str | None) -> str:
    run = create_run_for_test(
        instance,
        job_name="sync_store",
        status=DagsterRunStatus.STARTED,
        tags={EXECUTED_BY: owner} if owner else {},
    )
    return str(run.run_id)


def dead_process() -> str:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return f"{socket.gethostname()}|{ended.pid}|1.00"


def test_runs_of_dead_command_lines_are_marked_failed(instance: DagsterInstance) -> None:
    dead = started(instance, dead_process())
    assert end_dead_runs(instance) == [dead]
    run = instance.get_run_by_id(dead)
    assert run is not None
    assert run.status == DagsterRunStatus.FAILURE
    assert end_dead_runs(instance) == []


def test_a_process_that_nobody_buried_is_dead(instance: DagsterInstance) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = psutil.Process(child.pid)
    owner = f"{socket.gethostname()}|{child.pid}|{process.create_time():.2f}"
    run_id = started(instance, owner)
    assert end_dead_runs(instance) == []
    process.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert end_dead_runs(instance) == [run_id]
    child.wait()


def test_runs_of_the_living_of_others_and_of_the_daemon_are_left_alone(
    instance: DagsterInstance,
) -> None:
    here = f"{socket.gethostname()}|{os.getpid()}|{psutil.Process().create_time():.2f}"
    kept = [started(instance, owner) for owner in (here, "another-machine|1|1.00", None)]
    assert end_dead_runs(instance) == []
    for run_id in kept:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == DagsterRunStatus.STARTED


def test_the_slots_of_a_dead_run_are_freed(instance: DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    dead = started(instance, dead_process())
    assert storage.claim_concurrency_slot("gpu", dead, "image_embeddings").is_claimed
    end_dead_runs(instance)
    assert storage.claim_concurrency_slot("gpu", "next", "image_embeddings").is_claimed


@pytest.mark.parametrize(("age", "alive"), [(1, True), (40, True), (60, False), (3600, False)])
def test_a_daemon_is_alive_while_it_beats(
    instance: DagsterInstance, age: float, alive: bool
) -> None:
    beat = DaemonHeartbeat(time.time() - age, "QUEUED_RUN_COORDINATOR", "one", [])
    instance.add_daemon_heartbeat(beat)
    assert has_live_daemon(instance) is alive


def test_without_a_heartbeat_there_is_no_daemon(instance: DagsterInstance) -> None:
    assert not has_live_daemon(instance)


def test_registering_stores_adds_and_never_takes_out(instance: DagsterInstance) -> None:
    register_partitions(instance, ["nordhavn", "atelier"])
    register_partitions(instance, ["atelier", "third"])
    assert set(instance.get_dynamic_partitions(STORES)) == {"nordhavn", "atelier", "third"}
