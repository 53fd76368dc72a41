"""What a sync costs follows what changed, not how much there is.

The benchmark `growth` makes sure of the same where each product has a picture of its own, and
measures time and memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from catalog_pipeline.definitions import defs
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.demo import Attributes
from catalog_pipeline.demo.store import WooStore
from catalog_pipeline_tests.deployment import Deployment, sample_deployment

pytestmark = pytest.mark.end_to_end

PRODUCTS = 5_000
# Shared by all products, as a shop's size tables are, so that the first sync is quick.
PICTURES = 20
STORE = "atelier"
EDITED = {"price": 25, "picture": 25}


def add_products(shop: WooStore) -> list[int]:
    pictured = [
        shop.add(Attributes("dress", colour, pattern))
        for colour in ("blue", "red", "green", "black", "white")
        for pattern in ("striped", "plain", "checked", "dotted")
    ]
    shown = [shop.product(product)["images"] for product in pictured]
    assert len(pictured) == PICTURES
    others = [
        shop.add(images=shown[number % PICTURES], price=f"{number % 90 + 10}.00")
        for number in range(PICTURES, PRODUCTS)
    ]
    return pictured + others


def sync(deployment: Deployment, walk: str = "auto") -> dict[str, dict[str, Any]]:
    """Run the whole job; what each stage told, in numbers."""
    with dg.DagsterInstance.from_config(str(deployment.dagster_home)) as instance:
        instance.add_dynamic_partitions(STORES, [STORE])
        done = defs.resolve_job_def("sync_store").execute_in_process(
            instance=instance,
            partition_key=STORE,
            run_config={
                "ops": {"raw_products": {"config": {"walk": walk}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
    return {
        event.materialization.asset_key.to_user_string(): {
            name: value.value
            for name, value in event.materialization.metadata.items()
            if isinstance(value, dg.IntMetadataValue)
        }
        for event in done.get_asset_materialization_events()
    }


def did(told: dict[str, dict[str, Any]]) -> dict[str, int]:
    """What a sync fetched and wrote."""
    return {
        "new": told["products"]["new"],
        "changed": told["products"]["changed"],
        "image requests": told["product_images"]["requests"],
        "embedded": told["image_embeddings"]["embedded"],
        "points": told["qdrant_points"]["upserted"],
        "payloads": told["qdrant_points"]["payload_refreshed"],
    }


def test_with_one_product_in_a_hundred_changed_only_these_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sample_deployment(tmp_path, products_per_store=0) as deployment:
        for name, value in deployment.environ.items():
            monkeypatch.setenv(name, value)
        shop = deployment.stores.stores[STORE]
        ids = add_products(shop)
        deployment.stores.clock.advance(minutes=30)
        first = did(sync(deployment))
        assert first == {
            "new": PRODUCTS,
            "changed": 0,
            "image requests": PICTURES,
            "embedded": PICTURES,
            "points": PRODUCTS,
            "payloads": 0,
        }

        deployment.stores.clock.advance(minutes=30)
        edited = ids[7 :: PRODUCTS // sum(EDITED.values())]
        for product in edited[: EDITED["price"]]:
            shop.edit(product, regular_price="12.34", sale_price="")
        for product in edited[EDITED["price"] :]:
            shop.change_picture(product)
        deployment.stores.clock.advance(minutes=30)
        shop.traffic.reset()
        told = sync(deployment)
        assert did(told) == {
            "new": 0,
            "changed": PRODUCTS // 100,
            "image requests": EDITED["picture"],
            "embedded": EDITED["picture"],
            "points": EDITED["picture"],
            "payloads": EDITED["price"],
        }
        # The currency, the totals, and one page that holds what changed and nothing else.
        assert shop.traffic.totals() == {"currency 200": 1, "products 200": 2, "image 200": 25}
        assert told["raw_products"]["records"] == PRODUCTS // 100

        # Nothing is asked of a product that stays as it is, even where all ids are looked at.
        deployment.stores.clock.advance(minutes=30)
        shop.traffic.reset()
        told = sync(deployment, "nightly")
        assert set(did(told).values()) == {0}
        sweep = PRODUCTS // 100
        assert shop.traffic.totals() == {"currency 200": 1, "products 200": 2 + sweep}
        assert told["raw_products"]["products"] == PRODUCTS
