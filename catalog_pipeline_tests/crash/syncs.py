"""`catalog sync` as a process of its own, to its end or to its death.

What the process does besides is `worker.py`'s; what is synced and when one is killed, the caller's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from catalog_pipeline_tests.crash.faults import Fault

REPOSITORY = Path(__file__).resolve().parents[2]
# Many times what any takes, also on a busy machine.
_SYNC_SECONDS = 600
_ORPHAN_SECONDS = 60
_LOOK_SECONDS = 0.01


class Order(BaseModel):
    """One sync: of which store, with which options, where, and what goes wrong in it."""

    model_config = ConfigDict(frozen=True)

    store_id: str
    options: tuple[str, ...]
    folder: Path
    fault: Fault | None = None
    # Waits before it tries a lost service again, as it does outside of tests.
    is_patient: bool = False

    @property
    def trace(self) -> Path:
        """Where the process notes each write that it comes by."""
        return self.folder / "sync.trace"

    @property
    def counted(self) -> Path:
        """Where it leaves the number of its writes."""
        return self.folder / "sync.counted"


@dataclass(frozen=True)
class Sync:
    """How a sync ended.

    `calls` counts its writes by site, `last` is the last one that it came by; `seconds` are those
    from its first write on.
    """

    killed: bool
    success: bool
    struck: int
    calls: dict[str, int]
    failures: list[str]
    last: str
    seconds: float


def clean_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of a deployment, without settings of whoever runs the tests."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("CATALOG_")}
    return {**inherited, **environ}


def kill_process(process: subprocess.Popen[bytes]) -> None:
    """End a process without a word."""
    process.kill()
    process.wait()


def run_sync(
    order: Order,
    environ: Mapping[str, str],
    *,
    strike_after: float | None = None,
    strike: Callable[[subprocess.Popen[bytes]], None] = kill_process,
) -> Sync:
    """Run one sync to its end; strike, once, so many seconds after its first write.

    Raises:
        AssertionError: it hangs, dies otherwise than by SIGKILL, or leaves processes behind.
    """
    for left in (order.trace, order.counted):
        left.unlink(missing_ok=True)
    order_file, said, log = (order.folder / f"sync.{name}" for name in ("order", "said", "log"))
    order_file.write_text(order.model_dump_json(), "utf-8")
    with said.open("wb") as output, log.open("wb") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-X", "faulthandler"),
                *("-m", "catalog_pipeline_tests.crash.worker", str(order_file)),
            ],
            cwd=REPOSITORY,
            env=clean_environ(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            # A group of its own, as a terminal or a supervisor gives it: found again by its number.
            start_new_session=True,
        )
        try:
            seconds = _watch(process, order.trace, strike_after, strike)
        finally:
            if process.poll() is None:
                # Says where it hangs.
                process.send_signal(signal.SIGABRT)
                process.wait()
    told = log.read_text("utf-8", "replace")[-4000:]
    _assert_nobody_is_left(process.pid)
    trace = order.trace.read_text("utf-8").splitlines() if order.trace.exists() else []
    last = trace[-1] if trace else "the start"
    if process.returncode == -signal.SIGKILL:
        return Sync(True, False, 0, {}, [], last, seconds)
    assert process.returncode in (0, 1), f"a sync ended with {process.returncode}:\n{told}"
    answer = said.read_text("utf-8")
    assert answer, f"a sync said nothing:\n{told}"
    return Sync(
        killed=False,
        success=process.returncode == 0,
        failures=json.loads(answer)["failures"],
        last=last,
        seconds=seconds,
        **json.loads(order.counted.read_text("utf-8")),
    )


def _watch(
    process: subprocess.Popen[bytes],
    trace: Path,
    strike_after: float | None,
    strike: Callable[[subprocess.Popen[bytes]], None],
) -> float:
    deadline = time.monotonic() + _SYNC_SECONDS
    first_write: float | None = None
    while process.poll() is None:
        now = time.monotonic()
        assert now < deadline, "a sync hangs; its log says where"
        if first_write is None and trace.exists() and trace.stat().st_size:
            first_write = now
        if first_write and strike_after is not None and now - first_write >= strike_after:
            strike_after = None
            strike(process)
        time.sleep(_LOOK_SECONDS)
    return time.monotonic() - first_write if first_write else 0.0


def _assert_nobody_is_left(session: int) -> None:
    """What a sync started must end with it, however it ended."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while orphans := members_of(session):
        if time.monotonic() > deadline:
            for orphan in orphans:
                orphan.kill()
            raise AssertionError(f"left behind by a sync: {orphans}")
        time.sleep(_LOOK_SECONDS)


def members_of(session: int) -> list[psutil.Process]:
    """The living processes of a session, named by the process that it began with."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found
