"""Which points may go: by share, by approval, and without a second word on approved products."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.removal_approvals import (
    Approval,
    approve_products,
    record_approval,
)
from catalog_pipeline.catalog.schema import points, removal_approvals
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.removals import RemovalDecision
from catalog_pipeline.vectors.guard import guard_removals
from catalog_pipeline_tests.products.walks import archived, rows, some, sync
from catalog_pipeline_tests.products.wordpress import product, store


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(DataFolder(str(tmp_path / "data")))


def loaded(database: Database, numbers: range) -> list[UUID]:
    """Points on record for these products of the store."""
    ids = [product_id("atelier", str(number)) for number in numbers]
    rows = [
        {
            "collection": "c",
            "point_id": one,
            "store_id": "atelier",
            "product_id": one,
            "image_sha256": "0" * 64,
            "payload_hash": "0" * 32,
        }
        for one in ids
    ]
    with database.write() as connection:
        upsert(connection, points, rows)
    return ids


def guard(
    database: Database,
    ids: list[UUID],
    share: float = 0.2,
    *,
    whole_store: bool = True,
    approval: Approval | None = None,
) -> RemovalDecision:
    with hold_store(database, "atelier", "run") as lease:
        return guard_removals(
            lease,
            "c",
            select(points.c.point_id).where(points.c.point_id.in_(ids)),
            {"left_out": len(ids)},
            100,
            max_share=share,
            whole_store=whole_store,
            approval=approval,
        ).decision


def approve(database: Database, count: int, waiting: int) -> None:
    with database.write() as connection:
        record_approval(
            connection, "atelier", "points", count, waiting=waiting, who="kim", reason="rules"
        )


@pytest.mark.parametrize(("share", "allowed"), [(0.2, False), (0.3, True), (0.0, False)])
def test_the_share_is_the_stores_own(database: Database, share: float, allowed: bool) -> None:
    ids = loaded(database, range(30))
    assert guard(database, ids, share).allowed is allowed


def test_an_approval_lets_that_number_of_points_go_once(any_database: Database) -> None:
    ids = loaded(any_database, range(30))
    approve(any_database, 30, 30)
    assert not guard(any_database, ids, whole_store=False).allowed
    assert guard(any_database, ids).allowed
    assert not guard(any_database, ids).allowed


@pytest.mark.parametrize(
    ("count", "whole_store", "allowed"), [(30, True, True), (29, True, False), (30, False, False)]
)
def test_an_approval_that_comes_with_the_run_names_the_number_too(
    database: Database, count: int, whole_store: bool, allowed: bool
) -> None:
    ids = loaded(database, range(30))
    word = Approval(count, "kim", "rules")
    assert guard(database, ids, whole_store=whole_store, approval=word).allowed is allowed
    (kept,) = [*rows(database, removal_approvals), None][:1]
    assert (kept is not None and kept["outcome"] == "applied") is allowed
    assert not guard(database, ids).allowed


def test_an_approval_of_another_number_is_void(database: Database) -> None:
    ids = loaded(database, range(30))
    approve(database, 31, 31)
    assert not guard(database, ids).allowed
    assert not guard(database, [*ids, *loaded(database, range(30, 31))]).allowed


def test_an_approval_that_is_needed_no_more_does_not_stay(database: Database) -> None:
    ids = loaded(database, range(30))
    approve(database, 30, 30)
    assert guard(database, ids[:5]).allowed
    assert not guard(database, ids).allowed


def test_points_of_products_whose_removal_was_approved_are_not_counted(
    any_database: Database, archive: Archive
) -> None:
    archived(archive, some(100))
    archived(archive, some(60))
    sync(any_database, archive)
    ids = loaded(any_database, range(61, 101))
    assert not guard(any_database, ids).allowed
    approve_products(any_database, "atelier", 40, who="kim", reason="sale is over")
    sync(any_database, archive)
    assert guard(any_database, ids).allowed
    others = loaded(any_database, range(1, 22))
    assert not guard(any_database, [*ids, *others]).allowed


def test_points_of_products_that_a_rule_had_left_out_are_counted_all_the_same(
    any_database: Database, archive: Archive
) -> None:
    """They went with the walk whose removals were approved, and nobody was asked about them."""
    sale = {"categories": [{"id": 1, "name": "Sale", "slug": "sale"}]}
    archived(archive, [*some(100), *(product(number, **sale) for number in range(101, 131))])
    rules = store(exclude={"category": ["sale"]})
    sync(any_database, archive, rules)
    archived(archive, some(60))
    assert sync(any_database, archive, rules).waiting == {"absent": 40}
    approve_products(any_database, "atelier", 40, who="kim", reason="sale is over")
    assert sync(any_database, archive, rules).removed == {"absent": 40}
    assert guard(any_database, loaded(any_database, range(61, 101))).allowed
    assert not guard(any_database, loaded(any_database, range(101, 131))).allowed
