"""What reading all of a store would take, told from a sample of it.

Shares and sizes are those of the sample, rates those that this deployment measured. What a store
announces is its own word; no estimate is better than that, or than the sample is like the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from catalog_pipeline.catalog.rates import Rates, measured_rates
from catalog_pipeline.catalog.schema import image_attempts, images, products
from catalog_pipeline.catalog.wanted import (
    Scope,
    accepted_images,
    is_live,
    is_of_wanted_image,
    wanted_images,
)
from catalog_pipeline.products.archive import ArchivedWalk
from catalog_pipeline.stores import StoreConfig

# A row of the database with its attempts, verdicts and payloads, and the payload in the collection:
# mostly the product's description.
_BYTES_OF_A_PRODUCT = 6_000
# Float32, once in a Parquet part and once in the collection.
_BYTES_OF_A_DIMENSION = 2 * 4


@dataclass(frozen=True)
class FullSync:
    """What a first full sync would bring and take, about.

    Attributes:
        products: as many as the store announces.
        pictures: to fetch.
        vectors: to embed, by the share that the gate accepted.
        seconds: from the first request to the last point.
        bytes: on disk: pictures, archive, rows, vectors and points; None where the size of a
            vector is not known.
        rates: what the time goes by; those that nothing was measured of are assumed.
    """

    products: int
    pictures: int
    vectors: int
    seconds: float
    bytes: int | None
    rates: Rates


def estimate_full_sync(
    connection: Connection, store: StoreConfig, walk: ArchivedWalk, *, dimensions: int | None
) -> FullSync | None:
    """Reckon from a sample whose stages are done; None if it, or the store, says too little.

    Args:
        connection: any connection.
        store: the store.
        walk: the sample's.
        dimensions: of a vector; None where no model is at hand to say so.

    Raises:
        FileNotFoundError: a page of the walk was removed meanwhile.
    """
    manifest = walk.manifest
    scope = Scope.of(store)
    of_store = select(products.c.product_id).where(products.c.store_id == store.id)
    seen, live = _count(connection, of_store), _count(connection, of_store.where(is_live()))
    if manifest is None or not manifest.ids or manifest.announced is None or not seen:
        return None
    announced = manifest.announced
    urls = _count(connection, select(wanted_images(scope).subquery().c.url).distinct())
    accepted = _count(connection, accepted_images(scope))
    each = announced / seen
    pictures, vectors = round(urls * each), round(accepted * each)
    rates = measured_rates(connection, store.id)
    took = (manifest.finished_at - manifest.started_at).total_seconds()
    seconds = (
        took * announced / manifest.ids
        + rates.fetches.seconds(pictures)
        + (rates.load_seconds + rates.embeddings.seconds(vectors) if vectors else 0.0)
        + rates.points.seconds(round(live * each))
    )
    taken = None
    if dimensions is not None:
        taken = round(
            _packed(walk) * announced / manifest.ids
            + pictures * _picture_bytes(connection, scope)
            + announced * _BYTES_OF_A_PRODUCT
            + vectors * dimensions * _BYTES_OF_A_DIMENSION
        )
    return FullSync(announced, pictures, vectors, round(seconds, 1), taken, rates)


def _picture_bytes(connection: Connection, scope: Scope) -> float:
    """Of a wanted picture of the sample, on average."""
    wanted = select(image_attempts.c.image_sha256).where(is_of_wanted_image(scope))
    found = connection.scalar(
        select(func.avg(images.c.bytes)).where(images.c.image_sha256.in_(wanted))
    )
    return float(found or 0.0)


def _packed(walk: ArchivedWalk) -> int:
    """Bytes of a walk's pages in the archive; a sample has few."""
    return sum(len(walk.folder.read(f"{walk.place}/{name}")) for name in walk.page_files)


def _count(connection: Connection, statement: Select[Any]) -> int:
    return connection.scalar(select(func.count()).select_from(statement.subquery())) or 0
