"""A store that keeps failing is left alone by everything but a person, who can end that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from click.testing import CliRunner

from catalog_pipeline.catalog.audit import entries
from catalog_pipeline.catalog.circuits import read_circuit
from catalog_pipeline.cli.main import main
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.schedules import nightly_walks
from catalog_pipeline.defs.sensors import keep_stores, poll_stores
from catalog_pipeline.products.circuit import FAILURES_TO_OPEN, FIRST_PAUSE, record_failure
from catalog_pipeline_tests.defs.automation.shops import Shops

QUARTER = timedelta(minutes=15)


@pytest.fixture
def stored(shops: Shops) -> Shops:
    """Both stores are partitions and their products are stored."""
    shops.tick(keep_stores)
    for store in ("atelier", "nordhavn"):
        shops.store_products(store)
    return shops


@pytest.fixture
def opened(stored: Shops) -> Shops:
    """The same, with an open circuit for one of them, which has changed since."""
    with stored.database() as database:
        for _ in range(FAILURES_TO_OPEN):
            record_failure(database, "atelier", "walk", "answered 502 with a web page")
    shop = stored.samples.stores["atelier"]
    shop.edit(shop.product_ids()[0], regular_price="2.00")
    shop.traffic.reset()
    return stored


@pytest.fixture
def later() -> Iterator[None]:
    """The pause of a circuit that opens now is over."""
    with time_machine.travel(datetime.now(UTC) + FIRST_PAUSE + timedelta(minutes=1)):
        yield


def failures(shops: Shops, store: str) -> int:
    with shops.database() as database, database.read() as connection:
        found = read_circuit(connection, store)
    return 0 if found is None else found.failures


def failure_of(shops: Shops, run: dg.ExecuteInProcessResult) -> str:
    (event,) = run.get_step_failure_events()
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return data.description or ""


def ask(shops: Shops, *arguments: str) -> str:
    environ = {"CATALOG_MODEL": f"local-dir:{shops.folder / 'absent'}"}
    return CliRunner().invoke(main, arguments, env=environ, catch_exceptions=False).stdout


def test_failed_probes_open_it_and_the_sensor_then_skips_the_store(stored: Shops) -> None:
    stored.configure({"nordhavn": {"url": "http://127.0.0.1:9"}})
    cursor = None
    for number in range(FAILURES_TO_OPEN):
        with time_machine.travel(datetime.now(UTC) + number * QUARTER):
            found = stored.tick(poll_stores, cursor)
        cursor = found.cursor
        assert "nordhavn: no answer" in (found.skip_message or "")
    assert "failed 3 times in a row and is left alone until" in (found.skip_message or "")
    assert failures(stored, "nordhavn") == FAILURES_TO_OPEN

    with time_machine.travel(datetime.now(UTC) + 2 * QUARTER + timedelta(minutes=14)):
        skipped = stored.tick(poll_stores, cursor)
    assert "left alone after repeated failures" in (skipped.skip_message or "")
    assert "nordhavn until " in (skipped.skip_message or "")
    assert failures(stored, "nordhavn") == FAILURES_TO_OPEN

    stored.configure()
    with time_machine.travel(datetime.now(UTC) + 4 * QUARTER):
        stored.tick(poll_stores, skipped.cursor)
    assert failures(stored, "nordhavn") == 0, "the probe after the pause found it well"


def test_sensors_and_schedules_ask_nothing_of_it(opened: Shops) -> None:
    assert [request.partition_key for request in opened.tick(poll_stores).run_requests or []] == []
    night = opened.schedule_tick(nightly_walks, datetime.now(UTC) + timedelta(days=2))
    requested = [request.partition_key for request in night.run_requests or []]

    assert requested == ["nordhavn"]
    assert opened.samples.stores["atelier"].traffic.count() == 0


def test_a_store_that_never_answered_is_asked_for_no_first_sync(shops: Shops) -> None:
    with shops.database() as database:
        for _ in range(FAILURES_TO_OPEN):
            record_failure(database, "atelier", "walk", "answered 502")
    found = shops.tick(keep_stores)
    assert [request.partition_key for request in found.run_requests or []] == ["nordhavn"]


def test_after_the_pause_a_run_is_the_trial(opened: Shops, later: None) -> None:
    found = opened.tick(poll_stores)
    assert [request.partition_key for request in found.run_requests or []] == ["atelier"]
    run = opened.run("atelier", **{"catalog/kind": "incremental"})

    assert run.success
    assert failures(opened, "atelier") == 0
    (shown,) = run.asset_materializations_for_node("raw_products")
    assert shown.metadata["circuit"].value == "closed after 3 failures in a row"


def test_a_run_that_nobody_started_by_hand_gives_way(opened: Shops) -> None:
    run = opened.run("atelier", **{"catalog/kind": "nightly"})

    said = failure_of(opened, run)
    assert "is left alone until" in said
    assert "`catalog stores resume atelier`" in said
    assert "answered 502 with a web page" in said
    assert opened.samples.stores["atelier"].traffic.count() == 0
    assert failures(opened, "atelier") == FAILURES_TO_OPEN, "giving way is no failure"


def test_a_person_s_run_tries_and_says_how_the_store_stands(opened: Shops) -> None:
    shop = opened.samples.stores["atelier"]
    shop.faults.forbid_rest_api()
    run = opened.run("atelier")
    assert not run.success
    assert "failed 4 times in a row and is left alone until" in failure_of(opened, run)
    shop.faults.clear()
    assert opened.run("atelier").success
    assert failures(opened, "atelier") == 0


def test_status_shows_it_and_resume_ends_it(opened: Shops) -> None:
    opened.instance.add_dynamic_partitions(STORES, ["atelier"])
    text = ask(opened, "status")
    assert "atelier: failed 3 times in a row, left alone until" in text
    assert "answered 502 with a web page" in text
    atelier, nordhavn = json.loads(ask(opened, "status", "--json"))["stores"]
    assert (atelier["circuit"]["state"], atelier["circuit"]["failures"]) == ("open", 3)
    assert atelier["circuit"]["asked_again_at"] > atelier["circuit"]["opened_at"]
    assert nordhavn["circuit"] == {"state": "closed", "failures": 0}

    said = ask(opened, "stores", "resume", "atelier", "--reason", "host rebooted")
    assert "resumed after 3 failures" in said
    with opened.database() as database, database.read() as connection:
        (entry,) = entries(connection, subject="atelier")
    assert (entry.action, entry.reason) == ("store.resume", "host rebooted")
    assert [str(one.partition_key) for one in opened.tick(poll_stores).run_requests or []] == [
        "atelier"
    ]
    assert "nothing to resume" in ask(opened, "stores", "resume", "atelier")
    assert json.loads(ask(opened, "stores", "resume", "atelier", "--json"))["resumed"] is None
