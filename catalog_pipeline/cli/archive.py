"""`catalog archive`: the raw archive turned back into rows, and its old walks dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    this_call,
)
from catalog_pipeline.cli.output import notices, print_json, table, terminal
from catalog_pipeline.cli.progress import StageProgress
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.prune import prune_archive
from catalog_pipeline.products.replay import replay_store
from catalog_pipeline.settings import load_settings
from catalog_pipeline.stores import StoreConfig

_Work = Callable[[StoreLease, StoreConfig, StageProgress], Any]


@click.group()
def archive() -> None:
    """Look after the raw archive: every answer of every store, as it came.

    \b
    Examples:
      catalog archive replay --store atelier
      catalog archive prune
    """


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

    def replayed(lease: StoreLease, store: StoreConfig, progress: StageProgress) -> Any:
        def read(done: int, total: int) -> None:
            progress.count(done, total, "records")

        return replay_store(lease, walks, store, since=begin, progress=read)

    with open_database(settings) as database:
        stores = stores_to_look_after(settings, database)
        chosen = [pick_store(stores, store_id)] if store_id else list(stores.stores.values())
        found, left_out = _each(database, chosen, "replay", replayed, named=store_id is not None)
    if as_json:
        print_json({"stores": found, "left_out": left_out})
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

    def pruned(lease: StoreLease, _: StoreConfig, __: StageProgress) -> Any:
        return prune_archive(lease, walks, days=days or settings.archive_days)

    with open_database(settings) as database:
        stores = list(stores_to_look_after(settings, database).stores.values())
        found, left_out = _each(database, stores, "prune", pruned)
    if as_json:
        print_json({"stores": found, "left_out": left_out})
        return
    rows = [[one["store"], one["report"].removed, one["report"].kept] for one in found]
    terminal().print(table(["store", "removed", "kept"], rows, numbers=["removed", "kept"]))


def _each(
    database: Database,
    stores: Sequence[StoreConfig],
    name: str,
    work: _Work,
    *,
    named: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The reports of stores, and why others were left out: somebody else is writing them.

    Raises:
        StoreBusyError: a store that a person named is being written.
    """
    found, left_out = [], []
    with StageProgress(notices()) as progress:
        for store in progress.stores(stores):
            try:
                with hold_store(database, store.id, this_call(f"catalog archive {name}")) as lease:
                    found.append({"store": store.id, "report": work(lease, store, progress)})
            except StoreBusyError as error:
                if named:
                    raise
                left_out.append({"store": store.id, "reason": str(error)})
    # Not among the lines of the progress.
    for one in left_out:
        click.echo(f"left out: {one['reason']}", err=True)
    return found, left_out
