"""Whether a store's vectors are fit to be searched: sound, and found by their own picture."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, func, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import embeddings, images, points
from catalog_pipeline.catalog.verdicts import StoreVerdict
from catalog_pipeline.catalog.wanted import Scope, accepted_images
from catalog_pipeline.embeddings.parts import read_places
from catalog_pipeline.files import DataFolder
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.index import Points, ScoredPoint, VectorIndex

# Of those that are to be loaded; in the order of hashes, so a uniform sample.
MOST_VECTORS = 2_000
# The name of the check that keeps what `own_picture_comes_first` finds.
CHECK = "own_picture_comes_first"
ASKED = 10
ASKED_FOR = "products asked for"
NOT_FINITE = "vectors not finite"
NOT_NORMALISED = "vectors not of length 1"
ALL_ALIKE = "vectors all alike"
NOT_FOUND = "products not found first by their own picture"
# float16 keeps three digits.
_LENGTH_TOLERANCE = 1e-3
# Different photographs of even one kind of thing are further apart by orders of magnitude.
_LEAST_SPREAD = 1e-4
# Fewer say nothing.
_FEWEST_TO_COMPARE = 10
_TIED = 1e-4
_MOST_EXAMPLES = 10
# Measured values that copies of one picture share, however they were saved, in their own units.
_LOOK = ("brightness", "contrast", "shadows", "highlights")


def new_vectors_are_sound(
    database: Database, files: DataFolder, store: StoreConfig, model_version: str, collection: str
) -> StoreVerdict:
    """Whether the vectors that wait to be loaded are finite, of length 1 and not all the same.

    What was loaded has been looked at before, so a run with nothing new reads nothing.

    Raises:
        MissingPartError: a file of vectors is gone.
        PartError: a file of vectors is damaged.
    """
    with database.read() as connection:
        found = _to_be_loaded(connection, store, model_version, collection)
    counts = {"new vectors": len(found)}
    if not found:
        return StoreVerdict(store.id, passed=True, counts=counts)
    vectors = read_places(files, [(one.part, one.row) for one in found])
    wrong = unsound(vectors, [one.look for one in found])
    examples = {
        name: [found[place].image_sha256 for place in places[:_MOST_EXAMPLES]]
        for name, places in wrong.items()
    }
    counts |= {name: len(places) for name, places in wrong.items()}
    return StoreVerdict(store.id, not wrong, counts, examples)


def unsound(vectors: NDArray[np.float32], looks: Sequence[Hashable]) -> dict[str, list[int]]:
    """What is wrong with vectors, with the rows that it is wrong of; nothing for sound ones.

    Args:
        vectors: (n, dimensions) float32.
        looks: (n) what tells the pictures apart: those of one look may be copies of one picture,
            whose vectors are rightly alike.
    """
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    exact = np.where(finite[:, None], vectors, 0).astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1)
    normal = np.abs(lengths - 1) <= _LENGTH_TOLERANCE
    wrong: dict[str, list[int]] = {
        NOT_FINITE: np.flatnonzero(~finite).tolist(),
        NOT_NORMALISED: np.flatnonzero(finite & ~normal).tolist(),
    }
    good = np.flatnonzero(finite & normal)
    different = list({looks[row]: row for row in good.tolist()}.values())
    # The mean of unit vectors has length 1 only if they are one.
    if len(different) >= _FEWEST_TO_COMPARE:
        spread = 1 - float(np.linalg.norm(exact[different].mean(axis=0))) ** 2
        wrong[ALL_ALIKE] = good.tolist() if spread < _LEAST_SPREAD else []
    return {name: rows for name, rows in wrong.items() if rows}


def own_picture_comes_first(
    database: Database,
    files: DataFolder,
    index: VectorIndex,
    store: StoreConfig,
    model_version: str,
    collection: str,
) -> StoreVerdict:
    """Whether a few products are what the collection returns first for their own picture.

    Asked with the vector that stands in the parts, not with the one that the collection holds, so
    a point that carries another picture's vector shows. Products that share the picture tie. A
    store whose points are recorded and cannot be asked for does not pass.

    Raises:
        IndexBusyError: another process holds the embedded index.
        PartError: a file of vectors is damaged or gone.
    """
    with database.read() as connection:
        asked = _asked(connection, store, model_version, collection)
        recorded = 0 if asked else _recorded(connection, store, collection)
    if not asked and not recorded:
        return StoreVerdict(store.id, passed=True, counts={ASKED_FOR: 0})
    if not asked:
        return _cannot_ask(
            store, f"{recorded:,} points are recorded, and none of their pictures has a vector"
        )
    if index.info(collection) is None:
        return _cannot_ask(store, f"points are recorded, and there is no collection {collection}")
    vectors = read_places(files, [(one.part, one.row) for one in asked])
    with index.session(collection) as opened:
        missed = [
            str(one.product_id)
            for one, vector in zip(asked, vectors, strict=True)
            if not _is_first(opened, one, vector)
        ]
    return StoreVerdict(
        store.id,
        not missed,
        {ASKED_FOR: len(asked), NOT_FOUND: len(missed)},
        {NOT_FOUND: missed} if missed else {},
    )


def _cannot_ask(store: StoreConfig, problem: str) -> StoreVerdict:
    return StoreVerdict(store.id, passed=False, counts={ASKED_FOR: 0}, problem=problem)


@dataclass(frozen=True)
class _Asked:
    product_id: UUID
    image_sha256: str
    part: str
    row: int


def _asked(
    connection: Connection, store: StoreConfig, model_version: str, collection: str
) -> list[_Asked]:
    rows = connection.execute(
        select(points.c.product_id, points.c.image_sha256, embeddings.c.part, embeddings.c.row)
        .join(
            embeddings,
            and_(
                embeddings.c.image_sha256 == points.c.image_sha256,
                embeddings.c.model_version == model_version,
            ),
        )
        .where(points.c.collection == collection, points.c.store_id == store.id)
        # Random ids: a choice by chance that stays the same.
        .order_by(points.c.point_id)
        .limit(ASKED)
    )
    return [_Asked(*row) for row in rows]


def _recorded(connection: Connection, store: StoreConfig, collection: str) -> int:
    statement = select(func.count()).where(
        points.c.collection == collection, points.c.store_id == store.id
    )
    return connection.scalar(statement) or 0


def _is_first(opened: Points, one: _Asked, vector: NDArray[np.float32]) -> bool:
    hits = opened.search(vector, ASKED)

    def is_own(hit: ScoredPoint) -> bool:
        return (
            str(hit.payload.get("product_id")) == str(one.product_id)
            or hit.payload.get("image_sha256") == one.image_sha256
        )

    return any(is_own(hit) for hit in hits if hit.score >= hits[0].score - _TIED)


@dataclass(frozen=True)
class _New:
    image_sha256: str
    part: str
    row: int
    look: tuple[int | None, ...]


def _to_be_loaded(
    connection: Connection, store: StoreConfig, model_version: str, collection: str
) -> list[_New]:
    """The vectors of accepted pictures that no point of the store has."""
    accepted = accepted_images(Scope.of(store)).subquery()
    # As a list, which a database makes once: correlated, it reads all points for each vector.
    loaded = select(points.c.image_sha256).where(
        points.c.collection == collection, points.c.store_id == store.id
    )
    rows = connection.execute(
        select(
            embeddings.c.image_sha256, embeddings.c.part, embeddings.c.row, images.c.measurements
        )
        .join(accepted, accepted.c.image_sha256 == embeddings.c.image_sha256)
        .join(images, images.c.image_sha256 == embeddings.c.image_sha256)
        .where(
            embeddings.c.model_version == model_version, embeddings.c.image_sha256.not_in(loaded)
        )
        .order_by(embeddings.c.image_sha256)
        .limit(MOST_VECTORS)
    )
    return [_New(sha, part, row, _look(measured)) for sha, part, row, measured in rows]


def _look(measured: Mapping[str, Any]) -> tuple[int | None, ...]:
    values = (measured.get(name) for name in _LOOK)
    return tuple(None if value is None else round(value) for value in values)
