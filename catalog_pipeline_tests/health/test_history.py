"""Days made of runs, on both databases, and what is drawn of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import text

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.syncs import Sync, record_syncs
from catalog_pipeline.drawing.encoding import webp
from catalog_pipeline.exhibits.trends import TREND_BYTES, trends
from catalog_pipeline.health.history import Day, days, newest_end
from catalog_pipeline.health.overview import points_before

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def sync(number: int, at: datetime, points: int, **changes: Any) -> Sync:
    return Sync(
        **{
            "run_id": f"run-{number}",
            "store_id": "shop",
            "job": "sync_store",
            "kind": "incremental",
            "status": "success",
            "walk_kind": "incremental",
            "counts": {
                "products": {"live": points + 1},
                "product_images": {"accepted": 3, "rejected: blurry": 1, "rejected: small": 2},
                "qdrant_points": {"points": points},
            },
            "error": None,
            "retries": 0,
            "started_at": at,
            "completed_at": at,
            "updated_at": at,
        }
        | changes
    )


def test_a_day_is_its_last_good_run_of_the_whole_store(any_database: Database) -> None:
    yesterday = NOON - timedelta(days=1)
    hour = timedelta(hours=1)
    with any_database.write() as connection:
        record_syncs(
            connection,
            [
                sync(1, NOON - timedelta(days=40), 1),
                sync(2, yesterday - hour, 10),
                sync(3, yesterday, 20),
                sync(4, yesterday + hour, 30, status="failure"),
                sync(5, yesterday + hour, 30, kind="prices"),
                sync(6, yesterday + hour, 30, walk_kind="product"),
                sync(7, NOON, 40, counts={"products": {"live": 7}}),
                sync(8, NOON, 50, store_id="other", walk_kind=None),
                sync(9, NOON + hour, 60, store_id="other", status="started"),
            ],
        )
        found = list(days(connection, NOON - timedelta(days=30)))
        alone = list(days(connection, NOON - timedelta(days=30), ["shop"]))
        newest = newest_end(connection)

    assert found == [
        Day("other", NOON, 51, 50, 3, 3),
        Day("shop", yesterday, 21, 20, 3, 3),
        Day("shop", NOON, 7, None, None, 0),
    ]
    assert [day.acceptance for day in found] == [0.5, 0.5, None]
    assert alone == found[1:]
    assert newest == NOON


PRICES = {"products": {"live": 9}, "qdrant_points": {"points": 8}}
PICTURES = {"product_images": {"accepted": 5, "rejected: small": 1}}


def test_a_run_that_counts_less_hides_nothing_of_its_day(any_database: Database) -> None:
    hour = timedelta(hours=1)
    with any_database.write() as connection:
        record_syncs(
            connection,
            [
                sync(1, NOON, 40),
                sync(2, NOON + hour, 0, job="sync_prices", kind="hand", counts=PRICES),
                sync(3, NOON + 2 * hour, 0, job="carry_out", walk_kind=None, counts={}),
                sync(4, NOON, 50, store_id="other"),
                sync(5, NOON + hour, 0, store_id="other", walk_kind=None, counts=PICTURES),
            ],
        )
        found = list(days(connection, NOON - timedelta(days=30)))

    assert found == [
        Day("other", NOON + hour, 51, 50, 5, 1),
        Day("shop", NOON + 2 * hour, 9, 8, 3, 3),
    ]


def test_a_day_is_one_in_utc(any_database: Database) -> None:
    midnight = NOON.replace(hour=0)
    with any_database.write() as connection:
        if any_database.is_postgresql:
            connection.execute(text("SET LOCAL TIME ZONE 'Pacific/Auckland'"))
        ends = (midnight - timedelta(hours=1), midnight, midnight + timedelta(hours=23))
        runs = [sync(number, at, number) for number, at in enumerate(ends)]
        record_syncs(connection, runs)
        found = list(days(connection, NOON - timedelta(days=30)))

    assert [(day.at, day.points) for day in found] == [(ends[0], 0), (ends[2], 2)]


def test_the_week_before_is_the_last_day_that_is_a_week_old() -> None:
    history = [
        Day("shop", NOON - timedelta(days=ago), 1, points, 1, 0)
        for ago, points in ((9, 1), (8, 2), (6, 3), (0, 4))
    ]
    history.append(Day("new", NOON - timedelta(days=6), 1, 5, 1, 0))

    assert points_before(history, NOON) == {"shop": 2}


def month(stores: int) -> list[Day]:
    rng = np.random.default_rng(5)
    return [
        Day(
            f"store-{store:02} $\\frac",
            NOON + timedelta(days=number),
            100,
            int(100 * store + rng.integers(0, 40)),
            int(rng.integers(70, 95)),
            10,
        )
        for store in range(stores)
        for number in range(30)
    ]


def test_the_stores_are_drawn_small_and_only_when_they_change() -> None:
    history = month(20)
    exhibit = trends(history)
    assert exhibit is not None
    assert len(webp(exhibit.draw(), exhibit.most_bytes)) <= TREND_BYTES
    assert "20 stores" in exhibit.title
    later = [
        Day(day.store_id, day.at + timedelta(hours=1), day.live, *_counts(day)) for day in history
    ]
    assert getattr(trends(later), "digest", "") == exhibit.digest, "the same on the same days"
    assert getattr(trends(month(19)), "digest", "") != exhibit.digest


def _counts(day: Day) -> tuple[int | None, int | None, int | None]:
    return day.points, day.accepted, day.rejected


def test_there_is_nothing_to_draw_before_the_first_points() -> None:
    assert trends([]) is None
    assert trends([Day("shop", NOON, 1, None, None, 0)]) is None
    only = trends([Day("shop", NOON, 1, 5, None, 0)])
    assert only is not None
    assert only.draw().width > 300
