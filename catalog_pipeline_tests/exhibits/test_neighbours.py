"""Which products the neighbour sheet asks for, and what it says of those that it finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.drawing.sheet import Section
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.exhibits.neighbours import ASKED, SHOWN, neighbour_sheet
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.index import VectorIndex, Vectors
from catalog_pipeline_tests.exhibits.conftest import Sections
from catalog_pipeline_tests.vectors.engines import DIMENSIONS, opened_engine
from catalog_pipeline_tests.vectors.shop import Shop, sha_of, vector_of


@pytest.fixture
def index(tmp_path: Path) -> Iterator[VectorIndex]:
    with opened_engine("local client", tmp_path) as found:
        yield found


@pytest.fixture
def shops(database: Database, index: VectorIndex, tmp_path: Path) -> tuple[Shop, Shop]:
    """Two stores in one collection, of eight products each."""
    files = DataFolder(str(tmp_path / "data"))
    made = [Shop(database, files, index, store) for store in ("atelier", "nordhavn")]
    for shop in made:
        for number in range(8):
            shop.add(number, title=f"{shop.store_id} {number}")
        shop.sync()
    return made[0], made[1]


def sheet(shop: Shop) -> Exhibit | None:
    return neighbour_sheet(shop.database, shop.files, shop.index, shop.collection, shop.store_id)


def said(row: Section) -> list[tuple[str, ...]]:
    return [tile.lines for tile in row.tiles]


def nearest(asked: str) -> list[tuple[str, str]]:
    """By computing: similarity with store, and title, of all products but the one asked for."""
    products = [f"{store} {number}" for store in ("atelier", "nordhavn") for number in range(8)]
    vectors = {title: vector_of(sha_of(title.replace(" ", "-"))) for title in products}
    scores = {title: float(vectors[asked] @ vectors[title]) for title in products if title != asked}
    ordered = sorted(scores, key=lambda title: -scores[title])
    return [(f"{scores[title]:.2f} · {title.split()[0]}", title) for title in ordered]


def test_rows_are_a_stores_products_and_what_is_nearest_in_all_stores(
    shops: tuple[Shop, Shop], sections_of: Sections
) -> None:
    _, *rows = sections_of(sheet(shops[0]))

    assert len(rows) == ASKED
    asked = [said(row)[0] for row in rows]
    assert {first for first, _ in asked} == {"asked for"}
    assert len(set(asked)) == ASKED
    for row in rows:
        (_, title), *found = said(row)
        assert title.startswith("atelier ")
        assert found == nearest(title)[:SHOWN]
    assert {tile.tone for row in rows for tile in row.tiles[1:]} == {"plain"}
    assert {row.tiles[0].tone for row in rows} == {"query"}


def test_the_heading_says_how_to_read_the_sheet(
    shops: tuple[Shop, Shop], sections_of: Sections
) -> None:
    heading, *_ = sections_of(sheet(shops[1]))

    assert heading.title == "5 products of nordhavn, and what the collection returns for each"
    for words in ("Left: the product asked for", "nearest first", "cosine similarity", "1 = same"):
        assert words in heading.note
    assert heading.tiles == []


def test_a_product_of_many_pictures_is_found_once(
    shops: tuple[Shop, Shop], sections_of: Sections
) -> None:
    shop = shops[0]
    shop.lists(0, *(f"picture {number}" for number in range(6)))
    shop.sync(images="gallery")

    for row in sections_of(sheet(shop))[1:]:
        titles = [lines[1] for lines in said(row)]
        assert len(titles) == len(set(titles)) == SHOWN + 1


def test_only_the_same_picture_is_told_to_be_the_same(
    database: Database,
    index: VectorIndex,
    tmp_path: Path,
    sections_of: Sections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def near(sha: str) -> Vectors:
        drawn = np.ones(DIMENSIONS) + 0.03 * vector_of(sha)
        return np.asarray(drawn / np.linalg.norm(drawn), dtype=np.float32)

    monkeypatch.setattr("catalog_pipeline_tests.vectors.shop.vector_of", near)
    shop = Shop(database, DataFolder(str(tmp_path / "data")), index)
    shop.add(1, 2, picture="shared")
    shop.add(3)
    shop.sync()

    for row in sections_of(sheet(shop))[1:]:
        (_, title), *found = said(row)
        scores = {name: similarity.split(" · ")[0] for similarity, name in found}
        same = {"Dress 1": "Dress 2", "Dress 2": "Dress 1"}.get(title)
        assert scores == {name: "1.00" if name == same else "> 0.99" for name in scores}
        assert len(scores) == 2


def test_it_is_drawn_again_when_a_name_changes_and_not_otherwise(
    shops: tuple[Shop, Shop], sections_of: Sections
) -> None:
    shop, other = shops
    first = sheet(shop)
    assert first is not None
    found = next(
        lines[1]
        for row in sections_of(first)[1:]
        for lines in said(row)[1:]
        if lines[1].startswith("nordhavn")
    )
    assert getattr(sheet(shop), "digest", "") == first.digest

    other.change(int(found.split()[1]), title="Renamed")
    other.sync()

    assert getattr(sheet(shop), "digest", "") != first.digest


def test_a_store_without_points_has_no_sheet(shops: tuple[Shop, Shop]) -> None:
    shop = shops[0]
    assert neighbour_sheet(shop.database, shop.files, shop.index, shop.collection, "none") is None
