"""The whole job over a sample store: what goes bad there never takes the good with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import pytest
from sqlalchemy import select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.overrides import Decision, hide_product
from catalog_pipeline.catalog.schema import points, products
from catalog_pipeline.definitions import build_defs
from catalog_pipeline.settings import load_settings
from catalog_pipeline_tests.deployment import Deployment, sample_deployment

CHECK = "qdrant_points_everything_agrees"
REMOVED = Decision("anna", "a test")


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    with sample_deployment(tmp_path, products_per_store=16) as found:
        for name, value in found.environ.items():
            monkeypatch.setenv(name, value)
        yield found


class Run:
    """A deployment's jobs, and what its database holds."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.store_id, self.shop = next(iter(deployment.stores.stores.items()))
        self._instance = instance
        instance.add_dynamic_partitions("stores", [self.store_id])

    def id(self, number: int) -> UUID:
        return product_id(self.store_id, str(number))

    def job(self, name: str, **walk: Any) -> dg.ExecuteInProcessResult:
        config = {"ops": {"raw_products": {"config": walk}}} if walk else None
        job = build_defs().resolve_job_def(name)
        return job.execute_in_process(
            instance=self._instance, partition_key=self.store_id, run_config=config
        )

    def sync(self, **walk: Any) -> dict[str, dict[str, Any]]:
        """Each stage's metadata as plain values."""
        result = self.job("sync_store", **walk)
        assert result.success
        return {
            event.asset_key.path[-1]: {
                name: getattr(value, "value", value)
                for name, value in event.step_materialization_data.materialization.metadata.items()
            }
            for event in result.get_asset_materialization_events()
            if event.asset_key is not None
        }

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
        database = Database(load_settings().database)
        with database.read() as connection:
            rows = connection.execute(
                select(points.c.point_id, points.c.image_sha256, points.c.payload_hash)
            ).all()
        database.dispose()
        return {key: (sha, payload) for key, sha, payload in rows}

    def price(self, number: int) -> str:
        database = Database(load_settings().database)
        with database.read() as connection:
            found = connection.scalar(
                select(products.c.price).where(products.c.product_id == self.id(number))
            )
        database.dispose()
        return str(found)


def shown_numbers(run: Run) -> list[int]:
    loaded = run.loaded()
    return [number for number in run.shop.product_ids("publish") if run.id(number) in loaded]


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
        # No list of products tells that a file was replaced; a full walk asks.
        assert second[run.id(replaced)] == first[run.id(replaced)]
        run.shop.faults.clear()
        stages = run.sync(walk="full")
        third = run.loaded()
        assert third[run.id(replaced)][0] != second[run.id(replaced)][0]
        assert stages["product_images"]["fetched"] == 1
        assert stages["product_images"]["unchanged"] > 0

        database = Database(load_settings().database)
        hide_product(database, run.id(hidden), REMOVED)
        database.dispose()
        check = run.compared()
        assert not check.passed, "its point is still there"
        examples = check.metadata["examples"].value
        assert examples == {run.store_id: {"orphaned points": [str(run.id(hidden))]}}
        run.sync()
        assert run.id(hidden) not in run.loaded()
        found = run.compared()
        assert found.passed, found.metadata
        assert found.metadata["held points"].value == len(first) - 1
