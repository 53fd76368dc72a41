"""The record of runs, brought up to date before a command tells what they came to."""

from __future__ import annotations

import click
from dagster import DagsterError
from sqlalchemy.exc import SQLAlchemyError

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.cli.dagster_instance import open_instance
from catalog_pipeline.defs.run_records import settle
from catalog_pipeline.defs.runs import end_dead_runs
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.settings import Settings


def settle_runs(settings: Settings, database: Database) -> None:
    """Bring the record of runs up to date, where there is an instance that knows any."""
    try:
        with open_instance(settings) as instance:
            end_dead_runs(instance)
            settle(instance, database)
    except (DagsterError, SQLAlchemyError, CatalogError) as error:
        # The counts are worth showing all the same.
        click.echo(f"Dagster cannot be asked for its runs: {error}", err=True)
