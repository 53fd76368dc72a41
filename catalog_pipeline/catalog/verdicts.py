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

_MOST_TOLD = 3


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

    @property
    def told(self) -> str:
        """What a failing verdict comes to, in a line."""
        if self.problem is not None:
            return self.problem
        return ", ".join(
            f"{self.counts.get(name, 0):,} {name} ({'; '.join(found[:_MOST_TOLD])})"
            for name, found in self.examples.items()
        )


def record_verdict(connection: Connection, check: str, verdict: StoreVerdict) -> None:
    """Keep a verdict in place of the last one of the same check and store.

    Args:
        connection: in a write transaction.
        check: the check's name.
        verdict: what it found.
    """
    upsert(connection, check_verdicts, [{"check_name": check, **asdict(verdict)}])


def failing_verdicts(
    connection: Connection, checks: Collection[str], store_id: str | None = None
) -> list[tuple[str, StoreVerdict]]:
    """The last verdicts of these checks that did not pass, with the check's name, in order.

    Args:
        connection: any connection.
        checks: names; a check that is no more leaves its last verdicts behind.
        store_id: only of this store.
    """
    which = [~check_verdicts.c.passed, check_verdicts.c.check_name.in_(checks)]
    if store_id is not None:
        which.append(check_verdicts.c.store_id == store_id)
    found = connection.execute(
        select(
            check_verdicts.c.check_name,
            *(check_verdicts.c[one.name] for one in fields(StoreVerdict)),
        )
        .where(*which)
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
