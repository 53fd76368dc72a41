"""What WooCommerce really sends for a product, and the record that becomes of it.

Unknown fields are ignored. A product is refused only where its meaning is lost: no usable id, no
name, type or status, or a price that cannot be read with certainty. Everything else has a value
that stands for "not said": no date, no picture, no category, not on sale. An `http(s)` URL that is
too long or no URL counts as none. A change of any of this needs a new `VALIDATOR`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.products.bodies import parse_json
from catalog_pipeline.products.source import (
    ImageRecord,
    InvalidRecordError,
    ProductRecord,
    Sighting,
)
from catalog_pipeline.products.text import (
    absolute_url,
    exact_price,
    plain_text,
    storable,
    utc_moment,
)

VALIDATOR = "woocommerce-2"

MAX_IMAGES = 200
_MAX_TERMS = 200
_MAX_ID = 2**63 - 1
# Beyond this a float stands for several integers.
_MAX_EXACT_FLOAT = 2.0**53
_MAX_TITLE = 1_000
_MAX_DESCRIPTION = 100_000
_MAX_SKU = 255
_MAX_TERM = 200
_MAX_WORD = 32
_IN_STOCK = frozenset({"instock", "onbackorder"})


def read_id(value: object) -> int | None:
    """A positive integer however it is written (7, "7", 7.0); None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            return None
        value = int(text)
    elif isinstance(value, float) and value.is_integer() and value < _MAX_EXACT_FLOAT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= _MAX_ID else None


def external_id(record: object) -> str | None:
    """The id of a product as it came, written as a plain number; None where it has none."""
    found = read_id(record.get("id")) if isinstance(record, dict) else None
    return None if found is None else str(found)


def sighting(record: object) -> Sighting | None:
    """What a sweep compares of a product; None where it has no id."""
    found = external_id(record)
    if found is None or not isinstance(record, dict):
        return None
    try:
        status = _word(record.get("status"))
    except ValueError:
        status = None
    return Sighting(found, status, utc_moment(record.get("date_modified_gmt")))


def _id(value: object) -> int:
    found = read_id(value)
    if found is None:
        raise ValueError("is not a positive integer")
    return found


def _text(limit: int) -> Callable[[object], str]:
    def read(value: object) -> str:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError("is not text")
        return plain_text(value, limit)

    return read


def _optional_text(limit: int) -> Callable[[object], str]:
    read = _text(limit)

    def read_if_text(value: object) -> str:
        try:
            return read(value)
        except ValueError:
            return ""

    return read_if_text


_description = _optional_text(_MAX_DESCRIPTION)
_term_text = _optional_text(_MAX_TERM)


def _word(value: object) -> str:
    """A keyword of WordPress, such as a status; plug-ins add their own."""
    if not isinstance(value, str):
        raise ValueError("is not text")
    word = storable(value).strip().lower()
    if not word or len(word) > _MAX_WORD:
        raise ValueError(f"is empty or longer than {_MAX_WORD} characters")
    return word


def _visibility(value: object) -> str:
    # Variations have none of their own; they show where their parent does.
    return "visible" if value is None or value == "" else _word(value)


def _flag(value: object) -> bool:
    return (
        value is True or value == 1 or (isinstance(value, str) and value.lower() in {"true", "yes"})
    )


def _items(value: object) -> list[Any]:
    """A PHP array: a JSON object when its keys have gaps; anything else holds nothing."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _terms(value: object) -> list[dict[str, str]]:
    terms = []
    for item in _items(value)[:_MAX_TERMS]:
        if isinstance(item, dict):
            name, slug = _term_text(item.get("name")), _term_text(item.get("slug"))
            if name or slug:
                terms.append({"name": name or slug, "slug": slug})
    return terms


def _images(value: object) -> list[Any]:
    # What is no object keeps its place, so that the second picture never becomes the main one.
    return [item if isinstance(item, dict) else {} for item in _items(value)[:MAX_IMAGES]]


class WooImage(BaseModel):
    """An entry of a product's `images`."""

    model_config = ConfigDict(extra="ignore")

    id: Annotated[int | None, BeforeValidator(read_id)] = None
    src: Any = None
    date_modified_gmt: Annotated[datetime | None, BeforeValidator(utc_moment)] = None


class WooProduct(BaseModel):
    """A product, or a variation, of `/wp-json/wc/v3`."""

    model_config = ConfigDict(extra="ignore")

    id: Annotated[int, BeforeValidator(_id)]
    name: Annotated[str, BeforeValidator(_text(_MAX_TITLE))]
    type: Annotated[str, BeforeValidator(_word)]
    status: Annotated[str, BeforeValidator(_word)]
    catalog_visibility: Annotated[str, BeforeValidator(_visibility)] = "visible"
    permalink: Any = None
    description: Annotated[str, BeforeValidator(_description)] = ""
    short_description: Any = None
    sku: Annotated[str, BeforeValidator(_optional_text(_MAX_SKU))] = ""
    price: Annotated[Decimal | None, BeforeValidator(exact_price)] = None
    on_sale: Annotated[bool, BeforeValidator(_flag)] = False
    stock_status: Annotated[str, BeforeValidator(_optional_text(_MAX_WORD))] = "instock"
    categories: Annotated[list[dict[str, str]], BeforeValidator(_terms)] = []
    tags: Annotated[list[dict[str, str]], BeforeValidator(_terms)] = []
    images: Annotated[list[WooImage], BeforeValidator(_images)] = []
    date_created_gmt: Annotated[datetime | None, BeforeValidator(utc_moment)] = None
    date_modified_gmt: Annotated[datetime | None, BeforeValidator(utc_moment)] = None


class WooCommerceParser:
    """Reads archived pages of `/products`."""

    version = VALIDATOR

    def __init__(self, store_url: str) -> None:
        """Prepare.

        Args:
            store_url: what relative URLs are relative to.
        """
        self._store_url = store_url

    def records(self, body: bytes) -> list[Any]:
        """The products of a page.

        Raises:
            ValueError: the body is not a JSON list.
        """
        value = parse_json(body)
        if not isinstance(value, list):
            raise ValueError("not a JSON list")
        return value

    def external_id(self, record: Any) -> str | None:
        """The product's id, written as a plain number."""
        return external_id(record)

    def sighting(self, record: Any) -> Sighting | None:
        """What a sweep compares of a product."""
        return sighting(record)

    def parse(self, record: Any) -> ProductRecord:
        """A product read, cleaned and checked.

        Raises:
            InvalidRecordError: it cannot become a row; the message names fields, never values.
        """
        if not isinstance(record, dict):
            raise InvalidRecordError("record: is not an object")
        try:
            product = WooProduct.model_validate(record)
        except ValidationError as error:
            raise InvalidRecordError(_reason(error)) from None
        return ProductRecord(
            external_id=str(product.id),
            sku=product.sku or None,
            title=product.name,
            description=product.description or _description(product.short_description),
            price=product.price,
            product_url=absolute_url(product.permalink, self._store_url),
            type=product.type,
            status=product.status,
            visibility=product.catalog_visibility,
            categories=product.categories,
            tags=product.tags,
            in_stock=product.stock_status in _IN_STOCK,
            on_sale=product.on_sale,
            created_at=product.date_created_gmt,
            updated_at=product.date_modified_gmt,
            images=tuple(self._image_records(product.images)),
        )

    def _image_records(self, images: list[WooImage]) -> list[ImageRecord]:
        records = []
        for position, image in enumerate(images):
            url = absolute_url(image.src, self._store_url)
            if url is not None:
                image_id = f"url-{digest(url)}" if image.id is None else str(image.id)
                records.append(ImageRecord(position, image_id, url, image.date_modified_gmt))
        return records


def _reason(error: ValidationError) -> str:
    problems = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        problems.append(f"{field}: {'is missing' if detail['type'] == 'missing' else message}")
    return "; ".join(problems)
