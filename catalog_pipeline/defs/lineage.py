"""Which columns become which: the column lineage of every asset.

What a column means is in `columns.py`. Columns that a stage makes of nothing but itself, such as
its own clock, have no line here.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from catalog_pipeline.defs.columns import WOOCOMMERCE

STORES = "woocommerce_stores"
RAW = "raw_products"
ROWS = "products"
IMAGES = "product_images"
VECTORS = "image_embeddings"
POINTS = "qdrant_points"

# A column of an asset above: its asset and its name.
Source = tuple[str, str]


def lineage(sources: Mapping[str, Sequence[Source]]) -> dg.TableColumnLineage:
    """For each column, the columns that it comes from."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=asset, column_name=name) for asset, name in above]
            for column, above in sources.items()
        }
    )


def _of(asset: str, *names: str) -> list[Source]:
    return [(asset, name) for name in names]


def _body(*names: str) -> list[Source]:
    return _of(RAW, *(f"body.{name}" for name in names))


RAW_PRODUCTS_LINEAGE = lineage(
    {
        "body": _of(STORES, *WOOCOMMERCE),
        "currency": _of(STORES, "currency"),
        **{f"body.{name}": _of(STORES, name) for name in WOOCOMMERCE},
    }
)

PRODUCTS_LINEAGE = lineage(
    {
        "product_id": _body("id"),
        "external_id": _body("id"),
        "sku": _body("sku"),
        "title": _body("name"),
        "description": _body("description", "short_description"),
        "price": _body("price"),
        "currency": _of(RAW, "currency"),
        "image_url": _body("images"),
        "images": _body("images"),
        "product_url": _body("permalink"),
        "type": _body("type"),
        "status": _body("status"),
        "visibility": _body("catalog_visibility"),
        "categories": _body("categories"),
        "tags": _body("tags"),
        "in_stock": _body("stock_status"),
        "on_sale": _body("on_sale"),
        "created_at": _body("date_created_gmt"),
        "updated_at": _body("date_modified_gmt"),
        "content_hash": _of(RAW, "body", "currency"),
        "walk_id": _of(RAW, "walk_id"),
        "first_walk_id": _of(RAW, "walk_id"),
        "left_out_by": _body("status", "type", "catalog_visibility", "categories", "tags"),
        "removed_by": _body("id", "status"),
        "removed_in": _of(RAW, "walk_id"),
    }
)

PRODUCT_IMAGES_LINEAGE = lineage(
    {
        "store_id": _of(ROWS, "store_id"),
        "image_sha256": _of(ROWS, "images"),
        "accepted": _of(ROWS, "images"),
        "issues": _of(ROWS, "images"),
    }
)

EMBEDDINGS_LINEAGE = lineage(
    {
        "image_sha256": _of(IMAGES, "image_sha256", "accepted"),
        "vector_digest": _of(IMAGES, "image_sha256"),
    }
)

# A point's `image_url` is that of its own picture: one of the product's `images`.
_SHOWN = (
    *("product_id", "store_id", "external_id", "sku", "title", "price", "currency", "categories"),
    *("in_stock", "on_sale", "product_url", "images", "created_at"),
)

POINTS_LINEAGE = lineage(
    {
        "collection": _of(VECTORS, "model_version"),
        "point_id": _of(ROWS, "product_id", "images"),
        "store_id": _of(ROWS, "store_id"),
        "product_id": _of(ROWS, "product_id"),
        "slot": _of(ROWS, "images"),
        "image_sha256": _of(VECTORS, "image_sha256"),
        "payload_hash": [*_of(ROWS, *_SHOWN), *_of(VECTORS, "image_sha256", "model_version")],
    }
)

REPORT_LINEAGE = lineage(
    {
        "store_id": _of(ROWS, "store_id"),
        "products": _of(ROWS, "product_id", "removed_by", "left_out_by"),
        "accepted": _of(IMAGES, "image_sha256", "accepted"),
        "vectors": [*_of(IMAGES, "image_sha256", "accepted"), *_of(VECTORS, "image_sha256")],
        "points": _of(POINTS, "point_id"),
        "owed_pictures": [*_of(ROWS, "images"), *_of(VECTORS, "image_sha256")],
        "owed_points": [*_of(VECTORS, "image_sha256"), *_of(POINTS, "point_id", "payload_hash")],
    }
)

ALIAS_LINEAGE = lineage(
    {
        "point_id": _of(POINTS, "point_id"),
        "vector": _of(POINTS, "collection", "image_sha256"),
        "payload": _of(POINTS, "payload_hash"),
    }
)
