"""A deployment's code server and daemon killed while runs go through the queue.

Both are processes of their own, started again at once as a supervisor would. With the code server
its runs are killed too or live on; with the daemon nobody launches. What is asked: that every run
ends within minutes, without a person, and that the stores are in step in the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from uuid import uuid4

import dagster as dg
import yaml
from dagster import DagsterRunStatus, RunsFilter

from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline_tests.crash.contents import contents_of, differences
from catalog_pipeline_tests.crash.edits import Assistant
from catalog_pipeline_tests.crash.harness import PICTURE_SIZE, PRODUCTS, WHOLE, new_place
from catalog_pipeline_tests.crash.syncs import (
    REPOSITORY,
    Order,
    clean_environ,
    members_of,
    run_sync,
)
from catalog_pipeline_tests.deployment import Deployment, sample_deployment
from catalog_pipeline_tests.ui.servers import free_port

_SCRIPTS = Path(sys.executable).parent
_READY_SECONDS = 400
# A worker that died with its code server is found by a sensor that looks every 30 s; each of the
# two runs that may come after it waits for the queue.
_OVER_SECONDS = 600
# Of the first run, before any has shown how long one takes.
_RUN_SECONDS = 5.0
_FINISHED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
_WAITING = {DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING}
_SERVERS = ("code server", "daemon")
_VICTIMS: tuple[tuple[str, ...], ...] = (
    ("code server",),
    ("daemon",),
    ("code server", "its runs"),
    ("code server", "its runs", "daemon"),
)


@dataclass
class Servers:
    """The two processes, and the instance that they share."""

    deployment: Deployment
    instance: dg.DagsterInstance
    port: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _sessions: list[int] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        """Where the command line looks for it too."""
        return self.deployment.dagster_home / "workspace.yaml"

    @property
    def log(self) -> Path:
        """What all of them print."""
        return self.deployment.folder / "servers.log"

    def start(self, *names: str) -> None:
        """Start those that do not run, and wait until the code server answers."""
        commands = {
            "code server": [
                *("api", "grpc", "--host", "127.0.0.1", "--port", str(self.port)),
                *("--module-name", "catalog_pipeline.definitions"),
            ],
            "daemon": ["run", "--workspace", str(self.workspace)],
        }
        for name in names:
            script = "dagster-daemon" if name == "daemon" else "dagster"
            self.running[name] = self._start([str(_SCRIPTS / script), *commands[name]])
        check = [str(_SCRIPTS / "dagster"), "api", "grpc-health-check", "--port", str(self.port)]
        deadline = time.monotonic() + _READY_SECONDS
        while subprocess.run(check, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, self.log.read_text("utf-8", "replace")[-4000:]

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            started = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=clean_environ(self.deployment.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.append(started.pid)
        return started

    def kill(self, victims: Collection[str]) -> None:
        """Kill -9 each of the victims."""
        code_server = self.running["code server"]
        runs = [one for one in members_of(code_server.pid) if one.pid != code_server.pid]
        servers = [name for name in victims if name in self.running]
        for name in servers:
            self.running[name].kill()
        if "its runs" in victims:
            for run in runs:
                run.kill()
        for name in servers:
            self.running.pop(name).wait()

    def launch(self, store_id: str) -> str:
        """Hand a run to the queue, as the command line does."""
        run_id = str(uuid4())
        config = {"ops": {"raw_products": {"config": {"walk": "nightly"}}}}
        done = subprocess.run(
            [
                *(str(_SCRIPTS / "dagster"), "job", "launch", "--workspace", str(self.workspace)),
                *("--job", "sync_store", "--run-id", run_id, "--config-json", json.dumps(config)),
                *("--tags", json.dumps({"dagster/partition": store_id})),
            ],
            cwd=REPOSITORY,
            env=clean_environ(self.deployment.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return run_id

    def wait_until(self, what: str, holds: Callable[[], bool], seconds: float) -> float:
        """Wait for something; how many seconds it took."""
        began = time.monotonic()
        while not holds():
            waited = time.monotonic() - began
            told = self.log.read_text("utf-8", "replace")[-8000:]
            assert waited < seconds, f"not {what} after {waited:.0f} s:\n{told}"
            time.sleep(0.2)
        return time.monotonic() - began

    def has_begun(self, run_id: str) -> bool:
        """Whether a run has left the queue and begun."""
        run = self.instance.get_run_by_id(run_id)
        return run is not None and run.status not in _WAITING

    def is_over(self) -> bool:
        """Whether no run is queued or goes on."""
        unfinished = [status for status in DagsterRunStatus if status not in _FINISHED]
        return not self.instance.get_runs(RunsFilter(statuses=unfinished))

    def usual_seconds(self) -> float:
        """How long the last run that went well took."""
        filters = RunsFilter(statuses=[DagsterRunStatus.SUCCESS])
        for record in self.instance.get_run_records(filters, limit=1):
            if record.start_time is not None and record.end_time is not None:
                return record.end_time - record.start_time
        return _RUN_SECONDS

    def end(self) -> None:
        """End them, their runs, and what earlier ones left behind."""
        for session in self._sessions:
            for member in members_of(session):
                member.kill()
        for process in self.running.values():
            process.wait()


def kill_servers(folder: Path, wanted: int, seed: int) -> tuple[int, int, int]:
    """Kill servers; how many died, and of the one comparison in the end whether it differed."""
    random = Random(seed)
    with _deployed(folder) as servers:
        deployment = servers.deployment
        assistants = {
            store_id: Assistant(store, random)
            for store_id, store in deployment.stores.stores.items()
        }
        kills = 0
        turns: list[tuple[str, ...]] = []
        while kills < wanted:
            turns = turns or random.sample(_VICTIMS, len(_VICTIMS))
            store_id = random.choice(list(assistants))
            edits = assistants[store_id].edit()
            victims = turns.pop()
            after = random.uniform(0.0, servers.usual_seconds())
            told = _disturb(servers, store_id, victims, after)
            kills += sum(name in _SERVERS for name in victims)
            print(f"{kills:3} {store_id} [{', '.join(edits)}]: {told}", flush=True)
        for store_id in assistants:
            last = servers.launch(store_id)
            servers.wait_until("over", servers.is_over, _OVER_SECONDS)
            run = servers.instance.get_run_by_id(last)
            assert run is not None
            assert run.status == DagsterRunStatus.SUCCESS
        problems = _problems(deployment)
        print("; ".join(problems) or "equal", flush=True)
    return kills, 1, int(bool(problems))


def _disturb(servers: Servers, store_id: str, victims: Collection[str], after: float) -> str:
    run_id = servers.launch(store_id)
    servers.wait_until("begun", lambda: servers.has_begun(run_id), _READY_SECONDS)
    time.sleep(after)
    killed_at = time.time()
    servers.kill(victims)
    servers.start(*(name for name in _SERVERS if name not in servers.running))
    servers.wait_until("over", servers.is_over, _OVER_SECONDS)
    record = servers.instance.get_run_record_by_id(run_id)
    assert record is not None
    assert record.end_time is not None
    took = record.end_time - killed_at
    status = record.dagster_run.status.value
    return f"{', '.join(victims)} killed after {after:.1f} s: {status}, {took:.0f} s later"


def _problems(deployment: Deployment) -> list[str]:
    reference = new_place(deployment, "reference")
    for store_id in deployment.stores.stores:
        order = Order(store_id=store_id, options=WHOLE, folder=reference.folder)
        done = run_sync(order, reference.environ)
        assert done.success, done.failures
    return differences(contents_of(reference.environ), contents_of(deployment.environ))


@contextmanager
def _deployed(folder: Path) -> Iterator[Servers]:
    with (
        sample_deployment(
            folder, products_per_store=PRODUCTS, picture_size=PICTURE_SIZE
        ) as deployment,
        dg.DagsterInstance.from_config(str(deployment.dagster_home)) as instance,
    ):
        instance.add_dynamic_partitions(STORES, list(deployment.stores.stores))
        # Has the tables made: two servers that find none at once would both try.
        instance.all_instigator_state()
        servers = Servers(deployment, instance, free_port())
        location = {"host": "127.0.0.1", "port": servers.port, "location_name": "catalog_pipeline"}
        servers.workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": location}]}))
        try:
            servers.start(*_SERVERS)
            yield servers
        finally:
            servers.end()
