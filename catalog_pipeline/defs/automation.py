"""Jobs, and later the sensors and schedules that start them."""

import dagster as dg

from catalog_pipeline.defs.embeddings import image_embeddings
from catalog_pipeline.defs.images import product_images
from catalog_pipeline.defs.products import products, raw_products
from catalog_pipeline.defs.vectors import qdrant_points

STAGES = [raw_products, products, product_images, image_embeddings, qdrant_points]

sync_store = dg.define_asset_job(
    name="sync_store",
    selection=dg.AssetSelection.assets(*STAGES),
    description="One store from its API to the collection: all five stages, whatever is owed.",
)
