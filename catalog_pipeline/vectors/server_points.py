"""Reading and writing the points of a collection on a Qdrant server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient, models

from catalog_pipeline.errors import ServiceUnavailableError
from catalog_pipeline.vectors.index import (
    EVERYTHING,
    Payload,
    PointFilter,
    ScoredPoint,
    StoredPoint,
    Vectors,
    check_vectors,
)
from catalog_pipeline.vectors.server_errors import Server

_PAGE = 1000


class ServerPoints:
    """`Points` over a client."""

    def __init__(
        self, client: QdrantClient, collection: str, dimensions: int, server: Server
    ) -> None:
        self._client = client
        self._collection = collection
        self._dimensions = dimensions
        self._errors = server.errors

    def upsert(self, ids: Sequence[UUID], vectors: Vectors, payloads: Sequence[Payload]) -> None:
        """See `Points.upsert`."""
        check_vectors(vectors, (len(ids), self._dimensions))
        if not ids:
            return
        batch = models.Batch(
            ids=[str(point_id) for point_id in ids],
            vectors=vectors.tolist(),
            payloads=list(payloads),
        )
        with self._errors():
            _applied(self._client.upsert(self._collection, batch, wait=True))

    def overwrite_payloads(
        self, ids: Sequence[UUID], payloads: Sequence[Payload]
    ) -> Sequence[UUID]:
        """See `Points.overwrite_payloads`."""
        present = {point.point_id for point in self.retrieve(ids)}
        operations = [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload=payload, points=[str(point_id)])
            )
            for point_id, payload in zip(ids, payloads, strict=True)
            if point_id in present
        ]
        with self._errors():
            if operations:
                results = self._client.batch_update_points(self._collection, operations, wait=True)
                for result in results:
                    _applied(result)
        return [point_id for point_id in ids if point_id not in present]

    def delete(self, ids: Sequence[UUID]) -> None:
        """See `Points.delete`."""
        if not ids:
            return
        selector = models.PointIdsList(points=[str(point_id) for point_id in ids])
        with self._errors():
            _applied(self._client.delete(self._collection, selector, wait=True))

    def count(self, where: PointFilter = EVERYTHING) -> int:
        """See `Points.count`."""
        with self._errors():
            return self._client.count(
                self._collection, count_filter=_filter(where), exact=True
            ).count

    def ids(self, where: PointFilter = EVERYTHING) -> Iterator[Sequence[UUID]]:
        """See `Points.ids`."""
        offset: Any = None
        while True:
            with self._errors():
                records, offset = self._client.scroll(
                    self._collection,
                    scroll_filter=_filter(where),
                    limit=_PAGE,
                    offset=offset,
                    with_payload=False,
                    with_vectors=False,
                )
            if records:
                yield [UUID(str(record.id)) for record in records]
            if offset is None:
                return

    def retrieve(
        self, ids: Sequence[UUID], *, payload: bool = False, vector: bool = False
    ) -> Sequence[StoredPoint]:
        """See `Points.retrieve`."""
        with self._errors():
            records = self._client.retrieve(
                self._collection,
                [str(point_id) for point_id in ids],
                with_payload=payload,
                with_vectors=vector,
            )
        return [
            StoredPoint(
                point_id=UUID(str(record.id)),
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
        with self._errors():
            found = self._client.query_points(
                self._collection,
                query=vector.tolist(),
                query_filter=_filter(where),
                limit=limit,
                with_payload=True,
            )
        return [
            ScoredPoint(UUID(str(point.id)), float(point.score), point.payload or {})
            for point in found.points
        ]


def _applied(result: models.UpdateResult) -> None:
    if result.status != models.UpdateStatus.COMPLETED:
        raise ServiceUnavailableError(
            f"Qdrant took a write but has not applied it yet (status {result.status}); it is "
            "overloaded, or its disk is full"
        )


def _filter(where: PointFilter) -> models.Filter | None:
    must: list[models.Condition] = []

    def any_of(key: str, values: Sequence[Any]) -> models.FieldCondition:
        return models.FieldCondition(
            key=key, match=models.MatchAny(any=[str(value) for value in values])
        )

    for key, values in (
        ("store_id", where.stores),
        ("product_id", where.product_ids),
        ("categories", where.categories),
    ):
        if values:
            must.append(any_of(key, values))
    for key, value in (("currency", where.currency), ("in_stock", where.in_stock)):
        if value is not None:
            must.append(models.FieldCondition(key=key, match=models.MatchValue(value=value)))
    if where.min_price is not None or where.max_price is not None:
        bounds = models.Range(gte=where.min_price, lte=where.max_price)
        must.append(models.FieldCondition(key="price", range=bounds))
    excluded = where.excluded_products
    must_not: list[models.Condition] = [any_of("product_id", excluded)] if excluded else []
    return models.Filter(must=must, must_not=must_not) if must or must_not else None
