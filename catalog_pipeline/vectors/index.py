"""What the pipeline asks of a vector index, whichever engine is behind it.

Here is the protocol with its values and errors, and the checks that every engine owes. How an
engine keeps its promises is in `qdrant_edge` and `qdrant_server`; which points should exist is
decided in `sync`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from catalog_pipeline.errors import PermanentError, ServiceUnavailableError

Vectors = NDArray[np.float32]
Payload = dict[str, Any]

# Payload fields that every collection indexes; the first is the tenant that points are grouped by.
TENANT_FIELD = "store_id"
INDEXED_FIELDS: Mapping[str, Literal["keyword", "float", "bool"]] = {
    TENANT_FIELD: "keyword",
    "product_id": "keyword",
    "price": "float",
    "currency": "keyword",
    "categories": "keyword",
    "in_stock": "bool",
}


class OwnershipError(PermanentError):
    """The collection belongs to another deployment, or to none that is known."""


class CollectionMismatchError(PermanentError):
    """A collection of the right name has another vector size, distance or model."""


class CollectionMissingError(PermanentError):
    """There is no such collection."""


class InvalidVectorsError(PermanentError):
    """Vectors of the wrong shape, or with values that are not finite."""


class IndexBusyError(ServiceUnavailableError):
    """Another process holds the embedded index for longer than we wait; the message names it."""


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a collection must be: cosine vectors of one model, owned by one deployment."""

    name: str
    dimensions: int
    model_version: str
    deployment_id: UUID


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a collection is; `problem` says what is wrong when `status` is red."""

    name: str
    status: Literal["green", "yellow", "grey", "red"]
    dimensions: int
    distance: str
    owner: UUID | None
    model_version: str | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PointFilter:
    """Conditions that must all hold; a tuple holds alternatives, an empty one asks nothing.

    Prices are inclusive, in the payload's currency; a point without a price is in no price range.
    """

    stores: tuple[str, ...] = ()
    product_ids: tuple[UUID, ...] = ()
    excluded_products: tuple[UUID, ...] = ()
    categories: tuple[str, ...] = ()
    currency: str | None = None
    min_price: float | None = None
    max_price: float | None = None
    in_stock: bool | None = None


EVERYTHING = PointFilter()


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as the index holds it; what was not asked for is None.

    `vector` is float32 of length 1, since a cosine collection normalises what it is given.
    """

    point_id: UUID
    payload: Payload | None
    vector: Vectors | None


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """A search result; `score` is the cosine similarity."""

    point_id: UUID
    score: float
    payload: Payload


class Points(Protocol):
    """One collection, open for reading and writing.

    Every method raises ServiceUnavailableError when the engine cannot be reached, and
    PermanentError for what it refuses.
    """

    def upsert(self, ids: Sequence[UUID], vectors: Vectors, payloads: Sequence[Payload]) -> None:
        """Write whole points, over any of the same id.

        Args:
            ids: distinct.
            vectors: float32 of shape (len(ids), dimensions).
            payloads: one for each id.

        Raises:
            InvalidVectorsError: wrong shape, or a value that is not finite; nothing was written.
        """
        ...

    def overwrite_payloads(
        self, ids: Sequence[UUID], payloads: Sequence[Payload]
    ) -> Sequence[UUID]:
        """Replace payloads, leaving vectors alone; returns the ids that are not there."""
        ...

    def delete(self, ids: Sequence[UUID]) -> None:
        """Delete points; absent ones are no error."""
        ...

    def count(self, where: PointFilter = EVERYTHING) -> int:
        """The exact number of points."""
        ...

    def ids(self, where: PointFilter = EVERYTHING) -> Iterator[Sequence[UUID]]:
        """The ids of points, in pages."""
        ...

    def retrieve(
        self, ids: Sequence[UUID], *, payload: bool = False, vector: bool = False
    ) -> Sequence[StoredPoint]:
        """Those of the points that are there, in no particular order."""
        ...

    def search(
        self, vector: Vectors, limit: int, where: PointFilter = EVERYTHING
    ) -> Sequence[ScoredPoint]:
        """The points nearest to a vector of shape (dimensions,), best first."""
        ...


class VectorIndex(Protocol):
    """Collections and the aliases that readers know them by."""

    def ensure(self, spec: CollectionSpec, alias: str) -> None:
        """Make sure of a collection with its payload indexes; safe to call at every sync.

        The alias is created when there is none of that name, and never moved.

        Raises:
            OwnershipError: the collection carries another deployment's id.
            CollectionMismatchError: it has another size, distance or model; it is left alone.
        """
        ...

    def adopt(self, collection: str, deployment_id: UUID) -> None:
        """Make a collection this deployment's own; only ever by a person's explicit command.

        Raises:
            CollectionMissingError: there is no such collection.
        """
        ...

    def resolve(self, alias: str) -> str | None:
        """The collection that an alias stands for."""
        ...

    def info(self, collection: str) -> CollectionInfo | None:
        """What a collection is, or None when it does not exist; opens nothing."""
        ...

    def session(self, collection: str) -> AbstractContextManager[Points]:
        """The collection, open for a group of batches or a query, never for a whole run.

        What was written is on disk when the block ends without an error. Sessions do not nest.

        Raises:
            CollectionMissingError: there is no such collection.
            IndexBusyError: another process holds the embedded index.
        """
        ...


def collection_name(alias: str, model_version: str) -> str:
    """The name of the collection behind an alias that holds one model's vectors."""
    return f"{alias}__{re.sub(r'[^A-Za-z0-9._-]+', '-', model_version)}"


def check_collection(found: CollectionInfo, spec: CollectionSpec) -> None:
    """Hold a collection that exists against what it must be.

    Raises:
        OwnershipError: it carries another deployment's id, or none.
        CollectionMismatchError: it has another size, distance or model.
    """
    wanted = (spec.dimensions, "cosine", spec.model_version)
    # A collection of unknown model was made by hand: its owner is unknown too, and that is said.
    has = (found.dimensions, found.distance.lower(), found.model_version or spec.model_version)
    if has != wanted:
        raise CollectionMismatchError(
            f"collection {spec.name} holds {has[0]}-d vectors of {has[2]} by {has[1]} distance, "
            f"but {wanted[0]}-d vectors of {wanted[2]} by cosine are to be loaded; set "
            "CATALOG_COLLECTION to another name, or delete that collection yourself"
        )
    if found.owner != spec.deployment_id:
        owner = f"deployment {found.owner}" if found.owner else "no deployment that it names"
        raise OwnershipError(
            f"collection {spec.name} belongs to {owner}, this database is deployment "
            f"{spec.deployment_id}; nothing was written. Point CATALOG_DATABASE_URL (or "
            "CATALOG_DATA_DIR) at the database that fills it, set CATALOG_COLLECTION to another "
            f"name, or, if its database is gone for good: catalog adopt {spec.name}"
        )


def check_vectors(vectors: Vectors, shape: tuple[int, ...]) -> None:
    """Refuse vectors that an engine might take silently.

    Raises:
        InvalidVectorsError: another shape or type, or a value that is not finite.
    """
    if vectors.dtype != np.float32 or vectors.shape != shape:
        raise InvalidVectorsError(
            f"vectors are {vectors.dtype} of shape {vectors.shape}; expected float32 of {shape}"
        )
    if not np.isfinite(vectors).all():
        raise InvalidVectorsError(
            "vectors hold values that are not finite (NaN or infinity): the model's output is "
            "broken, so nothing of this batch was written"
        )
