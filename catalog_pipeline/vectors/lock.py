"""One process at a time in an embedded collection, and a name for the one that holds it.

The lock is the operating system's, so it ends with its process, however that dies; nothing has to
be taken over. The note beside it exists only to say who is there.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import filelock

from catalog_pipeline.vectors.index import IndexBusyError


@contextmanager
def hold(path: Path, *, run: str, wait_seconds: float) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; not re-entrant, threads exclude each other.

    Args:
        path: in a folder on a local disk that exists.
        run: who holds it, shown to whoever waits in vain.
        wait_seconds: how long to wait for another holder.

    Raises:
        IndexBusyError: the wait was in vain.
    """
    lock = filelock.FileLock(path)
    note = path.with_suffix(".holder")
    try:
        lock.acquire(timeout=wait_seconds)
    except filelock.Timeout as error:
        raise IndexBusyError(
            f"{path.parent} is held by {_holder(note)}; gave up after {wait_seconds:g} s. Wait for "
            "it to end, or end it, and try again"
        ) from error
    try:
        note.write_text(
            json.dumps(
                {
                    "process": os.getpid(),
                    "host": socket.gethostname(),
                    "run": run,
                    "since": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
        )
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return (
            f"process {holder['process']} on {holder['host']} ({holder['run']}, "
            f"since {holder['since']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        # Between another holder's lock and its note, or after its end.
        return "another process"
