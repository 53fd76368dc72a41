"""Ids that stay the same for ever, computed from what the source calls a thing.

Changing anything here orphans every row and point that exists.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID, uuid5

import orjson

NAMESPACE = UUID("6f0b8f0e-0d5e-5f0a-9b1c-3a1f4c2d7e90")


def product_id(store_id: str, external_id: str) -> UUID:
    """The id of a store's product, which is also the point id of its main image."""
    return uuid5(NAMESPACE, f"{store_id}:{external_id}")


def image_point_id(product: UUID, image_id: str, *, is_main: bool) -> UUID:
    """The point id of one of a product's images."""
    return product if is_main else uuid5(product, image_id)


def digest(value: Any) -> str:
    """32 hexadecimal digits that change when a JSON-like value changes; 128 bits of BLAKE2b.

    Decimals count by their text, datetimes by ISO 8601; the order of a mapping's keys does not.

    Raises:
        TypeError: text holds a lone surrogate; whatever reads a source has replaced those.
    """
    text = orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=16).hexdigest()
