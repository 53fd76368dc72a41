"""Finding products by words, by a picture, or by another product's picture.

A question is put to the collection behind the readers' alias, with the model that filled it. What
a result looks like on a terminal or a page belongs to the command line and to `exhibits`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from catalog_pipeline.errors import ConfigurationError, PermanentError
from catalog_pipeline.vectors.index import (
    CollectionInfo,
    Payload,
    PointFilter,
    Points,
    ScoredPoint,
    VectorIndex,
    Vectors,
)

MAX_LIMIT = 1_000
# No tokenizer reads nearly as much.
MAX_TEXT = 2_000
# A product can have several points; more than a few near the query are rare.
_OVERFETCH = 3


class SearchArgumentError(ConfigurationError):
    """The question itself is wrong."""


class Encoder(Protocol):
    """The model that a picture or a text is embedded with."""

    @property
    def model_version(self) -> str:
        """Whose vectors it makes."""
        ...

    def encode_image(self, content: bytes) -> Vectors:
        """The picture's vector, (dimensions,)."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """The texts' vectors, (len(texts), dimensions)."""
        ...


@dataclass(frozen=True)
class Hit:
    """A product found; `score` is the cosine similarity of its nearest image."""

    product_id: UUID
    score: float
    payload: Payload


def search(
    index: VectorIndex,
    alias: str,
    query: str | bytes | Path | UUID,
    *,
    encoder: Encoder | None = None,
    store: str | None = None,
    min_price: float | None = None,
    max_price: float | None = None,
    currency: str | None = None,
    category: str | None = None,
    in_stock: bool | None = None,
    limit: int = 10,
) -> list[Hit]:
    """The products nearest to a text, a picture or a product, best first, each once.

    Args:
        index: where the points are.
        alias: the name readers use.
        query: words such as `striped blue dress`, a picture's bytes or file, or the id of a product
            in the collection, which is left out of its own results.
        encoder: embeds words or a picture; not needed for a product.
        store: only this store's products.
        min_price: inclusive; products without a price are left out.
        max_price: the same.
        currency: ISO 4217, in either case.
        category: a category's name, exactly.
        in_stock: only products that are, or are not, in stock.
        limit: 1 to `MAX_LIMIT` products.

    Raises:
        ConfigurationError: the model has no text tower, or its tokenizer needs a package that is
            not installed.
        IndexBusyError: another process holds the embedded index.
        PermanentError: nothing is loaded yet, the product is not in the collection, the words or
            the picture cannot be embedded, or the model is not the collection's.
        SearchArgumentError: an argument is wrong.
        ServiceUnavailableError: Qdrant cannot be reached.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise SearchArgumentError(f"limit is {limit}; it must be between 1 and {MAX_LIMIT}")
    where = PointFilter(
        stores=(store,) if store is not None else (),
        excluded_products=(query,) if isinstance(query, UUID) else (),
        categories=(category,) if category is not None else (),
        currency=_currency(currency),
        min_price=_price("min_price", min_price),
        max_price=_price("max_price", max_price),
        in_stock=in_stock,
    )
    if min_price is not None and max_price is not None and min_price > max_price:
        raise SearchArgumentError(f"min_price {min_price:g} is above max_price {max_price:g}")
    asked = _checked(query)
    collection = _collection(index, alias)
    # Before the index is opened: others wait while it is open, and a model takes its time.
    vector = None if isinstance(asked, UUID) else _embed(asked, encoder, collection)
    with index.session(collection.name) as opened:
        if vector is None:
            assert isinstance(asked, UUID)
            vector = _vector_of(opened, asked, alias)
        return _nearest(opened, vector, where, limit)


def product_payload(index: VectorIndex, alias: str, product_id: UUID) -> Payload:
    """What the collection says of a product, at its main image.

    Raises:
        IndexBusyError: another process holds the embedded index.
        PermanentError: nothing is loaded yet, or the product is not in the collection.
        ServiceUnavailableError: Qdrant cannot be reached.
    """
    with index.session(_collection(index, alias).name) as opened:
        for point in opened.retrieve([product_id], payload=True):
            if point.payload is not None:
                return point.payload
    raise _absent(product_id, alias)


def _nearest(opened: Points, vector: Vectors, where: PointFilter, limit: int) -> list[Hit]:
    asked = limit * _OVERFETCH
    while True:
        found = opened.search(vector, asked, where)
        hits = _best_of_each(found)
        if len(hits) >= limit or len(found) < asked:
            return hits[:limit]
        asked *= 4


def _best_of_each(found: Sequence[ScoredPoint]) -> list[Hit]:
    best: dict[UUID, Hit] = {}
    for point in found:
        product = UUID(str(point.payload["product_id"]))
        best.setdefault(product, Hit(product, point.score, point.payload))
    return list(best.values())


def _collection(index: VectorIndex, alias: str) -> CollectionInfo:
    name = index.resolve(alias)
    if name is None:
        raise PermanentError(
            f"there is nothing behind {alias} yet: sync a store first, or set CATALOG_COLLECTION "
            "to the name that was filled"
        )
    found = index.info(name)
    if found is None:
        raise PermanentError(f"{alias} stands for collection {name}, which does not exist")
    return found


def _checked(query: str | bytes | Path | UUID) -> str | bytes | UUID:
    """The words, the picture's bytes or the product's id, as far as they can be asked for."""
    if isinstance(query, str):
        return _words(query)
    if isinstance(query, UUID):
        return query
    picture = _read(query) if isinstance(query, Path) else query
    if not picture:
        raise SearchArgumentError("the picture is empty")
    return picture


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SearchArgumentError(f"{path} cannot be read: {error.strerror}") from error


def _words(text: str) -> str:
    words = " ".join(text.split())
    if not words:
        raise SearchArgumentError("the text is empty")
    if len(words) > MAX_TEXT:
        raise SearchArgumentError(
            f"the text has {len(words):,} characters; no model reads more than {MAX_TEXT:,} of them"
        )
    try:
        words.encode()
    except UnicodeEncodeError as error:
        raise SearchArgumentError("the text is not valid Unicode") from error
    return words


def _embed(query: str | bytes, encoder: Encoder | None, collection: CollectionInfo) -> Vectors:
    if encoder is None:
        what = "a text" if isinstance(query, str) else "a picture"
        raise SearchArgumentError(f"{what} needs a model to embed it with")
    if encoder.model_version != collection.model_version:
        raise PermanentError(
            f"collection {collection.name} was filled by model {collection.model_version}, but "
            f"CATALOG_MODEL is {encoder.model_version}: set CATALOG_MODEL to the collection's "
            "model, or sync with the new one"
        )
    if isinstance(query, bytes):
        return encoder.encode_image(query)
    vector: Vectors = encoder.encode_texts([query])[0]
    return vector


def _vector_of(opened: Points, product_id: UUID, alias: str) -> Vectors:
    # A product's own id is the point of its main image.
    for point in opened.retrieve([product_id], vector=True):
        if point.vector is not None:
            return point.vector
    raise _absent(product_id, alias)


def _absent(product_id: UUID, alias: str) -> PermanentError:
    return PermanentError(
        f"product {product_id} is not in {alias}: it is not live, its picture is not accepted, or "
        "it is not synced yet"
    )


def _price(name: str, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise SearchArgumentError(f"{name} is {value}; it must be a number that is not negative")
    return value


def _currency(value: str | None) -> str | None:
    if value is None:
        return None
    if not re.fullmatch(r"[A-Za-z]{3}", value):
        raise SearchArgumentError(f"currency {value!r} is not an ISO 4217 code such as EUR")
    return value.upper()
