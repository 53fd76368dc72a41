"""The job `sync_store`, executed over the sample stores on an instance on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple

import dagster as dg
import orjson
import pytest
from sqlalchemy import Select, func, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.queries import summarise_store
from catalog_pipeline.catalog.schema import (
    image_attempts,
    image_verdicts,
    products,
    quarantine,
    store_states,
    walks,
)
from catalog_pipeline.catalog.wanted import Scope, is_live
from catalog_pipeline.definitions import defs
from catalog_pipeline.embeddings.encode import Embedder
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.settings import load_settings
from catalog_pipeline.vectors.index import PointFilter
from catalog_pipeline.vectors.open import open_index
from catalog_pipeline_tests.defs.held import fetched_bytes, held, told
from catalog_pipeline_tests.deployment import STAGES, Deployment

STORES = ["atelier", "nordhavn"]
# Dagster's own use of Pydantic is not ours to mend.
STRICT = ("-W", "error", "-W", "ignore:The `__fields__` attribute")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

AGAIN = """
import json, sys
import dagster as dg
from catalog_pipeline.definitions import defs

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        done = defs.resolve_job_def("sync_store").execute_in_process(
            instance=instance, partition_key=sys.argv[1], run_config=json.loads(sys.argv[2])
        )
    found = {
        event.asset_key.to_user_string(): {
            name: value.value
            for name, value in event.materialization.metadata.items()
            if isinstance(value, dg.IntMetadataValue)
        }
        for event in done.get_asset_materialization_events()
    }
    print(json.dumps({"torch": "torch" in sys.modules, "found": found}))
"""


def execute(instance: dg.DagsterInstance, store_id: str) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("sync_store").execute_in_process(
        instance=instance, partition_key=store_id, run_config=QUIET, raise_on_error=False
    )


class Synced(NamedTuple):
    """A finished first sync of a store."""

    store_id: str
    began: datetime
    result: dg.ExecuteInProcessResult

    def metadata(self, stage: str) -> dict[str, Any]:
        (event,) = self.result.asset_materializations_for_node(stage)
        return {
            name: as_plain(value) if isinstance(value, dg.TableMetadataValue) else value.value
            for name, value in event.metadata.items()
        }


@pytest.fixture(scope="module")
def expected() -> list[str]:
    """The models that were announced while pictures still came, in order."""
    return []


@pytest.fixture(scope="module")
def first_sync(instance: dg.DagsterInstance, expected: list[str]) -> dict[str, Synced]:
    def expect(embedder: Embedder) -> None:
        if embedder.model_version not in expected:
            expected.append(embedder.model_version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Embedder, "expect", expect)
        began = datetime.now(UTC)
        return {
            store_id: Synced(store_id, began, execute(instance, store_id)) for store_id in STORES
        }


@pytest.fixture(params=STORES)
def synced(request: pytest.FixtureRequest, first_sync: dict[str, Synced]) -> Synced:
    return first_sync[request.param]


def as_plain(table: dg.TableMetadataValue) -> dict[str, Any] | list[dict[str, Any]]:
    """Counts by reason; any other table as its rows."""
    rows: list[dict[str, Any]] = [dict(record.data) for record in table.records]
    if {column.name for column in table.schema.columns} >= {"reason", "count"}:
        return {str(row["reason"]): row["count"] for row in rows}
    return rows


def number(database: Database, statement: Select[Any]) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(statement.subquery())) or 0


def counted(database: Database, statement: Select[Any]) -> dict[str, int]:
    with database.read() as connection:
        return {key: int(count) for key, count in connection.execute(statement)}


def test_every_stage_materialises_the_partition(
    synced: Synced, instance: dg.DagsterInstance
) -> None:
    assert synced.result.success
    for stage in STAGES:
        key = dg.AssetKey(stage)
        assert synced.store_id in instance.get_materialized_partitions(key)
        record = instance.get_latest_data_version_record(key, partition_key=synced.store_id)
        assert record is not None
        assert record.asset_materialization is not None
        assert record.asset_materialization.partition == synced.store_id


def test_the_model_is_announced_while_pictures_come(synced: Synced, expected: list[str]) -> None:
    assert expected == [synced.metadata("image_embeddings")["model_version"]]


def test_counts_in_the_metadata_are_those_of_the_database(
    synced: Synced, catalogue: Database
) -> None:
    store_id = synced.store_id
    version = synced.metadata("image_embeddings")["model_version"]
    collection = synced.metadata("qdrant_points")["collection"]
    with catalogue.read() as connection:
        summary = summarise_store(connection, Scope(store_id), version, collection)
        seen = connection.scalar(select(walks.c.seen).where(walks.c.store_id == store_id))

    walked = synced.metadata("raw_products")
    assert walked["products"] == walked["announced"] == seen
    assert walked["complete"] is True
    walk = Archive(DataFolder(load_settings().data_dir)).open(store_id, walked["walk_id"])
    assert walk is not None
    listed = [record["id"] for _, body in walk.pages() for record in orjson.loads(body)]
    assert walked["records"] == len(listed)
    assert walked["duplicates"] == len(listed) - len(set(listed))
    assert (walked["readings"], walked["unshown"]) == (1, walked["announced"] - len(set(listed)))
    rows = synced.metadata("products")
    assert rows["live"] == summary.live > 20
    assert rows["new"] == summary.products
    assert rows["quarantined"] == summary.quarantined
    judged = synced.metadata("product_images")
    assert judged["accepted"] == summary.accepted > 15
    embedded = synced.metadata("image_embeddings")
    assert embedded["embedded"] + embedded["reused"] == summary.embedded == summary.accepted
    loaded = synced.metadata("qdrant_points")
    assert loaded["points"] == loaded["upserted"] == summary.points
    metadata = {stage: synced.metadata(stage) for stage in STAGES}
    assert told(metadata) == held(catalogue, store_id, synced.began)
    assert judged["bytes"] == fetched_bytes(catalogue, store_id)
    assert judged["left"] == embedded["left"] == 0
    assert judged["fetched"] > judged["accepted"]
    for stage, count in {
        "raw_products": seen,
        "products": summary.live,
        "product_images": judged["accepted"] + sum(judged["rejected"].values()),
        "image_embeddings": summary.embedded,
        "qdrant_points": summary.points,
    }.items():
        assert synced.metadata(stage)["dagster/partition_row_count"] == count, stage


def test_the_walk_in_the_metadata_is_the_one_on_record(
    synced: Synced, instance: dg.DagsterInstance, catalogue: Database, deployment: Deployment
) -> None:
    walked = synced.metadata("raw_products")
    with catalogue.read() as connection:
        walk = connection.execute(select(walks).where(walks.c.walk_id == walked["walk_id"])).one()
    archived = Archive(DataFolder(str(deployment.folder))).open(synced.store_id, walk.walk_id)
    assert archived is not None

    assert (walked["kind"], walked["complete"]) == (walk.kind, walk.complete) == ("full", True)
    assert walked["announced"] == walk.announced
    assert walked["currency"] == walk.currency
    assert datetime.fromtimestamp(walked["server_clock"], UTC) == walk.server_clock
    for name in ("pages", "records", "bytes", "requests", "retries", "throttles"):
        assert walked[name] == getattr(archived.manifest, name), name
    assert walked["bytes"] == sum(len(body) for _, body in archived.pages()) > 10_000
    assert 0 < walked["seconds"] < 60
    assert "watermark" not in walked, "there was none to begin at"
    assert synced.metadata("products")["watermark"] == walked["server_clock"]


def test_the_next_walk_says_at_which_watermark_it_began(
    synced: Synced, instance: dg.DagsterInstance, catalogue: Database
) -> None:
    state = select(store_states.c.watermark).where(store_states.c.store_id == synced.store_id)
    with catalogue.read() as connection:
        before = connection.scalar(state)
    assert before is not None

    again = synced._replace(result=execute(instance, synced.store_id)).metadata("raw_products")

    assert again["kind"] == "incremental"
    assert datetime.fromtimestamp(again["watermark"], UTC) == before


def test_the_sample_and_the_quarantine_in_the_metadata_are_rows_of_the_database(
    synced: Synced, catalogue: Database
) -> None:
    told = synced.metadata("products")
    of_store = products.c.store_id == synced.store_id
    refused_records = select(quarantine.c.reason, quarantine.c.external_id).where(
        quarantine.c.store_id == synced.store_id
    )
    with catalogue.read() as connection:
        live = connection.execute(select(products).where(of_store, is_live())).all()
        refused = connection.execute(refused_records).all()
    rows = {row.external_id: row for row in live}

    assert len(told["sample"]) == 5
    for shown in told["sample"]:
        row = rows[shown["external_id"]]
        assert shown["title"] == row.title
        assert shown["price"] == (None if row.price is None else str(row.price))
        assert (shown["currency"], shown["in_stock"]) == (row.currency, row.in_stock)
        assert shown["updated_at"] == f"{row.updated_at:%Y-%m-%d %H:%M:%S}"
    assert told["quarantined"] == len(refused)
    (event,) = synced.result.asset_materializations_for_node("products")
    table = event.metadata["quarantined_by_reason"]
    if not refused:
        assert table == dg.MetadataValue.int(0)
        return
    assert isinstance(table, dg.TableMetadataValue)
    assert {
        (str(row.data["reason"]), example)
        for row in table.records
        for example in str(row.data["examples"]).split(", ")
    } == {(row.reason, row.external_id) for row in refused}


def test_reasons_in_the_metadata_are_those_of_the_database(
    synced: Synced, catalogue: Database
) -> None:
    store_id = synced.store_id
    left_out = counted(
        catalogue,
        select(products.c.left_out_by, func.count())
        .where(products.c.store_id == store_id, products.c.left_out_by.is_not(None))
        .group_by(products.c.left_out_by),
    )
    issues = select(image_verdicts.c.issues).where(
        image_verdicts.c.store_id == store_id, image_verdicts.c.accepted.is_(False)
    )
    with catalogue.read() as connection:
        rejected = Counter(str(found[0]["issue"]) for found in connection.scalars(issues))
    gone = select(image_attempts.c.url).where(
        image_attempts.c.store_id == store_id, image_attempts.c.outcome == "gone"
    )

    assert synced.metadata("products")["left_out"] == left_out
    assert left_out
    assert synced.metadata("product_images")["rejected"] == rejected
    assert rejected
    assert synced.metadata("product_images")["gone"] == number(catalogue, gone)


def test_the_collection_holds_what_the_metadata_says(synced: Synced) -> None:
    loaded = synced.metadata("qdrant_points")

    with open_index(load_settings()) as index, index.session(loaded["collection"]) as opened:
        assert opened.count(PointFilter(stores=(synced.store_id,))) == loaded["points"]
    assert loaded["dagster/uri"] == f"qdrant://{loaded['collection']}"


def test_metadata_leads_to_the_store_and_to_the_files(
    synced: Synced, deployment: Deployment
) -> None:
    walked = synced.metadata("raw_products")
    archived = deployment.folder / "archive" / synced.store_id / walked["walk_id"]

    assert walked["store"] == deployment.stores.stores[synced.store_id].url
    assert walked["dagster/uri"] == archived.as_uri()
    assert (archived / "manifest.json").exists()
    version = synced.metadata("image_embeddings")["model_version"]
    parts = deployment.folder / "embeddings" / version
    assert synced.metadata("image_embeddings")["dagster/uri"] == parts.as_uri()
    assert list(parts.iterdir())
    images = deployment.folder / "images"
    assert synced.metadata("product_images")["dagster/uri"] == images.as_uri()
    assert images.is_dir()


def test_a_second_sync_does_nothing_needs_no_torch_and_warns_of_nothing(
    synced: Synced, deployment: Deployment
) -> None:
    traffic = deployment.stores.stores[synced.store_id].traffic
    served = traffic.images_served

    done = subprocess.run(
        [sys.executable, *STRICT, "-c", AGAIN, synced.store_id, json.dumps(QUIET)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    again = json.loads(done.stdout.splitlines()[-1])
    found = again["found"]
    assert list(found) == STAGES
    assert again["torch"] is False
    assert traffic.images_served == served
    first = synced.metadata("products")
    # An incremental walk: the scheduled products alone, whose date lies in the future.
    assert found["products"]["unchanged"] < first["new"]
    assert found["products"]["live"] == first["live"]
    assert (found["products"]["new"], found["products"]["changed"]) == (0, 0)
    assert (found["product_images"]["fetched"], found["product_images"]["requests"]) == (0, 0)
    assert found["product_images"]["accepted"] == synced.metadata("product_images")["accepted"]
    assert (found["image_embeddings"]["embedded"], found["image_embeddings"]["parts"]) == (0, 0)
    points = found["qdrant_points"]
    assert (points["upserted"], points["payload_refreshed"]) == (0, 0)
    assert points["unchanged"] == points["points"] == synced.metadata("qdrant_points")["points"]


def test_a_wrong_key_fails_the_run_with_one_message_and_stops_the_later_stages(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    wrong = "ck_" + "0123456789abcdef" * 2
    monkeypatch.setenv("DEMO_CONSUMER_KEY", wrong)

    result = execute(instance, "atelier")

    assert not result.success
    started = [event.step_key for event in result.filter_events(lambda one: one.is_step_start)]
    assert started == ["raw_products"]
    (failed,) = result.filter_events(lambda one: one.is_step_failure)
    data = failed.step_failure_data
    assert data.user_failure_data is not None
    message = data.user_failure_data.description or ""
    assert message.startswith("store atelier: http://127.0.0.1:")
    assert "401 woocommerce_rest_cannot_view" in message
    assert "\n" not in message
    assert data.error is not None
    assert data.error.cause is None
    assert data.error.context is None
    assert not result.filter_events(lambda one: one.is_step_up_for_retry)
    logged = [repr(entry) for entry in instance.all_logs(result.run_id)]
    assert not [entry for entry in logged if wrong in entry]
    said = capfd.readouterr().err
    assert wrong not in said
    assert "Traceback" not in said
