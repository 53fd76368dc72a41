"""`catalog stores`: whether the stores of stores.yaml can be read."""

from __future__ import annotations

import sys

import click

from catalog_pipeline.cli.deployment import as_json, pick_store, read_stores
from catalog_pipeline.cli.output import EXIT_FAILED, print_json, printable
from catalog_pipeline.products.check import check_store
from catalog_pipeline.settings import load_settings


@click.group()
def stores() -> None:
    """Look after the stores of stores.yaml."""


@stores.command()
@click.argument("store", required=False)
@as_json
def check(store: str | None, as_json: bool) -> None:
    """Ask each store, or STORE alone, for one product, and say what keeps it from answering.

    Each line can be forwarded to the store's owner as it is; it holds no key.
    """
    known = read_stores(load_settings())
    chosen = [pick_store(known, store)] if store else list(known.stores.values())
    outcomes = []
    for one in chosen:
        outcome = check_store(one)
        outcomes.append(outcome)
        if not as_json:
            click.echo(f"{'ok    ' if outcome.ok else 'failed'}  {printable(outcome.sentence)}")
    if as_json:
        print_json({"stores": outcomes})
    if not all(outcome.ok for outcome in outcomes):
        sys.exit(EXIT_FAILED)
