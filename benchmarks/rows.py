"""Made-up rows of a store, as its stages would write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from catalog_pipeline.catalog.identity import digest, product_id

STORE: Final = "bench"
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)


def product_row(number: int) -> dict[str, Any]:
    """A row of `products`."""
    return {
        "product_id": product_id(STORE, str(number)),
        "store_id": STORE,
        "external_id": str(number),
        "sku": f"SKU-{number:06d}",
        "title": f"Striped blue dress {number}",
        "description": "A dress of woven cotton, cut straight, with a round neck. " * 6,
        "price": Decimal(number % 400) + Decimal("0.95"),
        "currency": "EUR",
        "image_url": _url(number),
        "product_url": f"https://shop.example.com/product/{number}",
        "type": "simple",
        "status": "publish",
        "visibility": "visible",
        "categories": [
            {"id": "15", "name": "Dresses", "slug": "dresses"},
            {"id": "16", "name": "Summer", "slug": "summer"},
        ],
        "tags": [{"id": "31", "name": "Striped", "slug": "striped"}],
        "in_stock": True,
        "on_sale": False,
        "created_at": _START + timedelta(minutes=number),
        "updated_at": _START + timedelta(minutes=number + 1),
        "content_hash": digest(number),
        "walk_id": "w1",
        "first_walk_id": "w1",
        "left_out_by": None,
        "removed_by": None,
        "removed_in": None,
    }


def picture_row(number: int) -> dict[str, Any]:
    """A row of `product_images`: the product's main picture."""
    return {
        "product_id": product_id(STORE, str(number)),
        "position": 0,
        "store_id": STORE,
        "image_id": str(number),
        "url": _url(number),
        "modified_at": None,
    }


def attempt_row(number: int) -> dict[str, Any]:
    """A row of `image_attempts`: the picture was fetched."""
    return {
        "store_id": STORE,
        "url": _url(number),
        "outcome": "fetched",
        "reason": None,
        "image_sha256": image_sha256(number),
        "etag": None,
        "last_modified": None,
        "image_id": str(number),
        "modified_at": None,
        "failures": 0,
        "attempted_at": _START,
        "next_attempt_at": None,
    }


def verdict_row(number: int) -> dict[str, Any]:
    """A row of `image_verdicts`: the gate accepted the picture."""
    return {
        "store_id": STORE,
        "image_sha256": image_sha256(number),
        "gate_version": "gate",
        "accepted": True,
        "issues": [],
        "judged_at": _START,
    }


def image_sha256(number: int) -> str:
    """64 hexadecimal digits that are no picture's."""
    return digest(number) + digest(-number - 1)


def _url(number: int) -> str:
    return f"https://shop.example.com/wp-content/uploads/{number}.jpg"
