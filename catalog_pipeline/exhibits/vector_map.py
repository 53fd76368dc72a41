"""A store's vectors in two dimensions, coloured by category."""

from __future__ import annotations

from typing import Any

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
from catalog_pipeline.embeddings.parts import read_places
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.files import DataFolder
from catalog_pipeline.stores import StoreConfig

# Enough to see the shape; taken in the order of hashes, so a uniform sample.
MOST_VECTORS = 400
MAP_BYTES = 12_000
NO_CATEGORY = "no category"
TITLE = "Pictures that look alike to the model lie close together; colours are categories"


def vector_map(
    database: Database, files: DataFolder, store: StoreConfig, model_version: str
) -> Exhibit | None:
    """The vectors of the products' main pictures; None while there are fewer than three."""
    with database.read() as connection:
        found = connection.execute(_vectors(store, model_version)).all()
    if len(found) < 3:
        return None
    groups = [row.categories[0]["name"] if row.categories else NO_CATEGORY for row in found]
    shown = [
        [row.image_sha256, row.vector_digest, group]
        for row, group in zip(found, groups, strict=True)
    ]

    counted = "products" if len(found) < MOST_VECTORS else f"{MOST_VECTORS:,} of the products"

    def draw() -> Image.Image:
        vectors = read_places(files, [(row.part, row.row) for row in found])
        return draw_map(vectors, groups, title=TITLE, grouped_by=f"category ({counted})")

    title = f"Vectors of {len(found):,} products by category"
    return Exhibit(title, digest([model_version, TITLE, shown]), MAP_BYTES, draw)


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
            embeddings.c.vector_digest,
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
