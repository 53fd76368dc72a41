"""Questions that more than one room asks of the database.

A question that only one stage asks belongs into that stage's `owed.py`; which pictures are wanted
is in `wanted.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    points,
    products,
    quarantine,
    store_states,
    walks,
)
from catalog_pipeline.catalog.wanted import MAIN_SLOT, Scope, accepted_images, is_live


@dataclass(frozen=True)
class StoreSummary:
    """What the database holds of one store; None is what was not counted."""

    store_id: str
    products: int
    live: int
    quarantined: int
    images: int
    accepted: int
    embedded: int | None
    points: int | None
    currency: str | None
    watermark: datetime | None
    last_walk: str | None
    last_walk_complete: bool | None
    last_processed_at: datetime | None


def newest_rows(connection: Connection, store_id: str, most: int) -> Sequence[Any]:
    """Live products that the newest walks changed, newest first: what a person is shown of them."""
    columns = products.c
    statement = (
        select(
            columns.external_id,
            columns.title,
            columns.price,
            columns.currency,
            columns.in_stock,
            columns.updated_at,
        )
        .where(columns.store_id == store_id, is_live())
        .order_by(columns.walk_id.desc(), columns.product_id)
        .limit(most)
    )
    return connection.execute(statement).all()


def some_loaded_products(
    connection: Connection, collection: str, store_id: str, most: int
) -> Sequence[Any]:
    """Products whose main picture is loaded: a choice by chance, the same while they are there."""
    statement = (
        select(points.c.product_id, points.c.image_sha256, products.c.external_id, products.c.title)
        .join(products, products.c.product_id == points.c.product_id)
        .where(
            points.c.collection == collection,
            points.c.store_id == store_id,
            points.c.slot == MAIN_SLOT,
        )
        # The ids are random.
        .order_by(points.c.point_id)
        .limit(most)
    )
    return connection.execute(statement).all()


def count_accepted(connection: Connection, scope: Scope) -> int:
    """How many distinct contents of a store are good enough, and so should have a vector."""
    accepted = accepted_images(scope).subquery()
    return connection.scalar(select(func.count()).select_from(accepted)) or 0


def summarise_store(
    connection: Connection, scope: Scope, model_version: str | None, collection: str | None
) -> StoreSummary:
    """Count a store's rows, images, vectors and points.

    Args:
        connection: any connection.
        scope: the store and the pictures that it wants.
        model_version: whose vectors to count; None leaves them uncounted.
        collection: whose points to count; None leaves them uncounted.
    """

    def count(statement: Select[Any]) -> int:
        return connection.scalar(select(func.count()).select_from(statement.subquery())) or 0

    store_id = scope.store_id
    of_store = select(products.c.product_id).where(products.c.store_id == store_id)
    accepted = accepted_images(scope)
    embedded = select(embeddings.c.image_sha256).where(
        embeddings.c.model_version == model_version,
        embeddings.c.image_sha256.in_(accepted),
    )
    loaded = select(points.c.point_id).where(
        points.c.collection == collection, points.c.store_id == store_id
    )
    fetched = (
        select(image_attempts.c.image_sha256)
        .where(image_attempts.c.store_id == store_id, image_attempts.c.image_sha256.is_not(None))
        .distinct()
    )
    walk = connection.execute(
        select(walks.c.walk_id, walks.c.complete, walks.c.processed_at)
        .where(walks.c.store_id == store_id)
        .order_by(walks.c.walk_id.desc())
        .limit(1)
    ).one_or_none()
    state = connection.execute(
        select(store_states.c.currency, store_states.c.watermark).where(
            store_states.c.store_id == store_id
        )
    ).one_or_none()
    return StoreSummary(
        store_id=store_id,
        products=count(of_store),
        live=count(of_store.where(is_live())),
        quarantined=count(
            select(quarantine.c.external_id).where(quarantine.c.store_id == store_id)
        ),
        images=count(fetched),
        accepted=count(accepted),
        embedded=None if model_version is None else count(embedded),
        points=None if collection is None else count(loaded),
        currency=state.currency if state else None,
        watermark=state.watermark if state else None,
        last_walk=walk.walk_id if walk else None,
        last_walk_complete=walk.complete if walk else None,
        last_processed_at=walk.processed_at if walk else None,
    )
