"""Vector indexes to test with, and small collections for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
from qdrant_client import QdrantClient

from catalog_pipeline.vectors.index import CollectionSpec, Payload, VectorIndex, Vectors
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex
from catalog_pipeline.vectors.qdrant_server import ServerIndex, connect

SERVER_VARIABLE = "CATALOG_TEST_QDRANT_URL"
# The client's local mode stands for a server where none is set.
ENGINES = ("edge", "local client", *(["server"] if SERVER_VARIABLE in os.environ else []))
DIMENSIONS = 8
OWNER = UUID("11111111-1111-4111-8111-111111111111")


@contextmanager
def opened_engine(engine: str, folder: Path) -> Iterator[VectorIndex]:
    """One of `ENGINES`."""
    if engine == "edge":
        yield EdgeIndex(folder / "qdrant", wait_seconds=5)
        return
    if engine == "server":
        client = connect(os.environ[SERVER_VARIABLE], os.environ.get("CATALOG_TEST_QDRANT_API_KEY"))
    else:
        client = QdrantClient(":memory:")
    try:
        yield ServerIndex(client)
    finally:
        client.close()


def new_spec(
    *, dimensions: int = DIMENSIONS, owner: UUID = OWNER, name: str | None = None
) -> CollectionSpec:
    """A collection that no other test uses."""
    return CollectionSpec(name or f"test_{uuid4().hex}__m-1", dimensions, "m-1", owner)


def unit_vectors(count: int, *, seed: int = 0, dimensions: int = DIMENSIONS) -> Vectors:
    """Random directions, (count, dimensions)."""
    drawn = np.random.default_rng(seed).standard_normal((count, dimensions))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def simple_payload(product: UUID, store: str = "atelier", **more: object) -> Payload:
    """What the filters need, and no more."""
    return {"product_id": str(product), "store_id": store, "title": "Dress", **more}


def close_to(found: Vectors | None, expected: Vectors) -> bool:
    """Whether two vectors agree to within what normalising changes."""
    return found is not None and bool(np.allclose(found, expected, rtol=0, atol=1e-6))
