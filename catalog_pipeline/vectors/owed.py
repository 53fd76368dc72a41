"""Which points a store should have, which it has no longer reason to have, and why.

Both are derived from the tables alone. A point is wanted while its product is live and the gate
accepts its main image; it goes only for a reason named here; in between, where a new picture is
not ready yet, it stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
)

from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    points,
    product_images,
    products,
)

# Well below what one SQLite statement takes.
_VALUES = 1000


def wanted_points(collection: str, store_id: str, model_version: str) -> Select[Any]:
    """Every point that should be in the collection, with what is recorded of it.

    Rows: the product's columns for the payload; `image_sha256`, `part` and `row` of the image that
    is ready to be loaded, or three nulls where a point stays with its last good image;
    `loaded_sha256` and `payload_hash` of the point as it was loaded, or two nulls. In the order of
    parts and rows, so that vectors are read in the order they stand in.
    """
    ready = _is_ready()
    recorded = and_(
        points.c.collection == collection,
        points.c.point_id == products.c.product_id,
        points.c.store_id == store_id,
    )
    return (
        select(
            products.c.product_id,
            products.c.external_id,
            products.c.sku,
            products.c.title,
            products.c.price,
            products.c.currency,
            products.c.categories,
            products.c.in_stock,
            products.c.on_sale,
            products.c.product_url,
            product_images.c.url.label("image_url"),
            products.c.created_at,
            case((ready, image_attempts.c.image_sha256)).label("image_sha256"),
            case((ready, embeddings.c.part)).label("part"),
            case((ready, embeddings.c.row)).label("row"),
            points.c.image_sha256.label("loaded_sha256"),
            points.c.payload_hash,
        )
        .select_from(_facts(products, store_id, model_version).outerjoin(points, recorded))
        .where(
            products.c.store_id == store_id,
            _removal_reason().is_(None),
            or_(ready, points.c.point_id.is_not(None)),
        )
        .order_by(embeddings.c.part, embeddings.c.row)
    )


def unwanted_points(collection: str, store_id: str, model_version: str) -> Select[Any]:
    """Recorded points that have a reason to go. Columns: point_id, reason."""
    source = points.outerjoin(products, products.c.product_id == points.c.product_id)
    reason = _removal_reason()
    return (
        select(points.c.point_id, reason.label("reason"))
        .select_from(_facts(source, store_id, model_version))
        .where(
            points.c.collection == collection,
            points.c.store_id == store_id,
            reason.is_not(None),
        )
    )


def standing(
    connection: Connection, store_id: str, model_version: str, ids: Sequence[UUID]
) -> dict[UUID, bool | None]:
    """What the database says of points by their ids.

    True: wanted, and ready to be loaded. False: to stay as it is. None: it has a reason to go. An
    id that is missing belongs to no product of the store.
    """
    statement = (
        select(products.c.product_id, _is_ready(), _removal_reason())
        .select_from(_facts(products, store_id, model_version))
        .where(products.c.store_id == store_id, products.c.product_id.in_(ids))
    )
    return {
        product_id: bool(ready) if reason is None else None
        for product_id, ready, reason in connection.execute(statement)
    }


def count_rows(connection: Connection, statement: Select[Any]) -> int:
    """How many rows a statement gives."""
    counted = statement.order_by(None).subquery()
    return connection.scalar(select(func.count()).select_from(counted)) or 0


def count_by_reason(connection: Connection, statement: Select[Any]) -> dict[str, int]:
    """How many rows of `unwanted_points` there are for each reason."""
    unwanted = statement.subquery()
    counts = select(unwanted.c.reason, func.count()).group_by(unwanted.c.reason)
    return {str(reason): int(count) for reason, count in connection.execute(counts)}


def recorded_points(collection: str, store_id: str) -> Select[Any]:
    """The ids that are recorded as loaded, in order. Column: point_id."""
    return (
        select(points.c.point_id)
        .where(points.c.collection == collection, points.c.store_id == store_id)
        .order_by(points.c.point_id)
    )


def forget_points(connection: Connection, collection: str, ids: Sequence[UUID]) -> None:
    """Drop the records of points that are not in the collection (any more)."""
    for start in range(0, len(ids), _VALUES):
        connection.execute(
            delete(points).where(
                points.c.collection == collection,
                points.c.point_id.in_(ids[start : start + _VALUES]),
            )
        )


def _facts(source: FromClause, store_id: str, model_version: str) -> FromClause:
    """Products with all that decides about their main image's point."""
    return (
        source.outerjoin(
            product_images,
            and_(
                product_images.c.product_id == products.c.product_id,
                product_images.c.position == 0,
            ),
        )
        .outerjoin(
            image_attempts,
            and_(
                image_attempts.c.store_id == store_id,
                image_attempts.c.url == product_images.c.url,
            ),
        )
        .outerjoin(
            image_verdicts,
            and_(
                image_verdicts.c.store_id == store_id,
                image_verdicts.c.image_sha256 == image_attempts.c.image_sha256,
            ),
        )
        .outerjoin(
            embeddings,
            and_(
                embeddings.c.image_sha256 == image_attempts.c.image_sha256,
                embeddings.c.model_version == model_version,
            ),
        )
    )


def _is_ready() -> ColumnElement[bool]:
    return and_(
        func.coalesce(image_verdicts.c.accepted, literal(False)), embeddings.c.part.is_not(None)
    )


def _removal_reason() -> ColumnElement[str | None]:
    return case(
        (or_(products.c.product_id.is_(None), products.c.removed_by.is_not(None)), "removed"),
        (products.c.left_out_by.is_not(None), "left_out"),
        (product_images.c.url.is_(None), "no_image"),
        (image_attempts.c.outcome == "gone", "image_gone"),
        (image_verdicts.c.accepted.is_(False), "image_rejected"),
        else_=None,
    )
