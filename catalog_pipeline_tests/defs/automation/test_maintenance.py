"""Maintenance over all stores at once: what goes, what stays, and a store that is in use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster._utils.schedules import get_next_cron_tick

from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.definitions import build_defs
from catalog_pipeline.defs.maintenance import MAINTENANCE_SCHEDULES
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import blob_name
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.prune import prune_files
from catalog_pipeline.settings import load_settings
from catalog_pipeline_tests.defs.automation.shops import Shops


def test_old_walks_go_and_a_store_in_use_is_left_alone(shops: Shops) -> None:
    archive = Archive(DataFolder(load_settings().data_dir))
    with time_machine.travel(datetime.now(UTC) - timedelta(days=60)):
        for store in ("atelier", "nordhavn"):
            shops.store_products(store)
    for store in ("atelier", "nordhavn"):
        shops.store_products(store, walk="full")
        assert len(archive.walk_ids(store)) == 2

    with shops.database() as database, hold_store(database, "nordhavn", "somebody else"):
        run = (
            build_defs()
            .resolve_job_def("prune_archives")
            .execute_in_process(instance=shops.instance)
        )

    assert run.success
    assert len(archive.walk_ids("atelier")) == 1
    assert len(archive.walk_ids("nordhavn")) == 2
    output, records = [
        event.step_output_data
        for op in ("drop_old_walks", "drop_old_records")
        for event in run.events_for_node(op)
        if event.is_successful_output
    ]
    assert records.metadata["removed"] == dg.MetadataValue.int(0)
    assert output.metadata["removed"] == dg.MetadataValue.int(1)
    assert output.metadata["busy"] == dg.MetadataValue.text("nordhavn")


def test_files_that_nothing_refers_to_are_noted_first(shops: Shops) -> None:
    files = DataFolder(load_settings().data_dir)
    files.write(blob_name("a" * 64), b"nobody's")
    run = build_defs().resolve_job_def("prune_files").execute_in_process(instance=shops.instance)

    assert run.success
    (output,) = [
        event.step_output_data for event in run.all_node_events if event.is_successful_output
    ]
    assert output.metadata["waiting"] == dg.MetadataValue.int(1)
    assert output.metadata["removed_blobs"] == dg.MetadataValue.int(0)


def test_what_nothing_refers_to_goes_on_the_day_after_its_week(shops: Shops) -> None:
    (schedule,) = (one for one in MAINTENANCE_SCHEDULES if one.job_name == "prune_files")
    files = DataFolder(load_settings().data_dir)
    name = blob_name("a" * 64)
    files.write(name, b"nobody's")
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    there = []
    with shops.database() as database:
        for number in range(9):
            tick = get_next_cron_tick(str(schedule.cron_schedule), moment, "UTC")
            # A run begins some moments after its tick, sooner on one day than on another.
            moment = tick + timedelta(seconds=30 - number)
            prune_files(database, files, now=moment)
            there.append(files.exists(name))
    assert there == [True] * 8 + [False]


@pytest.mark.parametrize("schedule", MAINTENANCE_SCHEDULES, ids=lambda schedule: schedule.name)
def test_a_service_that_is_away_is_the_one_reason(
    shops: Shops, monkeypatch: pytest.MonkeyPatch, schedule: dg.ScheduleDefinition
) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert len(shops.schedule_tick(schedule, now).run_requests or []) == 1
    monkeypatch.setenv("CATALOG_QDRANT_URL", "http://127.0.0.1:9")
    found = shops.schedule_tick(schedule, now)

    assert not found.run_requests
    assert "Qdrant at 127.0.0.1 cannot be used now" in (found.skip_message or "")
