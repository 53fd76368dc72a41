"""One writer per store: a lease in the database, held while a stage works on a store.

The run queue keeps two runs of a store apart as long as it launches both. It cannot know of a run
started by a command line, nor of a step that outlived its run; the lease can. Every write
transaction touches the lease's row first, so a holder that lost it cannot commit anything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DBAPIError

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import leases
from catalog_pipeline.errors import PermanentError, ServiceUnavailableError
from catalog_pipeline.processes import is_running, this_process

HEARTBEAT_SECONDS = 10.0
EXPIRES_AFTER = timedelta(seconds=90)


class StoreBusyError(PermanentError):
    """Another process is writing this store; the message names it."""


class LeaseLostError(PermanentError):
    """Another writer has taken the store over; this one must stop."""


class StoreLease:
    """The right to write one store's rows and points."""

    def __init__(self, database: Database, store_id: str, epoch: int) -> None:
        """Use `hold_store`; a lease made by hand protects nothing."""
        self.database = database
        self.store_id = store_id
        self.epoch = epoch

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that commits only while the lease is held.

        Raises:
            LeaseLostError: another writer holds the store.
            ServiceUnavailableError: the database cannot be reached or was lost.
        """
        with self.database.write() as connection:
            self._touch(connection)
            yield connection

    def check(self) -> None:
        """Make sure of the lease before writing somewhere that the database cannot guard.

        Raises:
            LeaseLostError: another writer holds the store.
        """
        with self.database.write() as connection:
            self._touch(connection)

    def _touch(self, connection: Connection) -> None:
        touched = connection.execute(
            update(leases)
            .where(leases.c.store_id == self.store_id, leases.c.epoch == self.epoch)
            .values(heartbeat_at=self.database.now(connection))
        )
        if touched.rowcount != 1:
            raise LeaseLostError(
                f"store {self.store_id}: another writer has taken over; this run stops without "
                "writing more"
            )


@contextmanager
def hold_store(database: Database, store_id: str, run: str) -> Iterator[StoreLease]:
    """Hold a store while the block runs.

    A lease is free when it was given back, when its holder was a process of this machine that is
    gone, when the same run holds it, or when it was not renewed for `EXPIRES_AFTER`.

    Args:
        database: where the lease lives.
        store_id: the store to write.
        run: the run's id, shown to whoever has to wait; what is no run has a name of its own each
            time.

    Raises:
        StoreBusyError: somebody else holds the store.
    """
    lease = _take(database, store_id, run)
    stop = threading.Event()
    renewer = threading.Thread(
        target=_renew, args=(lease, stop), name=f"lease-{store_id}", daemon=True
    )
    renewer.start()
    try:
        yield lease
    finally:
        stop.set()
        renewer.join()
        _give_back(lease)


@dataclass(frozen=True)
class Held:
    """Who holds a store, or held it last.

    Attributes:
        run: the run's id; None where the store was given back.
        silent_seconds: since the lease was last renewed.
    """

    run: str | None
    silent_seconds: float


def held_stores(database: Database) -> dict[str, Held]:
    """What the leases say, by store; a store that was never held is not in it.

    Raises:
        ServiceUnavailableError: the database cannot be reached or was lost.
    """
    with database.read() as connection:
        now = database.now(connection)
        return {
            row.store_id: Held(
                run=row.owner.split("|", 3)[3] if row.owner is not None else None,
                silent_seconds=(now - row.heartbeat_at).total_seconds(),
            )
            for row in connection.execute(select(leases).where(leases.c.heartbeat_at.is_not(None)))
        }


def _take(database: Database, store_id: str, run: str) -> StoreLease:
    with database.write() as connection:
        now = database.now(connection)
        row = connection.execute(
            select(leases).where(leases.c.store_id == store_id).with_for_update()
        ).one_or_none()
        if row is None:
            connection.execute(
                leases.insert(),
                {"store_id": store_id, "epoch": 1, "owner": _owner(run), "heartbeat_at": now},
            )
            return StoreLease(database, store_id, 1)
        if row.owner is not None and _is_alive(row.owner, run, row.heartbeat_at, now):
            raise StoreBusyError(
                f"store {store_id} is being written by {_described(row.owner)}, last heard of at "
                f"{row.heartbeat_at:%H:%M:%S} UTC; wait for that run to end, or end it"
            )
        epoch = int(row.epoch) + 1
        connection.execute(
            update(leases)
            .where(leases.c.store_id == store_id)
            .values(epoch=epoch, owner=_owner(run), heartbeat_at=now)
        )
        return StoreLease(database, store_id, epoch)


def _give_back(lease: StoreLease) -> None:
    try:
        with lease.database.write() as connection:
            connection.execute(
                update(leases)
                .where(leases.c.store_id == lease.store_id, leases.c.epoch == lease.epoch)
                .values(owner=None)
            )
    except (ServiceUnavailableError, DBAPIError):
        # It ends with this process; the error that matters is the one already on its way.
        return


def _renew(lease: StoreLease, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            lease.check()
        except LeaseLostError:
            return
        except (ServiceUnavailableError, DBAPIError):
            # Also a full disk, which may have room again before the lease expires.
            continue


def _owner(run: str) -> str:
    return f"{this_process()}|{run}"


def _described(owner: str) -> str:
    host, pid, _started, run = owner.split("|", 3)
    return f"run {run} (process {pid} on {host})"


def _is_alive(owner: str, run: str, heartbeat_at: datetime, now: datetime) -> bool:
    *process, holder = owner.split("|", 3)
    if holder == run:
        return False
    running = is_running("|".join(process))
    return now - heartbeat_at < EXPIRES_AFTER if running is None else running
