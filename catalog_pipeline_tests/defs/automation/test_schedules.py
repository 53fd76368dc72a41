"""The schedules at moments of their own: the night, the week, and what keeps a store out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import select

from catalog_pipeline.backlog import may_have_left
from catalog_pipeline.catalog.schema import products
from catalog_pipeline.catalog.syncs import last_whole_syncs
from catalog_pipeline.definitions import build_defs
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.defs.run_records import settle
from catalog_pipeline.defs.schedules import (
    SCHEDULES,
    nightly_light_walks,
    nightly_walks,
    weekly_full_walks,
    weekly_light_walks,
)
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.health.history import days
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


def ended(shops: Shops, request: dg.RunRequest, status: DagsterRunStatus, now: datetime) -> None:
    """Let a run that was asked for have ended then."""
    end = {
        DagsterRunStatus.CANCELED: shops.instance.report_run_canceled,
        DagsterRunStatus.FAILURE: shops.instance.report_run_failed,
    }
    with time_machine.travel(now):
        run = create_run_for_test(
            shops.instance,
            job_name=str(request.job_name),
            status=DagsterRunStatus.STARTED if status in end else status,
            tags={"dagster/partition": str(request.partition_key), **request.tags},
        )
        # Ended by an event, which bears the moment.
        if status in end:
            end[status](run)


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
    ended(stored, request, DagsterRunStatus.CANCELED, night + timedelta(hours=1))
    assert requests(stored, night + timedelta(hours=23)).keys() == {"nordhavn"}
    tomorrow = requests(stored, night + timedelta(hours=25))
    assert tomorrow.keys() == BOTH
    assert tomorrow["atelier"].run_key != request.run_key


@pytest.mark.parametrize(
    ("schedule", "hour", "weekday"),
    [(nightly_walks, 2, None), (weekly_full_walks, 4, 6)],
    ids=["nightly", "weekly"],
)
def test_a_walk_that_failed_is_asked_for_again_after_pauses_that_grow(
    stored: Shops, schedule: dg.ScheduleDefinition, hour: int, weekday: int | None
) -> None:
    now = next_at(hour, weekday=weekday) + timedelta(hours=4)
    keys = []
    for minutes in (30, 60, 120, 240, 360, 360):
        request = requests(stored, now, schedule)["atelier"]
        keys.append(request.run_key)
        ended(stored, request, DagsterRunStatus.FAILURE, now)
        soon = requests(stored, now + timedelta(minutes=minutes - 1), schedule)
        assert soon.keys() == {"nordhavn"}
        now += timedelta(minutes=minutes + 1)
    assert len(set(keys)) == len(keys), "a key that came once starts nothing again"


def test_a_walk_that_ended_well_without_seeing_the_whole_store_waits_for_the_next_round(
    stored: Shops,
) -> None:
    now = next_at(2) + timedelta(hours=1)
    ended(stored, requests(stored, now)["atelier"], DagsterRunStatus.SUCCESS, now)
    assert requests(stored, now + timedelta(hours=12)).keys() == {"nordhavn"}


ROUNDS = [
    (nightly_walks, nightly_light_walks, "nightly"),
    (weekly_full_walks, weekly_light_walks, "full"),
]


@pytest.mark.parametrize(("whole", "light", "walk"), ROUNDS, ids=["nightly", "weekly"])
def test_while_a_run_embeds_the_light_job_walks(
    stored: Shops, whole: dg.ScheduleDefinition, light: dg.ScheduleDefinition, walk: str
) -> None:
    now = next_at(4, weekday=6) + timedelta(hours=4)
    assert requests(stored, now, light) == {}
    assert requests(stored, now, whole).keys() == BOTH
    storage = stored.instance.event_log_storage
    storage.initialize_concurrency_limit_to_default("gpu")
    assert storage.claim_concurrency_slot("gpu", "a first sync", "image_embeddings").is_claimed

    assert requests(stored, now, whole) == {}, "it would only wait, in a slot of the queue"
    found = requests(stored, now, light)
    assert found.keys() == BOTH
    request = found["atelier"]
    assert request.tags["catalog/kind"] == "prices"
    assert request.tags["dagster/priority"] == "0", "after what has changed"
    assert request.run_config == {"ops": {"raw_products": {"config": {"walk": walk}}}}
    job = build_defs().resolve_job_def(light.job_name)
    assert job.name == request.job_name == "sync_prices"
    assert dg.validate_run_config(job, request.run_config)

    ended(stored, request, DagsterRunStatus.CANCELED, now)
    storage.free_concurrency_slots_for_run("a first sync")
    again = requests(stored, now + timedelta(hours=1), whole)
    assert again.keys() == {"nordhavn"}, "a round knows what either of its jobs was asked for"


def test_removals_are_carried_out_while_a_run_embeds(
    stored: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_MODEL", DEMO_MODEL)
    shop = stored.samples.stores["atelier"]
    gone = str(shop.product_ids("publish")[0])
    shop.delete(int(gone))
    storage = stored.instance.event_log_storage
    storage.initialize_concurrency_limit_to_default("gpu")
    assert storage.claim_concurrency_slot("gpu", "a first sync", "image_embeddings").is_claimed
    now = next_at(2) + timedelta(hours=1)
    request = requests(stored, now, nightly_light_walks)["atelier"]
    assert request.job_name is not None
    run = (
        build_defs()
        .resolve_job_def(request.job_name)
        .execute_in_process(
            instance=stored.instance,
            partition_key="atelier",
            tags=dict(request.tags),
            run_config={
                **request.run_config,
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
    )
    assert run.success
    with stored.database() as database, database.read() as connection:
        found = select(products.c.removed_by).where(
            products.c.store_id == "atelier", products.c.external_id == gone
        )
        assert connection.scalar(found) == "absent"
        settle(stored.instance, database)
    with stored.database() as database, database.read() as connection:
        last = last_whole_syncs(connection)["atelier"]
        assert list(days(connection, last.updated_at - timedelta(days=1))) == []
    assert (last.job, last.kind, last.status) == ("sync_prices", "prices", "success")
    assert may_have_left(last), "the backlog sees to its pictures"


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
