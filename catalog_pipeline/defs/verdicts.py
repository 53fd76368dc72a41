"""A check that is made store by store, as the one asset check that Dagster shows.

A check shows only the result of the run that came last, whatever partition that ran for. So a run
looks at its own store, keeps the verdict, and the result speaks for all stores: it fails while the
last verdict on any active one does, and names them. Only such a check never blocks: it would hold
up every store for the fault of one. What is looked at is in `checks.py` and `standing.py`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import dagster as dg

from catalog_pipeline.catalog.accepted import stores_in_force
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.verdicts import StoreVerdict, last_verdicts, record_verdict
from catalog_pipeline.defs.runs import PARTITION
from catalog_pipeline.errors import CatalogError, ServiceUnavailableError
from catalog_pipeline.settings import load_settings

_MOST_NAMED = 50
# In the description, which a person reads in one go.
_MOST_TOLD = 10
# Verdicts that are kept in one transaction: what a crash makes the next run judge again, at most.
_BATCH = 100

Judge = Callable[[str], StoreVerdict]


def check_stores(
    context: dg.AssetCheckExecutionContext,
    check: str,
    database: Database,
    judge: Judge,
    *,
    store: str = "",
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
    asset_key: dg.AssetKey | None = None,
) -> dg.AssetCheckResult:
    """Judge the run's stores and say how all of them stand.

    A store that cannot be judged fails with the reason and stops no other.

    Args:
        context: of the check; a run of one partition judges that store alone.
        check: its name, under which verdicts are kept.
        database: keeps them.
        judge: looks at one store.
        store: this store alone, whatever the run is for.
        severity: of a failure.
        asset_key: whose check it is, where the step makes several.

    Raises:
        ServiceUnavailableError: a service was lost; nothing is known of the store then.
    """
    active = active_stores(database)
    one = store or context.run.tags.get(PARTITION)
    chosen = [one] if one else active
    for start in range(0, len(chosen), _BATCH):
        verdicts = [judged(judge, store_id) for store_id in chosen[start : start + _BATCH]]
        for verdict in verdicts:
            if not verdict.passed:
                context.log.warning("store %s: %s", verdict.store_id, verdict.told)
        with database.write() as connection:
            for verdict in verdicts:
                record_verdict(connection, check, verdict)
    concerned = {*active, *chosen}
    with database.read() as connection:
        found = last_verdicts(connection, check, concerned)
    failing = [verdict for verdict in found if not verdict.passed]
    return dg.AssetCheckResult(
        passed=not failing,
        asset_key=asset_key,
        check_name=check,
        severity=severity,
        description=_described(failing),
        metadata=_metadata(found, failing, concerned),
    )


def active_stores(database: Database) -> list[str]:
    """The stores that are synced, in the order of the file in force."""
    stores = stores_in_force(database, load_settings().stores_file).file.stores
    return [store_id for store_id, found in stores.items() if found.active]


def judged(judge: Judge, store_id: str) -> StoreVerdict:
    """What a judge says of a store; a failing verdict with the reason where it cannot say.

    Raises:
        ServiceUnavailableError: a service was lost.
    """
    try:
        return judge(store_id)
    except ServiceUnavailableError:
        raise
    except CatalogError as error:
        return StoreVerdict(store_id, passed=False, problem=str(error))


def _described(failing: Sequence[StoreVerdict]) -> str | None:
    told = [f"{verdict.store_id}: {verdict.told}" for verdict in failing[:_MOST_TOLD]]
    if more := len(failing) - len(told):
        told.append(f"and {more:,} more stores")
    return "\n".join(told) or None


def _metadata(
    verdicts: Sequence[StoreVerdict], failing: Sequence[StoreVerdict], stores: Collection[str]
) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    for verdict in verdicts:
        totals.update(verdict.counts)
    shown = failing[:_MOST_NAMED]
    never = sorted(set(stores) - {verdict.store_id for verdict in verdicts})
    metadata: dict[str, Any] = {
        **totals,
        "stores": len(verdicts),
        "failing": ", ".join(verdict.store_id for verdict in shown),
        "examples": {v.store_id: dict(v.examples) for v in shown if v.problem is None},
        "not checked": {v.store_id: v.problem for v in shown if v.problem is not None},
        "never checked": ", ".join(never[:_MOST_NAMED]),
    }
    return {name: value for name, value in metadata.items() if value not in ("", {})}
