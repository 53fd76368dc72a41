"""Stage 2: archived walks become rows. Reads archive and database only, so it can be replayed.

Batches commit one by one; the walk counts as processed, and the watermark moves, only in a last
transaction. A run that dies anywhere is simply done again: rows that are there already are found
unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.removal_approvals import Approval
from catalog_pipeline.products.archive import Archive, ArchivedWalk, ArchiveError
from catalog_pipeline.products.gone import count_waits, settle_approved
from catalog_pipeline.products.models import WooCommerceParser
from catalog_pipeline.products.owed import count_store, owed_walks, quarantined_ids
from catalog_pipeline.products.process import WalkProcess
from catalog_pipeline.products.revisions import apply_rules, retry_quarantine
from catalog_pipeline.products.rows import RowWriter
from catalog_pipeline.products.rules import WantedRules
from catalog_pipeline.products.source import RecordParser
from catalog_pipeline.products.variations import VariationRows
from catalog_pipeline.stores import StoreConfig

Progress = Callable[[int, int], None]

_PARSERS: dict[str, Callable[[StoreConfig], RecordParser]] = {
    "woocommerce": lambda store: WooCommerceParser(store.url),
}


@dataclass(frozen=True)
class History:
    """Walks that were processed before, oldest first, to be processed again alike.

    `decisions` says of those that could prove products gone whether these were removed then; `made`
    holds the rows that came of them.
    """

    walks: list[ArchivedWalk]
    decisions: Mapping[str, bool]
    made: Database | None = None


@dataclass(frozen=True)
class ProductsReport:
    """What the walks brought, and what the store's rows amount to now.

    `seen`, `new`, `changed`, `unchanged`, `refused` and `removed` count this run; the rest counts
    what is there. `stale` live rows are kept while the product's newest version is refused.
    `left_out` is by rule; quarantine is by reason, with a few ids for each.
    `removed` and `waiting` are live products that are gone from the store, by absent or trash;
    `removal_limit` is how many the guard let pass in the last walk that could prove any gone.
    `approval_refused` says why an approval that came with the run did nothing.
    """

    walks: int
    seen: int
    new: int
    changed: int
    unchanged: int
    refused: int
    removed: Mapping[str, int]
    waiting: Mapping[str, int]
    removal_limit: int | None
    approval_refused: str | None
    live: int
    stale: int
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
    approval: Approval | None = None,
    history: History | None = None,
    progress: Progress | None = None,
) -> ProductsReport:
    """Make rows of every archived walk of a store that is not processed yet.

    Args:
        lease: the right to write the store.
        archive: the walks.
        store: its rules decide which rows are left out, and how many may go.
        approval: a person's word on the removals that wait.
        history: walks to process in place of those that are owed.
        progress: called with the records read so far and the records there are (0: unknown).

    Raises:
        ArchiveError: a file of a walk is damaged, missing or of another format.
        LeaseLostError: another writer has taken the store over.
        ServiceUnavailableError: the database was lost.
    """
    rules = WantedRules(store)
    apply_rules(lease, rules)
    removed: Counter[str] = Counter()
    limit: int | None = None
    with lease.database.read() as connection:
        writer = RowWriter(rules, quarantined_ids(connection, store.id))
        owed = history.walks if history else owed_walks(connection, archive, store.id)
    retry_quarantine(lease, parser_for(store.source, store), writer)
    # How much an unfinished walk holds is not known before it is read.
    records_of = [walk.manifest.records if walk.manifest else None for walk in owed]
    total = 0 if None in records_of else sum(filter(None, records_of))
    done = seen = 0
    for walk in owed:
        parser = parser_for(walk.begin.source, store)
        variations = VariationRows(lease, store.url)
        process = WalkProcess(lease, walk, parser, writer, store.max_removal_share, variations)
        for records in process.batches():
            done += records
            if progress is not None:
                progress(done, total)
        if history:
            removals = process.conclude(history.decisions.get(walk.walk_id), history.made)
        else:
            removals = process.conclude()
        removed += removals.removed
        limit = removals.limit if removals.limit is not None else limit
        seen += len(process.seen)
    # Last, so that no approval takes away what a walk has seen again since.
    settled = settle_approved(lease, approval)
    removed += settled.removed
    with lease.database.read() as connection:
        counts = count_store(connection, store.id)
        waiting = count_waits(connection, store.id)
    return ProductsReport(
        walks=len(owed),
        seen=seen,
        new=writer.written.new,
        changed=writer.written.changed,
        unchanged=writer.written.unchanged,
        refused=writer.written.refused,
        removed=dict(removed),
        waiting=waiting,
        removal_limit=limit,
        approval_refused=settled.refused,
        live=counts.live,
        stale=counts.stale,
        left_out=counts.left_out,
        quarantined=counts.quarantined,
        quarantined_by_reason=counts.quarantined_by_reason,
        quarantined_examples=counts.quarantined_examples,
        watermark=counts.watermark,
        currency=counts.currency,
    )
