"""What needs a person is told, with a command that is there; what needs nobody is not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import pytest
from qdrant_client import QdrantClient

from catalog_pipeline.attention import TOLD_AS_IT_STANDS, Concern, Kind, StoreStanding, look_at
from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.circuits import Circuit, keep_circuit
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.removal_approvals import approve_products, record_approval
from catalog_pipeline.catalog.schema import (
    image_attempts,
    quarantine,
    removal_approvals,
    removal_waits,
    walks,
)
from catalog_pipeline.catalog.syncs import Sync, record_syncs
from catalog_pipeline.catalog.verdicts import StoreVerdict, record_verdict
from catalog_pipeline.cli.main import main
from catalog_pipeline.cli.sync import SyncRequest
from catalog_pipeline.defs.standing import CHECKS
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.qdrant_server import ServerIndex
from catalog_pipeline_tests.vectors.shop import MODEL, Shop, store_config

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 20, 2, tzinfo=UTC)


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    client = QdrantClient(":memory:")
    yield Shop(database, DataFolder(str(tmp_path / "data")), ServerIndex(client))
    client.close()


@pytest.fixture
def healthy(shop: Shop) -> Shop:
    """A store that needs nobody: twelve products loaded, seen whole an hour ago."""
    shop.add(*range(1, 13))
    for number in range(1, 13):
        settle(shop, number)
    shop.sync()
    walked(shop, NOW - timedelta(hours=1))
    return shop


def settle(shop: Shop, number: int) -> None:
    """The picture of a product, as it stands after a fetch of what the product lists."""
    with shop.database.write() as connection:
        connection.execute(
            image_attempts.update()
            .where(image_attempts.c.url == shop.url(number))
            .values(image_id="1")
        )


def walked(shop: Shop, at: datetime, *, kind: str = "full", complete: bool = True) -> None:
    row = {
        "store_id": shop.store_id,
        "walk_id": f"{at:%Y%m%dT%H%M%S}000Z-{kind}-abcdef",
        "kind": kind,
        "complete": complete,
        "server_clock": at,
        "seen": 12,
        "processed_at": at,
    }
    with shop.database.write() as connection:
        upsert(connection, walks, [row])


def ran(
    shop: Shop,
    run_id: str,
    status: str,
    error: str | None = None,
    age: int = 5,
    job: str = "sync_store",
) -> None:
    at = NOW - timedelta(minutes=age)
    sync = Sync(run_id, shop.store_id, job, "hand", status, "full", {}, error, 0, at, at, at)
    with shop.database.write() as connection:
        record_syncs(connection, [sync])


def look(
    shop: Shop, *, night: datetime = NIGHT, is_model_known: bool = True, **keys: Any
) -> StoreStanding:
    with shop.database.read() as connection:
        return look_at(
            connection,
            store_config(shop.store_id, **keys),
            model_version=MODEL.model_version if is_model_known else None,
            collection=shop.collection if is_model_known else None,
            checks=CHECKS,
            now=max(NOW, night),
            night=night,
        )


def kinds(found: StoreStanding) -> list[Kind]:
    """What concerns there are, each with commands that this program has.

    After the one that opens the UI comes what a person does there.
    """
    for concern in found.concerns:
        assert concern.text
        for command in concern.command.removesuffix(in_the_ui(concern)).split(", then "):
            program, *words = shlex.split(command)
            assert program == "catalog"
            served: click.Command = main
            while isinstance(served, click.Group):
                named = served.get_command(click.Context(served), words.pop(0))
                assert named is not None
                served = named
            served.make_context(served.name, words)
    return [concern.kind for concern in found.concerns]


def in_the_ui(concern: Concern) -> str:
    opens, then, launch = concern.command.partition(", then launch the partition ")
    return then + launch if opens == "catalog ui" else ""


def test_a_healthy_store_needs_nobody(healthy: Shop) -> None:
    found = look(healthy)
    assert kinds(found) == []
    assert (found.summary.points, found.owed_pictures, found.circuit_state) == (12, 0, "closed")


def test_a_store_never_synced(shop: Shop) -> None:
    assert kinds(look(shop)) == [Kind.NEVER]
    assert kinds(look(shop, active=False)) == []


def test_a_sample_is_not_the_whole_store(shop: Shop) -> None:
    walked(shop, NOW, complete=False)
    assert kinds(look(shop)) == [Kind.INCOMPLETE]


def test_a_store_is_stale_that_no_walk_saw_whole_since_the_night_began(shop: Shop) -> None:
    walked(shop, NIGHT)
    assert kinds(look(shop)) == []
    tomorrow = NIGHT + timedelta(days=1)
    assert kinds(look(shop, night=tomorrow)) == [Kind.STALE]
    walked(shop, tomorrow, kind="incremental")
    assert kinds(look(shop, night=tomorrow)) == [Kind.STALE], "it saw changes alone"
    walked(shop, tomorrow, kind="sweep")
    assert kinds(look(shop, night=tomorrow)) == []


def test_a_pause_makes_no_store_stale(shop: Shop) -> None:
    walked(shop, NOW - timedelta(days=10))
    pause = {"until": "2026-12-01", "reason": "moving house"}
    assert kinds(look(shop, paused=pause)) == []


def test_without_a_model_pictures_to_be_fetched_still_concern(healthy: Shop) -> None:
    found = look(healthy, is_model_known=False)
    assert kinds(found) == []
    assert (found.summary.embedded, found.summary.points, found.owed_pictures) == (None,) * 3
    healthy.product(20)
    found = look(healthy, is_model_known=False)
    assert kinds(found) == [Kind.OWED]
    assert found.owed_pictures is None


def test_removals_wait_until_they_are_approved(healthy: Shop) -> None:
    row = {
        "product_id": healthy.id(1),
        "store_id": healthy.store_id,
        "reason": "absent",
        "walk_id": "w",
    }
    with healthy.database.write() as connection:
        upsert(connection, removal_waits, [row])
    found = look(healthy)
    assert kinds(found) == [Kind.REMOVALS]
    assert found.removals == {"products": 1}
    approve_products(healthy.database, healthy.store_id, 1, who="ann", reason="ended")
    assert kinds(look(healthy)) == []


def test_points_that_the_guard_would_hold_back_wait_too(healthy: Shop) -> None:
    for number in range(1, 12):
        healthy.change(number, left_out_by="status:draft")
    found = look(healthy)
    assert found.removals == {"points": 11}
    assert kinds(found) == [Kind.REMOVALS]
    healthy.change(1, left_out_by=None)
    assert kinds(look(healthy)) == [], "ten go unasked"


def test_the_number_told_is_the_one_that_an_approval_names(healthy: Shop) -> None:
    applied = {
        "approval_id": uuid4(),
        "store_id": healthy.store_id,
        "stage": "products",
        "count": 1,
        "who": "ann",
        "reason": "ended",
        "approved_at": NOW,
        "outcome": "applied",
        "walk_id": "w",
    }
    with healthy.database.write() as connection:
        upsert(connection, removal_approvals, [applied])
    healthy.change(12, removed_by="absent", removed_in="w")
    for number in range(1, 12):
        healthy.change(number, left_out_by="status:draft")
    told = look(healthy).removals["points"]
    assert told is not None
    with healthy.database.write() as connection:
        record_approval(
            connection, healthy.store_id, "points", told, waiting=told, who="ann", reason="ended"
        )
    report = healthy.sync()
    assert sum(report.deleted.values()) == told == 12


def checked(shop: Shop, check: str, *, passed: bool) -> None:
    verdict = StoreVerdict(
        shop.store_id,
        passed,
        {"orphaned points": 0 if passed else 3},
        {} if passed else {"orphaned points": ["17"]},
    )
    with shop.database.write() as connection:
        record_verdict(connection, check, verdict)


def test_a_check_that_fails_needs_a_person_until_it_passes(healthy: Shop) -> None:
    checked(healthy, "everything_agrees", passed=False)
    found = look(healthy)
    assert kinds(found) == [Kind.CHECK]
    (concern,) = found.concerns
    assert re.fullmatch(
        r"everything_agrees failed at [\d: -]+ UTC: 3 orphaned points \(17\)", concern.text
    )
    assert concern.command == f"catalog reconcile {healthy.store_id}"
    checked(healthy, "everything_agrees", passed=True)
    assert kinds(look(healthy)) == []


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_fails_unseen(healthy: Shop, check: str) -> None:
    checked(healthy, check, passed=False)
    # What status tells as it stands now is not told again as it once stood.
    assert kinds(look(healthy)) == ([] if check in TOLD_AS_IT_STANDS else [Kind.CHECK])


@pytest.mark.parametrize(
    ("check", "asset", "field"),
    [
        ("new_vectors_are_sound", "image_embeddings", "reembed"),
        ("own_picture_comes_first", "qdrant_points", "rewrite"),
    ],
)
def test_vectors_are_mended_by_what_a_run_takes(
    healthy: Shop, check: str, asset: str, field: str
) -> None:
    checked(healthy, check, passed=False)
    (concern,) = look(healthy).concerns
    assert concern.command.endswith(f"{healthy.store_id} with `{field}: true` in {asset}")
    assert field in SyncRequest().run_config()["ops"][asset]["config"]


def test_a_check_that_is_no_more_needs_nobody(healthy: Shop) -> None:
    checked(healthy, "everything_shines", passed=False)
    assert kinds(look(healthy)) == []


def test_a_green_run_of_prices_does_not_hide_a_failed_one_of_pictures(healthy: Shop) -> None:
    ran(healthy, "a", "failure", "image_embeddings: no model", age=20)
    ran(healthy, "b", "success", job="sync_prices")
    found = look(healthy)
    assert kinds(found) == [Kind.FAILED]
    assert found.concerns[0].text == (
        "its sync_store of 2026-11-20 11:40 UTC failed: image_embeddings: no model"
    )
    ran(healthy, "c", "success", age=1)
    assert kinds(look(healthy)) == []


def refuse(shop: Shop, first: int = 3) -> None:
    """The first of three records in quarantine, two of them for the same reason."""
    rows = [
        {
            "store_id": shop.store_id,
            "external_id": str(number),
            "walk_id": "w",
            "reason": reason,
            "raw": "{}",
            "validator": "1",
            "quarantined_at": NOW,
        }
        for number, reason in (
            (71, "price: not a number"),
            (72, "name: missing"),
            (73, "name: missing"),
        )
    ][:first]
    with shop.database.write() as connection:
        upsert(connection, quarantine, rows)


def test_both_databases_tell_the_same(any_database: Database, shop: Shop) -> None:
    shop.database = any_database
    shop.add(1)
    refuse(shop)
    walked(shop, NOW - timedelta(days=2))
    ran(shop, "a", "failure", "no answer")
    found = look(shop)
    assert kinds(found) == [Kind.FAILED, Kind.QUARANTINE, Kind.STALE, Kind.OWED]
    assert (found.summary.live, found.summary.quarantined, found.owed_pictures) == (1, 3, 1)


def test_a_record_or_two_in_quarantine_need_nobody(healthy: Shop) -> None:
    refuse(healthy, first=2)
    found = look(healthy)
    assert kinds(found) == []
    assert found.summary.quarantined == 2


def test_quarantine_names_its_commonest_reason_and_a_product(healthy: Shop) -> None:
    refuse(healthy)
    found = look(healthy)
    assert kinds(found) == [Kind.QUARANTINE]
    (concern,) = found.concerns
    assert concern.text == "3 records are in quarantine: name: missing (2 of them)"
    assert concern.command == "catalog explain atelier:72"


def test_failed_syncs_are_counted_until_one_succeeds(healthy: Shop) -> None:
    ran(healthy, "a", "failure", "raw_products: wrong key", age=9)
    ran(healthy, "b", "failure", "raw_products: no answer", age=8)
    found = look(healthy)
    assert kinds(found) == [Kind.FAILED]
    assert found.concerns[0].text == "its last 2 syncs failed: raw_products: no answer"
    ran(healthy, "c", "success", age=7)
    assert kinds(look(healthy)) == []


def test_an_open_circuit_speaks_for_the_walk_that_failed(healthy: Shop) -> None:
    ran(healthy, "a", "failure", "raw_products: no answer")
    circuit = Circuit(healthy.store_id, 3, "walk", "no answer in 30 s", NOW, NOW)
    with healthy.database.write() as connection:
        keep_circuit(connection, circuit)
    found = look(healthy)
    assert kinds(found) == [Kind.CIRCUIT]
    assert found.circuit_state == "open"
    assert "left alone until 2026-11-20 12:15 UTC: no answer in 30 s" in found.concerns[0].text


def test_work_is_owed_unless_a_run_is_at_it(healthy: Shop) -> None:
    healthy.product(20)
    found = look(healthy)
    assert kinds(found) == [Kind.OWED]
    assert found.owed_pictures == 1
    ran(healthy, "a", "started")
    assert kinds(look(healthy)) == []
