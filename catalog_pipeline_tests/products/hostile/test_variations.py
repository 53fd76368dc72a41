"""Case and verdict for the variations of one product, in a store that wants their pictures.

The product has two variations stored. What its store refuses of them alone costs no more than
them; what says that the store refuses more than that ends the walk.
"""

# A case is one line.
# ruff: noqa: E501

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from catalog_pipeline.catalog.schema import products, variation_images
from catalog_pipeline.errors import CatalogError
from catalog_pipeline_tests.products.hostile.server import HostileStore, Sent, sent
from catalog_pipeline_tests.products.hostile.walking import Room
from catalog_pipeline_tests.products.wordpress import FakeTime, product

REVOKED = b'{"code": "woocommerce_rest_cannot_view", "message": "Sorry."}'


@dataclass(frozen=True)
class Case:
    """What the store answers for a page of variations, and the ids of those that are stored then.

    `says` is what a walk that fails says of the store.
    """

    name: str
    answer: Callable[[int], Sent]
    stored: list[str]
    says: str = ""


def variation(number: int, image: Any = True) -> dict[str, Any]:
    shown = {"id": number, "src": f"https://cdn.example/{number}.jpg"} if image is True else image
    return {"id": number, "status": "publish", "image": shown}


def listed(records: list[Any], total: object = None, pages: object = 1) -> Sent:
    named = {"X-WP-Total": len(records) if total is None else total, "X-WP-TotalPages": pages}
    return sent(200, json.dumps(records).encode(), {k: str(v) for k, v in named.items()})


def untold(records: list[Any]) -> Sent:
    return sent(200, json.dumps(records).encode())


def some(first: int, last: int) -> list[Any]:
    return [variation(n) for n in range(first, last + 1)]


def page_of_thousand(page: int) -> Sent:
    return listed(some(1, 1000)[(page - 1) * 100 : page * 100], 1000, 10)


def pages(*answers: Sent) -> Callable[[int], Sent]:
    """One answer for each page, and an empty list for those beyond."""
    return lambda page: answers[page - 1] if page <= len(answers) else untold([])


def names(*ranges: range) -> list[str]:
    return sorted(str(n) for numbers in ranges for n in numbers)


def always(answer: Sent) -> Callable[[int], Sent]:
    return lambda _page: answer


BEFORE = ["1", "2"]
CASES = [
    # --- read whole ---
    Case("a thousand", page_of_thousand, names(range(1, 1001))),
    Case("without pictures", always(listed([variation(1, None), variation(2, False), variation(3, []), variation(4, {"src": None}), variation(5)])), ["5"]),
    Case("others", always(listed([variation(3)])), ["3"]),
    Case("none", always(listed([])), []),
    Case("one more while they are read", pages(listed(some(3, 102), 101, 2), listed(some(103, 104), 102, 2)), names(range(3, 105))),
    # --- not provably whole: what is stored stays ---
    Case("odd ids", always(listed([variation(0), {**variation(7), "id": "7"}, {**variation(8), "id": None}, "x", None])), [*BEFORE, "7"]),
    Case("none without totals", always(untold([])), BEFORE),
    Case("none, and some counted", always(listed([], 2)), BEFORE),
    Case("others without totals", pages(untold([variation(3)])), [*BEFORE, "3"]),
    Case("one that cannot be read", always(listed([variation(3)], 2)), [*BEFORE, "3"]),
    Case("more than are counted", always(listed(some(3, 5), 2)), [*BEFORE, "3", "4", "5"]),
    Case("a short page that is not the last", pages(listed(some(3, 52), 101, 2), listed([variation(103)], 101, 2)), [*BEFORE, *names(range(3, 53), range(103, 104))]),
    Case("an empty page that is not the last", pages(listed([], 101, 2), listed([variation(103)], 101, 2)), [*BEFORE, "103"]),
    Case("deleted while they are read", pages(listed(some(3, 102), 101, 2), listed([], 100, 1)), [*BEFORE, *names(range(3, 103))]),
    Case("page 1 for ever", always(listed(some(3, 102), 1000, 10)), [*BEFORE, *names(range(3, 103))]),
    Case("page 1 for ever without totals", always(untold(some(3, 102))), [*BEFORE, *names(range(3, 103))]),
    Case("a page of pages", always(listed([variation(3)], 10**8, 10**6)), [*BEFORE, "3"]),
    Case("refused on the second page", pages(listed(some(3, 102), 101, 2), sent(403, REVOKED)), [*BEFORE, *names(range(3, 103))]),
    Case("404", always(sent(404, b'{"code": "woocommerce_rest_product_invalid_id", "message": "x"}')), BEFORE),
    Case("403 for this product", always(sent(403, REVOKED)), BEFORE),
    Case("key revoked", always(sent(401, REVOKED)), BEFORE, "answered 401 woocommerce_rest_cannot_view"),
    Case("a firewall", always(sent(406, b"Not Acceptable", content_type="text/html")), BEFORE, "a firewall blocked the request"),
    Case("a redirect", always(sent(301, b"", {"Location": "/"})), BEFORE, "a redirect to /"),
    Case("500 for ever", always(sent(500, b"")), BEFORE, "answered 500 with an empty body (tried 5 times)"),
    Case("more than were asked for", always(listed(some(3, 103))), BEFORE, "sent 101 records where 100 were asked for"),
    Case("HTML for ever", always(sent(200, b"<html>", content_type="text/html")), BEFORE, "answered 200 with an HTML page"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> Iterator[HostileStore]:
    with HostileStore([product(9, type="variable")]).serving() as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_variations_have_their_verdict(case: Case, shop: HostileStore, room: Room) -> None:
    config = room.new_store(shop, images="all")

    def answering(answer: Callable[[int], Sent]) -> Callable[[httpx.Request], Sent | None]:
        def misbehave(request: httpx.Request) -> Sent | None:
            if not request.url.path.endswith("/variations"):
                return None
            return answer(int(request.url.params["page"]))

        return misbehave

    shop.misbehave = answering(always(listed([variation(1), variation(2)])))
    room.walk(config, FakeTime())
    room.sync(config)
    shop.misbehave = answering(case.answer)
    if case.says:
        with pytest.raises(CatalogError) as found:
            room.walk(config, FakeTime())
        assert case.says in str(found.value)
        assert case.says in (room.manifest(config).reason or "")
    else:
        assert room.walk(config, FakeTime()).complete
    room.sync(config)
    stored = [row["variation_id"] for row in room.rows(config, variation_images)]
    assert sorted(stored) == sorted(case.stored)
    (row,) = room.rows(config, products)
    assert row["removed_by"] is None
