"""The asset of the images room: pictures fetched, measured and judged."""

import dagster as dg
from pydantic import Field

from catalog_pipeline.catalog.contents import verdicts_content
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.defs.columns import PRODUCT_IMAGES_SCHEMA
from catalog_pipeline.defs.external import OWNERS
from catalog_pipeline.defs.lineage import PRODUCT_IMAGES_LINEAGE
from catalog_pipeline.defs.metadata import materialised, of_one_product, report_metadata
from catalog_pipeline.defs.partitions import stores_partitions
from catalog_pipeline.defs.pictures import pictures
from catalog_pipeline.defs.products import products
from catalog_pipeline.defs.resources import (
    DatabaseResource,
    EmbedderResource,
    FilesResource,
    StoresResource,
)
from catalog_pipeline.defs.stage import RECONNECT, OneProduct, log_progress, stage
from catalog_pipeline.exhibits.contact_sheet import contact_sheet, measurement_histograms
from catalog_pipeline.images.sync import sync_images

FIRST = ("fetched", "unchanged", "failed", "accepted", "accepted_distinct", "rejected")


class ImagesConfig(OneProduct):
    """What a run may ask of the pictures."""

    refetch: bool = Field(
        default=False, description="Ask for every wanted picture again, whatever is known of it."
    )


@dg.asset(
    deps=[products],
    partitions_def=stores_partitions,
    group_name="images",
    owners=OWNERS,
    kinds={"python", "file"},
    tags={"stage": "quality"},
    retry_policy=RECONNECT,
    metadata={
        "dagster/table_name": "image_verdicts",
        "dagster/uri": "$CATALOG_DATA_DIR/images/",
        "dagster/column_schema": PRODUCT_IMAGES_SCHEMA,
        "dagster/column_lineage": PRODUCT_IMAGES_LINEAGE,
    },
)
def product_images(
    context: dg.AssetExecutionContext,
    config: ImagesConfig,
    stores: StoresResource,
    database: DatabaseResource,
    files: FilesResource,
    embedder: EmbedderResource,
) -> dg.MaterializeResult[None]:
    """The pictures of the store's products, with the quality gate's verdict on each.

    Fetches what is new or changed, stores the bytes under their SHA-256, decodes each picture once
    in a worker process, records its measurements, and judges them by the store's thresholds.
    Changed thresholds re-judge the recorded measurements; nothing is fetched again.

    Counts are of addresses; `accepted_distinct` is of different pictures, which is what
    `image_embeddings` and `catalog status` count: a store may show one picture at several.

    **When it fails**: a picture that cannot be fetched or decoded never fails the asset; it is
    counted with its reason and tried again after 1 hour, 1 day, 7 days. Only a lost database, a
    full disk or a wrong stores.yaml stops the stage, and the next run does the rest.
    """
    with stage(context, database) as lease:
        store = stores.get(lease.store_id)
        report = sync_images(
            lease,
            files.get(),
            store,
            product_id=config.product_id(lease.store_id),
            refetch=config.refetch,
            progress=log_progress(context, "images"),
            on_new_picture=embedder.get().expect if _embeds_next(context) else None,
        )
        shown = pictures(
            context,
            {
                "contact_sheet": lambda: contact_sheet(lease.database, files.get(), store),
                "histograms": lambda: measurement_histograms(lease.database, store),
            },
        )
        content = verdicts_content(lease.database, Scope.of(store))
    return materialised(
        context,
        {
            **of_one_product(config.product),
            **report_metadata(report, first=FIRST),
            **shown,
            "dagster/uri": files.get().uri("images"),
            "dagster/partition_row_count": content.rows,
        },
        content.digest,
    )


def _embeds_next(context: dg.AssetExecutionContext) -> bool:
    # None or empty where the whole job runs, by how it was started.
    chosen = context.run.asset_selection
    return not chosen or dg.AssetKey("image_embeddings") in chosen
