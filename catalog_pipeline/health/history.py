"""What a store amounted to day by day, told by the records of its runs.

One run stands for a day: a store that is looked at every few minutes leaves thousands of records,
and a day is as fine as a trend is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, String, and_, cast, func, select

from catalog_pipeline.catalog.operations_schema import syncs
from catalog_pipeline.catalog.syncs import FINISHED

_REJECTED = "rejected: "
# Rows in memory at a time.
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Day:
    """What the last good run of a day left; None where that run did not count it.

    `accepted` and `rejected` are wanted pictures by the gate's verdict.
    """

    store_id: str
    at: datetime
    live: int | None
    points: int | None
    accepted: int | None
    rejected: int | None

    @property
    def acceptance(self) -> float | None:
        """The share of judged pictures that were accepted; None where none was judged."""
        judged = (self.accepted or 0) + (self.rejected or 0)
        return None if self.accepted is None or not judged else self.accepted / judged


def days(
    connection: Connection, since: datetime, store_ids: Collection[str] | None = None
) -> Iterator[Day]:
    """Each store's days since then, in order; runs of one product and of prices are left out.

    Args:
        connection: any connection.
        since: the earliest moment.
        store_ids: only these stores, few of them; None for all.
    """
    whole = [
        syncs.c.updated_at >= since,
        syncs.c.status == "success",
        syncs.c.kind != "prices",
        syncs.c.walk_kind.is_distinct_from("product"),
    ]
    if store_ids is not None:
        whole.append(syncs.c.store_id.in_(store_ids))
    # Both databases write a time as text with the date first.
    date = func.substr(cast(syncs.c.updated_at, String), 1, 10)
    last = (
        select(syncs.c.store_id, func.max(syncs.c.updated_at).label("at"))
        .where(*whole)
        .group_by(syncs.c.store_id, date)
        .subquery()
    )
    rows = connection.execution_options(yield_per=_PAGE).execute(
        select(syncs.c.store_id, syncs.c.updated_at, syncs.c.counts)
        .join(last, and_(last.c.store_id == syncs.c.store_id, last.c.at == syncs.c.updated_at))
        .where(*whole)
        .order_by(syncs.c.store_id, syncs.c.updated_at)
    )
    for store_id, at, counts in rows:
        pictures = counts.get("product_images", {})
        yield Day(
            store_id=store_id,
            at=at,
            live=_whole(counts.get("products", {}).get("live")),
            points=_whole(counts.get("qdrant_points", {}).get("points")),
            accepted=_whole(pictures.get("accepted")),
            rejected=sum(
                int(count) for name, count in pictures.items() if name.startswith(_REJECTED)
            ),
        )


def newest_end(connection: Connection) -> datetime | None:
    """When a run of any store last came to an end."""
    found = connection.scalar(
        select(func.max(syncs.c.updated_at)).where(syncs.c.status.in_(FINISHED))
    )
    assert found is None or isinstance(found, datetime)
    return found


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
