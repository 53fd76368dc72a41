"""What to do when a collection does not hold what is recorded of it.

A crash between Qdrant and the database, a restored backup or somebody else's hands leave points
without a record and records without a point. Here the ids of one store are compared, page by page,
and the records put right; points that nobody wants are only reported, since removals are the
guard's to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import points
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.vectors.index import Payload, PointFilter, Points
from catalog_pipeline.vectors.owed import (
    StandingPoint,
    forget_points,
    recorded_points,
    standing,
)

_PAGE = 1000


@dataclass
class Drift:
    """How the collection differed from the records.

    Attributes:
        lost: records whose point was not there; they are dropped, so the points are owed again.
        unrecorded: points without a record.
        unwanted: how many of those belong to nothing that should be in the collection.
        unwanted_ids: their ids, as many as were asked for.
    """

    lost: int = 0
    unrecorded: int = 0
    unwanted: int = 0
    unwanted_ids: list[UUID] = field(default_factory=list)


def settle_drift(
    lease: StoreLease,
    opened: Points,
    scope: Scope,
    collection: str,
    model_version: str,
    *,
    keep_ids: int,
) -> Drift:
    """Compare a store's points with their records and put the records right.

    Args:
        lease: the right to write the store.
        opened: the collection.
        scope: the store and the pictures that it wants.
        collection: the collection's name.
        model_version: the model whose vectors it holds.
        keep_ids: how many ids of unwanted points to return; more would only be counted anyway.
    """
    drift = Drift()
    _drop_lost(lease, opened, collection, drift)
    for found, facts in _unrecorded(lease.database, opened, scope, collection, model_version):
        unwanted = [point_id for point_id in found if point_id not in facts]
        drift.unrecorded += len(found)
        drift.unwanted += len(unwanted)
        drift.unwanted_ids += unwanted[: keep_ids - len(drift.unwanted_ids)]
        _record(lease, collection, found, facts)
    return drift


def count_unwanted(
    database: Database, opened: Points, scope: Scope, collection: str, model_version: str
) -> int:
    """How many points without a record belong to nothing that should be there; changes nothing.

    Args:
        database: the records.
        opened: the collection.
        scope: the store and the pictures that it wants.
        collection: the collection's name.
        model_version: the model whose vectors it holds.
    """
    return sum(
        len(found.keys() - facts.keys())
        for found, facts in _unrecorded(database, opened, scope, collection, model_version)
    )


def _unrecorded(
    database: Database, opened: Points, scope: Scope, collection: str, model_version: str
) -> Iterator[tuple[dict[UUID, Payload | None], dict[UUID, StandingPoint]]]:
    """Pages of payloads of points that have no record, and of facts about those that may stay."""
    for page in opened.ids(PointFilter(stores=(scope.store_id,))):
        with database.read() as connection:
            known = set(
                connection.scalars(
                    select(points.c.point_id).where(
                        points.c.collection == collection, points.c.point_id.in_(page)
                    )
                )
            )
        unrecorded = [point_id for point_id in page if point_id not in known]
        if not unrecorded:
            continue
        found = {
            point.point_id: point.payload for point in opened.retrieve(unrecorded, payload=True)
        }
        claimed = {product for payload in found.values() if (product := product_of(payload))}
        with database.read() as connection:
            some = replace(scope, products=tuple(claimed))
            facts = standing(connection, collection, some, model_version)
        yield found, facts


def _drop_lost(lease: StoreLease, opened: Points, collection: str, drift: Drift) -> None:
    after: UUID | None = None
    while True:
        statement = recorded_points(collection, lease.store_id).limit(_PAGE)
        if after is not None:
            statement = statement.where(points.c.point_id > after)
        with lease.database.read() as connection:
            page = list(connection.scalars(statement))
        present = {point.point_id for point in opened.retrieve(page)}
        lost = [point_id for point_id in page if point_id not in present]
        if lost:
            with lease.write() as connection:
                forget_points(connection, collection, lost)
            drift.lost += len(lost)
        if len(page) < _PAGE:
            return
        after = page[-1]


def product_of(payload: Mapping[str, Any] | None) -> UUID | None:
    """The product that a payload names; None if it names none."""
    try:
        return UUID(str((payload or {}).get("product_id")))
    except ValueError:
        return None


def _record(
    lease: StoreLease,
    collection: str,
    found: Mapping[UUID, Mapping[str, Any] | None],
    facts: Mapping[UUID, StandingPoint],
) -> None:
    """Put points that are to stay as they are back on record, as stale in their payload."""
    rows = [
        {
            "collection": collection,
            "point_id": point_id,
            "store_id": lease.store_id,
            "product_id": fact.product_id,
            "slot": fact.slot,
            "image_sha256": str((payload or {}).get("image_sha256", ""))[:64],
            "payload_hash": "",
        }
        for point_id, payload in found.items()
        if (fact := facts.get(point_id)) and not fact.is_ready
    ]
    if rows:
        with lease.write() as connection:
            upsert(connection, points, rows)
