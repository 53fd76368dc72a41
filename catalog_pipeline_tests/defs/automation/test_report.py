"""When the report is made again: soon after syncs, once for many, and every hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from catalog_pipeline.catalog.syncs import record_syncs
from catalog_pipeline.defs.report import ReportCursor, refresh_report
from catalog_pipeline_tests.defs.automation.shops import Shops
from catalog_pipeline_tests.health.test_history import sync

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("waited", "is_news", "is_at_rest", "is_due"),
    [
        (9, True, False, False),
        (10, True, False, True),
        (1, True, True, False),
        (2, True, True, True),
        (59, False, True, False),
        (60, False, False, True),
        (0, True, True, False),
    ],
)
def test_news_waits_minutes_and_silence_an_hour(
    waited: int, is_news: bool, is_at_rest: bool, is_due: bool
) -> None:
    cursor = ReportCursor(asked_at=NOW - waited * MINUTE, seen=NOW - 100 * MINUTE)
    newest = cursor.seen + MINUTE if is_news and cursor.seen else cursor.seen

    assert cursor.is_due(newest, NOW, is_at_rest=is_at_rest) is is_due


def test_many_syncs_bring_one_report(shops: Shops) -> None:
    def asked(at: datetime, cursor: str | None) -> tuple[int, str | None]:
        with time_machine.travel(at, tick=False):
            found = shops.tick(refresh_report, cursor)
        return len(found.run_requests or []), found.cursor or cursor

    def ended(first: int, at: datetime) -> None:
        with shops.database() as database, database.write() as connection:
            record_syncs(
                connection,
                [sync(number, at, 1, store_id=f"s{number}") for number in range(first, first + 50)],
            )

    count, waiting = asked(NOW - 5 * MINUTE, None)
    assert count == 0, "before the first sync, every store would be stale"
    ended(100, NOW - 4 * MINUTE)
    count, cursor = asked(NOW, waiting)
    assert count == 1, "the first syncs are over"
    create_run_for_test(
        shops.instance, status=DagsterRunStatus.STARTED, tags={"dagster/partition": "atelier"}
    )
    ended(0, NOW + MINUTE)
    assert asked(NOW + 3 * MINUTE, cursor)[0] == 0, "another store is being synced"
    ended(50, NOW + 5 * MINUTE)
    assert asked(NOW + 6 * MINUTE, cursor)[0] == 0
    count, after = asked(NOW + 11 * MINUTE, cursor)
    assert count == 1, "one for a hundred syncs"
    assert asked(NOW + 30 * MINUTE, after)[0] == 0, "nothing came since"
    assert asked(NOW + 71 * MINUTE, after)[0] == 1
    create_run_for_test(shops.instance, job_name="report_stores", status=DagsterRunStatus.STARTED)
    assert asked(NOW + 71 * MINUTE, after)[0] == 0, "one is being made"


def test_a_database_that_is_away_is_the_reason(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOG_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/none")

    found = shops.tick(refresh_report, "not a cursor")

    assert not found.run_requests
    assert found.skip_message
