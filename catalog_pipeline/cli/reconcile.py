"""`catalog reconcile`: source, database and collection held against each other, and put right."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.verdicts import record_verdict
from catalog_pipeline.cli.deployment import (
    STORE,
    as_json,
    open_database,
    pick_store,
    stores_to_look_after,
    this_call,
)
from catalog_pipeline.cli.output import EXIT_FAILED, notices, print_json, table, terminal
from catalog_pipeline.cli.progress import StageProgress
from catalog_pipeline.embeddings.model import ModelSpec, resolve_model
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.seen import newest_complete_ids
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.index import VectorIndex
from catalog_pipeline.vectors.open import open_index

if TYPE_CHECKING:
    from catalog_pipeline.vectors.reconcile import Reconciliation

_MOST_SHOWN = 5


@click.command()
@click.argument("store", required=False, type=STORE)
@click.option(
    "--repair", "mend", is_flag=True, help="Load what is missing, remove what is orphaned."
)
@as_json
def reconcile(store: str | None, mend: bool, as_json: bool) -> None:
    """Compare STORE, or every store, id by id; exit 1 if anything differs in the end.

    A repair is bound by the collection's owner and by the removal guard, as every sync is.

    \b
    Examples:
      catalog reconcile
      catalog reconcile atelier --repair
    """
    settings = load_settings()
    # Without its name no collection can be looked at, which alone is not worth a download.
    model = resolve_model(settings.model, download=mend)
    with open_database(settings) as database, open_index(settings) as index:
        stores = stores_to_look_after(settings, database)
        chosen = [pick_store(stores, store)] if store else list(stores.stores.values())
        with StageProgress(notices()) as progress:
            found = [
                _one(settings, database, index, model, one, mend=mend)
                for one in progress.stores(chosen)
            ]
    if as_json:
        print_json({"stores": found})
    else:
        _show(found)
    if not all(one["after"].agrees for one in found):
        sys.exit(EXIT_FAILED)


def _one(
    settings: Settings,
    database: Database,
    index: VectorIndex,
    model: ModelSpec,
    store: StoreConfig,
    *,
    mend: bool,
) -> dict[str, Any]:
    from catalog_pipeline.vectors.reconcile import SourceIds, repair
    from catalog_pipeline.vectors.reconcile import reconcile as compare

    files = DataFolder(settings.data_dir)
    seen = newest_complete_ids(Archive(files), store)
    source = None if seen is None else SourceIds(*seen)
    alias = settings.collection
    before = compare(database, index, store, model, alias=alias, source=source)
    _keep(database, before)
    if not mend or before.agrees:
        return {"store": store.id, "before": before, "after": before, "repaired": None}
    with hold_store(database, store.id, this_call("catalog reconcile")) as lease:
        report = repair(
            lease,
            files,
            index,
            store,
            model,
            before,
            alias=alias,
            deployment_id=database.deployment_id(),
        )
    after = compare(database, index, store, model, alias=alias, source=source)
    _keep(database, after)
    return {"store": store.id, "before": before, "after": after, "repaired": report}


def _keep(database: Database, found: Reconciliation) -> None:
    """Let the check that speaks for all stores know of it."""
    from catalog_pipeline.vectors.reconcile import CHECK

    with database.write() as connection:
        record_verdict(connection, CHECK, found.verdict())


def _show(found: list[dict[str, Any]]) -> None:
    kinds = list(found[0]["after"].differences) if found else []
    rows = [[one["store"], *one["after"].differences.values()] for one in found]
    terminal().print(table(["store", *kinds], rows, numbers=kinds))
    for one in found:
        after = one["after"]
        for name, ids in (
            ("missing rows", after.missing_rows),
            ("orphaned rows", after.orphaned_rows),
            ("missing points", after.missing),
            ("orphaned points", after.orphaned),
            ("stale payloads", after.stale_payload),
            ("stale vectors", after.stale_vector),
        ):
            if ids:
                more = f" and {len(ids) - _MOST_SHOWN} more" if len(ids) > _MOST_SHOWN else ""
                shown = ", ".join(str(key) for key in ids[:_MOST_SHOWN])
                click.echo(f"{one['store']}: {name}: {shown}{more}")
        if one["repaired"] is not None and one["repaired"].waiting:
            waiting = sum(one["repaired"].waiting.values())
            click.echo(f"{one['store']}: {waiting} removals wait for an approval")
