"""Run records: derived from Dagster, so they tell the truth of runs that died too."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.test_utils import create_run_for_test

from catalog_pipeline.catalog.syncs import Sync, last_syncs, standing_failures
from catalog_pipeline.defs import run_records
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.run_records import settle, sync_links
from catalog_pipeline.defs.runs import EXECUTED_BY
from catalog_pipeline.defs.sensors import poll_stores, record_runs
from catalog_pipeline.processes import this_process
from catalog_pipeline_tests.defs.automation.shops import Shops


@pytest.fixture
def shops(shops: Shops) -> Shops:
    shops.instance.add_dynamic_partitions(STORES, ["atelier", "nordhavn"])
    return shops


def recorded(shops: Shops, store: str = "atelier") -> list[Sync]:
    with shops.database() as database:
        settle(shops.instance, database)
        with database.read() as connection:
            return last_syncs(connection, store, 10)


def test_a_run_is_recorded_with_what_it_did(shops: Shops) -> None:
    run = shops.run("atelier", **{"catalog/kind": "incremental"})
    (sync,) = recorded(shops)

    assert sync.run_id == run.run_id
    assert (sync.status, sync.kind, sync.walk_kind) == ("success", "incremental", "full")
    assert sync.error is None
    assert sync.retries == 0
    assert sync.started_at is not None
    assert sync.completed_at is not None
    assert sync.started_at < sync.completed_at <= datetime.now(UTC)
    assert sync.counts["raw_products"]["products"] == sync.counts["products"]["seen"] > 5
    assert sync.counts["products"]["live"] > 5
    assert recorded(shops, "nordhavn") == []


def test_a_failed_run_is_recorded_with_its_reason(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_CONSUMER_SECRET", "cs_wrong")
    run = shops.run("atelier")
    (sync,) = recorded(shops)

    assert not run.success
    assert (sync.status, sync.kind) == ("failure", "hand")
    assert "raw_products: store atelier" in (sync.error or "")
    assert "cs_wrong" not in str(sync)


def test_a_killed_process_ends_as_a_failed_record(shops: Shops) -> None:
    script = "from catalog_pipeline.processes import this_process; print(this_process())"
    dead = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for owner in (dead, this_process()):
        run_id = str(uuid4())
        create_run_for_test(
            shops.instance,
            run_id=run_id,
            status=DagsterRunStatus.STARTED,
            tags={"dagster/partition": "atelier", EXECUTED_BY: f"{owner}|{run_id}"},
        )
    assert {sync.status for sync in recorded(shops)} == {"started"}

    assert not shops.tick(record_runs).run_requests
    found = {sync.status: sync for sync in recorded(shops)}
    assert found.keys() == {"failure", "started"}
    assert found["failure"].completed_at is not None
    assert "The process that executed this run is gone" in (found["failure"].error or "")


def test_a_step_that_waits_for_a_free_slot_in_vain_is_handed_it(shops: Shops) -> None:
    """As where the slot was freed between Dagster's look at it and the step's joining the queue."""
    storage = shops.instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    storage.set_concurrency_slots("gpu", 1)
    for run, is_handed in (("first", True), ("second", False)):
        storage.add_pending_step("gpu", run, "image_embeddings", should_assign=False)
        assert not storage.claim_concurrency_slot("gpu", run, "image_embeddings").is_claimed
        shops.tick(record_runs)
        claimed = storage.claim_concurrency_slot("gpu", run, "image_embeddings")
        # One at a time, all the same.
        assert claimed.is_claimed is is_handed
    storage.free_concurrency_slots_for_run("first")
    assert storage.claim_concurrency_slot("gpu", "second", "image_embeddings").is_claimed


def test_a_run_that_goes_on_is_recorded_until_it_ends(shops: Shops) -> None:
    run = create_run_for_test(
        shops.instance, status=DagsterRunStatus.STARTED, tags={"dagster/partition": "atelier"}
    )
    assert [sync.status for sync in recorded(shops)] == ["started"]
    shops.instance.report_run_canceled(run)
    assert [sync.status for sync in recorded(shops)] == ["canceled"]


def test_a_run_that_dagster_forgot_does_not_go_on_for_ever(shops: Shops) -> None:
    run = create_run_for_test(
        shops.instance, status=DagsterRunStatus.STARTED, tags={"dagster/partition": "atelier"}
    )
    recorded(shops)
    shops.instance.delete_run(run.run_id)
    (sync,) = recorded(shops)

    assert sync.status == "failure"
    assert sync.error == "Dagster no longer knows this run."


def test_runs_of_no_store_are_not_recorded_and_a_page_is_no_limit(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_records, "_PAGE", 2)
    create_run_for_test(shops.instance, status=DagsterRunStatus.SUCCESS)
    for _ in range(5):
        create_run_for_test(
            shops.instance, status=DagsterRunStatus.CANCELED, tags={"dagster/partition": "atelier"}
        )
    with shops.database() as database:
        assert settle(shops.instance, database) == 5
        assert settle(shops.instance, database) == 0


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_store_whose_runs_fail_is_asked_for_less_often(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops.store_products("atelier")
    shop = shops.samples.stores["atelier"]
    shop.edit(shop.product_ids()[0], regular_price="2.00")
    assert shops.tick(poll_stores).run_requests
    with monkeypatch.context() as patch:
        # Our own trouble: one of the store's would be told by its circuit breaker.
        patch.setattr("catalog_pipeline.defs.products.sync_products", full_disk)
        for _ in range(2):
            assert not shops.run("atelier").success
    recorded(shops)
    with shops.database() as database, database.read() as connection:
        assert len(standing_failures(connection, "atelier")) == 2

    found = shops.tick(poll_stores)
    assert not found.run_requests
    assert "its last runs failed" in (found.skip_message or "")


def test_points_lead_to_their_run_and_the_runs_before(shops: Shops) -> None:
    before = shops.run("atelier")
    with shops.database() as database:
        links = sync_links(shops.instance, database, "atelier", "this-run")

    assert links["sync"] == dg.MetadataValue.dagster_run("this-run")
    table = links["earlier_syncs"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["run"] for record in table.records] == [before.run_id[:8]]
    assert table.records[0].data["status"] == "success"
