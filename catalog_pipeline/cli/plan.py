"""`catalog plan`: what a sync would do, and about how long it would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from catalog_pipeline.cli.deployment import (
    STORE,
    as_json,
    model_at_hand,
    open_database,
    pick_store,
    stores_to_look_after,
)
from catalog_pipeline.cli.output import jsonable, print_json, say, table, terminal
from catalog_pipeline.cli.summary import duration
from catalog_pipeline.embeddings.model import ModelSpec
from catalog_pipeline.settings import load_settings

if TYPE_CHECKING:
    from catalog_pipeline.estimate import FullSync
    from catalog_pipeline.plan import Plan

# What the model's version decides; without it, none of a plan's numbers for these is true.
_OF_VECTORS = (
    *("embed", "embed_at_most", "load", "refresh"),
    *("remove", "removal_limit", "removals_wait", "seconds"),
)


@click.command()
@click.argument("store", required=False, type=STORE)
@as_json
def plan(store: str | None, as_json: bool) -> None:
    """Show what a sync of STORE, or of every store, would fetch, embed, write and remove.

    Nothing is changed and no store is asked: what a walk will bring is not known before it. The
    time is an estimate by this deployment's own syncs, as far as there are any. What all of a store
    would take that was never read to its end is told by its last sample.

    \b
    Examples:
      catalog plan
      catalog plan atelier --json
    """
    from catalog_pipeline.cli.full_sync import estimate
    from catalog_pipeline.files import DataFolder
    from catalog_pipeline.plan import plan as make_plan
    from catalog_pipeline.products.archive import Archive
    from catalog_pipeline.vectors.index import collection_name

    settings = load_settings()
    model = model_at_hand(settings, "What vectors and points would take is not told")
    # One that no vector has, where it is not known.
    version = model.model_version if model else ""
    with open_database(settings) as database:
        stores = stores_to_look_after(settings, database)
        chosen = [pick_store(stores, store)] if store else list(stores.stores.values())
        archive = Archive(DataFolder(settings.data_dir))
        found = [
            make_plan(
                database,
                one,
                model_version=version,
                collection=collection_name(settings.collection, version),
                archive=archive,
            )
            for one in chosen
        ]
        first = {
            one.store_id: estimate(settings, database, stores.stores[one.store_id], model)
            for one in found
            if one.watermark is None
        }
    if as_json:
        untold = {} if model else dict.fromkeys(_OF_VECTORS)
        print_json(
            {
                "stores": [
                    jsonable(one) | untold | {"full_sync": first.get(one.store_id)} for one in found
                ]
            }
        )
        return
    numbers = ["walks", "fetch", "judge", "embed", "load", "refresh", "remove", "left", "time"]
    rows = [_row(one, first.get(one.store_id), model) for one in found]
    console = terminal()
    console.print(table(["store", *numbers], rows, numbers=numbers))
    for one in found:
        for line in _notes(one, first.get(one.store_id), model):
            say(console, f"{one.store_id}: {line}")


def _row(one: Plan, whole: FullSync | None, model: ModelSpec | None) -> list[Any]:
    of_vectors = [one.embed_at_most, one.load, one.refresh, sum(one.remove.values())]
    return [
        *(one.store_id, one.walks, one.fetch, one.judge),
        *(of_vectors if model else [None] * len(of_vectors)),
        *(one.left, _time(one, whole, model)),
    ]


def _time(one: Plan, whole: FullSync | None, model: ModelSpec | None) -> str:
    if one.watermark is not None:
        return duration(one.seconds) if model else "unknown"
    return "unknown" if whole is None else duration(whole.seconds)


def _notes(one: Plan, whole: FullSync | None, model: ModelSpec | None) -> list[str]:
    from catalog_pipeline.cli.full_sync import estimate_lines

    notes = []
    if one.watermark is None:
        notes.append("never read to its end; the next sync reads all of it")
        if whole is None:
            return [*notes, f"`catalog sync {one.store_id} --sample 50` tells what that would take"]
        notes.append(", ".join(estimate_lines(whole)))
    else:
        notes.append(f"the next sync reads what changed since {one.watermark:%Y-%m-%d %H:%M} UTC")
    if one.removals_wait:
        notes.append(
            f"{sum(one.remove.values())} removals would wait for an approval, more "
            f"than {one.removal_limit} at once are not made unasked"
        )
    if one.watermark is not None and model:
        notes.append(f"the time stands on {_basis(one)}")
    return notes


def _basis(one: Plan) -> str:
    walk = one.walk
    if walk.walks:
        stands = [f"{walk.seconds:,.1f} s of {walk.kind} walk (measured, walks: {walk.walks})"]
    else:
        stands = [f"no {walk.kind} walk, which is not counted"]
    for what, rate in (
        ("fetches", one.rates.fetches),
        ("embeddings", one.rates.embeddings),
        ("points", one.rates.points),
    ):
        source = f"measured, syncs: {rate.syncs}" if rate.syncs else "assumed"
        stands.append(f"{rate.per_second:,.1f} {what} a second ({source})")
    return ", ".join(stands)
