"""`catalog stores`: whether the stores of stores.yaml can be read, an end to a pause or to one."""

from __future__ import annotations

import getpass
import sys

import click

from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.cli.deployment import (
    STORE,
    as_json,
    open_database,
    pick_store,
    read_stores,
    this_call,
)
from catalog_pipeline.cli.output import EXIT_FAILED, print_json, printable
from catalog_pipeline.emptying import count_points, empty_store
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.check import check_store
from catalog_pipeline.products.circuit import resume_store
from catalog_pipeline.settings import load_settings
from catalog_pipeline.vectors.open import open_index


@click.group()
def stores() -> None:
    """Look after the stores of stores.yaml.

    \b
    Examples:
      catalog stores check
      catalog stores resume atelier
    """


@stores.command()
@click.argument("store", required=False, type=STORE)
@as_json
def check(store: str | None, as_json: bool) -> None:
    """Ask each store, or STORE alone, for one product, and say what keeps it from answering.

    Each line can be forwarded to the store's owner as it is; it holds no key.

    \b
    Examples:
      catalog stores check
      catalog stores check atelier --json
    """
    known = read_stores(load_settings())
    chosen = [pick_store(known, store)] if store else list(known.stores.values())
    outcomes = []
    for one in chosen:
        outcome = check_store(one)
        outcomes.append(outcome)
        if not as_json:
            click.echo(f"{'ok    ' if outcome.ok else 'failed'}  {printable(outcome.sentence)}")
            for line in (outcome.report or "").splitlines():
                click.echo(f"        {printable(line)}".rstrip())
    if as_json:
        print_json({"stores": outcomes})
    if not all(outcome.ok for outcome in outcomes):
        sys.exit(EXIT_FAILED)


@stores.command()
@click.argument("store", type=STORE)
@click.option("--reason", default="", help="Why; kept with the decision.")
@as_json
def resume(store: str, reason: str, as_json: bool) -> None:
    """End the pause of STORE, which is left alone because it kept failing.

    Sensors and schedules ask it again from now on.

    \b
    Examples:
      catalog stores resume atelier --reason "its host lifted the block"
    """
    settings = load_settings()
    pick_store(read_stores(settings), store)
    with open_database(settings) as database:
        before = resume_store(database, store, who=getpass.getuser(), reason=reason)
    if as_json:
        print_json({"store": store, "resumed": before})
    elif before is None:
        click.echo(f"{store}: it did not fail when it was last asked; nothing to resume.")
    else:
        click.echo(f"{store}: resumed after {before.failures} failures in a row.")
        click.echo(f"The last one: {printable(before.reason)}")


@stores.command()
@click.argument("store")
@click.option("--points", type=click.IntRange(0), help="How many points go: the number shown.")
@click.option("--reason", default="", help="Why; kept with the decision.")
@as_json
def empty(store: str, points: int | None, reason: str, as_json: bool) -> None:
    """Remove all that is kept of STORE, which stores.yaml does not name any more.

    Without --points, show how many would go and remove nothing.

    \b
    Examples:
      catalog stores empty atelier
      catalog stores empty atelier --points 1204 --reason "the contract ended"
    """
    settings = load_settings()
    if store in read_stores(settings).stores:
        raise ConfigurationError(
            f"store {store} is still in {settings.stores_file}: take it out first, or the next "
            "poll brings everything back"
        )
    with open_database(settings) as database:
        with database.read() as connection:
            held = count_points(connection, store)
        if points is None:
            if as_json:
                print_json({"store": store, "points": held})
                return
            click.echo(
                f"{store}: {held} points; to remove all: "
                f"catalog stores empty {store} --points {held}"
            )
            return
        with (
            hold_store(database, store, this_call("catalog stores empty")) as lease,
            open_index(settings, run="catalog stores empty") as index,
        ):
            report = empty_store(
                lease,
                DataFolder(settings.data_dir),
                index,
                named=points,
                deployment_id=database.deployment_id(),
                who=getpass.getuser(),
                reason=reason,
            )
    if as_json:
        print_json(report)
    else:
        rows = sum(report.rows.values())
        click.echo(f"{store}: {report.points} points and {rows} rows removed, and its archive.")
