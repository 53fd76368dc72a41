"""The data version of a partition changes with what it holds, and with nothing else."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from sqlalchemy import delete, select, update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import image_verdicts, points, products
from catalog_pipeline.definitions import defs
from catalog_pipeline_tests.deployment import STAGES, Deployment

STORE = "atelier"


def sync(instance: dg.DagsterInstance, walk: str = "full") -> dict[str, str]:
    """A sync of the store; the data version of each of its partitions after it."""
    config: dict[str, Any] = {
        "ops": {"raw_products": {"config": {"walk": walk}}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    job = defs.resolve_job_def("sync_store")
    done = job.execute_in_process(instance=instance, partition_key=STORE, run_config=config)
    return {
        materialisation.asset_key.to_user_string(): str(
            (materialisation.tags or {}).get("dagster/data_version")
        )
        for event in done.get_asset_materialization_events()
        for materialisation in [event.materialization]
    }


@pytest.fixture(scope="module")
def synced(instance: dg.DagsterInstance, deployment: Deployment) -> dg.DagsterInstance:
    """The instance after a first sync, of a store whose incremental walks can find nothing."""
    shop = deployment.stores.stores[STORE]
    # Its date lies ahead, so every incremental walk reads it.
    for scheduled in shop.product_ids("future"):
        shop.delete(scheduled)
    sync(instance)
    return instance


def test_the_same_content_read_again_is_the_same_version(
    synced: dg.DagsterInstance, deployment: Deployment
) -> None:
    before = sync(synced)
    assert list(before) == STAGES
    assert len(set(before.values())) == len(STAGES)

    deployment.stores.clock.advance(minutes=60)
    assert sync(synced) == before
    # Nor does a walk that finds nothing new, of whatever kind, though its overlap brings once more
    # what was new to the one before.
    shop = deployment.stores.stores[STORE]
    added = shop.add(status="draft", name="Next season")
    before = sync(synced)
    for walk in ("incremental", "sweep", "nightly", "full", "nightly"):
        assert sync(synced, walk) == before, walk
    shop.delete(added)
    deployment.stores.clock.advance(minutes=60)
    assert sync(synced, "nightly")["raw_products"] != before["raw_products"]


def test_a_new_price_changes_bytes_rows_and_points_and_no_picture_or_vector(
    synced: dg.DagsterInstance, deployment: Deployment
) -> None:
    before = sync(synced)
    shop = deployment.stores.stores[STORE]
    for product in shop.product_ids("publish"):
        shop.edit(product, regular_price="77.77", sale_price="")

    after = sync(synced)

    same = {stage for stage in STAGES if after[stage] == before[stage]}
    assert same == {"product_images", "image_embeddings"}


def test_a_row_a_verdict_and_a_point_less_are_other_versions(
    synced: dg.DagsterInstance, deployment: Deployment, catalogue: Database
) -> None:
    # Or the walk would read once more what another test has just edited, and bring the row back.
    deployment.stores.clock.advance(minutes=60)
    before = sync(synced)
    of_store = image_verdicts.c.store_id == STORE
    with catalogue.write() as connection:
        rejected = connection.scalars(
            select(image_verdicts.c.image_sha256).where(of_store, image_verdicts.c.accepted)
        ).first()
        connection.execute(
            update(image_verdicts)
            .where(of_store, image_verdicts.c.image_sha256 == rejected)
            .values(accepted=False)
        )
        left_out = connection.scalars(
            select(products.c.product_id).where(products.c.left_out_by.is_not(None))
        ).first()
        assert left_out is not None
        connection.execute(delete(products).where(products.c.product_id == left_out))

    after = sync(synced, "incremental")

    with catalogue.read() as connection:
        assert rejected not in set(connection.scalars(select(points.c.image_sha256)))
    assert not {stage for stage in STAGES[1:] if after[stage] == before[stage]}
