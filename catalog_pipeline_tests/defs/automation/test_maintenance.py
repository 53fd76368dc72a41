"""Maintenance over all stores at once: what goes, what stays, and a store that is in use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster._core.test_utils import create_run_for_test

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
    with time_machine.travel(datetime(2026, 3, 1, 11, tzinfo=UTC)):
        shops.store_products("atelier")
    files = DataFolder(load_settings().data_dir)
    name = blob_name("a" * 64)
    files.write(name, b"nobody's")
    there = []
    with shops.database() as database:
        for number in range(9):
            tick = datetime(2026, 3, 1 + number, 12, 30, tzinfo=UTC)
            assert len(requests(shops, schedule, tick, tick + timedelta(minutes=30))) == 1
            # A run begins some moments after its tick, sooner on one day than on another.
            moment = tick + timedelta(seconds=30 - number)
            prune_files(database, files, now=moment)
            there.append(files.exists(name))
    assert there == [True] * 8 + [False]


def requests(
    shops: Shops, schedule: dg.ScheduleDefinition, *moments: datetime
) -> list[dg.RunRequest]:
    """What ticks at these moments ask for; each run is there at once."""
    asked = []
    for moment in moments:
        for request in shops.schedule_tick(schedule, moment).run_requests or []:
            create_run_for_test(shops.instance, job_name=schedule.job_name, tags=dict(request.tags))
            asked.append(request)
    return asked


def test_rounds_go_by_the_zone_of_the_walks_and_are_made_up_for(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_TIMEZONE", "America/Los_Angeles")
    (schedule,) = (one for one in MAINTENANCE_SCHEDULES if one.job_name == "prune_archives")
    # In the morning of a Sunday over there, while the full walks of the week are made.
    sunday = datetime(2026, 3, 1, 15, tzinfo=UTC)
    found = shops.schedule_tick(schedule, sunday)
    assert "nothing was stored when the round began" in (found.skip_message or "")
    with time_machine.travel(sunday):
        shops.store_products("atelier")
    noon = datetime(2026, 3, 1, 20, tzinfo=UTC)
    assert requests(shops, schedule, sunday, noon - timedelta(minutes=30)) == []
    (request,) = requests(shops, schedule, noon, noon + timedelta(minutes=30))
    assert request.tags["catalog/round"].endswith("/2026-03-01T20:00:00+00:00")
    again = shops.schedule_tick(schedule, datetime(2026, 3, 2, tzinfo=UTC))
    assert "the next round begins 2026-03-08 12:00 America" in (again.skip_message or "")
    # By then the clocks over there were put forward; the machine slept till Tuesday.
    tuesday = datetime(2026, 3, 10, 12, tzinfo=UTC)
    (request,) = requests(shops, schedule, tuesday)
    assert request.tags["catalog/round"].endswith("/2026-03-08T19:00:00+00:00")


@pytest.mark.parametrize("schedule", MAINTENANCE_SCHEDULES, ids=lambda schedule: schedule.name)
def test_a_service_that_is_away_is_the_one_reason(
    shops: Shops, monkeypatch: pytest.MonkeyPatch, schedule: dg.ScheduleDefinition
) -> None:
    now = datetime(2026, 3, 1, 14, tzinfo=UTC)
    with time_machine.travel(datetime(2026, 2, 20, tzinfo=UTC)):
        shops.store_products("atelier")
    assert len(shops.schedule_tick(schedule, now).run_requests or []) == 1
    monkeypatch.setenv("CATALOG_QDRANT_URL", "http://127.0.0.1:9")
    found = shops.schedule_tick(schedule, now)

    assert not found.run_requests
    assert "Qdrant at 127.0.0.1 cannot be used now" in (found.skip_message or "")
