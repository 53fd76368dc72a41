"""Files that nothing refers to any more leave the data folder, a week after they were found so.

What is unreferenced is written down when it is first seen, and goes only if it still is when that
was long enough ago: a stage writes its file before its record, and a picture that a store takes
back for a day need not be fetched again. Looking once more and removing happen in one transaction
that keeps every writer of references out. Drafts that killed writers left have no reference to
wait for, and go by their age alone.

A picture is referred to while a product that is not removed lists it, a point shows it, or a
person's word on it is in force. With it goes the memory of having fetched it, so that it is fetched
anew where it is listed again; what was measured, judged and embedded of it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, exists, func, or_, select, text, tuple_

from catalog_pipeline.catalog.bulk import insert_missing
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_overrides,
    points,
    product_images,
    products,
    unreferenced_files,
    variation_images,
)
from catalog_pipeline.catalog.wanted import in_force
from catalog_pipeline.embeddings.compact import CompactReport, compact_parts
from catalog_pipeline.embeddings.parts import FOLDER as PARTS
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import ROOT as ARCHIVE

KEEP = timedelta(days=7)
BLOBS = "images"
# Files removed while writers wait.
_BATCH = 100
_HEX = "0123456789abcdef"

References = Callable[[Connection, Collection[str]], set[str]]


@dataclass(frozen=True)
class _Kind:
    """Files of one kind, and who refers to them.

    Attributes:
        references: which of some files are referred to.
        tables: those whose writers may make one of these references, in the order in which all
            who write several of them at once come to them.
        followers: which are referred to as well, by what is only written of files that
            `references` names then; so nobody has to be kept out.
        forget: drops what vouches for files without a reference.
    """

    references: References
    tables: str
    followers: References | None = None
    forget: Callable[[Connection, Collection[str]], None] | None = None


@dataclass(frozen=True)
class PruneReport:
    """What went, what waits for its week to pass, and what was merged."""

    removed_blobs: int
    removed_parts: int
    removed_drafts: int
    waiting: int
    compacted: CompactReport


def prune_files(
    database: Database,
    files: DataFolder,
    *,
    keep: timedelta = KEEP,
    now: datetime | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PruneReport:
    """Merge small parts, and remove pictures and parts that were long without a reference.

    Safe beside running syncs and after a crash anywhere.

    Args:
        database: the catalogue.
        files: its data folder.
        keep: how long a file must have been without a reference, a draft untouched.
        now: for tests.
        progress: called with the groups of pictures looked at and those there are.

    Raises:
        CatalogError: as `compact_parts`.
        OSError: a file cannot be removed.
    """
    moment = now or datetime.now(UTC)
    compacted = compact_parts(database, files)
    pruner = _Pruner(database, files, moment, moment - keep)
    blobs = 0
    # A 16th of the pictures at a time bounds what is held in memory; points are read whole for it.
    for number, first in enumerate(_HEX, start=1):
        blobs += pruner.prune(
            f"{BLOBS}/{first}", [f"{BLOBS}/{first}{one}" for one in _HEX], _PICTURES
        )
        if progress is not None:
            progress(number, len(_HEX))
    parts = pruner.prune(f"{PARTS}/", [PARTS], _VECTORS)
    drafts = _remove_drafts(files, moment - keep)
    return PruneReport(blobs, parts, drafts, pruner.waiting, compacted)


class _Pruner:
    def __init__(
        self, database: Database, files: DataFolder, now: datetime, before: datetime
    ) -> None:
        self._database = database
        self._files = files
        self._now = now
        self._before = before
        self.waiting = 0

    def prune(self, prefix: str, folders: Collection[str], kind: _Kind) -> int:
        """Look at the files below folders, whose names share a prefix; returns how many went."""
        names = {name for folder in folders for name in self._files.walk(folder)}
        with self._database.read() as connection:
            free = _without_reference(connection, names, kind)
            if kind.followers and free:
                free -= kind.followers(connection, free)
            known = {
                row.name: row.since
                for row in connection.execute(
                    select(unreferenced_files).where(
                        unreferenced_files.c.name.startswith(prefix, autoescape=True)
                    )
                )
            }
        fresh = sorted(free - known.keys())
        over = sorted(known.keys() - free)
        if fresh or over:
            with self._database.write() as connection:
                rows = [{"name": name, "since": self._now} for name in fresh]
                insert_missing(connection, unreferenced_files, rows)
                self._forget(connection, over)
        due = sorted(name for name in free & known.keys() if known[name] <= self._before)
        removed = 0
        for start in range(0, len(due), _BATCH):
            removed += self._remove(due[start : start + _BATCH], kind)
        self.waiting += len(free) - removed
        return removed

    def _remove(self, names: list[str], kind: _Kind) -> int:
        if kind.forget is not None:
            # A transaction of its own, and before: if we die in the next one, or it is not
            # committed, files are gone, and nothing may vouch for them.
            with self._database.write() as connection:
                kind.forget(connection, self._going(connection, names, kind))
        with self._database.write() as connection:
            going = self._going(connection, names, kind)
            for name in sorted(going):
                self._files.remove(name)
            self._forget(connection, names)
        return len(going)

    def _going(self, connection: Connection, names: list[str], kind: _Kind) -> set[str]:
        """Those without a reference, and until the transaction ends nobody makes one."""
        if self._database.is_postgresql:
            # SQLite has one writer at a time anyway.
            connection.execute(text(f"LOCK TABLE {kind.tables} IN SHARE ROW EXCLUSIVE MODE"))
        return _without_reference(connection, names, kind)

    @staticmethod
    def _forget(connection: Connection, names: list[str]) -> None:
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            connection.execute(
                delete(unreferenced_files).where(unreferenced_files.c.name.in_(some))
            )


def _remove_drafts(files: DataFolder, before: datetime) -> int:
    removed = 0
    for folder in (BLOBS, PARTS, ARCHIVE):
        for name in files.drafts(folder, before):
            files.remove(name)
            removed += 1
    return removed


def _without_reference(connection: Connection, names: Collection[str], kind: _Kind) -> set[str]:
    return set(names) - kind.references(connection, names) if names else set()


def _shown_blobs(connection: Connection, names: Collection[str]) -> set[str]:
    """Those of the pictures' files that a product lists, by what was fetched, or a person spoke of.

    Products that a rule leaves out count, since a rule may let them in again. So does a store's
    placeholder, listed or not: the gate knows it by having been fetched.
    """
    by_sha = _by_sha(names)
    stores = _stores(connection)
    attempts = image_attempts.alias("attempts").c
    of_these = (attempts.store_id.in_(stores), _is_among(attempts.image_sha256, by_sha))
    # By its store at the product, so that the database goes by the picture's URL.
    is_listed = exists().where(
        product_images.c.url == attempts.url,
        products.c.product_id == product_images.c.product_id,
        products.c.store_id == attempts.store_id,
        products.c.removed_by.is_(None),
    )
    # No index leads from a URL to its variations: they are read once, for all of these.
    fetched = image_attempts.c
    of_variations = (
        select(products.c.store_id, variation_images.c.url)
        .join(products, products.c.product_id == variation_images.c.product_id)
        .where(
            products.c.removed_by.is_(None),
            variation_images.c.url.in_(
                select(fetched.url).where(
                    fetched.store_id.in_(stores), _is_among(fetched.image_sha256, by_sha)
                )
            ),
        )
    )
    found = connection.scalars(
        select(attempts.image_sha256)
        .distinct()
        .where(
            *of_these,
            or_(
                is_listed,
                attempts.url.icontains("placeholder"),
                tuple_(attempts.store_id, attempts.url).in_(of_variations),
            ),
        )
    )
    named = select(image_overrides.c.image_sha256).where(in_force(image_overrides.c.until))
    return {by_sha[sha] for sha in (*found, *connection.scalars(named)) if sha in by_sha}


def _blobs_of_points(connection: Connection, names: Collection[str]) -> set[str]:
    """Those that a point shows: it keeps its last good picture where the product lists another."""
    by_sha = _by_sha(names)
    found = connection.scalars(
        select(points.c.image_sha256).distinct().where(_is_among(points.c.image_sha256, by_sha))
    )
    return {by_sha[sha] for sha in found if sha in by_sha}


def _forget_fetches(connection: Connection, names: Collection[str]) -> None:
    """Drop the attempts that brought these pictures."""
    connection.execute(
        delete(image_attempts).where(
            image_attempts.c.store_id.in_(_stores(connection)),
            image_attempts.c.image_sha256.in_(list(_by_sha(names))),
        )
    )


def _by_sha(names: Collection[str]) -> dict[str, str]:
    return {name.rsplit("/", 1)[-1]: name for name in names}


def _is_among(column: ColumnElement[str], shas: Collection[str]) -> ColumnElement[bool]:
    """Whether a content is one of these; of many, whether it may be."""
    if len(shas) <= _BATCH:
        return column.in_(list(shas))
    return column.between(min(shas), max(shas))


def _stores(connection: Connection) -> list[str]:
    """The stores that pictures were fetched from: with them an index leads to a content.

    Asked one after the other, since to ask for all at once would read the whole index.
    """
    found = [""]
    next_one = select(func.min(image_attempts.c.store_id))
    while store := connection.scalar(next_one.where(image_attempts.c.store_id > found[-1])):
        found.append(store)
    return found[1:]


def _used_parts(connection: Connection, names: Collection[str]) -> set[str]:
    """Those of the parts that a row points into."""
    return set(connection.scalars(select(embeddings.c.part).distinct())) & set(names)


_PICTURES = _Kind(
    _shown_blobs,
    "variation_images, products, image_attempts, image_overrides",
    _blobs_of_points,
    _forget_fetches,
)
_VECTORS = _Kind(_used_parts, "embeddings")
