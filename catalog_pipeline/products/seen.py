"""The ids that the newest walk which saw the whole store brought, read from the archive."""

from __future__ import annotations

from catalog_pipeline.products.archive import Archive, page_kind
from catalog_pipeline.products.source import PROVING_KINDS, TRASH_PAGE
from catalog_pipeline.products.sync import parser_for
from catalog_pipeline.stores import StoreConfig


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
        if walk is None or not walk.complete or walk.begin.kind not in PROVING_KINDS:
            continue
        parser = parser_for(walk.begin.source, store)
        ids = {
            found
            for path, body in walk.pages()
            if page_kind(path) != TRASH_PAGE
            for record in parser.records(body)
            if (found := parser.external_id(record)) is not None
        }
        # Counted by the source and not shown, but looked up one by one.
        unshown = walk.manifest.unshown_ids if walk.manifest is not None else ()
        return walk_id, frozenset(ids) | frozenset(unshown)
    return None


def last_walk_with(archive: Archive, store: StoreConfig, external_id: str) -> str | None:
    """The newest walk in the archive that brought a product; None if none did.

    Raises:
        ArchiveError: a file of a walk is damaged, missing or of another format.
    """
    for walk_id in reversed(archive.walk_ids(store.id)):
        walk = archive.open(store.id, walk_id)
        if walk is None:
            continue
        parser = parser_for(walk.begin.source, store)
        for _, body in walk.pages():
            if any(parser.external_id(record) == external_id for record in parser.records(body)):
                return walk_id
        if walk.manifest is not None and external_id in walk.manifest.unshown_ids:
            return walk_id
    return None
