"""The checks over all stores and the report: on a synced deployment, whole and broken."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import yaml
from PIL import Image
from sqlalchemy import delete, func, insert, select, update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.operations_schema import check_verdicts, syncs
from catalog_pipeline.catalog.removal_approvals import approve_products, count_waiting
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_verdicts,
    points,
    products,
    quarantine,
    walks,
)
from catalog_pipeline.catalog.wanted import is_live
from catalog_pipeline.definitions import defs
from catalog_pipeline.defs.run_records import settle
from catalog_pipeline.defs.standing import STANDING
from catalog_pipeline.demo.stores_file import SECRET_VARIABLE
from catalog_pipeline.embeddings.model import resolve_model
from catalog_pipeline.embeddings.parts import write_part
from catalog_pipeline.files import DataFolder
from catalog_pipeline.plan import plan
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.stores_file import load_stores
from catalog_pipeline.vectors.index import collection_name
from catalog_pipeline.vectors.open import open_index
from catalog_pipeline_tests.defs.held import held
from catalog_pipeline_tests.defs.test_pictures import picture
from catalog_pipeline_tests.deployment import Deployment

WELL, ILL = "atelier", "nordhavn"
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
EVERY_STORE = "every_store_passes"
NAMES = [check.name for check in STANDING]

Evaluations = dict[str, dg.AssetCheckEvaluation]


def run(
    name: str, instance: dg.DagsterInstance, store: str | None = None, **configs: dict[str, Any]
) -> dg.ExecuteInProcessResult:
    ops = {op: {"config": config} for op, config in configs.items()}
    return defs.resolve_job_def(name).execute_in_process(
        instance=instance,
        partition_key=store,
        run_config={**QUIET, "ops": ops},
        raise_on_error=False,
    )


def evaluations(result: dg.ExecuteInProcessResult) -> Evaluations:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def failing(found: dg.AssetCheckEvaluation) -> object:
    return found.metadata["failing"].value if "failing" in found.metadata else ""


def model_version() -> str:
    return resolve_model(load_settings().model).model_version


def store_config(store: str) -> StoreConfig:
    return load_stores(load_settings().stores_file).stores[store]


@pytest.fixture(scope="module")
def synced(deployment: Deployment, instance: dg.DagsterInstance, catalogue: Database) -> Deployment:
    """Both stores in the collection, with a month of days like this one behind them."""
    for store in (WELL, ILL):
        assert run("sync_store", instance, store).success
    settle(instance, catalogue)
    with catalogue.write() as connection:
        for row in connection.execute(select(syncs)).mappings().all():
            for ago in range(2, 30, 3):
                aged = row["updated_at"] - timedelta(days=ago)
                again = {"run_id": f"{row['run_id'][:8]}-{ago}", "updated_at": aged}
                connection.execute(insert(syncs), {**row, **again})
    return deployment


@pytest.fixture
def copy(synced: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A deployment of the test's own to break: files, database and collection."""
    folder = tmp_path / "data"
    shutil.copytree(synced.folder, folder, ignore=shutil.ignore_patterns("dagster", "models"))
    monkeypatch.setenv("CATALOG_DATA_DIR", str(folder))
    opened = Database(load_settings().database)
    yield opened
    opened.dispose()


@pytest.fixture
def fresh() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("stores", [WELL, ILL])
        yield instance


def test_every_check_passes_and_the_report_says_what_the_database_says(
    synced: Deployment, catalogue: Database, instance: dg.DagsterInstance
) -> None:
    result = run("report_stores", instance)

    found = evaluations(result)
    assert sorted(found) == sorted([*NAMES, EVERY_STORE])
    assert {name: one.description for name, one in found.items() if not one.passed} == {}
    (event,) = result.asset_materializations_for_node("store_report")
    with catalogue.read() as connection:
        refused = connection.scalar(select(func.count()).select_from(quarantine))
        live = connection.scalar(select(func.count()).select_from(products).where(is_live()))
        loaded = connection.scalar(select(func.count()).select_from(points))
    assert refused
    assert event.metadata["quarantined"].value == refused
    assert event.metadata["need_a_person"].value == 0, "so few in quarantine need nobody"
    assert event.metadata["products"].value == live
    assert event.metadata["points"].value == loaded
    numbers = [held(catalogue, store, datetime.now(UTC)) for store in (WELL, ILL)]
    embedded = [of_store["image_embeddings"] for of_store in numbers]
    assert event.metadata["accepted"].value == sum(one["accepted"] for one in embedded)
    assert event.metadata["vectors"].value == sum(one["embedded"] for one in embedded)
    assert event.metadata["owed"].value == 0
    trends = picture(event.metadata["trends"])
    assert len(trends) <= 30_000
    with Image.open(io.BytesIO(trends)) as opened:
        assert len(opened.convert("RGB").getcolors(1_000_000) or []) > 20
    (again,) = run("report_stores", instance).asset_materializations_for_node("store_report")
    assert again.metadata["trends"] == dg.MetadataValue.dagster_run(result.run_id)


def break_rows(database: Database) -> None:
    """A wrong currency, prices of another order, walks cut off, vectors lost, pictures rejected."""
    with database.write() as connection:
        of_store = products.c.store_id == ILL
        some = connection.scalars(
            select(products.c.product_id)
            .where(of_store, is_live())
            .order_by(products.c.external_id)
        ).all()
        for product, values in (
            (some[0], {"currency": "USD"}),
            (some[1], {"price": Decimal(-5)}),
            (some[2], {"price": Decimal(10_000_000)}),
        ):
            connection.execute(
                update(products).where(products.c.product_id == product).values(**values)
            )
        newest = select(func.max(walks.c.walk_id)).where(walks.c.store_id == ILL)
        connection.execute(
            update(walks)
            .where(walks.c.store_id == ILL)
            .values(
                complete=walks.c.walk_id != newest.scalar_subquery(),
                processed_at=datetime.now(UTC) - timedelta(days=3),
            )
        )
        accepted = connection.scalars(
            select(image_verdicts.c.image_sha256).where(
                image_verdicts.c.store_id == ILL, image_verdicts.c.accepted
            )
        ).all()
        connection.execute(
            update(image_verdicts)
            .where(
                image_verdicts.c.store_id == ILL,
                image_verdicts.c.image_sha256.in_(accepted[: len(accepted) // 2]),
            )
            .values(accepted=False, issues=[{"issue": "blurry", "measured": 0.1, "threshold": 1}])
        )
        connection.execute(delete(embeddings).where(embeddings.c.image_sha256.in_(accepted[-2:])))


def test_every_check_fails_for_the_store_that_is_broken_and_names_it(
    synced: Deployment,
    copy: Database,
    fresh: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = synced.stores.stores[ILL]
    published = shop.product_ids("publish")
    for number in published[:4]:
        shop.edit(number, name=None)
    for number in published[-15:]:
        shop.delete(number)
    assert run("sync_store", fresh, ILL, raw_products={"walk": "full"}).success
    monkeypatch.setenv(SECRET_VARIABLE, "wrong")
    assert not run("sync_store", fresh, ILL).success
    break_rows(copy)

    result = run("report_stores", fresh)

    found = evaluations(result)
    assert {name for name, one in found.items() if one.passed} == set()
    assert {name: failing(found[name]) for name in NAMES} == dict.fromkeys(NAMES, ILL)
    told = {name: one.description or "" for name, one in found.items()}
    assert "1 walks not complete" in told["walks_are_complete"]
    assert "not in the night that began" in told["no_store_is_stale"]
    assert "4 records in quarantine (name: " in told["few_are_quarantined"]
    with copy.read() as connection:
        waiting = count_waiting(connection, ILL)
    assert waiting > 10
    assert f"{waiting} products wait to be removed" in told["no_removals_wait"]
    assert ": USD)" in told["currency_is_the_stores"]
    assert "1 negative prices" in told["prices_are_plausible"]
    assert "1 prices at least 100 times the median" in told["prices_are_plausible"]
    assert "usually" in told["acceptance_is_usual"]
    assert "blurry" in told["acceptance_is_usual"]
    assert "2 pictures without a vector" in told["accepted_have_vectors"]
    assert "401" in told["no_partition_is_left_failed"]
    assert told[EVERY_STORE] == f"{ILL}: {', '.join(sorted(NAMES))}"
    severities = {name: one.severity.value for name, one in found.items()}
    assert [name for name, severity in severities.items() if severity == "ERROR"] == [
        "no_store_is_stale",
        "currency_is_the_stores",
        "no_partition_is_left_failed",
    ]
    check_report(result, copy)

    approve_products(copy, ILL, waiting, who="kim", reason="the sale is over")
    again = evaluations(run("report_stores", fresh))
    assert "products wait" not in (again["no_removals_wait"].description or "")


def check_report(result: dg.ExecuteInProcessResult, database: Database) -> None:
    """Its numbers are those of the tables, in the table as in the file."""
    (event,) = result.asset_materializations_for_node("store_report")
    table = event.metadata["stores"]
    assert isinstance(table, dg.TableMetadataValue)
    rows = {str(record.data["store"]): record.data for record in table.records}
    content = DataFolder(load_settings().data_dir).read("report/stores.csv").decode()
    lines = {line["store_id"]: line for line in csv.DictReader(io.StringIO(content))}
    assert list(rows) == list(lines) == [ILL, WELL], "what needs a person comes first"
    version = model_version()
    collection = collection_name(load_settings().collection, version)
    with database.read() as connection:
        for store, row in rows.items():
            of_store = products.c.store_id == store
            counted = {
                "products": select(func.count()).where(of_store, is_live()),
                "points": select(func.count()).where(
                    points.c.store_id == store, points.c.collection == collection
                ),
                "quarantined": select(func.count()).where(quarantine.c.store_id == store),
            }
            for name, statement in counted.items():
                assert row[name] == connection.scalar(statement) == int(lines[store][name])
    for store, row in rows.items():
        planned = plan(database, store_config(store), model_version=version, collection=collection)
        assert int(lines[store]["owed_pictures"]) == planned.fetch + planned.embed
        assert int(lines[store]["owed_points"]) == planned.load + sum(planned.remove.values())
        assert row["accepted"] == int(lines[store]["vectors"]) + planned.embed
    assert rows[WELL]["week"] == "+0"
    assert rows[WELL]["concern"] == ""
    assert "failed" in str(rows[ILL]["concern"])
    assert rows[ILL]["outcome"] == "failure, hand"


def test_a_store_whose_runs_are_bounded_is_told_to_be_owed(
    copy: Database, fresh: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stores.yaml"
    document = yaml.safe_load(load_settings().stores_file.read_text())
    for entry in document["stores"]:
        if entry["id"] == WELL:
            entry["max_images_per_run"] = 7
    file.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("CATALOG_STORES_FILE", str(file))
    assert store_config(WELL).max_images_per_run == 7
    with copy.write() as connection:
        connection.execute(delete(embeddings))

    found = evaluations(run("report_stores", fresh))["accepted_have_vectors"]

    assert found.severity is dg.AssetCheckSeverity.WARN
    atelier, nordhavn = (found.description or "").splitlines()
    assert "owed: each run embeds 7 at most" in atelier
    assert "no run has embedded them" in nordhavn


def test_broken_vectors_never_reach_the_collection(
    copy: Database, fresh: dg.DagsterInstance
) -> None:
    files, version = DataFolder(load_settings().data_dir), model_version()
    with copy.write() as connection:
        shas = connection.scalars(
            select(points.c.image_sha256).where(points.c.store_id == ILL).distinct()
        ).all()
        dimensions = resolve_model(load_settings().model).dimensions
        vectors = np.ones((len(shas), dimensions), np.float32) / np.sqrt(np.float32(dimensions))
        vectors[0], vectors[1, 0] = 0, np.nan
        part = write_part(files, version, shas, vectors)
        for row, sha in enumerate(shas):
            connection.execute(
                update(embeddings)
                .where(embeddings.c.image_sha256 == sha)
                .values(part=part, row=row)
            )
        connection.execute(delete(points).where(points.c.store_id == ILL))

    result = run("sync_store", fresh, ILL)

    (found,) = result.get_asset_check_evaluations()
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    for told in (
        f"1 vectors not finite ({shas[1]})",
        f"1 vectors not of length 1 ({shas[0]})",
        f"{len(shas) - 2} vectors all alike (",
    ):
        assert told in (found.description or "")
    assert not result.success
    assert not result.asset_materializations_for_node("qdrant_points")
    # The light job goes on with prices; its points come from the same parts.
    light = run("sync_prices", fresh, ILL)
    assert light.success
    with copy.read() as connection:
        assert connection.scalar(select(func.count()).where(points.c.store_id == ILL)) == 0
    (event,) = light.asset_materializations_for_node("qdrant_points")
    assert int(str(event.metadata["withheld"].value)) >= len(shas)
    told = evaluations(run("report_stores", fresh))[EVERY_STORE].description or ""
    assert "new_vectors_are_sound" in told

    result = run("sync_store", fresh, ILL, image_embeddings={"reembed": True})

    assert result.success
    (found,) = result.get_asset_check_evaluations()
    assert found.passed
    told = evaluations(run("report_stores", fresh))[EVERY_STORE].description or ""
    assert "new_vectors_are_sound" not in told


def test_a_point_that_carries_another_picture_is_not_found_first(
    copy: Database, fresh: dg.DagsterInstance
) -> None:
    found = evaluations(run("reconcile_stores", fresh))["own_picture_comes_first"]
    assert found.passed
    assert found.metadata["products asked for"].value == 20

    collection = collection_name(load_settings().collection, model_version())
    with copy.read() as connection:
        first, last = (
            connection.scalars(
                select(points.c.point_id).where(points.c.store_id == ILL).order_by(order).limit(1)
            ).one()
            for order in (points.c.point_id, points.c.point_id.desc())
        )
    with open_index(load_settings()) as index, index.session(collection) as opened:
        stored = {
            one.point_id: one for one in opened.retrieve([first, last], payload=True, vector=True)
        }
        vector, payload = stored[last].vector, stored[first].payload
        assert vector is not None
        assert payload is not None
        opened.upsert([first], vector[np.newaxis], [payload])

    found = evaluations(run("reconcile_stores", fresh))["own_picture_comes_first"]
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert failing(found) == ILL
    assert f"1 products not found first by their own picture ({first})" in (found.description or "")


def test_what_a_check_asks_of_a_person_is_said_by_it() -> None:
    graph = defs.resolve_asset_graph()
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert {spec.name for spec in specs} > {*NAMES, EVERY_STORE, "everything_agrees"}
    for spec in specs:
        holds, _, then = (spec.description or "").partition("**When it fails**: ")
        assert holds.strip().endswith("."), spec.name
        assert len(then) > 40, spec.name
    assert [spec.name for spec in specs if spec.blocking] == ["new_vectors_are_sound"]


def test_a_run_from_the_graph_judges_its_own_store_by_the_checks_of_its_assets(
    copy: Database, fresh: dg.DagsterInstance
) -> None:
    with copy.write() as connection:
        connection.execute(delete(check_verdicts))
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=fresh,
        partition_key=WELL,
        asset_selection=[dg.AssetKey("products")],
        run_config=QUIET,
    )

    found = evaluations(result)
    assert sorted(found) == sorted(
        check.name for check in STANDING if check.asset.key == dg.AssetKey("products")
    )
    with copy.read() as connection:
        judged = connection.execute(
            select(check_verdicts.c.store_id, check_verdicts.c.check_name)
        ).all()
    assert sorted(judged) == [(WELL, name) for name in sorted(found)]
    for one in found.values():
        assert one.metadata["stores"].value == 1
        assert one.metadata["never checked"].value == ILL
