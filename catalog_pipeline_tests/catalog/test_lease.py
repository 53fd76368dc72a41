"""One writer per store, whoever started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select, update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import (
    EXPIRES_AFTER,
    LeaseLostError,
    StoreBusyError,
    held_stores,
    hold_store,
)
from catalog_pipeline.catalog.schema import leases


def test_a_second_writer_gives_way_and_is_told_to_whom(any_database: Database) -> None:
    with (
        hold_store(any_database, "atelier", "run-1"),
        pytest.raises(StoreBusyError, match=rf"run run-1 \(process {os.getpid()}"),
        hold_store(any_database, "atelier", "run-2"),
    ):
        pytest.fail("two writers held one store")


def test_stores_do_not_wait_for_each_other(any_database: Database) -> None:
    with (
        hold_store(any_database, "atelier", "run-1") as one,
        hold_store(any_database, "nordhavn", "run-2") as two,
    ):
        one.check()
        two.check()


def test_a_lease_given_back_is_free_at_once(any_database: Database) -> None:
    with hold_store(any_database, "atelier", "run-1"):
        pass
    with hold_store(any_database, "atelier", "run-2") as lease:
        lease.check()


def test_the_same_run_takes_its_own_lease_back_and_fences_out_its_ghost(
    any_database: Database,
) -> None:
    with hold_store(any_database, "atelier", "run-1") as ghost:
        with hold_store(any_database, "atelier", "run-1") as lease:
            lease.check()
            with pytest.raises(LeaseLostError, match="atelier"):
                ghost.check()
            with pytest.raises(LeaseLostError), ghost.write():
                pytest.fail("a ghost could write")


def test_a_writer_that_lost_its_lease_commits_nothing(any_database: Database) -> None:
    with hold_store(any_database, "atelier", "run-1") as lease:
        with any_database.write() as connection:
            connection.execute(update(leases).values(epoch=leases.c.epoch + 1))
        with pytest.raises(LeaseLostError), lease.write() as connection:
            connection.execute(leases.delete())
    with any_database.read() as connection:
        assert connection.scalar(select(leases.c.epoch)) == 2


def _hold_for_ever(url: str, ready: str) -> None:
    with hold_store(Database(url), "atelier", "doomed"):
        Path(ready).touch()
        time.sleep(600)


def test_a_killed_writer_of_this_machine_frees_the_store_at_once(
    database: Database, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    process = multiprocessing.get_context("spawn").Process(
        target=_hold_for_ever, args=(url, str(ready))
    )
    process.start()
    try:
        while not ready.exists():
            time.sleep(0.05)
        with pytest.raises(StoreBusyError), hold_store(database, "atelier", "next"):
            pytest.fail("the store was held")
    finally:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    # Whether or not its parent has taken note of its death.
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with hold_store(database, "atelier", "next") as lease:
        lease.check()
    process.join()


def test_a_silent_writer_of_another_machine_loses_its_lease(any_database: Database) -> None:
    with hold_store(any_database, "atelier", "run-1") as lost:
        with any_database.write() as connection:
            elsewhere = "another-machine|1|1.00|run-1"
            connection.execute(update(leases).values(owner=elsewhere))
        with pytest.raises(StoreBusyError), hold_store(any_database, "atelier", "run-2"):
            pytest.fail("the other machine was heard of just now")
        with any_database.write() as connection:
            long_ago = any_database.now(connection) - EXPIRES_AFTER * 2
            connection.execute(update(leases).values(heartbeat_at=long_ago))
        with hold_store(any_database, "atelier", "run-2") as lease:
            lease.check()
            with pytest.raises(LeaseLostError):
                lost.check()


def test_leases_say_who_holds_a_store_and_since_when_nobody_renewed_it(
    any_database: Database,
) -> None:
    assert held_stores(any_database) == {}
    with hold_store(any_database, "atelier", "run-1"):
        held = held_stores(any_database)["atelier"]
        assert held.run == "run-1"
        assert 0 <= held.silent_seconds < 10
    with any_database.write() as connection:
        long_ago = any_database.now(connection) - timedelta(seconds=400)
        connection.execute(update(leases).values(heartbeat_at=long_ago))
    given_back = held_stores(any_database)["atelier"]
    assert given_back.run is None
    assert 400 <= given_back.silent_seconds < 410
