"""Whether a store's points may go: the removal guard, with what people have approved.

A pure decision is in `removals.py`; here is what it is asked about points, by the stage that takes
them out and by whoever looks at what waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, func, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.removal_approvals import (
    Approval,
    ApprovalRefusedError,
    approved_removals,
    has_open_approval,
    record_approval,
    use_approval,
)
from catalog_pipeline.catalog.schema import points, products
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.removals import RemovalDecision, decide
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.drift import count_unwanted
from catalog_pipeline.vectors.index import PointFilter, VectorIndex, collection_name
from catalog_pipeline.vectors.owed import count_rows, recorded_points, unwanted_points


@dataclass(frozen=True)
class Guarded:
    """What the guard says; `refused` is why an approval that came with the run did nothing."""

    decision: RemovalDecision
    refused: str | None = None


@dataclass(frozen=True)
class WaitingPoint:
    """A point that has a reason to go, and whose it is; the product's row may be gone."""

    point_id: UUID
    external_id: str | None
    title: str | None
    reason: str


@dataclass(frozen=True)
class WaitingPoints:
    """The points of a store that the guard holds back.

    Attributes:
        count: how many; an approval names it.
        limit: how many may go unasked.
        unrecorded: those of them that are in the collection and on no record.
        points: the others, by their product's id in the store.
    """

    count: int = 0
    limit: int = 0
    unrecorded: int = 0
    points: Sequence[WaitingPoint] = ()


def guard_removals(
    lease: StoreLease,
    collection: str,
    unwanted: Select[Any],
    reasons: Mapping[str, int],
    before: int,
    *,
    max_share: float,
    whole_store: bool,
    approval: Approval | None = None,
) -> Guarded:
    """Decide on the points that have a reason to go; an approval of their number is used up.

    Points of products whose own removal a person approved need no second approval.

    Args:
        lease: the store.
        collection: where the points are.
        unwanted: the recorded ones, as `point_id`.
        reasons: how many have each reason, unrecorded ones among them.
        before: how many points the store has.
        max_share: share of them that may go unasked.
        whole_store: whether all of the store is looked at; approvals are of nothing less.
        approval: one that comes with the run.
    """
    store_id, requested = lease.store_id, sum(reasons.values())
    with lease.database.read() as connection:
        # Without a reason there is nothing to look for, and looking takes as long as finding out.
        of_approved = (
            _count_approved(connection, store_id, collection, unwanted) if requested else 0
        )
        is_open = has_open_approval(connection, store_id, "points")
    decision = decide(requested - of_approved, before, max_share=max_share)
    if not whole_store:
        refused = None if approval is None else "a run of one product approves nothing"
        return Guarded(decision, refused)
    if approval is None and not is_open:
        return Guarded(decision)
    waiting = 0 if decision.allowed else requested
    refused = None
    with lease.write() as connection:
        if approval is not None:
            try:
                record_approval(
                    connection,
                    store_id,
                    "points",
                    approval.count,
                    waiting=waiting,
                    who=approval.who,
                    reason=approval.reason,
                )
            except ApprovalRefusedError as error:
                refused = str(error)
        if use_approval(connection, store_id, "points", waiting=waiting, walk_id=None):
            decision = RemovalDecision(requested, limit=requested)
    return Guarded(decision, refused)


def waiting_points(
    database: Database, index: VectorIndex, store: StoreConfig, model_version: str, alias: str
) -> WaitingPoints:
    """Look up the points that the next sync would hold back, changing nothing.

    Args:
        database: the catalogue.
        index: asked for points without a record, if its count is not that of the records.
        store: the store.
        model_version: whose collection it is.
        alias: the name readers use.

    Raises:
        PermanentError: Qdrant refuses something.
        ServiceUnavailableError: Qdrant or the database cannot be reached.
    """
    name, scope = collection_name(alias, model_version), Scope.of(store)
    info = index.info(name)
    if info is None or info.owner != database.deployment_id():
        return WaitingPoints()
    unwanted = unwanted_points(name, scope, model_version)
    with database.read() as connection:
        of_approved = _count_approved(connection, store.id, name, unwanted)
        found = _named(connection, name, unwanted)
        recorded = count_rows(connection, recorded_points(name, store.id))
    with index.session(name) as opened:
        held = opened.count(PointFilter(stores=(store.id,)))
        unrecorded = 0
        if held != recorded:
            unrecorded = count_unwanted(database, opened, scope, name, model_version)
    requested = len(found) + unrecorded
    decision = decide(
        requested - of_approved, max(held, recorded), max_share=store.max_removal_share
    )
    if decision.allowed:
        return WaitingPoints(limit=decision.limit)
    return WaitingPoints(requested, decision.limit, unrecorded, found)


def held_back(
    connection: Connection, store: StoreConfig, collection: str, model_version: str
) -> WaitingPoints:
    """The same of the recorded points alone, without a look at the index."""
    unwanted = unwanted_points(collection, Scope.of(store), model_version)
    requested = count_rows(connection, unwanted)
    of_approved = _count_approved(connection, store.id, collection, unwanted) if requested else 0
    recorded = count_rows(connection, recorded_points(collection, store.id))
    decision = decide(requested - of_approved, recorded, max_share=store.max_removal_share)
    if decision.allowed:
        return WaitingPoints(limit=decision.limit)
    found = _named(connection, collection, unwanted)
    return WaitingPoints(len(found), decision.limit, points=found)


def _count_approved(
    connection: Connection, store_id: str, collection: str, unwanted: Select[Any]
) -> int:
    going = unwanted.subquery()
    approved = (
        select(func.count())
        .select_from(points)
        .join(going, going.c.point_id == points.c.point_id)
        .where(
            points.c.collection == collection,
            points.c.product_id.in_(approved_removals(store_id)),
        )
    )
    return connection.scalar(approved) or 0


def _named(connection: Connection, collection: str, unwanted: Select[Any]) -> list[WaitingPoint]:
    going = unwanted.subquery()
    found = connection.execute(
        select(going.c.point_id, products.c.external_id, products.c.title, going.c.reason)
        .join(points, points.c.point_id == going.c.point_id)
        .outerjoin(products, products.c.product_id == points.c.product_id)
        .where(points.c.collection == collection)
        .order_by(func.length(products.c.external_id), products.c.external_id, going.c.point_id)
    )
    return [WaitingPoint(*row) for row in found]
