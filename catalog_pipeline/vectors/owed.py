"""Which points a store should have, which it has no longer reason to have, and why.

Both are derived from the tables alone. A point is wanted while its picture is and is accepted; it
goes only for a reason named here; in between, where a new picture is not ready yet, it stays as it
is. A product has one point for each distinct content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)

from catalog_pipeline.catalog.identity import image_point_id
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    points,
    products,
    quarantine,
)
from catalog_pipeline.catalog.wanted import (
    MAIN_SLOT,
    Scope,
    is_accepted,
    is_hidden,
    wanted_images,
    with_verdicts,
)
from catalog_pipeline.images.owed import is_too_large

# Well below what one SQLite statement takes.
_VALUES = 1000
_SLOT_COLUMNS = (
    "product_id",
    "slot",
    "url",
    "ready_sha256",
    "part",
    "row",
    "loaded_point_id",
    "loaded_sha256",
    "payload_hash",
)


@dataclass(frozen=True, slots=True)
class StandingPoint:
    """A point that has no reason to go; it is ready to be loaded, or to stay as it is."""

    product_id: UUID
    slot: str
    is_ready: bool


def point_id(product_id: UUID, slot: str) -> UUID:
    """The id of the point of one picture of a product."""
    return image_point_id(product_id, slot, is_main=slot == MAIN_SLOT)


def wanted_points(collection: str, scope: Scope, model_version: str) -> Select[Any]:
    """Every point that should be in the collection, with what is recorded of it.

    Rows: the product's columns for the payload; `slot`; `image_sha256`, `part` and `row` of the
    image that is ready to be loaded, or three nulls where a point stays with its last good image;
    `loaded_sha256` and `payload_hash` of the point as it was loaded, or two nulls; `is_quarantined`
    where the source's newest version of the product is not valid. In the order of parts and rows,
    so that vectors are read in the order they stand in.
    """
    slots = _slots(collection, scope, model_version)
    quarantined = exists().where(
        quarantine.c.store_id == scope.store_id,
        quarantine.c.external_id == products.c.external_id,
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
            slots.c.url.label("image_url"),
            products.c.created_at,
            slots.c.slot,
            slots.c.ready_sha256.label("image_sha256"),
            case((slots.c.ready_sha256.is_not(None), slots.c.part)).label("part"),
            case((slots.c.ready_sha256.is_not(None), slots.c.row)).label("row"),
            slots.c.loaded_sha256,
            slots.c.payload_hash,
            quarantined.label("is_quarantined"),
        )
        .join(slots, slots.c.product_id == products.c.product_id)
        .where(
            slots.c.reason.is_(None),
            or_(slots.c.ready_sha256.is_not(None), slots.c.loaded_sha256.is_not(None)),
        )
        .order_by(slots.c.part, slots.c.row)
    )


def unloaded_points(collection: str, scope: Scope, model_version: str) -> Select[Any]:
    """The wanted points that are ready and on record with no picture, or with another one.

    Columns: product_id, slot.
    """
    slots = _slots(collection, scope, model_version)
    return select(slots.c.product_id, slots.c.slot).where(
        slots.c.ready_sha256.is_not(None),
        slots.c.reason.is_(None),
        slots.c.loaded_sha256.is_distinct_from(slots.c.ready_sha256),
    )


def unwanted_points(collection: str, scope: Scope, model_version: str) -> Select[Any]:
    """Recorded points that have a reason to go. Columns: point_id, reason."""
    slots = select(_slots(collection, scope, model_version)).cte("slots")
    loaded = select(slots.c.loaded_point_id).where(slots.c.loaded_point_id.is_not(None))
    # A product is live wherever it has a slot, so no point is in both halves.
    of_slots = select(slots.c.loaded_point_id.label("point_id"), slots.c.reason).where(
        slots.c.loaded_point_id.is_not(None), slots.c.reason.is_not(None)
    )
    without_slot = (
        select(points.c.point_id, _reason_without_slot().label("reason"))
        .select_from(points)
        .outerjoin(products, products.c.product_id == points.c.product_id)
        .where(
            points.c.collection == collection,
            points.c.store_id == scope.store_id,
            points.c.point_id.not_in(loaded),
        )
    )
    if scope.products is not None:
        without_slot = without_slot.where(points.c.product_id.in_(scope.products))
    both = union_all(of_slots, without_slot).subquery()
    return select(both.c.point_id, both.c.reason)


def standing(
    connection: Connection, collection: str, scope: Scope, model_version: str
) -> dict[UUID, StandingPoint]:
    """The points of a few products that have no reason to go, by their ids.

    Args:
        connection: any connection.
        collection: the collection's name.
        scope: the products.
        model_version: the model whose vectors it holds.
    """
    slots = _slots(collection, scope, model_version)
    statement = select(slots.c.product_id, slots.c.slot, slots.c.ready_sha256.is_not(None)).where(
        slots.c.reason.is_(None)
    )
    return {
        point_id(product_id, slot): StandingPoint(product_id, slot, bool(ready))
        for product_id, slot, ready in connection.execute(statement)
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


def _slots(collection: str, scope: Scope, model_version: str) -> Subquery:
    """Every wanted picture with all that decides about its point.

    Columns: product_id, slot, url; `ready_sha256` of the content to be loaded, or null; its `part`
    and `row`; `loaded_point_id`, `loaded_sha256` and `payload_hash` as recorded, or nulls; `reason`
    to have no point.
    """
    wanted = wanted_images(scope).subquery()
    source = (
        with_verdicts(
            wanted.outerjoin(
                image_attempts,
                and_(
                    image_attempts.c.store_id == scope.store_id,
                    image_attempts.c.url == wanted.c.url,
                ),
            ),
            scope.store_id,
        )
        .outerjoin(
            embeddings,
            and_(
                embeddings.c.image_sha256 == image_attempts.c.image_sha256,
                embeddings.c.model_version == model_version,
            ),
        )
        .outerjoin(
            points,
            and_(
                points.c.collection == collection,
                points.c.store_id == scope.store_id,
                points.c.product_id == wanted.c.product_id,
                points.c.slot == wanted.c.slot,
            ),
        )
    )
    reason = case(
        (image_attempts.c.outcome == "gone", "image_gone"),
        (or_(is_accepted().is_(False), is_too_large()), "image_rejected"),
        else_=None,
    )
    is_ready = and_(func.coalesce(is_accepted(), literal(False)), embeddings.c.part.is_not(None))
    each = (
        select(
            wanted.c.product_id,
            wanted.c.slot,
            wanted.c.place,
            wanted.c.url,
            case((and_(reason.is_(None), is_ready), image_attempts.c.image_sha256)).label(
                "ready_sha256"
            ),
            embeddings.c.part,
            embeddings.c.row,
            points.c.point_id.label("loaded_point_id"),
            points.c.image_sha256.label("loaded_sha256"),
            points.c.payload_hash,
            reason.label("reason"),
        )
        .select_from(source)
        .subquery()
    )
    return each if scope.images == "main" else _distinct(each)


def _distinct(each: Subquery) -> Subquery:
    """The same, but only the first of a product's pictures with one content keeps its point."""
    shown = case(
        (each.c.reason.is_(None), func.coalesce(each.c.ready_sha256, each.c.loaded_sha256))
    )
    turn = func.row_number().over(
        partition_by=(each.c.product_id, shown), order_by=(each.c.place, each.c.slot)
    )
    numbered = select(each, shown.label("shown"), turn.label("turn")).subquery()
    repeats = and_(numbered.c.shown.is_not(None), numbered.c.turn > 1)
    return select(
        *(numbered.c[name] for name in _SLOT_COLUMNS),
        case((repeats, "duplicate"), else_=numbered.c.reason).label("reason"),
    ).subquery()


def _reason_without_slot() -> ColumnElement[str]:
    return case(
        (or_(products.c.product_id.is_(None), products.c.removed_by.is_not(None)), "removed"),
        (products.c.left_out_by.is_not(None), "left_out"),
        (is_hidden(), "hidden"),
        (points.c.slot == MAIN_SLOT, "no_image"),
        else_="image_not_wanted",
    )
