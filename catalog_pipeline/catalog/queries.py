"""Questions that more than one room asks of the database.

A question that only one stage asks belongs into that stage's `owed.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    points,
    product_images,
    products,
    quarantine,
    store_states,
    walks,
)


def is_live() -> ColumnElement[bool]:
    """A product that is neither removed nor left out by a rule."""
    return and_(products.c.removed_by.is_(None), products.c.left_out_by.is_(None))


def main_images(store_id: str) -> Select[Any]:
    """The main image of every live product of a store.

    Columns: product_id, image_id, url, modified_at.
    """
    return (
        select(
            products.c.product_id,
            product_images.c.image_id,
            product_images.c.url,
            product_images.c.modified_at,
        )
        .join(product_images, product_images.c.product_id == products.c.product_id)
        .where(products.c.store_id == store_id, is_live(), product_images.c.position == 0)
    )


def accepted_images(store_id: str) -> Select[Any]:
    """The distinct images that the gate accepts for live products of a store.

    Column: image_sha256.
    """
    wanted = main_images(store_id).subquery()
    return (
        select(image_attempts.c.image_sha256)
        .distinct()
        .join_from(
            wanted,
            image_attempts,
            and_(image_attempts.c.store_id == store_id, image_attempts.c.url == wanted.c.url),
        )
        .join(
            image_verdicts,
            and_(
                image_verdicts.c.store_id == store_id,
                image_verdicts.c.image_sha256 == image_attempts.c.image_sha256,
            ),
        )
        .where(image_verdicts.c.accepted)
    )


@dataclass(frozen=True)
class StoreSummary:
    """What the database holds of one store."""

    store_id: str
    products: int
    live: int
    quarantined: int
    images: int
    accepted: int
    embedded: int
    points: int
    currency: str | None
    watermark: datetime | None
    last_walk: str | None
    last_walk_complete: bool | None
    last_processed_at: datetime | None


def summarise_store(
    connection: Connection, store_id: str, model_version: str | None, collection: str | None
) -> StoreSummary:
    """Count a store's rows, images, vectors and points.

    Args:
        connection: any connection.
        store_id: the store.
        model_version: whose vectors to count; None counts none.
        collection: whose points to count; None counts none.
    """

    def count(statement: Select[Any]) -> int:
        return connection.scalar(select(func.count()).select_from(statement.subquery())) or 0

    of_store = select(products.c.product_id).where(products.c.store_id == store_id)
    accepted = accepted_images(store_id)
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
        embedded=count(embedded),
        points=count(loaded),
        currency=state.currency if state else None,
        watermark=state.watermark if state else None,
        last_walk=walk.walk_id if walk else None,
        last_walk_complete=walk.complete if walk else None,
        last_processed_at=walk.processed_at if walk else None,
    )
