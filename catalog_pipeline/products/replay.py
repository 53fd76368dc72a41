"""The rows of a store built again from its archive, as they came to be.

The walks are processed once more, by the same code, into a database of their own that is thrown
away afterwards; only what differs is then written. So a damaged archive, or a replay that is cut
off, harms no row, and readers never see a row as it was long ago.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Table, delete, exists, select

from catalog_pipeline.catalog.bulk import insert_missing, upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease, hold_store
from catalog_pipeline.catalog.schema import (
    product_images,
    products,
    quarantine,
    removal_waits,
    store_states,
    variation_images,
    walks,
)
from catalog_pipeline.products.archive import (
    Archive,
    ArchivedWalk,
    ArchiveError,
    walk_started_at,
)
from catalog_pipeline.products.owed import ended_walks
from catalog_pipeline.products.sync import History, Progress, sync_products
from catalog_pipeline.stores import StoreConfig

_BATCH = 500
_PICTURES = (product_images, variation_images)
_Row = dict[str, Any]
_Rows = dict[UUID, list[_Row]]


@dataclass(frozen=True)
class ReplayReport:
    """What a replay built, and what of it was not there already.

    `whole` says that the archive goes back to the store's first walk: then rows that no walk
    explains were `dropped`, and every column was built anew. Otherwise the oldest walk is a
    complete full one, and what only older walks could tell was kept: the ids of walks before it,
    and the last valid row of a product that is in quarantine ever since.
    """

    walks: int
    first_walk: str | None
    whole: bool
    rows: int
    written: int
    unchanged: int
    dropped: int


def replay_store(
    lease: StoreLease,
    archive: Archive,
    store: StoreConfig,
    *,
    since: datetime | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Build a store's products, their pictures, quarantine and removals again from the archive.

    Args:
        lease: the right to write the store.
        archive: the walks.
        store: its rules as they are now.
        since: begin at the newest complete full walk before this moment, not at the oldest.
        progress: called with the records read so far and the records there are (0: unknown).

    Raises:
        ArchiveError: the archive is damaged, or none of its walks can be begun from.
        LeaseLostError: another writer has taken the store over.
        ServiceUnavailableError: the database was lost.
    """
    with lease.database.read() as connection:
        processed = _processed(connection, store.id)
    history, whole = _history(archive, lease, processed, since)
    if not history.walks:
        return ReplayReport(0, None, whole, 0, 0, 0, 0)
    first = history.walks[0].walk_id
    with tempfile.TemporaryDirectory(prefix="catalog-replay-") as folder:
        scratch = Database(f"sqlite:///{Path(folder) / 'replay.sqlite'}")
        try:
            scratch.migrate()
            with hold_store(scratch, store.id, "replay") as own:
                sync_products(own, archive, store, history=history, progress=progress)
            merge = _Merge(lease, scratch, None if whole else first)
            merge.rows()
            merge.variations_without_row()
            if whole:
                merge.drop_unexplained()
            merge.the_rest()
        finally:
            scratch.dispose()
    return ReplayReport(
        walks=len(history.walks),
        first_walk=first,
        whole=whole,
        rows=merge.written + merge.unchanged,
        written=merge.written,
        unchanged=merge.unchanged,
        dropped=merge.dropped,
    )


def _processed(connection: Connection, store_id: str) -> dict[str, Any]:
    """The walks that rows were made of, with what they decided."""
    found = connection.execute(
        select(walks.c.walk_id, walks.c.complete, walks.c.removed, walks.c.waiting).where(
            walks.c.store_id == store_id
        )
    )
    return {row.walk_id: row for row in found}


def _history(
    archive: Archive,
    lease: StoreLease,
    processed: Mapping[str, Any],
    since: datetime | None,
) -> tuple[History, bool]:
    """The walks to replay, and whether they are all that there ever were."""
    store_id = lease.store_id
    # Where the database was lost, all walks that are owed to an empty one are replayed.
    kept = ended_walks(archive, store_id, archive.walk_ids(store_id))
    if processed:
        kept = [walk for walk in kept if _was_made_of(walk, processed)]
    is_unpruned = not processed or bool(kept and kept[0].walk_id <= min(processed))
    start = _start(kept, since, is_unpruned=is_unpruned)
    if start is None:
        raise ArchiveError(
            f"store {store_id}: its archive has lost its beginning and holds no complete full walk "
            "to begin from; `catalog sync --full` reads the store itself"
        )
    decisions = {
        walk_id: not row.waiting for walk_id, row in processed.items() if row.removed is not None
    }
    return History(kept[start:], decisions, lease.database), is_unpruned and start == 0


def _was_made_of(walk: ArchivedWalk, processed: Mapping[str, Any]) -> bool:
    row = processed.get(walk.walk_id)
    # One that was complete once and has no end now was cut off while it was pruned.
    return row is not None and (walk.complete or not row.complete)


def _start(
    kept: Sequence[ArchivedWalk], since: datetime | None, *, is_unpruned: bool
) -> int | None:
    full = [place for place, walk in enumerate(kept) if walk.is_complete_full]
    if since is not None:
        before = [place for place in full if walk_started_at(kept[place].walk_id) <= since]
        if before:
            return before[-1]
    if is_unpruned:
        return 0
    return full[0] if full else None


class _Merge:
    """What differs between the rows that are there and those that a replay made."""

    def __init__(self, lease: StoreLease, scratch: Database, first: str | None) -> None:
        """Prepare; `first` is the first walk of a replay that does not go back to the beginning."""
        self._lease = lease
        self._scratch = scratch
        self._first = first
        self.written = self.unchanged = self.dropped = 0

    def rows(self) -> None:
        """Write products and pictures that are missing or other than they should be."""
        for ids in _pages(self._scratch, _own(self._lease.store_id)):
            with self._scratch.read() as connection:
                rebuilt = _by_product(connection, products, ids)
                pictures = _pictures(connection, ids)
            with self._lease.database.read() as connection:
                there = _by_product(connection, products, ids)
                shown = _pictures(connection, ids)
            if self._first is not None:
                # Their own walks may be pruned: a store can refuse to tell variations for a while.
                pictures[variation_images] = shown[variation_images] | pictures[variation_images]
            wanted = {
                product: self._with_its_past(rows[0], there.get(product))
                for product, rows in rebuilt.items()
            }
            changed = [
                product
                for product, row in wanted.items()
                if there.get(product) != [row]
                or any(shown[one].get(product) != pictures[one].get(product) for one in _PICTURES)
            ]
            self.unchanged += len(wanted) - len(changed)
            self.written += len(changed)
            if not changed:
                continue
            with self._lease.write() as connection:
                # Products last, since `prune.py` locks variations before them.
                for table in _PICTURES:
                    _replace(connection, table, changed, pictures[table])
                upsert(connection, products, [wanted[product] for product in changed])

    def variations_without_row(self) -> None:
        """Write the pictures of variations whose product never was valid, so has no row."""
        statement = _without_row(self._lease.store_id)
        for ids in _pages(self._scratch, statement):
            with self._scratch.read() as connection:
                rebuilt = _by_product(connection, variation_images, ids)
            with self._lease.database.read() as connection:
                there = _by_product(connection, variation_images, ids)
            changed = [product for product in ids if rebuilt[product] != there.get(product)]
            if changed:
                with self._lease.write() as connection:
                    _replace(connection, variation_images, changed, rebuilt)

    def drop_unexplained(self) -> None:
        """Drop rows that no walk has ever brought."""
        for ids in _pages(self._lease.database, _own(self._lease.store_id)):
            with self._scratch.read() as connection:
                rebuilt = _by_product(connection, products, ids)
            unexplained = [product for product in ids if product not in rebuilt]
            self.dropped += len(unexplained)
            if unexplained:
                with self._lease.write() as connection:
                    for table in (*_PICTURES, products):
                        connection.execute(delete(table).where(table.c.product_id.in_(unexplained)))
        for ids in _pages(self._lease.database, _without_row(self._lease.store_id)):
            with self._scratch.read() as connection:
                kept = _by_product(connection, variation_images, ids)
            with self._lease.write() as connection:
                _replace(connection, variation_images, [one for one in ids if one not in kept], {})

    def the_rest(self) -> None:
        """What is small: quarantine, waiting removals, the store's state and its walks."""
        store_id = self._lease.store_id
        with self._scratch.read() as connection:
            refused, waits, state, made = (
                _of_store(connection, table, store_id)
                for table in (quarantine, removal_waits, store_states, walks)
            )
        with self._lease.write() as connection:
            since = {
                (row["external_id"], row["walk_id"]): row["quarantined_at"]
                for row in _of_store(connection, quarantine, store_id)
            }
            for row in refused:
                key = (row["external_id"], row["walk_id"])
                row["quarantined_at"] = since.get(key, row["quarantined_at"])
            for table, rows in ((quarantine, refused), (removal_waits, waits)):
                connection.execute(delete(table).where(table.c.store_id == store_id))
                for start in range(0, len(rows), _BATCH):
                    upsert(connection, table, rows[start : start + _BATCH])
            upsert(connection, store_states, state)
            insert_missing(connection, walks, made)

    def _with_its_past(self, row: _Row, there: list[_Row] | None) -> _Row:
        """A rebuilt row with what only walks could tell that are pruned."""
        if self._first is None or not there:
            return row
        (known,) = there
        past = dict(row)
        if known["first_walk_id"] < self._first:
            past["first_walk_id"] = known["first_walk_id"]
        if known["walk_id"] < self._first and known["content_hash"] == row["content_hash"]:
            past["walk_id"] = known["walk_id"]
        return past


def _own(store_id: str) -> Select[Any]:
    return select(products.c.product_id).where(products.c.store_id == store_id)


def _without_row(store_id: str) -> Select[Any]:
    return (
        select(variation_images.c.product_id)
        .distinct()
        .where(
            variation_images.c.store_id == store_id,
            ~exists().where(products.c.product_id == variation_images.c.product_id),
        )
    )


def _pages(database: Database, statement: Select[Any]) -> Iterator[list[UUID]]:
    """The product ids that a statement gives, some at a time; every page is a short read."""
    (column,) = statement.selected_columns
    page = statement.order_by(column).limit(_BATCH)
    while True:
        with database.read() as connection:
            ids = list(connection.scalars(page))
        if not ids:
            return
        yield ids
        page = statement.where(column > ids[-1]).order_by(column).limit(_BATCH)


def _by_product(connection: Connection, table: Table, ids: Sequence[UUID]) -> _Rows:
    found = connection.execute(
        select(table).where(table.c.product_id.in_(ids)).order_by(*table.primary_key)
    ).mappings()
    rows: defaultdict[UUID, list[_Row]] = defaultdict(list)
    for row in found:
        rows[row["product_id"]].append(dict(row))
    return dict(rows)


def _pictures(connection: Connection, ids: Sequence[UUID]) -> dict[Table, _Rows]:
    return {table: _by_product(connection, table, ids) for table in _PICTURES}


def _replace(connection: Connection, table: Table, ids: Sequence[UUID], rows: _Rows) -> None:
    """Make a table hold these rows of these products, and no others of them."""
    connection.execute(delete(table).where(table.c.product_id.in_(ids)))
    upsert(connection, table, [row for product in ids for row in rows.get(product, [])])


def _of_store(connection: Connection, table: Table, store_id: str) -> list[_Row]:
    found = connection.execute(select(table).where(table.c.store_id == store_id)).mappings()
    return [dict(row) for row in found]
