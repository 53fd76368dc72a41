"""Jobs that keep what is stored small and right; none of them asks a store for anything.

Each goes over all stores in one run. What has to hold a store leaves it alone while a sync does:
the next run does it then.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from catalog_pipeline.catalog.accepted import stores_in_force
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreBusyError, StoreLease, hold_store
from catalog_pipeline.catalog.syncs import drop_old_syncs
from catalog_pipeline.defs.checks import reconcile_stores
from catalog_pipeline.defs.resources import DatabaseResource, FilesResource, VectorIndexResource
from catalog_pipeline.defs.run_records import KIND
from catalog_pipeline.defs.schedules import ROUND, round_at
from catalog_pipeline.defs.services import make_ready
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.prune import prune_archive
from catalog_pipeline.products.timetable import first_walked_at
from catalog_pipeline.prune import prune_files
from catalog_pipeline.settings import load_settings

Job = dg.JobDefinition | UnresolvedAssetJobDefinition

# After everything that somebody waits for.
_TAGS = {KIND: "maintenance", "dagster/priority": "-10"}
_TICKS = "*/30 * * * *"
# Three times what any trend looks back.
_KEEP_RECORDS = timedelta(days=90)


@dg.op(description="Drop walks older than CATALOG_ARCHIVE_DAYS that no row needs any more.")
def drop_old_walks(
    context: dg.OpExecutionContext, database: DatabaseResource, files: FilesResource
) -> None:
    """Prune the archive of every store of stores.yaml."""
    settings = load_settings()
    archive = Archive(files.get())
    removed = kept = 0
    busy: list[str] = []
    for lease in _each_store(database.get(), context.run_id, busy):
        report = prune_archive(lease, archive, days=settings.archive_days)
        removed += report.removed
        kept += report.kept
    context.add_output_metadata({"removed": removed, "kept": kept, "busy": ", ".join(busy)})


@dg.op(description="Drop records of runs that are older than 90 days, but for each store's newest.")
def drop_old_records(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Prune the table of syncs; Dagster's own records of the same runs are not touched."""
    before = datetime.now(UTC) - _KEEP_RECORDS
    with database.get().write() as connection:
        removed = drop_old_syncs(connection, before)
    context.add_output_metadata({"removed": removed})


@dg.job(tags=_TAGS, description="Drops old walks from the raw archive, and old records of runs.")
def prune_archives() -> None:
    """One run for all stores."""
    drop_old_walks()
    drop_old_records()


@dg.op(description="Remove pictures and vector parts that nothing refers to; merge small parts.")
def drop_unreferenced_files(
    context: dg.OpExecutionContext, database: DatabaseResource, files: FilesResource
) -> None:
    """Prune the data folder; safe beside running syncs."""
    report = prune_files(database.get(), files.get())
    context.add_output_metadata(
        {
            "removed_blobs": report.removed_blobs,
            "removed_parts": report.removed_parts,
            "removed_drafts": report.removed_drafts,
            "waiting": report.waiting,
        }
    )


@dg.job(name="prune_files", tags=_TAGS, description="Drops files that nothing refers to.")
def prune_data_folder() -> None:
    """One run for the whole data folder."""
    drop_unreferenced_files()


def _regular(name: str, job: Job, cron: str, description: str) -> dg.ScheduleDefinition:
    """A schedule that asks for one run of a job in each round, unless that could only fail.

    Args:
        name: the schedule's.
        job: what it asks for.
        cron: when a round begins, in the settings' zone, which is read at each tick.
        description: for people.
    """

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=_TICKS,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{description} Looks every half an hour, and makes up for what was missed.",
    )
    def tick(
        context: dg.ScheduleEvaluationContext,
        database: DatabaseResource,
        files: FilesResource,
        vector_index: VectorIndexResource,
    ) -> dg.RunRequest | dg.SkipReason:
        try:
            begin, following = round_at(cron, context.scheduled_execution_time)
            found = f"{name}/{begin.isoformat()}"
            if context.instance.get_runs_count(dg.RunsFilter(tags={ROUND: found})):
                return dg.SkipReason(f"asked for already; the next round begins {following}")
            ready = make_ready(database, files, vector_index)
            with ready.database.read() as connection:
                first = first_walked_at(connection)
        except CatalogError as error:
            return dg.SkipReason(str(error))
        if first is None or first > begin:
            return dg.SkipReason(
                f"nothing was stored when the round began; the next one begins {following}"
            )
        return dg.RunRequest(tags={**_TAGS, ROUND: found})

    return tick


def _each_store(database: Database, run_id: str, busy: list[str]) -> Iterator[StoreLease]:
    """Hold one store after the other; those that a sync holds are named in `busy`."""
    for store_id in stores_in_force(database, load_settings().stores_file).file.stores:
        try:
            with hold_store(database, store_id, run_id) as lease:
                yield lease
        except StoreBusyError:
            busy.append(store_id)


MAINTENANCE_JOBS: list[Job] = [prune_archives, prune_data_folder, reconcile_stores]
MAINTENANCE_SCHEDULES = [
    _regular(
        "weekly_archive_pruning",
        prune_archives,
        "0 12 * * sun",
        "Every Sunday at noon in CATALOG_TIMEZONE, hours after the week's full walks began.",
    ),
    _regular(
        "daily_file_pruning",
        prune_data_folder,
        # What a week must have passed over is seen on the day after; a weekly look needs two weeks.
        "30 12 * * *",
        "Every day at 12:30 in CATALOG_TIMEZONE.",
    ),
    _regular(
        "weekly_reconciliation",
        reconcile_stores,
        "0 14 * * sun",
        "Every Sunday at 14:00 in CATALOG_TIMEZONE, after the full walks whose ids it goes by.",
    ),
]
