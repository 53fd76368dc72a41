"""`catalog status`: what the database holds of each store, and how its last sync went."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import click
from dagster import DagsterError, DagsterInstance
from sqlalchemy.exc import SQLAlchemyError

from catalog_pipeline.catalog.circuits import Circuit, read_circuits
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
from catalog_pipeline.products.circuit import asked_again_at, describe, state_of
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.vectors.index import collection_name


@click.command()
@as_json
def status(as_json: bool) -> None:
    """Show what is known of every store: rows, images, vectors, points, last walk and sync."""
    settings = load_settings()
    found, syncs, circuits = summaries(settings)
    now = datetime.now(UTC)
    if as_json:
        print_json(
            {
                "stores": [
                    {
                        **dataclasses.asdict(one),
                        "last_sync": syncs.get(one.store_id),
                        "circuit": _circuit(circuits.get(one.store_id), now),
                    }
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
        circuit = circuits.get(one.store_id)
        if circuit is not None:
            click.echo(
                f"{one.store_id}: {state_of(circuit, now)} circuit: {describe(circuit, now)}; the "
                f"last failure: {printable(circuit.reason)}"
            )


def summaries(
    settings: Settings,
) -> tuple[list[StoreSummary], dict[str, Sync], dict[str, Circuit]]:
    """Counts of every store in stores.yaml, for the configured model, and each one's last run.

    The third part names the stores that failed when they were last asked.
    """
    stores = read_stores(settings)
    model_version = _model_version(settings)
    collection = collection_name(settings.collection, model_version) if model_version else None
    with open_database(settings) as database:
        settle_runs(settings, database)
        with database.read() as connection:
            counts = [
                summarise_store(connection, Scope.of(store), model_version, collection)
                for store in stores.stores.values()
            ]
            last = {store: last_syncs(connection, store) for store in stores.stores}
            circuits = read_circuits(connection)
    return counts, {store: found[0] for store, found in last.items() if found}, circuits


def settle_runs(settings: Settings, database: Database) -> None:
    """Bring the record of runs up to date, where there is an instance that knows any."""
    try:
        use_dagster_home(settings)
        with DagsterInstance.get() as instance:
            end_dead_runs(instance)
            settle(instance, database)
    except (DagsterError, SQLAlchemyError, CatalogError) as error:
        # The counts are worth showing all the same.
        click.echo(f"Dagster cannot be asked for its runs: {error}", err=True)


def _circuit(circuit: Circuit | None, now: datetime) -> dict[str, Any]:
    """A store's circuit as JSON shows it; one without failures is closed."""
    found: dict[str, Any] = {"state": state_of(circuit, now), "failures": 0}
    if circuit is not None:
        found |= dataclasses.asdict(circuit) | {"asked_again_at": asked_again_at(circuit)}
        del found["store_id"]
    return found


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
