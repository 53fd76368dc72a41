"""The sensors against stores that answer, a database and an instance; only the daemon is absent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster import DagsterRunStatus
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.test_utils import create_run_for_test

from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.sensors import keep_stores, poll_stores, record_runs
from catalog_pipeline.products.polling import FIRST_WAIT, PollCursor
from catalog_pipeline_tests.defs.automation.shops import Shops

BOTH = ["atelier", "nordhavn"]


def requested(found: SensorExecutionData) -> list[str]:
    return [str(request.partition_key) for request in found.run_requests or []]


def first(found: SensorExecutionData) -> dg.RunRequest:
    assert found.run_requests
    return found.run_requests[0]


def reason(found: SensorExecutionData) -> str:
    assert not found.run_requests
    return found.skip_message or ""


@pytest.fixture
def stored(shops: Shops) -> Shops:
    """Both stores are partitions and their products are stored."""
    shops.tick(keep_stores)
    for store in BOTH:
        shops.store_products(store)
    return shops


def test_new_stores_become_partitions_and_are_synced_once(shops: Shops) -> None:
    found = shops.tick(keep_stores)

    assert shops.instance.get_dynamic_partitions(STORES) == BOTH
    assert requested(found) == BOTH
    request = first(found)
    assert request.tags["catalog/kind"] == "first"
    assert request.run_config == {"ops": {"raw_products": {"config": {"walk": "full"}}}}
    again = shops.tick(keep_stores, found.cursor)
    assert requested(again) == []
    with time_machine.travel(datetime.now(UTC) + 2 * FIRST_WAIT + timedelta(minutes=1)):
        later = shops.tick(keep_stores, again.cursor)
    assert requested(later) == BOTH
    assert first(later).run_key != request.run_key, "a failed run blocks its key for ever"


def test_a_store_with_a_run_under_way_gets_no_first_sync(shops: Shops) -> None:
    create_run_for_test(
        shops.instance, status=DagsterRunStatus.NOT_STARTED, tags={"dagster/partition": "atelier"}
    )

    assert requested(shops.tick(keep_stores)) == ["nordhavn"]


def test_a_store_that_is_stored_gets_no_first_sync(stored: Shops) -> None:
    found = stored.tick(keep_stores)

    assert requested(found) == []
    assert "the partitions are those of the file" in reason(found)


def test_a_removed_store_is_reported_and_keeps_its_partition(stored: Shops) -> None:
    stored.leave_only("atelier")
    found = stored.tick(keep_stores)

    assert "catalog stores empty STORE`: nordhavn" in reason(found)
    assert stored.instance.get_dynamic_partitions(STORES) == BOTH
    assert requested(stored.tick(poll_stores)) == []
    assert stored.samples.stores["nordhavn"].traffic.count("products", status=200) > 0


@pytest.mark.parametrize(
    "rest", [{"active": False}, {"paused": {"until": "2999-01-01", "reason": "moving house"}}]
)
def test_a_resting_store_is_a_partition_and_is_not_asked(
    shops: Shops, rest: dict[str, object]
) -> None:
    shops.configure({"nordhavn": rest})
    found = shops.tick(keep_stores)

    assert requested(found) == ["atelier"]
    assert shops.instance.get_dynamic_partitions(STORES) == BOTH
    shops.tick(poll_stores)
    assert shops.samples.stores["nordhavn"].traffic.count() == 0


def test_a_wrong_file_leaves_the_accepted_one_in_force(stored: Shops) -> None:
    stored.tick(keep_stores)
    stored.stores_file.write_text("stores:\n  - id: Atelier!\n")
    found = stored.tick(keep_stores)

    assert "is wrong, so the version accepted on" in reason(found)
    assert ":2: stores[0].id" in reason(found)
    assert stored.instance.get_dynamic_partitions(STORES) == BOTH
    shop = stored.samples.stores["atelier"]
    shop.edit(shop.product_ids()[0], regular_price="2.00")
    assert requested(stored.tick(poll_stores)) == ["atelier"]
    assert stored.run("atelier").success, "runs use the accepted version too"
    stored.configure()
    assert "wrong" not in reason(stored.tick(keep_stores))


def test_a_file_that_was_never_right_is_the_one_reason(shops: Shops) -> None:
    shops.stores_file.write_text("stores: []\n")
    found = shops.tick(keep_stores)

    assert "must be a list with at least one store" in reason(found)


def test_an_edit_is_found_and_asks_for_exactly_one_run(stored: Shops) -> None:
    quiet = stored.tick(poll_stores)
    assert requested(quiet) == []
    assert "2 stores asked, no change" in reason(quiet)

    shop = stored.samples.stores["atelier"]
    shop.edit(shop.product_ids()[0], regular_price="3.21")
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=15)):
        found = stored.tick(poll_stores, quiet.cursor)
    assert requested(found) == ["atelier"]
    request = first(found)
    assert request.tags["catalog/kind"] == "incremental"
    assert request.tags["dagster/priority"] == "5"
    assert request.tags["dagster/partition"] == "atelier"
    assert request.run_config == {"ops": {"raw_products": {"config": {"walk": "incremental"}}}}

    run = create_run_for_test(
        stored.instance, status=DagsterRunStatus.STARTED, tags={"dagster/partition": "atelier"}
    )
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=30)):
        waiting = stored.tick(poll_stores, found.cursor)
    assert requested(waiting) == []
    assert "has a run that is not over" in reason(waiting)

    stored.instance.report_run_canceled(run)
    stored.store_products("atelier")
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=45)):
        assert requested(stored.tick(poll_stores, waiting.cursor)) == []


def test_a_store_that_our_own_fault_keeps_silent_is_remembered_until_it_answers_or_is_paused(
    stored: Shops,
) -> None:
    stored.configure({"atelier": {"consumer_key": {"env": "NOT_SET"}}})
    silent = stored.tick(poll_stores)
    begun = PollCursor.read(silent.cursor).unanswered
    assert list(begun) == ["atelier"]
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=15)):
        still = stored.tick(poll_stores, silent.cursor)
        assert PollCursor.read(still.cursor).unanswered == begun
    stored.configure({"atelier": {"paused": {"until": "2999-01-01", "reason": "moving"}}})
    assert PollCursor.read(stored.tick(poll_stores, still.cursor).cursor).unanswered == {}
    stored.configure()
    assert PollCursor.read(stored.tick(poll_stores).cursor).unanswered == {}


def test_a_dead_store_is_named_and_stops_no_other(
    stored: Shops, capfd: pytest.CaptureFixture[str]
) -> None:
    stored.configure({"nordhavn": {"url": "http://127.0.0.1:9"}})
    shop = stored.samples.stores["atelier"]
    shop.edit(shop.product_ids()[0], regular_price="2.00")
    found = stored.tick(poll_stores)

    assert requested(found) == ["atelier"]
    assert "nordhavn: no answer" in capfd.readouterr().err


def test_a_data_folder_that_cannot_be_used_is_the_one_reason(
    stored: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored.folder / "file").write_text("")
    monkeypatch.setenv("CATALOG_DATA_DIR", str(stored.folder / "file"))
    for sensor in (keep_stores, poll_stores, record_runs):
        found = stored.tick(sensor)
        assert "cannot be used now" in reason(found)


def test_a_database_that_is_away_is_the_one_reason(
    stored: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_DATABASE_URL", "postgresql+psycopg://u:pw-9@127.0.0.1:9/catalog")
    found = stored.tick(poll_stores)

    assert "cannot be used now" in reason(found)
    assert "pw-9" not in reason(found)


def test_a_qdrant_that_is_away_is_the_one_reason(
    stored: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_QDRANT_URL", "http://127.0.0.1:9")
    found = stored.tick(poll_stores)

    assert "Qdrant at 127.0.0.1 cannot be used now" in reason(found)


def test_wrong_settings_are_the_one_reason(stored: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_BATCH_SIZE", "wrong")

    assert "CATALOG_BATCH_SIZE" in reason(stored.tick(keep_stores))
