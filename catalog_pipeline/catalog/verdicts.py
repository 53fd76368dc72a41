"""What each check last said of each store.

A check in the UI shows one result, that of the run that came last; a result over all stores is made
of these, without checking again what nobody asked about. What a check looks at is its own matter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.operations_schema import check_verdicts


@dataclass(frozen=True)
class StoreVerdict:
    """What a check found of one store.

    Attributes:
        store_id: the store.
        passed: whether it is as it should be.
        counts: numbers to be added up over stores.
        examples: a few ids for each thing that is wrong.
        problem: why the store could not be checked; it did not pass then.
        checked_at: when.
    """

    store_id: str
    passed: bool
    counts: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    problem: str | None = None
    checked_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def record_verdict(connection: Connection, check: str, verdict: StoreVerdict) -> None:
    """Keep a verdict in place of the last one of the same check and store.

    Args:
        connection: in a write transaction.
        check: the check's name.
        verdict: what it found.
    """
    upsert(connection, check_verdicts, [{"check_name": check, **asdict(verdict)}])


def failing_verdicts(
    connection: Connection, checks: Collection[str]
) -> list[tuple[str, StoreVerdict]]:
    """The last verdicts of these checks that did not pass, with the check's name, in order."""
    found = connection.execute(
        select(
            check_verdicts.c.check_name,
            *(check_verdicts.c[one.name] for one in fields(StoreVerdict)),
        )
        .where(~check_verdicts.c.passed, check_verdicts.c.check_name.in_(checks))
        .order_by(check_verdicts.c.check_name, check_verdicts.c.store_id)
    )
    return [(check, StoreVerdict(*row)) for check, *row in found]


def last_verdicts(
    connection: Connection, check: str, store_ids: Collection[str]
) -> list[StoreVerdict]:
    """What a check last said of these stores, as far as it ever looked at them, by their ids."""
    found = connection.execute(
        select(*(check_verdicts.c[one.name] for one in fields(StoreVerdict)))
        .where(check_verdicts.c.check_name == check)
        .order_by(check_verdicts.c.store_id)
    )
    return [StoreVerdict(*row) for row in found if row.store_id in store_ids]
