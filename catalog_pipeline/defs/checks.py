"""The asset checks that ask the collection itself, and so take their time with each store.

They are in no sync: a job of its own runs them over all stores every week, and a run from the asset
graph over its own. How one result speaks for all stores is in `verdicts.py`; the checks that ask
the database alone are in `standing.py`.
"""

from functools import partial

import dagster as dg
from pydantic import Field

from catalog_pipeline.catalog.verdicts import StoreVerdict
from catalog_pipeline.defs.resources import (
    DatabaseResource,
    EmbedderResource,
    FilesResource,
    StoresResource,
    VectorIndexResource,
)
from catalog_pipeline.defs.vectors import qdrant_points
from catalog_pipeline.defs.verdicts import check_stores
from catalog_pipeline.embeddings.model import ModelSpec
from catalog_pipeline.health.vectors import CHECK as OWN_PICTURE
from catalog_pipeline.health.vectors import own_picture_comes_first as find_by_own_picture
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.seen import newest_complete_ids
from catalog_pipeline.vectors.index import collection_name
from catalog_pipeline.vectors.reconcile import CHECK, SourceIds, reconcile


class ReconcileConfig(dg.Config):
    """What a run compares."""

    store: str = Field(
        default="",
        description="One store alone; empty means the run's partition, or all active stores.",
    )


@dg.asset_check(
    name=CHECK,
    asset=qdrant_points,
    description=(
        "Source, database and collection hold the same products, id by id. Fails while the last "
        "comparison of any active store did. **When it fails**: `catalog reconcile STORE --repair` "
        "loads what is missing or stale and removes what nothing wants; `catalog sync STORE "
        "--full` mends rows."
    ),
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
    that cannot be compared is named with the reason and stops no other. The verdict stands until
    the store is compared again: materialise its partition from the graph, or run
    `reconcile_stores`.
    """
    compare = partial(
        _compared,
        context.run.run_id,
        embedder.spec(),
        stores=stores,
        database=database,
        files=files,
        vector_index=vector_index,
    )
    return check_stores(
        context,
        CHECK,
        database.get(),
        compare,
        store=config.store,
        severity=dg.AssetCheckSeverity.ERROR,
    )


def _compared(
    run_id: str,
    model: ModelSpec,
    store_id: str,
    *,
    stores: StoresResource,
    database: DatabaseResource,
    files: FilesResource,
    vector_index: VectorIndexResource,
) -> StoreVerdict:
    store = stores.get(store_id)
    seen = newest_complete_ids(Archive(files.get()), store)
    with vector_index.open(run_id) as index:
        found = reconcile(
            database.get(),
            index,
            store,
            model,
            alias=vector_index.alias,
            source=None if seen is None else SourceIds(*seen),
        )
    return found.verdict()


@dg.asset_check(
    name=OWN_PICTURE,
    asset=qdrant_points,
    description=(
        "A product's own picture finds it first: ten products of each store are asked for with the "
        "vector of their picture. Fails while the last word on any active store does. **When it "
        "fails**: points carry vectors of other pictures, or the collection is damaged or gone. "
        "Launch the store's partition with `rewrite: true` in the run config of `qdrant_points`."
    ),
)
def own_picture_comes_first(
    context: dg.AssetCheckExecutionContext,
    stores: StoresResource,
    database: DatabaseResource,
    files: FilesResource,
    embedder: EmbedderResource,
    vector_index: VectorIndexResource,
) -> dg.AssetCheckResult:
    """Ask the collection for a few products of each store; a point is right if it finds itself."""
    version = embedder.spec().model_version
    collection = collection_name(vector_index.alias, version)

    def ask(store_id: str) -> StoreVerdict:
        with vector_index.open(context.run.run_id) as index:
            return find_by_own_picture(
                database.get(), files.get(), index, stores.get(store_id), version, collection
            )

    return check_stores(
        context, OWN_PICTURE, database.get(), ask, severity=dg.AssetCheckSeverity.ERROR
    )


reconcile_stores = dg.define_asset_job(
    name="reconcile_stores",
    selection=dg.AssetSelection.checks(everything_agrees, own_picture_comes_first),
    description="Holds source, rows and points of the stores against each other; changes nothing.",
)
