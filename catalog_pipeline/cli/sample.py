"""What a person wants to know after a first sample of their store, before they sync all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.queries import some_loaded_products
from catalog_pipeline.cli.deployment import model_at_hand, open_database
from catalog_pipeline.cli.full_sync import estimate, estimate_lines
from catalog_pipeline.cli.run_records import settle_runs
from catalog_pipeline.cli.summary import INDENT, counts, listed
from catalog_pipeline.embeddings.model import ModelSpec
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.estimate import FullSync
from catalog_pipeline.search import search
from catalog_pipeline.settings import Settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.index import collection_name
from catalog_pipeline.vectors.open import open_index

ASKED = 3
SHOWN = 3


@dataclass(frozen=True)
class Neighbours:
    """A product of the sample, and what the collection returns for it: titles and scores."""

    external_id: str
    title: str
    nearest: list[tuple[str, float]]


@dataclass(frozen=True)
class SampleSummary:
    """The sample at a look; counts by reason. `full_sync` is None where it cannot be reckoned."""

    products: int
    announced: int | None
    currency: str | None
    accepted: int
    rejected: Mapping[str, int]
    neighbours: list[Neighbours]
    full_sync: FullSync | None
    removed_products: Mapping[str, int]
    removed_points: Mapping[str, int]


def summarise_sample(
    settings: Settings, store: StoreConfig, stages: Mapping[str, Mapping[str, Any]]
) -> SampleSummary:
    """Tell of a sample that has gone through all stages.

    Args:
        settings: of this deployment.
        store: the store.
        stages: the run's metadata, by asset.
    """
    walk, rows = stages["raw_products"], stages["products"]
    images, loaded = stages["product_images"], stages["qdrant_points"]
    # A daemon's run may have had it on another machine.
    model = model_at_hand(settings, "Size and neighbours are not told")
    with open_database(settings) as database:
        # The estimate goes by what this run has just measured.
        settle_runs(settings, database)
        full_sync = estimate(settings, database, store, model, str(walk["walk_id"]))
        neighbours = [] if model is None else _neighbours(settings, database, store, model)
    return SampleSummary(
        products=int(walk["products"]),
        announced=walk.get("announced"),
        currency=rows.get("currency") or walk.get("currency"),
        accepted=int(images["accepted"]),
        rejected=counts(images.get("rejected")),
        neighbours=neighbours,
        full_sync=full_sync,
        removed_products=counts(rows.get("removed")),
        removed_points=counts(loaded.get("deleted")),
    )


def sample_lines(store_id: str, found: SampleSummary) -> Iterator[str]:
    """The same in text, each line with its heading."""
    of = f" of {found.announced:,}" if found.announced is not None else ""
    yield from _headed("sample", [f"{found.products:,}{of} products of {store_id}"])
    yield from _headed("currency", [found.currency or "unknown; set currency: for this store"])
    verdicts = [f"{found.accepted:,} accepted", listed("rejected", found.rejected)]
    yield from _headed("verdicts", [text for text in verdicts if text])
    yield from _headed(
        "neighbours",
        [
            f"{one.title}: "
            + (", ".join(f"{title} {score:.2f}" for title, score in one.nearest) or "none")
            for one in found.neighbours
        ]
        or ["none yet: nothing is in the collection"],
    )
    yield from _headed("a full sync", estimate_lines(found.full_sync))
    removed = [
        listed("products", found.removed_products),
        listed("points", found.removed_points),
    ]
    yield from _headed(
        "removed",
        [text for text in removed if text] or ["nothing: a sample proves nothing gone"],
    )
    yield from _headed("next", [f"catalog sync {store_id}"])


def _headed(heading: str, texts: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield f"{'' if number else heading:<{INDENT}}{text}"


def _neighbours(
    settings: Settings, database: Database, store: StoreConfig, model: ModelSpec
) -> list[Neighbours]:
    collection = collection_name(settings.collection, model.model_version)
    with database.read() as connection:
        asked = some_loaded_products(connection, collection, store.id, ASKED)
    try:
        with open_index(settings, run="catalog sync") as index:
            return [
                Neighbours(
                    one.external_id,
                    one.title,
                    [
                        (str(hit.payload.get("title", "")), round(hit.score, 4))
                        for hit in search(index, settings.collection, one.product_id, limit=SHOWN)
                    ],
                )
                for one in asked
            ]
    except CatalogError as error:
        # The sample is loaded all the same; another process may have the index just now.
        click.echo(f"The neighbours cannot be shown: {error}", err=True)
        return []
