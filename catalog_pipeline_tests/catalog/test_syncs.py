"""The record of runs, as it is kept and asked for, on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import store_states
from catalog_pipeline.catalog.syncs import (
    Sync,
    drop_old_syncs,
    finished_run_ids,
    forget_runs,
    last_syncs,
    last_whole_syncs,
    newest_change,
    record_syncs,
    standing_failures,
    unfinished_run_ids,
)

BEGAN = datetime(2026, 3, 1, 2, 0, 0, 250_000, tzinfo=UTC)
SYNC = Sync(
    run_id="r1",
    store_id="atelier",
    job="sync_store",
    kind="nightly",
    status="success",
    walk_kind="incremental + sweep",
    counts={"products": {"new": 3, "left out: status:draft": 1, "rate": 0.5}},
    error=None,
    retries=1,
    started_at=BEGAN,
    completed_at=BEGAN + timedelta(minutes=4),
    updated_at=BEGAN + timedelta(minutes=4),
)


def later(minutes: int, **changes: object) -> Sync:
    moment = BEGAN + timedelta(minutes=minutes)
    given = {"run_id": f"r{minutes}", "completed_at": moment, "updated_at": moment}
    return replace(SYNC, **{**given, **changes})  # type: ignore[arg-type]


def keep(database: Database, *found: Sync) -> None:
    with database.write() as connection:
        record_syncs(connection, found)


def test_a_record_is_kept_exactly_and_replaced_by_a_newer_one(any_database: Database) -> None:
    going = replace(SYNC, status="started", counts={}, completed_at=None)
    keep(any_database, going)
    with any_database.read() as connection:
        assert last_syncs(connection, "atelier") == [going]
        assert unfinished_run_ids(connection) == {"r1"}
    keep(any_database, SYNC)
    with any_database.read() as connection:
        assert last_syncs(connection, "atelier") == [SYNC]
        assert unfinished_run_ids(connection) == set()
        assert finished_run_ids(connection, ["r1", "r2"]) == {"r1"}
        assert newest_change(connection) == SYNC.updated_at
        assert last_syncs(connection, "nordhavn") == []


def test_the_newest_come_first(any_database: Database) -> None:
    keep(any_database, later(10), later(30), later(20), later(40, store_id="nordhavn"))
    with any_database.read() as connection:
        assert [sync.run_id for sync in last_syncs(connection, "atelier", 2)] == ["r30", "r20"]


def test_failures_stand_until_a_run_makes_up_for_them(any_database: Database) -> None:
    keep(
        any_database,
        later(10, status="failure"),
        later(20),
        later(30, status="failure"),
        later(40, status="failure"),
        later(45, status="canceled"),
        later(50, status="started", completed_at=None),
    )
    with any_database.read() as connection:
        found = standing_failures(connection, "atelier")
        assert [sync.run_id for sync in found] == ["r40", "r30"]
        assert standing_failures(connection, "nordhavn") == []


PRICES: dict[str, object] = {
    "job": "sync_prices",
    "counts": {"raw_products": {}, "products": {}, "qdrant_points": {}},
}
STAGES = ("raw_products", "products", "product_images", "image_embeddings", "qdrant_points")
BY_HAND: dict[str, object] = {"job": "__ASSET_JOB"}
OF_ALL: dict[str, object] = {"counts": {stage: {} for stage in STAGES}}


@pytest.mark.parametrize(
    ("failed", "later_run", "made_up"),
    [
        ({}, {}, True),
        ({"error": "image_embeddings: no model"}, PRICES, False),
        ({"error": "products: the disk is full"}, PRICES, True),
        (PRICES, PRICES, True),
        (PRICES | {"error": "raw_products: answered 503"}, OF_ALL, True),
        (PRICES, OF_ALL, True),
        ({}, {"walk_kind": "product"}, False),
        ({"walk_kind": "product"}, {"walk_kind": "product"}, True),
        (BY_HAND | {"error": "products: the disk is full"}, BY_HAND, True),
        (BY_HAND | {"error": "image_embeddings: no model"}, BY_HAND, False),
        (BY_HAND, BY_HAND, False),
        (BY_HAND, BY_HAND | OF_ALL, True),
        ({}, {"status": "failure"}, False),
    ],
)
def test_a_run_makes_up_for_what_it_went_through(
    failed: Mapping[str, object], later_run: Mapping[str, object], made_up: bool
) -> None:
    earlier = later(10, **{"status": "failure", **failed})
    assert later(20, **later_run).makes_up_for(earlier) is made_up


def test_only_runs_that_went_on_are_closed_when_they_are_forgotten(any_database: Database) -> None:
    keep(any_database, later(10), later(20, status="queued", completed_at=None))
    with any_database.write() as connection:
        forget_runs(connection, {"r10", "r20"})
    with any_database.read() as connection:
        closed, untouched = last_syncs(connection, "atelier", 2)
    assert (closed.status, closed.is_finished) == ("failure", True)
    assert untouched == later(10)


def test_the_last_whole_run_of_every_store_is_told_at_once(any_database: Database) -> None:
    whole, other = later(3), later(4, store_id="nordhavn", status="failure")
    going = later(6, status="started", walk_kind=None)
    keep(any_database, later(2), whole, later(5, walk_kind="product"), going, other)
    with any_database.write() as connection:
        upsert(connection, store_states, [{"store_id": one} for one in ("atelier", "nordhavn")])
    with any_database.read() as connection:
        assert last_whole_syncs(connection) == {"atelier": whole, "nordhavn": other}


def test_old_records_go_but_for_the_newest_of_each_store_and_what_goes_on(
    any_database: Database,
) -> None:
    busy = [later(minutes) for minutes in range(150)]
    quiet = [later(minutes, store_id="quiet", run_id=f"q{minutes}") for minutes in range(3)]
    going = later(0, store_id="atelier", run_id="going", status="started", completed_at=None)
    keep(any_database, *busy, *quiet, going)
    before = BEGAN + timedelta(minutes=120)
    with any_database.write() as connection:
        assert drop_old_syncs(connection, before) == 50
        assert drop_old_syncs(connection, before) == 0
    with any_database.read() as connection:
        left = last_syncs(connection, "atelier", 1000)
        assert [sync.run_id for sync in left] == [
            *(f"r{minutes}" for minutes in reversed(range(50, 150))),
            "going",
        ]
        assert last_syncs(connection, "quiet", 1000) == list(reversed(quiet))


def test_no_young_record_goes_however_many_there_are(any_database: Database) -> None:
    keep(any_database, *(later(minutes) for minutes in range(150)))
    with any_database.write() as connection:
        assert drop_old_syncs(connection, BEGAN) == 0
