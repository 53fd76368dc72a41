"""Which vectors are on a store's map, and what their colours stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.exhibits import vector_map as exhibits
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.exhibits.vector_map import NO_CATEGORY, vector_map
from catalog_pipeline.files import DataFolder
from catalog_pipeline.vectors.index import VectorIndex, Vectors
from catalog_pipeline_tests.vectors.engines import opened_engine
from catalog_pipeline_tests.vectors.shop import MODEL, Shop, sha_of, store_config, vector_of


@dataclass(frozen=True)
class Drawn:
    """What a map is drawn of."""

    vectors: Vectors
    groups: Sequence[str]
    title: str
    grouped_by: str


DrawnOf = Callable[[Exhibit | None], Drawn]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[VectorIndex]:
    with opened_engine("local client", tmp_path) as found:
        yield found


@pytest.fixture
def shop(database: Database, index: VectorIndex, tmp_path: Path) -> Shop:
    return Shop(database, DataFolder(str(tmp_path / "data")), index)


@pytest.fixture
def drawn_of(monkeypatch: pytest.MonkeyPatch) -> DrawnOf:
    drawn: list[Drawn] = []

    def keep(
        vectors: Vectors, groups: Sequence[str], *, title: str, grouped_by: str
    ) -> Image.Image:
        drawn.append(Drawn(vectors, groups, title, grouped_by))
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr("catalog_pipeline.exhibits.vector_map.draw_map", keep)

    def of(exhibit: Exhibit | None) -> Drawn:
        assert exhibit is not None
        exhibit.draw()
        return drawn[-1]

    return of


def shown(shop: Shop, images: str = "main") -> Exhibit | None:
    store = store_config(shop.store_id, images=images)
    return vector_map(shop.database, shop.files, store, MODEL.model_version)


def named(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "slug": name.lower()} for name in names]


def test_a_vector_belongs_to_its_products_first_category(shop: Shop, drawn_of: DrawnOf) -> None:
    shop.add(1, 2, categories=named("Dresses", "New"))
    shop.add(3, categories=named("New", "Dresses"))
    shop.add(4, categories=[])

    found = drawn_of(shown(shop))

    assert Counter(found.groups) == {"Dresses": 2, "New": 1, NO_CATEGORY: 1}
    own = {1: "Dresses", 2: "Dresses", 3: "New", 4: NO_CATEGORY}
    for number, group in own.items():
        vector = vector_of(sha_of(f"atelier-{number}"))
        (place,) = np.flatnonzero((found.vectors == vector).all(axis=1))
        assert found.groups[int(place)] == group


def test_only_accepted_main_pictures_of_live_products_are_shown(
    shop: Shop, drawn_of: DrawnOf
) -> None:
    shop.add(1, 2, 3, 4, 5)
    shop.lists(1, "front", "back")
    shop.judge(sha_of("atelier-4"), accepted=False)
    shop.change(5, removed_by="absent")

    found = drawn_of(shown(shop, images="gallery"))

    pictures = [sha_of(name) for name in ("front", "atelier-2", "atelier-3")]
    wanted = sorted(vector_of(sha).tolist() for sha in pictures)
    assert sorted(found.vectors.tolist()) == wanted


def test_the_map_says_what_it_is(shop: Shop, drawn_of: DrawnOf) -> None:
    shop.add(1, 2, 3)

    found = drawn_of(shown(shop))

    assert "look alike to the model lie close together" in found.title
    assert "colours are categories" in found.title
    assert found.grouped_by == "category (products)"


def test_a_sample_is_told_to_be_one(
    shop: Shop, drawn_of: DrawnOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add(*range(5))
    monkeypatch.setattr(exhibits, "MOST_VECTORS", 4)

    found = drawn_of(shown(shop))

    assert len(found.groups) == 4
    assert found.grouped_by == "category (4 of the products)"


def test_it_is_drawn_again_when_a_category_changes_and_not_when_a_name_does(shop: Shop) -> None:
    shop.add(1, 2, 3)
    before = getattr(shown(shop), "digest", "")

    shop.change(1, title="Renamed")
    assert getattr(shown(shop), "digest", "") == before

    shop.change(1, categories=named("Skirts"))
    assert getattr(shown(shop), "digest", "") != before


def test_two_vectors_make_no_map(shop: Shop) -> None:
    shop.add(1, 2)
    assert shown(shop) is None
