"""What `make dev` starts, as that very command.

Where it listens, that it keeps the collection in step by itself, and that it ends as a whole.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest

from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline_tests.ui.servers import (
    Listener,
    free_port,
    is_ready,
    listeners_of,
)

REPOSITORY = Path(__file__).resolve().parents[2]
CATALOG = Path(sys.executable).with_name("catalog")
START_SECONDS = 240
SYNC_SECONDS = 240
STOP_SECONDS = 60

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.timeout(START_SECONDS + 2 * SYNC_SECONDS + STOP_SECONDS + 20),
]


class Served(NamedTuple):
    """The command, while it serves."""

    process: subprocess.Popen[bytes]
    folder: Path
    store_port: int
    ui_port: int

    @property
    def output(self) -> str:
        """What it and its children have printed so far."""
        return (self.folder / "output.log").read_text("utf-8", "replace")

    def processes(self) -> list[psutil.Process]:
        """All that it started, found by their folder: a run outlives the server that began it."""
        return [
            process
            for process in psutil.process_iter(["cwd", "cmdline"])
            if process.info["cwd"] == str(self.folder)
        ]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """`catalog demo --ui` in an empty folder; ended at any cost."""
    store_port, ui_port = free_port(), free_port()
    with (tmp_path / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [str(CATALOG), "demo", "--ui", "--port", str(store_port), "--ui-port", str(ui_port)],
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    command = Served(process, tmp_path.resolve(), store_port, ui_port)
    try:
        yield command
    finally:
        for member in command.processes():
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()


def test_make_dev_listens_on_loopback_syncs_by_itself_and_stops_as_a_whole(
    served: Served,
) -> None:
    recipe = (REPOSITORY / "Makefile").read_text("utf-8").split("\ndev:")[1].splitlines()[1]
    assert recipe.strip() == "@$(BIN)/catalog demo --ui"

    listeners: set[Listener] = set()
    deadline = time.monotonic() + START_SECONDS
    is_serving = False
    while not is_serving:
        assert served.process.poll() is None, served.output
        assert time.monotonic() < deadline, served.output
        is_serving = is_ready(f"http://127.0.0.1:{served.ui_port}")
        # Looked for once more after the first good answer, when all of them are up.
        listeners |= listeners_of(served.processes())
        time.sleep(0.2)

    assert {served.store_port, served.ui_port} <= {one.port for one in listeners}
    assert [one for one in listeners if not ip_address(one.address).is_loopback] == []
    commands = [" ".join(process.info["cmdline"] or ()) for process in served.processes()]
    for name in ("dagster-webserver", "dagster-daemon", "catalog_pipeline.demo serve"):
        assert any(name in command for command in commands), commands

    assert_an_edit_reaches_the_collection(served)

    served.process.terminate()
    served.process.wait(STOP_SECONDS)
    assert listeners_of(served.processes()) == set()


def assert_an_edit_reaches_the_collection(served: Served) -> None:
    """Sensors see a new store, and then a changed price, with nobody's help."""
    samples = SampleStores(port=served.store_port)
    find = "select product_id, external_id, payload_hash from {} where {} limit 1"
    loaded = find.format("points join products using (product_id)", "products.store_id = 'atelier'")
    product, external_id, payload = wait_for(served, lambda: ask(served, loaded), "a first sync")

    httpx.put(
        f"http://127.0.0.1:{served.store_port}/atelier/wp-json/wc/v3/products/{external_id}",
        auth=(samples.write_key.key, samples.write_key.secret),
        json={"regular_price": "4321.00", "sale_price": ""},
        trust_env=False,
    ).raise_for_status()

    changed = find.format(
        "points join products using (product_id)",
        f"product_id = '{product}' and payload_hash <> '{payload}' and price like '4321%'",
    )
    assert wait_for(served, lambda: ask(served, changed), "the edit")


def ask(served: Served, statement: str) -> tuple[str, ...] | None:
    """A row of the demo's database, which is not there at first."""
    path = served.folder / ".catalog" / "demo" / "catalog.sqlite"
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database,
    ):
        row: tuple[str, ...] | None = database.execute(statement).fetchone()
        return row
    return None


def wait_for(
    served: Served, look: Callable[[], tuple[str, ...] | None], what: str
) -> tuple[str, ...]:
    """What is looked for, once it is there."""
    deadline = time.monotonic() + SYNC_SECONDS
    while (found := look()) is None:
        assert served.process.poll() is None, served.output
        assert time.monotonic() < deadline, f"{what} did not come\n{served.output}"
        time.sleep(1)
    return found
