"""What can go wrong at each place where a sync writes, and the means to make it go wrong there.

The means are wrappers put around the product's own writes, in a process that runs nothing but one
sync; the product itself has no hooks. Which fault comes when is the harness's choice.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from catalog_pipeline.errors import PermanentError, ServiceUnavailableError

# file: a file of the data folder, whole. rename: a draft takes its place. commit: a transaction.
# upsert, refresh, delete: a batch of points. session: a group of batches is flushed and closed.
# ensure: the collection and its alias.
Site = Literal["file", "rename", "commit", "upsert", "refresh", "delete", "session", "ensure"]
# kill: SIGKILL. disk_full: ENOSPC, or SQLite's word for it. disconnect: PostgreSQL ends the
# connection. unavailable: the service does not answer, or not in time. refuse: it says no.
Effect = Literal["kill", "disk_full", "disconnect", "unavailable", "refuse"]
When = Literal["before", "after"]
SITES: tuple[Site, ...] = get_args(Site)
POINT_SITES: tuple[Site, ...] = ("upsert", "refresh", "delete", "session")


class Fault(BaseModel):
    """Write `number` at `site` fails before or after it is made; `lasting`: and all later."""

    model_config = ConfigDict(frozen=True)

    site: Site
    number: int
    when: When = "before"
    effect: Effect = "kill"
    lasting: bool = False

    def __str__(self) -> str:
        lasting = " and from then on" if self.lasting else ""
        return f"{self.effect} {self.when} {self.site} {self.number}{lasting}"


class Saboteur:
    """Counts the writes of this process, notes the last ones in a file, and strikes once asked."""

    def __init__(self, fault: Fault | None, trace: Path) -> None:
        self.calls: Counter[str] = Counter()
        self.struck = 0
        self._fault = fault
        self._trace = trace.open("w", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def count(self, site: Site) -> int:
        """Take note that a write begins; its number."""
        with self._lock:
            self.calls[site] += 1
            return self.calls[site]

    def pass_by(
        self, site: Site, number: int, when: When, connection: Connection | None = None
    ) -> None:
        """Strike if this is the moment.

        Raises:
            OSError, OperationalError, ServiceUnavailableError, PermanentError: the fault.
        """
        # Read after a kill, so it must not wait in a buffer of this process.
        self._trace.write(f"{when} {site} {number}\n")
        fault = self._fault
        if fault is None or (fault.site, fault.when) != (site, when):
            return
        if number == fault.number or (fault.lasting and number > fault.number):
            self.struck += 1
            _strike(fault.effect, site, connection)


def _strike(effect: Effect, site: Site, connection: Connection | None) -> None:
    if effect == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if effect == "disconnect":
        assert connection is not None
        _end_connection(connection)
        return
    if effect == "unavailable":
        raise ServiceUnavailableError("the service did not answer in time")
    if effect == "refuse":
        raise PermanentError("the service refused the write")
    if site == "commit":
        reason = sqlite3.OperationalError("database or disk is full")
        raise OperationalError("COMMIT", None, reason)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _end_connection(connection: Connection) -> None:
    """Have the server end a connection, as it does when it is restarted or fails over."""
    import psycopg

    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    with psycopg.connect(driver.info.dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (driver.info.backend_pid,))


class _Method(Protocol):
    def __call__(self, *arguments: Any, **named: Any) -> Any: ...


def sabotage(saboteur: Saboteur) -> None:
    """Put the wrappers around every write of this process, for good."""
    from catalog_pipeline.catalog.database import Database
    from catalog_pipeline.files import DataFolder
    from catalog_pipeline.vectors.edge_points import EdgePoints
    from catalog_pipeline.vectors.qdrant_edge import EdgeIndex

    def around(site: Site, method: _Method) -> _Method:
        @wraps(method)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            number = saboteur.count(site)
            saboteur.pass_by(site, number, "before")
            result = method(*arguments, **named)
            saboteur.pass_by(site, number, "after")
            return result

        return wrapped

    def at_the_end(site: Site, method: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        @wraps(method)
        def wrapped(*arguments: Any, **named: Any) -> Iterator[Any]:
            with method(*arguments, **named) as opened:
                yield opened
                number = saboteur.count(site)
                connection = opened if isinstance(opened, Connection) else None
                saboteur.pass_by(site, number, "before", connection)
            saboteur.pass_by(site, number, "after")

        return wrapped

    patches: list[tuple[type, str, Site, Callable[[Site, Any], Any]]] = [
        (DataFolder, "write", "file", around),
        (Path, "replace", "rename", around),
        (Path, "rename", "rename", around),
        (EdgePoints, "upsert", "upsert", around),
        (EdgePoints, "overwrite_payloads", "refresh", around),
        (EdgePoints, "delete", "delete", around),
        (EdgeIndex, "ensure", "ensure", around),
        (EdgeIndex, "session", "session", at_the_end),
        (Database, "write", "commit", at_the_end),
    ]
    for owner, name, site, wrapper in patches:
        setattr(owner, name, wrapper(site, getattr(owner, name)))
