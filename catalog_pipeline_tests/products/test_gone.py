"""Products that vanish from a store: they go, or wait for a person, and come back as they were."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.removal_approvals import (
    Approval,
    ApprovalRefusedError,
    approve_products,
    approved_removals,
    count_waiting,
    record_approval,
    use_approval,
    waiting_removals,
)
from catalog_pipeline.catalog.schema import audit, products, quarantine, removal_approvals, walks
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.source import WalkKind
from catalog_pipeline.products.sync import History, sync_products
from catalog_pipeline_tests.products.walks import archived, everything, row_of, rows, some, sync
from catalog_pipeline_tests.products.wordpress import product, store

KINDS: tuple[WalkKind, ...] = ("full", "sweep")


def walked(archive: Archive, kind: WalkKind, found: int, **more: object) -> str:
    """A complete walk that sees the first so many products."""
    if kind == "sweep":
        return archived(archive, [], kind="sweep", swept=some(found), **more)  # type: ignore[arg-type]
    return archived(archive, some(found), kind=kind, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_complete_walk_does_not_show_is_removed(
    any_database: Database, archive: Archive, kind: WalkKind
) -> None:
    first = archived(archive, some(100))
    sync(any_database, archive)
    last = walked(archive, kind, 80)
    report = sync(any_database, archive)
    assert (report.removed, report.waiting, report.live) == ({"absent": 20}, {}, 80)
    assert report.removal_limit == 20
    row = row_of(any_database, 90)
    assert (row["removed_by"], row["removed_in"]) == ("absent", last)
    assert (row["title"], row["walk_id"]) == ("Linen Shirt 90", first)
    (_, record) = rows(any_database, walks)
    assert (record["removed"], record["waiting"]) == (20, 0)
    assert sync(any_database, archive).removed == {}


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_wait_and_nothing_goes(
    any_database: Database, archive: Archive, kind: WalkKind
) -> None:
    archived(archive, [*some(100), product(500, status="draft")])
    sync(any_database, archive)
    walk_id = walked(archive, kind, 79)
    report = sync(any_database, archive)
    assert (report.removed, report.waiting, report.live) == ({}, {"absent": 21}, 100)
    # In nobody's search, so that nobody has to wait for it.
    hidden = row_of(any_database, 500)
    assert (hidden["removed_by"], hidden["removed_in"]) == ("absent", walk_id)
    with any_database.read() as connection:
        waiting = waiting_removals(connection, "atelier")
    assert [one.external_id for one in waiting] == [str(number) for number in range(80, 101)]
    assert (waiting[0].title, waiting[0].reason) == ("Linen Shirt 80", "absent")
    assert {one.walk_id for one in waiting} == {walk_id}
    # The rest of the run went on.
    assert report.watermark is not None


@pytest.mark.parametrize("share", [0.0, 0.21, 1.0])
def test_the_share_is_the_stores_own(database: Database, archive: Archive, share: float) -> None:
    config = store(max_removal_share=share)
    archived(archive, some(100))
    sync(database, archive, config)
    walked(archive, "sweep", 79)
    report = sync(database, archive, config)
    assert bool(report.removed) is (share > 0.0)


def test_the_share_is_of_the_stores_live_products_alone(
    database: Database, archive: Archive
) -> None:
    archived(archive, some(200), store_id="bottega")
    sync(database, archive, store(id="bottega"))
    drafts = [product(number, status="draft") for number in range(500, 600)]
    archived(archive, [*some(54), *drafts])
    sync(database, archive)
    archived(archive, [], kind="sweep", swept=[*some(43), *drafts])
    report = sync(database, archive)
    assert (report.removal_limit, report.waiting) == (10, {"absent": 11})


def test_however_many_go_they_all_go(database: Database, archive: Archive) -> None:
    config = store(max_removal_share=1.0)
    archived(archive, some(1_100))
    sync(database, archive, config)
    walked(archive, "sweep", 1)
    report = sync(database, archive, config)
    assert (report.removed, report.live) == ({"absent": 1_099}, 1)


def test_incomplete_and_partial_walks_remove_nothing(database: Database, archive: Archive) -> None:
    archived(archive, some(20))
    sync(database, archive)
    walked(archive, "full", 15, complete=False)
    walked(archive, "sweep", 15, complete=False)
    walked(archive, "incremental", 1)
    report = sync(database, archive)
    assert (report.walks, report.removed, report.waiting, report.live) == (3, {}, {}, 20)
    assert [row["removed"] for row in rows(database, walks)] == [0, None, None, None]


def test_trash_is_told_from_absence(database: Database, archive: Archive) -> None:
    archived(archive, some(10))
    sync(database, archive)
    binned = [product(9, status="trash"), product(99, status="trash")]
    archived(archive, [], kind="sweep", swept=some(8), trash=binned)
    assert sync(database, archive).removed == {"trash": 1, "absent": 1}
    assert row_of(database, 9)["removed_by"] == "trash"
    assert len(rows(database, products)) == 10
    # Some plug-ins list what is in the trash.
    archived(archive, [*some(7), product(8, status="trash")])
    assert sync(database, archive).removed == {"trash": 1}
    assert row_of(database, 8)["status"] == "publish"


@pytest.mark.parametrize(("found", "went"), [(50, True), (95, False)])
def test_what_was_decided_once_is_decided_alike(
    database: Database, archive: Archive, found: int, went: bool
) -> None:
    """Where walks are processed anew: whatever the guard says of their removals now."""
    archived(archive, some(100))
    sync(database, archive)
    walk_id = walked(archive, "sweep", found)
    walk = archive.open("atelier", walk_id)
    assert walk is not None
    with hold_store(database, "atelier", "run") as lease:
        history = History([walk], {walk_id: went})
        report = sync_products(lease, archive, store(), history=history)
    gone = {"absent": 100 - found}
    assert (report.removed, report.waiting) == ((gone, {}) if went else ({}, gone))


def test_what_is_there_but_cannot_be_shown_or_read_stays(
    database: Database, archive: Archive
) -> None:
    archived(archive, [*some(10), product(11, price="?")])
    sync(database, archive)
    archived(archive, [product(9, price="?")], kind="sweep", swept=some(9), unshown_ids=("10",))
    report = sync(database, archive)
    assert (report.removed, report.live) == ({}, 10)
    # Product 9 is in quarantine and its last valid row stays; 11 is gone, and so is its record.
    assert [row["external_id"] for row in rows(database, quarantine)] == ["9"]


def test_a_product_that_comes_back_has_its_old_id(database: Database, archive: Archive) -> None:
    first = archived(archive, some(10))
    sync(database, archive)
    before = row_of(database, 10)
    walked(archive, "full", 9)
    sync(database, archive)
    back = archived(archive, [product(10)], kind="incremental")
    report = sync(database, archive)
    assert (report.changed, report.live) == (1, 10)
    assert row_of(database, 10) == {**before, "walk_id": back, "first_walk_id": first}


def waiting_catalogue(database: Database, archive: Archive) -> None:
    archived(archive, some(100))
    sync(database, archive)
    walked(archive, "sweep", 50)
    assert sync(database, archive).waiting == {"absent": 50}


def test_an_approval_lets_exactly_these_go(any_database: Database, archive: Archive) -> None:
    waiting_catalogue(any_database, archive)
    with pytest.raises(ApprovalRefusedError, match=r"50 removals of products wait, and 49 were"):
        approve_products(any_database, "atelier", 49, who="kim", reason="sale is over")
    with pytest.raises(ApprovalRefusedError, match="for what reason"):
        approve_products(any_database, "atelier", 50, who="kim", reason=" ")
    assert rows(any_database, removal_approvals) == rows(any_database, audit) == []
    approve_products(any_database, "atelier", 50, who="kim", reason="sale is over")
    report = sync(any_database, archive)
    assert (report.walks, report.removed, report.waiting) == (0, {"absent": 50}, {})
    assert report.live == 50
    (approval,) = rows(any_database, removal_approvals)
    assert (approval["who"], approval["reason"]) == ("kim", "sale is over")
    assert (approval["outcome"], approval["count"]) == ("applied", 50)
    (told,) = rows(any_database, audit)
    assert (told["who"], told["at"]) == ("kim", approval["approved_at"])
    assert (told["action"], told["store_id"]) == ("removals.approve", "atelier")
    assert (told["reason"], told["details"]) == ("sale is over", {"of": "products", "count": 50})
    assert approval["walk_id"] == row_of(any_database, 100)["removed_in"]
    with any_database.read() as connection:
        assert len(connection.execute(approved_removals("atelier")).all()) == 50
    # It is used up.
    walked(archive, "sweep", 20)
    assert sync(any_database, archive).waiting == {"absent": 30}


def test_an_approval_that_comes_with_the_run(database: Database, archive: Archive) -> None:
    waiting_catalogue(database, archive)
    refused = sync(database, archive, approval=Approval(10, "kim", "why not"))
    assert refused.removed == {}
    assert refused.approval_refused is not None
    assert "50 removals of products wait, and 10 were approved" in refused.approval_refused
    report = sync(database, archive, approval=Approval(50, "kim", "sale is over"))
    assert (report.removed, report.approval_refused) == ({"absent": 50}, None)
    nothing_waits = sync(database, archive, approval=Approval(50, "kim", "sale is over"))
    assert nothing_waits.removed == {}
    assert nothing_waits.approval_refused is not None
    assert "0 removals of products wait, and 50 were approved" in nothing_waits.approval_refused


def test_the_last_one_that_waits_can_be_approved(database: Database, archive: Archive) -> None:
    waiting_catalogue(database, archive)
    archived(archive, some(99), kind="incremental")
    assert sync(database, archive).waiting == {"absent": 1}
    report = sync(database, archive, approval=Approval(1, "kim", "sold"))
    assert (report.removed, report.live) == ({"absent": 1}, 99)


def test_the_record_of_the_walk_tells_that_its_removals_went(
    database: Database, archive: Archive
) -> None:
    waiting_catalogue(database, archive)
    (_, held) = rows(database, walks)
    assert (held["removed"], held["waiting"]) == (0, 50)
    with database.write() as connection:
        # Ids of walks are a store's own.
        connection.execute(walks.insert(), {**held, "store_id": "bottega"})
    before = rows(database, walks)
    sync(database, archive, approval=Approval(50, "kim", "sale is over"))
    assert rows(database, walks) == [before[0], {**held, "removed": 50, "waiting": 0}, before[2]]


def test_an_approval_is_void_once_something_else_waits(
    database: Database, archive: Archive
) -> None:
    waiting_catalogue(database, archive)
    approve_products(database, "atelier", 50, who="kim", reason="sale is over")
    with database.write() as connection:
        # As if another run had brought one back in the meantime.
        connection.execute(update(products).values(status="publish"))
        connection.exec_driver_sql(
            "DELETE FROM removal_waits WHERE product_id IN "
            "(SELECT product_id FROM removal_waits LIMIT 1)"
        )
    report = sync(database, archive)
    assert (report.removed, report.waiting) == ({}, {"absent": 49})
    (approval,) = rows(database, removal_approvals)
    assert approval["outcome"] == "void"


@pytest.mark.parametrize("kind", KINDS)
def test_no_approval_removes_what_a_walk_has_seen_since(
    database: Database, archive: Archive, kind: WalkKind
) -> None:
    waiting_catalogue(database, archive)
    approve_products(database, "atelier", 50, who="kim", reason="sale is over")
    walked(archive, kind, 100)
    report = sync(database, archive)
    assert (report.removed, report.waiting, report.live) == ({}, {}, 100)
    (approval,) = rows(database, removal_approvals)
    assert approval["outcome"] == "void"


def test_an_approval_holds_where_another_walk_finds_the_same(
    database: Database, archive: Archive
) -> None:
    waiting_catalogue(database, archive)
    approve_products(database, "atelier", 50, who="kim", reason="sale is over")
    last = walked(archive, "sweep", 50)
    report = sync(database, archive)
    assert (report.removed, report.waiting, report.live) == ({"absent": 50}, {}, 50)
    assert [row["removed"] for row in rows(database, walks)] == [0, 0, 50]
    assert row_of(database, 100)["removed_in"] == last


def test_products_that_are_seen_again_wait_no_longer(database: Database, archive: Archive) -> None:
    waiting_catalogue(database, archive)
    archived(archive, [product(60)], kind="incremental")
    assert sync(database, archive).waiting == {"absent": 49}
    archived(archive, [], kind="sweep", swept=some(95))
    report = sync(database, archive)
    assert (report.removed, report.waiting) == ({"absent": 5}, {})


def test_waiting_is_per_store(database: Database, archive: Archive) -> None:
    waiting_catalogue(database, archive)
    archived(archive, some(5), store_id="bottega")
    report = sync(database, archive, store(id="bottega"))
    assert (report.waiting, report.removed) == ({}, {})
    with database.read() as connection:
        assert count_waiting(connection, "atelier") == 50
        assert count_waiting(connection, "bottega") == 0


def test_approvals_of_stages_are_kept_apart(database: Database) -> None:
    with database.write() as connection:
        record_approval(
            connection, "atelier", "points", 12, waiting=12, who="kim", reason="new rules"
        )
    with database.write() as connection:
        assert not use_approval(connection, "atelier", "products", waiting=12, walk_id=None)
        assert not use_approval(connection, "bottega", "points", waiting=12, walk_id=None)
    with database.write() as connection:
        assert use_approval(connection, "atelier", "points", waiting=12, walk_id=None)
        assert not use_approval(connection, "atelier", "points", waiting=12, walk_id=None)


def test_cut_off_before_the_end_no_removal_is_half_done(
    database: Database, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archived(archive, some(30))
    sync(database, archive)
    walked(archive, "sweep", 25)
    before = everything(database)
    with monkeypatch.context() as patch:
        patch.setattr(
            "catalog_pipeline.products.process.WalkProcess._record_of_walk",
            lambda *_: 1 / 0,
        )
        with pytest.raises(ZeroDivisionError):
            sync(database, archive)
    assert everything(database) == before
    assert sync(database, archive).removed == {"absent": 5}
