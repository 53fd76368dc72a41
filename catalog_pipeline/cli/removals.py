"""`catalog removals`: what the guard holds back in a store, and the word that it may go."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Any

import click

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.removal_approvals import (
    Stage,
    WaitingRemoval,
    approve_products,
    record_approval,
    waiting_removals,
)
from catalog_pipeline.cli.deployment import (
    STORE,
    as_json,
    open_database,
    pick_store,
    stores_to_look_after,
)
from catalog_pipeline.cli.output import print_json, table, terminal
from catalog_pipeline.embeddings.model import resolve_model
from catalog_pipeline.errors import CatalogError, PermanentError
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.guard import WaitingPoints, waiting_points
from catalog_pipeline.vectors.open import open_index


@click.command()
@click.argument("store", type=STORE)
@click.option("--approve", type=click.IntRange(1), help="Let exactly this many removals go.")
@click.option(
    "--of",
    "kind",
    type=click.Choice(["products", "points"]),
    help="Which of them, where removals of both wait.",
)
@click.option("--reason", help="Why they may go; kept with the approval.")
@as_json
def removals(
    store: str, approve: int | None, kind: Stage | None, reason: str | None, as_json: bool
) -> None:
    """List the products and points of STORE whose removal waits, or approve them by their number.

    Products wait that a whole walk did not find; points, whose products or pictures are no longer
    wanted: a setting, a rule, a gate or a person says so.

    \b
    Examples:
      catalog removals atelier
      catalog removals atelier --approve 41 --reason "the summer range ended"
    """
    if kind is not None and approve is None:
        raise click.UsageError("--of says which removals to --approve")
    reason = (reason or "").strip()
    if approve is not None and not reason:
        raise click.UsageError("give a --reason with --approve; it is kept with the approval")
    settings = load_settings()
    with open_database(settings) as database:
        config = pick_store(stores_to_look_after(settings, database), store)
        waiting = _look(settings, database, config)
        approved = None
        if approve is not None:
            stage = kind or waiting.kind()
            _approve(database, store, stage, approve, waiting, reason)
            by_hand = f"run: catalog sync {store}"
            then = by_hand if config.active else "Dagster's daemon carries it out"
            said = f"{approve} removals of {stage} approved; {then}"
            click.echo(said, err=as_json)
            approved = {"of": stage, "count": approve, "reason": reason}
    if as_json:
        document = {"store": store, "waiting": waiting.products, "points": waiting.points}
        print_json({**document, "approved": approved})
        return
    _show(store, waiting, approved=approved is not None)


@dataclass(frozen=True)
class _Waiting:
    """`points` is None where no model says which points there should be."""

    products: list[WaitingRemoval]
    points: WaitingPoints | None

    @property
    def counts(self) -> dict[Stage, int]:
        return {"products": len(self.products), "points": self.points.count if self.points else 0}

    def kind(self) -> Stage:
        """The one kind that waits.

        Raises:
            click.UsageError: both do.
        """
        kinds = [kind for kind, count in self.counts.items() if count]
        if len(kinds) > 1:
            raise click.UsageError(
                f"{self.counts['products']} removals of products and {self.counts['points']} of "
                "points wait; say which with --of products or --of points"
            )
        return kinds[0] if kinds else "products" if self.points is not None else "points"


def _look(settings: Settings, database: Database, store: StoreConfig) -> _Waiting:
    with database.read() as connection:
        products = waiting_removals(connection, store.id)
    try:
        model = resolve_model(settings.model, download=False)
        with open_index(settings) as index:
            points = waiting_points(
                database, index, store, model.model_version, settings.collection
            )
    except CatalogError as error:
        # The products are worth showing all the same.
        click.echo(f"Points are not looked at: {error}", err=True)
        points = None
    return _Waiting(products, points)


def _approve(
    database: Database, store_id: str, stage: Stage, count: int, waiting: _Waiting, reason: str
) -> None:
    if stage == "points" and waiting.points is None:
        raise PermanentError("no removal of points can be approved where none can be looked at")
    who = getpass.getuser()
    if stage == "products":
        approve_products(database, store_id, count, who=who, reason=reason)
        return
    with database.write() as connection:
        record_approval(
            connection,
            store_id,
            stage,
            count,
            waiting=waiting.counts[stage],
            who=who,
            reason=reason,
        )


def _show(store_id: str, waiting: _Waiting, *, approved: bool) -> None:
    if not any(waiting.counts.values()):
        of = "" if waiting.points is not None else " of products"
        click.echo(f"{store_id}: no removal{of} waits.")
        return
    rows: list[list[Any]] = [
        ["product", one.external_id, one.reason, one.title] for one in waiting.products
    ]
    if waiting.points is not None:
        rows += [["point", one.external_id, one.reason, one.title] for one in waiting.points.points]
        if waiting.points.unrecorded:
            rows.append(["point", None, "unrecorded", f"{waiting.points.unrecorded} of them"])
    terminal().print(table(["of", "product's id", "reason", "title"], rows, numbers=[]))
    if approved:
        return
    kinds = [kind for kind, count in waiting.counts.items() if count]
    for kind in kinds:
        which = f" --of {kind}" if len(kinds) > 1 else ""
        click.echo(
            f"\nTo let the {kind} go: catalog removals {store_id} --approve "
            f"{waiting.counts[kind]}{which} --reason WHY"
        )
