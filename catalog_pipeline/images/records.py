"""What is written down of an attempt and of an image: rows, and how long until the next attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

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
    is_too_big = download.reason == too_many_bytes(store.quality.max_bytes)
    if outcome in ("fetched", "unchanged"):
        outcome = "fetched"
        failures = 0
        if download.outcome == "fetched":
            sha256, etag, last_modified = found.image_sha256, download.etag, download.last_modified
    elif outcome == "gone" or is_too_big:
        # The picture that the store shows now is known to be none that can be used.
        sha256 = etag = last_modified = None
    if outcome in ("gone", "failed"):
        step = min(failures, len(TRY_AGAIN_AFTER)) - 1
        next_attempt_at = now + TRY_AGAIN_AFTER[step]
    elif outcome == "refused" and not is_too_big:
        # A firewall, a name or a certificate may have been put right.
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
