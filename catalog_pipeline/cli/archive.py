"""`catalog archive`: the raw archive turned back into rows, and its old walks dropped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreBusyError, StoreLease, hold_store
from catalog_pipeline.cli.deployment import (
    STORE,
    as_json,
    open_database,
    pick_store,
    stores_to_look_after,
)
from catalog_pipeline.cli.output import print_json, table, terminal
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.prune import prune_archive
from catalog_pipeline.products.replay import replay_store
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.stores_file import StoresFile

_Work = Callable[[StoreLease, StoreConfig], Any]


@click.group()
def archive() -> None:
    """Look after the raw archive: every answer of every store, as it came."""


@archive.command()
@click.option("--store", "store_id", type=STORE, help="Only this store.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Begin at the newest complete full walk before this moment, in UTC.",
)
@as_json
def replay(store_id: str | None, since: datetime | None, as_json: bool) -> None:
    """Build the products table again from the archive; no store is asked.

    Of all stores, one that is being synced is left out, and named.

    \b
    Examples:
      catalog archive replay
      catalog archive replay --store atelier --since 2026-11-01
    """
    settings = load_settings()
    walks = Archive(DataFolder(settings.data_dir))
    begin = since.replace(tzinfo=UTC) if since else None

    def replayed(lease: StoreLease, store: StoreConfig) -> Any:
        return replay_store(lease, walks, store, since=begin)

    with open_database(settings) as database:
        stores = stores_to_look_after(settings, database)
        if store_id is not None:
            found = [_held(database, pick_store(stores, store_id), "replay", replayed)]
        else:
            found = _each(database, stores, "replay", replayed)
    if as_json:
        print_json({"stores": found})
        return
    columns = ["store", "walks", "rows", "written", "unchanged", "dropped"]
    rows = [
        [one["store"], *(getattr(one["report"], name) for name in columns[1:])] for one in found
    ]
    terminal().print(table(columns, rows, numbers=columns[1:]))


@archive.command()
@click.option(
    "--days", type=click.IntRange(1), help="Keep this many days, not CATALOG_ARCHIVE_DAYS."
)
@as_json
def prune(days: int | None, as_json: bool) -> None:
    """Drop old walks, as long as the rows can still be built from what stays.

    A store that is being synced is left out, and named.

    \b
    Examples:
      catalog archive prune
      catalog archive prune --days 7
    """
    settings = load_settings()
    walks = Archive(DataFolder(settings.data_dir))

    def pruned(lease: StoreLease, _: StoreConfig) -> Any:
        return prune_archive(lease, walks, days=days or settings.archive_days)

    with open_database(settings) as database:
        found = _each(database, stores_to_look_after(settings, database), "prune", pruned)
    if as_json:
        print_json({"stores": found})
        return
    rows = [[one["store"], one["report"].removed, one["report"].kept] for one in found]
    terminal().print(table(["store", "removed", "kept"], rows, numbers=["removed", "kept"]))


def _each(database: Database, stores: StoresFile, name: str, work: _Work) -> list[dict[str, Any]]:
    """The report of every store but those that somebody else is writing."""
    found = []
    for store in stores.stores.values():
        try:
            found.append(_held(database, store, name, work))
        except StoreBusyError as error:
            click.echo(f"left out: {error}", err=True)
    return found


def _held(database: Database, store: StoreConfig, name: str, work: _Work) -> dict[str, Any]:
    with hold_store(database, store.id, f"catalog archive {name}") as lease:
        return {"store": store.id, "report": work(lease, store)}
