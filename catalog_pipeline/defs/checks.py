"""The asset check of the last stage: source, database and collection, held against each other.

It reads every point of a store, so it is in no sync: a job of its own runs it, over all stores or
one. A check of each partition would be a preview of Dagster's, which may change under us.
"""

from collections import Counter
from typing import Any

import dagster as dg
from pydantic import Field

from catalog_pipeline.defs.resources import (
    DatabaseResource,
    EmbedderResource,
    FilesResource,
    StoresResource,
    VectorIndexResource,
)
from catalog_pipeline.defs.vectors import qdrant_points
from catalog_pipeline.errors import CatalogError, ServiceUnavailableError
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.seen import newest_complete_ids
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores_file import load_stores
from catalog_pipeline.vectors.reconcile import Reconciliation, SourceIds, reconcile

_MOST_SAMPLES = 10
_MOST_STORES = 50


class ReconcileConfig(dg.Config):
    """What a run compares."""

    store: str = Field(default="", description="One store alone; empty means all active ones.")


@dg.asset_check(
    asset=qdrant_points,
    description="Source, database and collection hold the same products, id by id.",
)
def everything_agrees(
    context: dg.AssetCheckExecutionContext,
    config: ReconcileConfig,
    stores: StoresResource,
    database: DatabaseResource,
    files: FilesResource,
    embedder: EmbedderResource,
    vector_index: VectorIndexResource,
) -> dg.AssetCheckResult:
    """Compare ids, payloads and vector versions of each store; change nothing.

    **When it fails**: `catalog reconcile STORE --repair` loads what is missing or stale and removes
    what nothing wants, as far as the removal guard lets it. Rows are mended by a full walk. A store
    that cannot be compared is named with the reason and stops no other.
    """
    model, archive = embedder.spec(), Archive(files.get())
    totals: Counter[str] = Counter()
    differing: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for store_id in [config.store] if config.store else _active_stores():
        try:
            store = stores.get(store_id)
            seen = newest_complete_ids(archive, store)
            with vector_index.open(context.run.run_id) as index:
                found = reconcile(
                    database.get(),
                    index,
                    store,
                    model,
                    alias=vector_index.alias,
                    source=None if seen is None else SourceIds(*seen),
                )
        except ServiceUnavailableError:
            raise
        except CatalogError as error:
            failed[store_id] = str(error)
            continue
        totals.update(found.differences)
        totals["wanted points"] += found.wanted
        totals["held points"] += found.held
        totals["stores"] += 1
        if not found.agrees:
            context.log.warning("store %s: %s", store_id, _differences(found))
            if len(differing) < _MOST_STORES:
                differing[store_id] = _examples(found)
    return dg.AssetCheckResult(
        passed=not differing and not failed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**totals, "examples": differing, "not compared": failed},
    )


def _active_stores() -> list[str]:
    stores = load_stores(load_settings().stores_file).stores
    return [store_id for store_id, store in stores.items() if store.active]


def _differences(found: Reconciliation) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.differences.items() if count)


def _examples(found: Reconciliation) -> dict[str, list[str]]:
    each = {
        "missing rows": found.missing_rows,
        "orphaned rows": found.orphaned_rows,
        "missing points": found.missing,
        "orphaned points": found.orphaned,
        "stale payloads": found.stale_payload,
        "stale vectors": found.stale_vector,
    }
    return {name: [str(one) for one in ids[:_MOST_SAMPLES]] for name, ids in each.items() if ids}


reconcile_stores = dg.define_asset_job(
    name="reconcile_stores",
    selection=dg.AssetSelection.checks(everything_agrees),
    description="Holds source, rows and points of the stores against each other; changes nothing.",
)
