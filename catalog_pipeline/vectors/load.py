"""Writing a store's wanted points: Qdrant first, the record of it after Qdrant acknowledged.

The record of what is overwritten goes before Qdrant is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from sqlalchemy import update

from catalog_pipeline.catalog import bulk
from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import points
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.parts import read_vectors
from catalog_pipeline.embeddings.problems import PartError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.index import (
    CollectionSpec,
    Payload,
    PointFilter,
    VectorIndex,
    Vectors,
)
from catalog_pipeline.vectors.owed import count_rows, forget_points, point_id, wanted_points
from catalog_pipeline.vectors.payload import point_payload

# Points in one request, and points between opening and closing the index: opening Qdrant Edge
# costs a tenth of a second and more as it grows, and others wait while it is open.
BATCH = 500
GROUP = 5_000

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass
class LoadCounts:
    """What was done with the points that should be there.

    Attributes:
        seen: points looked at.
        upserted: written with vector and payload.
        payload_refreshed: only the payload was written.
        unchanged: as they should be.
        stale: of the seen, those that keep their last good image while a new one is not ready.
        quarantined: of the seen, those whose product the source now describes in a way that is not
            valid; they show its last valid row.
        withheld: of the seen, those whose new vector was not to be loaded.
        lost: were to be refreshed and are not in the collection; now off the record.
        held: exact number of the store's points in the collection after the last write; None if
            nothing was written.
    """

    seen: int = 0
    upserted: int = 0
    payload_refreshed: int = 0
    unchanged: int = 0
    stale: int = 0
    quarantined: int = 0
    withheld: int = 0
    lost: int = 0
    held: int | None = None


@dataclass(frozen=True, slots=True)
class OwedPoint:
    """A point to write; without `part` only its payload. `is_recorded`: over one of the same id."""

    point_id: UUID
    product_id: UUID
    slot: str
    image_sha256: str
    payload: Payload
    payload_hash: str
    part: str | None
    row: int
    is_recorded: bool


def load_wanted(
    lease: StoreLease,
    files: DataFolder,
    index: VectorIndex,
    spec: CollectionSpec,
    scope: Scope,
    progress: Progress | None,
    *,
    rewrite: bool = False,
    withhold: bool = False,
) -> LoadCounts:
    """Write the points of the lease's store that are new or changed.

    Args:
        lease: the right to write the store.
        files: the data folder, with the vectors.
        index: where the points go.
        spec: the collection.
        scope: the store's pictures that are wanted.
        progress: called with points looked at and points wanted.
        rewrite: write every point that is ready, changed or not.
        withhold: load no vector; only payloads are refreshed.
    """
    counts = LoadCounts()
    wanted = wanted_points(spec.name, scope, spec.model_version)
    total: int | None = None
    with lease.database.read() as connection:
        rows = connection.execute(wanted, execution_options={"yield_per": 1_000})
        owed = owed_points(
            rows, lease.store_id, spec.model_version, counts, rewrite=rewrite, withhold=withhold
        )
        while group := list(islice(owed, GROUP)):
            _write(lease, files, index, spec, group=group, counts=counts)
            if progress is not None:
                # Only now: where nothing is owed, counting would take as long as looking.
                total = count_rows(connection, wanted) if total is None else total
                progress(counts.seen, total)
    if progress is not None:
        progress(counts.seen, counts.seen)
    return counts


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in their order, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def owed_points(
    rows: Iterable[Any],
    store_id: str,
    model_version: str,
    counts: LoadCounts,
    *,
    rewrite: bool = False,
    withhold: bool = False,
) -> Iterator[OwedPoint]:
    """Those of the rows of `wanted_points` that must be written; the others are only counted."""
    for row in rows:
        counts.seen += 1
        if row.image_sha256 is None:
            counts.stale += 1
        if row.is_quarantined:
            counts.quarantined += 1
        sha = row.image_sha256 or row.loaded_sha256
        payload = point_payload(
            row, store_id=store_id, image_sha256=sha, model_version=model_version
        )
        payload_hash = digest(payload)
        # A vector embedded again stands in another part, under the same hash.
        has_vector = sha == row.loaded_sha256 and not (rewrite and row.part is not None)
        if has_vector and payload_hash == row.payload_hash:
            counts.unchanged += 1
            continue
        part, position = (None, 0) if has_vector else (row.part, row.row)
        if withhold and part is not None:
            counts.withheld += 1
            continue
        yield OwedPoint(
            point_id=point_id(row.product_id, row.slot),
            product_id=row.product_id,
            slot=row.slot,
            image_sha256=sha,
            payload=payload,
            payload_hash=payload_hash,
            part=part,
            row=position,
            is_recorded=row.loaded_sha256 is not None,
        )


def _write(
    lease: StoreLease,
    files: DataFolder,
    index: VectorIndex,
    spec: CollectionSpec,
    *,
    group: Sequence[OwedPoint],
    counts: LoadCounts,
) -> None:
    whole = [owed for owed in group if owed.part is not None]
    refreshed = [owed for owed in group if owed.part is None]
    vectors = _vectors(files, whole, spec.dimensions)
    absent: set[UUID] = set()
    with index.session(spec.name) as opened:
        for start in range(0, len(whole), BATCH):
            end = start + BATCH
            _retract(lease, spec.name, whole[start:end])
            opened.upsert(
                [owed.point_id for owed in whole[start:end]],
                vectors[start:end],
                [owed.payload for owed in whole[start:end]],
            )
        for batch in chunks(refreshed, BATCH):
            _retract(lease, spec.name, batch)
            absent.update(
                opened.overwrite_payloads(
                    [owed.point_id for owed in batch], [owed.payload for owed in batch]
                )
            )
        # Counted while it is open: opening it again would cost more than the count.
        counts.held = opened.count(PointFilter(stores=(lease.store_id,)))
    rows = [
        {
            "collection": spec.name,
            "point_id": owed.point_id,
            "store_id": lease.store_id,
            "product_id": owed.product_id,
            "slot": owed.slot,
            "image_sha256": owed.image_sha256,
            "payload_hash": owed.payload_hash,
        }
        for owed in group
        if owed.point_id not in absent
    ]
    with lease.write() as connection:
        bulk.upsert(connection, points, rows)
        forget_points(connection, spec.name, list(absent))
    counts.upserted += len(whole)
    counts.payload_refreshed += len(refreshed) - len(absent)
    counts.lost += len(absent)


def _retract(lease: StoreLease, collection: str, batch: Sequence[OwedPoint]) -> None:
    """Let no record vouch for what is about to be overwritten.

    If we die between Qdrant and the record, and what was to be written is taken back meanwhile, the
    old record would say that all is as it should be. A point without a record is found by the
    collection's count, and an empty hash is no payload's.
    """
    whole = [owed.point_id for owed in batch if owed.is_recorded and owed.part is not None]
    payloads = [owed.point_id for owed in batch if owed.part is None]
    with lease.write() as connection:
        forget_points(connection, collection, whole)
        if payloads:
            connection.execute(
                update(points)
                .where(points.c.collection == collection, points.c.point_id.in_(payloads))
                .values(payload_hash="")
            )


def _vectors(files: DataFolder, owed: Sequence[OwedPoint], dimensions: int) -> Vectors:
    """The vectors of points, each part read once; (len(owed), dimensions)."""
    vectors = np.empty((len(owed), dimensions), dtype=np.float32)
    by_part: dict[str, list[int]] = {}
    for position, point in enumerate(owed):
        if point.part is not None:
            by_part.setdefault(point.part, []).append(position)
    for part, positions in by_part.items():
        shas, found = read_vectors(files, part, [owed[i].row for i in positions])
        if shas != [owed[i].image_sha256 for i in positions] or found.shape[1] != dimensions:
            raise PartError(
                f"{part} holds other images than the database says; bring back the file that "
                "belongs to this database, or remove its rows from embeddings so that its images "
                "are embedded again"
            )
        vectors[positions] = found
    return vectors
