"""Removals that the guard holds back, and a person's word that they may go.

An approval names the count that the person saw waiting. It lets exactly these removals through, the
next time that the stage which holds them works on the store; if something else is waiting by then,
it is void. The audit says who gave it, when and why, and outlives the store. What waits is found by
the stages; how much may go unasked is in `removals.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, func, select, update

from catalog_pipeline.catalog.audit import AuditEntry, record
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import products, removal_approvals, removal_waits
from catalog_pipeline.errors import PermanentError

Stage = Literal["products", "points"]

_LONGEST = 500


class ApprovalRefusedError(PermanentError):
    """Another count waits than was approved, or nobody says why; nothing was recorded."""


@dataclass(frozen=True)
class Approval:
    """A person's word, given with a run, that as many removals as are waiting may go."""

    count: int
    who: str
    reason: str


@dataclass(frozen=True)
class WaitingRemoval:
    """A live product that a complete walk did not find; `reason` is absent or trash."""

    product_id: UUID
    external_id: str
    title: str
    reason: str
    walk_id: str


def waiting_removals(connection: Connection, store_id: str) -> list[WaitingRemoval]:
    """The products of a store whose removal waits for an approval, by their id in the store."""
    found = connection.execute(
        select(
            products.c.product_id,
            products.c.external_id,
            products.c.title,
            removal_waits.c.reason,
            removal_waits.c.walk_id,
        )
        .join(products, products.c.product_id == removal_waits.c.product_id)
        .where(removal_waits.c.store_id == store_id)
        .order_by(func.length(products.c.external_id), products.c.external_id)
    )
    return [WaitingRemoval(*row) for row in found]


def count_waiting(connection: Connection, store_id: str) -> int:
    """How many products of a store wait to be removed."""
    waiting = select(func.count()).where(removal_waits.c.store_id == store_id)
    return connection.scalar(waiting) or 0


def approve_products(
    database: Database, store_id: str, count: int, *, who: str, reason: str
) -> None:
    """Let the waiting removals of a store's products go with the next sync.

    Args:
        database: where they wait.
        store_id: the store.
        count: as many as wait.
        who: approves.
        reason: why.

    Raises:
        ApprovalRefusedError: another number of them waits, or none; or it has no reason.
    """
    with database.write() as connection:
        waiting = count_waiting(connection, store_id)
        record_approval(
            connection, store_id, "products", count, waiting=waiting, who=who, reason=reason
        )


def record_approval(
    connection: Connection,
    store_id: str,
    stage: Stage,
    count: int,
    *,
    waiting: int,
    who: str,
    reason: str,
) -> None:
    """Record an approval, in place of one that is still open.

    Args:
        connection: in a write transaction.
        store_id: the store.
        stage: the stage that holds the removals back.
        count: what the person named.
        waiting: how many removals it holds back.
        who: approves.
        reason: why.

    Raises:
        ApprovalRefusedError: the two numbers differ, or nothing waits; or it has no reason.
    """
    if not who.strip() or not reason.strip():
        raise ApprovalRefusedError(
            f"store {store_id}: an approval names who lets removals go and for what reason"
        )
    if count != waiting or not waiting:
        raise ApprovalRefusedError(
            f"store {store_id}: {waiting} removals of {stage} wait, and {count} were approved; "
            "look at what waits now, and approve that number"
        )
    now = datetime.now(UTC)
    who, reason = who[:_LONGEST], reason[:_LONGEST]
    _settle(connection, store_id, stage, "void", None)
    connection.execute(
        removal_approvals.insert(),
        {
            "approval_id": uuid4(),
            "store_id": store_id,
            "stage": stage,
            "count": count,
            "who": who,
            "reason": reason,
            "approved_at": now,
        },
    )
    details = {"of": stage, "count": count}
    record(
        connection, AuditEntry(now, who, "removals.approve", store_id, store_id, reason, details)
    )


def has_open_approval(connection: Connection, store_id: str, stage: Stage) -> bool:
    """Whether an approval is there that nothing has used up."""
    return approved_count(connection, store_id, stage) > 0


def approved_count(connection: Connection, store_id: str, stage: Stage) -> int:
    """The number that an approval names which nothing has used up; 0 if there is none."""
    found = select(removal_approvals.c.count).where(*_open(store_id, stage)).limit(1)
    return connection.scalar(found) or 0


def use_approval(
    connection: Connection, store_id: str, stage: Stage, *, waiting: int, walk_id: str | None
) -> bool:
    """Whether an open approval names what is waiting; it is used up either way.

    Args:
        connection: in the transaction that removes.
        store_id: the store.
        stage: the stage that holds the removals back.
        waiting: how many removals it holds back.
        walk_id: the walk that found them gone, if one did.
    """
    approved = connection.scalars(
        select(removal_approvals.c.count).where(*_open(store_id, stage))
    ).all()
    if not approved:
        return False
    applies = waiting > 0 and waiting in approved
    _settle(connection, store_id, stage, "applied" if applies else "void", walk_id)
    return applies


def approved_removals(store_id: str) -> Select[tuple[UUID]]:
    """The products whose removal a person approved; their points need no second approval.

    Those that a rule left out went with the same walk, and nobody was asked about them.

    Column: product_id.
    """
    walks_let_through = select(removal_approvals.c.walk_id).where(
        removal_approvals.c.store_id == store_id,
        removal_approvals.c.stage == "products",
        removal_approvals.c.outcome == "applied",
    )
    return select(products.c.product_id).where(
        products.c.store_id == store_id,
        products.c.removed_in.in_(walks_let_through),
        products.c.left_out_by.is_(None),
    )


def _open(store_id: str, stage: Stage) -> tuple[Any, ...]:
    return (
        removal_approvals.c.store_id == store_id,
        removal_approvals.c.stage == stage,
        removal_approvals.c.outcome.is_(None),
    )


def _settle(
    connection: Connection, store_id: str, stage: Stage, outcome: str, walk_id: str | None
) -> None:
    connection.execute(
        update(removal_approvals)
        .where(*_open(store_id, stage))
        .values(outcome=outcome, settled_at=datetime.now(UTC), walk_id=walk_id)
    )
