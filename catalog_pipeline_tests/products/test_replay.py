"""Rows built again from the archive, whole or pruned."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.removal_approvals import approve_products, count_waiting
from catalog_pipeline.catalog.schema import (
    metadata,
    product_images,
    products,
    quarantine,
    variation_images,
)
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive, ArchiveError
from catalog_pipeline.products.prune import PruneReport, prune_archive
from catalog_pipeline.products.replay import ReplayReport, replay_store
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.products.walks import archived, everything, rows, some, sync
from catalog_pipeline_tests.products.wordpress import product, store

BEGINNING = datetime(2026, 1, 1, 2, tzinfo=UTC)


def replay(
    database: Database,
    archive: Archive,
    since: datetime | None = None,
    config: StoreConfig | None = None,
) -> ReplayReport:
    with hold_store(database, "atelier", "replay") as lease:
        return replay_store(lease, archive, config or store(), since=since)


def prune(database: Database, archive: Archive, days: int, now: datetime) -> PruneReport:
    with hold_store(database, "atelier", "prune") as lease:
        return prune_archive(lease, archive, days=days, now=now)


class Life:
    """A store that lives through many days of random change, synced each day."""

    def __init__(self, database: Database, archive: Archive, seed: int) -> None:
        self.database = database
        self.archive = archive
        self.chance = random.Random(seed)
        self.shop: dict[int, dict[str, Any]] = {n: product(n) for n in range(1, 60)}
        self.binned: dict[int, dict[str, Any]] = {}
        self.today = BEGINNING
        self._changed: set[int] = set()
        self.variations: dict[int, list[dict[str, Any]]] = {}

    def a_day(self, kind: str) -> None:
        """Change some products, then walk and process."""
        self.today += timedelta(days=1)
        with time_machine.travel(self.today, tick=False):
            self._change()
            self._walk(kind)
            sync(self.database, self.archive)

    def _change(self) -> None:
        for _ in range(self.chance.randrange(8)):
            number = self.chance.randrange(1, 75)
            draw = self.chance.random()
            if draw < 0.2:
                self.shop.pop(number, None)
            elif draw < 0.3 and number in self.shop:
                self.binned[number] = {**self.shop.pop(number), "status": "trash"}
            else:
                price = self.chance.choice(["1.00", "2.00", "?", "3.50"])
                status = self.chance.choice(["publish", "publish", "draft"])
                now = f"{self.today:%Y-%m-%dT%H:%M:%S}"
                self.shop[number] = product(
                    number, price=price, status=status, date_modified_gmt=now
                )
                self._changed.add(number)
                if number % 2:
                    self._vary(number)

    def _vary(self, number: int) -> None:
        """Give a product variations, other ones than before, or none at all."""
        drawn = self.chance.sample(range(4), self.chance.randrange(4))
        if drawn:
            self.shop[number]["type"] = "variable"
        # A store that cannot tell them for a moment leaves what was known of them.
        if drawn and self.chance.random() < 0.7:
            self.variations[number] = [
                {
                    "id": number * 10 + one,
                    "status": "publish",
                    "image": {"id": one + 1, "src": f"https://shop.example.com/v{one}.jpg"},
                }
                for one in drawn
            ]
        else:
            self.variations.pop(number, None)

    def _told(self, shown: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
        return {
            one["id"]: self.variations[one["id"]]
            for one in shown
            if one["type"] == "variable" and one["id"] in self.variations
        }

    def _walk(self, kind: str) -> None:
        there = [self.shop[number] for number in sorted(self.shop)]
        changed = [self.shop[number] for number in sorted(self._changed & self.shop.keys())]
        binned = list(self.binned.values())
        if kind == "full":
            told = self._told(there)
            archived(self.archive, there, clock=self.today, trash=binned, variations=told)
        elif kind == "cut off":
            archived(self.archive, there[:40], clock=self.today, manifest=False)
        elif kind == "incremental":
            told = self._told(changed)
            archived(self.archive, changed, clock=self.today, kind="incremental", variations=told)
        else:
            archived(
                self.archive,
                changed,
                clock=self.today,
                kind="sweep",
                swept=there,
                trash=binned,
                variations=self._told(changed),
            )
        if kind != "cut off":
            self._changed.clear()


def forget(database: Database) -> None:
    """Lose every row of the database but its identity."""
    with database.write() as connection:
        for table in metadata.sorted_tables:
            if table.name not in ("deployment", "leases"):
                connection.execute(delete(table))


@pytest.fixture
def life(database: Database, archive: Archive) -> Life:
    return lived(database, archive)


def lived(database: Database, archive: Archive) -> Life:
    lived = Life(database, archive, seed=5)
    kinds = ["full", "incremental", "sweep", "incremental", "cut off", "full", "sweep", "full"]
    for kind in [*kinds, "incremental", "sweep", "incremental"]:
        lived.a_day(kind)
    return lived


def test_a_replay_of_what_is_there_changes_nothing(
    any_database: Database, archive: Archive
) -> None:
    database = any_database
    lived(database, archive)
    before = everything(database)
    report = replay(database, archive)
    assert (report.whole, report.walks, report.written, report.dropped) == (True, 11, 0, 0)
    assert report.unchanged == report.rows == len(before["products"])
    assert everything(database) == before
    assert sync(database, archive).walks == 0


def test_rows_are_built_again_from_nothing(
    database: Database, archive: Archive, life: Life
) -> None:
    life.a_day("full")
    before = everything(database)
    assert any(row["removed_by"] == "trash" for row in before["products"])
    assert before["quarantine"]
    assert len(before["variations"]) > 5
    forget(database)
    report = replay(database, archive)
    assert report.written == len(before["products"])
    after = everything(database)
    assert after == before


def test_damaged_missing_and_invented_rows_are_mended(
    database: Database, archive: Archive, life: Life
) -> None:
    before = everything(database)
    alive = [row for row in before["products"] if row["removed_by"] is None]
    with database.write() as connection:
        connection.execute(
            update(products)
            .where(products.c.product_id == alive[0]["product_id"])
            .values(title="damaged", walk_id="x", first_walk_id="x")
        )
        for table in (products, product_images):
            connection.execute(delete(table).where(table.c.product_id == alive[1]["product_id"]))
        connection.execute(
            delete(product_images).where(product_images.c.product_id == alive[2]["product_id"])
        )
        varied = before["variations"][0]
        connection.execute(
            update(variation_images)
            .where(variation_images.c.product_id == varied["product_id"])
            .values(url="damaged")
        )
        for stranger in (UUID(int=1), UUID(int=2)):
            connection.execute(variation_images.insert(), {**varied, "product_id": stranger})
        connection.execute(delete(quarantine))
        invented = {**alive[3], "product_id": UUID(int=1), "external_id": "x"}
        connection.execute(products.insert(), invented)
    report = replay(database, archive)
    touched = {row["product_id"] for row in (*alive[:3], varied)}
    assert (report.written, report.dropped) == (len(touched), 1)
    assert everything(database) == before


def test_on_a_pruned_archive_live_rows_are_the_same(
    database: Database, archive: Archive, life: Life
) -> None:
    ids = archive.walk_ids("atelier")
    pruned = prune(database, archive, 2, life.today)
    # The newest complete full walk is the eighth; nothing after it goes, however old.
    assert pruned == PruneReport(7, 4, ids[7])
    assert archive.walk_ids("atelier") == ids[7:]
    before = everything(database)
    report = replay(database, archive)
    assert (report.whole, report.walks, report.written) == (False, 4, 0)
    assert everything(database) == before
    refused = [row["external_id"] for row in before["quarantine"]]
    with database.write() as connection:
        # The last valid row of a refused product may be older than the archive.
        mendable = products.c.external_id.not_in(refused)
        connection.execute(update(products).where(mendable).values(title="damaged"))
    replay(database, archive)
    after = everything(database)
    alive = [row for row in before["products"] if row["removed_by"] is None]
    assert len(alive) > 20
    assert [row for row in after["products"] if row["removed_by"] is None] == alive
    assert after["images"] == before["images"]
    assert after["states"] == before["states"]


def test_variations_of_a_product_that_was_never_valid_are_built_again_too(
    database: Database, archive: Archive
) -> None:
    image = {"id": 7, "src": "https://shop.example.com/7.jpg"}
    told = {2: [{"id": 20, "status": "publish", "image": image}]}
    archived(archive, [product(1), product(2, type="variable", name=None)], variations=told)
    sync(database, archive)
    before = everything(database)
    assert len(before["products"]) == len(before["variations"]) == 1
    forget(database)
    replay(database, archive)
    assert everything(database) == before


def test_since_bounds_the_work(database: Database, archive: Archive, life: Life) -> None:
    before = everything(database)
    report = replay(database, archive, since=life.today - timedelta(days=4))
    assert (report.walks, report.whole, report.written) == (6, False, 0)
    assert everything(database) == before


def test_a_damaged_archive_harms_no_row(
    database: Database, archive: Archive, life: Life, tmp_path: Path
) -> None:
    before = everything(database)
    last = archive.walk_ids("atelier")[-2]
    page = next((tmp_path / "data/archive/atelier" / last).glob("*.zst"))
    page.write_bytes(b"junk")
    with pytest.raises(ArchiveError, match="is damaged"):
        replay(database, archive)
    assert everything(database) == before


def test_an_archive_without_a_beginning_is_refused(database: Database, archive: Archive) -> None:
    first = archived(archive, some(3))
    archived(archive, some(3), kind="incremental")
    sync(database, archive)
    archive.remove("atelier", first)
    with pytest.raises(ArchiveError, match="holds no complete full walk"):
        replay(database, archive)


def test_approved_and_waiting_removals_come_out_as_they_were(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(100))
    archived(archive, [], kind="sweep", swept=some(60))
    sync(database, archive)
    approve_products(database, "atelier", 40, who="kim", reason="sale is over")
    sync(database, archive)
    archived(archive, [], kind="sweep", swept=some(30))
    assert sync(database, archive).waiting == {"absent": 30}
    before = everything(database)
    assert replay(database, archive).written == 0
    assert everything(database) == before


def test_one_that_was_seen_again_before_the_others_were_approved_stays_as_it_was(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(30))
    archived(archive, [], kind="sweep", swept=some(15))
    sync(database, archive)
    archived(archive, [product(16)], kind="incremental")
    assert sync(database, archive).waiting == {"absent": 14}
    approve_products(database, "atelier", 14, who="kim", reason="sale is over")
    assert sync(database, archive).removed == {"absent": 14}
    before = everything(database)
    assert replay(database, archive).written == 0
    assert everything(database) == before


def test_what_waits_goes_on_waiting_under_rules_that_leave_it_out(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(30))
    archived(archive, [], kind="sweep", swept=some(15))
    sync(database, archive)
    drafts = store(statuses=["draft"])
    assert sync(database, archive, drafts).waiting == {"absent": 15}
    before = everything(database)
    assert replay(database, archive, config=drafts).written == 0
    assert everything(database) == before


_STEP = st.one_of(
    st.tuples(
        st.sampled_from(["full", "sweep", "incremental"]),
        st.integers(1, 20),
        st.integers(14, 31),
        st.sampled_from(["1.00", "2.00", "?"]),
    ),
    st.just(("approve",)),
    st.tuples(st.just("rules"), st.sampled_from(["publish", "draft"])),
)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(_STEP, min_size=2, max_size=8))
def test_whatever_stores_people_and_rules_decided_is_decided_alike(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("steps")
    database = Database(f"sqlite:///{folder / 'catalog.sqlite'}")
    database.migrate()
    archive = Archive(DataFolder(str(folder / "data")))
    config = store()
    # Whatever comes then, some products wait.
    archived(archive, some(30))
    for name, *rest in [("sweep", 1, 16, "1.00"), *steps]:
        if name == "approve":
            with database.read() as connection:
                waiting = count_waiting(connection, "atelier")
            if waiting:
                approve_products(database, "atelier", waiting, who="kim", reason="sale is over")
        elif name == "rules":
            config = store(statuses=rest)
        else:
            first, end, price = rest
            shown = [product(number, price=price) for number in range(first, end)]
            if name == "sweep":
                archived(archive, shown[:3], kind="sweep", swept=shown)
            else:
                archived(archive, shown, kind=name)
        sync(database, archive, config)
    before = everything(database)
    assert replay(database, archive, config=config).written == 0
    assert everything(database) == before
    database.dispose()


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32),
    kinds=st.lists(
        st.sampled_from(["full", "incremental", "sweep", "cut off"]), min_size=2, max_size=8
    ),
    days=st.integers(0, 6),
)
def test_any_life_is_built_again(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kinds: list[str], days: int
) -> None:
    folder = tmp_path_factory.mktemp("life")
    database = Database(f"sqlite:///{folder / 'catalog.sqlite'}")
    database.migrate()
    archive = Archive(DataFolder(str(folder / "data")))
    life = Life(database, archive, seed)
    for kind in ["full", *kinds, "incremental"]:
        life.a_day(kind)
    before = everything(database)
    assert replay(database, archive).written == 0
    assert everything(database) == before
    prune(database, archive, days, life.today)
    assert replay(database, archive).written == 0
    assert everything(database) == before
    database.dispose()


def test_walks_that_are_not_processed_are_never_pruned(
    database: Database, archive: Archive
) -> None:
    with time_machine.travel(BEGINNING, tick=False):
        archived(archive, some(3))
        archived(archive, some(3))
    much_later = BEGINNING + timedelta(days=900)
    assert prune(database, archive, 30, much_later).removed == 0
    sync(database, archive)
    with time_machine.travel(BEGINNING, tick=False):
        archived(archive, some(4))
    report = prune(database, archive, 30, much_later)
    assert (report.removed, report.kept) == (1, 2)
    assert sync(database, archive).new == 1


def test_young_walks_stay(database: Database, archive: Archive) -> None:
    for day in range(5):
        with time_machine.travel(BEGINNING + timedelta(days=day), tick=False):
            archived(archive, some(3))
    sync(database, archive)
    report = prune(database, archive, 3, BEGINNING + timedelta(days=4))
    assert (report.removed, report.kept) == (1, 4)
    # Sweeps and incremental walks need the full walk before them.
    assert prune(database, archive, 0, BEGINNING + timedelta(days=900)).kept == 1


def test_a_walk_that_is_pruned_halfway_is_no_beginning(
    database: Database, archive: Archive, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(database)
    real = DataFolder.remove
    left = [2]

    def remove(self: DataFolder, name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("killed")
        real(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(DataFolder, "remove", remove)
        with pytest.raises(OSError, match="killed"):
            prune(database, archive, 0, life.today)
    report = replay(database, archive)
    assert (report.whole, report.written) == (False, 0)
    assert everything(database) == before
    assert len(rows(database, products)) == len(before["products"])
