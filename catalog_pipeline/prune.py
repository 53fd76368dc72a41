"""Files that nothing refers to any more leave the data folder, a week after they were found so.

What is unreferenced is written down when it is first seen, and goes only if it still is when that
was long enough ago: a stage writes its file before its record, and a picture that a store takes
back for a day need not be fetched again. Looking once more and removing happen in one transaction
that keeps every writer of references out. Drafts that killed writers left have no reference to
wait for, and go by their age alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, select, text

from catalog_pipeline.catalog.bulk import insert_missing
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import embeddings, image_attempts, unreferenced_files
from catalog_pipeline.embeddings.compact import CompactReport, compact_parts
from catalog_pipeline.embeddings.parts import FOLDER as PARTS
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.archive import ROOT as ARCHIVE

KEEP = timedelta(days=7)
BLOBS = "images"
# Files removed while writers wait.
_BATCH = 100
_HEX = "0123456789abcdef"

References = Callable[[Connection, Iterable[str]], set[str]]


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
        progress: called with the folders of pictures looked at and those there can be.

    Raises:
        CatalogError: as `compact_parts`.
        OSError: a file cannot be removed.
    """
    moment = now or datetime.now(UTC)
    compacted = compact_parts(database, files)
    pruner = _Pruner(database, files, moment, moment - keep)
    blobs = 0
    # A 256th of the pictures at a time bounds what is held in memory.
    prefixes = [first + second for first in _HEX for second in _HEX]
    for number, prefix in enumerate(prefixes, start=1):
        blobs += pruner.prune(f"{BLOBS}/{prefix}/", "image_attempts", _shown_blobs)
        if progress is not None:
            progress(number, len(prefixes))
    parts = pruner.prune(f"{PARTS}/", "embeddings", _used_parts)
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

    def prune(self, folder: str, table: str, references: References) -> int:
        """Look at the files below a folder; returns how many went."""
        names = set(self._files.walk(folder.rstrip("/")))
        with self._database.read() as connection:
            free = names - references(connection, names) if names else set()
            known = {
                row.name: row.since
                for row in connection.execute(
                    select(unreferenced_files).where(
                        unreferenced_files.c.name >= folder,
                        unreferenced_files.c.name < folder + "\x7f",
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
            removed += self._remove(due[start : start + _BATCH], table, references)
        self.waiting += len(free) - removed
        return removed

    def _remove(self, names: list[str], table: str, references: References) -> int:
        with self._database.write() as connection:
            if self._database.is_postgresql:
                # SQLite has one writer at a time anyway.
                connection.execute(text(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"))
            referenced = references(connection, names)
            going = [name for name in names if name not in referenced]
            for name in going:
                self._files.remove(name)
            self._forget(connection, names)
        return len(going)

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


def _shown_blobs(connection: Connection, names: Iterable[str]) -> set[str]:
    """Those of the pictures' files whose content an attempt at a URL holds."""
    by_sha = {name.rsplit("/", 1)[-1]: name for name in names}
    shas = sorted(by_sha)
    found = connection.scalars(
        select(image_attempts.c.image_sha256)
        .distinct()
        .where(image_attempts.c.image_sha256.between(shas[0], shas[-1]))
    )
    return {by_sha[sha] for sha in found if sha in by_sha}


def _used_parts(connection: Connection, names: Iterable[str]) -> set[str]:
    """Those of the parts that a row points into."""
    return set(connection.scalars(select(embeddings.c.part).distinct())) & set(names)
