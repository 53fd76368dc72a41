"""What a store's tables hold, as a count and a digest for each stage.

Equal digests mean that nothing changed: moments and walks are left out of them. Rows are streamed;
half a million take a second or two.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Select, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import embeddings, image_attempts, points, products
from catalog_pipeline.catalog.wanted import (
    Scope,
    accepted_images,
    is_accepted,
    is_of_wanted_image,
    with_verdicts,
)

_ROWS_AT_A_TIME = 10_000


@dataclass(frozen=True)
class Content:
    """How many rows a stage holds of a store, and a digest of them."""

    rows: int
    digest: str


def products_content(database: Database, store_id: str) -> Content:
    """Of every row: which product, its content, and whether it is live, left out or removed."""
    columns = products.c
    statement = (
        select(columns.product_id, columns.content_hash, columns.left_out_by, columns.removed_by)
        .where(columns.store_id == store_id)
        .order_by(columns.product_id)
    )
    return _content(database, statement)


def verdicts_content(database: Database, scope: Scope) -> Content:
    """Of every picture that is wanted and judged: which bytes, and whether they are accepted."""
    statement = (
        select(image_attempts.c.image_sha256, is_accepted().label("accepted"))
        .distinct()
        .select_from(with_verdicts(image_attempts, scope.store_id))
        .where(is_of_wanted_image(scope), is_accepted().is_not(None))
        .order_by(image_attempts.c.image_sha256)
    )
    return _content(database, statement)


def embeddings_content(database: Database, scope: Scope, model_version: str) -> Content:
    """Of every accepted picture that has a vector by this model, and which vector it is."""
    statement = (
        select(embeddings.c.image_sha256, embeddings.c.vector_digest)
        .where(
            embeddings.c.model_version == model_version,
            embeddings.c.image_sha256.in_(accepted_images(scope)),
        )
        .order_by(embeddings.c.image_sha256)
    )
    return _content(database, statement, model_version)


def points_content(database: Database, collection: str, store_id: str) -> Content:
    """Of every point that the collection acknowledged: its id, picture and payload."""
    statement = (
        select(points.c.point_id, points.c.image_sha256, points.c.payload_hash)
        .where(points.c.collection == collection, points.c.store_id == store_id)
        .order_by(points.c.point_id)
    )
    return _content(database, statement, collection)


def _content(database: Database, statement: Select[Any], *of: str) -> Content:
    found = hashlib.blake2b(orjson.dumps(of), digest_size=16)
    count = 0
    with database.read() as connection:
        rows = connection.execute(statement, execution_options={"yield_per": _ROWS_AT_A_TIME})
        for row in rows:
            found.update(orjson.dumps(tuple(map(_plain, row))))
            count += 1
    return Content(count, found.hexdigest())


def _plain(value: UUID | str | bool | None) -> str | bool | None:
    return value.hex if isinstance(value, UUID) else value
