"""The asset of the vectors room: the points of the Qdrant collection."""

import dagster as dg
from pydantic import Field

from catalog_pipeline.catalog.contents import points_content
from catalog_pipeline.defs.columns import POINTS_SCHEMA
from catalog_pipeline.defs.embeddings import image_embeddings
from catalog_pipeline.defs.external import OWNERS
from catalog_pipeline.defs.lineage import POINTS_LINEAGE
from catalog_pipeline.defs.metadata import (
    how_to_approve,
    materialised,
    of_one_product,
    report_metadata,
)
from catalog_pipeline.defs.partitions import stores_partitions
from catalog_pipeline.defs.pictures import pictures
from catalog_pipeline.defs.products import RemovalConfig, products
from catalog_pipeline.defs.resources import (
    DatabaseResource,
    EmbedderResource,
    FilesResource,
    StoresResource,
    VectorIndexResource,
)
from catalog_pipeline.defs.run_records import sync_links
from catalog_pipeline.defs.soundness import must_withhold
from catalog_pipeline.defs.stage import RECONNECT, OneProduct, log_progress, stage
from catalog_pipeline.exhibits.neighbours import neighbour_sheet
from catalog_pipeline.vectors.sync import sync_points

FIRST = ("points", "upserted", "payload_refreshed", "unchanged", "deleted", "waiting")


class PointsConfig(OneProduct, RemovalConfig):
    """What a run may ask of the points."""

    rewrite: bool = Field(
        default=False, description="Write every point that is ready again, changed or not."
    )


@dg.asset(
    # The payloads come from the rows: a run without pictures and embeddings still waits for them.
    deps=[products, image_embeddings],
    partitions_def=stores_partitions,
    group_name="vectors",
    owners=OWNERS,
    kinds={"qdrant"},
    tags={"stage": "load"},
    retry_policy=RECONNECT,
    metadata={
        "dagster/uri": "qdrant://$CATALOG_COLLECTION",
        "dagster/table_name": "points",
        "dagster/column_schema": POINTS_SCHEMA,
        "dagster/column_lineage": POINTS_LINEAGE,
    },
)
def qdrant_points(
    context: dg.AssetExecutionContext,
    config: PointsConfig,
    stores: StoresResource,
    database: DatabaseResource,
    files: FilesResource,
    embedder: EmbedderResource,
    vector_index: VectorIndexResource,
) -> dg.MaterializeResult[None]:
    """The store's points in the Qdrant collection: exactly those that the database says.

    Upserts what is new or changed, refreshes payloads without touching vectors, and deletes what
    has a reason to go, unless so much is that a person has to approve it first. A product whose new
    picture fails for now keeps its last good point.

    **When it fails**: what Qdrant acknowledged is recorded, and the next run does the rest. A
    collection of another size, or one that belongs to another database, is refused and never
    touched.
    """
    with (
        stage(context, database) as lease,
        vector_index.open(context.run.run_id) as index,
    ):
        store, model = stores.stored(lease.store_id), embedder.spec()
        report = sync_points(
            lease,
            files.get(),
            index,
            store,
            model,
            alias=vector_index.alias,
            deployment_id=lease.database.deployment_id(),
            product_id=config.product_id(lease.store_id),
            rewrite=config.rewrite,
            withhold=must_withhold(
                context, lease.database, files.get(), store, model.model_version
            ),
            approval=config.approval(context.run.run_id),
            progress=log_progress(context, "points"),
        )
        shown = pictures(
            context,
            {
                "neighbours": lambda: neighbour_sheet(
                    lease.database, files.get(), index, report.collection, lease.store_id
                )
            },
            # What other stores loaded meanwhile may be nearer now; that is drawn with what this
            # store loads next, so that a sync that changes nothing costs next to nothing.
            anew=bool(report.upserted or report.payload_refreshed or report.deleted),
        )
        content = points_content(lease.database, report.collection, lease.store_id)
        links = sync_links(context.instance, lease.database, lease.store_id, context.run.run_id)
    dashboard = vector_index.dashboard(report.collection)
    return materialised(
        context,
        {
            **of_one_product(config.product),
            **report_metadata(report, first=FIRST),
            **how_to_approve("qdrant_points", lease.store_id, report.waiting),
            **shown,
            **({"dashboard": dg.MetadataValue.url(dashboard)} if dashboard else {}),
            **links,
            "dagster/partition_row_count": report.points,
            "dagster/uri": f"qdrant://{report.collection}",
        },
        content.digest,
    )
