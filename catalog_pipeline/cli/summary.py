"""A run in five lines: what each stage did, from the metadata that the UI shows too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Metadata = Mapping[str, Any]

INDENT = 18


def stage_lines(name: str, found: Metadata) -> list[str]:
    """What a stage did, from its materialisation's metadata: the counts, then reasons below."""
    describe = _DESCRIPTIONS.get(name)
    said = [text for text in (describe(found) if describe else ["materialised"]) if text]
    return [f"{name:<{INDENT}}{said[0]}", *(" " * INDENT + text for text in said[1:])]


def counts(found: Any) -> dict[str, int]:
    """A table of counts as a dictionary; empty when the metadata has none, or a 0."""
    if not found:
        return {}
    return {str(record["reason"]): int(record["count"]) for record in found}


def _walk(found: Metadata) -> list[str]:
    whole = "complete" if found["complete"] else f"not complete: {found.get('reason')}"
    pages = f"{found['pages']:,} page{'' if found['pages'] == 1 else 's'}"
    return [f"{found['products']:,} products in {pages}, {size(found['bytes'])}, {whole}"]


def _products(found: Metadata) -> list[str]:
    return [
        f"{found['new']:,} new, {found['changed']:,} changed, {found['unchanged']:,} unchanged; "
        f"{found['live']:,} live",
        listed("removed", counts(found.get("removed"))),
        listed("waiting for approval to be removed", counts(found.get("waiting"))),
        listed("left out", counts(found.get("left_out"))),
        listed("quarantined", counts(found.get("quarantined_by_reason"))),
    ]


def _images(found: Metadata) -> list[str]:
    accepted = f"{found['accepted']:,} accepted"
    if found["accepted_distinct"] != found["accepted"]:
        accepted += f" ({found['accepted_distinct']:,} different pictures)"
    return [
        f"{found['fetched']:,} fetched, {accepted}",
        listed("rejected", counts(found.get("rejected"))),
        listed("not fetchable", counts(found.get("refused"))),
        listed("failed for now", counts(found.get("failed"))),
        f"{found['gone']:,} gone from the store" if found["gone"] else "",
    ]


def _embeddings(found: Metadata) -> list[str]:
    text = f"{found['embedded']:,} embedded, {found['reused']:,} had a vector"
    if found["embedded"]:
        text += (
            f"; {found['images_per_second']:.1f} a second on {found['device']}, "
            f"{found['precision']}"
        )
    return [text, listed("failed", counts(found.get("failed")))]


def _points(found: Metadata) -> list[str]:
    return [
        f"{found['upserted']:,} upserted, {found['payload_refreshed']:,} refreshed, "
        f"{found['unchanged']:,} unchanged; {found['points']:,} in {found['alias']}",
        listed("deleted", counts(found.get("deleted"))),
        listed("waiting for approval", counts(found.get("waiting"))),
    ]


_DESCRIPTIONS = {
    "raw_products": _walk,
    "products": _products,
    "product_images": _images,
    "image_embeddings": _embeddings,
    "qdrant_points": _points,
}


def listed(what: str, by_reason: Mapping[str, int]) -> str:
    """A count with its reasons: 5 rejected: blurry 3, too small 2; empty if there are none."""
    if not by_reason:
        return ""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in by_reason.items())
    return f"{sum(by_reason.values()):,} {what}: {reasons}"


def size(count: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


def duration(seconds: float) -> str:
    """A time as people estimate it."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"
