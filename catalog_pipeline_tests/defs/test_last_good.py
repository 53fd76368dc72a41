"""The whole job over a sample store: what goes bad there never takes the good with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
from sqlalchemy import func, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.overrides import Decision, hide_product
from catalog_pipeline.catalog.schema import embeddings, points, products
from catalog_pipeline.definitions import build_defs
from catalog_pipeline.removals import ALWAYS_ALLOWED
from catalog_pipeline.settings import load_settings
from catalog_pipeline_tests.defs.held import held, told, total
from catalog_pipeline_tests.deployment import Deployment, sample_deployment

CHECK = "qdrant_points_everything_agrees"
REMOVED = Decision("anna", "a test")


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    with sample_deployment(tmp_path, products_per_store=24) as found:
        for name, value in found.environ.items():
            monkeypatch.setenv(name, value)
        yield found


@contextmanager
def catalogue() -> Iterator[Database]:
    database = Database(load_settings().database)
    try:
        yield database
    finally:
        database.dispose()


def plain(value: dg.MetadataValue[Any]) -> Any:
    """A number, or counts by reason."""
    if not isinstance(value, dg.TableMetadataValue):
        return value.value
    rows = [record.data for record in value.records]
    return {row["reason"]: row["count"] for row in rows if "reason" in row}


class Run:
    """A deployment's jobs, and what its database holds."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.store_id, self.shop = next(iter(deployment.stores.stores.items()))
        self._instance = instance
        instance.add_dynamic_partitions("stores", [self.store_id])

    def id(self, number: int) -> UUID:
        return product_id(self.store_id, str(number))

    def sync(self, **configs: Any) -> dict[str, dict[str, Any]]:
        """Each stage's metadata as plain values, which are those of the database."""
        since, embedded = datetime.now(UTC), self.embedded()
        self.shop.traffic.reset()
        result = (
            build_defs()
            .resolve_job_def("sync_store")
            .execute_in_process(
                instance=self._instance,
                partition_key=self.store_id,
                run_config={"ops": {op: {"config": config} for op, config in configs.items()}},
            )
        )
        assert result.success
        found = {
            event.asset_key.path[-1]: {
                name: plain(value)
                for name, value in event.step_materialization_data.materialization.metadata.items()
            }
            for event in result.get_asset_materialization_events()
            if event.asset_key is not None
        }
        with catalogue() as database:
            assert told(found) == held(database, self.store_id, since)
        assert found["image_embeddings"]["embedded"] == self.embedded() - embedded
        asked, images = self.shop.traffic, found["product_images"]
        of_api = [seen for seen in asked.last if seen.path.startswith("wp-json/")]
        assert images["requests"] == asked.count() - len(of_api)
        assert images["fetched"] == asked.images_served
        assert images["unchanged"] == asked.images_not_modified
        # The currency is asked for once, before the walks.
        assert found["raw_products"]["requests"] == len(of_api) - asked.count("currency")
        return found

    def embedded(self) -> int:
        with catalogue() as database:
            database.migrate()
            with database.read() as connection:
                return connection.scalar(select(func.count()).select_from(embeddings)) or 0

    def compared(self) -> dg.AssetCheckEvaluation:
        """What the check says of this store."""
        config = {"ops": {CHECK: {"config": {"store": self.store_id}}}}
        job = build_defs().resolve_job_def("reconcile_stores")
        result = job.execute_in_process(instance=self._instance, run_config=config)
        (found,) = (
            one
            for one in result.get_asset_check_evaluations()
            if one.check_name == "everything_agrees"
        )
        return found

    def loaded(self) -> dict[UUID, tuple[str, str]]:
        with catalogue() as database, database.read() as connection:
            rows = connection.execute(
                select(points.c.point_id, points.c.image_sha256, points.c.payload_hash)
            ).all()
        return {key: (sha, payload) for key, sha, payload in rows}

    def price(self, number: int) -> str:
        with catalogue() as database, database.read() as connection:
            found = connection.scalar(
                select(products.c.price).where(products.c.product_id == self.id(number))
            )
        return str(found)


def shown_numbers(run: Run) -> list[int]:
    loaded = run.loaded()
    return [number for number in run.shop.product_ids("publish") if run.id(number) in loaded]


def test_a_run_of_one_product_tells_how_the_whole_store_stands(deployment: Deployment) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = Run(deployment, instance)
        before = run.sync()
        number, *_ = shown_numbers(run)
        run.shop.change_picture(number)
        only = {"product": str(number)}
        after = run.sync(
            raw_products=only, product_images=only, image_embeddings=only, qdrant_points=only
        )

    assert after["product_images"]["fetched"] == after["image_embeddings"]["embedded"] == 1
    for stage in ("product_images", "image_embeddings", "qdrant_points"):
        assert after[stage]["only_product"] == str(number)
        counted = "dagster/partition_row_count"
        assert after[stage][counted] == before[stage][counted] > 1


def test_bad_news_from_a_store_leaves_the_last_good_in_place(deployment: Deployment) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = Run(deployment, instance)
        run.sync()
        first = run.loaded()
        broken, failing, replaced, hidden = shown_numbers(run)[:4]

        run.shop.edit(broken, name=None, regular_price="1.00")
        url = run.shop.change_picture(failing)
        run.shop.edit(failing, regular_price="77.00")
        run.shop.faults.add(status=403, path=url.rsplit("/", 1)[-1])
        run.shop.change_picture(replaced, same_url=True)
        stages = run.sync()
        second = run.loaded()
        assert second.keys() == first.keys()
        assert second[run.id(broken)] == first[run.id(broken)]
        assert run.price(broken) != "1.00"
        assert second[run.id(failing)][0] == first[run.id(failing)][0], "its last good picture"
        assert second[run.id(failing)][1] != first[run.id(failing)][1], "with its new price"
        points_report = stages["qdrant_points"]
        assert (points_report["stale"], points_report["quarantined"]) == (1, 1)
        assert stages["product_images"]["stale"] == 0, "the new address never brought a picture"
        # No list of products tells that a file was replaced; a full walk asks.
        assert second[run.id(replaced)] == first[run.id(replaced)]
        run.shop.faults.clear()
        stages = run.sync(raw_products={"walk": "full"})
        third = run.loaded()
        assert third[run.id(replaced)][0] != second[run.id(replaced)][0]
        assert stages["product_images"]["fetched"] == 1
        assert stages["product_images"]["unchanged"] > 0

        with catalogue() as database:
            hide_product(database, run.id(hidden), REMOVED)
        check = run.compared()
        assert not check.passed, "its point is still there"
        assert check.severity is dg.AssetCheckSeverity.ERROR
        examples = check.metadata["examples"].value
        assert examples == {run.store_id: {"orphaned points": [str(run.id(hidden))]}}
        run.sync()
        assert run.id(hidden) not in run.loaded()
        found = run.compared()
        assert found.passed, found.metadata
        assert found.metadata["held points"].value == len(first) - 1

        gone = shown_numbers(run)[-(ALWAYS_ALLOWED + 1) :]
        for number in gone:
            run.shop.delete(number)
        stages = run.sync(raw_products={"walk": "full"})
        waiting = stages["products"]["waiting"]
        assert waiting == {"absent": len(gone)}
        assert f"--approve {len(gone)} --reason" in stages["products"]["approve"]
        assert len(run.loaded()) == len(first) - 1
        word = {"approve_removals": len(gone), "approval_reason": "the season is over"}
        stages = run.sync(products=word, qdrant_points=word)
        assert stages["products"]["removed"] == waiting
        assert "approve" not in stages["products"]
        with catalogue() as database, database.read() as connection:
            removed = select(products.c.external_id).where(products.c.removed_by == "absent")
            assert set(connection.scalars(removed)) == set(map(str, gone))
        assert total(stages["qdrant_points"]["deleted"]) == len(gone)
        assert len(run.loaded()) == len(first) - 1 - len(gone)
