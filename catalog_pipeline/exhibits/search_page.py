"""Search results as one page that needs nothing else: pictures, scores and filters in one file.

Titles, addresses and categories are strangers' words. They reach the page escaped, and the page's
own policy lets no script run but the one it was made with, and nothing be loaded. What is found is
`search.py`'s business.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files as resources
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from catalog_pipeline.drawing.encoding import data_uri, webp
from catalog_pipeline.exhibits.thumbnails import thumbnail
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.pictures import load_thumbnail
from catalog_pipeline.search import Hit

_SIDE = 320
_PICTURE_BYTES = 12_000
_NO_CURRENCY = "unknown currency"


@dataclass(frozen=True)
class Question:
    """What was asked, for the page's head.

    Attributes:
        kind: in words, such as `search by text`.
        words: the text itself, the picture's name, or the product's.
        picture: the picture that was asked for, where it was one.
        conditions: the filters that the search itself applied, in words.
    """

    kind: str
    words: str
    picture: bytes | None = None
    conditions: Sequence[str] = ()


@dataclass(frozen=True)
class _Card:
    """A product as the page shows it; `amount` and `bar` are for machines, the rest for people."""

    picture: str | None
    title: str
    link: str | None
    store: str
    categories: list[str]
    stock: str
    on_sale: bool
    currency: str
    amount: str
    price: str
    score: str
    bar: str


@dataclass(frozen=True)
class _Choice:
    """Something to filter by: each option with the number of products that it leaves."""

    key: str
    label: str
    options: list[tuple[str, int]]


def search_page(question: Question, hits: Sequence[Hit], files: DataFolder, origin: str) -> str:
    """The whole page.

    Args:
        question: what was asked.
        hits: best first, as `search` returns them.
        files: where their pictures are; one that is not there leaves an empty frame.
        origin: the collection, whose model's vectors it holds, and the time of the answer.
    """
    best = max((hit.score for hit in hits), default=1.0)
    cards = [_card(hit, best, files) for hit in hits]
    style, script = _part("search_page.css"), _part("search_page.js")
    return (
        _environment()
        .get_template("search_page.html.jinja")
        .render(
            question=question,
            asked_picture=_query_picture(question.picture),
            cards=cards,
            choices=_choices(cards),
            origin=origin,
            # The parts are ours, and a hash holds for the text as it is.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def _card(hit: Hit, best: float, files: DataFolder) -> _Card:
    payload = hit.payload
    price = payload.get("price")
    currency = str(payload.get("currency") or "")
    return _Card(
        picture=_picture(files, payload.get("image_sha256")),
        title=str(payload.get("title") or payload.get("external_id") or hit.product_id),
        link=_link(payload.get("product_url")),
        store=str(payload.get("store_id", "")),
        categories=[str(name) for name in payload.get("categories", ())],
        stock="in stock" if payload.get("in_stock") else "sold out",
        on_sale=bool(payload.get("on_sale")),
        # A price whose currency nobody knows compares with no other.
        currency=currency or ("" if price is None else _NO_CURRENCY),
        amount="" if price is None else f"{price:.2f}",
        price="no price" if price is None else f"{price:,.2f} {currency}".strip(),
        score=f"{hit.score:.3f}",
        bar=f"{_share(hit.score, best):.3f}",
    )


def _share(score: float, best: float) -> float:
    """How long a score's bar is, against the best one."""
    return max(0.0, min(1.0, score / best)) if best > 0 and math.isfinite(score) else 0.0


def _picture(files: DataFolder, sha256: Any) -> str | None:
    picture = thumbnail(files, sha256, _SIDE) if isinstance(sha256, str) else None
    return None if picture is None else data_uri(webp(picture, _PICTURE_BYTES))


def _query_picture(content: bytes | None) -> str | None:
    picture = None if content is None else load_thumbnail(content, _SIDE)
    return None if picture is None else data_uri(webp(picture, _PICTURE_BYTES))


def _link(address: Any) -> str | None:
    """The address if following it can only open a page."""
    if not isinstance(address, str):
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None


def _choices(cards: Sequence[_Card]) -> list[_Choice]:
    """What the products differ in; a filter with a single option would decide nothing."""
    found = {
        ("store", "Store"): Counter(card.store for card in cards),
        ("categories", "Category"): Counter(
            name for card in cards for name in set(card.categories)
        ),
        ("stock", "Stock"): Counter(card.stock for card in cards),
        ("currency", "Currency"): Counter(card.currency for card in cards if card.currency),
    }
    return [
        _Choice(key, label, sorted(counts.items()))
        for (key, label), counts in found.items()
        if len(counts) > 1
    ]


def _hash(text: str) -> str:
    """A source expression of a content security policy (https://www.w3.org/TR/CSP3/)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _part(name: str) -> str:
    return (resources("catalog_pipeline.exhibits") / "templates" / name).read_text("utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("catalog_pipeline.exhibits"),
        autoescape=True,
        undefined=StrictUndefined,
    )
