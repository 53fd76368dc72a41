"""From what a person has at hand to the products that it names."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, or_, select

from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.schema import product_images, products, variation_images

MOST_FOUND = 20


def find_products(connection: Connection, name: str, store_id: str | None = None) -> list[UUID]:
    """The products that a text names, at most `MOST_FOUND`, in the order of their ids.

    Args:
        connection: any connection.
        name: a product's id; a store's id and the source's own, as `atelier:1042`; a SKU; the URL
            of the product's page or of one of its pictures.
        store_id: only this store's; the source's own id is understood then too.
    """
    text = name.strip()
    conditions: list[ColumnElement[bool]] = [products.c.sku == text]
    if (uuid := _uuid(text)) is not None:
        conditions = [products.c.product_id == uuid]
    elif _is_url(text):
        conditions = _with_url(text)
    else:
        store, separator, external_id = text.partition(":")
        if separator:
            conditions.append(products.c.product_id == product_id(store, external_id))
        if store_id is not None:
            conditions.append(products.c.product_id == product_id(store_id, text))
    statement = select(products.c.product_id).where(or_(*conditions))
    if store_id is not None:
        statement = statement.where(products.c.store_id == store_id)
    ordered = statement.order_by(products.c.product_id).limit(MOST_FOUND)
    return list(connection.scalars(ordered))


def _with_url(url: str) -> list[ColumnElement[bool]]:
    pages = {url, url.rstrip("/"), url.rstrip("/") + "/"}
    conditions: list[ColumnElement[bool]] = [products.c.product_url.in_(sorted(pages))]
    for table in (product_images, variation_images):
        owners = select(table.c.product_id).where(table.c.url == url)
        conditions.append(products.c.product_id.in_(owners))
    return conditions


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _is_url(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("http", "https")
    except ValueError:
        return False
