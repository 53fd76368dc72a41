"""What `make dev` starts, as that very command: where it listens, and that it ends as a whole."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from catalog_pipeline_tests.ui.servers import (
    Listener,
    free_port,
    is_ready,
    listeners_of,
)

REPOSITORY = Path(__file__).resolve().parents[2]
CATALOG = Path(sys.executable).with_name("catalog")
START_SECONDS = 240
STOP_SECONDS = 60

pytestmark = pytest.mark.timeout(START_SECONDS + STOP_SECONDS + 20)


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


def test_make_dev_listens_on_loopback_alone_and_stops_as_a_whole(served: Served) -> None:
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

    served.process.terminate()
    served.process.wait(STOP_SECONDS)
    assert listeners_of(served.processes()) == set()
