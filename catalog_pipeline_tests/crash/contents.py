"""What a deployment holds of the stores as they are now, and how two of them differ.

Left out is what may differ between two that agree: ids of runs and walks, attempts, clocks, names
of parts, and what stayed behind of products and pictures that the store shows no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Select, Table, select, tuple_

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import (
    embeddings,
    image_attempts,
    image_verdicts,
    images,
    leases,
    points,
    product_images,
    products,
    quarantine,
    store_states,
)
from catalog_pipeline.embeddings.parts import read_vectors
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import has_blob
from catalog_pipeline.settings import load_settings
from catalog_pipeline.vectors.index import PointFilter, Vectors
from catalog_pipeline.vectors.open import open_index

_TOLERANCE = 1e-6
_INCIDENTAL = {
    "walk_id",
    "first_walk_id",
    "watermark",
    "quarantined_at",
    "attempted_at",
    "next_attempt_at",
    "measured_at",
    "judged_at",
    "failures",
}

Rows = dict[tuple[object, ...], dict[str, Any]]


@dataclass(frozen=True)
class Contents:
    """Rows by table and key; the vector of each picture; payload and vector of each point."""

    tables: Mapping[str, Rows]
    vectors: Mapping[str, Vectors]
    payloads: Mapping[UUID, Mapping[str, Any]]
    point_vectors: Mapping[UUID, Vectors]


def rows_of(environ: Mapping[str, str]) -> dict[str, Rows]:
    """The rows of a deployment's tables."""
    database = Database(load_settings(environ).database)
    if database.schema_version() is None:
        return {}
    try:
        with database.read() as connection:
            return _rows(connection)
    finally:
        database.dispose()


def _rows(connection: Connection) -> dict[str, Rows]:
    # Rows of products that are gone stay, and pictures that nobody shows any more.
    live = select(products.c.product_id).where(products.c.removed_by.is_(None))
    shown = select(product_images.c.url).where(
        product_images.c.position == 0,
        product_images.c.product_id.in_(live.where(products.c.left_out_by.is_(None))),
    )
    attempts = select(image_attempts).where(image_attempts.c.url.in_(shown))
    shas = attempts.with_only_columns(image_attempts.c.image_sha256).where(
        image_attempts.c.image_sha256.is_not(None)
    )
    statements: dict[Table, Select[Any]] = {
        products: select(products).where(products.c.removed_by.is_(None)),
        product_images: select(product_images).where(product_images.c.product_id.in_(live)),
        # A record without an id is called by its place in a walk.
        quarantine: select(quarantine).where(~quarantine.c.external_id.contains("#")),
        image_attempts: attempts,
        images: select(images).where(images.c.image_sha256.in_(shas)),
        # A store's verdict on a picture that it shows no more stays, also where another shows it.
        image_verdicts: select(image_verdicts).where(
            tuple_(image_verdicts.c.store_id, image_verdicts.c.image_sha256).in_(
                attempts.with_only_columns(image_attempts.c.store_id, image_attempts.c.image_sha256)
            )
        ),
        points: select(points),
        store_states: select(store_states),
    }
    return {
        table.name: {
            tuple(row[column.name] for column in table.primary_key): {
                name: value for name, value in row.items() if name not in _INCIDENTAL
            }
            for row in connection.execute(statement).mappings()
        }
        for table, statement in statements.items()
    }


def contents_of(environ: Mapping[str, str]) -> Contents:
    """All that counts in a deployment.

    Raises:
        AssertionError: it contradicts itself: a damaged or missing blob, a store still held.
    """
    settings = load_settings(environ)
    files = DataFolder(settings.data_dir)
    for name in files.walk("images"):
        assert hashlib.sha256(files.read(name)).hexdigest() == name.rsplit("/", 1)[1], name
    tables = rows_of(environ)
    for (sha,) in tables["images"]:
        assert has_blob(files, str(sha)), sha
    database = Database(settings.database)
    try:
        with database.read() as connection:
            held = connection.scalars(select(leases.c.owner).where(leases.c.owner.is_not(None)))
            assert not held.all()
            (collection,) = connection.scalars(select(points.c.collection).distinct())
            places = connection.execute(select(embeddings).order_by(embeddings.c.part)).all()
    finally:
        database.dispose()
    shown = {str(sha) for (sha,) in tables["images"]}
    with open_index(settings) as index, index.session(collection) as opened:
        ids = [one for page in opened.ids(PointFilter()) for one in page]
        found = opened.retrieve(ids, payload=True, vector=True)
    return Contents(
        tables=tables,
        vectors=_vectors(files, [place for place in places if place.image_sha256 in shown]),
        payloads={point.point_id: point.payload or {} for point in found},
        point_vectors={point.point_id: point.vector for point in found if point.vector is not None},
    )


def _vectors(files: DataFolder, places: Iterable[Any]) -> dict[str, Vectors]:
    by_part: dict[str, list[Any]] = {}
    for place in places:
        by_part.setdefault(place.part, []).append(place)
    found: dict[str, Vectors] = {}
    for part, those in by_part.items():
        shas, vectors = read_vectors(files, part, [place.row for place in those])
        assert shas == [place.image_sha256 for place in those], part
        found.update(zip(shas, vectors, strict=True))
    return found


def differing_rows(expected: Mapping[str, Rows], found: Mapping[str, Rows]) -> dict[str, list[str]]:
    """Rows by table that are missing, superfluous or other than expected, in words."""
    return {
        table: different
        for table, rows in expected.items()
        if (different := _different(rows, found.get(table, {})))
    }


def differences(expected: Contents, found: Contents) -> list[str]:
    """How a deployment differs from what it should hold, in words; empty where it does not."""
    told = [
        f"{table}: {line}"
        for table, lines in differing_rows(expected.tables, found.tables).items()
        for line in lines
    ]
    told += [f"payload: {line}" for line in _different(expected.payloads, found.payloads)]
    told += _far(expected.vectors, found.vectors, "vector of image")
    told += _far(expected.point_vectors, found.point_vectors, "vector of point")
    for point, payload in found.payloads.items():
        vector = found.vectors.get(str(payload["image_sha256"]))
        if vector is None or not _is_near(found.point_vectors[point], _unit(vector)):
            told.append(f"point {point} does not hold the vector of its image")
    return told


def _different(expected: Mapping[Any, Any], found: Mapping[Any, Any]) -> list[str]:
    return [
        *(f"{key} is missing" for key in expected.keys() - found.keys()),
        *(f"{key} is superfluous" for key in found.keys() - expected.keys()),
        *(
            f"{key} has {_changed(expected[key], found[key])}"
            for key in expected.keys() & found.keys()
            if expected[key] != found[key]
        ),
    ]


def _changed(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    names: Collection[str] = expected.keys() | found.keys()
    return ", ".join(
        f"{name} {found.get(name)!r} for {expected.get(name)!r}"
        for name in sorted(names)
        if expected.get(name) != found.get(name)
    )


def _far(expected: Mapping[Any, Vectors], found: Mapping[Any, Vectors], what: str) -> list[str]:
    told = [f"{what} {key} is missing" for key in expected.keys() - found.keys()]
    told += [
        f"{what} {key} is another"
        for key in expected.keys() & found.keys()
        if not _is_near(expected[key], found[key])
    ]
    return told


def _is_near(one: Vectors, other: Vectors) -> bool:
    return bool(np.allclose(one, other, rtol=0, atol=_TOLERANCE))


def _unit(vector: Vectors) -> Vectors:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
