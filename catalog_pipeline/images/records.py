"""What is written down of an attempt, an image and a gate, and how long until the next attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select

from catalog_pipeline.catalog.audit import AuditEntry, record
from catalog_pipeline.catalog.bulk import insert_missing, portions
from catalog_pipeline.catalog.schema import gates, image_attempts, image_verdicts
from catalog_pipeline.images.download import Download, too_many_bytes
from catalog_pipeline.images.measure import DECODER, Measurements
from catalog_pipeline.images.owed import OwedFetch
from catalog_pipeline.stores import StoreConfig

TRY_AGAIN_AFTER = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))


@dataclass(frozen=True, slots=True)
class Fetched:
    """One URL asked: its outcome without the bytes, which must not pile up."""

    owed: OwedFetch
    download: Download
    image_sha256: str | None = None
    size: int = 0
    # None where the content was measured before.
    measurements: Measurements | None = None
    # The bytes were in the data folder before, perhaps without a reference that keeps them there.
    was_kept: bool = False


def image_row(sha256: str, measured: Measurements) -> dict[str, Any]:
    """A row of `images`."""
    return {
        "image_sha256": sha256,
        "bytes": measured.bytes,
        "format": measured.format,
        "width": measured.width,
        "height": measured.height,
        "measurements": measured.as_json(),
        "decoder": DECODER,
        "measured_at": datetime.now(UTC),
    }


def attempt_row(store: StoreConfig, found: Fetched, now: datetime) -> dict[str, Any]:
    """What is remembered of an attempt; the last good content while there is hope for it."""
    owed, download = found.owed, found.download
    sha256, etag, last_modified = owed.image_sha256, owed.etag, owed.last_modified
    failures = owed.failures + 1
    next_attempt_at: datetime | None = None
    outcome = download.outcome
    if outcome in ("fetched", "unchanged"):
        outcome = "fetched"
        failures = 0
        if download.outcome == "fetched":
            sha256, etag, last_modified = found.image_sha256, download.etag, download.last_modified
    elif outcome == "gone" or download.reason == too_many_bytes(store.quality.max_bytes):
        # The picture that the store shows now is known to be none that can be used.
        sha256 = etag = last_modified = None
    if outcome in ("gone", "failed"):
        step = min(failures, len(TRY_AGAIN_AFTER)) - 1
        next_attempt_at = now + TRY_AGAIN_AFTER[step]
    elif outcome == "refused":
        # A firewall, a name or a certificate may have been put right, and a file made smaller.
        next_attempt_at = now + TRY_AGAIN_AFTER[-1]
    return {
        "store_id": store.id,
        "url": owed.url,
        "outcome": outcome,
        "reason": download.reason,
        "image_sha256": sha256,
        "etag": etag,
        "last_modified": last_modified,
        "image_id": owed.image_id,
        "modified_at": owed.modified_at,
        "failures": failures,
        "attempted_at": now,
        "next_attempt_at": next_attempt_at,
    }


def forget_fetches(connection: Connection, store_id: str, lost: Sequence[str]) -> None:
    """Drop a store's attempts that brought bytes that are gone, so that they are fetched anew."""
    for some in portions(lost):
        connection.execute(
            delete(image_attempts).where(
                image_attempts.c.store_id == store_id, image_attempts.c.image_sha256.in_(some)
            )
        )


def record_gate(connection: Connection, store: StoreConfig, gate: str) -> None:
    """Write down a gate's thresholds, and that a store is judged by another gate than before.

    Args:
        connection: in the transaction that writes the gate's first verdicts for the store.
        store: what is judged.
        gate: the gate's version.
    """
    now = datetime.now(UTC)
    thresholds = store.quality.model_dump(mode="json")
    before = connection.scalar(
        select(image_verdicts.c.gate_version)
        .where(image_verdicts.c.store_id == store.id)
        .order_by(image_verdicts.c.judged_at.desc())
        .limit(1)
    )
    insert_missing(
        connection,
        gates,
        [{"gate_version": gate, "thresholds": thresholds, "created_at": now}],
    )
    if before is None or before == gate:
        return
    known = connection.scalar(select(gates.c.thresholds).where(gates.c.gate_version == before))
    changed = {
        name: [(known or {}).get(name), value]
        for name, value in thresholds.items()
        if (known or {}).get(name) != value
    }
    reason = "its thresholds changed" if changed else "the gate itself changed"
    entry = AuditEntry(now, "stores.yaml", "gate", store.id, gate, reason, {"changed": changed})
    record(connection, entry)
