"""Rows as a sync leaves them, for tests that need them without one."""

from __future__ import annotations

from typing import Any

from catalog_pipeline.catalog.identity import product_id


def product_row(store_id: str, external_id: str, **columns: Any) -> dict[str, Any]:
    """A live product without a price; `columns` in place of these, or beside them."""
    return {
        "product_id": product_id(store_id, external_id),
        "store_id": store_id,
        "external_id": external_id,
        "title": f"Dress {external_id}",
        "description": "",
        "type": "simple",
        "status": "publish",
        "visibility": "visible",
        "categories": [],
        "tags": [],
        "in_stock": True,
        "on_sale": False,
        "content_hash": "h",
        "walk_id": "w",
        "first_walk_id": "w",
        **columns,
    }
