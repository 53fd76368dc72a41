"""What a store amounted to day by day, told by the records of its runs.

The last run of a day that counted a thing stands for it: a store that is looked at every few
minutes leaves thousands of records, and a day is as fine as a trend is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, String, and_, case, cast, func, or_, select

from catalog_pipeline.catalog.operations_schema import syncs
from catalog_pipeline.catalog.syncs import FINISHED

_REJECTED = "rejected: "
# What a day is told by; a run of prices, of decisions or of one asset counts some of it alone.
_STAGES = ("products", "product_images", "qdrant_points")
# Rows in memory at a time.
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Day:
    """What the good runs of a day left at last; None where none of them counted it.

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
    """Each store's days since then, in UTC and in order.

    Runs of one product, and those that the night or a change made for prices, are left out.

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
    at = syncs.c.updated_at
    # PostgreSQL writes a time in the zone of its session.
    is_postgresql = connection.dialect.name == "postgresql"
    date = func.substr(cast(func.timezone("UTC", at) if is_postgresql else at, String), 1, 10)
    lasts = [
        func.max(case((syncs.c.counts[stage].as_string().is_not(None), at))).label(stage)
        for stage in _STAGES
    ]
    last = (
        select(syncs.c.store_id, func.max(at).label("at"), *lasts)
        .where(*whole)
        .group_by(syncs.c.store_id, date)
        .subquery()
    )
    is_last = or_(last.c.at == at, *(last.c[stage] == at for stage in _STAGES))
    rows = connection.execution_options(yield_per=_PAGE).execute(
        select(syncs.c.store_id, at, syncs.c.counts)
        .join(last, and_(last.c.store_id == syncs.c.store_id, is_last))
        .where(*whole)
        .order_by(syncs.c.store_id, at)
    )
    for (store_id, _), runs in groupby(rows, lambda row: (row.store_id, row.updated_at.date())):
        counts: dict[str, dict[str, Any]] = {}
        for run in runs:
            counts |= run.counts
            ended = run.updated_at
        pictures = counts.get("product_images", {})
        yield Day(
            store_id=store_id,
            at=ended,
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
