"""The code servers and the daemon killed while a run goes on, with Dagster's own processes.

A run worker outlives both. What is asked: that the run they left behind, the servers that come
after them and the next run of the store bring the deployment to where it would have been.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil

from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline_tests.crash.contents import contents_of, differences
from catalog_pipeline_tests.crash.harness import PICTURE_SIZE, PRODUCTS, new_place
from catalog_pipeline_tests.crash.nursery import Order, nursery
from catalog_pipeline_tests.deployment import Deployment, sample_deployment
from catalog_pipeline_tests.ui.servers import REPOSITORY, DagsterServers, dagster_servers

_STORE = "atelier"
_CODE_SERVERS = {"grpc", "code-server"}
# The daemon may need a minute to have code servers again.
_BEGUN_SECONDS = 120
_RELOAD = """mutation { reloadWorkspace { __typename } }"""


def kill_servers(folder: Path) -> list[str]:
    """Kill each kind of server once in a run of a store; how the store differs in the end."""
    with (
        sample_deployment(
            folder, products_per_store=PRODUCTS, picture_size=PICTURE_SIZE
        ) as deployment,
        _prepared(deployment) as servers,
    ):
        daemons: list[subprocess.Popen[bytes]] = []
        try:
            _run(servers, lambda: _kill_code_servers(servers))
            servers.graphql(_RELOAD)
            _edit(deployment)
            _run(servers, lambda: daemons.append(_replace_daemon(servers)))
            _edit(deployment)
            done = _run(servers, lambda: None)
            told = [] if done == "SUCCESS" else [f"the last run ended as {done}"]
        finally:
            for daemon in daemons:
                daemon.terminate()
                daemon.wait()
        reference = new_place(deployment, "reference")
        with nursery() as started:
            # The sensors sync the other store by themselves.
            for store_id in deployment.stores.stores:
                order = Order(
                    store_id=store_id,
                    walk="full",
                    environ=reference.environ,
                    folder=reference.folder,
                )
                assert started.sync(order).success
        return told + differences(contents_of(reference.environ), contents_of(deployment.environ))


@contextmanager
def _prepared(deployment: Deployment) -> Iterator[DagsterServers]:
    with dg.DagsterInstance.from_config(str(deployment.dagster_home)) as instance:
        instance.add_dynamic_partitions(STORES, [_STORE])
        # Has the tables made: two servers that find none at once would both try.
        instance.all_instigator_state()
    with dagster_servers(deployment) as servers:
        yield servers


def _edit(deployment: Deployment) -> None:
    """A price and a new product: what a run of any kind brings."""
    store = deployment.stores.stores[_STORE]
    store.edit(store.product_ids("publish")[5], regular_price="77.00")
    store.add(price="88.00")


def _run(servers: DagsterServers, disturb: Callable[[], object]) -> str:
    """Launch a run, disturb once it writes, and wait for its end; its status."""
    before = _walks(servers)
    run_id = servers.launch("sync_store", _STORE)
    deadline = time.monotonic() + _BEGUN_SECONDS
    while _walks(servers) == before:
        assert time.monotonic() < deadline, servers.output
        time.sleep(0.05)
    disturb()
    return servers.wait_for([run_id])[run_id].status


def _walks(servers: DagsterServers) -> int:
    archive = servers.deployment.folder / "archive" / _STORE
    return len(list(archive.iterdir())) if archive.is_dir() else 0


def _kill_code_servers(servers: DagsterServers) -> None:
    killed = 0
    for process in servers.family():
        try:
            if _CODE_SERVERS & set(process.cmdline()):
                process.kill()
                killed += 1
        except psutil.NoSuchProcess:
            continue
    assert killed


def _replace_daemon(servers: DagsterServers) -> subprocess.Popen[bytes]:
    """Kill the daemon and start another, as whatever supervises it would."""
    _, daemon = servers.processes
    daemon.kill()
    daemon.wait()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CATALOG_")}
    with servers.output_file.open("ab") as output:
        return subprocess.Popen(
            daemon.args,
            cwd=REPOSITORY,
            env=environ | servers.deployment.environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
