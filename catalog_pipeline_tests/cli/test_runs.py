"""Runs started from a terminal: executed here, queued for a daemon, and left behind by the dead."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import dagster as dg
import psutil
import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from catalog_pipeline.catalog.lease import Held
from catalog_pipeline.cli.runs import has_live_daemon
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.runs import EXECUTED_BY, end_dead_runs, why_failed
from catalog_pipeline.errors import ServiceUnavailableError
from catalog_pipeline.processes import is_running, process_name, this_process

THIS_RUN = "this run"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance's folder with its databases made, which takes seconds; to be copied."""
    folder = tmp_path_factory.mktemp("dagster")
    with DagsterInstance.local_temp(str(folder)) as opened:
        opened.get_runs()
        opened.get_dynamic_partitions(STORES)
        opened.get_daemon_heartbeats()
    return folder


@pytest.fixture
def instance(home: Path, tmp_path: Path) -> Iterator[DagsterInstance]:
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    with DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def started(instance: DagsterInstance, owner: str | None) -> str:
    run_id = str(uuid4())
    tags = {"dagster/partition": "atelier"}
    create_run_for_test(
        instance,
        run_id=run_id,
        job_name="sync_store",
        status=DagsterRunStatus.STARTING,
        tags={**tags, EXECUTED_BY: f"{owner}|{run_id}"} if owner else tags,
    )
    event = DagsterEvent(DagsterEventType.RUN_START.value, job_name="sync_store")
    instance.report_dagster_event(event, run_id)
    return run_id


def ended(instance: DagsterInstance, held: Mapping[str, Held] | None = None) -> list[str]:
    return list(end_dead_runs(instance, held))


def dead_process() -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f"{socket.gethostname()}|{process.pid}|1.00"


def test_runs_of_dead_processes_are_marked_failed(instance: DagsterInstance) -> None:
    dead = started(instance, dead_process())
    assert ended(instance) == [dead]
    run = instance.get_run_by_id(dead)
    assert run is not None
    assert run.status == DagsterRunStatus.FAILURE
    assert ended(instance) == []


def test_a_process_that_nobody_buried_is_dead(instance: DagsterInstance) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = psutil.Process(child.pid)
    owner = process_name(child.pid)
    run_id = started(instance, owner)
    assert ended(instance) == []
    process.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert ended(instance) == [run_id]
    child.wait()


def test_runs_of_the_living_of_others_and_of_the_daemon_are_left_alone(
    instance: DagsterInstance,
) -> None:
    kept = [started(instance, owner) for owner in (this_process(), "another-machine|1|1.00", None)]
    assert ended(instance) == []
    for run_id in kept:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == DagsterRunStatus.STARTED


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil moves with the clock")
@pytest.mark.parametrize("seconds", [-3600, 1, 3600])
def test_a_clock_that_was_set_ends_no_run(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    kept, dead = started(instance, this_process()), started(instance, dead_process())
    # As /proc/stat shows it: the kernel derives its boot from the clock of the moment.
    booted = psutil.boot_time() + seconds
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted)
    assert ended(instance) == [dead]
    assert is_running(this_process())
    run = instance.get_run_by_id(kept)
    assert run is not None
    assert run.status == DagsterRunStatus.STARTED


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = started(instance, dead_process())

    def end_meanwhile(process: str) -> bool | None:
        event = DagsterEvent(DagsterEventType.RUN_SUCCESS.value, job_name="sync_store")
        instance.report_dagster_event(event, run_id)
        return is_running(process)

    monkeypatch.setattr("catalog_pipeline.defs.runs.is_running", end_meanwhile)
    assert ended(instance) == []
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == DagsterRunStatus.SUCCESS


ELSEWHERE = "another-machine|1|1.00"


@pytest.mark.parametrize("owner", [ELSEWHERE, None])
@pytest.mark.parametrize(
    ("minutes", "held", "dead"),
    [
        (1, {}, False),
        (9, {}, True),
        (9, {"atelier": (THIS_RUN, 20)}, False),
        (9, {"atelier": (THIS_RUN, 400)}, True),
        (9, {"atelier": (None, 20)}, False),
        (9, {"atelier": (None, 400)}, True),
        (9, {"atelier": ("another run", 20)}, True),
        (9, {"nordhavn": (None, 20)}, True),
        (9, None, False),
    ],
)
def test_a_run_of_another_machine_is_dead_when_it_holds_its_store_no_more(
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    owner: str | None,
    minutes: int,
    held: dict[str, tuple[str | None, float]] | None,
    dead: bool,
) -> None:
    run_id = started(instance, owner)
    now = time.time() + minutes * 60
    monkeypatch.setattr(time, "time", lambda: now)
    leases = {
        store: Held(run_id if run == THIS_RUN else run, seconds)
        for store, (run, seconds) in (held or {}).items()
    }
    found = end_dead_runs(instance, None if held is None else leases)
    assert list(found) == ([run_id] if dead else [])
    if dead:
        assert "Nothing was heard of" in found[run_id]
        assert owner is None or "1 on another-machine" in found[run_id]


def test_a_run_that_waits_for_a_pool_is_dead_only_when_it_does_not_take_its_slot(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    storage.claim_concurrency_slot("gpu", "another run", "image_embeddings")
    run_id = started(instance, ELSEWHERE)
    assert not storage.claim_concurrency_slot("gpu", run_id, "image_embeddings").is_claimed
    now = time.time() + 9 * 60
    monkeypatch.setattr(time, "time", lambda: now)
    assert ended(instance, {}) == []
    storage.free_concurrency_slots_for_run("another run")
    assert ended(instance, {}) == [run_id]
    assert storage.claim_concurrency_slot("gpu", "next", "image_embeddings").is_claimed


def test_a_run_that_was_given_the_tags_of_a_dead_one_lives(instance: DagsterInstance) -> None:
    tags = {EXECUTED_BY: f"{dead_process()}|{uuid4()}"}
    create_run_for_test(instance, status=DagsterRunStatus.STARTING, tags=tags)
    assert ended(instance) == []


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


def test_a_step_that_was_tried_too_often_says_why(instance: DagsterInstance) -> None:
    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def work() -> None:
        raise ServiceUnavailableError("the database cannot be used now")

    @dg.job
    def some_job() -> None:
        work()

    done = some_job.execute_in_process(instance=instance, raise_on_error=False)
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "the database cannot be used now" in why_failed(failure)
