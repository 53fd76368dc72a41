"""One result for all stores: each is judged by its own run, and the last word on each counts."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from sqlalchemy import delete, select

from catalog_pipeline.catalog.operations_schema import check_verdicts
from catalog_pipeline.catalog.schema import products
from catalog_pipeline.definitions import build_defs
from catalog_pipeline.defs.partitions import STORES
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.vectors.reconcile import CHECK
from catalog_pipeline_tests.defs.automation.shops import Shops

BOTH = ["atelier", "nordhavn"]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def stored(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> Shops:
    """Both stores' rows are there, and those of nordhavn lack one."""
    monkeypatch.setenv("CATALOG_MODEL", DEMO_MODEL)
    shops.instance.add_dynamic_partitions(STORES, BOTH)
    for store in BOTH:
        shops.store_products(store)
    with shops.database() as database, database.write() as connection:
        lost = connection.scalar(
            select(products.c.product_id).where(products.c.store_id == "nordhavn").limit(1)
        )
        connection.execute(delete(products).where(products.c.product_id == lost))
    return shops


def judged(shops: Shops) -> list[str]:
    """The stores that a verdict is kept of."""
    with shops.database() as database, database.read() as connection:
        found = select(check_verdicts.c.store_id).where(check_verdicts.c.check_name == CHECK)
        return list(connection.scalars(found.order_by("store_id")))


def from_the_graph(shops: Shops, store_id: str) -> dg.AssetCheckEvaluation:
    """The last asset materialised as the asset graph does it, with its check."""
    job = build_defs().resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=shops.instance,
        partition_key=store_id,
        asset_selection=[dg.AssetKey("qdrant_points")],
        run_config=QUIET,
    )
    return agrees(result)


def agrees(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = (one for one in result.get_asset_check_evaluations() if one.check_name == CHECK)
    return found


def told(found: dg.AssetCheckEvaluation, name: str) -> Any:
    return found.metadata[name].value


def over_all(shops: Shops) -> dg.AssetCheckEvaluation:
    job = build_defs().resolve_job_def("reconcile_stores")
    result = job.execute_in_process(instance=shops.instance, run_config=QUIET)
    return agrees(result)


def test_a_run_of_one_partition_compares_that_store_and_speaks_for_all(stored: Shops) -> None:
    found = from_the_graph(stored, "atelier")
    assert found.passed
    assert judged(stored) == ["atelier"]
    assert told(found, "never checked") == "nordhavn"

    found = from_the_graph(stored, "nordhavn")
    assert not found.passed
    assert (found.description or "").startswith("nordhavn: 1 missing rows")
    assert told(found, "failing") == "nordhavn"
    assert list(told(found, "examples")["nordhavn"]) == ["missing rows"]

    found = from_the_graph(stored, "atelier")
    assert not found.passed, "the last word on nordhavn still stands"
    assert told(found, "failing") == "nordhavn"
    assert told(found, "missing rows") == 1

    stored.store_products("nordhavn", walk="full")
    found = over_all(stored)
    assert found.passed
    assert told(found, "stores") == 2


def test_a_store_that_cannot_be_compared_fails_and_stops_no_other(
    stored: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in (stored.folder / "data/archive/atelier").rglob("*.zst"):
        page.write_bytes(b"junk")
    found = over_all(stored)

    assert told(found, "failing") == "atelier, nordhavn"
    assert "is damaged" in told(found, "not checked")["atelier"]
    stored.configure({"atelier": {"active": False}})
    stored.store_products("nordhavn", walk="full")
    found = over_all(stored)
    assert found.passed, "an inactive store's last verdict counts no longer"


def test_a_wrong_file_leaves_the_accepted_stores_to_be_compared(stored: Shops) -> None:
    over_all(stored)
    stored.stores_file.write_text("stores:\n  - id: Atelier!\n")
    with stored.database() as database, database.write() as connection:
        connection.execute(delete(check_verdicts))

    assert told(over_all(stored), "failing") == "nordhavn"
    assert judged(stored) == BOTH
