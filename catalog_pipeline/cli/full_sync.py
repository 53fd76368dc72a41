"""What reading all of a store would take, as the commands tell it that are asked before that."""

from __future__ import annotations

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.rates import Rate, Rates
from catalog_pipeline.cli.summary import duration, size
from catalog_pipeline.embeddings.model import ModelSpec
from catalog_pipeline.estimate import FullSync, estimate_full_sync
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import Archive, ArchivedWalk
from catalog_pipeline.settings import Settings
from catalog_pipeline.stores import StoreConfig


def estimate(
    settings: Settings,
    database: Database,
    store: StoreConfig,
    model: ModelSpec | None,
    walk_id: str | None = None,
) -> FullSync | None:
    """Reckon from one walk of a store, or from the newest that can be reckoned from.

    Raises:
        ArchiveError: the records of a walk are damaged.
    """
    archive = Archive(DataFolder(settings.data_dir))
    walk = _newest(archive, store) if walk_id is None else archive.open(store.id, walk_id)
    if walk is None:
        return None
    dimensions = None if model is None else model.dimensions
    with database.read() as connection:
        return estimate_full_sync(connection, store, walk, dimensions=dimensions)


def estimate_lines(found: FullSync | None) -> list[str]:
    """The estimate in text: what there is, what it takes, and what that stands on."""
    if found is None:
        return ["cannot be reckoned: the store does not say how many products it has"]
    taken = "an unknown size" if found.bytes is None else size(found.bytes)
    return [
        f"{found.products:,} products, about {found.pictures:,} pictures and {found.vectors:,} "
        "vectors",
        f"about {duration(found.seconds)} and {taken} on disk",
        f"at {_basis(found.rates)}",
    ]


def _newest(archive: Archive, store: StoreConfig) -> ArchivedWalk | None:
    for walk_id in reversed(archive.walk_ids(store.id)):
        walk = archive.open(store.id, walk_id)
        manifest = None if walk is None else walk.manifest
        if manifest is not None and manifest.ids and manifest.announced is not None:
            return walk
    return None


def _basis(rates: Rates) -> str:
    def told(what: str, rate: Rate) -> str:
        return f"{rate.per_second:,.1f} {what} a second ({'measured' if rate.syncs else 'assumed'})"

    return f"{told('fetches', rates.fetches)}, {told('embeddings', rates.embeddings)}"
