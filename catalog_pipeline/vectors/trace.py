"""What is recorded of one product's pictures and points, and what is owed to its points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, literal, select, union_all

from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.schema import (
    embeddings,
    gates,
    image_attempts,
    image_verdicts,
    images,
    points,
    product_images,
    variation_images,
)
from catalog_pipeline.catalog.wanted import Scope, is_accepted, wanted_images, with_verdicts
from catalog_pipeline.vectors.owed import point_id, unwanted_points, wanted_points
from catalog_pipeline.vectors.payload import point_payload


@dataclass(frozen=True)
class ImageTrace:
    """One picture that a product lists.

    `slot` is None where the store's settings do not ask for it. `issues` hold the gate's findings,
    each with what was measured and the threshold; `accepted` is the word that counts, a person's
    or the gate's. `vector` names part and row.
    """

    image_id: str
    variation_id: str | None
    position: int | None
    url: str
    slot: str | None
    outcome: str | None
    failure: str | None
    failures: int
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    image_sha256: str | None
    width: int | None
    height: int | None
    bytes: int | None
    gate_version: str | None
    thresholds: Mapping[str, Any] | None
    measurements: Mapping[str, Any] | None
    issues: list[dict[str, Any]]
    accepted: bool | None
    vector: str | None


@dataclass(frozen=True)
class PointTrace:
    """One point on record, and the reason it is to go for, if there is one."""

    point_id: UUID
    slot: str
    image_sha256: str
    reason_to_go: str | None


@dataclass(frozen=True)
class Owed:
    """What the next sync does about the product, and why; `at` is None for at once."""

    stage: str
    what: str
    why: str
    at: datetime | None = None


def image_traces(connection: Connection, scope: Scope, model_version: str) -> list[ImageTrace]:
    """Every picture that the one product of a scope lists, wanted or not."""
    (product_id,) = scope.products or ()
    listed = union_all(
        select(
            product_images.c.image_id,
            literal(None, variation_images.c.variation_id.type).label("variation_id"),
            product_images.c.position,
            product_images.c.url,
        ).where(product_images.c.product_id == product_id),
        select(
            variation_images.c.image_id,
            variation_images.c.variation_id,
            literal(None, product_images.c.position.type),
            variation_images.c.url,
        ).where(variation_images.c.product_id == product_id),
    ).subquery()
    wanted = wanted_images(scope).subquery()
    slots = select(wanted.c.url, func.min(wanted.c.slot).label("slot")).group_by(wanted.c.url)
    shown = slots.subquery()
    source = listed.outerjoin(shown, shown.c.url == listed.c.url).outerjoin(
        image_attempts,
        and_(image_attempts.c.store_id == scope.store_id, image_attempts.c.url == listed.c.url),
    )
    source = (
        with_verdicts(source, scope.store_id)
        .outerjoin(images, images.c.image_sha256 == image_attempts.c.image_sha256)
        .outerjoin(gates, gates.c.gate_version == image_verdicts.c.gate_version)
        .outerjoin(
            embeddings,
            and_(
                embeddings.c.image_sha256 == image_attempts.c.image_sha256,
                embeddings.c.model_version == model_version,
            ),
        )
    )
    statement = (
        select(
            *listed.c,
            shown.c.slot,
            image_attempts.c.outcome,
            image_attempts.c.reason,
            image_attempts.c.failures,
            image_attempts.c.attempted_at,
            image_attempts.c.next_attempt_at,
            image_attempts.c.image_sha256,
            images.c.width,
            images.c.height,
            images.c.bytes,
            images.c.measurements,
            image_verdicts.c.gate_version,
            gates.c.thresholds,
            image_verdicts.c.issues,
            is_accepted().label("accepted"),
            embeddings.c.part,
            embeddings.c.row,
        )
        .select_from(source)
        .order_by(listed.c.variation_id, listed.c.position)
    )
    return [
        ImageTrace(
            image_id=row.image_id,
            variation_id=row.variation_id,
            position=row.position,
            url=row.url,
            slot=row.slot,
            outcome=row.outcome,
            failure=row.reason,
            failures=row.failures or 0,
            attempted_at=row.attempted_at,
            next_attempt_at=row.next_attempt_at,
            image_sha256=row.image_sha256,
            width=row.width,
            height=row.height,
            bytes=row.bytes,
            gate_version=row.gate_version,
            thresholds=row.thresholds,
            measurements=row.measurements,
            issues=row.issues or [],
            accepted=None if row.accepted is None else bool(row.accepted),
            vector=None if row.part is None else f"{row.part}#{row.row}",
        )
        for row in connection.execute(statement)
    ]


def point_traces(
    connection: Connection, scope: Scope, collection: str, model_version: str
) -> list[PointTrace]:
    """The points on record of the one product of a scope."""
    going = {
        row.point_id: row.reason
        for row in connection.execute(unwanted_points(collection, scope, model_version))
    }
    found = connection.execute(
        select(points.c.point_id, points.c.slot, points.c.image_sha256)
        .where(points.c.collection == collection, points.c.product_id.in_(scope.products or ()))
        .order_by(points.c.slot)
    )
    return [PointTrace(key, slot, sha, going.get(key)) for key, slot, sha in found]


def owed_points(
    connection: Connection, scope: Scope, collection: str, model_version: str, *, held: int
) -> Iterator[Owed]:
    """What the next sync does to the points of the one product of a scope.

    Args:
        connection: any connection.
        scope: the product.
        collection: the collection's name.
        model_version: the model whose vectors it holds.
        held: how many of the store's points the removal guard holds back.
    """
    stage = "qdrant_points"
    for row in connection.execute(wanted_points(collection, scope, model_version)):
        key = point_id(row.product_id, row.slot)
        sha = row.image_sha256 or row.loaded_sha256
        payload = point_payload(
            row, store_id=scope.store_id, image_sha256=sha, model_version=model_version
        )
        if row.loaded_sha256 is None:
            yield Owed(stage, f"load point {key}", "it has a vector and no point")
        elif sha != row.loaded_sha256:
            yield Owed(stage, f"load point {key}", "its picture is a new one")
        elif digest(payload) != row.payload_hash:
            yield Owed(stage, f"refresh point {key}", "its payload has changed")
    wait = f"; {held} removals of points wait for an approval" if held else ""
    for row in connection.execute(unwanted_points(collection, scope, model_version)):
        yield Owed(stage, f"remove point {row.point_id}", f"{row.reason}{wait}")
