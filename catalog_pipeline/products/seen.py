"""Which products archived walks saw, read from the archive: what the store itself last showed."""

from __future__ import annotations

from catalog_pipeline.products.archive import Archive, ArchivedWalk, page_kind
from catalog_pipeline.products.source import (
    IDS_PAGE,
    PRODUCTS_PAGE,
    PROVING_KINDS,
    TRASH,
    TRASH_PAGE,
)
from catalog_pipeline.products.sync import parser_for
from catalog_pipeline.stores import StoreConfig

# Every other page holds something else than products, under ids of its own.
_PAGES = frozenset({PRODUCTS_PAGE, IDS_PAGE, TRASH_PAGE})


def newest_complete_ids(archive: Archive, store: StoreConfig) -> tuple[str, frozenset[str]] | None:
    """The newest complete sweep's or full walk's id, and the products that were in the store.

    Args:
        archive: the walks.
        store: whose.

    Returns:
        None if no such walk is in the archive.

    Raises:
        ArchiveError: a file of the walk is damaged, missing or of another format.
    """
    for walk_id in reversed(archive.walk_ids(store.id)):
        walk = archive.open(store.id, walk_id)
        if walk is not None and walk.complete and walk.begin.kind in PROVING_KINDS:
            return walk_id, ids_of(walk, store)
    return None


def last_walk_with(archive: Archive, store: StoreConfig, external_id: str) -> str | None:
    """The newest walk in the archive that saw a product in the store; None if none did.

    Raises:
        ArchiveError: a file of a walk is damaged, missing or of another format.
    """
    for walk_id in reversed(archive.walk_ids(store.id)):
        walk = archive.open(store.id, walk_id)
        if walk is not None and external_id in ids_of(walk, store):
            return walk_id
    return None


def ids_of(walk: ArchivedWalk, store: StoreConfig) -> frozenset[str]:
    """The products that a walk saw in the store, those in its trash left out.

    Raises:
        ArchiveError: a file of the walk is damaged, missing or of another format.
    """
    parser = parser_for(walk.begin.source, store)
    seen: set[str] = set()
    trashed: set[str] = set()
    for path, body in walk.pages():
        kind = page_kind(path)
        if kind not in _PAGES:
            continue
        for record in parser.records(body):
            sighting = parser.sighting(record)
            if sighting is not None:
                in_trash = kind == TRASH_PAGE or sighting.status == TRASH
                (trashed if in_trash else seen).add(sighting.external_id)
    # Counted by the source and not shown, but looked up one by one.
    unshown = walk.manifest.unshown_ids if walk.manifest is not None else ()
    return frozenset(seen - trashed) | frozenset(unshown)
