"""The one check that speaks for every check of every store, on the report.

Dagster shows a check's result only until its asset is materialised again. Every sync does that to
the assets of the stages, and to the report only the run that makes this check as well.
"""

import dagster as dg
from dagster import AssetCheckSeverity

from catalog_pipeline.catalog.verdicts import failing_verdicts
from catalog_pipeline.defs.report import store_report
from catalog_pipeline.defs.resources import DatabaseResource
from catalog_pipeline.defs.standing import CHECKS
from catalog_pipeline.defs.verdicts import active_stores

_MOST_NAMED = 50


@dg.asset_check(
    asset=store_report,
    description=(
        "No check's last word on any active store is a failure, those made within syncs and those "
        "made weekly among them. **When it fails**: each store is named with its checks; what to "
        "do stands at the check."
    ),
)
def every_store_passes(database: DatabaseResource) -> dg.AssetCheckResult:
    """Name the active stores that any check last found wanting."""
    catalog = database.get()
    active = set(active_stores(catalog))
    with catalog.read() as connection:
        found = [
            (check, one)
            for check, one in failing_verdicts(connection, CHECKS)
            if one.store_id in active
        ]
    failing: dict[str, list[str]] = {}
    for check, one in sorted(found, key=lambda item: (item[1].store_id, item[0])):
        failing.setdefault(one.store_id, []).append(check)
    told = [f"{store}: {', '.join(checks)}" for store, checks in failing.items()]
    if (more := len(told) - _MOST_NAMED) > 0:
        told[_MOST_NAMED:] = [f"and {more:,} more stores"]
    return dg.AssetCheckResult(
        passed=not failing,
        severity=AssetCheckSeverity.WARN,
        description="\n".join(told) or None,
        metadata={"stores": len(active), "failing": len(failing)},
    )
