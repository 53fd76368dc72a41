"""Whether a store's points may go: the removal guard, with what people have approved.

A pure decision is in `removals.py`; here is what it is asked about points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, func, select

from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.removal_approvals import (
    approved_removals,
    has_open_approval,
    use_approval,
)
from catalog_pipeline.catalog.schema import points
from catalog_pipeline.removals import RemovalDecision, decide


def guard_removals(
    lease: StoreLease,
    collection: str,
    unwanted: Select[Any],
    reasons: Mapping[str, int],
    before: int,
    *,
    max_share: float,
    whole_store: bool,
) -> RemovalDecision:
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
    """
    store_id, requested = lease.store_id, sum(reasons.values())
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
    with lease.database.read() as connection:
        of_approved = connection.scalar(approved) or 0
        is_open = whole_store and has_open_approval(connection, store_id, "points")
    decision = decide(requested - of_approved, before, max_share=max_share)
    if is_open:
        waiting = 0 if decision.allowed else requested
        with lease.write() as connection:
            if use_approval(connection, store_id, "points", waiting=waiting, walk_id=None):
                return RemovalDecision(requested, limit=requested)
    return decision
