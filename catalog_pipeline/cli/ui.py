"""`catalog ui`: Dagster's webserver and daemon over one instance, on this machine alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from catalog_pipeline.cli.deployment import read_stores
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.instance import ensure_workspace
from catalog_pipeline.settings import Settings, load_settings

LOOPBACK = "127.0.0.1"
PORT = click.IntRange(1, 65_535)
_STOP_SECONDS = 15


class ServerError(CatalogError):
    """A server that a command started ended by itself."""


@click.command()
@click.option("--port", type=PORT, default=3000, show_default=True)
@click.option("--daemon/--no-daemon", default=True, help="Whether sensors and schedules are on.")
def ui(port: int, daemon: bool) -> None:
    """Serve the Dagster UI of your stores until interrupted, on this machine alone.

    With the daemon, sensors and schedules are at work: each active store of stores.yaml is synced
    for the first time, then polled and swept by itself. Without, nothing begins unasked, and what
    the UI launches waits in the queue.

    \b
    Examples:
      catalog ui
      catalog ui --no-daemon --port 3333
    """
    serve(load_settings(), port, daemon=daemon)


def serve(settings: Settings, port: int, *, daemon: bool = True) -> None:
    """Run the servers until an interrupt or SIGTERM, and end them.

    Raises:
        ConfigurationError: stores.yaml is wrong, or Dagster's instance cannot be used.
        ServerError: one of them ended.
    """
    from catalog_pipeline.cli.dagster_instance import open_instance, register_partitions
    from catalog_pipeline.defs.runs import end_dead_runs

    stores = read_stores(settings).stores
    with open_instance(settings) as instance:
        register_partitions(instance, stores)
        end_dead_runs(instance)
        location = ("--workspace", str(ensure_workspace(Path(instance.root_directory))))
    scripts = Path(sys.executable).parent
    commands = [[scripts / "dagster-webserver", *location, "--host", LOOPBACK, "--port", str(port)]]
    if daemon:
        commands.append([scripts / "dagster-daemon", "run", *location])
    servers = [subprocess.Popen([str(part) for part in command]) for command in commands]
    click.echo(f"The Dagster UI: http://{LOOPBACK}:{port}   (interrupt to stop)")
    # Ended by a signal, the servers must not be left behind.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(0.5)
        raise ServerError("one of the UI's processes has ended; its last lines above say why")
    except KeyboardInterrupt:
        click.echo("Stopping.")
    finally:
        for server in servers:
            end(server)


def end(server: subprocess.Popen[Any]) -> None:
    """Interrupt a server and wait until it is gone; kill one that does not go."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    for stream in (server.stdin, server.stderr):
        if stream is not None:
            stream.close()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
