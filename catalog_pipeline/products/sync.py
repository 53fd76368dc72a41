"""Stage 2: archived walks become rows. Reads archive and database only, so it can be replayed.

Batches commit one by one; the walk counts as processed, and the watermark moves, only in a last
transaction. A run that dies anywhere is simply done again: rows that are there already are found
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import delete

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import quarantine, store_states, walks
from catalog_pipeline.products.archive import Archive, ArchivedWalk, ArchiveError
from catalog_pipeline.products.models import WooCommerceParser
from catalog_pipeline.products.owed import count_store, owed_walks, quarantined_ids
from catalog_pipeline.products.revisions import apply_rules, retry_quarantine
from catalog_pipeline.products.rows import Batch, Origin, RowWriter
from catalog_pipeline.products.rules import WantedRules
from catalog_pipeline.products.source import RecordParser, SeenIds
from catalog_pipeline.stores import StoreConfig

Progress = Callable[[int, int], None]

_BATCH = 500
_PARSERS: dict[str, Callable[[StoreConfig], RecordParser]] = {
    "woocommerce": lambda store: WooCommerceParser(store.url),
}


@dataclass(frozen=True)
class ProductsReport:
    """What the walks brought, and what the store's rows amount to now.

    `seen`, `new`, `changed`, `unchanged` and `refused` count this run; the rest counts what is
    there. `left_out` is by rule; quarantine is by reason, with a few ids for each.
    """

    walks: int
    seen: int
    new: int
    changed: int
    unchanged: int
    refused: int
    live: int
    left_out: dict[str, int]
    quarantined: int
    quarantined_by_reason: dict[str, int]
    quarantined_examples: dict[str, str]
    watermark: str | None
    currency: str | None


def parser_for(source: str, store: StoreConfig) -> RecordParser:
    """What reads the pages that a kind of source archived for a store.

    Raises:
        ArchiveError: the archive was written by a version that knows more sources.
    """
    try:
        return _PARSERS[source](store)
    except KeyError:
        raise ArchiveError(
            f"store {store.id}: its archive comes from a source {source!r} that this version does "
            "not know; upgrade catalog-pipeline"
        ) from None


def sync_products(
    lease: StoreLease,
    archive: Archive,
    store: StoreConfig,
    *,
    progress: Progress | None = None,
) -> ProductsReport:
    """Make rows of every archived walk of a store that is not processed yet.

    Args:
        lease: the right to write the store.
        archive: the walks.
        store: its rules decide which rows are left out.
        progress: called with the records read so far and the records there are.

    Raises:
        ArchiveError: a file of a walk is damaged, missing or of another format.
        LeaseLostError: another writer has taken the store over.
        ServiceUnavailableError: the database was lost.
    """
    rules = WantedRules(store)
    apply_rules(lease, rules)
    with lease.database.read() as connection:
        writer = RowWriter(rules, quarantined_ids(connection, store.id))
        owed = owed_walks(connection, archive, store.id)
    retry_quarantine(lease, parser_for(store.source, store), writer)
    total = sum(walk.manifest.records if walk.manifest else 0 for walk in owed)
    done = seen = 0
    for walk in owed:
        parser = parser_for(walk.begin.source, store)
        process = _WalkProcess(lease, walk, parser, writer)
        for records in process.batches():
            done += records
            if progress is not None:
                progress(done, max(done, total))
        process.conclude()
        seen += len(process.seen)
    with lease.database.read() as connection:
        counts = count_store(connection, store.id)
    return ProductsReport(
        walks=len(owed),
        seen=seen,
        new=writer.written.new,
        changed=writer.written.changed,
        unchanged=writer.written.unchanged,
        refused=writer.written.refused,
        live=counts.live,
        left_out=counts.left_out,
        quarantined=counts.quarantined,
        quarantined_by_reason=counts.quarantined_by_reason,
        quarantined_examples=counts.quarantined_examples,
        watermark=counts.watermark,
        currency=counts.currency,
    )


class _WalkProcess:
    """One archived walk on its way into the tables."""

    def __init__(
        self, lease: StoreLease, walk: ArchivedWalk, parser: RecordParser, writer: RowWriter
    ) -> None:
        self._lease = lease
        self._walk = walk
        self._parser = parser
        self._writer = writer
        self._origin = Origin(lease.store_id, walk.begin.walk_id, walk.begin.currency)
        self.seen = SeenIds()

    def batches(self) -> Iterator[int]:
        """Write the walk batch by batch; yields the records read since the last one."""
        batch = Batch()
        records = 0
        for path, body in self._walk.pages():
            page = PurePosixPath(path).name.split(".", 1)[0]
            for index, record in enumerate(self._records(path, body)):
                self.seen.add([batch.read(self._parser, record, f"{page}#{index}")])
                records += 1
            if len(batch) >= _BATCH:
                self._write(batch)
                yield records
                batch, records = Batch(), 0
        self._write(batch)
        yield records

    def conclude(self) -> None:
        """The last transaction: what only a walk that has ended may say."""
        begin, store_id = self._walk.begin, self._origin.store_id
        state: dict[str, Any] = {"store_id": store_id}
        if begin.currency is not None:
            state["currency"] = begin.currency
        proves_all = self._walk.complete and begin.kind == "full"
        if proves_all:
            state["watermark"] = begin.server_clock
        with self._lease.write() as connection:
            if proves_all:
                # Refused records that the store no longer shows.
                connection.execute(
                    delete(quarantine).where(
                        quarantine.c.store_id == store_id,
                        quarantine.c.walk_id != begin.walk_id,
                    )
                )
            upsert(connection, store_states, [state])
            upsert(connection, walks, [self._record_of_walk()])

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

    def _record_of_walk(self) -> dict[str, Any]:
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
            "processed_at": datetime.now(UTC),
        }
