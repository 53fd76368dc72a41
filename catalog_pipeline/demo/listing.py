"""Which products a listing finds, in which order, on which page: WordPress's query, on columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_pipeline.demo.dates import wall_seconds
from catalog_pipeline.demo.parameters import STATUSES, Listing
from catalog_pipeline.demo.render import Json
from catalog_pipeline.demo.store import WooStore

Ids = npt.NDArray[np.int64]


def found(store: WooStore, asked: Listing) -> Ids:
    """The ids of all products that the listing finds, in its order, unpaged."""
    ids, created, modified, status = store.columns()
    wanted = [STATUSES.index(s) for s in asked.statuses]
    keep = np.isin(status, wanted)
    if asked.include:
        keep &= np.isin(ids, asked.include)
    if asked.exclude:
        keep &= ~np.isin(ids, asked.exclude)
    for column, after, before in (
        (created, asked.after, asked.before),
        (modified, asked.modified_after, asked.modified_before),
    ):
        if after is None and before is None:
            continue
        compared = column if asked.dates_are_gmt else _wall(store, column)
        if after is not None:
            keep &= compared > after
        if before is not None:
            keep &= compared < before
    ids, created, modified = ids[keep], created[keep], modified[keep]
    if asked.matching:
        chosen = np.array([_matches(store.product(int(i)), asked) for i in ids], dtype=bool)
        ids, created, modified = ids[chosen], created[chosen], modified[chosen]
    return _ordered(store, asked, ids, created, modified)


def page_of(ids: Ids, asked: Listing) -> tuple[list[int], int]:
    """One page of the ids (or of anything numbered), and the total that the server announces.

    A page past the end announces the right total; an offset past the end announces none.
    """
    start = (asked.page - 1) * asked.per_page if asked.offset is None else max(asked.offset, 0)
    total = 0 if asked.offset is not None and start >= len(ids) else len(ids)
    return [int(i) for i in ids[start : start + asked.per_page]], total


def _wall(store: WooStore, column: Ids) -> Ids:
    zone = store.site.zone
    return np.array([wall_seconds(int(s), zone) for s in column], dtype=np.int64)


def _ordered(store: WooStore, asked: Listing, ids: Ids, created: Ids, modified: Ids) -> Ids:
    if asked.orderby in ("include", "post__in") and asked.include:
        rank = {product_id: place for place, product_id in enumerate(asked.include)}
        return ids[np.argsort([rank[int(i)] for i in ids], kind="stable")]
    if asked.orderby == "random":
        return np.random.default_rng().permutation(ids)
    if asked.orderby == "id":
        order = np.argsort(ids)
    elif asked.orderby == "date":
        order = np.lexsort((ids, created))
    elif asked.orderby == "modified":
        order = np.lexsort((ids, modified))
    else:
        key = _KEYS.get(asked.orderby, _unsorted)
        keys = [key(store.product(int(i))) for i in ids]
        order = np.array(sorted(range(len(ids)), key=lambda n: (keys[n], ids[n])), dtype=np.int64)
    return ids[order] if asked.order == "asc" else ids[order[::-1]]


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def _unsorted(_: Json) -> float:
    return 0.0


_KEYS: Final[dict[str, Callable[[Json], str | float]]] = {
    "title": lambda product: str(product["name"]).lower(),
    "slug": lambda product: str(product["slug"]),
    "price": lambda product: _number(product["price"]),
    "sales": lambda product: _number(product["total_sales"]),
    "popularity": lambda product: _number(product["total_sales"]),
}


def _matches(product: Json, asked: Listing) -> bool:
    return all(_FILTERS[name](product, value) for name, value in asked.matching)


def _terms(product: Json, name: str, value: str) -> bool:
    wanted = {part.strip() for part in value.split(",")}
    terms = product[name]
    return isinstance(terms, list) and any(str(term["id"]) in wanted for term in terms)


def _same(name: str) -> Callable[[Json, str], bool]:
    return lambda product, value: str(product[name]).lower() == value.lower()


def _truth(name: str) -> Callable[[Json, str], bool]:
    return lambda product, value: bool(product[name]) == (value.lower() in ("true", "1"))


_FILTERS: Final[dict[str, Callable[[Json, str], bool]]] = {
    "type": _same("type"),
    "slug": _same("slug"),
    "stock_status": _same("stock_status"),
    "sku": lambda product, value: str(product["sku"]) in value.split(","),
    "search": lambda product, value: value.lower() in str(product["name"]).lower(),
    "category": lambda product, value: _terms(product, "categories", value),
    "tag": lambda product, value: _terms(product, "tags", value),
    "featured": _truth("featured"),
    "on_sale": _truth("on_sale"),
    "min_price": lambda product, value: _number(product["price"]) >= _number(value),
    "max_price": lambda product, value: _number(product["price"]) <= _number(value),
}
