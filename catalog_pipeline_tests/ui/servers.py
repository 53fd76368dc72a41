"""Dagster's webserver and daemon over the code location, as processes of their own on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from catalog_pipeline_tests.deployment import Deployment

REPOSITORY = Path(__file__).resolve().parents[2]
LOCATION = "catalog_pipeline"
_START_SECONDS = 60
_STOP_SECONDS = 20


@dataclass(frozen=True)
class DagsterServers:
    """A running webserver and daemon."""

    url: str
    deployment: Deployment
    processes: tuple[subprocess.Popen[bytes], ...]
    output_file: Path

    @property
    def output(self) -> str:
        """What both have printed so far."""
        return self.output_file.read_text("utf-8", "replace")

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data of an answer."""
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": query, "variables": dict(variables or {})},
            timeout=30,
            trust_env=False,
        ).json()
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def family(self) -> list[psutil.Process]:
        """Both processes and all that descend from them: code servers and runs."""
        found = []
        for process in self.processes:
            try:
                parent = psutil.Process(process.pid)
                found += [parent, *parent.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        return found


@contextmanager
def dagster_servers(deployment: Deployment) -> Iterator[DagsterServers]:
    """Start both over `workspace.yaml`; ends them and what they started."""
    port = _free_port()
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
        servers = DagsterServers(f"http://127.0.0.1:{port}", deployment, processes, output_file)
        try:
            _wait_until_loaded(servers)
            yield servers
        finally:
            _end(servers)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_loaded(servers: DagsterServers) -> None:
    deadline = time.monotonic() + _START_SECONDS
    query = """{
      workspaceOrError { ... on Workspace { locationEntries { loadStatus } } }
      instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } }
    }"""
    while True:
        try:
            answer = servers.graphql(query)
            statuses = [
                entry["loadStatus"] for entry in answer["workspaceOrError"]["locationEntries"]
            ]
            healthy = {
                daemon["daemonType"]: daemon["healthy"]
                for daemon in answer["instance"]["daemonHealth"]["allDaemonStatuses"]
            }
            if statuses == ["LOADED"] and healthy.get("QUEUED_RUN_COORDINATOR"):
                return
        except httpx.TransportError:
            pass
        ended = [process.args for process in servers.processes if process.poll() is not None]
        assert not ended, f"{ended} ended:\n{servers.output}"
        assert time.monotonic() < deadline, f"the servers did not start:\n{servers.output}"
        time.sleep(0.1)


def _end(servers: DagsterServers) -> None:
    family = servers.family()
    for process in servers.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    for survivor in alive:
        survivor.kill()
    for process in servers.processes:
        process.wait()
