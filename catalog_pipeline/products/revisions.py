"""What a new version of the rules or of the parser changes in rows that are already there.

Both work from the database alone, in batches that may be cut off anywhere: the version that is
recorded last is what makes them done.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_, update

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import products, quarantine, store_states, walks
from catalog_pipeline.products.rows import Batch, Origin, RowWriter
from catalog_pipeline.products.rules import WantedRules
from catalog_pipeline.products.source import RecordParser

_ROWS = 1_000
_RAW_ROWS = 200


def apply_rules(lease: StoreLease, rules: WantedRules) -> None:
    """Decide anew which of a store's rows are left out, if the rules are not those of last time."""
    store_id = lease.store_id
    with lease.database.read() as connection:
        known = connection.scalar(
            select(store_states.c.rules_digest).where(store_states.c.store_id == store_id)
        )
    if known == rules.digest:
        return
    last = ""
    while rows := _rows_after(lease, last):
        moves: defaultdict[str | None, list[UUID]] = defaultdict(list)
        for row in rows:
            decided = rules.left_out_by(
                status=row.status,
                type=row.type,
                visibility=row.visibility,
                categories=row.categories,
                tags=row.tags,
            )
            if decided != row.left_out_by:
                moves[decided].append(row.product_id)
        if moves:
            with lease.write() as connection:
                for decided, ids in moves.items():
                    connection.execute(
                        update(products)
                        .where(products.c.product_id.in_(ids))
                        .values(left_out_by=decided)
                    )
        last = rows[-1].external_id
    with lease.write() as connection:
        upsert(connection, store_states, [{"store_id": store_id, "rules_digest": rules.digest}])


def _rows_after(lease: StoreLease, last: str) -> list[Any]:
    with lease.database.read() as connection:
        found = connection.execute(
            select(
                products.c.product_id,
                products.c.external_id,
                products.c.status,
                products.c.type,
                products.c.visibility,
                products.c.categories,
                products.c.tags,
                products.c.left_out_by,
            )
            .where(products.c.store_id == lease.store_id, products.c.external_id > last)
            .order_by(products.c.external_id)
            .limit(_ROWS)
        )
        return list(found.all())


def retry_quarantine(lease: StoreLease, parser: RecordParser, writer: RowWriter) -> None:
    """Read again what an older version of the parser refused.

    Args:
        lease: the store.
        parser: the version of today.
        writer: writes what it makes of the records.
    """
    for rows in _refused_by_others(lease, parser.version):
        for walk_id, group in groupby(rows, attrgetter("walk_id")):
            batch = Batch()
            keys = set()
            for row in group:
                record = _record(row.raw)
                if record is not None:
                    batch.read(parser, record)
                    keys.add(row.external_id)
            with lease.write() as connection:
                currency = connection.scalar(
                    select(walks.c.currency).where(
                        walks.c.store_id == lease.store_id, walks.c.walk_id == walk_id
                    )
                )
                # A record that had no id is kept under a stand-in that its row will not have.
                writer.end_quarantine(connection, lease.store_id, keys)
                origin = Origin(lease.store_id, walk_id, currency)
                writer.write(connection, batch, origin, validator=parser.version)


def _refused_by_others(lease: StoreLease, version: str) -> Iterator[list[Any]]:
    last = ("", "")
    place = tuple_(quarantine.c.walk_id, quarantine.c.external_id)
    while True:
        with lease.database.read() as connection:
            found = list(
                connection.execute(
                    select(quarantine.c.walk_id, quarantine.c.external_id, quarantine.c.raw)
                    .where(
                        quarantine.c.store_id == lease.store_id,
                        quarantine.c.validator != version,
                        place > last,
                    )
                    .order_by(quarantine.c.walk_id, quarantine.c.external_id)
                    .limit(_RAW_ROWS)
                )
            )
        if not found:
            return
        yield found
        last = (found[-1].walk_id, found[-1].external_id)


def _record(raw: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        # Kept only in part; the next walk brings it whole.
        return None
