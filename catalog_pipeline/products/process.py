"""One archived walk on its way into the tables: batch by batch, and then its last transaction.

Which walks are owed belongs to the stage; which products are gone, to `gone.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import quarantine, store_states, walks
from catalog_pipeline.products.archive import ArchivedWalk, ArchiveError, page_kind
from catalog_pipeline.products.gone import Removals, decide_on_gone, forget_waits
from catalog_pipeline.products.rows import Batch, Origin, RowWriter
from catalog_pipeline.products.source import (
    IDS_PAGE,
    PRODUCTS_PAGE,
    PROVING_KINDS,
    TRASH,
    TRASH_PAGE,
    WATERMARK_KINDS,
    RecordParser,
    SeenIds,
)
from catalog_pipeline.products.variations import VariationRows

_BATCH = 500
# Taken off this machine's clock where it stands in for a server's that tells no time.
_CLOCK_DOUBT = timedelta(days=1)
_PAGES = frozenset({PRODUCTS_PAGE, IDS_PAGE, TRASH_PAGE})


class WalkProcess:
    """One archived walk on its way into the tables."""

    def __init__(
        self,
        lease: StoreLease,
        walk: ArchivedWalk,
        parser: RecordParser,
        writer: RowWriter,
        max_removal_share: float,
        variations: VariationRows,
    ) -> None:
        self._lease = lease
        self._walk = walk
        self._parser = parser
        self._writer = writer
        self._max_removal_share = max_removal_share
        self._variations = variations
        self._origin = Origin(lease.store_id, walk.begin.walk_id, walk.begin.currency)
        self.seen = SeenIds()
        self._trashed = SeenIds()

    def batches(self) -> Iterator[int]:
        """Write the walk batch by batch; yields the records read since the last one."""
        batch = Batch()
        records = 0
        for path, body in self._walk.pages():
            kind = page_kind(path)
            if self._variations.take(kind, body) or kind not in _PAGES:
                continue
            for record in self._records(path, body):
                if kind == PRODUCTS_PAGE and not self._is_trashed(record):
                    self._variations.saw(record)
                    self.seen.add([batch.read(self._parser, record)])
                else:
                    self._take_note(record, in_trash=kind == TRASH_PAGE)
                records += 1
                if len(batch) >= _BATCH:
                    self._write(batch)
                    yield records
                    batch, records = Batch(), 0
        self._write(batch)
        self._variations.flush()
        yield records

    def conclude(self, precedent: bool | None = None, made: Database | None = None) -> Removals:
        """The last transaction: what only a walk that has ended may say.

        Args:
            precedent: whether its removals went when it was processed before.
            made: holds the rows that came of it then.
        """
        begin, store_id = self._walk.begin, self._origin.store_id
        proves_all = self._walk.complete and begin.kind in PROVING_KINDS
        manifest = self._walk.manifest
        if manifest is not None:
            self.seen.add(found for found in manifest.unshown_ids if found not in self.seen)
        removals = Removals()
        with self._lease.write() as connection:
            if proves_all:
                self._end_quarantine_of_gone(connection)
                removals = decide_on_gone(
                    connection,
                    store_id,
                    begin.walk_id,
                    self.seen,
                    self._trashed,
                    max_share=self._max_removal_share,
                    precedent=precedent,
                    made=made,
                )
            else:
                forget_waits(connection, store_id, self.seen)
            upsert(connection, store_states, [self._state()])
            upsert(connection, walks, [self._record_of_walk(removals if proves_all else None)])
        return removals

    def _state(self) -> dict[str, Any]:
        begin = self._walk.begin
        state: dict[str, Any] = {"store_id": self._origin.store_id}
        if self._walk.complete and begin.kind in WATERMARK_KINDS:
            # Not from dates of products, which may lie in the future.
            doubt = timedelta() if begin.clock_is_the_servers else _CLOCK_DOUBT
            state["watermark"] = begin.server_clock - doubt
        if self._walk.is_complete_full and begin.currency is not None:
            # Only now are all rows in this currency.
            state["currency"] = begin.currency
        return state

    def _end_quarantine_of_gone(self, connection: Connection) -> None:
        """Forget refused records that the store no longer shows."""
        store_id, walk_id = self._origin.store_id, self._origin.walk_id
        if self._walk.is_complete_full:
            connection.execute(
                delete(quarantine).where(
                    quarantine.c.store_id == store_id, quarantine.c.walk_id != walk_id
                )
            )
            return
        kept = connection.scalars(
            select(quarantine.c.external_id).where(quarantine.c.store_id == store_id)
        ).all()
        # A record without an id has a stand-in, which only a full walk can judge.
        gone = {one for one in kept if one not in self.seen and "#" not in one}
        self._writer.end_quarantine(connection, store_id, gone)

    def _is_trashed(self, record: Any) -> bool:
        sighting = self._parser.sighting(record)
        return sighting is not None and sighting.status == TRASH

    def _take_note(self, record: Any, *, in_trash: bool) -> None:
        sighting = self._parser.sighting(record)
        if sighting is not None:
            is_trashed = in_trash or sighting.status == TRASH
            (self._trashed if is_trashed else self.seen).add([sighting.external_id])

    def _records(self, path: str, body: bytes) -> list[Any]:
        try:
            return self._parser.records(body)
        except ValueError as error:
            raise ArchiveError(
                f"{path} of the data folder holds no page of {self._walk.begin.source} ({error}); "
                "remove the walk's folder to go on without it"
            ) from error

    def _write(self, batch: Batch) -> None:
        if not len(batch):
            return
        with self._lease.write() as connection:
            self._writer.write(connection, batch, self._origin, validator=self._parser.version)

    def _record_of_walk(self, removals: Removals | None) -> dict[str, Any]:
        begin = self._walk.begin
        manifest = self._walk.manifest
        return {
            "store_id": self._origin.store_id,
            "walk_id": begin.walk_id,
            "kind": begin.kind,
            "complete": self._walk.complete,
            "server_clock": begin.server_clock,
            "currency": begin.currency,
            "announced": manifest.announced_at_end if manifest else begin.announced,
            "seen": len(self.seen),
            "removed": removals.removed.total() if removals else None,
            "waiting": removals.waiting.total() if removals else None,
            "processed_at": datetime.now(UTC),
        }
