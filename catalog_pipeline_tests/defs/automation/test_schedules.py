"""The schedules at moments of their own: the night, the week, and what keeps a store out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.schedules import (
    SCHEDULES,
    nightly_walks,
    weekly_full_walks,
)
from catalog_pipeline_tests.defs.automation.shops import Shops

BOTH = {"atelier", "nordhavn"}


def next_at(hour: int, *, weekday: int | None = None) -> datetime:
    """The next such moment after now, in UTC."""
    moment = datetime.now(UTC).replace(hour=hour, minute=0, second=0, microsecond=0)
    while moment <= datetime.now(UTC) or weekday not in (None, moment.weekday()):
        moment += timedelta(days=1)
    return moment


def requests(
    shops: Shops, now: datetime, schedule: dg.ScheduleDefinition = nightly_walks
) -> dict[str, dg.RunRequest]:
    with time_machine.travel(now):
        found = shops.schedule_tick(schedule, now)
    return {str(request.partition_key): request for request in found.run_requests or []}


@pytest.fixture
def stored(shops: Shops) -> Shops:
    shops.instance.add_dynamic_partitions(STORES, sorted(BOTH))
    for store in BOTH:
        shops.store_products(store)
    return shops


def test_a_night_walks_every_store_once(stored: Shops) -> None:
    night = next_at(2)

    assert requests(stored, night - timedelta(minutes=5)) == {}
    found = requests(stored, night + timedelta(hours=1))
    assert found.keys() == BOTH
    request = found["atelier"]
    assert request.tags["catalog/kind"] == "nightly"
    assert request.tags["dagster/priority"] == "0"
    assert request.run_config == {"ops": {"raw_products": {"config": {"walk": "nightly"}}}}
    with time_machine.travel(night + timedelta(hours=1)):
        create_run_for_test(
            stored.instance,
            status=DagsterRunStatus.FAILURE,
            tags={"catalog/kind": "nightly", "dagster/partition": "atelier"},
        )
    assert requests(stored, night + timedelta(hours=2)).keys() == {"nordhavn"}
    tomorrow = requests(stored, night + timedelta(hours=25))
    assert tomorrow.keys() == BOTH
    assert tomorrow["atelier"].run_key != request.run_key


def test_the_night_begins_where_the_settings_say(
    stored: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_NIGHTLY_CRON", "30 4 * * *")
    monkeypatch.setenv("CATALOG_TIMEZONE", "Asia/Kolkata")
    begin = next_at(23)  # 04:30 in Kolkata

    assert requests(stored, begin - timedelta(minutes=1)) == {}
    assert requests(stored, begin + timedelta(hours=1)).keys() == BOTH


def test_a_store_with_an_unfinished_run_waits(stored: Shops) -> None:
    create_run_for_test(
        stored.instance, status=DagsterRunStatus.STARTED, tags={"dagster/partition": "atelier"}
    )

    assert requests(stored, next_at(2) + timedelta(hours=1)).keys() == {"nordhavn"}


def test_a_store_that_is_paused_or_was_never_synced_is_left_alone(shops: Shops) -> None:
    shops.instance.add_dynamic_partitions(STORES, sorted(BOTH))
    shops.store_products("atelier")
    night = next_at(2) + timedelta(hours=1)

    assert requests(shops, night).keys() == {"atelier"}
    shops.configure({"atelier": {"paused": {"until": "2999-01-01", "reason": "moving"}}})
    assert requests(shops, night) == {}


def test_a_week_reads_every_store_in_full(stored: Shops) -> None:
    sunday = next_at(4, weekday=6)

    assert requests(stored, sunday - timedelta(minutes=5), weekly_full_walks) == {}
    found = requests(stored, sunday + timedelta(hours=4), weekly_full_walks)
    assert found.keys() == BOTH
    assert found["atelier"].run_config == {"ops": {"raw_products": {"config": {"walk": "full"}}}}
    assert found["atelier"].tags["catalog/kind"] == "full"


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_a_service_that_is_away_is_the_one_reason(
    stored: Shops, monkeypatch: pytest.MonkeyPatch, schedule: dg.ScheduleDefinition
) -> None:
    monkeypatch.setenv("CATALOG_QDRANT_URL", "http://127.0.0.1:9")
    found = stored.schedule_tick(schedule, next_at(14, weekday=6))

    assert not found.run_requests
    assert "Qdrant at 127.0.0.1 cannot be used now" in (found.skip_message or "")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
