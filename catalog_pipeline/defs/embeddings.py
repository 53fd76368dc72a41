"""The asset of the embeddings room: a vector for each accepted picture."""

from typing import Literal

import dagster as dg
from pydantic import Field

from catalog_pipeline.catalog.contents import embeddings_content
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.defs.columns import EMBEDDINGS_SCHEMA
from catalog_pipeline.defs.external import OWNERS
from catalog_pipeline.defs.images import product_images
from catalog_pipeline.defs.lineage import EMBEDDINGS_LINEAGE
from catalog_pipeline.defs.metadata import materialised, of_one_product, report_metadata
from catalog_pipeline.defs.partitions import stores_partitions
from catalog_pipeline.defs.pictures import pictures
from catalog_pipeline.defs.resources import (
    DatabaseResource,
    EmbedderResource,
    FilesResource,
    StoresResource,
)
from catalog_pipeline.defs.soundness import NEW_VECTORS, check_new_vectors
from catalog_pipeline.defs.stage import RECONNECT, OneProduct, log_progress, stage
from catalog_pipeline.embeddings.sync import embed_images
from catalog_pipeline.exhibits.vector_map import vector_map

# One run embeds at a time; the others wait for it.
POOL = "gpu"
FIRST = ("embedded", "reused", "failed", "images_per_second", "model_version", "device")


class EmbedConfig(OneProduct):
    """What a run may override of the settings."""

    device: Literal["settings", "auto", "cpu", "cuda", "mps"] = Field(
        default="settings", description="Where the model runs; settings means CATALOG_DEVICE."
    )
    precision: Literal["settings", "auto", "fp32", "bf16", "fp16"] = Field(
        default="settings", description="Number format; settings means CATALOG_PRECISION."
    )
    batch_size: int = Field(
        default=0, ge=0, le=65_536, description="Pictures at a time; 0 means CATALOG_BATCH_SIZE."
    )
    reembed: bool = Field(
        default=False, description="Embed what has a vector too, and load the new one."
    )


@dg.asset(
    deps=[product_images],
    partitions_def=stores_partitions,
    group_name="embeddings",
    owners=OWNERS,
    kinds={"pytorch", "huggingface", "parquet"},
    tags={"stage": "embed"},
    pool=POOL,
    check_specs=[NEW_VECTORS],
    retry_policy=RECONNECT,
    metadata={
        "dagster/table_name": "embeddings",
        "dagster/uri": "$CATALOG_DATA_DIR/embeddings/<model version>/",
        "dagster/column_schema": EMBEDDINGS_SCHEMA,
        "dagster/column_lineage": EMBEDDINGS_LINEAGE,
    },
)
def image_embeddings(
    context: dg.AssetExecutionContext,
    config: EmbedConfig,
    stores: StoresResource,
    database: DatabaseResource,
    files: FilesResource,
    embedder: EmbedderResource,
    # Dagster knows it without its parameter alone, where a check comes with it.
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One vector for each accepted picture, by the configured open_clip model.

    Embeds what has no vector of the current model version yet, once across all stores, and writes
    Parquet parts of at most 10,000 L2-normalised float32 vectors under the model version. With
    nothing owed neither the model nor torch is loaded.

    **When it fails**: finished parts are kept and only the rest is embedded by the next run. A
    model that cannot be loaded says which file is missing; set CATALOG_MODEL, or fill the cache.
    """
    with stage(context, database) as lease:
        store = stores.get(lease.store_id)
        report = embed_images(
            lease,
            files.get(),
            embedder.get(
                device=None if config.device == "settings" else config.device,
                precision=None if config.precision == "settings" else config.precision,
                batch_size=config.batch_size or None,
            ),
            Scope.of(store, config.product_id(lease.store_id)),
            limit=store.max_images_per_run,
            reembed=config.reembed,
            progress=log_progress(context, "images"),
        )
        version = report.model_version
        shown = pictures(
            context, {"map": lambda: vector_map(lease.database, files.get(), store, version)}
        )
        content = embeddings_content(lease.database, Scope.of(store), version)
        check = check_new_vectors(lease.database, files.get(), store, version)
    return materialised(
        context,
        {
            **of_one_product(config.product),
            **report_metadata(report, first=FIRST),
            **shown,
            "dagster/uri": files.get().uri(f"embeddings/{report.model_version}"),
            "dagster/partition_row_count": content.rows,
        },
        content.digest,
        [check],
    )
