"""How every store stands, in one line each: what a person on call looks at first.

Numbers are asked of the stages' own questions, so they are those that a sync would go by.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection

from catalog_pipeline.attention import StoreStanding, look_at
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.health.history import Day
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.owed import count_rows, unloaded_points, unwanted_points

WEEK = timedelta(days=7)
# A cell that begins like this is a formula to a spreadsheet, and errors quote strangers.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class StoreLine:
    """One store.

    Attributes:
        store_id: the store.
        active: whether it is synced.
        products: live ones.
        accepted: distinct pictures that the gate or a person accepted.
        vectors: those of them that are embedded by the model.
        points: in the collection, by the record of what Qdrant acknowledged.
        quarantined: records in quarantine.
        owed_pictures: pictures to fetch or to embed.
        owed_points: points to load, and to take out.
        last_sync: when its last run changed; None if it never had one.
        status: of that run.
        kind: what that run was for.
        circuit: of its circuit breaker: closed, open or half-open.
        points_before: points a week ago; None where no run of then is on record.
        concern: what needs a person most, as `attention.py` has it; None if nothing does.
    """

    store_id: str
    active: bool
    products: int
    accepted: int
    vectors: int
    points: int
    quarantined: int
    owed_pictures: int
    owed_points: int
    last_sync: datetime | None
    status: str | None
    kind: str | None
    circuit: str
    points_before: int | None
    concern: str | None

    @property
    def owed(self) -> int:
        """All work that the next sync would do."""
        return self.owed_pictures + self.owed_points

    @property
    def trend(self) -> int | None:
        """Points gained or lost since the week before."""
        return None if self.points_before is None else self.points - self.points_before


def overview(
    connection: Connection,
    stores: Iterable[StoreConfig],
    *,
    model_version: str,
    collection: str,
    checks: Collection[str],
    before: Mapping[str, int],
    now: datetime,
    night: datetime,
) -> list[StoreLine]:
    """Every store, those that need a person first, and then the largest.

    Args:
        connection: any connection.
        stores: which.
        model_version: whose vectors are counted.
        collection: whose points are counted.
        checks: names of those there are.
        before: points of a week ago, by store.
        now: the clock.
        night: since when every store should have been seen whole.
    """
    lines = [
        _line(
            connection,
            store,
            look_at(
                connection,
                store,
                model_version=model_version,
                collection=collection,
                checks=checks,
                now=now,
                night=night,
            ),
            model_version,
            collection,
            before.get(store.id),
        )
        for store in stores
    ]
    return sorted(lines, key=lambda line: (not line.concern, -line.products, line.store_id))


def points_before(history: Iterable[Day], now: datetime) -> dict[str, int]:
    """The points that each store had a week ago: of the last day before that.

    Args:
        history: days of the stores, in order.
        now: the clock.
    """
    return {
        day.store_id: day.points
        for day in history
        if day.points is not None and day.at <= now - WEEK
    }


def as_csv(lines: Sequence[StoreLine]) -> bytes:
    """All of it as a file for a spreadsheet, UTF-8."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(StoreLine)])
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _cell(value) for name, value in asdict(line).items()})
    return text.getvalue().encode()


def _line(
    connection: Connection,
    store: StoreConfig,
    found: StoreStanding,
    model_version: str,
    collection: str,
    before: int | None,
) -> StoreLine:
    scope, held, last = Scope.of(store), found.summary, found.last_sync
    # With a model, all of these are counted.
    vectors, points, owed = held.embedded or 0, held.points or 0, found.owed_pictures or 0
    return StoreLine(
        store_id=store.id,
        active=store.active,
        products=held.live,
        accepted=held.accepted,
        vectors=vectors,
        points=points,
        quarantined=held.quarantined,
        owed_pictures=owed,
        owed_points=sum(
            count_rows(connection, statement(collection, scope, model_version))
            for statement in (unloaded_points, unwanted_points)
        ),
        last_sync=(last.completed_at or last.updated_at) if last else None,
        status=last.status if last else None,
        kind=last.kind if last else None,
        circuit=found.circuit_state,
        points_before=before,
        concern=f"{found.concerns[0].kind}: {found.concerns[0].text}" if found.concerns else None,
    )


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
