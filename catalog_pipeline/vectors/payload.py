"""The payload of a point: what readers filter by and show.

Changing a field here changes the payload's digest, so that the next sync refreshes every point
without reading a vector.
"""

from __future__ import annotations

from typing import Any

from catalog_pipeline.vectors.index import Payload

_COPIED = ("sku", "currency", "product_url", "image_url")


def point_payload(product: Any, *, store_id: str, image_sha256: str, model_version: str) -> Payload:
    """The payload of one picture of a product.

    What is unknown is left out: a range or match condition never holds for it. The price becomes a
    float, since an index has no decimals; categories become their names.

    Args:
        product: a row with `product_id, external_id, sku, title, price, currency, categories,
            in_stock, on_sale, product_url, image_url, created_at` as in the products table.
        store_id: the product's store.
        image_sha256: the image whose vector the point carries.
        model_version: the model that made the vector.
    """
    payload: Payload = {
        "product_id": str(product.product_id),
        "store_id": store_id,
        "external_id": product.external_id,
        "title": product.title,
        "categories": [category["name"] for category in product.categories],
        "in_stock": product.in_stock,
        "on_sale": product.on_sale,
        "image_sha256": image_sha256,
        "model_version": model_version,
    }
    for name in _COPIED:
        if (value := getattr(product, name)) is not None:
            payload[name] = value
    if product.price is not None:
        payload["price"] = float(product.price)
    if product.created_at is not None:
        payload["created_at"] = product.created_at.isoformat()
    return payload
