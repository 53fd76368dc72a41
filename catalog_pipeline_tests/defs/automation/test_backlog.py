"""Prices ahead of pictures: which job the sensor chooses, and who does what that leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import time_machine
from dagster import DagsterRunStatus
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import func, select

from catalog_pipeline import backlog
from catalog_pipeline.catalog.schema import embeddings, image_attempts, points, products
from catalog_pipeline.definitions import build_defs
from catalog_pipeline.defs.run_records import settle
from catalog_pipeline.defs.sensors import keep_stores, poll_stores
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline_tests.defs.automation.shops import Shops

QUARTER = timedelta(minutes=15)


@pytest.fixture
def stored(shops: Shops) -> Shops:
    """One store whose rows are there and whose pictures are all owed."""
    shops.leave_only("atelier")
    shops.tick(keep_stores)
    shops.store_products("atelier")
    return shops


def chosen(found: SensorExecutionData) -> list[tuple[str | None, str, str]]:
    return [
        (request.job_name, str(request.partition_key), request.tags["catalog/kind"])
        for request in found.run_requests or []
    ]


def edit(shops: Shops) -> None:
    shop = shops.samples.stores["atelier"]
    for number in shop.product_ids("publish"):
        shop.edit(number, regular_price="3.21", price="3.21")


def record_light_run(shops: Shops) -> None:
    """A run that did no pictures, on record as the sensor that keeps them leaves it."""
    assert shops.run("atelier", **{"catalog/kind": "prices"}).success
    with shops.database() as database:
        settle(shops.instance, database)


def claim(shops: Shops) -> None:
    """Let another run embed."""
    storage = shops.instance.event_log_storage
    storage.initialize_concurrency_limit_to_default("gpu")
    assert storage.claim_concurrency_slot("gpu", "another", "image_embeddings").is_claimed


def test_a_change_is_read_by_the_light_job_while_many_pictures_are_owed(
    stored: Shops, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    edit(stored)
    assert chosen(stored.tick(poll_stores)) == [("sync_store", "atelier", "incremental")]
    monkeypatch.setattr(backlog, "MANY", 3)
    found = stored.tick(poll_stores)
    assert chosen(found) == [("sync_prices", "atelier", "prices")]
    said = capfd.readouterr().err
    assert "atelier: has changed; prices go ahead, since" in said
    assert "pictures are owed: asked for prices" in said
    (request,) = found.run_requests or []
    assert request.tags["dagster/priority"] == "5"
    job = build_defs().resolve_job_def("sync_prices")
    assert dg.validate_run_config(job, request.run_config)


def test_a_change_is_read_by_the_light_job_while_another_run_embeds(stored: Shops) -> None:
    edit(stored)
    claim(stored)
    assert chosen(stored.tick(poll_stores)) == [("sync_prices", "atelier", "prices")]
    record_light_run(stored)
    quiet = stored.tick(poll_stores)
    assert chosen(quiet) == [], "a backlog's run would only wait"
    stored.instance.event_log_storage.free_concurrency_slots_for_run("another")
    assert chosen(stored.tick(poll_stores)) == [("sync_store", "atelier", "backlog")]


def test_what_the_light_job_left_is_taken_up_once_nothing_changed(
    stored: Shops, capfd: pytest.CaptureFixture[str]
) -> None:
    assert chosen(stored.tick(poll_stores)) == [], "no run has left anything yet"
    record_light_run(stored)
    # Whatever is due to be asked: the store's last run speaks for itself.
    found = stored.tick(poll_stores, stored.tick(poll_stores).cursor)
    assert chosen(found) == [("sync_store", "atelier", "backlog")]
    assert "atelier: nothing changed, " in capfd.readouterr().err
    (request,) = found.run_requests or []
    assert request.tags["dagster/priority"] == "-3"

    run = create_run_for_test(
        stored.instance,
        status=DagsterRunStatus.NOT_STARTED,
        tags={"dagster/partition": "another", "catalog/kind": "backlog"},
    )
    assert chosen(stored.tick(poll_stores)) == [], "one at a time"
    stored.instance.report_run_canceled(run)
    edit(stored)
    assert chosen(stored.tick(poll_stores)) == [("sync_store", "atelier", "incremental")]


def test_a_failed_run_is_tried_again_after_a_while_and_a_cancelled_one_is_not(
    stored: Shops,
) -> None:
    instance = stored.instance
    for end, kinds in (
        (instance.report_run_canceled, []),
        (instance.report_run_failed, ["backlog"]),
    ):
        # Ended by an event, because a run that is created in its last state is only dated to a
        # second, and which of two is the later one is then left to chance.
        end(
            create_run_for_test(
                instance, status=DagsterRunStatus.STARTED, tags={"dagster/partition": "atelier"}
            )
        )
        with stored.database() as database:
            settle(instance, database)
        assert chosen(stored.tick(poll_stores)) == []
        with time_machine.travel(datetime.now(UTC) + 3 * QUARTER):
            assert [kind for *_, kind in chosen(stored.tick(poll_stores))] == kinds


def test_a_failed_picture_is_tried_again_at_its_time(stored: Shops) -> None:
    with stored.database() as database, database.write() as connection:
        product = connection.execute(
            select(products.c.product_id, products.c.image_url)
            .where(products.c.image_url.is_not(None), products.c.left_out_by.is_(None))
            .limit(1)
        ).one()
        row = {
            "store_id": "atelier",
            "url": product.image_url,
            "outcome": "failed",
            "failures": 1,
            "attempted_at": datetime.now(UTC),
            "next_attempt_at": datetime.now(UTC) + timedelta(hours=1),
        }
        connection.execute(image_attempts.insert(), row)
    assert chosen(stored.tick(poll_stores)) == []
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2)):
        assert chosen(stored.tick(poll_stores)) == [("sync_store", "atelier", "backlog")]


@pytest.mark.timeout(400)
def test_prices_arrive_first_and_then_every_picture(
    stored: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded runs: whatever the sensor asks for is run, until it asks for nothing more."""
    monkeypatch.setenv("CATALOG_MODEL", DEMO_MODEL)
    monkeypatch.setattr(backlog, "MANY", 3)
    stored.leave_only("atelier", max_images_per_run=6, quality={"min_side": 32})
    run(stored, "sync_store", {"catalog/kind": "first"})
    first = counted(stored)
    assert 0 < first <= 6
    edit(stored)
    kinds: list[str] = []
    cursor: str | None = None
    now = datetime.now(UTC)
    for tick in range(1, 20):
        with time_machine.travel(now + tick * timedelta(minutes=1)):
            found = stored.tick(poll_stores, cursor)
            cursor = found.cursor
            for request in found.run_requests or []:
                kinds.append(request.tags["catalog/kind"])
                before = payloads(stored)
                run(stored, str(request.job_name), request.tags, request.run_config)
                if kinds == ["prices"]:
                    assert counted(stored) == first
                    after = payloads(stored)
                    assert after.keys() == before.keys()
                    assert all(after[key] != before[key] for key in before)
            if not found.run_requests and kinds:
                break
    assert kinds[0] == "prices"
    assert set(kinds[1:]) == {"backlog"}
    with stored.database() as database, database.read() as connection:
        accepted = connection.scalar(select(func.count(image_attempts.c.image_sha256.distinct())))
    assert first < counted(stored) <= (accepted or 0)
    assert len(payloads(stored)) > first
    assert chosen(stored.tick(poll_stores, cursor)) == []


def run(shops: Shops, job: str, tags: Any, config: Any = None, *, recorded: bool = True) -> None:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = (
        build_defs()
        .resolve_job_def(job)
        .execute_in_process(
            instance=shops.instance,
            partition_key="atelier",
            tags=dict(tags),
            run_config={**(config or {}), **quiet},
        )
    )
    assert result.success
    if recorded:
        with shops.database() as database:
            settle(shops.instance, database)


def counted(shops: Shops) -> int:
    with shops.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).select_from(embeddings)) or 0


def payloads(shops: Shops) -> dict[Any, str]:
    with shops.database() as database, database.read() as connection:
        found = connection.execute(select(points.c.point_id, points.c.payload_hash))
        return {row.point_id: row.payload_hash for row in found}
