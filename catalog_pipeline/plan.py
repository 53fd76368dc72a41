"""What a sync of a store would do after its walk, told without doing any of it.

Every number is asked of the stages' own questions. What the walk itself will bring is not known
before it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.rates import Rates, measured_rates
from catalog_pipeline.catalog.schema import store_states
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.owed import count_owed
from catalog_pipeline.images.owed import Ask, count_fetches, count_verdicts
from catalog_pipeline.images.quality import gate_version
from catalog_pipeline.products.archive import Archive, walk_kind
from catalog_pipeline.products.owed import owed_walks
from catalog_pipeline.products.reading import lacks_variations
from catalog_pipeline.removals import decide
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.load import LoadCounts, owed_points
from catalog_pipeline.vectors.owed import (
    count_by_reason,
    count_rows,
    recorded_points,
    unwanted_points,
    wanted_points,
)

# Walks that the time of the next one is judged by.
_MOST_WALKS = 3


@dataclass(frozen=True)
class WalkTime:
    """About how long the next walk takes, by the last complete ones of its kind; 0 walks: unknown.

    What a walk brings is not known before it is made: a quiet night's says little of a sale.
    """

    kind: str
    seconds: float = 0.0
    walks: int = 0


@dataclass(frozen=True)
class Plan:
    """What is owed of a store.

    Attributes:
        store_id: the store.
        watermark: the walk asks for what changed since then; None asks for everything.
        walks: archived walks whose rows are still to be written.
        fetch: URLs of pictures to ask for.
        judge: pictures to judge, those to be fetched left out.
        embed: pictures to embed, those to be fetched left out.
        embed_at_most: the same if each fetched picture is new and is accepted.
        load: points to write with their vector, as far as it exists.
        refresh: points to write the payload of.
        remove: points to take out, by reason.
        removal_limit: how many the guard lets pass unasked; more than that wait, all of them.
        left: pictures owed beyond `max_images_per_run`.
        walk: the walk that comes before all this.
        rates: what the estimate of time goes by, each with what it stands on.
        seconds: about how long walk and all this take, each fetched picture embedded.
    """

    store_id: str
    watermark: datetime | None
    walks: int
    fetch: int
    judge: int
    embed: int
    embed_at_most: int
    load: int
    refresh: int
    remove: Mapping[str, int]
    removal_limit: int
    left: int
    walk: WalkTime
    rates: Rates
    seconds: float

    @property
    def removals_wait(self) -> bool:
        """Whether the guard holds the removals back."""
        return sum(self.remove.values()) > self.removal_limit


def plan(
    database: Database,
    store: StoreConfig,
    *,
    model_version: str,
    collection: str,
    archive: Archive | None = None,
) -> Plan:
    """Count what the next sync of a store would do, changing nothing.

    Args:
        database: the catalogue.
        store: the store.
        model_version: whose vectors are owed.
        collection: whose points are owed.
        archive: the walks, to count those without rows and to time the next one.

    Raises:
        ArchiveError: the records of a walk are damaged.
        ServiceUnavailableError: the database cannot be reached.
    """
    scope = Scope.of(store)
    counts = LoadCounts()
    with database.read() as connection:
        fetch = count_fetches(connection, Ask(store, scope, datetime.now(UTC)))
        judge = count_verdicts(connection, scope, gate_version(store.quality))
        embed = count_owed(connection, scope, model_version)
        remove = count_by_reason(connection, unwanted_points(collection, scope, model_version))
        recorded = count_rows(connection, recorded_points(collection, store.id))
        watermark = connection.scalar(
            select(store_states.c.watermark).where(store_states.c.store_id == store.id)
        )
        walks = 0 if archive is None else len(owed_walks(connection, archive, store.id))
        rates = measured_rates(connection, store.id)
        wanted = wanted_points(collection, scope, model_version)
        rows = connection.execution_options(yield_per=1_000).execute(wanted)
        load = refresh = 0
        for owed in owed_points(rows, store.id, model_version, counts):
            load += owed.part is not None
            refresh += owed.part is None
    limit = store.max_images_per_run
    fetched = fetch if limit is None else min(fetch, limit)
    embedded = embed + fetched if limit is None else min(embed + fetched, limit)
    walk = _walk_time(archive, store, is_first=watermark is None)
    seconds = (
        walk.seconds
        + rates.fetches.seconds(fetched)
        + (rates.load_seconds + rates.embeddings.seconds(embedded) if embedded else 0.0)
        + rates.points.seconds(load + refresh + embedded)
    )
    share = store.max_removal_share
    return Plan(
        store_id=store.id,
        watermark=watermark,
        walks=walks,
        fetch=fetched,
        judge=judge,
        embed=embed if limit is None else min(embed, limit),
        embed_at_most=embedded,
        load=load,
        refresh=refresh,
        remove=remove,
        removal_limit=decide(sum(remove.values()), recorded, max_share=share).limit,
        left=fetch - fetched,
        walk=walk,
        rates=rates,
        seconds=round(seconds, 1),
    )


def _walk_time(archive: Archive | None, store: StoreConfig, *, is_first: bool) -> WalkTime:
    if archive is None:
        return WalkTime("full" if is_first else "incremental")
    kind = "full" if is_first or lacks_variations(archive, store) else "incremental"
    took: list[float] = []
    for walk_id in reversed(archive.walk_ids(store.id)):
        if walk_kind(walk_id) != kind:
            continue
        walk = archive.open(store.id, walk_id)
        manifest = None if walk is None else walk.manifest
        if manifest is not None and manifest.complete:
            took.append((manifest.finished_at - manifest.started_at).total_seconds())
        if len(took) == _MOST_WALKS:
            break
    return WalkTime(kind, round(sum(took) / len(took), 1) if took else 0.0, len(took))
