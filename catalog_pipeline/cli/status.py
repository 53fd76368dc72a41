"""`catalog status`: what the database holds of each store."""

from __future__ import annotations

from typing import Any

import click

from catalog_pipeline.catalog.queries import StoreSummary, summarise_store
from catalog_pipeline.cli.deployment import as_json, open_database, read_stores
from catalog_pipeline.cli.output import print_json, table, terminal
from catalog_pipeline.embeddings.model import resolve_model
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.vectors.index import collection_name


@click.command()
@as_json
def status(as_json: bool) -> None:
    """Show what is known of every store: rows, images, vectors, points, last walk."""
    settings = load_settings()
    found = summaries(settings)
    if as_json:
        print_json({"stores": found})
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
        ]
        for one in found
    ]
    numbers = ["live", "accepted", "images", "vectors", "points", "quarantined"]
    terminal().print(table(["store", *numbers, "last walk (UTC)"], rows, numbers=numbers))
    for one in found:
        if one.last_walk is None:
            click.echo(f"{one.store_id}: never synced; run: catalog sync {one.store_id}")
        elif not one.last_walk_complete:
            click.echo(f"{one.store_id}: its last walk was not complete ({one.last_walk})")


def summaries(settings: Settings) -> list[StoreSummary]:
    """Counts of every store in stores.yaml, for the configured model."""
    stores = read_stores(settings)
    model_version = _model_version(settings)
    collection = collection_name(settings.collection, model_version) if model_version else None
    with open_database(settings) as database, database.read() as connection:
        return [
            summarise_store(connection, store_id, model_version, collection)
            for store_id in stores.stores
        ]


def _model_version(settings: Settings) -> str | None:
    try:
        return resolve_model(settings.model).model_version
    except CatalogError as error:
        # The rows are still worth showing on a machine that has no checkpoint.
        click.echo(f"Vectors and points are not counted: {error}", err=True)
        return None
