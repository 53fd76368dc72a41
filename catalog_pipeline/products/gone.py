"""Products that a complete walk did not find: they go all at once, or wait for a person.

Only a walk that saw the whole store may be asked here. Rows are never deleted: a removed product
keeps its row and its history, and is live again, under its old id, once a walk brings it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, update

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.removal_approvals import (
    Approval,
    ApprovalRefusedError,
    has_open_approval,
    record_approval,
    use_approval,
)
from catalog_pipeline.catalog.schema import products, removal_waits, walks
from catalog_pipeline.catalog.wanted import is_live
from catalog_pipeline.products.source import TRASH, SeenIds
from catalog_pipeline.removals import decide

ABSENT = "absent"
_VALUES = 500


@dataclass
class Removals:
    """What became of the products that are gone; counts are of live ones, by reason.

    `limit` is what the guard lets pass unasked in one walk, None if none was asked. `refused` says
    why an approval that came with the run did nothing.
    """

    removed: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    limit: int | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Gone:
    product_id: UUID
    is_live: bool
    reason: str


def settle_approved(lease: StoreLease, approval: Approval | None = None) -> Removals:
    """Remove what waits, if a person approved exactly that many.

    Args:
        lease: the store.
        approval: one that comes with this run; one recorded before is looked for in any case.
    """
    store_id = lease.store_id
    settled = Removals()
    if approval is None:
        with lease.database.read() as connection:
            if not has_open_approval(connection, store_id, "products"):
                return settled
    with lease.write() as connection:
        waits = connection.execute(
            select(removal_waits).where(removal_waits.c.store_id == store_id)
        ).all()
        if approval is not None:
            try:
                record_approval(
                    connection,
                    store_id,
                    "products",
                    approval.count,
                    waiting=len(waits),
                    who=approval.who,
                    reason=approval.reason,
                )
            except ApprovalRefusedError as error:
                settled.refused = str(error)
        # All of them come from one walk: each walk that is asked decides anew on all.
        walk_id = waits[0].walk_id if waits else None
        if not use_approval(connection, store_id, "products", waiting=len(waits), walk_id=walk_id):
            return settled
        gone = [_Gone(row.product_id, is_live=True, reason=row.reason) for row in waits]
        _remove(connection, gone, str(walk_id))
        connection.execute(delete(removal_waits).where(removal_waits.c.store_id == store_id))
        connection.execute(
            update(walks)
            .where(walks.c.store_id == store_id, walks.c.walk_id == walk_id)
            .values(removed=len(gone), waiting=0)
        )
        settled.removed = Counter(one.reason for one in gone)
    return settled


def decide_on_gone(
    connection: Connection,
    store_id: str,
    walk_id: str,
    seen: SeenIds,
    trashed: SeenIds,
    *,
    max_share: float,
    precedent: bool | None = None,
    made: Database | None = None,
) -> Removals:
    """Remove the products that a complete walk did not find, or let all of them wait.

    Products that a rule leaves out are in nobody's search: they go in any case, uncounted, and
    with the walk that missed them, whenever the others may follow.

    Args:
        connection: in the walk's last transaction.
        store_id: the store.
        walk_id: the walk.
        seen: every id that it saw.
        trashed: those that it saw in the store's trash.
        max_share: share of the store's live products that may go unasked.
        precedent: whether this walk's removals went when it was processed before.
        made: holds the rows that came of it then, which know it of each product: rules may have
            changed since, and one that waited may have been seen again before a person approved
            the others.
    """
    of_store = products.c.store_id == store_id
    live = connection.scalar(select(func.count()).where(of_store, is_live())) or 0
    gone = list(_find_gone(connection, store_id, seen, trashed))
    counted = Counter(one.reason for one in gone if one.is_live)
    decision = decide(counted.total(), live, max_share=max_share)
    all_go = decision.allowed if precedent is None else precedent
    then = {} if made is None else _removed_then(made, walk_id, gone)
    going: list[_Gone] = []
    waiting: list[_Gone] = []
    for one in gone:
        goes = then.get(one.product_id, all_go or not one.is_live)
        (going if goes else waiting).append(one)
    _remove(connection, going, walk_id)
    connection.execute(delete(removal_waits).where(removal_waits.c.store_id == store_id))
    upsert(
        connection,
        removal_waits,
        [
            {
                "product_id": one.product_id,
                "store_id": store_id,
                "reason": one.reason,
                "walk_id": walk_id,
            }
            for one in waiting
        ],
    )
    return Removals(
        removed=Counter(one.reason for one in going if one.is_live),
        waiting=Counter(one.reason for one in waiting),
        limit=decision.limit,
    )


def forget_waits(connection: Connection, store_id: str, seen: SeenIds) -> None:
    """Products that a walk saw wait no longer."""
    waits = connection.execute(
        select(removal_waits.c.product_id, products.c.external_id)
        .join(products, products.c.product_id == removal_waits.c.product_id)
        .where(removal_waits.c.store_id == store_id)
    )
    back = [row.product_id for row in waits if row.external_id in seen]
    for ids in _chunks(back):
        connection.execute(delete(removal_waits).where(removal_waits.c.product_id.in_(ids)))


def count_waits(connection: Connection, store_id: str) -> Mapping[str, int]:
    """How many products wait to be removed, by reason."""
    found = connection.execute(
        select(removal_waits.c.reason, func.count())
        .where(removal_waits.c.store_id == store_id)
        .group_by(removal_waits.c.reason)
    )
    return {str(reason): int(count) for reason, count in found}


def _find_gone(
    connection: Connection, store_id: str, seen: SeenIds, trashed: SeenIds
) -> Iterator[_Gone]:
    rows = connection.execute(
        select(products.c.product_id, products.c.external_id, products.c.left_out_by).where(
            products.c.store_id == store_id, products.c.removed_by.is_(None)
        ),
        execution_options={"yield_per": 1_000},
    )
    for row in rows:
        in_trash = row.external_id in trashed
        if in_trash or row.external_id not in seen:
            reason = TRASH if in_trash else ABSENT
            yield _Gone(row.product_id, is_live=row.left_out_by is None, reason=reason)


def _removed_then(made: Database, walk_id: str, gone: Sequence[_Gone]) -> dict[UUID, bool]:
    """Whether a walk removed each of these products, as far as the rows that came of it can tell.

    One that was brought back later has a row of a later walk; with such a row either answer comes
    to the same.
    """
    then: dict[UUID, bool] = {}
    for ids in _chunks([one.product_id for one in gone]):
        with made.read() as connection:
            rows = connection.execute(
                select(products.c.product_id, products.c.removed_in, products.c.walk_id).where(
                    products.c.product_id.in_(ids)
                )
            ).all()
        for row in rows:
            if row.removed_in == walk_id:
                then[row.product_id] = True
            elif row.walk_id <= walk_id:
                then[row.product_id] = False
    return then


def _remove(connection: Connection, gone: Iterable[_Gone], walk_id: str) -> None:
    by_reason: dict[str, list[UUID]] = {}
    for one in gone:
        by_reason.setdefault(one.reason, []).append(one.product_id)
    for reason, found in by_reason.items():
        for ids in _chunks(found):
            connection.execute(
                update(products)
                .where(products.c.product_id.in_(ids))
                .values(removed_by=reason, removed_in=walk_id)
            )


def _chunks(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), _VALUES):
        yield ids[start : start + _VALUES]
