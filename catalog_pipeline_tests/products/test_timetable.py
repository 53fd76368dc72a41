"""Regular walks: spread over their window, made up for, and not asked for twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import store_states, walks
from catalog_pipeline.products.timetable import (
    asked_again_at,
    last_complete_walks,
    owed_walks,
    read_watermarks,
    seen_whole_at,
    start_of,
)

BEGIN = datetime(2026, 3, 1, 2, tzinfo=UTC)
WINDOW = timedelta(hours=1)
NAMES = [f"store-{number}" for number in range(600)]


def owed(now: datetime, **changes: Any) -> tuple[str, ...]:
    given: dict[str, Any] = {
        "store_ids": NAMES,
        "walked": {},
        "asked": {},
        "unfinished": (),
    } | changes
    return owed_walks(**given, begin=BEGIN, now=now, window=WINDOW)


def test_starts_are_spread_over_the_window() -> None:
    asked: dict[str, datetime | None] = {}
    counts = []
    for tick in range(13):
        started = owed(BEGIN + tick * timedelta(minutes=5), asked=asked)
        assert not asked.keys() & set(started)
        asked |= dict.fromkeys(started)
        counts.append(len(started))

    assert asked.keys() == set(NAMES)
    assert counts[0] == 0
    assert max(counts) <= 80


def test_a_start_never_moves() -> None:
    assert start_of("atelier", BEGIN, WINDOW) - BEGIN == (
        start_of("atelier", BEGIN + timedelta(days=1), WINDOW) - BEGIN - timedelta(days=1)
    )


def test_a_night_that_was_slept_through_is_made_up_for_within_limits() -> None:
    found = owed(BEGIN + timedelta(hours=7))

    assert len(found) == 100
    assert len(owed(BEGIN + timedelta(hours=7), asked=dict.fromkeys(found))) == 100


def test_a_store_that_was_walked_meanwhile_is_owed_nothing() -> None:
    late = BEGIN + timedelta(hours=2)

    assert owed(late, store_ids=["a"], walked={"a": BEGIN + timedelta(minutes=1)}) == ()
    assert owed(late, store_ids=["a"], walked={"a": BEGIN - timedelta(minutes=1)}) == ("a",)
    assert owed(late, store_ids=["a"], unfinished={"a"}) == ()


def test_one_that_was_asked_for_is_owed_again_when_its_pause_is_over() -> None:
    late = BEGIN + timedelta(hours=2)
    ended = late - timedelta(minutes=30)

    assert owed(late, store_ids=["a"], asked={"a": None}) == ()
    assert owed(late, store_ids=["a"], asked={"a": asked_again_at(ended, 1)}) == ("a",)
    assert owed(late, store_ids=["a"], asked={"a": asked_again_at(ended, 2)}) == ()
    assert owed(late, store_ids=["a"], asked={"a": ended}, unfinished={"a"}) == ()
    assert asked_again_at(ended, 99) == ended + timedelta(hours=6)


def test_only_complete_walks_of_the_kind_count(any_database: Database) -> None:
    def walk(
        store: str, walk_id: str, kind: str, moment: datetime, *, complete: bool = True
    ) -> dict[str, Any]:
        return {
            "store_id": store,
            "walk_id": walk_id,
            "kind": kind,
            "complete": complete,
            "server_clock": moment,
            "currency": None,
            "announced": None,
            "seen": 0,
            "processed_at": moment,
        }

    later = BEGIN + timedelta(hours=1)
    rows = [
        walk("a", "1", "full", BEGIN),
        walk("a", "2", "sweep", later),
        walk("a", "3", "incremental", later + WINDOW),
        walk("b", "1", "sweep", BEGIN, complete=False),
    ]
    states: list[dict[str, Any]] = [
        {"store_id": "a", "watermark": BEGIN},
        {"store_id": "b", "watermark": None},
    ]
    with any_database.write() as connection:
        upsert(connection, walks, rows)
        upsert(connection, store_states, states)
    with any_database.read() as connection:
        assert last_complete_walks(connection, {"sweep", "full"}, later) == {"a": later}
        assert last_complete_walks(connection, {"full"}, later) == {"a": BEGIN}
        # Its moment lies in a year that has not come: a clock was ahead when it was processed.
        earlier = later - timedelta(days=365)
        assert last_complete_walks(connection, {"sweep", "full"}, earlier) == {}
        assert seen_whole_at(connection, "a", earlier) is None
        assert seen_whole_at(connection, "a", later - timedelta(minutes=30)) == BEGIN
        assert read_watermarks(connection) == {"a": BEGIN}
