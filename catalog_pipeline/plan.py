"""What a sync of a store would do after its walk, told without doing any of it.

Every number is asked of the stages' own questions, put to the rows as the sync will first have
decided on them: by new rules, a new gate, and what people approved. What the walk itself will bring
is not known before it is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, bindparam, select, text, update

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.rates import Rates, measured_rates
from catalog_pipeline.catalog.removal_approvals import has_open_approval, use_approval
from catalog_pipeline.catalog.schema import (
    image_verdicts,
    products,
    removal_approvals,
    removal_waits,
    store_states,
)
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.owed import count_owed
from catalog_pipeline.images.owed import (
    Ask,
    count_fetches,
    count_verdicts,
    owed_measurements,
    owed_verdicts,
    placeholder_images,
)
from catalog_pipeline.images.quality import gate_version, judge
from catalog_pipeline.products.archive import Archive, walk_kind
from catalog_pipeline.products.owed import owed_walks
from catalog_pipeline.products.reading import lacks_variations
from catalog_pipeline.products.rules import WantedRules
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.guard import held_back
from catalog_pipeline.vectors.load import LoadCounts, owed_points
from catalog_pipeline.vectors.owed import count_by_reason, unwanted_points, wanted_points

# Walks that the time of the next one is judged by.
_MOST_WALKS = 3
# The columns that rules go by.
_DECIDING = ("status", "type", "visibility", "categories", "tags")


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
        remove: points on record to take out, by reason; the collection itself is not asked.
        removal_limit: how many the guard lets pass unasked.
        removals_wait: whether it holds them back, all of them; no approval lets them go.
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
    removals_wait: bool
    left: int
    walk: WalkTime
    rates: Rates
    seconds: float


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
        _foresee_products(connection, store)
        fetch = count_fetches(connection, Ask(store, scope, datetime.now(UTC)))
        to_judge = count_verdicts(connection, scope, gate_version(store.quality))
        if to_judge:
            _foresee_verdicts(connection, database, store, scope)
        embed = count_owed(connection, scope, model_version)
        remove = count_by_reason(connection, unwanted_points(collection, scope, model_version))
        held = held_back(connection, store, collection, model_version)
        wait = held.count > 0 and not _is_approved(connection, store.id, held.count)
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
    return Plan(
        store_id=store.id,
        watermark=watermark,
        walks=walks,
        fetch=fetched,
        judge=to_judge,
        embed=embed if limit is None else min(embed, limit),
        embed_at_most=embedded,
        load=load,
        refresh=refresh,
        remove=remove,
        removal_limit=held.limit,
        removals_wait=wait,
        left=fetch - fetched,
        walk=walk,
        rates=rates,
        seconds=round(seconds, 1),
    )


def _foresee_products(connection: Connection, store: StoreConfig) -> None:
    """Take in what new rules leave out or let in again, and removals that a person approved."""
    rules = WantedRules(store)
    known = connection.scalar(
        select(store_states.c.rules_digest).where(store_states.c.store_id == store.id)
    )
    moves = [] if known == rules.digest else list(_moved(connection, store.id, rules))
    approved = has_open_approval(connection, store.id, "products")
    if approved or has_open_approval(connection, store.id, "points"):
        _set_apart(connection, removal_approvals, store.id)
    if moves or approved:
        _set_apart(connection, products, store.id)
    if moves:
        of_product = update(products).where(products.c.product_id == bindparam("moved"))
        connection.execute(of_product.values(left_out_by=bindparam("decided")), moves)
    waits = connection.execute(
        select(removal_waits).where(removal_waits.c.store_id == store.id)
    ).all()
    walk_id = waits[0].walk_id if waits else None
    if approved and use_approval(
        connection, store.id, "products", waiting=len(waits), walk_id=walk_id
    ):
        waiting = update(products).where(products.c.product_id == bindparam("gone"))
        connection.execute(
            waiting.values(removed_by=bindparam("reason"), removed_in=walk_id),
            [{"gone": one.product_id, "reason": one.reason} for one in waits],
        )


def _moved(connection: Connection, store_id: str, rules: WantedRules) -> Iterator[dict[str, Any]]:
    names = ("product_id", "left_out_by", *_DECIDING)
    found = connection.execute(
        select(*(products.c[name] for name in names)).where(products.c.store_id == store_id),
        execution_options={"yield_per": 1_000},
    )
    for row in found:
        decided = rules.left_out_by(**{name: getattr(row, name) for name in _DECIDING})
        if decided != row.left_out_by:
            yield {"moved": row.product_id, "decided": decided}


def _foresee_verdicts(
    connection: Connection, database: Database, store: StoreConfig, scope: Scope
) -> None:
    """Take in the gate's word on pictures that are measured and not yet judged by it."""
    _set_apart(connection, image_verdicts, store.id)
    gate = gate_version(store.quality)
    placeholders = placeholder_images(connection, store.id)
    unmeasured = set(owed_measurements(database, store, scope))
    for page in owed_verdicts(database, scope, gate, placeholders):
        rows = []
        for image in page:
            sha256 = image.image_sha256
            if sha256 in unmeasured:
                continue
            verdict = judge(
                image.measurements, store.quality, is_placeholder=sha256 in placeholders
            )
            rows.append(
                {
                    "store_id": store.id,
                    "image_sha256": sha256,
                    "gate_version": gate,
                    "accepted": verdict.accepted,
                    "issues": list(verdict.issues),
                    "judged_at": datetime.now(UTC),
                }
            )
        upsert(connection, image_verdicts, rows)


def _is_approved(connection: Connection, store_id: str, waiting: int) -> bool:
    return has_open_approval(connection, store_id, "points") and use_approval(
        connection, store_id, "points", waiting=waiting, walk_id=None
    )


def _set_apart(connection: Connection, table: Table, store_id: str) -> None:
    """Let one transaction see and change a copy of a store's rows in place of the rows.

    A temporary table comes before the catalogue's own of that name. Nobody else sees it or waits
    for it, and it goes with the transaction, which as one that reads is never committed.
    """
    # No question here asks for descriptions, which are most of a row.
    columns = [one for one in table.columns if one.name != "description"]
    copies = (Column(one.name, one.type, primary_key=one.primary_key) for one in columns)
    apart = Table("apart", MetaData(), *copies, prefixes=["TEMPORARY"])
    apart.create(connection)
    rows = select(*columns).where(table.c.store_id == store_id)
    connection.execute(apart.insert().from_select([one.name for one in columns], rows))
    connection.execute(text(f"ALTER TABLE apart RENAME TO {table.name}"))
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ANALYZE {table.name}"))
        # A statement that was prepared before would still read the catalogue's own.
        connection.execute(text("DISCARD PLANS"))


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
