"""Full disks, lost database connections and a Qdrant that says no, at the writes of a sync."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from catalog_pipeline_tests.crash.faults import Effect, Fault, Site, When
from catalog_pipeline_tests.crash.harness import World

STORE = "atelier"


def edit(made: World) -> None:
    """Leave each kind of write owed: a picture and its vector, a payload, a deletion."""
    assistant = made.assistant(STORE)
    assistant.add()
    loaded = made.loaded_products(STORE)
    for change, product in zip(
        (assistant.redraw, assistant.retitle, assistant.withdraw), loaded, strict=False
    ):
        change(product)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """An empty database of the test's own."""
    name = f"crash_{uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
    url = make_url(postgresql_server).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


@pytest.mark.timeout(240)
def test_a_full_disk_ends_the_sync_with_its_name_and_the_next_one_does_the_rest(
    made: World,
) -> None:
    edit(made)
    usual = made.sync_well(made.reference, STORE)
    faults = [
        Fault(site=site, number=usual.calls[site] - 3, effect="disk_full", lasting=True)
        for site in ("file", "commit")
    ]
    for fault in faults:
        failed = made.sync(made.disturbed, STORE, fault=fault)
        assert not failed.success, fault
        assert failed.struck, fault
        assert "No space left on device" in failed.error or "disk is full" in failed.error
    made.sync_well(made.disturbed, STORE)
    assert not made.problems()


@pytest.mark.timeout(240)
def test_a_qdrant_that_refuses_or_times_out_loses_nothing(made: World) -> None:
    edit(made)
    made.sync_well(made.reference, STORE)
    lasting: list[tuple[Effect, Site, When]] = [
        ("unavailable", "upsert", "before"),
        ("refuse", "refresh", "before"),
        ("refuse", "session", "after"),
        ("unavailable", "delete", "before"),
    ]
    for effect, site, when in lasting:
        fault = Fault(site=site, number=1, when=when, effect=effect, lasting=True)
        failed = made.sync(made.disturbed, STORE, walk="auto", fault=fault)
        assert not failed.success, fault
        assert failed.error.startswith("qdrant_points"), failed.error
        # Only what may pass is tried again.
        assert failed.struck == (3 if effect == "unavailable" else 1), fault
    passing = Fault(site="delete", number=1, when="before", effect="unavailable")
    mended = made.sync(made.disturbed, STORE, fault=passing)
    assert mended.success
    assert mended.struck == 1
    assert not made.problems()


@pytest.mark.timeout(240)
def test_connections_that_postgresql_ends_cost_an_attempt_and_no_row(
    made: World, postgresql_url: str
) -> None:
    made.start_anew(CATALOG_DATABASE_URL=postgresql_url)
    made.sync_well(made.disturbed, "nordhavn")
    for number in (5, 8, 12):
        fault = Fault(site="commit", number=number, effect="disconnect")
        done = made.sync(made.disturbed, STORE, fault=fault)
        assert done.success, done.error
        assert done.struck == 1
    edit(made)
    made.sync_well(made.reference, STORE)
    fault = Fault(site="commit", number=9, effect="disconnect", lasting=True)
    failed = made.sync(made.disturbed, STORE, fault=fault)
    assert not failed.success
    assert failed.struck > 2
    assert "cannot be used now" in failed.error
    made.sync_well(made.disturbed, STORE)
    assert not made.problems()
    made.in_step = False
