"""When a store counts as read: the newest walk of each kind, and the time since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from catalog_pipeline.catalog.circuits import Circuit, keep_circuit
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import store_states, walks
from catalog_pipeline.catalog.syncs import Sync, record_syncs
from catalog_pipeline.files import DataFolder
from catalog_pipeline.health.walks import (
    Timetable,
    is_in_time,
    none_is_left_failed,
    walks_are_complete,
)
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.polling import PollCursor
from catalog_pipeline.products.source import WalkKind, WalkOrder, WalkStart
from catalog_pipeline.stores import Pause, SecretSource, StoreConfig

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
NIGHT = datetime(2026, 3, 4, 2, tzinfo=UTC)
STORE = StoreConfig(
    id="shop",
    url="https://shop.example.com",
    consumer_key=SecretSource(env="KEY"),
    consumer_secret=SecretSource(env="SECRET"),
    poll_every=timedelta(minutes=30),
)


@pytest.fixture
def archive(tmp_path: object) -> Archive:
    return Archive(DataFolder(str(tmp_path)))


def processed(
    database: Database,
    archive: Archive,
    kind: WalkKind,
    *,
    complete: bool,
    sample: int | None = None,
    at: datetime = NOW,
) -> None:
    """A walk in the archive, cut off where it is not complete, and its rows."""
    start = WalkStart(at, True, "DKK", announced=3, announced_pages=1)
    order = WalkOrder(kind, sample=sample, since=NIGHT if kind == "incremental" else None)
    writer = archive.begin(STORE.id, "woocommerce", order, start)
    with database.write() as connection:
        connection.execute(
            insert(walks).values(
                store_id=STORE.id,
                walk_id=writer.begin.walk_id,
                kind=kind,
                complete=complete,
                server_clock=at,
                seen=3,
                processed_at=at,
            )
        )
        if complete and kind == "full":
            connection.execute(insert(store_states).values(store_id=STORE.id, watermark=at))


@pytest.mark.parametrize(
    ("history", "wrong"),
    [
        ([], 0),
        ([("full", True)], 0),
        ([("full", False)], 1),
        ([("full", True), ("incremental", False)], 1),
        ([("full", True), ("incremental", False), ("sweep", True)], 1),
        ([("full", True), ("incremental", False), ("incremental", True)], 0),
        ([("incremental", False), ("sweep", False), ("full", True)], 0),
        ([("full", True), ("incremental", False), ("sweep", False)], 2),
    ],
)
def test_a_walk_is_made_good_by_the_next_of_its_kind_or_a_full_one(
    database: Database, archive: Archive, history: list[tuple[WalkKind, bool]], wrong: int
) -> None:
    for kind, complete in history:
        processed(database, archive, kind, complete=complete)

    with database.read() as connection:
        found = walks_are_complete(connection, archive, STORE)

    assert found.passed is (wrong == 0)
    assert found.counts == {"walks not complete": wrong}
    for told in found.examples.get("walks not complete", []):
        assert told.endswith(": it was cut off")


def test_a_sample_counts_only_while_nothing_else_is_there(
    database: Database, archive: Archive
) -> None:
    def passed() -> bool:
        with database.read() as connection:
            return walks_are_complete(connection, archive, STORE).passed

    processed(database, archive, "full", complete=False, sample=3)
    assert not passed()
    processed(database, archive, "full", complete=True)
    assert passed()
    processed(database, archive, "full", complete=False, sample=3)
    assert passed()


def late(
    database: Database,
    polled: datetime | None = None,
    store: StoreConfig = STORE,
    unanswered: datetime | None = None,
) -> str | None:
    silent = {store.id: unanswered} if unanswered else {}
    cursor = PollCursor(served_until=polled, unanswered=silent) if polled else None
    timetable = Timetable(NOW, NIGHT, cursor)
    with database.read() as connection:
        found = is_in_time(connection, store, timetable)
    assert found.passed is (not found.examples)
    return found.examples["stale"][0] if found.examples else None


def test_a_store_is_stale_by_the_night_and_by_its_own_interval(
    database: Database, archive: Archive
) -> None:
    assert late(database) == "never read whole"
    processed(database, archive, "sweep", complete=True, at=NIGHT - timedelta(minutes=1))
    assert "last walked whole 2026-03-04 01:59 UTC" in (late(database) or "")
    processed(database, archive, "sweep", complete=False, at=NIGHT + timedelta(hours=1))
    assert "01:59" in (late(database) or "")
    processed(database, archive, "sweep", complete=True, at=NIGHT + timedelta(hours=1))
    assert late(database) is None
    assert late(database, polled=NOW - timedelta(minutes=44)) is None
    assert (
        late(database, polled=NOW - timedelta(minutes=46))
        == "not polled since 2026-03-04 11:14 UTC"
    )


def test_a_store_that_no_poll_reaches_is_stale_by_its_own_interval(
    database: Database, archive: Archive
) -> None:
    processed(database, archive, "sweep", complete=True, at=NIGHT + timedelta(hours=1))
    assert late(database, polled=NOW, unanswered=NOW - timedelta(minutes=44)) is None
    silent = NOW - timedelta(minutes=46)
    assert "due since 2026-03-04 11:14 UTC" in (late(database, NOW, unanswered=silent) or "")
    slow = STORE.model_copy(update={"poll_every": timedelta(hours=1)})
    assert late(database, NOW, slow, unanswered=silent) is None


def test_a_walk_of_a_clock_that_was_ahead_lets_no_store_count_as_read(
    database: Database, archive: Archive
) -> None:
    processed(database, archive, "sweep", complete=True, at=NOW + timedelta(days=365))
    assert late(database) == "never read whole"
    processed(database, archive, "sweep", complete=True, at=NIGHT + timedelta(hours=1))
    assert late(database) is None


def test_a_paused_store_is_never_late(database: Database) -> None:
    pause = Pause(until=NOW + timedelta(days=1), reason="they move")

    assert late(database, store=STORE.model_copy(update={"paused": pause})) is None


def test_a_store_that_is_left_alone_is_stale_and_says_why(
    database: Database, archive: Archive
) -> None:
    processed(database, archive, "full", complete=True)
    failed = Circuit(STORE.id, 2, "probe", "answered 503", NOW, None)
    with database.write() as connection:
        keep_circuit(connection, failed)
    assert late(database) is None
    with database.write() as connection:
        keep_circuit(connection, Circuit(STORE.id, 3, "probe", "answered 503", NOW, NOW))
    assert late(database) == (
        "failed 3 times in a row, asked again at 2026-03-04 12:15 UTC: answered 503"
    )


@pytest.mark.parametrize(
    ("statuses", "passed"),
    [
        ([], True),
        (["failure", "success"], True),
        (["success", "failure"], False),
        (["failure", "canceled"], False),
        (["success", "canceled"], True),
        (["failure", "started"], False),
    ],
)
def test_a_store_is_left_failed_until_a_run_goes_well(
    database: Database, statuses: list[str], passed: bool
) -> None:
    found = [
        Sync(
            *(f"run-{number}", STORE.id, "sync_store", "hand", status, None, {}),
            error="raw_products: answered 503\nand more",
            retries=0,
            started_at=None,
            completed_at=None,
            updated_at=NOW + timedelta(minutes=number),
        )
        for number, status in enumerate(statuses)
    ]
    with database.write() as connection:
        record_syncs(connection, found)
        verdict = none_is_left_failed(connection, STORE)

    assert verdict.passed is passed
    if not passed:
        assert verdict.examples["left failed"][0].endswith("UTC: raw_products: answered 503")
