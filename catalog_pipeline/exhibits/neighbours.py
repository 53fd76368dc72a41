"""A few products of a store with what the collection returns for each: quality at a look."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from PIL import Image

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.queries import some_loaded_products
from catalog_pipeline.drawing.sheet import Section, Tile, Tone, draw_sheet
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.exhibits.thumbnails import NOT_AT_HAND, side_by_side, thumbnail
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.index import PointFilter, Points, VectorIndex

ASKED = 5
SHOWN = 4
SHEET_BYTES = 32_500
NOTE = (
    "Left: the product asked for → right: what the collection returns, nearest first, each with "
    "its cosine similarity (1 = same) and its store."
)
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
    store_id: str
    similarity: str


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

    title = f"{len(rows)} products of {store_id}, and what the collection returns for each"

    def draw() -> Image.Image:
        found = side_by_side(lambda row: _section(files, *row), rows)
        return draw_sheet([Section(title, [], NOTE), *found], columns=SHOWN + 1)

    return Exhibit(title, digest([title, NOTE, rows]), SHEET_BYTES, draw)


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
        sha = str(payload["image_sha256"])
        found.setdefault(
            str(payload["product_id"]),
            _Found(
                sha,
                str(payload.get("title", "")),
                str(payload["store_id"]),
                _similarity(hit.score, is_same=sha == one.image_sha256),
            ),
        )
    return list(found.values())[:SHOWN]


def _similarity(score: float, *, is_same: bool) -> str:
    """The score for an eye: another picture is never told to be the same."""
    rounded = f"{score:.2f}"
    return "> 0.99" if rounded == "1.00" and not is_same else rounded


def _section(files: DataFolder, one: _Asked, found: list[_Found]) -> Section:
    query = _tile(files, one.image_sha256, ("asked for", one.title), "query")
    hits = [
        _tile(files, hit.image_sha256, (f"{hit.similarity} · {hit.store_id}", hit.title))
        for hit in found
    ]
    return Section("", [query, *hits])


def _tile(files: DataFolder, sha256: str, lines: tuple[str, ...], tone: Tone = "plain") -> Tile:
    return Tile(thumbnail(files, sha256), lines, tone, NOT_AT_HAND)
