"""What people decide about a product or a picture, above what stores and gates say.

An override is no change to a row that a walk or a judgement writes: it stands beside them and is
read with them (`wanted.py`), so it survives both and takes effect at the next run of the last
stages, without a walk. Every decision is in the audit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, delete, or_, select

from catalog_pipeline.catalog.audit import AuditEntry, record
from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import (
    image_overrides,
    images,
    product_images,
    product_overrides,
    products,
)
from catalog_pipeline.errors import PermanentError

Action = Literal["hide", "use", "accept", "reject"]


class OverrideError(PermanentError):
    """The override cannot be made: its target is not known, or it is no decision at all."""


@dataclass(frozen=True)
class Decision:
    """Who decides, why, and until when; `until` None is for good.

    Raises:
        OverrideError: nobody, no reason, or an end without time zone or in the past.
    """

    who: str
    reason: str
    until: datetime | None = None

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.reason.strip():
            raise OverrideError("an override names who decided it and for what reason")
        if self.until is not None and self.until.tzinfo is None:
            raise OverrideError(f"the end {self.until} of an override must have a time zone")
        if self.until is not None and self.until <= datetime.now(UTC):
            raise OverrideError(f"the end {self.until} of the override has passed already")


@dataclass(frozen=True)
class Override:
    """One override; of `product_id` and `image_sha256` one is None. `image_id` is for `use`."""

    action: Action
    product_id: UUID | None
    image_sha256: str | None
    image_id: str | None
    who: str
    reason: str
    created_at: datetime
    until: datetime | None

    @property
    def in_force(self) -> bool:
        """Whether it still counts."""
        return self.until is None or self.until > datetime.now(UTC)


def hide_product(database: Database, product_id: UUID, decision: Decision) -> None:
    """Take a product out of the collection; its row stays.

    Raises:
        OverrideError: there is no such product.
    """
    _decide_product(database, product_id, "hide", None, decision)


def use_image(database: Database, product_id: UUID, image_id: str, decision: Decision) -> None:
    """Let another picture of a product's list serve as its main one, as long as it is listed.

    Args:
        database: the catalogue.
        product_id: the product.
        image_id: the source's id of the picture.
        decision: who and why.

    Raises:
        OverrideError: there is no such product, or it does not list the picture.
    """
    _decide_product(database, product_id, "use", image_id, decision)


def judge_image(
    database: Database, image_sha256: str, decision: Decision, *, accepted: bool
) -> None:
    """Accept or reject a content in every store, whatever the gates say of it.

    What no worker could decode is not for a person to accept: accepted pictures are decoded where
    nothing limits the time that one takes, and nothing outlives its death.

    Raises:
        OverrideError: no store ever served these bytes, or they are to be accepted undecoded.
    """
    action = "accept" if accepted else "reject"
    now = datetime.now(UTC)
    with database.write() as connection:
        measured = connection.scalar(select(images.c.measurements).where(_is(image_sha256)))
        if measured is None:
            raise OverrideError(
                f"no picture with SHA-256 {image_sha256} is known; explain the product to see its "
                "pictures"
            )
        if accepted and (problem := measured.get("problem")):
            raise OverrideError(
                f"picture {image_sha256} cannot be accepted, since it was not decoded: {problem}, "
                f"{measured.get('reason')}"
            )
        row = {"image_sha256": image_sha256, "accepted": accepted}
        upsert(connection, image_overrides, [row | _columns(decision, now)])
        _record(connection, f"override.{action}", image_sha256, None, decision, now, {})


def withdraw(database: Database, target: UUID | str, *, who: str, reason: str) -> list[Override]:
    """End every override of a product (its id) or a picture (its SHA-256) now.

    Returns:
        Those that ended; empty if there were none.

    Raises:
        OverrideError: nobody, or no reason.
    """
    decision = Decision(who, reason)
    now = datetime.now(UTC)
    with database.write() as connection:
        found = overrides_of(connection, target)
        table, key = (
            (product_overrides, product_overrides.c.product_id == target)
            if isinstance(target, UUID)
            else (image_overrides, image_overrides.c.image_sha256 == target)
        )
        connection.execute(delete(table).where(key))
        for one in found:
            subject = str(target)
            _record(connection, "override.withdraw", subject, None, decision, now, _shown(one))
    return found


def overrides_of(connection: Connection, target: UUID | str) -> list[Override]:
    """Those of a product by its id, or of a picture by its SHA-256, ended ones included."""
    if isinstance(target, UUID):
        return [
            _of_product(row)
            for row in connection.execute(
                select(product_overrides)
                .where(product_overrides.c.product_id == target)
                .order_by(product_overrides.c.action)
            )
        ]
    found = select(image_overrides).where(image_overrides.c.image_sha256 == target)
    return [_of_image(row) for row in connection.execute(found)]


def all_overrides(connection: Connection) -> list[Override]:
    """Every override in force, of products and of pictures, newest first."""
    now = datetime.now(UTC)
    found: list[Override] = []
    for table, made in ((product_overrides, _of_product), (image_overrides, _of_image)):
        current = select(table).where(or_(table.c.until.is_(None), table.c.until > now))
        found += map(made, connection.execute(current))
    return sorted(found, key=lambda one: one.created_at, reverse=True)


def _decide_product(
    database: Database, product_id: UUID, action: Action, image_id: str | None, decision: Decision
) -> None:
    now = datetime.now(UTC)
    with database.write() as connection:
        store_id = connection.scalar(
            select(products.c.store_id).where(products.c.product_id == product_id)
        )
        if store_id is None:
            raise OverrideError(f"there is no product {product_id}; its store may not be synced")
        if image_id is not None:
            _check_listed(connection, product_id, image_id)
        row = {
            "product_id": product_id,
            "action": action,
            "store_id": store_id,
            "image_id": image_id,
        }
        upsert(connection, product_overrides, [row | _columns(decision, now)])
        details = {} if image_id is None else {"image_id": image_id}
        _record(connection, f"override.{action}", str(product_id), store_id, decision, now, details)


def _check_listed(connection: Connection, product_id: UUID, image_id: str) -> None:
    listed = list(
        connection.scalars(
            select(product_images.c.image_id)
            .where(product_images.c.product_id == product_id)
            .order_by(product_images.c.position)
        )
    )
    if image_id not in listed:
        raise OverrideError(
            f"product {product_id} lists no image {image_id}; it lists "
            + (", ".join(listed[:20]) or "none")
        )


def _is(image_sha256: str) -> Any:
    return images.c.image_sha256 == image_sha256


def _columns(decision: Decision, now: datetime) -> dict[str, Any]:
    return {
        "reason": decision.reason,
        "who": decision.who,
        "created_at": now,
        "until": decision.until,
    }


def _record(
    connection: Connection,
    action: str,
    subject: str,
    store_id: str | None,
    decision: Decision,
    now: datetime,
    details: dict[str, Any],
) -> None:
    if decision.until is not None:
        details = details | {"until": decision.until.isoformat()}
    record(
        connection,
        AuditEntry(now, decision.who, action, store_id, subject, decision.reason, details),
    )


def _shown(one: Override) -> dict[str, Any]:
    return {"action": one.action, "image_id": one.image_id, "reason": one.reason, "who": one.who}


def _of_product(row: Any) -> Override:
    return Override(
        action=row.action,
        product_id=row.product_id,
        image_sha256=None,
        image_id=row.image_id,
        who=row.who,
        reason=row.reason,
        created_at=row.created_at,
        until=row.until,
    )


def _of_image(row: Any) -> Override:
    return Override(
        action="accept" if row.accepted else "reject",
        product_id=None,
        image_sha256=row.image_sha256,
        image_id=None,
        who=row.who,
        reason=row.reason,
        created_at=row.created_at,
        until=row.until,
    )
