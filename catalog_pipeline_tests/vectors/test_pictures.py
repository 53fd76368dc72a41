"""A product's other pictures, and what people decide: which points there are of each product."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from catalog_pipeline.catalog import audit, bulk
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import image_point_id
from catalog_pipeline.catalog.overrides import (
    Decision,
    OverrideError,
    all_overrides,
    hide_product,
    judge_image,
    use_image,
    withdraw,
)
from catalog_pipeline.catalog.removal_approvals import Approval
from catalog_pipeline.catalog.schema import images, points, quarantine
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.guard import WaitingPoints, waiting_points
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.vectors.engines import close_to, simple_payload, unit_vectors
from catalog_pipeline_tests.vectors.shop import MODEL, Shop, sha_of, store_config, vector_of

WHY = Decision("anna", "a test")


@pytest.fixture
def shop(any_database: Database, tmp_path: Path) -> Iterator[Shop]:
    client = QdrantClient(":memory:")
    files = DataFolder(str(tmp_path / "data"))
    yield Shop(any_database, files, ServerIndex(client), images="gallery")
    client.close()


def shown(shop: Shop) -> dict[UUID, Any]:
    return {key: (point.payload or {}).get("image_sha256") for key, point in shop.points().items()}


def known(shop: Shop, *pictures: str) -> None:
    """Measured, as every fetched picture is."""
    rows = [
        {
            "image_sha256": sha_of(picture),
            "bytes": 1,
            "measurements": {},
            "decoder": "d",
            "measured_at": datetime.now(UTC),
        }
        for picture in pictures
    ]
    with shop.database.write() as connection:
        bulk.upsert(connection, images, rows)


def other(shop: Shop, number: int, image_id: str) -> UUID:
    return image_point_id(shop.id(number), image_id, is_main=False)


def test_a_gallery_has_one_point_for_each_picture(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front", "back", "side")
    report = shop.sync()
    assert (report.upserted, report.points, report.recorded) == (3, 3, 3)
    assert shown(shop) == {
        shop.id(1): sha_of("front"),
        other(shop, 1, "2"): sha_of("back"),
        other(shop, 1, "3"): sha_of("side"),
    }
    back = shop.points()[other(shop, 1, "2")]
    assert close_to(back.vector, vector_of(sha_of("back")))
    assert back.payload is not None
    assert back.payload["product_id"] == str(shop.id(1))
    assert back.payload["image_url"] == "https://atelier.example/back.jpg"
    again = shop.sync()
    assert (again.upserted, again.payload_refreshed, again.unchanged) == (0, 0, 3)


def test_the_same_content_twice_in_a_product_has_one_point(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "back", "front", "back")
    shop.product(2)
    shop.lists(2, "front")
    shop.sync()
    assert shown(shop) == {
        shop.id(1): sha_of("back"),
        other(shop, 1, "2"): sha_of("front"),
        shop.id(2): sha_of("front"),
    }
    # The content that the main picture loses is the other's again, under the other's own id.
    shop.lists(1, "new", "front", "back")
    shop.sync()
    assert shown(shop)[other(shop, 1, "3")] == sha_of("back")
    assert shown(shop)[shop.id(1)] == sha_of("new")


def test_from_gallery_to_main_takes_the_others_out_by_reason(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front", "back")
    shop.sync()
    report = shop.sync(images="main")
    assert report.deleted == {"image_not_wanted": 1}
    assert shown(shop) == {shop.id(1): sha_of("front")}


def test_switching_back_waits_for_a_person_who_is_told_the_number(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front", "back")
    shop.varies(1, **{str(number): f"colour {number}" for number in range(20, 32)})
    assert shop.sync(images="all").points == 14
    stray = uuid4()
    with shop.index.session(shop.collection) as opened:
        opened.upsert([stray], unit_vectors(1), [simple_payload(stray)])

    def waiting() -> WaitingPoints:
        config = store_config(shop.store_id, images="main")
        return waiting_points(shop.database, shop.index, config, MODEL.model_version, shop.alias)

    told = waiting()
    assert (told.count, told.unrecorded, told.limit) == (14, 1, 10)
    assert {point.reason for point in told.points} == {"image_not_wanted"}
    assert {point.title for point in told.points} == {"Dress 1"}
    report = shop.sync(images="main")
    assert report.waiting == {"image_not_wanted": 13, "unrecorded": 1}
    assert (report.points, report.deleted) == (15, {})
    assert waiting() == told

    refused = shop.sync(images="main", approval=Approval(13, "kim", "front only"))
    assert "14 removals of points wait, and 13 were approved" in (refused.approval_refused or "")
    assert refused.points == 15
    report = shop.sync(images="main", approval=Approval(told.count, "kim", "front only"))
    assert (report.points, report.approval_refused) == (1, None)
    assert waiting().count == 0


def test_variations_bring_their_pictures_only_where_asked_for(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front", "back")
    shop.varies(1, **{"71": "blue", "72": "red", "73": "front"})
    assert shop.sync().points == 2
    assert shop.sync(images="all").points == 4
    assert shown(shop)[other(shop, 1, "972")] == sha_of("red")
    shop.varies(1, **{"72": "crimson"})
    report = shop.sync(images="all")
    assert (report.upserted, report.unchanged) == (1, 3)
    assert shown(shop)[other(shop, 1, "972")] == sha_of("crimson")


def test_lost_records_of_a_gallery_are_found_again(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front", "back")
    shop.sync()
    with shop.database.write() as connection:
        connection.execute(points.delete())
    report = shop.sync()
    assert (report.unrecorded, report.points, report.recorded, report.deleted) == (2, 2, 2, {})


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.lists(st.sampled_from("abcd"), max_size=5), min_size=1, max_size=4))
def test_whatever_a_product_lists_each_content_has_one_point(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    database = Database(f"sqlite:///{folder / 'c.sqlite'}")
    database.migrate()
    client = QdrantClient(":memory:")
    shop = Shop(database, DataFolder(str(folder)), ServerIndex(client), images="gallery")
    for listed in steps:
        shop.product(1)
        shop.lists(1, *listed)
        report = shop.sync()
        found = shown(shop)
        assert sorted(found.values()) == sorted({sha_of(picture) for picture in listed})
        assert found.get(shop.id(1)) == (sha_of(listed[0]) if listed else None)
        assert report.points == report.recorded == len(found)
    client.close()
    database.dispose()


def test_a_hidden_product_has_no_point_until_it_is_shown_again(shop: Shop) -> None:
    shop.add(1, 2)
    shop.sync()
    hide_product(shop.database, shop.id(1), WHY)
    assert shop.sync().deleted == {"hidden": 1}
    assert set(shown(shop)) == {shop.id(2)}
    # What a walk writes does not undo it.
    shop.add(1, title="changed")
    assert shop.sync().points == 1
    withdraw(shop.database, shop.id(1), who="ben", reason="on sale again")
    assert shop.sync().upserted == 1


def test_an_override_ends_by_itself(shop: Shop) -> None:
    shop.add(1)
    shop.sync()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    hide_product(shop.database, shop.id(1), Decision("anna", "recall", tomorrow))
    shop.sync()
    assert shown(shop) == {}
    with time_machine.travel(tomorrow + timedelta(hours=1)):
        assert shop.sync().upserted == 1
        with shop.database.read() as connection:
            assert all_overrides(connection) == []


@pytest.mark.parametrize("accepted", [True, False])
def test_a_person_stands_above_the_gate_however_often_it_judges(shop: Shop, accepted: bool) -> None:
    shop.add(1)
    sha = sha_of("atelier-1")
    known(shop, "atelier-1")
    shop.judge(sha, accepted=not accepted)
    shop.sync()
    judge_image(shop.database, sha, WHY, accepted=accepted)
    shop.judge(sha, accepted=not accepted)
    report = shop.sync()
    assert set(shown(shop)) == ({shop.id(1)} if accepted else set())
    assert report.deleted == ({} if accepted else {"image_rejected": 1})


def test_another_picture_serves_as_the_main_one_as_long_as_it_is_listed(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front", "back")
    shop.sync(images="main")
    use_image(shop.database, shop.id(1), "2", WHY)
    shop.sync(images="main")
    assert shown(shop) == {shop.id(1): sha_of("back")}
    shop.sync(images="gallery")
    assert shown(shop) == {shop.id(1): sha_of("back"), other(shop, 1, "1"): sha_of("front")}
    shop.lists(1, "front")
    shop.sync(images="main")
    assert shown(shop) == {shop.id(1): sha_of("front")}


def test_every_decision_is_on_record(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front", "back")
    known(shop, "front")
    use_image(shop.database, shop.id(1), "2", WHY)
    hide_product(shop.database, shop.id(1), Decision("ben", "recall"))
    judge_image(shop.database, sha_of("front"), WHY, accepted=False)
    ended = withdraw(shop.database, shop.id(1), who="eve", reason="over")
    assert {one.action for one in ended} == {"use", "hide"}
    with shop.database.read() as connection:
        of_product = audit.entries(connection, subject=str(shop.id(1)))
        of_image = audit.entries(connection, subject=sha_of("front"))
        assert [one.action for one in all_overrides(connection)] == ["reject"]
    assert [(entry.action, entry.who) for entry in of_image] == [("override.reject", "anna")]
    assert sorted((entry.action, entry.who, entry.reason) for entry in of_product) == [
        ("override.hide", "ben", "recall"),
        ("override.use", "anna", "a test"),
        ("override.withdraw", "eve", "over"),
        ("override.withdraw", "eve", "over"),
    ]
    assert {entry.store_id for entry in of_product} == {"atelier", None}


def test_what_cannot_be_overridden_is_refused(shop: Shop) -> None:
    shop.product(1)
    shop.lists(1, "front")
    with pytest.raises(OverrideError, match="no product"):
        hide_product(shop.database, shop.id(2), WHY)
    with pytest.raises(OverrideError, match="lists no image 7; it lists 1"):
        use_image(shop.database, shop.id(1), "7", WHY)
    with pytest.raises(OverrideError, match="no picture"):
        judge_image(shop.database, "f" * 64, WHY, accepted=True)
    with pytest.raises(OverrideError, match="reason"):
        Decision("anna", " ")
    with pytest.raises(OverrideError, match="passed"):
        Decision("anna", "late", datetime(2020, 1, 1, tzinfo=UTC))
    with shop.database.read() as connection:
        assert audit.entries(connection) == []


def test_a_product_in_quarantine_keeps_its_point_and_is_counted(shop: Shop) -> None:
    shop.add(1, 2)
    shop.sync()
    row = {
        "store_id": "atelier",
        "external_id": "1",
        "walk_id": "w2",
        "reason": "no name",
        "raw": "{}",
        "validator": "v",
        "quarantined_at": datetime.now(UTC),
    }
    with shop.database.write() as connection:
        bulk.upsert(connection, quarantine, [row])
    shop.change(1, in_stock=False)
    report = shop.sync()
    assert (report.quarantined, report.payload_refreshed, report.points) == (1, 1, 2)


def test_one_product_alone_can_be_written_again(shop: Shop) -> None:
    shop.add(1, 2)
    shop.sync()
    shop.change(1, title="new")
    shop.change(2, title="new")
    report = shop.sync(product_id=shop.id(1), rewrite=True)
    assert (report.upserted, report.payload_refreshed, report.deleted) == (1, 0, {})
    titles = {key: (point.payload or {})["title"] for key, point in shop.points().items()}
    assert titles == {shop.id(1): "new", shop.id(2): "Dress 2"}
