"""How fast this deployment works, told by what its own syncs recorded.

A rate that nothing was measured of yet is assumed to be a laptop's, and says so. What is done with
them belongs to whoever plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from catalog_pipeline.catalog.operations_schema import syncs

# The newest runs that are looked at, and as many of them as are added up for a rate.
_LOOKED_AT = 500
_ADDED_UP = 10
# Fewer things than this in a run say more of its beginning and end than of its rate.
_LEAST = {"fetches": 20, "embeddings": 20, "points": 50}

Counts = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Rate:
    """Things in a second; `syncs` is how many runs it was measured in, 0 if it is assumed."""

    per_second: float
    syncs: int = 0

    def seconds(self, things: int) -> float:
        """How long so many of them take."""
        return things / self.per_second


@dataclass(frozen=True)
class Rates:
    """What a sync's time goes by; `load_seconds` are spent once if anything is to be embedded."""

    fetches: Rate = Rate(20.0)
    embeddings: Rate = Rate(4.0)
    points: Rate = Rate(2_000.0)
    load_seconds: float = 5.0


ASSUMED = Rates()


def measured_rates(connection: Connection, store_id: str) -> Rates:
    """The rates of the last syncs; fetching by the store's own, which its server decides.

    Args:
        connection: any connection.
        store_id: the store that is planned.
    """
    newest = select(syncs.c.counts).order_by(syncs.c.updated_at.desc()).limit(_LOOKED_AT)
    of_all: list[Counts] = list(connection.scalars(newest))
    of_store: list[Counts] = list(connection.scalars(newest.where(syncs.c.store_id == store_id)))
    fetched = _rate("fetches", map(_fetches, of_store))
    embedded = _rate("embeddings", map(_embeddings, of_all))
    loads = [
        found["load_seconds"]
        for counts in of_all
        if (found := counts.get("image_embeddings", {})).get("embedded", 0) > 0
        and "load_seconds" in found
    ][:_ADDED_UP]
    return Rates(
        fetches=fetched or _rate("fetches", map(_fetches, of_all)) or ASSUMED.fetches,
        embeddings=embedded or ASSUMED.embeddings,
        points=_rate("points", map(_points, of_all)) or ASSUMED.points,
        load_seconds=sum(loads) / len(loads) if loads else ASSUMED.load_seconds,
    )


def _rate(name: str, measured: Iterable[tuple[float, float]]) -> Rate | None:
    """Things over seconds of the last runs that did enough of them."""
    enough: Sequence[tuple[float, float]] = [
        (things, seconds) for things, seconds in measured if things >= _LEAST[name] and seconds > 0
    ][:_ADDED_UP]
    if not enough:
        return None
    things, seconds = (sum(column) for column in zip(*enough, strict=True))
    return Rate(things / seconds, len(enough))


def _fetches(counts: Counts) -> tuple[float, float]:
    found = counts.get("product_images", {})
    return found.get("fetched", 0) + found.get("unchanged", 0), found.get("seconds", 0)


def _embeddings(counts: Counts) -> tuple[float, float]:
    found = counts.get("image_embeddings", {})
    return found.get("embedded", 0), found.get("seconds", 0) - found.get("load_seconds", 0)


def _points(counts: Counts) -> tuple[float, float]:
    found = counts.get("qdrant_points", {})
    return found.get("upserted", 0) + found.get("payload_refreshed", 0), found.get("seconds", 0)
