"""`catalog demo`: the whole pipeline on two generated stores, with nothing else at hand.

The demo lives in a folder of its own and takes nothing from the environment's CATALOG_ settings:
it must not be able to touch a real deployment.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from catalog_pipeline.cli.deployment import as_json, read_stores
from catalog_pipeline.cli.output import EXIT_FAILED, notices, print_json, terminal
from catalog_pipeline.cli.search import run_search, show, write_page
from catalog_pipeline.cli.sync import SyncRequest, sync_store
from catalog_pipeline.cli.ui import LOOPBACK, PORT, end, serve
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.demo.samples import SampleStores, fingerprint, running_at
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, write_stores_file
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.search import Hit
from catalog_pipeline.settings import PREFIX, Settings, load_settings

FOLDER = Path(".catalog/demo")
START_SECONDS = 30
# Several of the generated products are just this.
CLOSING_QUERY = "floral green shirt"
CLOSING_LINES = 5
SHOWN = 30


class DemoError(CatalogError):
    """The sample stores could not be started."""


@click.command()
@click.option("--ui", is_flag=True, help="Then serve the Dagster UI until interrupted.")
@click.option("--port", type=PORT, default=18_080, show_default=True)
@click.option("--ui-port", type=PORT, default=3000, show_default=True)
@as_json
def demo(ui: bool, port: int, ui_port: int, as_json: bool) -> None:
    """Sync two generated stores from their API to a searchable collection, and search it.

    Everything stays in .catalog/demo, servers listen on loopback alone, and a second call with
    nothing changed does next to nothing.

    \b
    Examples:
      catalog demo
      catalog demo --ui
    """
    if ui and as_json:
        raise click.UsageError("--json is for the syncs and the search; the UI answers for itself")
    with _sample_stores(port):
        settings = _use_demo_settings(port)
        if ui:
            serve(settings, ui_port)
            return
        started = time.monotonic()
        console = notices() if as_json else terminal()
        outcomes = []
        for store_id in _store_ids(settings):
            console.print(f"\n{store_id}", style="bold")
            outcomes.append(sync_store(settings, store_id, console, SyncRequest()))
        console.print(f"\nSynced in {time.monotonic() - started:.0f} s.")
        if not all(outcome["succeeded"] for outcome in outcomes):
            if as_json:
                print_json({"stores": outcomes, "query": None, "hits": None})
            sys.exit(EXIT_FAILED)
        hits = _search_something(settings, console)
        if as_json:
            print_json({"stores": outcomes, "query": CLOSING_QUERY, "hits": hits})
            return
        show(hits[:CLOSING_LINES])
        click.echo(
            "\nOpen the UI with: make dev   (then http://127.0.0.1:3000, asset lineage first)"
        )


@contextlib.contextmanager
def _sample_stores(port: int) -> Iterator[None]:
    """The sample stores in a process of their own, or those that another demo serves already."""
    expected = fingerprint()
    running = running_at(port)
    if running is not None and running.get("fingerprint") == expected:
        yield
        return
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "catalog_pipeline.demo", "serve"),
            *("--port", str(port), "--while-input-open"),
        ],
        # Closed by the kernel if this process is killed, so that the stores never outlive it.
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(server, port)
        yield
    finally:
        end(server)


def _wait_for(server: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while running_at(port, timeout=0.5) is None:
        if server.poll() is not None:
            assert server.stderr is not None
            said = server.stderr.read().strip().removeprefix("Error: ")
            raise DemoError(f"the sample stores could not be started: {said}")
        if time.monotonic() > deadline:
            raise DemoError(f"the sample stores did not answer on port {port} within 30 s")
        time.sleep(0.05)


def _use_demo_settings(port: int) -> Settings:
    """Point this process, and all that it starts, at the demo's own folder."""
    folder = FOLDER.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    stores = SampleStores(port=port)
    write_stores_file(folder / "stores.yaml", f"http://{LOOPBACK}:{port}")
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ |= {
        # The demo is looked at by a person, also through a pipe.
        "CATALOG_LOG_FORMAT": "text",
        "CATALOG_DATA_DIR": str(folder),
        "CATALOG_STORES_FILE": str(folder / "stores.yaml"),
        "CATALOG_MODEL": DEMO_MODEL,
        "DAGSTER_HOME": str(folder / "dagster"),
        KEY_VARIABLE: stores.key,
        SECRET_VARIABLE: stores.secret,
    }
    return load_settings()


def _store_ids(settings: Settings) -> list[str]:
    return list(read_stores(settings).stores)


def _search_something(settings: Settings, console: Console) -> list[Hit]:
    """Ask in words, and leave the answer as a page too."""
    from catalog_pipeline.exhibits.search_page import Question

    console.print(f'\ncatalog search --text "{CLOSING_QUERY}"\n', markup=False)
    hits = run_search(settings, CLOSING_QUERY, limit=SHOWN)
    question = Question("Search by text", CLOSING_QUERY)
    write_page(FOLDER / "search.html", settings, question, hits)
    return hits
