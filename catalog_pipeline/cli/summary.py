"""A run in five lines: what each stage did, from the metadata that the UI shows too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Metadata = Mapping[str, Any]


def stage_lines(stages: Mapping[str, Metadata]) -> Iterator[str]:
    """One line for each stage that materialised, in the order of the pipeline."""
    for name, describe in _DESCRIPTIONS.items():
        if name in stages:
            yield f"{name:<17} {describe(stages[name])}"


def counts(found: Any) -> dict[str, int]:
    """A table of counts, as a dictionary; empty when the metadata has none."""
    if found is None:
        return {}
    return {str(record["what"]): int(record["count"]) for record in table_records(found)}


def table_records(found: Any) -> list[dict[str, Any]]:
    """The rows of a metadata table."""
    return [dict(record.data) for record in found]


def _walk(found: Metadata) -> str:
    whole = "complete" if found["complete"] else f"not complete: {found.get('reason')}"
    return (
        f"{found['ids']:,} products in {found['pages']:,} pages, {_size(found['bytes'])}, {whole}"
    )


def _products(found: Metadata) -> str:
    text = (
        f"{found['new']:,} new, {found['changed']:,} changed, {found['unchanged']:,} unchanged; "
        f"{found['live']:,} live"
    )
    text += _listed("left out", counts(found.get("left_out")))
    return text + _listed("quarantined", counts(found.get("quarantined_by_reason")))


def _images(found: Metadata) -> str:
    text = f"{found['fetched']:,} fetched, {found['accepted']:,} accepted"
    text += _listed("rejected", counts(found.get("rejected")))
    return text + _listed("not fetched", counts(found.get("failed")))


def _embeddings(found: Metadata) -> str:
    text = f"{found['embedded']:,} embedded, {found['reused']:,} had a vector"
    if found["embedded"]:
        text += (
            f"; {found['images_per_second']:.1f} a second on {found['device']}, "
            f"{found['precision']}"
        )
    return text + _listed("failed", counts(found.get("failed")))


def _points(found: Metadata) -> str:
    text = (
        f"{found['upserted']:,} upserted, {found['payload_refreshed']:,} refreshed, "
        f"{found['unchanged']:,} unchanged; {found['points']:,} in {found['alias']}"
    )
    text += _listed("deleted", counts(found.get("deleted")))
    return text + _listed("waiting for approval", counts(found.get("waiting")))


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
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in by_reason.items())
    return f"; {sum(by_reason.values()):,} {what} ({reasons})"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
