"""Source, database and collection are held against each other, and put right within the rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from qdrant_client import QdrantClient

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.index import OwnershipError
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline.vectors.reconcile import Reconciliation, SourceIds, reconcile, repair
from catalog_pipeline.vectors.sync import PointsReport
from catalog_pipeline_tests.vectors.engines import close_to, simple_payload, unit_vectors
from catalog_pipeline_tests.vectors.shop import MODEL, Shop, store_config


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    client = QdrantClient(":memory:")
    yield Shop(database, DataFolder(str(tmp_path / "data")), ServerIndex(client), images="gallery")
    client.close()


def compared(shop: Shop, source: SourceIds | None = None) -> Reconciliation:
    store = store_config(shop.store_id, images=shop.images)
    return reconcile(shop.database, shop.index, store, MODEL, alias=shop.alias, source=source)


def mended(shop: Shop, found: Reconciliation) -> PointsReport:
    with shop.lease() as lease:
        return repair(
            lease,
            shop.files,
            shop.index,
            store_config(shop.store_id, images=shop.images),
            MODEL,
            found,
            alias=shop.alias,
            deployment_id=shop.database.deployment_id(),
        )


def put(shop: Shop, *ids: UUID) -> None:
    """Points that somebody else's hands wrote."""
    with shop.index.session(shop.collection) as opened:
        payloads = [simple_payload(key) for key in ids]
        opened.upsert(ids, unit_vectors(len(ids)), payloads)


def test_before_and_after_a_first_sync(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front", "back")
    shop.add(2)
    before = compared(shop)
    assert (len(before.missing), before.held, before.wanted, before.live) == (3, 0, 3, 2)
    shop.sync()
    after = compared(shop)
    assert after.agrees
    assert (after.held, after.wanted) == (3, 3)


def test_every_kind_of_difference_is_named_by_id_and_repaired(shop: Shop) -> None:
    shop.add(1, 2, 3, 4, 5)
    shop.sync()
    good = shop.points()
    stranger = uuid4()
    put(shop, stranger)
    with shop.index.session(shop.collection) as opened:
        opened.delete([shop.id(1)])
        payload = good[shop.id(3)].payload or {}
        opened.overwrite_payloads([shop.id(3)], [payload | {"title": "meddled"}])
    wrong = (good[shop.id(2)].payload or {}) | {"model_version": "another"}
    with shop.index.session(shop.collection) as opened:
        opened.upsert([shop.id(2)], unit_vectors(1), [wrong])
    # The counts agree, so that a plain sync compares nothing.
    assert shop.sync().lost == 0
    found = compared(shop)
    assert found.missing == [shop.id(1)]
    assert found.orphaned == [stranger]
    assert found.stale_payload == [shop.id(3)]
    assert found.stale_vector == [shop.id(2)]
    assert shop.points()[shop.id(3)].payload != good[shop.id(3)].payload, "looking changes nothing"
    report = mended(shop, found)
    assert (report.upserted, report.payload_refreshed, report.deleted) == (2, 1, {"unrecorded": 1})
    assert compared(shop).agrees
    now = shop.points()
    assert {key: point.payload for key, point in now.items()} == {
        key: point.payload for key, point in good.items()
    }
    for key, point in now.items():
        before = good[key].vector
        assert before is not None
        assert close_to(point.vector, before)


@pytest.mark.parametrize("named", [str(UUID(int=7)), None, "of another product"])
def test_a_payload_that_names_another_product_is_stale(shop: Shop, named: str | None) -> None:
    shop.add(1, 2)
    shop.product(3)
    shop.lists(3, "front", "back")
    shop.sync()
    good = {key: point.payload for key, point in shop.points().items()}
    meddled = [key for key, payload in good.items() if payload and payload["external_id"] == "3"]
    other = str(shop.id(1)) if named == "of another product" else named
    with shop.index.session(shop.collection) as opened:
        payloads = [(good[key] or {}) | {"product_id": other} for key in meddled]
        opened.overwrite_payloads(meddled, payloads)
    found = compared(shop)
    assert found.stale_payload == sorted(meddled)
    assert {kind: count for kind, count in found.differences.items() if count} == {
        "stale payloads": 2
    }
    report = mended(shop, found)
    assert (report.payload_refreshed, report.upserted, report.deleted) == (2, 0, {})
    assert {key: point.payload for key, point in shop.points().items()} == good
    assert compared(shop).agrees


def test_a_repair_is_bound_by_the_removal_guard(shop: Shop) -> None:
    shop.add(*range(5))
    shop.sync()
    put(shop, *(uuid4() for _ in range(12)))
    found = compared(shop)
    assert len(found.orphaned) == 12
    report = mended(shop, found)
    assert (report.deleted, report.waiting) == ({}, {"unrecorded": 12})
    assert len(compared(shop).orphaned) == 12


def test_another_deployments_collection_is_neither_compared_nor_repaired(
    shop: Shop, tmp_path: Path
) -> None:
    shop.add(1)
    shop.sync()
    found = compared(shop)
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    other.migrate()
    theirs = Shop(other, shop.files, shop.index, images="gallery")
    with pytest.raises(OwnershipError, match="belongs to deployment"):
        compared(theirs)
    with pytest.raises(OwnershipError):
        mended(theirs, found)
    assert set(shop.points()) == {shop.id(1)}
    other.dispose()


def test_rows_are_held_against_the_source(shop: Shop) -> None:
    shop.add(1, 2)
    shop.add(3, walk_id="w9")
    shop.add(4, left_out_by="status")
    # Gone before the source showed it, and after.
    shop.add(5, removed_by="absent", removed_in="w3")
    shop.add(6, removed_by="absent", removed_in="w7")
    shop.sync()
    found = compared(shop, SourceIds("w5", ["1", "4", "5", "6", "8"]))
    assert (found.source, found.missing_rows, found.orphaned_rows) == (5, ["5", "8"], ["2"])
    assert found.differences["orphaned rows"] == 1
    assert not found.agrees
