"""A product's way through the stages is told as it is, with what is owed next; so is a store's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from qdrant_client import QdrantClient

from catalog_pipeline.catalog import bulk
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.overrides import Decision, hide_product
from catalog_pipeline.catalog.rates import ASSUMED, Rate, Rates, measured_rates
from catalog_pipeline.catalog.removal_approvals import approve_products
from catalog_pipeline.catalog.schema import (
    gates,
    image_attempts,
    image_verdicts,
    images,
    quarantine,
    removal_waits,
)
from catalog_pipeline.catalog.syncs import Sync, record_syncs
from catalog_pipeline.cli.main import main
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, write_stores_file
from catalog_pipeline.explain import Explanation, UnknownProductError, explain
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.images.measure import Measurements
from catalog_pipeline.images.records import image_row
from catalog_pipeline.images.sync import sync_images
from catalog_pipeline.plan import Plan, WalkTime, plan
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline.settings import load_settings
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.products.walks import archived
from catalog_pipeline_tests.products.wordpress import product
from catalog_pipeline_tests.test_gate_preview import GOOD
from catalog_pipeline_tests.vectors.shop import MODEL, MOMENT, Shop, sha_of, store_config


@pytest.fixture
def shop(any_database: Database, tmp_path: Path) -> Iterator[Shop]:
    client = QdrantClient(":memory:")
    files = DataFolder(str(tmp_path / "data"))
    yield Shop(any_database, files, ServerIndex(client), images="gallery")
    client.close()


def explained(
    shop: Shop, name: str, archive: Archive | None = None, store_id: str | None = None
) -> list[Explanation]:
    return explain(
        shop.database,
        {shop.store_id: store_config(shop.store_id, images=shop.images)},
        name,
        model_version=MODEL.model_version,
        collection=shop.collection,
        archive=archive,
        store_id=store_id,
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


def refused(shop: Shop, external_id: str, record: object) -> None:
    row = {
        "store_id": "atelier",
        "external_id": external_id,
        "walk_id": "w2",
        "reason": "no name",
        "raw": json.dumps(record),
        "validator": "v",
        "quarantined_at": MOMENT,
    }
    with shop.database.write() as connection:
        bulk.upsert(connection, quarantine, [row])


def test_a_quarantined_product_says_why_beside_its_row(shop: Shop) -> None:
    settled(shop, 1)
    refused(shop, "1", product(1, name="", sku="a newer sku"))
    for name in ("atelier:1", "a newer sku"):
        (one,) = explained(shop, name)
        assert (one.title, one.state, one.quarantined) == ("Dress 1", "live", "no name")


def test_a_product_that_never_became_a_row_is_told_by_whatever_names_it(shop: Shop) -> None:
    record = product(9, name="", sku="Kjole ø 9")
    refused(shop, "9", record)
    refused(shop, "10", product(10, name=""))
    archive = Archive(shop.files)
    walk = archived(archive, [record], kind="incremental")
    page, picture = record["permalink"], record["images"][0]["src"]
    names = ["atelier:9", str(shop.id(9)), "Kjole ø 9", page, page.rstrip("/"), picture]
    for name in names:
        (one,) = explained(shop, name, archive)
        assert (one.product_id, one.external_id, one.title) == (shop.id(9), "9", None)
        assert (one.state, one.quarantined) == ("never became a row", "no name")
        assert one.last_walk == walk
    assert explained(shop, "9", archive, store_id="atelier") == [one]
    assert explained(shop, "atelier:9")[0].last_walk is None
    with pytest.raises(UnknownProductError, match="no product is known as nothing"):
        explained(shop, "nothing", archive)
    with pytest.raises(UnknownProductError):
        explained(shop, "atelier:9", archive, store_id="elsewhere")


def test_the_last_walk_that_saw_a_product_is_told_and_what_no_row_knows_yet(shop: Shop) -> None:
    archive = Archive(shop.files)
    with shop.lease() as lease:
        first = archived(archive, [product(1), product(2)])
        sync_products(lease, archive, store_config("atelier"))
    (one,) = explained(shop, "atelier:1", archive)
    assert (one.last_walk, one.changed_in, one.first_walk) == (first, first, first)
    assert [owed.stage for owed in one.owed] == ["product_images"]
    changed = archived(archive, [product(1), product(3)], kind="incremental")
    swept = archived(archive, [], kind="sweep", swept=[product(1), product(3)])
    told = {
        number: (one.last_walk, [(owed.what, owed.why) for owed in one.owed if "walk" in owed.what])
        for number in "123"
        for one in explained(shop, f"atelier:{number}", archive)
    }
    saw = [(f"process walk {walk}", "it saw the product") for walk in (changed, swept)]
    missed = (f"process walk {swept}", "it saw the whole store without the product")
    assert told == {"1": (swept, saw), "2": (first, [missed]), "3": (swept, saw)}
    (unread,) = explained(shop, "atelier:3", archive)
    assert (unread.state, unread.quarantined) == ("never became a row", None)
    with shop.lease() as lease:
        sync_products(lease, archive, store_config("atelier"))
    (gone,) = explained(shop, "atelier:2", archive)
    assert (gone.state, gone.last_walk) == (f"removed: absent in walk {swept}", first)


def test_a_removal_that_waits_for_an_approval_is_owed(shop: Shop) -> None:
    settled(shop, *range(1, 16))
    rows = [
        {
            "product_id": shop.id(number),
            "store_id": "atelier",
            "reason": "absent",
            "walk_id": "w5",
        }
        for number in range(1, 13)
    ]
    with shop.database.write() as connection:
        bulk.upsert(connection, removal_waits, rows)
    assert explained(shop, "sku-15")[0].owed == []
    (owed,) = explained(shop, "sku-1")[0].owed
    assert (owed.stage, owed.what) == ("products", "remove the product")
    assert owed.why == (
        "absent in walk w5; 12 removals wait for an approval: catalog removals atelier"
    )
    approve_products(shop.database, "atelier", 12, who="kim", reason="sale is over")
    (owed,) = explained(shop, "sku-1")[0].owed
    assert "go if the approval that is open names their number" in owed.why


def test_a_point_that_the_guard_holds_back_says_so(shop: Shop) -> None:
    settled(shop, *range(1, 16))
    for number in range(1, 12):
        shop.change(number, removed_by="absent")
    (owed,) = explained(shop, "sku-1")[0].owed
    assert owed.what == f"remove point {shop.id(1)}"
    assert owed.why == "removed; 11 removals of points wait for an approval"


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


def test_the_command_tells_an_accepted_pictures_measurements_and_thresholds(tmp_path: Path) -> None:
    write_stores_file(tmp_path / "stores.yaml", "http://127.0.0.1:9")
    environ = {
        "CATALOG_DATA_DIR": str(tmp_path),
        "CATALOG_STORES_FILE": str(tmp_path / "stores.yaml"),
        "CATALOG_MODEL": DEMO_MODEL,
        KEY_VARIABLE: "ck_x",
        SECRET_VARIABLE: "cs_x",
    }
    database = Database(load_settings(environ).database)
    database.migrate()
    client = QdrantClient(":memory:")
    shop = Shop(database, DataFolder(str(tmp_path)), ServerIndex(client))
    shop.product(1)
    asked(shop, shop.url(1), outcome="fetched", image_sha256="a" * 64)
    with database.write() as connection:
        bulk.upsert(connection, images, [image_row("a" * 64, Measurements(**GOOD))])
    with shop.lease() as lease:
        sync_images(lease, shop.files, store_config("atelier"), decoder=Decoder(workers=1))
    refused(shop, "9", {})
    database.dispose()
    client.close()

    said = CliRunner().invoke(main, ["explain", "atelier:1"], env=environ).stdout
    assert "accepted\n" in said
    assert "measured: brightness 128.0, contrast 40.0, shadows 10.0, highlights 240.0" in said
    assert "thresholds: max_bytes 20,000,000, max_pixels 50,000,000, min_side 200" in said
    called = CliRunner().invoke(main, ["explain", "atelier:9"], env=environ)
    assert called.exit_code == 0
    assert "never became a row" in called.stdout
    assert "no name" in called.stdout
