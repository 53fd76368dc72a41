"""Dagster's webserver and daemon over the code location, as processes of their own on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import httpx
import psutil

from catalog_pipeline_tests.deployment import Deployment

REPOSITORY = Path(__file__).resolve().parents[2]
LOCATION = "catalog_pipeline"
_START_SECONDS = 60
_STOP_SECONDS = 5
_OVER = {"SUCCESS", "FAILURE", "CANCELED"}


_LAUNCH = """mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""
_RUNS = """{
  runsOrError {
    ... on Runs { results { runId jobName status startTime endTime tags { key value } } }
  }
}"""
_PARTITIONS = """query Partitions($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) {
    ... on AssetNode {
      assetPartitionStatuses {
        ... on DefaultPartitionStatuses {
          materializedPartitions
          failedPartitions
          unmaterializedPartitions
          materializingPartitions
        }
      }
    }
  }
}"""
_READY = """{
  workspaceOrError { ... on Workspace { locationEntries { loadStatus } } }
  instance { daemonHealth { allDaemonStatuses { daemonType healthy } } }
}"""


@dataclass(frozen=True)
class Run:
    """A run as the list of runs shows it; times are seconds since 1970.

    `partition` is empty where the run is for all stores.
    """

    job: str
    status: str
    partition: str
    started_at: float | None
    ended_at: float | None


class Listener(NamedTuple):
    """A socket that accepts connections."""

    pid: int
    address: str
    port: int


class Drawn(NamedTuple):
    """When a picture was stored with a materialisation, in seconds since 1970, and its Markdown."""

    timestamp: float
    markdown: str


@dataclass(frozen=True)
class DagsterServers:
    """A running webserver and daemon."""

    port: int
    deployment: Deployment
    processes: tuple[subprocess.Popen[bytes], ...]
    output_file: Path

    @property
    def url(self) -> str:
        """The UI's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """What both have printed so far."""
        return self.output_file.read_text("utf-8", "replace")

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of an answer."""
        return ask(self.url, query, variables)

    def launch(self, job: str, store_id: str = "", assets: Sequence[str] = ()) -> str:
        """Launch one partition as the UI does; without assets, all of a named job. Its run id.

        Without a store it is for all of them.
        """
        selector: dict[str, Any] = {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "jobName": job,
        }
        if assets:
            selector["assetSelection"] = [{"path": [asset]} for asset in assets]
        tags = [{"key": "dagster/partition", "value": store_id}] if store_id else []
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        launched = self.graphql(_LAUNCH, {"params": params})["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id: str = launched["run"]["runId"]
        return run_id

    def runs(self) -> dict[str, Run]:
        """All runs by id, oldest first."""
        found = self.graphql(_RUNS)["runsOrError"]["results"]
        return {
            run["runId"]: Run(
                job=run["jobName"],
                status=run["status"],
                partition=next(
                    (tag["value"] for tag in run["tags"] if tag["key"] == "dagster/partition"), ""
                ),
                started_at=run["startTime"],
                ended_at=run["endTime"],
            )
            for run in reversed(found)
        }

    def wait_for(
        self,
        run_ids: Collection[str],
        meanwhile: Callable[[], object] = bool,
        seconds: float = 200,
    ) -> dict[str, Run]:
        """The runs when all of them are over; calls `meanwhile` now and then."""
        deadline = time.monotonic() + seconds
        while True:
            runs = self.runs()
            found = {run_id: runs[run_id] for run_id in run_ids}
            if all(run.status in _OVER for run in found.values()):
                return found
            assert time.monotonic() < deadline, f"{found}\n{self.output}"
            meanwhile()
            time.sleep(0.3)

    def materialisations(self, asset: str, store_id: str = "") -> Sequence[dg.EventLogRecord]:
        """Of one partition, or of an asset that has none; the newest first."""
        with dg.DagsterInstance.from_config(str(self.deployment.dagster_home)) as instance:
            return instance.fetch_materializations(
                dg.AssetRecordsFilter(
                    asset_key=dg.AssetKey(asset), asset_partitions=[store_id] if store_id else None
                ),
                limit=100,
            ).records

    def drawn(self, asset: str, picture: str, store_id: str = "") -> Drawn:
        """The newest materialisation that shows a picture, and not a link to the last one."""
        for record in self.materialisations(asset, store_id):
            assert record.asset_materialization is not None
            found = record.asset_materialization.metadata.get(picture)
            if isinstance(found, dg.MarkdownMetadataValue):
                return Drawn(record.timestamp, str(found.value))
        raise LookupError(f"no {picture} was drawn of {asset} {store_id}")

    def partition_status(self, asset: str) -> dict[str, set[str]]:
        """Partitions of an asset by status, as its page shows them."""
        node = self.graphql(_PARTITIONS, {"asset": {"path": [asset]}})["assetNodeOrError"]
        return {
            status.removesuffix("Partitions"): set(keys)
            for status, keys in node["assetPartitionStatuses"].items()
        }

    def family(self) -> list[psutil.Process]:
        """Both processes and all that descend from them: code servers and runs."""
        found = []
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                found += [parent, *parent.children(recursive=True)]
        return found


def listeners_of(processes: Iterable[psutil.Process]) -> set[Listener]:
    """Where processes take connections by TCP, or datagrams of anyone by UDP, just now."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found |= {
                Listener(process.pid, one.laddr.ip, one.laddr.port)
                for one in process.net_connections("inet")
                if one.status == psutil.CONN_LISTEN
                or (one.type == socket.SOCK_DGRAM and one.laddr and not one.raddr)
            }
    return found


@contextmanager
def dagster_servers(deployment: Deployment) -> Iterator[DagsterServers]:
    """Start both over `workspace.yaml`; ends them and what they started."""
    # Made before both start, as `catalog ui` does: Dagster does not let two make one at a time.
    with dg.DagsterInstance.from_config(str(deployment.dagster_home)):
        pass
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CATALOG_")}
    environ |= deployment.environ
    scripts = Path(sys.executable).parent
    workspace = ("--workspace", str(REPOSITORY / "workspace.yaml"))
    commands = [
        [scripts / "dagster-webserver", *workspace, "--port", str(port)],
        [scripts / "dagster-daemon", "run", *workspace],
    ]
    output_file = deployment.folder / "servers.log"
    with output_file.open("wb") as output:
        processes = tuple(
            subprocess.Popen(
                [str(part) for part in command],
                cwd=REPOSITORY,
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            for command in commands
        )
        servers = DagsterServers(port, deployment, processes, output_file)
        try:
            _wait_until_loaded(servers)
            yield servers
        finally:
            _end(servers)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_ready(url: str) -> bool:
    """Whether a webserver answers, has loaded the code location, and sees the daemon at work."""
    try:
        answer = ask(url, _READY)
    except httpx.TransportError:
        return False
    statuses = [entry["loadStatus"] for entry in answer["workspaceOrError"]["locationEntries"]]
    healthy = {
        daemon["daemonType"]: daemon["healthy"]
        for daemon in answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    }
    return statuses == ["LOADED"] and bool(healthy.get("QUEUED_RUN_COORDINATOR"))


def ask(url: str, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The data of a webserver's answer to a query."""
    answer = httpx.post(
        f"{url}/graphql",
        json={"query": query, "variables": dict(variables or {})},
        timeout=30,
        trust_env=False,
    ).json()
    assert "errors" not in answer, answer["errors"]
    data: dict[str, Any] = answer["data"]
    return data


def _wait_until_loaded(servers: DagsterServers) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready(servers.url):
        ended = [process.args for process in servers.processes if process.poll() is not None]
        assert not ended, f"{ended} ended:\n{servers.output}"
        assert time.monotonic() < deadline, f"the servers did not start:\n{servers.output}"
        time.sleep(0.1)


def _end(servers: DagsterServers) -> None:
    family = servers.family()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    for survivor in alive:
        with suppress(psutil.NoSuchProcess):
            survivor.kill()
    for process in servers.processes:
        process.wait()
