"""Wires assets, automation and resources into the code location that Dagster loads."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from catalog_pipeline.defs.automation import STAGES, carry_out, sync_prices, sync_store
from catalog_pipeline.defs.checks import everything_agrees, own_picture_comes_first
from catalog_pipeline.defs.code_versions import with_code_versions
from catalog_pipeline.defs.external import EXTERNAL
from catalog_pipeline.defs.maintenance import MAINTENANCE_JOBS, MAINTENANCE_SCHEDULES
from catalog_pipeline.defs.overall import every_store_passes
from catalog_pipeline.defs.pool_waits import sleep_while_waiting
from catalog_pipeline.defs.report import refresh_report, report_stores, store_report
from catalog_pipeline.defs.resources import (
    DatabaseResource,
    EmbedderResource,
    FilesResource,
    StoresResource,
    VectorIndexResource,
)
from catalog_pipeline.defs.schedules import SCHEDULES
from catalog_pipeline.defs.sensors import SENSORS
from catalog_pipeline.defs.standing import standing_checks


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The code location, with other resources where a test or a command gives them.

    The executor is set for the whole location: a run started from the asset graph uses the
    implicit asset job, which would otherwise start a process for every stage.
    """
    sleep_while_waiting()
    return dg.Definitions(
        assets=[*EXTERNAL, *with_code_versions(STAGES), store_report],
        asset_checks=[
            standing_checks,
            every_store_passes,
            everything_agrees,
            own_picture_comes_first,
        ],
        jobs=[sync_store, sync_prices, carry_out, report_stores, *MAINTENANCE_JOBS],
        sensors=[*SENSORS, refresh_report],
        schedules=[*SCHEDULES, *MAINTENANCE_SCHEDULES],
        executor=dg.in_process_executor,
        resources={
            "stores": StoresResource(),
            "database": DatabaseResource(),
            "files": FilesResource(),
            "embedder": EmbedderResource(),
            "vector_index": VectorIndexResource(),
            **(resource_overrides or {}),
        },
    )


defs = build_defs()
