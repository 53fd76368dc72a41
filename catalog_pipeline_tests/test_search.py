"""What a search finds, in which order, by which filters; and how a wrong question is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pytest
from qdrant_client import QdrantClient

from catalog_pipeline.errors import ConfigurationError, PermanentError
from catalog_pipeline.search import MAX_LIMIT, MAX_TEXT, product_payload, search
from catalog_pipeline.vectors.index import CollectionSpec, VectorIndex, Vectors
from catalog_pipeline.vectors.qdrant_edge import EdgeIndex
from catalog_pipeline.vectors.qdrant_server import ServerIndex

ALIAS = "products"
COLLECTION = "products__m-1"
OWNER = UUID(int=1)
PRODUCTS = [UUID(int=100 + number) for number in range(6)]


@dataclass
class Encoder:
    """Reads the angle that a picture or a text says."""

    model_version: str = "m-1"

    def encode_image(self, content: bytes) -> Vectors:
        return at_angle(float(content))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return np.stack([at_angle(float(text.removesuffix(" degrees"))) for text in texts])


def at_angle(degrees: float) -> Vectors:
    radians = math.radians(degrees)
    return np.array([math.cos(radians), math.sin(radians)], dtype=np.float32)


@pytest.fixture
def index() -> Iterator[VectorIndex]:
    """Six products, ten degrees apart, at 0, 10, … 50 degrees."""
    client = QdrantClient(":memory:")
    made = ServerIndex(client)
    fill(made)
    yield made
    client.close()


def fill(index: VectorIndex) -> None:
    index.ensure(CollectionSpec(COLLECTION, 2, "m-1", OWNER), ALIAS)
    with index.session(COLLECTION) as points:
        points.upsert(
            PRODUCTS,
            np.stack([at_angle(10 * number) for number in range(6)]),
            [payload(number) for number in range(6)],
        )


def payload(number: int) -> dict[str, Any]:
    return {
        "product_id": str(PRODUCTS[number]),
        "store_id": "atelier" if number < 4 else "brise",
        "price": float(10 * number),
        "currency": "DKK" if number % 2 else "EUR",
        "categories": ["Dresses"] if number < 3 else ["Shoes"],
        "in_stock": number != 1,
        "title": f"Product {number}",
    }


def numbers(hits: list[Any]) -> list[int]:
    return [PRODUCTS.index(hit.product_id) for hit in hits]


def test_a_picture_finds_the_nearest_first(index: VectorIndex) -> None:
    hits = search(index, ALIAS, b"12", encoder=Encoder(), limit=3)
    assert numbers(hits) == [1, 2, 0]
    assert hits[0].score == pytest.approx(math.cos(math.radians(2)), abs=1e-5)
    assert hits[0].payload["title"] == "Product 1"


def test_a_text_finds_the_nearest_first(index: VectorIndex) -> None:
    hits = search(index, ALIAS, "  28   degrees\n", encoder=Encoder(), limit=3, in_stock=True)
    assert numbers(hits) == [3, 2, 4]
    assert hits[0].score == pytest.approx(math.cos(math.radians(2)), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the text is empty"),
        (" \n\t", "the text is empty"),
        ("dress " * MAX_TEXT, "no model reads more than"),
        ("dress \udcff", "not valid Unicode"),
    ],
    ids=["empty", "blank", "long", "broken"],
)
def test_a_text_that_cannot_be_asked_for_is_named(index: VectorIndex, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        search(index, ALIAS, text, encoder=Encoder())
    with pytest.raises(ConfigurationError, match="a text needs a model"):
        search(index, ALIAS, "dress")


def test_a_picture_may_be_a_file(index: VectorIndex, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"49")
    assert numbers(search(index, ALIAS, tmp_path / "picture", encoder=Encoder(), limit=1)) == [5]


def test_a_product_finds_others_and_never_itself(index: VectorIndex) -> None:
    assert numbers(search(index, ALIAS, PRODUCTS[3], limit=2)) in ([2, 4], [4, 2])
    everything = search(index, ALIAS, PRODUCTS[3], limit=50)
    assert sorted(numbers(everything)) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"store": "brise"}, [4, 5]),
        ({"min_price": 10, "max_price": 20}, [1, 2]),
        ({"max_price": 0}, [0]),
        ({"currency": "dkk"}, [1, 3, 5]),
        ({"category": "Shoes"}, [3, 4, 5]),
        ({"category": "shoe"}, []),
        ({"in_stock": False}, [1]),
        ({"in_stock": True, "store": "atelier", "currency": "EUR"}, [0, 2]),
        ({"store": "nobody"}, []),
    ],
    ids=str,
)
def test_filters(index: VectorIndex, filters: dict[str, Any], expected: list[int]) -> None:
    hits = search(index, ALIAS, b"0", encoder=Encoder(), **filters)
    assert numbers(hits) == expected


def test_a_product_of_many_images_comes_once_at_its_best(index: VectorIndex) -> None:
    # Forty more pictures of product 0 lie nearer to the query than any other product.
    ids = [uuid5(PRODUCTS[0], str(image)) for image in range(40)]
    with index.session(COLLECTION) as points:
        points.upsert(
            ids,
            np.stack([at_angle(24 + image / 100) for image in range(40)]),
            [{**payload(0), "image": image} for image in range(40)],
        )
    hits = search(index, ALIAS, b"24", encoder=Encoder(), limit=4)
    assert numbers(hits)[0] == 0
    assert sorted(numbers(hits)) == [0, 1, 2, 3]
    assert hits[0].payload["image"] == 0
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert 0 not in numbers(search(index, ALIAS, PRODUCTS[0], limit=10))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"limit": 0}, "limit is 0"),
        ({"limit": MAX_LIMIT + 1}, "between 1 and"),
        ({"min_price": -1}, "min_price is -1"),
        ({"max_price": math.nan}, "max_price is nan"),
        ({"min_price": math.inf}, "min_price is inf"),
        ({"min_price": 20, "max_price": 10}, "min_price 20 is above max_price 10"),
        ({"currency": "€"}, "ISO 4217"),
        ({"encoder": None}, "needs a model"),
    ],
)
def test_wrong_arguments_are_named(
    index: VectorIndex, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        search(index, ALIAS, b"0", **{"encoder": Encoder(), **arguments})


def test_a_picture_that_cannot_be_read_is_named(index: VectorIndex, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.jpg cannot be read: No such file"):
        search(index, ALIAS, tmp_path / "absent.jpg", encoder=Encoder())
    with pytest.raises(ConfigurationError, match="empty"):
        search(index, ALIAS, b"", encoder=Encoder())


def test_another_model_is_refused(index: VectorIndex) -> None:
    with pytest.raises(PermanentError, match=r"model m-1, but CATALOG_MODEL is m-2"):
        search(index, ALIAS, b"0", encoder=Encoder("m-2"))


def test_an_alias_or_product_that_is_not_there_is_named(index: VectorIndex) -> None:
    with pytest.raises(PermanentError, match="nothing behind winter yet"):
        search(index, "winter", b"0", encoder=Encoder())
    with pytest.raises(PermanentError, match=f"{UUID(int=7)} is not in products"):
        search(index, ALIAS, UUID(int=7))
    with pytest.raises(PermanentError, match=f"{UUID(int=7)} is not in products"):
        product_payload(index, ALIAS, UUID(int=7))


def test_a_product_tells_what_the_collection_says_of_it(index: VectorIndex) -> None:
    assert product_payload(index, ALIAS, PRODUCTS[4]) == payload(4)


def test_search_on_qdrant_edge(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    fill(index)
    assert numbers(search(index, ALIAS, b"12", encoder=Encoder(), limit=3)) == [1, 2, 0]
    assert numbers(search(index, ALIAS, PRODUCTS[0], limit=1)) == [1]
