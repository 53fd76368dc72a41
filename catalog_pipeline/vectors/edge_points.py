"""Reading and writing the points of an open Qdrant Edge shard.

Opening, locking and describing collections is `qdrant_edge`'s. The binding raises bare `Exception`
for all it refuses, so everything that touches it passes through `refusals`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from catalog_pipeline.errors import CatalogError, PermanentError, first_line
from catalog_pipeline.vectors.index import (
    EVERYTHING,
    Payload,
    PointFilter,
    ScoredPoint,
    StoredPoint,
    Vectors,
    check_vectors,
)

_PAGE = 1000


class EdgePoints:
    """`Points` over an open shard."""

    def __init__(self, shard: edge.EdgeShard, dimensions: int) -> None:
        self._shard = shard
        self._dimensions = dimensions

    def upsert(self, ids: Sequence[UUID], vectors: Vectors, payloads: Sequence[Payload]) -> None:
        """See `Points.upsert`."""
        check_vectors(vectors, (len(ids), self._dimensions))
        # The binding reads a buffer as fast as a list of floats, which need not be made then.
        rows: list[Any] = [memoryview(row) for row in np.ascontiguousarray(vectors)]
        with refusals():
            points = [
                edge.Point(point_id, row, payload)
                for point_id, row, payload in zip(ids, rows, payloads, strict=True)
            ]
            self._shard.update(edge.UpdateOperation.upsert_points(points))

    def overwrite_payloads(
        self, ids: Sequence[UUID], payloads: Sequence[Payload]
    ) -> Sequence[UUID]:
        """See `Points.overwrite_payloads`."""
        present = {point.point_id for point in self.retrieve(ids)}
        with refusals():
            for point_id, payload in zip(ids, payloads, strict=True):
                if point_id in present:
                    self._shard.update(edge.UpdateOperation.overwrite_payload([point_id], payload))
        return [point_id for point_id in ids if point_id not in present]

    def delete(self, ids: Sequence[UUID]) -> None:
        """See `Points.delete`."""
        with refusals():
            self._shard.update(edge.UpdateOperation.delete_points(list(ids)))

    def count(self, where: PointFilter = EVERYTHING) -> int:
        """See `Points.count`."""
        with refusals():
            return self._shard.count(edge.CountRequest(exact=True, filter=_filter(where)))

    def ids(self, where: PointFilter = EVERYTHING) -> Iterator[Sequence[UUID]]:
        """See `Points.ids`."""
        offset: Any = None
        while True:
            request = edge.ScrollRequest(
                offset=offset,
                limit=_PAGE,
                filter=_filter(where),
                with_payload=False,
                with_vector=False,
            )
            with refusals():
                records, offset = self._shard.scroll(request)
            if records:
                yield [cast("UUID", record.id) for record in records]
            if offset is None:
                return

    def retrieve(
        self, ids: Sequence[UUID], *, payload: bool = False, vector: bool = False
    ) -> Sequence[StoredPoint]:
        """See `Points.retrieve`."""
        with refusals():
            records = self._shard.retrieve(list(ids), with_payload=payload, with_vector=vector)
        return [
            StoredPoint(
                point_id=cast("UUID", record.id),
                payload=(record.payload or {}) if payload else None,
                vector=np.asarray(record.vector, dtype=np.float32) if vector else None,
            )
            for record in records
        ]

    def search(
        self, vector: Vectors, limit: int, where: PointFilter = EVERYTHING
    ) -> Sequence[ScoredPoint]:
        """See `Points.search`."""
        check_vectors(vector, (self._dimensions,))
        request = edge.QueryRequest(
            query=edge.Query.Nearest(vector.tolist()),
            limit=limit,
            filter=_filter(where),
            with_payload=True,
        )
        with refusals():
            found = self._shard.query(request)
        return [
            ScoredPoint(cast("UUID", point.id), float(point.score), point.payload or {})
            for point in found
        ]


@contextmanager
def refusals() -> Iterator[None]:
    """Turn the bare `Exception` that the binding raises for everything into ours."""
    try:
        yield
    except CatalogError:
        raise
    except Exception as error:
        raise PermanentError(f"Qdrant Edge refused: {first_line(error)}") from error


def _filter(where: PointFilter) -> edge.Filter | None:
    must: list[Any] = []

    def any_of(key: str, values: Sequence[Any]) -> Any:
        return edge.FieldCondition(key, match=edge.MatchAny([str(value) for value in values]))

    for key, values in (
        ("store_id", where.stores),
        ("product_id", where.product_ids),
        ("categories", where.categories),
    ):
        if values:
            must.append(any_of(key, values))
    if where.currency is not None:
        must.append(edge.FieldCondition("currency", match=edge.MatchValue(where.currency)))
    if where.in_stock is not None:
        # The binding takes Python's bool, which is an int, for a number, and then matches nothing.
        value: Any = np.bool_(where.in_stock)
        must.append(edge.FieldCondition("in_stock", match=edge.MatchValue(value)))
    if where.min_price is not None or where.max_price is not None:
        bounds = edge.RangeFloat(gte=where.min_price, lte=where.max_price)
        must.append(edge.FieldCondition("price", range=bounds))
    must_not = [any_of("product_id", where.excluded_products)] if where.excluded_products else None
    return edge.Filter(must=must, must_not=must_not) if must or must_not else None
