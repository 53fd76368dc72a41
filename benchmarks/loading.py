"""`load`: points into Qdrant Edge through the last stage, against handing them over directly.

The stage reads rows and vectors, makes payloads, writes the points and records them. The limit has
vectors and payloads in memory, builds the same points and hands them to a shard with the same
indexes; it, too, ends with everything on the disk.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import qdrant_edge as edge
from sqlalchemy import Table, delete

from benchmarks.harness import interleaved
from benchmarks.no_model import NO_MODEL
from benchmarks.rows import (
    STORE,
    attempt_row,
    image_sha256,
    picture_row,
    product_row,
    verdict_row,
)
from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease, hold_store
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    points,
    product_images,
    products,
)
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.parts import MAX_VECTORS, Vectors, write_part
from catalog_pipeline.files import DataFolder
from catalog_pipeline.stores import SecretSource, StoreConfig
from catalog_pipeline.vectors.index import INDEXED_FIELDS, TENANT_FIELD, Payload
from catalog_pipeline.vectors.load import BATCH
from catalog_pipeline.vectors.owed import wanted_points
from catalog_pipeline.vectors.payload import point_payload
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex
from catalog_pipeline.vectors.sync import sync_points

POINTS: Final = 20_000
POINTS_QUICK: Final = 2_000
LEAST_RATIO: Final = 0.45
_CHUNK: Final = 1_000


def run(repeats: int, *, quick: bool) -> dict[str, Any]:
    """Points a second of both contenders."""
    number = POINTS_QUICK if quick else POINTS
    with tempfile.TemporaryDirectory(prefix="catalog-bench-") as name:
        work = Path(name)
        database = Database(f"sqlite:///{work / 'catalog.sqlite'}")
        database.migrate()
        files = DataFolder(str(work / "data"))
        with hold_store(database, STORE, "benchmark") as lease:
            vectors = _fill(lease, files, number)
            ids, payloads = _in_memory(database)

            def ours() -> float:
                _forget(lease)
                with tempfile.TemporaryDirectory(dir=work) as folder:
                    return _load_by_stage(lease, files, Path(folder), number)

            def limit() -> float:
                with tempfile.TemporaryDirectory(dir=work) as folder:
                    return _load_directly(Path(folder) / "shard", ids, vectors, payloads)

            seconds = interleaved({"limit": limit, "ours": ours}, repeats)
        database.dispose()
    ratio = seconds["limit"] / seconds["ours"]
    return {
        "points": number,
        "dimensions": NO_MODEL.dimensions,
        "points_per_second": round(number / seconds["ours"]),
        "limit_points_per_second": round(number / seconds["limit"]),
        "ratio": round(ratio, 3),
        "least_ratio": LEAST_RATIO,
        "passed": ratio >= LEAST_RATIO,
    }


def _load_by_stage(lease: StoreLease, files: DataFolder, folder: Path, number: int) -> float:
    store = StoreConfig(
        id=STORE,
        url="https://shop.example.com",
        consumer_key=SecretSource(env="UNUSED"),
        consumer_secret=SecretSource(env="UNUSED"),
    )
    index = EdgeIndex(folder)
    started = time.perf_counter()
    report = sync_points(
        lease,
        files,
        index,
        store,
        NO_MODEL,
        alias="products",
        deployment_id=lease.database.deployment_id(),
    )
    seconds = time.perf_counter() - started
    if not report.points == report.recorded == number:
        raise RuntimeError(f"{report.points} points and {report.recorded} records, not {number}")
    return seconds


def _load_directly(
    folder: Path, ids: Sequence[Any], vectors: Vectors, payloads: Sequence[Payload]
) -> float:
    config = edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=NO_MODEL.dimensions, distance=edge.Distance.Cosine),
        payload_memory=edge.Memory.Cold,
        wal_enabled=True,
    )
    started = time.perf_counter()
    shard = edge.EdgeShard.create(str(folder), config)
    for field, kind in INDEXED_FIELDS.items():
        schema = (
            edge.KeywordIndexParams(is_tenant=True)
            if field == TENANT_FIELD
            else getattr(edge.PayloadSchemaType, kind.title())
        )
        shard.update(edge.UpdateOperation.create_field_index(field, schema))
    for start in range(0, len(ids), BATCH):
        # As a buffer, which the binding takes in faster than the list it says it wants.
        rows: list[Any] = [memoryview(vector) for vector in vectors[start : start + BATCH]]
        batch = [
            edge.Point(point_id, row, payload)
            for point_id, row, payload in zip(
                ids[start : start + BATCH],
                rows,
                payloads[start : start + BATCH],
                strict=True,
            )
        ]
        shard.update(edge.UpdateOperation.upsert_points(batch))
    shard.flush()
    shard.close()
    return time.perf_counter() - started


def _in_memory(database: Database) -> tuple[list[Any], list[Payload]]:
    """Ids and payloads of what the stage will load, in the order of the vectors."""
    with database.read() as connection:
        rows = connection.execute(wanted_points("none", Scope(STORE), NO_MODEL.model_version)).all()
    by_number = sorted(rows, key=lambda row: int(row.external_id))
    version = NO_MODEL.model_version
    return [row.product_id for row in by_number], [
        point_payload(row, store_id=STORE, image_sha256=row.image_sha256, model_version=version)
        for row in by_number
    ]


def _forget(lease: StoreLease) -> None:
    with lease.write() as connection:
        connection.execute(delete(points))


def _fill(lease: StoreLease, files: DataFolder, number: int) -> Vectors:
    """A store after its first four stages; the vectors (number, dimensions) in its order."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((number, NO_MODEL.dimensions), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for start in range(0, number, MAX_VECTORS):
        numbers = range(start, min(start + MAX_VECTORS, number))
        part = write_part(
            files,
            NO_MODEL.model_version,
            [image_sha256(n) for n in numbers],
            vectors[numbers.start : numbers.stop],
        )
        _write(
            lease,
            embeddings,
            [
                {
                    "image_sha256": image_sha256(n),
                    "model_version": NO_MODEL.model_version,
                    "part": part,
                    "row": n - start,
                }
                for n in numbers
            ],
        )
    for table, row in (
        (products, product_row),
        (product_images, picture_row),
        (image_attempts, attempt_row),
        (image_verdicts, verdict_row),
    ):
        _write(lease, table, [row(n) for n in range(number)])
    return vectors


def _write(lease: StoreLease, table: Table, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), _CHUNK):
        with lease.write() as connection:
            upsert(connection, table, rows[start : start + _CHUNK])
