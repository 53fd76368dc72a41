"""A process that has imported everything once and forks a process for each sync.

Importing Dagster and torch takes longer than a small sync, and most syncs here are killed early.
What a forked process does is otherwise what a run worker does: the job, over the settings of its
environment, on an instance on disk.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict

from catalog_pipeline_tests.crash.faults import Fault, Saboteur, sabotage

_READY = "ready\n"
_START_SECONDS = 90
_PR_SET_PDEATHSIG = 1
_SYNC_SECONDS = 90
_TELL_SECONDS = 60
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Order(BaseModel):
    """One sync: of which store, how, in which environment, and what goes wrong in it."""

    model_config = ConfigDict(frozen=True)

    store_id: str
    walk: str
    environ: dict[str, str]
    folder: Path
    fault: Fault | None = None


@dataclass(frozen=True)
class Sync:
    """How a sync ended: `calls` counts its writes by site, `last` is the last one it came by."""

    killed: bool
    success: bool
    struck: int
    calls: dict[str, int]
    error: str
    last: str
    seconds: float


class Nursery:
    """The handle on the process; use `nursery()`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def wait_until_ready(self) -> None:
        """Wait for the imports."""
        assert self._line(_START_SECONDS) == _READY

    def sync(self, order: Order, *, kill_after: float | None = None) -> Sync:
        """Run one sync to its end, or to its death at the latest after `kill_after` seconds."""
        assert self._process.stdin is not None
        for name in ("result.json", "trace"):
            (order.folder / name).unlink(missing_ok=True)
        began = time.monotonic()
        self._process.stdin.write(order.model_dump_json() + "\n")
        self._process.stdin.flush()
        pid = int(self._line(_SYNC_SECONDS))
        ready = self._is_ready(_SYNC_SECONDS if kill_after is None else kill_after)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        status = int(self._line(_SYNC_SECONDS))
        log = (order.folder / "sync.log").read_text("utf-8", "replace")
        assert ready or kill_after is not None, f"a sync hung:\n{log[-4000:]}"
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        result: dict[str, Any] = {"success": False, "struck": 0, "calls": {}, "error": ""}
        if not killed:
            assert status == 0, f"a sync ended with status {status}:\n{log[-4000:]}"
            result = json.loads((order.folder / "result.json").read_text())
        trace = (order.folder / "trace").read_text().splitlines() if _was_begun(order) else []
        last = trace[-1] if trace else "the start"
        return Sync(killed=killed, last=last, seconds=time.monotonic() - began, **result)

    def _is_ready(self, seconds: float) -> bool:
        return bool(select.select([self._output], [], [], seconds)[0])

    def _line(self, seconds: float) -> str:
        assert self._is_ready(seconds), "the nursery does not answer"
        line = self._output.readline()
        assert line, "the nursery has ended"
        return line

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout


def _was_begun(order: Order) -> bool:
    return (order.folder / "trace").exists()


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start the process; it ends with the block, or when its input does."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CATALOG_")}
    with subprocess.Popen(
        # Without a main module, which each process that decodes pictures would import again.
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        cwd=Path(__file__).resolve().parents[2],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            started = Nursery(process)
            started.wait_until_ready()
            yield started
        finally:
            process.kill()


def serve() -> None:
    """Fork a process for each order that comes in; ends with its input."""
    import alembic.config  # noqa: F401
    import open_clip  # noqa: F401

    import catalog_pipeline.definitions
    import catalog_pipeline.vectors.qdrant_edge  # noqa: F401

    print(_READY, end="", flush=True)
    for line in sys.stdin:
        order = Order.model_validate_json(line)
        pid = os.fork()
        if pid == 0:
            _end_with_parent()
            _child(order)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _child(order: Order) -> None:
    # Never back into the nursery's loop, whatever happens.
    status = 1
    try:
        with (order.folder / "sync.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        faulthandler.dump_traceback_later(_TELL_SECONDS)
        os.environ.update(order.environ)
        _sync(order)
        status = 0
    except BaseException:  # noqa: BLE001
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _sync(order: Order) -> None:
    import dagster as dg

    from catalog_pipeline.definitions import build_defs
    from catalog_pipeline.defs.partitions import STORES

    # What is retried is retried at once: nobody waits for a service to come back here.
    dg.RetryPolicy.calculate_delay = lambda *_: 0.0  # type: ignore[method-assign]
    saboteur = Saboteur(order.fault, order.folder / "trace")
    sabotage(saboteur)
    with dg.DagsterInstance.from_config(order.environ["DAGSTER_HOME"]) as instance:
        instance.add_dynamic_partitions(STORES, [order.store_id])
        done = (
            build_defs()
            .resolve_job_def("sync_store")
            .execute_in_process(
                instance=instance,
                partition_key=order.store_id,
                run_config={
                    **_QUIET,
                    "ops": {"raw_products": {"config": {"walk": order.walk}}},
                },
                raise_on_error=False,
            )
        )
    failures = [
        f"{event.node_name}: {data.error.to_string() if data.error else ''}"
        for event in done.all_events
        if event.is_step_failure and (data := event.step_failure_data)
    ]
    result = {
        "success": done.success,
        "struck": saboteur.struck,
        "calls": dict(saboteur.calls),
        "error": "\n".join(failures)[:4000],
    }
    (order.folder / "result.json").write_text(json.dumps(result))
