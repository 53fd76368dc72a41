"""`catalog removals`: what the guard holds back in a store, and the word that it may go."""

from __future__ import annotations

import getpass

import click

from catalog_pipeline.catalog.removal_approvals import approve_products, waiting_removals
from catalog_pipeline.cli.deployment import as_json, open_database, pick_store, read_stores
from catalog_pipeline.cli.output import print_json, table, terminal
from catalog_pipeline.settings import load_settings


@click.command()
@click.argument("store")
@click.option("--approve", type=click.IntRange(1), help="Let exactly this many removals go.")
@click.option("--reason", default="", help="Why; kept with the approval.")
@as_json
def removals(store: str, approve: int | None, reason: str, as_json: bool) -> None:
    """List the products of STORE whose removal waits, or approve them by their number."""
    settings = load_settings()
    pick_store(read_stores(settings), store)
    with open_database(settings) as database:
        if approve is not None:
            approve_products(database, store, approve, who=getpass.getuser(), reason=reason)
            click.echo(
                f"{approve} removals approved; run: catalog sync {store} --full", err=as_json
            )
        with database.read() as connection:
            found = waiting_removals(connection, store)
    if as_json:
        print_json({"store": store, "waiting": found})
        return
    if not found:
        click.echo(f"{store}: no removal waits.")
        return
    rows = [[one.external_id, one.reason, one.title] for one in found]
    terminal().print(table(["id", "reason", "title"], rows, numbers=[]))
    if approve is None:
        click.echo(f"\nTo let them go: catalog removals {store} --approve {len(found)}")
