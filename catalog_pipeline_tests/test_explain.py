"""A product's way through the stages is told as it is, with what is owed next; so is a store's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from catalog_pipeline.catalog import bulk
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.overrides import Decision, hide_product
from catalog_pipeline.catalog.rates import ASSUMED, Rate, Rates, measured_rates
from catalog_pipeline.catalog.schema import gates, image_attempts, image_verdicts, quarantine
from catalog_pipeline.catalog.syncs import Sync, record_syncs
from catalog_pipeline.explain import Explanation, UnknownProductError, explain
from catalog_pipeline.files import DataFolder
from catalog_pipeline.plan import Plan, WalkTime, plan
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.products.walks import archived
from catalog_pipeline_tests.vectors.shop import MODEL, MOMENT, Shop, sha_of, store_config


@pytest.fixture
def shop(any_database: Database, tmp_path: Path) -> Iterator[Shop]:
    client = QdrantClient(":memory:")
    files = DataFolder(str(tmp_path / "data"))
    yield Shop(any_database, files, ServerIndex(client), images="gallery")
    client.close()


def explained(shop: Shop, name: str) -> list[Explanation]:
    return explain(
        shop.database,
        {shop.store_id: store_config(shop.store_id, images=shop.images)},
        name,
        model_version=MODEL.model_version,
        collection=shop.collection,
    )


def planned(shop: Shop, **keys: object) -> Plan:
    return plan(
        shop.database,
        store_config(shop.store_id, **({"images": shop.images} | keys)),
        model_version=MODEL.model_version,
        collection=shop.collection,
    )


def asked(shop: Shop, url: str, **columns: object) -> None:
    row = {"store_id": shop.store_id, "url": url, "failures": 0, "attempted_at": MOMENT}
    row |= {"image_id": "1", "modified_at": None}
    with shop.database.write() as connection:
        bulk.upsert(connection, image_attempts, [row | columns])


def settled(shop: Shop, *numbers: int) -> None:
    """Products of which nothing is owed."""
    shop.add(*numbers)
    for number in numbers:
        sha = sha_of(f"atelier-{number}")
        asked(shop, shop.url(number), outcome="fetched", image_sha256=sha)
    shop.sync()


def test_a_product_that_is_as_it_should_be_is_owed_nothing(shop: Shop) -> None:
    settled(shop, 1)
    names = [str(shop.id(1)), "sku-1", "atelier:1", shop.url(1), "https://atelier.example/p/1/"]
    found = [explained(shop, name) for name in names]
    assert all(one == found[0] for one in found)
    (one,) = found[0]
    assert (one.product_id, one.state, one.owed) == (shop.id(1), "live", [])
    (image,) = one.images
    assert (image.slot, image.accepted, image.image_sha256) == ("", True, sha_of("atelier-1"))
    assert image.vector == f"{shop.parts[0]}#0"
    (point,) = one.points
    assert (point.point_id, point.reason_to_go) == (shop.id(1), None)


def test_every_stage_says_what_it_owes_and_why(shop: Shop) -> None:
    settled(shop, 1)
    shop.change(1, title="new")
    (one,) = explained(shop, "sku-1")
    assert [(owed.stage, owed.why) for owed in one.owed] == [
        ("qdrant_points", "its payload has changed")
    ]
    shop.product(2)
    (one,) = explained(shop, "sku-2")
    assert [(owed.stage, owed.why) for owed in one.owed] == [
        ("product_images", "it was never asked for")
    ]
    later = datetime.now(UTC) + timedelta(hours=1)
    asked(shop, shop.url(2), outcome="failed", reason="HTTP 500", next_attempt_at=later)
    (one,) = explained(shop, "sku-2")
    (owed,) = one.owed
    assert (owed.at, "HTTP 500" in owed.why) == (later, True)
    asked(
        shop,
        shop.url(2),
        outcome="fetched",
        image_sha256="a" * 64,
        reason=None,
        next_attempt_at=None,
    )
    (one,) = explained(shop, "sku-2")
    assert [(owed.stage, owed.why) for owed in one.owed] == [
        ("product_images", "it has no verdict")
    ]
    shop.judge("a" * 64)
    (one,) = explained(shop, "sku-2")
    assert [(owed.stage, owed.why) for owed in one.owed] == [
        ("image_embeddings", "no vector by m-1")
    ]


def test_a_rejected_picture_shows_what_was_measured_and_the_threshold(shop: Shop) -> None:
    settled(shop, 1)
    issue = {"issue": "too small", "measured": 90, "threshold": 200}
    verdict = {
        "store_id": "atelier",
        "image_sha256": sha_of("atelier-1"),
        "gate_version": "g2",
        "accepted": False,
        "issues": [issue],
        "judged_at": MOMENT,
    }
    gate = {"gate_version": "g2", "thresholds": {"min_side": 200}, "created_at": MOMENT}
    with shop.database.write() as connection:
        bulk.upsert(connection, image_verdicts, [verdict])
        bulk.upsert(connection, gates, [gate])
    (one,) = explained(shop, "sku-1")
    (image,) = one.images
    assert (image.accepted, image.issues, image.thresholds) == (False, [issue], {"min_side": 200})
    assert one.points[0].reason_to_go == "image_rejected"
    assert [owed.why for owed in one.owed] == ["image_rejected"]


def test_states_and_decisions_are_named(shop: Shop) -> None:
    settled(shop, 1, 2, 3)
    hide_product(shop.database, shop.id(1), Decision("anna", "recalled"))
    shop.change(2, removed_by="absent", removed_in="w7")
    shop.change(3, left_out_by="status")
    states = [explained(shop, f"sku-{number}")[0].state for number in (1, 2, 3)]
    assert states == [
        "hidden by anna: recalled",
        "removed: absent in walk w7",
        "left out by status",
    ]


def test_a_quarantined_product_says_why_with_and_without_a_row(shop: Shop) -> None:
    settled(shop, 1)
    rows = [
        {
            "store_id": "atelier",
            "external_id": external_id,
            "walk_id": "w2",
            "reason": "no name",
            "raw": "{}",
            "validator": "v",
            "quarantined_at": MOMENT,
        }
        for external_id in ("1", "9")
    ]
    with shop.database.write() as connection:
        bulk.upsert(connection, quarantine, rows)
    (one,) = explained(shop, "atelier:1")
    assert (one.state, one.quarantined) == ("live", "no name")
    with pytest.raises(UnknownProductError, match="quarantine since walk w2: no name"):
        explained(shop, "atelier:9")
    with pytest.raises(UnknownProductError, match="no product is known as nothing"):
        explained(shop, "nothing")


def test_a_plan_counts_what_is_owed_and_changes_nothing(shop: Shop) -> None:
    settled(shop, 1, 2, 3)
    gate = {row: getattr(planned(shop), row) for row in ("fetch", "embed", "load", "refresh")}
    assert gate == {"fetch": 0, "embed": 0, "load": 0, "refresh": 0}
    shop.change(1, title="new")
    shop.change(2, removed_by="absent")
    shop.product(4)
    shop.product(5)
    shop.add(6)
    asked(shop, shop.url(6), outcome="fetched", image_sha256=sha_of("atelier-6"))
    found = planned(shop)
    assert (found.fetch, found.embed, found.embed_at_most) == (2, 0, 2)
    assert (found.load, found.refresh, found.remove) == (1, 1, {"removed": 1})
    assert (found.removals_wait, found.removal_limit) == (False, 10)
    assert found.seconds > 0
    assert (found.rates, found.walk) == (ASSUMED, WalkTime("full"))
    assert planned(shop) == found
    assert len(shop.points()) == 3
    bounded = planned(shop, max_images_per_run=1)
    assert (bounded.fetch, bounded.left) == (1, 1)


def ran(
    shop: Shop, number: int, *, store_id: str | None = None, **counts: dict[str, float]
) -> None:
    """A run on record; a higher number is a later one."""
    moment = MOMENT + timedelta(hours=number)
    sync = Sync(
        run_id=f"r{number}",
        store_id=store_id or shop.store_id,
        job="sync_store",
        kind="hand",
        status="success",
        walk_kind="full",
        counts=counts,
        error=None,
        retries=0,
        started_at=moment,
        completed_at=moment,
        updated_at=moment,
    )
    with shop.database.write() as connection:
        record_syncs(connection, [sync])


def test_the_time_goes_by_what_this_deployment_measured(shop: Shop) -> None:
    shop.product(1)
    for number in range(1, 13):
        # The first two are long ago, and count no more.
        seconds = 1e6 if number < 3 else 10.0
        ran(
            shop,
            number,
            product_images={"fetched": 60, "unchanged": 40, "seconds": seconds},
            image_embeddings={"embedded": 40, "seconds": seconds, "load_seconds": 2.0},
            qdrant_points={"upserted": 100, "payload_refreshed": 900, "seconds": seconds},
        )
    # Too little to measure by, another store's server, and a run that embedded nothing.
    ran(shop, 20, product_images={"fetched": 1, "seconds": 100.0}, image_embeddings={"seconds": 1})
    ran(shop, 21, store_id="other", product_images={"fetched": 100, "seconds": 1.0})
    rates = planned(shop).rates
    assert rates == Rates(Rate(10.0, 10), Rate(5.0, 10), Rate(100.0, 10), load_seconds=2.0)
    assert planned(shop).seconds == pytest.approx(1 / 10 + 2 + 1 / 5 + 1 / 100, abs=0.06)
    elsewhere = measured(shop, "a store without syncs of its own")
    assert elsewhere.fetches.per_second == pytest.approx((100 + 9 * 100) / (1 + 9 * 10))


def measured(shop: Shop, store_id: str) -> Rates:
    with shop.database.read() as connection:
        return measured_rates(connection, store_id)


def test_the_next_walk_is_timed_by_the_last_ones_of_its_kind(shop: Shop) -> None:
    archive = Archive(shop.files)
    started = datetime.now(UTC)
    for seconds in (50, 2, 3, 4):
        archived(archive, [], clock=started + timedelta(seconds=seconds), images="gallery")
    archived(archive, [], clock=started + timedelta(hours=1), complete=False)
    archived(archive, [], clock=started + timedelta(hours=1), kind="incremental")
    found = plan(
        shop.database,
        store_config(shop.store_id, images=shop.images),
        model_version=MODEL.model_version,
        collection=shop.collection,
        archive=archive,
    )
    assert (found.walk.kind, found.walk.walks) == ("full", 3)
    assert found.walk.seconds == pytest.approx(3, abs=1)
    assert found.seconds >= found.walk.seconds
