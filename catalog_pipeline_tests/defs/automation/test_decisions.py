"""What people decide reaches the collection without a walk, so that a store may be down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import time_machine
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import func, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.overrides import Decision, hide_product, judge_image, withdraw
from catalog_pipeline.catalog.removal_approvals import approve_products
from catalog_pipeline.catalog.schema import points, removal_waits, walks
from catalog_pipeline.defs import sensors
from catalog_pipeline.defs.sensors import keep_stores, poll_stores
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.products.circuit import FAILURES_TO_OPEN, record_failure
from catalog_pipeline_tests.defs.automation.shops import Shops, open_shops
from catalog_pipeline_tests.defs.automation.test_backlog import chosen, run

WORD = Decision("kim", "recalled")
CARRIED_OUT = [("carry_out", "atelier", "prices")]


@pytest.fixture(scope="module")
def synced(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    """One store that was synced whole, and that does not answer any more; to be copied."""
    folder = tmp_path_factory.mktemp("synced")
    with pytest.MonkeyPatch.context() as patch, open_shops(folder, empty_home, patch) as shops:
        patch.setenv("CATALOG_MODEL", DEMO_MODEL)
        shops.leave_only("atelier", quality={"min_side": 32})
        shops.tick(keep_stores)
        run(shops, "sync_store", {"catalog/kind": "first"})
        shops.samples.stores["atelier"].faults.forbid_rest_api()
        with shops.database() as database:
            for _ in range(FAILURES_TO_OPEN):
                record_failure(database, "atelier", "walk", "answered 502")
        assert chosen(shops.tick(poll_stores)) == []
        yield shops


@pytest.fixture
def loaded(synced: Shops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """The same, for one test's own decisions."""
    monkeypatch.setenv("CATALOG_MODEL", DEMO_MODEL)
    with synced.copy(tmp_path, monkeypatch) as own:
        yield own


def shown(shops: Shops) -> set[UUID]:
    with shops.database() as database, database.read() as connection:
        return set(connection.scalars(select(points.c.product_id)))


def in_database(shops: Shops, act: Callable[[Database], Any]) -> Any:
    with shops.database() as database:
        return act(database)


def carry_out(shops: Shops) -> None:
    """Run what the sensor asks for; that is one run, and none after it."""
    found = shops.tick(poll_stores)
    assert chosen(found) == CARRIED_OUT
    (request,) = found.run_requests or []
    assert request.tags["dagster/priority"] == "5"
    run(shops, str(request.job_name), request.tags, request.run_config)
    assert chosen(shops.tick(poll_stores)) == []


def test_a_recall_is_carried_out_and_ended_while_the_store_is_down(loaded: Shops) -> None:
    before = shown(loaded)
    recalled, other = sorted(before)[:2]
    in_database(loaded, lambda database: hide_product(database, recalled, WORD))
    carry_out(loaded)
    assert shown(loaded) == before - {recalled}

    in_database(loaded, lambda one: withdraw(one, recalled, who="kim", reason="mended"))
    carry_out(loaded)
    assert shown(loaded) == before

    tomorrow = datetime.now(UTC) + timedelta(days=1)
    word = Decision("kim", "on the way back", tomorrow)
    in_database(loaded, lambda database: hide_product(database, other, word))
    carry_out(loaded)
    assert shown(loaded) == before - {other}
    with time_machine.travel(tomorrow + timedelta(minutes=1)):
        carry_out(loaded)
    assert shown(loaded) == before


@pytest.mark.parametrize(
    "keys",
    [{"active": False}, {"paused": {"until": "2999-01-01", "reason": "moving house"}}],
    ids=["inactive", "paused"],
)
def test_a_recall_is_carried_out_in_a_store_that_is_not_read(
    loaded: Shops, keys: dict[str, Any]
) -> None:
    loaded.leave_only("atelier", quality={"min_side": 32}, **keys)
    before = shown(loaded)
    recalled = min(before)
    in_database(loaded, lambda database: hide_product(database, recalled, WORD))
    carry_out(loaded)
    assert shown(loaded) == before - {recalled}


def test_nothing_is_carried_out_in_a_store_that_left_the_file(loaded: Shops) -> None:
    recalled = min(shown(loaded))
    in_database(loaded, lambda database: hide_product(database, recalled, WORD))
    loaded.leave_only("nordhavn")
    assert chosen(loaded.tick(poll_stores)) == []


def test_a_picture_is_rejected_wherever_it_is_served(loaded: Shops) -> None:
    with loaded.database() as database, database.read() as connection:
        picture = connection.scalar(select(func.min(points.c.image_sha256)))
    assert picture is not None
    before = shown(loaded)
    in_database(loaded, lambda database: judge_image(database, picture, WORD, accepted=False))
    carry_out(loaded)
    assert shown(loaded) < before
    in_database(loaded, lambda one: withdraw(one, picture, who="kim", reason="mended"))
    carry_out(loaded)
    assert shown(loaded) == before


def test_approved_removals_go_without_another_walk(loaded: Shops) -> None:
    before = shown(loaded)
    gone = min(before)
    with loaded.database() as database:
        with database.write() as connection:
            walk_id = connection.scalar(select(func.max(walks.c.walk_id)))
            connection.execute(
                removal_waits.insert(),
                {"product_id": gone, "store_id": "atelier", "reason": "absent", "walk_id": walk_id},
            )
        assert chosen(loaded.tick(poll_stores)) == []
        approve_products(database, "atelier", 1, who="kim", reason="closing down")
    carry_out(loaded)
    assert shown(loaded) == before - {gone}


def test_one_at_a_time_and_never_beside_a_run_of_the_store(loaded: Shops) -> None:
    recalled = min(shown(loaded))
    in_database(loaded, lambda database: hide_product(database, recalled, WORD))
    for tags, job in (({"dagster/partition": "atelier"}, "sync_store"), ({}, "carry_out")):
        going_on = create_run_for_test(
            loaded.instance, job_name=job, status=DagsterRunStatus.STARTED, tags=tags
        )
        assert chosen(loaded.tick(poll_stores)) == []
        loaded.instance.report_run_canceled(going_on)
    assert chosen(loaded.tick(poll_stores)) == CARRIED_OUT


def test_one_that_failed_is_tried_again_after_a_while(loaded: Shops) -> None:
    recalled = min(shown(loaded))
    in_database(loaded, lambda database: hide_product(database, recalled, WORD))
    failed = create_run_for_test(
        loaded.instance,
        job_name="carry_out",
        status=DagsterRunStatus.STARTED,
        tags={"dagster/partition": "atelier"},
    )
    loaded.instance.report_run_failed(failed)
    assert chosen(loaded.tick(poll_stores)) == [], "its end is put on record first"
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=31)):
        assert chosen(loaded.tick(poll_stores)) == CARRIED_OUT


def test_no_tick_asks_for_more_than_its_share(
    loaded: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalled = min(shown(loaded))
    in_database(loaded, lambda database: hide_product(database, recalled, WORD))
    monkeypatch.setattr(sensors, "MOST_REQUESTS", 0)
    assert chosen(loaded.tick(poll_stores)) == []


def test_what_a_run_did_that_is_not_on_record_yet_is_not_asked_for_again(
    loaded: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalled = min(shown(loaded))
    in_database(loaded, lambda database: hide_product(database, recalled, WORD))
    found = loaded.tick(poll_stores)
    (request,) = found.run_requests or []
    run(loaded, str(request.job_name), request.tags, request.run_config, recorded=False)
    assert chosen(loaded.tick(poll_stores)) == []
