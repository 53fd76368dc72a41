"""A run in five lines: what each stage did, from the metadata that the UI shows too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Metadata = Mapping[str, Any]

_INDENT = 18


def stage_lines(name: str, found: Metadata) -> list[str]:
    """What a stage did, from its materialisation's metadata: the counts, then reasons below."""
    describe = _DESCRIPTIONS.get(name)
    said = [text for text in (describe(found) if describe else ["materialised"]) if text]
    return [f"{name:<{_INDENT}}{said[0]}", *(" " * _INDENT + text for text in said[1:])]


def counts(found: Any) -> dict[str, int]:
    """A table of counts as a dictionary; empty when the metadata has none."""
    if found is None:
        return {}
    return {str(record["reason"]): int(record["count"]) for record in found}


def _walk(found: Metadata) -> list[str]:
    whole = "complete" if found["complete"] else f"not complete: {found.get('reason')}"
    pages = f"{found['pages']:,} page{'' if found['pages'] == 1 else 's'}"
    return [f"{found['products']:,} products in {pages}, {_size(found['bytes'])}, {whole}"]


def _products(found: Metadata) -> list[str]:
    return [
        f"{found['new']:,} new, {found['changed']:,} changed, {found['unchanged']:,} unchanged; "
        f"{found['live']:,} live",
        _listed("removed", counts(found.get("removed"))),
        _listed("waiting for approval to be removed", counts(found.get("waiting"))),
        _listed("left out", counts(found.get("left_out"))),
        _listed("quarantined", counts(found.get("quarantined_by_reason"))),
    ]


def _images(found: Metadata) -> list[str]:
    return [
        f"{found['fetched']:,} fetched, {found['accepted']:,} accepted",
        _listed("rejected", counts(found.get("rejected"))),
        _listed("not fetchable", counts(found.get("refused"))),
        _listed("failed for now", counts(found.get("failed"))),
        f"{found['gone']:,} gone from the store" if found["gone"] else "",
    ]


def _embeddings(found: Metadata) -> list[str]:
    text = f"{found['embedded']:,} embedded, {found['reused']:,} had a vector"
    if found["embedded"]:
        text += (
            f"; {found['images_per_second']:.1f} a second on {found['device']}, "
            f"{found['precision']}"
        )
    return [text, _listed("failed", counts(found.get("failed")))]


def _points(found: Metadata) -> list[str]:
    return [
        f"{found['upserted']:,} upserted, {found['payload_refreshed']:,} refreshed, "
        f"{found['unchanged']:,} unchanged; {found['points']:,} in {found['alias']}",
        _listed("deleted", counts(found.get("deleted"))),
        _listed("waiting for approval", counts(found.get("waiting"))),
    ]


_DESCRIPTIONS = {
    "raw_products": _walk,
    "products": _products,
    "product_images": _images,
    "image_embeddings": _embeddings,
    "qdrant_points": _points,
}


def _listed(what: str, by_reason: Mapping[str, int]) -> str:
    if not by_reason:
        return ""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in by_reason.items())
    return f"{sum(by_reason.values()):,} {what}: {reasons}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
