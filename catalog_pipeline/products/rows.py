"""A batch of records made into rows: what is new, what changed, what is refused.

One batch is one transaction. Rows whose content did not change are not touched, so a second sync
of an unchanged store writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, delete, select

from catalog_pipeline.catalog.bulk import portions, upsert
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.schema import product_images, products, quarantine
from catalog_pipeline.products.rules import WantedRules
from catalog_pipeline.products.source import (
    InvalidRecordError,
    ProductRecord,
    RecordParser,
    Sighting,
)

# A refused record beyond this is kept only in part, and waits for the next walk.
_MOST_RAW = 1_000_000


@dataclass(frozen=True)
class Refusal:
    """Why a record is no row, the record as JSON text, and what a sweep compares of it."""

    reason: str
    raw: str
    sighting: Sighting | None


@dataclass
class Batch:
    """Records by their id; of two with one id the later counts."""

    accepted: dict[str, ProductRecord] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.accepted) + len(self.refused)

    def read(self, parser: RecordParser, record: Any) -> str | None:
        """Take in a record, valid or not, and return its id.

        Args:
            parser: reads it.
            record: as it came.
        """
        found = parser.external_id(record)
        try:
            accepted = parser.parse(record)
        except InvalidRecordError as error:
            raw = _raw(record)
            key = found or _stand_in(raw)
            self.accepted.pop(key, None)
            self.refused[key] = Refusal(str(error), raw, parser.sighting(record))
        else:
            self.refused.pop(accepted.external_id, None)
            self.accepted[accepted.external_id] = accepted
        return found


@dataclass(frozen=True)
class Origin:
    """Where a batch comes from."""

    store_id: str
    walk_id: str
    currency: str | None


@dataclass
class Written:
    """What became of the records so far."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0


class RowWriter:
    """Writes batches of one store; `quarantined` are the store's ids in quarantine."""

    def __init__(self, rules: WantedRules, quarantined: set[str]) -> None:
        """Prepare.

        Args:
            rules: decide `left_out_by`.
            quarantined: as the database has it; kept up to date here.
        """
        self._rules = rules
        self._quarantined = quarantined
        self.written = Written()

    def write(
        self, connection: Connection, batch: Batch, origin: Origin, *, validator: str
    ) -> None:
        """Write what is new or changed of a batch.

        A refused record leaves the product's last valid row as it is; an accepted one ends its
        quarantine, and brings a removed product back.

        Args:
            connection: in a write transaction.
            batch: the records.
            origin: where they came from.
            validator: the parser's version.
        """
        ids = {product_id(origin.store_id, key): found for key, found in batch.accepted.items()}
        stored = _stored(connection, ids)
        rows: list[dict[str, Any]] = []
        changed: list[UUID] = []
        pictures: list[dict[str, Any]] = []
        for uuid, record in ids.items():
            known = stored.get(uuid)
            content = content_hash(record, origin.currency)
            if known is None:
                row = _row(uuid, record, origin, content, first_walk_id=origin.walk_id)
            elif known.content_hash != content or known.removed_by is not None:
                changed.append(uuid)
                row = _row(uuid, record, origin, content, first_walk_id=known.first_walk_id)
            else:
                continue
            row["left_out_by"] = self._rules.left_out_by(
                status=record.status,
                type=record.type,
                visibility=record.visibility,
                categories=record.categories,
                tags=record.tags,
            )
            rows.append(row)
            pictures.extend(_pictures(uuid, record, origin.store_id))
        upsert(connection, products, rows)
        if changed:
            connection.execute(
                delete(product_images).where(product_images.c.product_id.in_(changed))
            )
        upsert(connection, product_images, pictures)
        self.end_quarantine(connection, origin.store_id, batch.accepted.keys())
        upsert(connection, quarantine, _refusals(batch, origin, validator))
        self._quarantined.update(batch.refused)
        self.written.new += len(rows) - len(changed)
        self.written.changed += len(changed)
        self.written.unchanged += len(ids) - len(rows)
        self.written.refused += len(batch.refused)

    def end_quarantine(self, connection: Connection, store_id: str, ids: Set[str]) -> None:
        """Let those of the ids that are in quarantine out of it."""
        ended = self._quarantined & ids
        for some in portions(sorted(ended)):
            connection.execute(
                delete(quarantine).where(
                    quarantine.c.store_id == store_id, quarantine.c.external_id.in_(some)
                )
            )
        self._quarantined -= ended


def content_hash(record: ProductRecord, currency: str | None) -> str:
    """32 hexadecimal digits over everything that the source says of a product."""
    text = orjson.dumps([record, currency], default=str)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _stored(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, Any]:
    found = connection.execute(
        select(
            products.c.product_id,
            products.c.content_hash,
            products.c.first_walk_id,
            products.c.removed_by,
        ).where(products.c.product_id.in_(list(ids)))
    )
    return {row.product_id: row for row in found}


def _row(
    uuid: UUID,
    record: ProductRecord,
    origin: Origin,
    content: str,
    *,
    first_walk_id: str,
) -> dict[str, Any]:
    return {
        "product_id": uuid,
        "store_id": origin.store_id,
        "external_id": record.external_id,
        "sku": record.sku,
        "title": record.title,
        "description": record.description,
        "price": record.price,
        "currency": origin.currency,
        "image_url": record.image_url,
        "product_url": record.product_url,
        "type": record.type,
        "status": record.status,
        "visibility": record.visibility,
        "categories": record.categories,
        "tags": record.tags,
        "in_stock": record.in_stock,
        "on_sale": record.on_sale,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "content_hash": content,
        "walk_id": origin.walk_id,
        "first_walk_id": first_walk_id,
        "left_out_by": None,
        "removed_by": None,
        "removed_in": None,
    }


def _pictures(uuid: UUID, record: ProductRecord, store_id: str) -> list[dict[str, Any]]:
    return [
        {
            "product_id": uuid,
            "position": image.position,
            "store_id": store_id,
            "image_id": image.image_id,
            "url": image.url,
            "modified_at": image.modified_at,
        }
        for image in record.images
    ]


def _refusals(batch: Batch, origin: Origin, validator: str) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    return [
        {
            "store_id": origin.store_id,
            "external_id": key,
            "walk_id": origin.walk_id,
            "reason": refusal.reason,
            "raw": refusal.raw,
            "validator": validator,
            "status": refusal.sighting.status if refusal.sighting else None,
            "updated_at": refusal.sighting.updated_at if refusal.sighting else None,
            "quarantined_at": now,
        }
        for key, refusal in batch.refused.items()
    ]


def _stand_in(raw: str) -> str:
    """The name of a refused record without an id: the same however often a walk meets it."""
    return f"#{hashlib.blake2b(raw.encode(), digest_size=8).hexdigest()}"


def _raw(record: Any) -> str:
    """The record as ASCII: whatever was in it, every database can hold it."""
    try:
        return json.dumps(record)[:_MOST_RAW]
    except RecursionError:
        return '"nested too deeply to be kept"'
