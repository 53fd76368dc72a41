"""`catalog status`: what the database holds of each store, and how its last sync went."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
from dagster import DagsterError, DagsterInstance
from sqlalchemy.exc import SQLAlchemyError

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.queries import StoreSummary, summarise_store
from catalog_pipeline.catalog.syncs import Sync, last_syncs
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.cli.deployment import as_json, open_database, read_stores, use_dagster_home
from catalog_pipeline.cli.output import print_json, printable, table, terminal
from catalog_pipeline.defs.run_records import settle
from catalog_pipeline.defs.runs import end_dead_runs
from catalog_pipeline.embeddings.model import resolve_model
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.vectors.index import collection_name


@click.command()
@as_json
def status(as_json: bool) -> None:
    """Show what is known of every store: rows, images, vectors, points, last walk and sync."""
    settings = load_settings()
    found, syncs = summaries(settings)
    if as_json:
        print_json(
            {
                "stores": [
                    {**dataclasses.asdict(one), "last_sync": syncs.get(one.store_id)}
                    for one in found
                ]
            }
        )
        return
    rows: list[list[Any]] = [
        [
            one.store_id,
            one.live,
            one.accepted,
            one.images,
            one.embedded,
            one.points,
            one.quarantined,
            one.last_processed_at,
            _described(syncs.get(one.store_id)),
        ]
        for one in found
    ]
    numbers = ["live", "accepted", "images", "vectors", "points", "quarantined"]
    columns = ["store", *numbers, "last walk (UTC)", "last sync"]
    terminal().print(table(columns, rows, numbers=numbers))
    for one in found:
        if one.last_walk is None:
            click.echo(f"{one.store_id}: never synced; run: catalog sync {one.store_id}")
        elif not one.last_walk_complete:
            click.echo(f"{one.store_id}: its last walk was not complete ({one.last_walk})")
        last = syncs.get(one.store_id)
        if last is not None and last.error is not None:
            click.echo(f"{one.store_id}: its last sync: {printable(last.error)}")


def summaries(settings: Settings) -> tuple[list[StoreSummary], dict[str, Sync]]:
    """Counts of every store in stores.yaml, for the configured model, and each one's last run."""
    stores = read_stores(settings)
    model_version = _model_version(settings)
    collection = collection_name(settings.collection, model_version) if model_version else None
    with open_database(settings) as database:
        _settle(settings, database)
        with database.read() as connection:
            counts = [
                summarise_store(connection, Scope.of(store), model_version, collection)
                for store in stores.stores.values()
            ]
            last = {store: last_syncs(connection, store) for store in stores.stores}
    return counts, {store: found[0] for store, found in last.items() if found}


def _settle(settings: Settings, database: Database) -> None:
    """Bring the record of runs up to date, where there is an instance that knows any."""
    try:
        use_dagster_home(settings)
        with DagsterInstance.get() as instance:
            end_dead_runs(instance)
            settle(instance, database)
    except (DagsterError, SQLAlchemyError, CatalogError) as error:
        # The counts are worth showing all the same.
        click.echo(f"Dagster cannot be asked for its runs: {error}", err=True)


def _described(sync: Sync | None) -> str | None:
    if sync is None:
        return None
    moment = sync.completed_at or sync.started_at or sync.updated_at
    return f"{sync.status}, {sync.kind}, {moment:%Y-%m-%d %H:%M}"


def _model_version(settings: Settings) -> str | None:
    try:
        return resolve_model(settings.model).model_version
    except CatalogError as error:
        # The rows are still worth showing on a machine that has no checkpoint.
        click.echo(f"Vectors and points are not counted: {error}", err=True)
        return None
