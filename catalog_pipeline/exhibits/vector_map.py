"""A store's vectors in two dimensions, coloured by category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Select, and_, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.schema import embeddings, image_attempts, products
from catalog_pipeline.catalog.wanted import (
    MAIN_SLOT,
    Scope,
    is_accepted,
    wanted_images,
    with_verdicts,
)
from catalog_pipeline.drawing.plots import draw_map
from catalog_pipeline.embeddings.parts import read_vectors
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.files import DataFolder
from catalog_pipeline.stores import StoreConfig

# Enough to see the shape; taken in the order of hashes, so a uniform sample.
MOST_VECTORS = 1_500
MAP_BYTES = 12_000
NO_CATEGORY = "no category"


def vector_map(
    database: Database, files: DataFolder, store: StoreConfig, model_version: str
) -> Exhibit | None:
    """The vectors of the products' main pictures; None while there are fewer than three."""
    with database.read() as connection:
        found = connection.execute(_vectors(store, model_version)).all()
    if len(found) < 3:
        return None
    groups = [row.categories[0]["name"] if row.categories else NO_CATEGORY for row in found]
    shown = [[row.image_sha256, group] for row, group in zip(found, groups, strict=True)]

    def draw() -> Image.Image:
        return draw_map(_read(files, [(row.part, row.row) for row in found]), groups)

    title = f"Vectors of {len(found):,} products by category"
    return Exhibit(title, digest([model_version, shown]), MAP_BYTES, draw)


def _vectors(store: StoreConfig, model_version: str) -> Select[Any]:
    wanted = wanted_images(Scope.of(store)).subquery()
    source = with_verdicts(
        image_attempts.join(
            wanted,
            and_(image_attempts.c.store_id == store.id, image_attempts.c.url == wanted.c.url),
        ),
        store.id,
    )
    return (
        select(
            image_attempts.c.image_sha256,
            products.c.categories,
            embeddings.c.part,
            embeddings.c.row,
        )
        .select_from(
            source.join(products, products.c.product_id == wanted.c.product_id).join(
                embeddings,
                and_(
                    embeddings.c.image_sha256 == image_attempts.c.image_sha256,
                    embeddings.c.model_version == model_version,
                ),
            )
        )
        .where(wanted.c.slot == MAIN_SLOT, is_accepted())
        .order_by(image_attempts.c.image_sha256, products.c.product_id)
        .limit(MOST_VECTORS)
    )


def _read(files: DataFolder, places: Sequence[tuple[str, int]]) -> np.typing.NDArray[np.float32]:
    """The vectors at these parts and rows, in the same order; each part is opened once."""
    by_part: dict[str, list[int]] = defaultdict(list)
    for place, (part, _) in enumerate(places):
        by_part[part].append(place)
    vectors: list[Any] = [None] * len(places)
    for part, here in by_part.items():
        _, read = read_vectors(files, part, [places[place][1] for place in here])
        for place, vector in zip(here, read, strict=True):
            vectors[place] = vector
    return np.stack(vectors)
