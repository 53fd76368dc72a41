"""A few products of a store with what the collection returns for each: quality at a look."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from PIL import Image

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.queries import some_loaded_products
from catalog_pipeline.drawing.sheet import Section, Tile, draw_sheet
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.exhibits.thumbnails import side_by_side, thumbnail
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.index import PointFilter, Points, VectorIndex

ASKED = 5
SHOWN = 6
SHEET_BYTES = 30_000
# A product can have several points near each other.
_OVERFETCH = 4


@dataclass(frozen=True)
class _Asked:
    product_id: UUID
    image_sha256: str
    title: str


@dataclass(frozen=True)
class _Found:
    image_sha256: str
    title: str
    score: float


def neighbour_sheet(
    database: Database, files: DataFolder, index: VectorIndex, collection: str, store_id: str
) -> Exhibit | None:
    """Products of a store and their nearest neighbours in the whole collection.

    Which products are asked for stays the same while they are there. None while the store has none.

    Raises:
        CollectionMissingError: there is no such collection.
        IndexBusyError: another process holds the embedded index.
    """
    asked = _asked(database, collection, store_id)
    if not asked:
        return None
    with index.session(collection) as opened:
        rows = [(one, _nearest(opened, one)) for one in asked]

    def draw() -> Image.Image:
        return draw_sheet(
            side_by_side(lambda row: _section(files, *row), rows), columns=SHOWN + 1, side=96
        )

    shown = [
        [one.image_sha256, one.title, [[hit.image_sha256, f"{hit.score:.2f}"] for hit in found]]
        for one, found in rows
    ]
    title = f"{len(rows)} products, and what the collection returns for each"
    return Exhibit(title, digest(shown), SHEET_BYTES, draw)


def _asked(database: Database, collection: str, store_id: str) -> list[_Asked]:
    with database.read() as connection:
        return [
            _Asked(one.product_id, one.image_sha256, one.title)
            for one in some_loaded_products(connection, collection, store_id, ASKED)
        ]


def _nearest(opened: Points, one: _Asked) -> list[_Found]:
    stored = opened.retrieve([one.product_id], vector=True)
    if not stored or stored[0].vector is None:
        return []
    others = PointFilter(excluded_products=(one.product_id,))
    found: dict[str, _Found] = {}
    hits = opened.search(stored[0].vector, SHOWN * _OVERFETCH, others)
    # Equal pictures are equally near, and come in any order.
    for hit in sorted(hits, key=lambda hit: (-round(hit.score, 4), str(hit.point_id))):
        payload = hit.payload
        found.setdefault(
            str(payload["product_id"]),
            _Found(str(payload["image_sha256"]), str(payload.get("title", "")), hit.score),
        )
    return list(found.values())[:SHOWN]


def _section(files: DataFolder, one: _Asked, found: list[_Found]) -> Section:
    query = Tile(thumbnail(files, one.image_sha256), ("asked for", one.title), "query")
    hits = [
        Tile(thumbnail(files, hit.image_sha256), (f"{hit.score:.2f}", hit.title)) for hit in found
    ]
    return Section("", [query, *hits])
