"""A check that is made store by store, as the one asset check that Dagster shows.

A check shows only the result of the run that came last, whatever partition that ran for. So a run
looks at its own store, keeps the verdict, and the result speaks for all stores: it fails while the
last verdict on any active one does, and names them. What is looked at is in `checks.py`.
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


def check_stores(
    context: dg.AssetCheckExecutionContext,
    check: str,
    database: Database,
    judge: Callable[[str], StoreVerdict],
    *,
    store: str = "",
) -> dg.AssetCheckResult:
    """Judge the run's stores and say how all of them stand.

    A store that cannot be judged fails with the reason and stops no other.

    Args:
        context: of the check; a run of one partition judges that store alone.
        check: its name, under which verdicts are kept.
        database: keeps them.
        judge: looks at one store.
        store: this store alone, whatever the run is for.

    Raises:
        ServiceUnavailableError: a service was lost; nothing is known of the store then.
    """
    settings = load_settings()
    stores = stores_in_force(database, settings.stores_file).file.stores
    active = [store_id for store_id, found in stores.items() if found.active]
    one = store or context.run.tags.get(PARTITION)
    chosen = [one] if one else active
    for store_id in chosen:
        verdict = _judged(judge, store_id)
        if not verdict.passed:
            context.log.warning("store %s: %s", store_id, _said(verdict))
        with database.write() as connection:
            record_verdict(connection, check, verdict)
    with database.read() as connection:
        return _result(last_verdicts(connection, check, {*active, *chosen}), {*active, *chosen})


def _judged(judge: Callable[[str], StoreVerdict], store_id: str) -> StoreVerdict:
    try:
        return judge(store_id)
    except ServiceUnavailableError:
        raise
    except CatalogError as error:
        return StoreVerdict(store_id, passed=False, problem=str(error))


def _result(verdicts: Sequence[StoreVerdict], stores: Collection[str]) -> dg.AssetCheckResult:
    totals: Counter[str] = Counter()
    for verdict in verdicts:
        totals.update(verdict.counts)
    failing = [verdict for verdict in verdicts if not verdict.passed]
    shown = failing[:_MOST_NAMED]
    never = sorted(set(stores) - {verdict.store_id for verdict in verdicts})
    metadata: dict[str, Any] = {
        **totals,
        "stores": len(verdicts),
        "failing": ", ".join(verdict.store_id for verdict in shown),
        "examples": {v.store_id: dict(v.examples) for v in shown if v.problem is None},
        "not compared": {v.store_id: v.problem for v in shown if v.problem is not None},
        "never compared": ", ".join(never[:_MOST_NAMED]),
    }
    return dg.AssetCheckResult(
        passed=not failing,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{v.store_id}: {_said(v)}" for v in shown) or None,
        metadata={name: value for name, value in metadata.items() if value != ""},
    )


def _said(verdict: StoreVerdict) -> str:
    """What a verdict comes to, in a line."""
    if verdict.problem is not None:
        return verdict.problem
    return ", ".join(f"{verdict.counts.get(name, 0)} {name}" for name in verdict.examples)
