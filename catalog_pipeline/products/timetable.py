"""Which stores are owed a regular walk, and when each one starts.

Starts are spread over a window, by a share that is each store's own. What is owed is derived from
the walks on record, so a night that this machine slept through is made up for when it wakes. When
a night begins is for whoever reads the cron expression. A walk that failed is asked for again after
pauses that grow, as long as the store answers at all, which is for its circuit to say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, func, select

from catalog_pipeline.catalog.schema import store_states, walks
from catalog_pipeline.products.polling import FIRST_WAIT, MOST_REQUESTS, back_off, share
from catalog_pipeline.products.source import PROVING_KINDS


def start_of(store_id: str, begin: datetime, window: timedelta) -> datetime:
    """When a store starts in a window that begins then; always at the same distance."""
    return begin + window * share(store_id)


def asked_again_at(ended_at: datetime, attempts: int) -> datetime:
    """When a walk that failed may be requested once more.

    Args:
        ended_at: when the last attempt ended.
        attempts: how many were made since the window began.
    """
    return ended_at + back_off(FIRST_WAIT, attempts)


def owed_walks(
    store_ids: Iterable[str],
    walked: Mapping[str, datetime],
    asked: Mapping[str, datetime | None],
    unfinished: Collection[str],
    *,
    begin: datetime,
    now: datetime,
    window: timedelta,
) -> tuple[str, ...]:
    """The stores to start now, those that waited longest first.

    Args:
        store_ids: the stores that are walked regularly.
        walked: when the last such walk of each store was finished.
        asked: stores for which one was requested since `begin`, and from when on it may be once
            more; None is not before the next window.
        unfinished: the stores that have a run which is not over.
        begin: when the window began.
        now: the clock.
        window: over which the starts are spread.
    """
    owed = [
        store
        for store in store_ids
        if store not in unfinished
        and (store not in asked or _is_past(asked[store], now))
        and start_of(store, begin, window) <= now
        and (store not in walked or walked[store] < begin)
    ]
    owed.sort(key=lambda store: start_of(store, begin, window))
    return tuple(owed[:MOST_REQUESTS])


def _is_past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def read_watermarks(connection: Connection) -> dict[str, datetime]:
    """The watermark of every store that was ever walked to the end."""
    rows = connection.execute(
        select(store_states.c.store_id, store_states.c.watermark).where(
            store_states.c.watermark.is_not(None)
        )
    )
    return {row.store_id: row.watermark for row in rows}


def first_walked_at(connection: Connection) -> datetime | None:
    """When the first of the walks on record, of any store, was finished; None if there is none."""
    found = connection.scalar(select(func.min(walks.c.processed_at)))
    assert found is None or isinstance(found, datetime)
    return found


def seen_whole_at(connection: Connection, store_id: str, now: datetime) -> datetime | None:
    """When the last walk that proves what a store has was finished; None if there is none."""
    found = connection.scalar(
        select(func.max(walks.c.processed_at)).where(
            walks.c.store_id == store_id, _counts(PROVING_KINDS, now)
        )
    )
    assert found is None or isinstance(found, datetime)
    return found


def last_complete_walks(
    connection: Connection, kinds: Collection[str], now: datetime
) -> dict[str, datetime]:
    """When the last complete walk of one of these kinds was finished, by store."""
    rows = connection.execute(
        select(walks.c.store_id, func.max(walks.c.processed_at).label("finished"))
        .where(_counts(kinds, now))
        .group_by(walks.c.store_id)
    )
    return {row.store_id: row.finished for row in rows}


def _counts(kinds: Collection[str], now: datetime) -> ColumnElement[bool]:
    # One of a clock that was ahead proves nothing until that moment; clocks differ a little.
    is_past = walks.c.processed_at <= now + FIRST_WAIT
    return and_(walks.c.complete, walks.c.kind.in_(kinds), is_past)
