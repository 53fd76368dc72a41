"""What a store is still owed, pictures and people's decisions: who waits, and when a run goes on.

A change of prices must not wait behind hours of embedding. So a change is read by the light job
where a whole run would be slow, and what that leaves, as well as what a bounded or failed run left,
is taken up by a run of its own once nothing else is to be done. What a person decided needs no
walk, and must not wait for a store that answers. All this is told by records alone; asking for the
runs is the scheduler's part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, func, select

from catalog_pipeline.catalog.operations_schema import syncs
from catalog_pipeline.catalog.schema import (
    audit,
    image_attempts,
    image_overrides,
    models,
    product_overrides,
    products,
    removal_approvals,
)
from catalog_pipeline.catalog.syncs import Sync
from catalog_pipeline.catalog.wanted import Scope, wanted_images
from catalog_pipeline.embeddings.owed import count_owed
from catalog_pipeline.images.owed import Ask, count_fetches
from catalog_pipeline.stores import StoreConfig

# Half a minute of a laptop's embedding: more than that is worth a run of its own.
MANY = 100
# A run a night takes up whatever is older.
_LOOKED_BACK = timedelta(days=7)
_OF_A_SHA256 = 64
_PICTURE_STAGES = ("product_images", "image_embeddings")


def count_pictures(connection: Connection, store: StoreConfig, now: datetime) -> int:
    """How many pictures a store is owed a fetch or a vector of now.

    Vectors are counted by the model that was taken up last: which one the settings name can take a
    download to say, and the run itself goes by that.
    """
    scope = Scope.of(store)
    model = connection.scalar(
        select(models.c.model_version).order_by(models.c.created_at.desc()).limit(1)
    )
    return count_fetches(connection, Ask(store, scope, now)) + count_owed(connection, scope, model)


def why_light(
    pictures: int, last: Sync | None, *, limit: int | None, embedding_is_busy: bool
) -> str | None:
    """Why a change is read by the light job; None for a whole run.

    A store whose prices change at every look gets its pictures too: where it is its own backlog
    that is long, light and whole runs take turns.

    Args:
        pictures: what `count_pictures` says of the store.
        last: its last finished run.
        limit: its `max_images_per_run`.
        embedding_is_busy: another run embeds, and a whole run would wait for it.
    """
    if embedding_is_busy:
        return "another run is embedding"
    in_one_run = pictures if limit is None else min(pictures, limit)
    if in_one_run > MANY and (last is None or _did_pictures(last)):
        return f"{pictures:,} pictures are owed"
    return None


def may_have_left(last: Sync) -> bool:
    """Whether the last run of a store, by its own record, left pictures that one more would do.

    What a run could not do at all is not repeated: a picture that failed comes up again at its own
    time (`stores_with_due_attempts`), and a run that a person cancelled is theirs.
    """
    if last.status == "failure":
        return True
    if last.status != "success":
        return False
    if not _did_pictures(last):
        return True
    images, vectors = (last.counts[stage] for stage in _PICTURE_STAGES)
    done = images.get("fetched", 0) + images.get("unchanged", 0) + vectors.get("embedded", 0)
    return done > 0 and images.get("left", 0) + vectors.get("left", 0) > 0


def stores_with_due_attempts(
    connection: Connection, stores: Iterable[StoreConfig], now: datetime
) -> set[str]:
    """Those of the stores that have a failed picture, wanted still, whose next attempt has come.

    One of a product that is gone stays due for ever.
    """
    return {store.id for store in stores if _has_due_attempt(connection, store, now)}


def owed_decisions(
    connection: Connection, stores: Collection[str], jobs: Collection[str], now: datetime
) -> dict[str, datetime]:
    """Those of the stores in which something was decided that no run has taken up, and when.

    An override counts when it is made, withdrawn or at its end, an approval until it is used up.
    A run that had begun by then may have missed it.

    Args:
        connection: any connection.
        stores: those that a run may be asked for.
        jobs: whose good runs carry out whatever was decided before them.
        now: the clock.
    """
    decided = _decided(connection, stores, now)
    began = connection.execute(
        select(syncs.c.store_id, func.max(syncs.c.started_at).label("at"))
        .where(
            syncs.c.store_id.in_(decided),
            syncs.c.updated_at > now - _LOOKED_BACK,
            syncs.c.status == "success",
            syncs.c.job.in_(jobs),
            syncs.c.walk_kind.is_distinct_from("product"),
        )
        .group_by(syncs.c.store_id)
    )
    done = {row.store_id: row.at for row in began}
    return {store: at for store, at in decided.items() if store not in done or done[store] < at}


def _decided(connection: Connection, stores: Collection[str], now: datetime) -> dict[str, datetime]:
    """When something was last decided in each of the stores, if that is not long ago."""
    approved = connection.execute(
        select(removal_approvals.c.store_id, removal_approvals.c.approved_at).where(
            removal_approvals.c.outcome.is_(None)
        )
    )
    told: list[tuple[str, datetime]] = [(store_id, at) for store_id, at in approved]
    decided = [
        *_moments(connection, product_overrides.c.product_id, now),
        *_moments(connection, image_overrides.c.image_sha256, now),
        *_withdrawn(connection, now),
    ]
    decided.sort(key=lambda one: one[1])
    of_products = {target: at for target, at in decided if isinstance(target, UUID)}
    of_pictures = {target: at for target, at in decided if isinstance(target, str)}
    if of_products:
        rows = connection.execute(
            select(products.c.store_id, products.c.product_id).where(
                products.c.product_id.in_(of_products)
            )
        )
        told += [(store_id, of_products[target]) for store_id, target in rows]
    if of_pictures:
        rows = connection.execute(
            # By store too, as the index is.
            select(image_attempts.c.store_id, image_attempts.c.image_sha256).where(
                image_attempts.c.store_id.in_(stores),
                image_attempts.c.image_sha256.in_(of_pictures),
            )
        )
        told += [(store_id, of_pictures[target]) for store_id, target in rows]
    last: dict[str, datetime] = {}
    for store_id, at in told:
        if store_id in stores:
            last[store_id] = max(at, last.get(store_id, at))
    return last


def _moments(
    connection: Connection, key: Column[Any], now: datetime
) -> list[tuple[UUID | str, datetime]]:
    """When overrides were made or came to their end."""
    columns = key.table.c
    rows = connection.execute(select(key, columns.created_at, columns.until))
    since = now - _LOOKED_BACK
    return [(target, at) for target, *both in rows for at in both if at and since < at <= now]


def _withdrawn(connection: Connection, now: datetime) -> list[tuple[UUID | str, datetime]]:
    """When overrides were withdrawn; nothing else is left of them."""
    rows = connection.execute(
        select(audit.c.subject, audit.c.at).where(
            audit.c.at > now - _LOOKED_BACK, audit.c.action == "override.withdraw"
        )
    )
    return [
        (subject if len(subject) == _OF_A_SHA256 else UUID(subject), at) for subject, at in rows
    ]


def _has_due_attempt(connection: Connection, store: StoreConfig, now: datetime) -> bool:
    due = (
        select(image_attempts.c.url)
        .where(image_attempts.c.store_id == store.id, image_attempts.c.next_attempt_at <= now)
        .limit(1)
    )
    if connection.scalar(due) is None:
        return False
    wanted = wanted_images(Scope.of(store)).subquery()
    return connection.scalar(due.join(wanted, wanted.c.url == image_attempts.c.url)) is not None


def _did_pictures(last: Sync) -> bool:
    return all(stage in last.counts for stage in _PICTURE_STAGES)
