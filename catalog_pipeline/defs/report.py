"""The report over all stores: one table and one drawing, made again after syncs.

What stands in it is decided in `health/overview.py`; here that becomes an asset, and a sensor that
asks for it without asking once for each of a thousand syncs.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from catalog_pipeline.catalog.accepted import stores_in_force
from catalog_pipeline.defs.external import OWNERS
from catalog_pipeline.defs.lineage import REPORT_LINEAGE
from catalog_pipeline.defs.metadata import Metadata, materialised
from catalog_pipeline.defs.night import last_night
from catalog_pipeline.defs.pictures import pictures
from catalog_pipeline.defs.resources import DatabaseResource, EmbedderResource, FilesResource
from catalog_pipeline.defs.run_records import KIND, settle
from catalog_pipeline.defs.runs import EXECUTING, stores_with_unfinished_runs
from catalog_pipeline.defs.services import reach_database
from catalog_pipeline.defs.stage import RECONNECT
from catalog_pipeline.defs.standing import CHECKS, standing_checks
from catalog_pipeline.defs.vectors import qdrant_points
from catalog_pipeline.errors import CatalogError, ServiceUnavailableError
from catalog_pipeline.exhibits.trends import trends
from catalog_pipeline.health.history import days, newest_end
from catalog_pipeline.health.overview import StoreLine, as_csv, overview, points_before
from catalog_pipeline.health.pictures import HISTORY
from catalog_pipeline.settings import load_settings
from catalog_pipeline.vectors.index import collection_name

FILE = "report/stores.csv"
# The event log keeps every row for ever, and twice; the file has all of them.
MOST_ROWS = 25
# A report over two thousand stores takes a minute or two, so bursts of syncs share one.
AT_MOST_EVERY = timedelta(minutes=10)
# Where the last sync of a burst is over, somebody may be looking at what came of it.
AT_REST = timedelta(minutes=2)
# Without a sync, too: a store becomes stale by itself.
AT_LEAST_EVERY = timedelta(hours=1)
_SETTLE_SECONDS = 10.0
_LONGEST = 120

# In the UI the last columns of a wide table lie beyond the edge: what needs a person comes first.
_COLUMNS = [
    dg.TableColumn("store", "string", "The store's id in stores.yaml."),
    dg.TableColumn("concern", "string", "What needs a person; empty if nothing does."),
    dg.TableColumn("products", "integer", "Live products."),
    dg.TableColumn("accepted", "integer", "Distinct pictures that passed the gate."),
    dg.TableColumn("vectors", "integer", "Those of them that the configured model embedded."),
    dg.TableColumn("points", "integer", "Points in the collection."),
    dg.TableColumn("owed", "string", "Pictures to fetch or embed, points to load or take out."),
    dg.TableColumn("quarantined", "integer", "Records that did not validate."),
    dg.TableColumn("last sync", "string", "When its last run changed, in UTC."),
    dg.TableColumn("outcome", "string", "How that run went, and what it was for."),
    dg.TableColumn("circuit", "string", "Open: the store keeps failing and is left alone."),
    dg.TableColumn("week", "string", "Points gained or lost in a week, for a store that old."),
]
_SCHEMA = dg.TableSchema(
    [
        dg.TableColumn("store_id", "string", "The store's id in stores.yaml."),
        dg.TableColumn("active", "boolean", "Whether it is synced."),
        *(column for column in _COLUMNS if column.name in StoreLine.__dataclass_fields__),
        dg.TableColumn("owed_pictures", "integer", "Pictures to fetch or to embed."),
        dg.TableColumn("owed_points", "integer", "Points to load and to take out."),
        dg.TableColumn("last_sync", "timestamp", "When its last run changed."),
        dg.TableColumn("status", "string", "How that run went."),
        dg.TableColumn("kind", "string", "What that run was for."),
        dg.TableColumn("points_before", "integer", "Points a week before."),
    ]
)


@dg.asset(
    # What comes before the points comes to the report through them, in the graph that people read.
    deps=[qdrant_points],
    group_name="report",
    owners=OWNERS,
    kinds={"python", "csv"},
    tags={"stage": "report"},
    code_version="1",
    retry_policy=RECONNECT,
    # Asset-wide, as this asset is; of a store's own interval a check tells.
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=3 * AT_LEAST_EVERY),
    metadata={
        "dagster/uri": f"$CATALOG_DATA_DIR/{FILE}",
        "dagster/column_schema": _SCHEMA,
        "dagster/column_lineage": REPORT_LINEAGE,
    },
)
def store_report(
    context: dg.AssetExecutionContext,
    database: DatabaseResource,
    files: FilesResource,
    embedder: EmbedderResource,
) -> dg.MaterializeResult[None]:
    """How every store stands: products, pictures, vectors, points, owed work, last sync, trend.

    Asks the database what each stage would be asked, store by store, and compares points with those
    of a week before, as the records of runs tell them. Stores that need a person come first. The
    table shows the first 25; the file `report/stores.csv` has all. Made again within ten minutes of
    a sync, and every hour.

    **When it fails**: no store is affected. The message names the service that is away, or what is
    wrong with CATALOG_MODEL or stores.yaml. If it is old, the sensor `refresh_report` is off or
    the daemon is down.
    """
    try:
        return _report(context, database, files, embedder)
    except ServiceUnavailableError:
        raise
    except CatalogError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None


def _report(
    context: dg.AssetExecutionContext,
    database: DatabaseResource,
    files: FilesResource,
    embedder: EmbedderResource,
) -> dg.MaterializeResult[None]:
    catalog, now, settings = database.get(), datetime.now(UTC), load_settings()
    settle(context.instance, catalog, seconds=_SETTLE_SECONDS)
    stores = stores_in_force(catalog, settings.stores_file).file.stores
    version = embedder.spec().model_version
    with catalog.read() as connection:
        history = [day for day in days(connection, now - HISTORY) if day.store_id in stores]
        lines = overview(
            connection,
            stores.values(),
            model_version=version,
            collection=collection_name(settings.collection, version),
            checks=CHECKS,
            before=points_before(history, now),
            now=now,
            night=last_night(settings, now),
        )
    content = as_csv(lines)
    files.get().write(FILE, content)
    metadata = {
        **_totals(lines),
        "stores": dg.MetadataValue.table(
            [dg.TableRecord(_record(line)) for line in lines[:MOST_ROWS]],
            dg.TableSchema(_COLUMNS),
        ),
        **pictures(context, {"trends": lambda: trends(history)}),
        "dagster/uri": files.get().uri(FILE),
        "dagster/row_count": len(lines),
    }
    return materialised(context, metadata, hashlib.sha256(content).hexdigest())


def _totals(lines: Sequence[StoreLine]) -> Metadata:
    """Sums over the stores, and how many need a person's look."""
    names = ("products", "accepted", "vectors", "points", "owed", "quarantined")
    return {
        "need_a_person": dg.MetadataValue.int(sum(bool(line.concern) for line in lines)),
        **{
            name: dg.MetadataValue.int(sum(getattr(line, name) for line in lines)) for name in names
        },
    }


def _record(line: StoreLine) -> dict[str, Any]:
    owed = {"pictures": line.owed_pictures, "points": line.owed_points}
    named = [f"{count:,} {name}" for name, count in owed.items() if count]
    last, outcome = "never", "none"
    if line.last_sync:
        last, outcome = f"{line.last_sync:%Y-%m-%d %H:%M}", f"{line.status}, {line.kind}"
    return {
        "store": line.store_id if line.active else f"{line.store_id} (inactive)",
        "concern": (line.concern or "").partition("\n")[0][:_LONGEST],
        "products": line.products,
        "accepted": line.accepted,
        "vectors": line.vectors,
        "points": line.points,
        "owed": ", ".join(named) or "nothing",
        "quarantined": line.quarantined,
        "last sync": last,
        "outcome": outcome,
        "circuit": line.circuit,
        "week": "too new" if line.trend is None else f"{line.trend:+,}",
    }


report_stores = dg.define_asset_job(
    name="report_stores",
    # The report's own check comes with it, and so after the standing ones.
    selection=dg.AssetSelection.assets(store_report) | dg.AssetSelection.checks(standing_checks),
    # Behind changes that somebody waits for, before nights and first syncs.
    tags={KIND: "report", "dagster/priority": "2"},
    description="The report over all stores, and every check that asks the database alone.",
)


class ReportCursor(BaseModel):
    """When a report was asked for last, and the end of a run that it was to take in."""

    model_config = ConfigDict(frozen=True)

    asked_at: AwareDatetime
    seen: AwareDatetime | None = None

    @classmethod
    def read(cls, text: str | None) -> "ReportCursor | None":
        """What an earlier tick left; an unreadable cursor counts as none."""
        try:
            return cls.model_validate_json(text) if text else None
        except ValidationError:
            return None

    def is_due(self, newest: datetime | None, now: datetime, *, is_at_rest: bool) -> bool:
        """Whether another report is to be asked for.

        Args:
            newest: when a run of any store last came to an end.
            now: the clock.
            is_at_rest: whether no store has a run that waits or goes on.
        """
        waited = now - self.asked_at
        if newest is None or (self.seen is not None and newest <= self.seen):
            return waited >= AT_LEAST_EVERY
        return waited >= (AT_REST if is_at_rest else AT_MOST_EVERY)


@dg.sensor(
    job=report_stores,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Asks for the report and the checks over all stores within ten minutes of a sync, two "
        "once none goes on, and every hour without one: a store becomes stale by itself."
    ),
)
def refresh_report(
    context: dg.SensorEvaluationContext, database: DatabaseResource
) -> dg.SensorResult | dg.SkipReason:
    """One report for all the syncs that ended since the last one."""
    now = datetime.now(UTC)
    try:
        with reach_database(database).read() as connection:
            newest = newest_end(connection)
    except CatalogError as error:
        return dg.SkipReason(str(error))
    last = ReportCursor.read(context.cursor)
    if last is None and newest is None:
        # Every store would be called stale before the first of them was asked.
        waiting = ReportCursor(asked_at=now).model_dump_json()
        return dg.SensorResult(skip_reason="no store has been synced yet", cursor=waiting)
    is_at_rest = not stores_with_unfinished_runs(context.instance)
    if last is not None and not last.is_due(newest, now, is_at_rest=is_at_rest):
        return dg.SkipReason(f"not due yet: waits since {last.asked_at:%H:%M} UTC")
    unfinished = dg.RunsFilter(
        job_name=report_stores.name, statuses=[*EXECUTING, dg.DagsterRunStatus.QUEUED]
    )
    if context.instance.get_runs_count(unfinished):
        return dg.SkipReason("a report is being made")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"report/{now.isoformat()}")],
        cursor=ReportCursor(asked_at=now, seen=newest).model_dump_json(),
    )
